//! Starts servers.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use crate::peers::{PeerListeners, PeerProxies, Target};
use crate::ports::Ports;
use crate::{Binaries, Binary, Cluster, Etcd, Version};

/// Number of attempts to start when other processes take the free ports first.
const ATTEMPTS: usize = 5;

/// The options of an etcd; see [`Etcd::builder`].
#[derive(Clone, Debug, Default)]
pub struct Builder {
    choice: Choice,
    arguments: Vec<OsString>,
    https: bool,
    peer_proxies: bool,
}

/// The servers of a cluster, and the proxies between them.
type Members = (Vec<Etcd>, Option<PeerProxies>);

#[derive(Clone, Debug, Default)]
enum Choice {
    #[default]
    Newest,
    Version(String),
    Binary(Binary),
}

impl Builder {
    /// Selects this binary. The default is the newest version.
    #[must_use]
    pub fn binary(mut self, binary: &Binary) -> Self {
        self.choice = Choice::Binary(binary.clone());
        self
    }

    /// Selects this version, as in `3.5.35`.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.choice = Choice::Version(version.into());
        self
    }

    /// Adds arguments for etcd; they come before those of the testkit.
    #[must_use]
    pub fn args<I>(mut self, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Enables TLS for clients, with this certificate and its key (PEM files).
    #[must_use]
    pub fn tls(mut self, certificate: &Path, key: &Path) -> Self {
        self.https = true;
        self.args([
            OsString::from("--cert-file"),
            certificate.into(),
            "--key-file".into(),
            key.into(),
        ])
    }

    /// Enables TLS for clients, with a certificate that etcd makes and signs itself (`--auto-tls`).
    #[must_use]
    pub fn auto_tls(mut self) -> Self {
        self.https = true;
        self.args(["--auto-tls"])
    }

    /// Requires client certificates of this authority (a PEM file).
    #[must_use]
    pub fn client_authority(self, authority: &Path) -> Self {
        self.args([
            OsString::from("--client-cert-auth"),
            "--trusted-ca-file".into(),
            authority.into(),
        ])
    }

    /// Puts a proxy before the peer port of each member, so that members can be cut off from their
    /// peers: [`Cluster::isolate`]. Clients are not affected.
    ///
    /// The proxies need `/proc`, so they work only on Linux. Without this option, members reach
    /// each other directly.
    #[must_use]
    pub fn peer_proxies(mut self) -> Self {
        self.peer_proxies = true;
        self
    }

    /// Starts one server and waits until it answers.
    ///
    /// The error has the end of etcd's log.
    pub async fn start(mut self) -> io::Result<Etcd> {
        // A single server has no peers, so no proxies either.
        self.peer_proxies = false;
        let (mut members, _) = self.members(1).await?;
        Ok(members.remove(0))
    }

    /// Starts `size` servers as one cluster and waits until each answers.
    ///
    /// The error has the end of the log of the etcd that did not answer.
    pub async fn start_cluster(self, size: usize) -> io::Result<Cluster> {
        let (members, peers) = self.members(size).await?;
        Ok(Cluster::of(members, peers))
    }

    /// Returns another server for a cluster, which does not run yet.
    pub(crate) fn newcomer(self, cluster: &[Etcd]) -> io::Result<Etcd> {
        let binary = self.choice.binary()?;
        let ports = Ports::free(1)?.remove(0);
        let name = format!("n{}", cluster.len() + 1);
        let mut urls: Vec<String> = cluster
            .iter()
            .map(|member| format!("{}={}", member.name(), member.peer_url()))
            .collect();
        urls.push(format!("{name}={}", ports.peer_url()));
        let mut arguments = self.arguments.clone();
        arguments.extend(self.own(binary.version(), &name, ports));
        arguments.extend([
            format!("--initial-cluster={}", urls.join(",")).into(),
            "--initial-cluster-state=existing".into(),
        ]);
        Etcd::new(binary, name, ports, arguments, self.https)
    }

    async fn members(self, size: usize) -> io::Result<Members> {
        let binary = self.choice.binary()?;
        let mut attempt = 1;
        loop {
            match self.attempt(&binary, size).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt(&self, binary: &Binary, size: usize) -> io::Result<Members> {
        let mut ports = Ports::free(size)?;
        let listeners = self.peer_listeners(&mut ports)?;
        let cluster: Vec<String> = (1..)
            .zip(&ports)
            .map(|(number, ports)| format!("n{number}={}", ports.peer_url()))
            .collect();
        let cluster = cluster.join(",");
        // The token keeps a member of an earlier cluster at one of these ports out of this one.
        let token = format!("{:016x}", fastrand::u64(..));
        let mut members = Vec::new();
        for (number, ports) in (1..).zip(ports) {
            let name = format!("n{number}");
            let mut arguments = self.arguments.clone();
            arguments.extend(self.own(binary.version(), &name, ports));
            arguments.extend([
                format!("--initial-cluster={cluster}").into(),
                format!("--initial-cluster-token={token}").into(),
            ]);
            members.push(Etcd::new(
                binary.clone(),
                name,
                ports,
                arguments,
                self.https,
            )?);
        }
        let proxies = listeners
            .map(|listeners| listeners.start(members.iter().map(target).collect()))
            .transpose()?;
        for member in &members {
            member.launch()?;
        }
        for member in &members {
            member.ready().await?;
        }
        Ok((members, proxies))
    }

    /// Returns the listeners of the peer proxies, if there are to be proxies.
    fn peer_listeners(&self, ports: &mut [Ports]) -> io::Result<Option<PeerListeners>> {
        if !self.peer_proxies {
            return Ok(None);
        }
        let listeners = PeerListeners::bind(ports.len())?;
        for (ports, proxy) in ports.iter_mut().zip(listeners.ports()?) {
            ports.peer_proxy = Some(proxy);
        }
        Ok(Some(listeners))
    }

    /// Returns the arguments of one server.
    fn own(&self, version: Version, name: &str, ports: Ports) -> Vec<OsString> {
        let scheme = if self.https { "https" } else { "http" };
        let client = format!("{scheme}://127.0.0.1:{}", ports.client);
        let peer = format!("http://127.0.0.1:{}", ports.peer);
        let given = |flag: &str| {
            let flag = format!("--{flag}");
            self.arguments.iter().any(|argument| {
                let argument = argument.to_string_lossy();
                argument.split('=').next() == Some(flag.as_str())
            })
        };
        let mut own = vec![
            format!("--name={name}"),
            format!("--listen-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={}", ports.peer_url()),
            format!("--listen-metrics-urls=http://127.0.0.1:{}", ports.metrics),
            "--logger=zap".to_owned(),
            "--log-outputs=stderr".to_owned(),
        ];
        // Defaults that the arguments of a test may replace.
        if !given("advertise-client-urls") {
            own.push(format!("--advertise-client-urls={client}"));
        }
        if !given("log-level") {
            own.push("--log-level=warn".to_owned());
        }
        if version.is_at_least(3, 5) {
            own.push("--unsafe-no-fsync".to_owned());
        }
        own.into_iter().map(Into::into).collect()
    }
}

fn target(member: &Etcd) -> Target {
    Target {
        address: member.peer_address(),
        process: member.shared_process(),
    }
}

impl Choice {
    fn binary(&self) -> io::Result<Binary> {
        let absent = |what: String| io::Error::new(io::ErrorKind::NotFound, what);
        match self {
            Self::Binary(binary) => Ok(binary.clone()),
            Self::Newest => Binaries::find()?
                .newest()
                .cloned()
                .ok_or_else(|| absent("no etcd is installed; run cargo xtask etcd".to_owned())),
            Self::Version(text) => {
                let version: Version = text
                    .parse()
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                Binaries::find()?.of(version).cloned().ok_or_else(|| {
                    absent(format!(
                        "etcd {version} is not there; run cargo xtask etcd {version}"
                    ))
                })
            }
        }
    }
}
