//! The testkit tested: a test is worth what its tools are.

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

use etcdex_testkit::{Binaries, Binary};
use rustix::process::{Pid, test_kill_process};

/// More than any single wait takes here.
const DEADLINE: Duration = Duration::from_secs(10);

/// The newest etcd, if there is one at all.
fn newest() -> Option<Binary> {
    Binaries::for_tests().newest().cloned()
}

/// Whether a process of this id is there and has not ended.
fn is_alive(pid: u32) -> bool {
    let raw = pid.try_into().unwrap();
    let there = test_kill_process(Pid::from_raw(raw).unwrap()).is_ok();
    // One that has ended is there until its parent asks, which in a container may be never.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    there && !stat.contains(") Z ")
}

/// Waits for what is to come soon.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("this comes within ten seconds")
}
