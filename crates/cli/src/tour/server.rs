//! The server of the tour: one that the user names, or an etcd that the tour starts.

mod binary;
mod process;

use std::io;
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
    own: Option<Etcd>,
}

impl Server {
    /// Uses a cluster of the user.
    pub(super) fn given(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            own: None,
        }
    }

    /// Starts an etcd, which ends when the returned value is dropped.
    pub(super) async fn start(printer: &mut Printer) -> Result<Self, Failure> {
        let binary = binary::find_or_fetch(printer).await?;
        printer.line(&format!(
            "Starting {} on 127.0.0.1, in a temporary folder.",
            binary.display()
        ))?;
        let began = Instant::now();
        let etcd = Etcd::start(&binary).await?;
        printer.line(&format!(
            "etcd answered after {}.",
            milliseconds(began.elapsed())
        ))?;
        Ok(Self {
            endpoints: vec![etcd.endpoint()],
            own: Some(etcd),
        })
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
