//! Kills the servers of a test process that was killed.
//!
//! A shell for each test process reads the IDs of the servers from a pipe. The pipe closes when the
//! test process ends for any reason. The shell then kills the remaining servers, and removes the
//! folder with their data.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Reads lines `+ <pid>` and `- <pid>`; its argument is the folder.
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
    /// Never waited for: the shell ends after this process.
    _shell: Child,
}

static WATCHDOG: Mutex<Option<Watchdog>> = Mutex::new(None);

/// Returns the folder for the data of this process's servers, which is removed after this process.
pub(crate) fn folder() -> io::Result<PathBuf> {
    with(|watchdog| Ok(watchdog.folder.clone()))
}

/// Registers a child, which is killed when this process ends.
pub(crate) fn watch(pid: u32) -> io::Result<()> {
    with(|watchdog| writeln!(watchdog.pipe, "+ {pid}"))
}

/// Removes a child. Call this before waiting for the child: afterwards its ID may belong to another
/// process.
pub(crate) fn forget(pid: u32) {
    // An error means that the shell has ended.
    let _ = with(|watchdog| writeln!(watchdog.pipe, "- {pid}"));
}

/// Runs `act` on the watchdog of this process, which the first call starts.
fn with<T>(act: impl FnOnce(&mut Watchdog) -> io::Result<T>) -> io::Result<T> {
    // A panic leaves the state consistent: `act` only writes a line.
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
        // Ctrl-C ends the test's process group, and must not end the shell first.
        .process_group(0)
        .spawn()?;
    let pipe = shell.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok(Watchdog {
        pipe,
        // From here on the shell removes the folder.
        folder: folder.keep(),
        _shell: shell,
    })
}
