//! Where the tour's server comes from: from the user, or from an etcd that the tour starts.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::page::{Page, milliseconds};
use crate::args::Global;
use crate::failure::Failure;

/// How long an etcd may take until it answers.
const START: Duration = Duration::from_secs(20);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);
/// Somebody else may take a port between finding and using it; then others are tried.
const ATTEMPTS: usize = 3;
/// These come ready-made in seconds; the others are compiled.
const QUICK: [&str; 2] = ["3.5.1", "3.4.23"];
const HOW_TO_GET_ONE: &str = "run cargo xtask etcd in the workspace of etcdex, \
     set ETCDEX_ETCD to the path of an etcd, or give the --endpoints of a running one";

/// A server to show things on.
pub(super) struct Server {
    endpoints: Vec<String>,
    own: Option<Etcd>,
}

impl Server {
    /// The one of the command line, or one that is started.
    pub(super) async fn find(global: &Global, page: &mut Page) -> Result<Self, Failure> {
        if !global.endpoints.is_empty() {
            return Ok(Self {
                endpoints: global.endpoints.clone(),
                own: None,
            });
        }
        let binary = match binary()? {
            Some(binary) => binary,
            None => fetched(page).await?,
        };
        page.line(&format!(
            "Starting {} on 127.0.0.1, in a throw-away folder.",
            binary.display()
        ))?;
        let began = Instant::now();
        let etcd = Etcd::start(&binary).await?;
        page.line(&format!(
            "It answers after {}.",
            milliseconds(began.elapsed())
        ))?;
        Ok(Self {
            endpoints: vec![format!("127.0.0.1:{}", etcd.port)],
            own: Some(etcd),
        })
    }

    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Whether nobody else uses it.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// What it calls itself. It is asked over plain HTTP; one that does not answer that has no
    /// version here, and the tour does without.
    pub(super) async fn version(&self) -> Option<String> {
        let address = self.endpoints.first()?.trim_start_matches("http://");
        let answer = timeout(Duration::from_secs(1), ask(address, "/version"));
        let text = answer.await.ok()?.ok()?;
        let version = text.split("\"etcdserver\":\"").nth(1)?.split('"').next()?;
        let is_plain = version
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c));
        is_plain.then(|| format!("etcd {version}"))
    }
}

async fn ask(address: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(64 << 10).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The etcd to start, if there is one.
fn binary() -> Result<Option<PathBuf>, Failure> {
    if let Some(chosen) = variable("ETCDEX_ETCD").map(PathBuf::from) {
        if chosen.is_file() {
            return Ok(Some(chosen));
        }
        let text = format!("ETCDEX_ETCD is {}, and there is no file", chosen.display());
        return Err(Failure::Work(text));
    }
    let path = variable("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("etcd"));
    let mut candidates = on_path.chain(below_target());
    Ok(candidates.find(|etcd| etcd.is_file()))
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Those that `cargo xtask etcd` has put there, the newest first.
fn below_target() -> Vec<PathBuf> {
    let Some(workspace) = workspace() else {
        return Vec::new();
    };
    let folder = variable("ETCDEX_ETCD_DIR")
        .map_or_else(|| workspace.join("target").join("etcd"), PathBuf::from);
    let versions = versions(&folder).into_iter();
    versions
        .map(|version| folder.join(version).join("etcd"))
        .collect()
}

/// The workspace that this was built in, or that it runs in.
fn workspace() -> Option<PathBuf> {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runs_in = std::env::current_dir().unwrap_or_default();
    let mut folders = built_in.ancestors().chain(runs_in.ancestors());
    let root = folders.find(|folder| folder.join("xtask").join("etcd").is_dir())?;
    Some(root.to_owned())
}

/// The subfolders that are named after versions, the newest first.
fn versions(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut versions: Vec<(Vec<u32>, String)> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let parts = name.split('.').map(str::parse).collect::<Result<_, _>>();
            Some((parts.ok()?, name))
        })
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, name)| name).collect()
}

/// Has the workspace's own chore get an etcd.
async fn fetched(page: &mut Page) -> Result<PathBuf, Failure> {
    let Some(workspace) = workspace() else {
        return Err(Failure::Work(format!(
            "there is no etcd here: {HOW_TO_GET_ONE}"
        )));
    };
    let mut known = versions(&workspace.join("xtask").join("etcd"));
    known.sort_by_key(|version| {
        QUICK
            .iter()
            .position(|q| q == version)
            .unwrap_or(QUICK.len())
    });
    for version in known {
        page.line(&format!(
            "There is no etcd here yet: cargo xtask etcd {version}"
        ))?;
        let cargo = variable("CARGO").unwrap_or_else(|| "cargo".into());
        let status = tokio::process::Command::new(cargo)
            .args(["xtask", "etcd", &version])
            .current_dir(&workspace)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await;
        let found = binary()?;
        match (status, found) {
            (Ok(status), Some(etcd)) if status.success() => return Ok(etcd),
            (Err(error), _) => {
                let text = format!("cannot run cargo xtask etcd ({error}): {HOW_TO_GET_ONE}");
                return Err(Failure::Work(text));
            }
            _ => page.line("That did not work; the lines above say why.")?,
        }
    }
    Err(Failure::Work(format!(
        "could not get an etcd: {HOW_TO_GET_ONE}"
    )))
}

/// A running etcd of the tour's own. Dropping it kills it and removes its folder.
struct Etcd {
    process: Child,
    port: u16,
    // After the process has ended: it writes into it.
    folder: TempDir,
}

impl Etcd {
    async fn start(binary: &Path) -> Result<Self, Failure> {
        let mut attempt = 1;
        loop {
            let mut etcd = Self::spawn(binary).map_err(|error| {
                Failure::Work(format!("cannot start {}: {error}", binary.display()))
            })?;
            match etcd.ready().await {
                Ok(()) => return Ok(etcd),
                Err(log) if attempt < ATTEMPTS && log.contains("address already in use") => {
                    attempt += 1;
                }
                Err(log) => {
                    let text = format!("{} does not come up: {log}", binary.display());
                    return Err(Failure::Work(text));
                }
            }
        }
    }

    fn spawn(binary: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("etcdex-tour-").tempdir()?;
        let (port, peer) = ports()?;
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
        // They are a second source of flags.
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

    /// Waits until it says that it is healthy. The error is the end of its log.
    async fn ready(&mut self) -> Result<(), String> {
        let address = format!("127.0.0.1:{}", self.port);
        let began = Instant::now();
        while began.elapsed() < START {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(format!("it ended ({status}); {}", self.last_words()));
            }
            let answer = timeout(Duration::from_secs(2), ask(&address, "/health")).await;
            if answer.is_ok_and(|answer| answer.is_ok_and(|text| text.contains("\"true\""))) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        Err(format!("no healthy answer; {}", self.last_words()))
    }

    fn last_words(&self) -> String {
        let log = fs::read(self.folder.path().join("etcd.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let line = log.lines().rfind(|line| !line.trim().is_empty());
        format!("its log ends: {}", line.unwrap_or("(nothing)"))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // Errors mean that it has ended already, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two ports that are free just now.
fn ports() -> io::Result<(u16, u16)> {
    let one = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok((one.local_addr()?.port(), other.local_addr()?.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["3.5.9", "3.10.0", "3.5.35", ".staging", "3.6.x"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(versions(folder.path()), ["3.10.0", "3.5.35", "3.5.9"]);
        assert!(versions(&folder.path().join("absent")).is_empty());
    }
}
