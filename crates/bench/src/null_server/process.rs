//! The null server as a child process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// A running null server. The server ends when this is dropped, or when this process ends.
#[derive(Debug)]
pub struct NullServer {
    process: Child,
    address: SocketAddr,
}

impl NullServer {
    /// Starts a null server. `program` is the path of the `etcdex-bench` binary.
    pub fn start(program: &Path, core: Option<usize>) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg("null-server");
        if let Some(core) = core {
            command.arg("--core").arg(core.to_string());
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the null server")?;
        let stdout = process.stdout.take().expect("stdout is a pipe");
        let mut line = String::new();
        // On an error below, dropping `process` closes its standard input, and the server ends.
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim()
            .parse()
            .context("the null server printed no address")?;
        Ok(Self { process, address })
    }

    /// Address that the server listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for NullServer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // A failure to wait leaves nothing to do.
        let _ = self.process.wait();
    }
}
