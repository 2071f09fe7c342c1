//! The server of the tour: one that the user names, or one that the tour starts.

mod process;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::process::Etcd;
use super::printer::{Printer, milliseconds};
use crate::failure::Failure;

/// Time limit of a request for the version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest answer over plain HTTP that is read, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// The server of the tour.
pub(super) struct Server {
    endpoints: Vec<String>,
    own: Option<Own>,
}

/// A server that the tour has started. It ends when this is dropped.
enum Own {
    Etcd(#[expect(dead_code, reason = "it is kept")] Etcd),
    #[cfg(feature = "server")]
    Embedded(#[expect(dead_code, reason = "it is kept")] etcdex_server::Server),
}

impl Server {
    /// Uses a cluster of the user.
    pub(super) fn given(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            own: None,
        }
    }

    /// Starts a server: the etcd that `ETCDEX_ETCD` names, or else the embedded one.
    pub(super) async fn start(printer: &mut Printer) -> Result<Self, Failure> {
        match std::env::var_os("ETCDEX_ETCD").filter(|path| !path.is_empty()) {
            Some(binary) => Self::start_etcd(Path::new(&binary), printer).await,
            None => Self::start_embedded(printer).await,
        }
    }

    async fn start_etcd(binary: &Path, printer: &mut Printer) -> Result<Self, Failure> {
        if !binary.is_file() {
            let text = format!("ETCDEX_ETCD is {}, which is no file", binary.display());
            return Err(Failure::Other(text));
        }
        printer.line(&format!(
            "Starting {} on 127.0.0.1, in a temporary folder.",
            binary.display()
        ))?;
        let began = Instant::now();
        let etcd = Etcd::start(binary).await?;
        printer.line(&format!(
            "etcd answered after {}.",
            milliseconds(began.elapsed())
        ))?;
        Ok(Self {
            endpoints: vec![etcd.endpoint()],
            own: Some(Own::Etcd(etcd)),
        })
    }

    #[cfg(feature = "server")]
    async fn start_embedded(printer: &mut Printer) -> Result<Self, Failure> {
        printer.line("Starting the embedded server, which answers as etcd does, on 127.0.0.1.")?;
        let server = etcdex_server::Server::builder().start().await;
        let server = server.map_err(Failure::System)?;
        let url = server.client_url();
        Ok(Self {
            endpoints: vec![url.trim_start_matches("http://").to_owned()],
            own: Some(Own::Embedded(server)),
        })
    }

    #[cfg(not(feature = "server"))]
    async fn start_embedded(_printer: &mut Printer) -> Result<Self, Failure> {
        let text = "this etcdex was built without the embedded server; \
            give the --endpoints of a running etcd, or set ETCDEX_ETCD to the path of one";
        Err(Failure::Other(text.to_owned()))
    }

    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Whether the tour has started the server, so that no other client uses it.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Returns the version of the first endpoint, if that answers over plain HTTP.
    pub(super) async fn version(&self) -> Option<String> {
        #[cfg(feature = "server")]
        if matches!(self.own, Some(Own::Embedded(_))) {
            return Some("the embedded server".to_owned());
        }
        let address = self.endpoints.first()?.trim_start_matches("http://");
        let answer = timeout(VERSION_TIMEOUT, http_get(address, "/version"));
        let text = answer.await.ok()?.ok()?;
        let version = text.split("\"etcdserver\":\"").nth(1)?.split('"').next()?;
        let is_plain = version
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c));
        is_plain.then(|| format!("etcd {version}"))
    }
}

/// Sends a GET over HTTP/1.0, and returns the whole answer.
async fn http_get(address: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
