//! Runs `etcdex` and `etcdctl`.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use etcdex_testkit::{Binaries, Binary, Etcd, left_out};

/// The output and the exit code of a command that has ended.
#[derive(Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Ended {
    /// Asserts that the only output is one line of error, and returns the line.
    #[track_caller]
    pub(crate) fn error_line(&self) -> &str {
        assert_eq!(self.stdout, "", "{self:?}");
        let line = self.stderr.strip_suffix('\n');
        let line = line.unwrap_or_else(|| panic!("there is no line: {self:?}"));
        assert!(
            line.starts_with("Error: ") && !line.contains('\n'),
            "{line}"
        );
        line
    }

    /// Asserts success without a word on standard error.
    #[track_caller]
    pub(crate) fn succeeded(&self) -> &Self {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self
    }
}

/// Returns a command without the variables of flags in the test's own environment.
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

/// Runs `etcdex` with these arguments on this server.
pub(crate) fn etcdex_on(etcd: &Etcd, arguments: &[&str]) -> Ended {
    run(etcdex()
        .arg("--endpoints")
        .arg(etcd.endpoint())
        .args(arguments))
}

/// Runs the `etcdctl` of this server's version with these arguments on the server.
pub(crate) fn etcdctl_on(etcd: &Etcd, arguments: &[&str]) -> Ended {
    let etcdctl = etcd.binary().etcdctl().expect("etcdctl is beside etcd");
    run(command(etcdctl)
        .arg("--endpoints")
        .arg(etcd.endpoint())
        .args(arguments))
}

pub(crate) fn run(command: &mut Command) -> Ended {
    let began = Instant::now();
    let output = command.output();
    ended(
        output.unwrap_or_else(|error| panic!("{command:?}: {error}")),
        began,
    )
}

/// Starts a command whose output goes to pipes.
pub(crate) fn spawn(command: &mut Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts")
}

/// Runs a command with this standard input.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Ended {
    let began = Instant::now();
    let mut child = spawn(command.stdin(Stdio::piped()));
    let mut pipe = child.stdin.take().expect("the input is a pipe");
    pipe.write_all(input).expect("the command reads its input");
    drop(pipe);
    let output = child.wait_with_output().expect("the command ends");
    ended(output, began)
}

fn ended(output: Output, began: Instant) -> Ended {
    // Different bytes that are not UTF-8 must not become the same text.
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

/// Returns the newest etcd, if the machine has one with an etcdctl. If not, the test is left out, which this
/// says.
pub(crate) fn newest() -> Option<Binary> {
    let binaries = Binaries::for_tests();
    let newest = binaries.newest().cloned();
    let newest = newest.filter(|binary| binary.etcdctl().is_some());
    if newest.is_none() {
        left_out("it needs real etcd");
    }
    newest
}

/// Starts a server.
pub(crate) async fn start(binary: &Binary) -> Etcd {
    Etcd::start(binary)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Whether the folder is empty.
pub(crate) fn is_empty(folder: &Path) -> bool {
    folder
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_none())
}
