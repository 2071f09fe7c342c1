//! Running `etcdex` and `etcdctl`.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use etcdex_testkit::{Binaries, Binary, Etcd};

/// What a command wrote, and how it ended.
#[derive(Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Ended {
    /// The one line that a failure has to be.
    #[track_caller]
    pub(crate) fn refusal(&self) -> &str {
        assert_eq!(self.stdout, "", "{self:?}");
        let line = self.stderr.strip_suffix('\n');
        let line = line.unwrap_or_else(|| panic!("there is no line: {self:?}"));
        assert!(
            line.starts_with("Error: ") && !line.contains('\n'),
            "{line}"
        );
        line
    }

    #[track_caller]
    pub(crate) fn is_good(&self) -> &Self {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self
    }
}

/// A command without the flags that the test's own environment may hold.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("ETCDCTL_") || text.starts_with("ETCDEX_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

pub(crate) fn etcdex() -> Command {
    command(env!("CARGO_BIN_EXE_etcdex"))
}

/// `etcdex` with these words, on this server.
pub(crate) fn etcdex_on(etcd: &Etcd, words: &[&str]) -> Ended {
    run(etcdex().arg("--endpoints").arg(etcd.endpoint()).args(words))
}

/// The `etcdctl` beside this server, on it.
pub(crate) fn etcdctl_on(etcd: &Etcd, words: &[&str]) -> Ended {
    let etcdctl = etcd.binary().etcdctl().expect("etcdctl is beside etcd");
    run(command(etcdctl)
        .arg("--endpoints")
        .arg(etcd.endpoint())
        .args(words))
}

pub(crate) fn run(command: &mut Command) -> Ended {
    let began = Instant::now();
    let output = command.output();
    ended(
        output.unwrap_or_else(|error| panic!("{command:?}: {error}")),
        began,
    )
}

/// Runs it with that on its standard input.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Ended {
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut pipe = child.stdin.take().expect("its input is a pipe");
    pipe.write_all(input).expect("it reads its input");
    drop(pipe);
    ended(child.wait_with_output().expect("it ends"), began)
}

fn ended(output: Output, began: Instant) -> Ended {
    // Bytes that are no text must stay distinct.
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string(),
    };
    Ended {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
        took: began.elapsed(),
    }
}

/// The newest etcd that has an etcdctl; none where no etcd is.
pub(crate) fn newest() -> Option<Binary> {
    let binaries = Binaries::for_tests();
    let newest = binaries.newest().cloned();
    newest.filter(|binary| binary.etcdctl().is_some())
}

/// A server of the newest version.
pub(crate) async fn start(binary: &Binary) -> Etcd {
    Etcd::start(binary)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Whether nothing is in the folder.
pub(crate) fn is_empty(folder: &Path) -> bool {
    folder
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_none())
}
