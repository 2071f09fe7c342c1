//! The setup of a run: servers, and proxies before them.

use std::io;
use std::time::Duration;

use etcdex::auth::Permission;
use etcdex::{Client, Mode};
use etcdex_testkit::etcdex_server::Server;
use etcdex_testkit::{Binaries, Binary, Cluster, Etcd, Proxy, Tap, Version};

use crate::args::Run;

/// The user of the clients under test, if there are users; the password is the same text.
pub(crate) const WATCHER: &str = "watcher";
const ROOT: &str = "root";

/// The clients of the workloads with scenes, with their modes.
pub(crate) const CLIENTS: [(&str, Mode); 3] = [
    ("pick-first", Mode::PickFirst),
    ("random", Mode::Random),
    ("connect-all", Mode::ConnectAll),
];

/// Time-out of the requests of `chaos` itself.
const PATIENCE: Duration = Duration::from_secs(3);

/// Interval of the progress notifications, and life of tokens.
const PROGRESS: Duration = Duration::from_millis(100);
const TOKEN_TTL: Duration = Duration::from_secs(3);

/// The servers of a run.
pub(crate) struct Setup {
    cluster: Cluster,
    version: Version,
    has_users: bool,
}

/// The way of one client to the servers: a proxy before each member.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// Whether the way gets no faults before and during compactions to the latest revision, so that
    /// its watches survive.
    pub(crate) lasting: bool,
    pub(crate) proxies: Vec<Proxy>,
}

impl Way {
    /// Returns a tap of each proxy for the calls of one method, on links that are opened from now
    /// on.
    pub(crate) fn tap(&self, method: &str) -> Vec<Tap> {
        self.proxies.iter().map(|proxy| proxy.tap(method)).collect()
    }
}

impl Setup {
    /// Starts the servers.
    pub(crate) async fn start(arguments: &Run, has_users: bool) -> io::Result<Self> {
        let binary = binary(arguments)?;
        let cluster = Etcd::builder()
            .binary(&binary)
            .args(server_arguments(&binary, has_users))
            .peer_proxies()
            .start_cluster(arguments.nodes)
            .await?;
        Self::of(cluster, Some(binary.version()), has_users).await
    }

    /// Starts the embedded server.
    pub(crate) async fn embedded(has_users: bool) -> io::Result<Self> {
        let mut server = Server::builder()
            .watch_progress_notify_interval(PROGRESS)
            .quota_backend_bytes(8 << 30)
            .max_txn_ops(20_000);
        if has_users {
            server = server.auth_token_ttl(TOKEN_TTL);
        }
        let cluster = Cluster::embedded(server).await?;
        let version = cluster.members().first().map(Etcd::version);
        Self::of(cluster, version, has_users).await
    }

    async fn of(cluster: Cluster, version: Option<Version>, has_users: bool) -> io::Result<Self> {
        let version = version.ok_or_else(|| io::Error::other("there is no member"))?;
        let setup = Self {
            cluster,
            version,
            has_users,
        };
        if has_users {
            setup
                .enable_authentication()
                .await
                .map_err(io::Error::other)?;
        }
        Ok(setup)
    }

    pub(crate) fn members(&self) -> &[Etcd] {
        self.cluster.members()
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(crate) fn has_users(&self) -> bool {
        self.has_users
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Makes a client for `chaos` itself, which no fault of a proxy affects.
    pub(crate) fn direct(&self) -> Result<Client, etcdex::Error> {
        let builder = Client::builder()
            .endpoints(self.cluster.endpoints())
            .name("bench")
            .timeout(PATIENCE);
        let builder = if self.has_users {
            builder.credentials(ROOT, ROOT)
        } else {
            builder
        };
        builder.connect_lazy()
    }

    /// Makes a way to the servers for one client.
    pub(crate) async fn way(&self, name: &'static str, lasting: bool) -> io::Result<Way> {
        let mut proxies = Vec::new();
        for member in self.members() {
            proxies.push(Proxy::start(member.client_address()).await?);
        }
        Ok(Way {
            name,
            lasting,
            proxies,
        })
    }

    /// Makes a way for each of `CLIENTS`, in their order.
    pub(crate) async fn ways(&self) -> io::Result<Vec<Way>> {
        let mut ways = Vec::new();
        for (name, _) in CLIENTS {
            ways.push(self.way(name, false).await?);
        }
        Ok(ways)
    }

    /// Makes a client under test.
    pub(crate) fn client(&self, way: &Way) -> Result<Client, etcdex::Error> {
        self.client_in(way, Mode::default())
    }

    /// Makes a client under test, in this mode.
    pub(crate) fn client_in(&self, way: &Way, mode: Mode) -> Result<Client, etcdex::Error> {
        let builder = Client::builder()
            .endpoints(way.proxies.iter().map(Proxy::endpoint))
            .name(way.name)
            .mode(mode);
        let builder = if self.has_users {
            builder.credentials(WATCHER, WATCHER)
        } else {
            builder
        };
        builder.connect_lazy()
    }

    async fn enable_authentication(&self) -> Result<(), etcdex::Error> {
        let client = Client::builder()
            .endpoints(self.cluster.endpoints())
            .connect_lazy()?;
        let auth = client.auth();
        for user in [ROOT, WATCHER] {
            auth.add_user(user, user).await?;
            auth.add_role(user).await?;
            auth.grant_role(user, user).await?;
        }
        let all = Permission::read_write("").all_keys();
        auth.grant_permission(WATCHER, all).await?;
        auth.enable().await?;
        Ok(())
    }
}

fn binary(arguments: &Run) -> io::Result<Binary> {
    let binaries = Binaries::find()?;
    let found = match arguments.etcd {
        Some(version) => binaries.of(version),
        None => binaries.newest(),
    };
    found.cloned().ok_or_else(|| {
        let what = arguments
            .etcd
            .map_or_else(|| "etcd".to_owned(), |version| format!("etcd {version}"));
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("{what} is not installed ({})", binaries.summary()),
        )
    })
}

fn server_arguments(binary: &Binary, has_users: bool) -> Vec<String> {
    // The default of ten minutes would send no progress to an idle watch in a run. Each time, a
    // stream gets as many notifications as its buffer in the server holds, 128, and the others are
    // dropped: a thousand idle watches need many intervals.
    let flag = if binary.version().is_at_least(3, 6) {
        "watch-progress-notify-interval"
    } else {
        "experimental-watch-progress-notify-interval"
    };
    let mut arguments = vec![
        format!("--{flag}={}ms", PROGRESS.as_millis()),
        "--quota-backend-bytes=8589934592".to_owned(),
        "--max-txn-ops=20000".to_owned(),
        // Members that were down get a snapshot instead of the log sometimes.
        "--snapshot-count=2000".to_owned(),
        // The log names each leader, with its term.
        "--log-level=info".to_owned(),
    ];
    if has_users {
        arguments.push(format!("--auth-token-ttl={}", TOKEN_TTL.as_secs()));
        arguments.push("--bcrypt-cost=4".to_owned());
    }
    arguments
}
