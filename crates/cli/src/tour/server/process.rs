//! An etcd that the tour starts on free ports, with a temporary folder.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::http_get;
use crate::failure::Failure;

/// Time limit for etcd to become healthy.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Time limit of one question for its health.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two questions for its health.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Number of attempts to start. Another process may take a port between the search for free ports
/// and the start of etcd.
const MAX_ATTEMPTS: usize = 3;

/// A running etcd. Dropping it kills the process and removes its folder.
pub(super) struct Etcd {
    process: Child,
    port: u16,
    // ORDER: `Drop` ends the process, which writes into the folder, before this field is dropped.
    folder: TempDir,
}

impl Etcd {
    /// Starts etcd, and waits until it is healthy.
    pub(super) async fn start(binary: &Path) -> Result<Self, Failure> {
        let mut attempt = 1;
        loop {
            let mut etcd = Self::spawn(binary).map_err(|error| {
                Failure::Other(format!("cannot start {}: {error}", binary.display()))
            })?;
            match etcd.wait_until_healthy().await {
                Ok(()) => return Ok(etcd),
                Err(reason)
                    if attempt < MAX_ATTEMPTS && reason.contains("address already in use") =>
                {
                    attempt += 1;
                }
                Err(reason) => {
                    let text = format!("{} does not start: {reason}", binary.display());
                    return Err(Failure::Other(text));
                }
            }
        }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn spawn(binary: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("etcdex-tour-").tempdir()?;
        let (port, peer) = free_ports()?;
        let log = File::create(folder.path().join("etcd.log"))?;
        let client_url = format!("http://127.0.0.1:{port}");
        let peer_url = format!("http://127.0.0.1:{peer}");
        let mut command = Command::new(binary);
        command
            .arg("--name=tour")
            .arg(format!("--listen-client-urls={client_url}"))
            .arg(format!("--advertise-client-urls={client_url}"))
            .arg(format!("--listen-peer-urls={peer_url}"))
            .arg(format!("--initial-advertise-peer-urls={peer_url}"))
            .arg(format!("--initial-cluster=tour={peer_url}"))
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // etcd reads its flags from these variables too.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCD_") {
                command.env_remove(name);
            }
        }
        Ok(Self {
            process: command.spawn()?,
            port,
            folder,
        })
    }

    /// Waits until etcd says that it is healthy. The error holds the last line of etcd's log.
    async fn wait_until_healthy(&mut self) -> Result<(), String> {
        let address = self.endpoint();
        let began = Instant::now();
        while began.elapsed() < START_TIMEOUT {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(format!("it ended ({status}); {}", self.last_log_line()));
            }
            let answer = timeout(HEALTH_TIMEOUT, http_get(&address, "/health")).await;
            if answer.is_ok_and(|answer| answer.is_ok_and(|text| text.contains("\"true\""))) {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
        Err(format!("no healthy answer; {}", self.last_log_line()))
    }

    fn last_log_line(&self) -> String {
        let log = fs::read(self.folder.path().join("etcd.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let line = log.lines().rfind(|line| !line.trim().is_empty());
        format!("its log ends: {}", line.unwrap_or("(nothing)"))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // An error means that the process has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Finds two ports that are free now.
fn free_ports() -> io::Result<(u16, u16)> {
    let one = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok((one.local_addr()?.port(), other.local_addr()?.port()))
}
