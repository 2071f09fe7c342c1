//! Every fault of a member in every mode: three members under steady load.
//!
//! One client of each mode goes through the same faults, each behind proxies of its own. All three
//! clients use the member that a fault hits: the client with [`Mode::PickFirst`] has chosen it, and
//! the other modes use every member.
//!
//! The test runs on the newest etcd; `ETCDEX_MATRIX=all` runs it on every installed version, one
//! after the other, and `ETCDEX_MATRIX=3.5.35` on that one. With `--nocapture` it prints its
//! measurements.

mod fault;
mod traffic;

use std::time::Duration;

use etcdex::Mode;
use etcdex_testkit::{Binary, Etcd};

use self::fault::{Fault, Role};
use self::traffic::{Gaps, Traffic};
use crate::stage;

/// Maximum time without a successful answer: the default time-out of a call.
const BOUND: Duration = Duration::from_secs(5);

const FAULTS: [Fault; 8] = [
    Fault::Kill(Role::Leader),
    Fault::Kill(Role::Follower),
    Fault::Stop(Role::Leader),
    Fault::Stop(Role::Follower),
    Fault::Cut,
    Fault::Hang(Role::Leader),
    Fault::Hang(Role::Follower),
    Fault::RollingRestart,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mode_goes_through_every_fault() {
    for binary in chosen() {
        go_through_all(&binary).await;
    }
}

/// Returns the versions that `ETCDEX_MATRIX` selects.
pub(crate) fn chosen() -> Vec<Binary> {
    let wish = std::env::var("ETCDEX_MATRIX").unwrap_or_default();
    if wish == "all" {
        return stage::all().to_vec();
    }
    if wish.is_empty() {
        return stage::newest().into_iter().cloned().collect();
    }
    let all = stage::all().iter();
    let chosen: Vec<Binary> = all
        .filter(|binary| binary.version().to_string() == wish)
        .cloned()
        .collect();
    assert!(
        !chosen.is_empty(),
        "ETCDEX_MATRIX={wish}: this version is not installed"
    );
    chosen
}

async fn go_through_all(binary: &Binary) {
    let builder = Etcd::builder().binary(binary).peer_proxies();
    let cluster = builder.start_cluster(3).await.unwrap();
    let mut all = Vec::new();
    for mode in [Mode::PickFirst, Mode::Random, Mode::ConnectAll] {
        all.push(Traffic::start(&cluster, mode).await);
    }
    let mut rows = Vec::new();
    for fault in FAULTS {
        let target = fault.prepare(&cluster, &all[0]).await;
        for traffic in &mut all {
            traffic.flows().await;
            traffic.assert_uses(target).await;
            traffic.gaps.clear();
        }
        fault.run(&cluster, &all, target).await;
        for traffic in &mut all {
            traffic.flows().await;
            if fault == Fault::Stop(Role::Leader) {
                traffic.change_lease().await;
            }
            traffic.assert_lease_lives().await;
            rows.push((fault, traffic.mode, traffic.gaps.seen()));
        }
    }
    for traffic in all {
        traffic.end().await;
    }
    print(binary, &rows);
    for (fault, mode, seen) in &rows {
        let longest = seen.read.max(seen.write);
        assert!(longest < BOUND, "{fault}, {mode:?}: {seen:?}");
    }
}

fn print(binary: &Binary, rows: &[(Fault, Mode, Gaps)]) {
    println!("etcd {}, in milliseconds:", binary.version());
    println!(
        "{:22} {:10} {:>12} {:>13} {:>8} {:>8} {:>10}",
        "fault", "mode", "longest read", "longest write", "unknown", "applied", "lease left"
    );
    for (fault, mode, seen) in rows {
        println!(
            "{:22} {:10} {:>12} {:>13} {:>8} {:>8} {:>10} {}",
            fault.to_string(),
            format!("{mode:?}"),
            seen.read.as_millis(),
            seen.write.as_millis(),
            seen.unknown,
            seen.applied,
            seen.lease.as_millis(),
            if seen.revoked {
                "then the old leader revoked it"
            } else {
                ""
            },
        );
    }
}
