//! The servers that are compared.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use etcdex_testkit::{Binary, Etcd};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A server in a process of its own, which ends with this.
pub(super) enum Subject {
    Etcd(Box<Etcd>),
    Embedded { process: Box<Child>, url: String },
}

impl Subject {
    pub(super) async fn etcd(binary: &Binary) -> anyhow::Result<Self> {
        let arguments = ["--unsafe-no-fsync", "--quota-backend-bytes=8589934592"];
        let etcd = Etcd::builder().binary(binary).args(arguments).start();
        Ok(Self::Etcd(Box::new(etcd.await?)))
    }

    pub(super) async fn embedded(program: &Path) -> anyhow::Result<Self> {
        let mut process = Command::new(program)
            .args(["serve", "--listen-client-urls=http://127.0.0.1:0"])
            .arg("--quota-backend-bytes=8589934592")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start etcdex")?;
        let output = process.stdout.take().context("the output is a pipe")?;
        let line = BufReader::new(output).lines().next_line().await?;
        let url = line
            .as_deref()
            .and_then(|line| line.strip_prefix("ready: "));
        let url = url
            .context("etcdex has not said that it serves")?
            .to_owned();
        Ok(Self::Embedded {
            process: Box::new(process),
            url,
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Etcd(_) => "etcd",
            Self::Embedded { .. } => "embedded",
        }
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::Etcd(etcd) => etcd.endpoint(),
            Self::Embedded { url, .. } => url.clone(),
        }
    }

    /// Returns the resident memory of the process in MiB.
    pub(super) fn memory(&self) -> anyhow::Result<f64> {
        let process = match self {
            Self::Etcd(etcd) => etcd.pid(),
            Self::Embedded { process, .. } => process.id(),
        };
        let process = process.context("the server has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let word = line.and_then(|line| line.split_whitespace().nth(1));
        let kibibytes: f64 = word.context("the system does not tell")?.parse()?;
        Ok(kibibytes / 1024.0)
    }
}
