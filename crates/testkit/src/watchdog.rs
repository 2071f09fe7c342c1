//! Kills the servers of a test process that was killed before it could do so itself.
//!
//! One shell per test process reads the ids of the servers from a pipe. The pipe closes when
//! the test process ends, however it ends, and the shell then kills those that are left.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Told `+ <pid>` and `- <pid>`, one a line.
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
"#;

struct Watchdog {
    pipe: ChildStdin,
    /// Never waited for: it ends after this process.
    _shell: Child,
}

static WATCHDOG: Mutex<Option<Watchdog>> = Mutex::new(None);

/// Has this child killed when this process ends.
pub(crate) fn watch(pid: u32) -> io::Result<()> {
    // The state is whole whoever panicked with it: writing a line is all that happens.
    let mut watchdog = WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner);
    let watchdog = match &mut *watchdog {
        Some(watchdog) => watchdog,
        none => none.insert(start()?),
    };
    writeln!(watchdog.pipe, "+ {pid}")
}

/// To be called before the child is waited for: from then on its id can be another's.
pub(crate) fn forget(pid: u32) {
    let mut watchdog = WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(watchdog) = &mut *watchdog {
        // If the shell is gone there is nobody to tell.
        let _ = writeln!(watchdog.pipe, "- {pid}");
    }
}

fn start() -> io::Result<Watchdog> {
    let mut shell = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What ends the test's process group, as Ctrl-C does, must not end this first.
        .process_group(0)
        .spawn()?;
    let pipe = shell.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok(Watchdog {
        pipe,
        _shell: shell,
    })
}
