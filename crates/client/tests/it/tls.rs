//! TLS against real etcd, with certificates that the tests generate.
//!
//! The tests check only the characteristic parts of the texts of errors.

mod environment;
mod files;
mod lanes;
mod refusal;
mod right;
mod scripted;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use etcdex::{Client, ClientBuilder, Error, TlsConfig};
use etcdex_testkit::{Authority, Binaries, Binary, Etcd, Pair};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Longer than any single wait takes, also on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// The authorities and certificates that all these tests share.
struct Fixtures {
    folder: TempDir,
    authority: Authority,
    /// For 127.0.0.1 and etcd.test.
    server: Pair,
    client: Pair,
    /// Another authority, which no server trusts.
    other_authority: Authority,
}

fn fixtures() -> &'static Fixtures {
    static FIXTURES: OnceLock<Fixtures> = OnceLock::new();
    FIXTURES.get_or_init(|| {
        let authority = Authority::new("etcdex tests");
        Fixtures {
            folder: tempfile::tempdir().expect("a folder"),
            server: authority.pair(&["127.0.0.1", "etcd.test"]),
            client: authority.pair(&["client.test"]),
            authority,
            other_authority: Authority::new("another authority"),
        }
    })
}

impl Fixtures {
    /// A file of its own with this text.
    fn file(&self, text: &str) -> PathBuf {
        let name = format!("{:016x}.pem", number());
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("the file is written");
        path
    }

    /// A server with this certificate.
    fn server(&self, binary: &Binary, pair: &Pair) -> etcdex_testkit::Builder {
        Etcd::builder()
            .binary(binary)
            .tls(&self.file(&pair.certificate), &self.file(&pair.key))
    }

    /// Starts a server that requires client certificates.
    async fn strict_server(&self, binary: &Binary) -> Etcd {
        self.server(binary, &self.server)
            .client_authority(&self.file(&self.authority.pem))
            .start()
            .await
            .expect("etcd starts")
    }

    /// Returns the options of a client of such a server.
    fn tls(&self) -> TlsConfig {
        let client = &self.client;
        TlsConfig::new()
            .ca(self.authority.pem.clone())
            .client_certificate(client.certificate.clone(), client.key.clone())
    }
}

/// Returns a unique number.
fn number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Runs a test on each version of etcd, all at once.
async fn each<T>(test: fn(Binary) -> T)
where
    T: Future<Output = ()> + Send + 'static,
{
    let mut set = JoinSet::new();
    for binary in Binaries::for_tests().all() {
        let (version, body) = (binary.version(), test(binary.clone()));
        set.spawn(async move {
            body.await;
            version
        });
    }
    while let Some(end) = set.join_next().await {
        if let Err(error) = end {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

fn builder(url: &str, tls: TlsConfig) -> ClientBuilder {
    Client::builder().endpoint(url).timeout(DEADLINE).tls(tls)
}

async fn connect(url: &str, tls: TlsConfig) -> Result<Client, Error> {
    builder(url, tls).connect_timeout(DEADLINE).connect().await
}

/// Asserts that a put and a get succeed.
async fn works(client: &Client) {
    client.put("hush-k", "hush-v").await.expect("the put");
    let value = client.get("hush-k").string().await.expect("the get");
    assert_eq!(value.as_deref(), Some("hush-v"));
}
