//! The fixtures of every test: servers, clients, and keys of its own.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use etcdex::{Client, Error, ErrorKind, KeyValue, LeaseId, Outcome};
use etcdex_testkit::{Binaries, Binary, Cluster, Etcd, left_out};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

/// The name of the embedded server.
const EMBEDDED: &str = "embedded";

/// A server that tests share: its name, the binary with its etcdctl if there is one, and the server once it
/// is started.
type SharedServer = (String, Option<Binary>, OnceCell<Etcd>);

/// Longer than any single wait takes, also on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A server that other tests share, a client of this test, and a prefix of its own.
pub(crate) struct Stage {
    pub(crate) etcd: &'static Etcd,
    pub(crate) client: Client,
    pub(crate) prefix: String,
}

impl Stage {
    async fn new(etcd: &'static Etcd) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self {
            etcd,
            client: connect(etcd).await,
            prefix: format!("hush-{}/", NEXT.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Returns a key of this test.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns a client whose namespace is this test's prefix.
    pub(crate) fn inside(&self) -> Client {
        self.client.namespace(self.prefix.as_str())
    }
}

/// Runs a test on each version at once, and on the embedded server, on servers that all tests share.
pub(crate) async fn each<T>(test: fn(Stage) -> T)
where
    T: Future<Output = ()> + Send + 'static,
{
    run(shared().iter().map(move |(name, binary, server)| {
        let body = async move {
            let start = || async {
                match binary {
                    Some(binary) if name != EMBEDDED => Etcd::start(binary).await,
                    etcdctl => Etcd::embedded(etcdctl.as_ref()).await,
                }
            };
            let etcd = server.get_or_try_init(start).await.unwrap();
            test(Stage::new(etcd).await).await;
        };
        (name.clone(), body)
    }))
    .await;
}

/// Runs a test on each version, on a server of its own that was started with these arguments.
pub(crate) async fn each_alone<T>(arguments: &'static [&'static str], test: fn(Etcd) -> T)
where
    T: Future<Output = ()> + Send + 'static,
{
    run(binaries().all().iter().map(move |binary| {
        let builder = Etcd::builder().binary(binary).args(arguments);
        let body = async move { test(builder.start().await.unwrap()).await };
        (binary.version().to_string(), body)
    }))
    .await;
}

/// Runs a test for the oldest and the newest version only: for tests with many servers.
pub(crate) async fn ends<T>(test: fn(Binary) -> T)
where
    T: Future<Output = ()> + Send + 'static,
{
    let all = binaries().all();
    let mut chosen: Vec<&Binary> = all.first().into_iter().chain(all.last()).collect();
    chosen.dedup();
    run(chosen
        .into_iter()
        .map(move |binary| (binary.version().to_string(), test(binary.clone()))))
    .await;
}

/// Every version, in ascending order.
pub(crate) fn all() -> &'static [Binary] {
    binaries().all()
}

/// Runs a test for each version. The test starts its own servers.
pub(crate) async fn each_binary<T>(test: fn(Binary) -> T)
where
    T: Future<Output = ()> + Send + 'static,
{
    let all = binaries().all().iter();
    run(all.map(move |binary| (binary.version().to_string(), test(binary.clone())))).await;
}

/// The newest version. If there is none, the test is left out, which this says.
pub(crate) fn newest() -> Option<&'static Binary> {
    let newest = binaries().newest();
    if newest.is_none() {
        left_out("it needs real etcd");
    }
    newest
}

async fn run<T>(tests: impl Iterator<Item = (String, T)>)
where
    T: Future<Output = ()> + Send + 'static,
{
    let mut set = JoinSet::new();
    let mut tests = tests.peekable();
    if tests.peek().is_none() {
        left_out("it needs real etcd");
    }
    for (server, test) in tests {
        set.spawn(async move {
            let _told = PrintServer(server);
            test.await;
        });
    }
    while let Some(end) = set.join_next().await {
        if let Err(error) = end {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Prints the server on which a test failed.
struct PrintServer(String);

impl Drop for PrintServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the failure was on etcd {}", self.0);
        }
    }
}

fn binaries() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(|| {
        crate::traces::watch();
        Binaries::for_tests()
    })
}

/// Returns the shared servers. They are never dropped: the testkit's watchdog kills them when this
/// process ends.
fn shared() -> &'static [SharedServer] {
    static SERVERS: OnceLock<Vec<SharedServer>> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let all = binaries().all().iter();
        let real = all.map(|binary| (binary.version().to_string(), Some(binary)));
        let embedded = (EMBEDDED.to_owned(), binaries().newest());
        real.chain([embedded])
            .map(|(name, binary)| (name, binary.cloned(), OnceCell::new()))
            .collect()
    })
}

/// Connects a client with the default options and a time-out that is long enough for a loaded
/// machine.
pub(crate) async fn connect(etcd: &Etcd) -> Client {
    connect_to([etcd.endpoint()]).await
}

/// Does the same for all members of a cluster.
pub(crate) async fn connect_cluster(cluster: &Cluster) -> Client {
    connect_to(cluster.endpoints()).await
}

async fn connect_to(endpoints: impl IntoIterator<Item = String>) -> Client {
    let builder = Client::builder().endpoints(endpoints);
    builder.timeout(DEADLINE).connect().await.unwrap()
}

/// Grants a lease that outlives the test.
pub(crate) async fn grant(etcd: &Etcd) -> LeaseId {
    if !etcd.has_etcdctl() {
        let granted = connect(etcd).await.grant(Duration::from_secs(600)).await;
        return granted.unwrap().id;
    }
    let told = etcd.etcdctl(["lease", "grant", "600"]).await.unwrap();
    // "lease 694d8e2f5c1b2a08 granted with TTL(600s)"
    let id = told.split(' ').nth(1).expect(&told);
    LeaseId::new(i64::from_str_radix(id, 16).expect(&told)).expect(&told)
}

/// Returns the seed of all random choices of a test; `ETCDEX_SEED` repeats a run.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("ETCDEX_SEED").ok();
    let seed = given.map_or_else(
        || fastrand::u64(..),
        |text| text.parse().expect("ETCDEX_SEED is a number"),
    );
    println!("ETCDEX_SEED={seed}");
    seed
}

/// Waits until the asynchronous condition holds.
pub(crate) async fn eventually<T>(what: &str, mut holds: impl FnMut() -> T)
where
    T: Future<Output = bool>,
{
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let end = tokio::time::timeout(DEADLINE, wait).await;
    assert!(end.is_ok(), "waited for {DEADLINE:?}: {what}");
}

/// Returns the keys of pairs, for comparisons.
pub(crate) fn keys(kvs: &[KeyValue]) -> Vec<&str> {
    kvs.iter().map(|kv| kv.key_str().unwrap()).collect()
}

/// Returns the values of pairs, for comparisons.
pub(crate) fn values(kvs: &[KeyValue]) -> Vec<&str> {
    kvs.iter().map(|kv| kv.value_str().unwrap()).collect()
}

/// Asserts that the client has refused an invalid request without sending it.
#[track_caller]
pub(crate) fn assert_refused<T>(reply: Result<T, Error>) {
    let error = reply.err().expect("the client refuses");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
    assert_eq!(error.code(), None, "{error}");
    assert_eq!(error.attempts(), 0, "{error}");
}

/// Replaces the data of a server by a snapshot, and starts it again under the same identity.
pub(crate) async fn restore(etcd: &Etcd, snapshot: &str) {
    etcd.kill();
    std::fs::remove_dir_all(etcd.data_dir()).unwrap();
    let arguments = [
        "snapshot",
        "restore",
        snapshot,
        &format!("--data-dir={}", etcd.data_dir().display()),
        &format!("--name={}", etcd.name()),
        &format!("--initial-cluster={}={}", etcd.name(), etcd.peer_url()),
        &format!("--initial-advertise-peer-urls={}", etcd.peer_url()),
    ];
    tool(etcd, &arguments).await;
    etcd.restart().await.unwrap();
}

/// Runs etcd's offline tool, `etcdutl`, or `etcdctl` before 3.5, and returns its output.
pub(crate) async fn tool(etcd: &Etcd, arguments: &[&str]) -> String {
    let binary = etcd.binary();
    let path = binary.etcdutl().or_else(|| binary.etcdctl()).unwrap();
    let mut command = tokio::process::Command::new(path);
    command.args(arguments).env("ETCDCTL_API", "3");
    let output = command.output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}
