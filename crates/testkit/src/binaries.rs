//! The installed etcd binaries.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use crate::Version;

/// An installed etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    version: Version,
    etcd: PathBuf,
}

impl Binary {
    /// Returns the etcd at this path, which is run once to learn its version.
    pub fn at(etcd: impl Into<PathBuf>) -> io::Result<Self> {
        let etcd = etcd.into();
        let explain = |what: String| {
            io::Error::other(format!("{} is not a working etcd: {what}", etcd.display()))
        };
        let output = Command::new(&etcd)
            .arg("--version")
            .output()
            .map_err(|error| explain(error.to_string()))?;
        let told = String::from_utf8_lossy(&output.stdout);
        let version = told
            .lines()
            .find_map(|line| line.strip_prefix("etcd Version:"))
            .ok_or_else(|| explain(format!("--version says '{}'", told.trim())))?
            .trim()
            .parse()
            .map_err(|error| explain(format!("{error}")))?;
        Ok(Self { version, etcd })
    }

    /// Returns what stands for the binary where there is none.
    pub(crate) fn absent(version: Version) -> Self {
        Self {
            version,
            etcd: PathBuf::new(),
        }
    }

    /// Returns the version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the path of the server.
    pub fn etcd(&self) -> &Path {
        &self.etcd
    }

    /// Returns the path of the command-line client of the same version, if it is installed.
    pub fn etcdctl(&self) -> Option<PathBuf> {
        self.beside("etcdctl")
    }

    /// Returns the path of the offline tool of the same version, if it is installed; etcd 3.4 has
    /// none.
    pub fn etcdutl(&self) -> Option<PathBuf> {
        self.beside("etcdutl")
    }

    fn beside(&self, tool: &str) -> Option<PathBuf> {
        Some(self.etcd.with_file_name(tool)).filter(|path| path.exists())
    }
}

/// The installed etcd binaries, and the versions that could be installed.
///
/// `ETCDEX_ETCD` names the one etcd to use and overrides the rest. Otherwise the binaries are those
/// in the folder `ETCDEX_ETCD_DIR`, or else in `target/etcd` of the workspace, where `cargo xtask
/// etcd` puts them.
#[derive(Clone, Debug)]
pub struct Binaries {
    all: Vec<Binary>,
    missing: Vec<Version>,
}

impl Binaries {
    /// Finds the binaries.
    pub fn find() -> io::Result<Self> {
        if let Some(etcd) = variable("ETCDEX_ETCD") {
            return Ok(Self {
                all: vec![Binary::at(etcd)?],
                missing: Vec::new(),
            });
        }
        let workspace = workspace()?;
        let folder = variable("ETCDEX_ETCD_DIR")
            .map_or_else(|| workspace.join("target").join("etcd"), PathBuf::from);
        let all: Vec<Binary> = versions(&folder)
            .into_iter()
            .map(|version| Binary {
                version,
                etcd: folder.join(version.to_string()).join("etcd"),
            })
            .filter(|binary| binary.etcd.exists())
            .collect();
        let mut missing = versions(&workspace.join("xtask").join("etcd"));
        missing.retain(|version| all.iter().all(|binary| binary.version != *version));
        Ok(Self { all, missing })
    }

    /// Finds the binaries for a test, and prints their versions once per process.
    ///
    /// # Panics
    ///
    /// When `ETCDEX_REQUIRE_ETCD=1` is set, as in CI, and a version is missing; or when
    /// `ETCDEX_ETCD` names something that is no etcd.
    pub fn for_tests() -> Self {
        let binaries = match Self::find() {
            Ok(binaries) => binaries,
            Err(error) => panic!("{error}"),
        };
        binaries.announce();
        let required = variable("ETCDEX_REQUIRE_ETCD").is_some_and(|value| value != "0");
        assert!(
            !required || (binaries.missing.is_empty() && !binaries.all.is_empty()),
            "{}; ETCDEX_REQUIRE_ETCD requires all of them: run cargo xtask etcd",
            binaries.summary()
        );
        binaries
    }

    /// Returns the installed versions, in ascending order.
    pub fn all(&self) -> &[Binary] {
        &self.all
    }

    /// Returns the newest installed version.
    pub fn newest(&self) -> Option<&Binary> {
        self.all.last()
    }

    /// Returns the binary of this version.
    pub fn of(&self, version: Version) -> Option<&Binary> {
        self.all.iter().find(|binary| binary.version == version)
    }

    /// Returns the versions that `cargo xtask etcd` can get and that are not installed.
    pub fn missing(&self) -> &[Version] {
        &self.missing
    }

    /// Returns the installed and the missing versions, in a line.
    pub fn summary(&self) -> String {
        let there: Vec<Version> = self.all.iter().map(Binary::version).collect();
        let mut line = format!("etcd versions: {}", listed(&there));
        if !self.missing.is_empty() {
            line.push_str(&format!("; missing: {}", listed(&self.missing)));
        }
        line
    }

    /// Prints the [summary](Self::summary) to standard error, once per process.
    pub fn announce(&self) {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let hint = if self.missing.is_empty() {
                ""
            } else {
                " (cargo xtask etcd gets them)"
            };
            // Not eprintln, which the test harness captures. An error here is ignored.
            let _ = writeln!(io::stderr(), "{}{hint}", self.summary());
        });
    }
}

/// Says on standard error that the test of this thread is left out, and why.
pub fn left_out(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // As above.
    let _ = writeln!(io::stderr(), "left out: {test}: {reason}");
}

fn listed(versions: &[Version]) -> String {
    if versions.is_empty() {
        return "none".to_owned();
    }
    let versions: Vec<String> = versions.iter().map(Version::to_string).collect();
    versions.join(", ")
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the versions with a subfolder of this folder, in ascending order.
fn versions(folder: &Path) -> Vec<Version> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut versions: Vec<Version> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable();
    versions
}

/// Returns the workspace in which this crate was built, or else the one of the current folder.
fn workspace() -> io::Result<PathBuf> {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runs_in = std::env::current_dir()?;
    let root = built_in
        .ancestors()
        .chain(runs_in.ancestors())
        .find(|folder| folder.join("xtask").join("etcd").is_dir());
    root.map(Path::to_path_buf).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "cannot find the etcdex workspace; set ETCDEX_ETCD to the etcd to use",
        )
    })
}
