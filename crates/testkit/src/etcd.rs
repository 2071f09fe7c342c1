//! A running etcd.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcdex_server::{Server, ServerBuilder};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::ports::Ports;
use crate::process::Process;
use crate::{Binary, Builder, Version, health, watchdog};

/// How long a server may take to answer, or to terminate.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// Interval of the checks meanwhile.
pub(crate) const INTERVAL: Duration = Duration::from_millis(20);
/// Number of lines in a tail of the log.
const TAIL: usize = 20;
/// Number of log lines in an error: enough for the usage text after an unknown flag.
const LONG_TAIL: usize = 60;

/// An etcd server on the loopback, with a data folder of its own.
///
/// The server is killed and its data is removed when this is dropped. If the drop happens in a
/// panic, the end of the log is printed. Faults ([`kill`](Self::kill), [`pause`](Self::pause) ...)
/// take `&self`, so that a test can cause them while a client works.
#[derive(Debug)]
pub struct Etcd {
    binary: Binary,
    name: String,
    ports: Ports,
    arguments: Vec<OsString>,
    https: bool,
    process: SharedProcess,
    folder: TempDir,
    /// The server, if it is one of this process.
    embedded: Option<Server>,
}

/// The process of a server, if there is one, shared with the proxies.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedProcess(Arc<Mutex<Option<Process>>>);

impl SharedProcess {
    pub(crate) fn id(&self) -> Option<u32> {
        self.lock().as_ref().map(Process::id)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        // A panic leaves the value consistent: it is only ever replaced.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version whose answers the embedded server gives.
const EMBEDDED_VERSION: Version = Version {
    major: 3,
    minor: 7,
    patch: 3,
};

impl Etcd {
    /// Returns a builder with more options than [`start`](Self::start) has.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts one server and waits until it answers.
    pub async fn start(binary: &Binary) -> io::Result<Self> {
        Self::builder().binary(binary).start().await
    }

    pub(crate) fn new(
        binary: Binary,
        name: String,
        ports: Ports,
        mut arguments: Vec<OsString>,
        https: bool,
    ) -> io::Result<Self> {
        let prefix = format!("{}-{name}-", binary.version());
        let folder = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(watchdog::folder()?)?;
        let mut data = OsString::from("--data-dir=");
        data.push(folder.path().join("data"));
        arguments.push(data);
        Ok(Self {
            binary,
            name,
            ports,
            arguments,
            https,
            process: SharedProcess::default(),
            folder,
            embedded: None,
        })
    }

    /// Starts an embedded server instead, which has the etcdctl of this binary, or none. It has no process:
    /// it can be neither killed nor paused, and has no log.
    pub async fn embedded(binary: Option<&Binary>) -> io::Result<Self> {
        Self::embedded_with(Server::builder(), binary).await
    }

    /// Starts an embedded server with options: [`embedded`](Self::embedded).
    pub async fn embedded_with(server: ServerBuilder, binary: Option<&Binary>) -> io::Result<Self> {
        let server = server.start().await?;
        let url = server.client_url();
        let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let client = port.ok_or_else(|| io::Error::other(format!("{url} has no port")))?;
        let ports = Ports {
            client,
            peer: 0,
            metrics: client,
            peer_proxy: None,
        };
        let binary = binary.cloned();
        let binary = binary.unwrap_or_else(|| Binary::absent(EMBEDDED_VERSION));
        let mut etcd = Self::new(binary, "embedded".into(), ports, Vec::new(), false)?;
        etcd.embedded = Some(server);
        Ok(etcd)
    }

    /// Returns whether there is an etcdctl of the server's version.
    pub fn has_etcdctl(&self) -> bool {
        self.binary.etcdctl().is_some()
    }

    /// Returns the embedded server, if it is one.
    pub fn server(&self) -> Option<&Server> {
        self.embedded.as_ref()
    }

    /// Returns the URL for clients, as in `http://127.0.0.1:23790`.
    pub fn endpoint(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.client_address())
    }

    /// Returns the address for clients, the target of a [`Proxy`](crate::Proxy).
    pub fn client_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.client).into()
    }

    /// Returns the port of the endpoint.
    pub fn client_port(&self) -> u16 {
        self.ports.client
    }

    /// Returns the advertised peer URL, which may be that of a proxy.
    pub fn peer_url(&self) -> String {
        self.ports.peer_url()
    }

    /// Returns the address at which it listens for the other members.
    pub(crate) fn peer_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.peer).into()
    }

    pub(crate) fn shared_process(&self) -> SharedProcess {
        self.process.clone()
    }

    /// Returns the name in the cluster: `n1`, `n2` ...
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the version.
    pub fn version(&self) -> Version {
        self.binary.version()
    }

    /// Returns the binary.
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// Returns the ID of the process; none after it was killed.
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Returns the data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The file with the log of all runs of the server: warnings and worse, unless `--log-level` was
    /// given.
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("etcd.log")
    }

    /// Returns whether the server can answer: it was neither killed nor paused, and has not ended
    /// by itself.
    pub fn is_running(&self) -> bool {
        self.process().as_mut().is_some_and(Process::is_running)
    }

    /// Returns the last lines of the log, which has warnings and errors unless `--log-level` was
    /// given.
    pub fn log_tail(&self) -> String {
        self.log_lines(TAIL)
    }

    /// Returns the metrics, in Prometheus' text format.
    pub async fn metrics(&self) -> io::Result<String> {
        health::ask(self.ports.metrics, "/metrics").await
    }

    /// Kills the server (`SIGKILL`), which has ended when this returns. The ports and the data are
    /// kept.
    pub fn kill(&self) {
        *self.process() = None;
    }

    /// Terminates the server (`SIGTERM`) and waits for its end: etcd closes its links gracefully.
    pub async fn terminate(&self) -> io::Result<()> {
        self.running(Process::terminate)?;
        let deadline = Instant::now() + DEADLINE;
        while self.running(Process::exit)?.is_none() {
            if Instant::now() > deadline {
                return Err(self.failure(io::ErrorKind::TimedOut, "did not end after SIGTERM"));
            }
            sleep(INTERVAL).await;
        }
        self.kill();
        Ok(())
    }

    /// Stops the server (`SIGSTOP`): its links stay open, and nothing answers. The server is
    /// stopped when this returns.
    pub fn pause(&self) -> io::Result<()> {
        self.running(Process::pause)
    }

    /// Continues the server (`SIGCONT`) after a [`pause`](Self::pause).
    pub fn resume(&self) -> io::Result<()> {
        self.running(Process::resume)
    }

    /// Kills the server if it runs, starts it with the same ports and data, and waits until it
    /// answers.
    pub async fn restart(&self) -> io::Result<()> {
        self.kill();
        self.launch()?;
        self.ready().await
    }

    /// Starts the server after a [`kill`](Self::kill), and does not wait until it answers.
    pub fn launch(&self) -> io::Result<()> {
        let mut process = self.process();
        if process.is_some() {
            return Err(io::Error::other(format!("etcd {} runs already", self.name)));
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let mut command = Command::new(self.binary.etcd());
        command.args(&self.arguments);
        forget_flags(&mut command);
        *process = Some(Process::spawn(&mut command, &log)?);
        Ok(())
    }

    /// Waits until the server answers linearizable reads.
    ///
    /// The error has the end of its log.
    pub async fn ready(&self) -> io::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if health::is_healthy(self.ports.metrics).await {
                return Ok(());
            }
            if let Some(status) = self.running(Process::exit)? {
                let taken = self.log_lines(LONG_TAIL).contains("address already in use");
                let kind = if taken {
                    io::ErrorKind::AddrInUse
                } else {
                    io::ErrorKind::Other
                };
                return Err(self.failure(kind, &format!("ended by itself ({status})")));
            }
            if Instant::now() > deadline {
                return Err(self.failure(
                    io::ErrorKind::TimedOut,
                    &format!("was not healthy within {DEADLINE:?}"),
                ));
            }
            sleep(INTERVAL).await;
        }
    }

    /// Runs the etcdctl of the same version and returns its output.
    ///
    /// The error has the kind `NotFound` if there is no etcdctl: [`has_etcdctl`](Self::has_etcdctl).
    ///
    /// etcdctl connects to this server, unless the arguments have `--endpoints=`. For a server with
    /// TLS the arguments must name the certificates.
    pub async fn etcdctl<I>(&self, arguments: I) -> io::Result<String>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let etcdctl = self.binary.etcdctl().ok_or_else(|| {
            let etcd = self.binary.etcd().display();
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no etcdctl beside {etcd}"),
            )
        })?;
        let mut command = tokio::process::Command::new(etcdctl);
        let mut elsewhere = false;
        for argument in arguments {
            let argument = argument.as_ref();
            elsewhere |= argument.to_string_lossy().starts_with("--endpoints");
            command.arg(argument);
        }
        if !elsewhere {
            // With the flag given twice, etcdctl would use both in turn.
            command.arg(format!("--endpoints={}", self.endpoint()));
        }
        command.kill_on_drop(true);
        forget_flags(command.as_std_mut());
        let output = timeout(DEADLINE, command.output()).await??;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("etcdctl failed: {}", told.trim())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn log_lines(&self, count: usize) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        // Each failed health check adds a line or two; the last is enough.
        let mut told = false;
        let lines = log.lines().rev().filter(|line| {
            let health = line.contains("/health");
            !(health && std::mem::replace(&mut told, true))
        });
        let mut lines: Vec<&str> = lines.take(count).collect();
        lines.reverse();
        lines.join("\n")
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock()
    }

    fn running<T>(&self, act: impl FnOnce(&mut Process) -> io::Result<T>) -> io::Result<T> {
        match &mut *self.process() {
            Some(process) => act(process),
            None => Err(io::Error::other(format!(
                "etcd {} does not run, it was killed",
                self.name
            ))),
        }
    }

    fn failure(&self, kind: io::ErrorKind, what: &str) -> io::Error {
        io::Error::new(
            kind,
            format!(
                "etcd {} ({}) {what}; its log ends:\n{}",
                self.version(),
                self.name,
                self.log_lines(LONG_TAIL)
            ),
        )
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (name, version) = (&self.name, self.version());
            eprintln!(
                "etcd {version} ({name}); its log ends:\n{}",
                self.log_tail()
            );
        }
        // ORDER: before the folder is removed. Proxies hold the process, too, and may outlive this.
        self.kill();
    }
}

/// Removes etcd's flags from the environment, which is a second source of them.
pub(crate) fn forget_flags(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("ETCD_") || text.starts_with("ETCDCTL_") {
            command.env_remove(name);
        }
    }
}
