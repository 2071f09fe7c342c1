//! Tests of the testkit.

mod chaos;
mod cluster;
mod etcd;
mod isolation;
mod orphans;
mod proxy;
mod proxy_flow;
mod proxy_http2;
mod proxy_shape;

use std::time::Duration;

use etcdex_testkit::{Binaries, Binary, left_out};
use rustix::process::{Pid, test_kill_process};

/// Longer than any single wait takes.
const DEADLINE: Duration = Duration::from_secs(10);

/// Returns the newest etcd, if one is installed. If not, the test is left out, which this says.
fn newest() -> Option<Binary> {
    let newest = Binaries::for_tests().newest().cloned();
    if newest.is_none() {
        left_out("it needs real etcd");
    }
    newest
}

/// Returns whether the process with this ID exists and has not ended.
fn is_alive(pid: u32) -> bool {
    let raw = pid.try_into().unwrap();
    let there = test_kill_process(Pid::from_raw(raw).unwrap()).is_ok();
    // A process that has ended stays until its parent waits for it, which in a container may be
    // never.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    there && !stat.contains(") Z ")
}

/// Awaits a future that has to be ready soon.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("ready within ten seconds")
}
