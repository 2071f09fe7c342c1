//! Kills the servers of a test process that was killed before it could do so itself.
//!
//! One shell per test process reads the ids of the servers from a pipe. The pipe closes when
//! the test process ends, however it ends; the shell then kills the servers that are left,
//! and removes the folder that all of them have their data in.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Told `+ <pid>` and `- <pid>`, one a line; its argument is the folder.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
pids=' '
while read -r sign pid; do
    case $sign in
        +) pids="$pids$pid " ;;
        -) pids="${pids%% "$pid" *} ${pids#* "$pid" }" ;;
    esac
done
[ "$pids" = ' ' ] || kill -9 $pids
# The second time is for what a server wrote while it was being killed.
rm -rf -- "$1" || rm -rf -- "$1"
"#;

struct Watchdog {
    pipe: ChildStdin,
    folder: PathBuf,
    /// Never waited for: it ends after this process.
    _shell: Child,
}

static WATCHDOG: Mutex<Option<Watchdog>> = Mutex::new(None);

/// The folder for the data of this process's servers. It is gone after this process.
pub(crate) fn folder() -> io::Result<PathBuf> {
    with(|watchdog| Ok(watchdog.folder.clone()))
}

/// Has this child killed when this process ends.
pub(crate) fn watch(pid: u32) -> io::Result<()> {
    with(|watchdog| writeln!(watchdog.pipe, "+ {pid}"))
}

/// To be called before the child is waited for: from then on its id can be another's.
pub(crate) fn forget(pid: u32) {
    // If the shell is gone there is nobody to tell.
    let _ = with(|watchdog| writeln!(watchdog.pipe, "- {pid}"));
}

/// Acts on the watchdog of this process, which is started by the first who asks for it.
fn with<T>(act: impl FnOnce(&mut Watchdog) -> io::Result<T>) -> io::Result<T> {
    // The state is whole whoever panicked with it: writing a line is all that happens.
    let mut watchdog = WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *watchdog {
        Some(watchdog) => act(watchdog),
        none => act(none.insert(start()?)),
    }
}

fn start() -> io::Result<Watchdog> {
    let folder = tempfile::Builder::new()
        .prefix("etcdex-testkit-")
        .tempdir()?;
    let mut shell = Command::new("sh")
        .args(["-c", SCRIPT, "watchdog"])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What ends the test's process group, as Ctrl-C does, must not end this first.
        .process_group(0)
        .spawn()?;
    let pipe = shell.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok(Watchdog {
        pipe,
        // The shell removes it from here on.
        folder: folder.keep(),
        _shell: shell,
    })
}
