//! The null server as a child process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// A null server that runs until this is dropped, or this process ends in whatever way.
#[derive(Debug)]
pub struct NullServer {
    process: Child,
    address: SocketAddr,
}

impl NullServer {
    /// Starts one, `program` being the `etcdex-bench` binary.
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
        let stdout = process.stdout.take().expect("stdout was asked for");
        let mut line = String::new();
        // Without an address the pipe to the child is dropped with it, and so the child ends.
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim()
            .parse()
            .context("the null server has not said its address")?;
        Ok(Self { process, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for NullServer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // Nobody is left to tell if this fails.
        let _ = self.process.wait();
    }
}
