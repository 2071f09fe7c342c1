//! etcd's own proxy, `etcd grpc-proxy start`.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::etcd::{DEADLINE, INTERVAL, forget_flags};
use crate::ports::Ports;
use crate::process::Process;
use crate::{Etcd, health, watchdog};

/// Number of attempts to start when another process takes the free port first.
const ATTEMPTS: usize = 5;

/// A running `etcd grpc-proxy` in front of one server, from the same binary as the server.
///
/// The process is killed when this is dropped.
#[derive(Debug)]
pub struct GrpcProxy {
    port: u16,
    // Declared before the folder, so that the process ends first.
    process: Process,
    folder: TempDir,
}

impl GrpcProxy {
    /// Starts the proxy in front of `etcd` and waits until requests pass through it.
    ///
    /// # Errors
    /// The process could not be started, or it ended or was not healthy within 20 seconds; the
    /// error has the proxy's log.
    pub async fn start(etcd: &Etcd) -> io::Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::launch(etcd)?.ready().await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Returns the URL of the proxy for clients, as in `http://127.0.0.1:23790`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Returns the address of the proxy, the target of a [`Proxy`](crate::Proxy).
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    fn launch(etcd: &Etcd) -> io::Result<Self> {
        let port = Ports::free(1)?.remove(0).client;
        let folder = tempfile::Builder::new()
            .prefix(&format!("{}-grpc-proxy-", etcd.version()))
            .tempdir_in(watchdog::folder()?)?;
        let log = File::create(folder.path().join("grpc-proxy.log"))?;
        let mut command = Command::new(etcd.binary().etcd());
        command
            .args(["grpc-proxy", "start"])
            .arg(format!("--endpoints={}", etcd.client_address()))
            .arg(format!("--listen-addr=127.0.0.1:{port}"))
            // The proxy is a client of itself, and ends when it cannot reach this address.
            .arg(format!("--advertise-client-url=127.0.0.1:{port}"))
            .arg(format!("--data-dir={}", folder.path().display()));
        forget_flags(&mut command);
        let process = Process::spawn(&mut command, &log)?;
        Ok(Self {
            port,
            process,
            folder,
        })
    }

    async fn ready(mut self) -> io::Result<Self> {
        let deadline = Instant::now() + DEADLINE;
        while !health::is_healthy(self.port).await {
            let ended = self.process.exit()?;
            if ended.is_none() && Instant::now() <= deadline {
                sleep(INTERVAL).await;
                continue;
            }
            let log = fs::read(self.folder.path().join("grpc-proxy.log")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let kind = match ended {
                Some(_) if log.contains("address already in use") => io::ErrorKind::AddrInUse,
                Some(_) => io::ErrorKind::Other,
                None => io::ErrorKind::TimedOut,
            };
            let text = format!(
                "etcd grpc-proxy forwards no request; its log:
{log}"
            );
            return Err(io::Error::new(kind, text));
        }
        Ok(self)
    }
}
