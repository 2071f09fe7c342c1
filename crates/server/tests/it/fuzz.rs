//! Serial histories of random calls of several identities on real etcd and on the embedded server: each
//! reply is the same, each error, and each event that a watch is told. IDs, tokens and times are left out.
//!
//! A history that shows a difference is made smaller, and printed with its seed. Histories do not
//! have: requests that end real etcd (some transactions, see `requests.rs`, and unknown actions on alarms),
//! ranges without keys by users (real etcd's answer follows from no rule), leases that expire, changes of the
//! cluster, locks and elections, and calls at the same time. The last part of ADR 0026's evidence has the
//! differences that stay.

mod call;
mod cases;
mod fields;
mod generator;
mod identity;
mod pair;
mod reply;
mod requests;
mod shrink;
mod watch;

use etcdex_testkit::Binaries;

use self::pair::{DEADLINE, Pair};
use self::shrink::Case;
use crate::number;

/// Number of calls, which take a minute in an unoptimized build; `ETCDEX_STEPS` makes it another one.
const STEPS: usize = 40_000;

/// Number of calls of a history, which begins on new servers.
const HISTORY: usize = 5_000;

/// `ETCDEX_SEED` plays the same histories again. Each has a seed of its own: that of the one before,
/// and 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_history_is_answered_as_by_real_etcd() {
    let binaries = Binaries::for_tests();
    // The embedded server answers as the newest version does.
    let Some(binary) = binaries.newest() else {
        println!("not run: there is no etcd; cargo xtask etcd gets it");
        return;
    };
    let first = number("ETCDEX_SEED").unwrap_or_else(|| fastrand::u64(..1 << 48));
    let steps = number("ETCDEX_STEPS").map_or(STEPS, |steps| usize::try_from(steps).unwrap());
    println!("etcd {}, ETCDEX_SEED={first}", binary.version());
    let lengths = (0..steps)
        .step_by(HISTORY)
        .map(|done| HISTORY.min(steps - done));
    for (seed, length) in (first..).zip(lengths) {
        let history = generator::history(seed, length);
        let mut pair = Pair::start(binary, DEADLINE).await;
        if let Err(difference) = pair.play(&history).await {
            println!("ETCDEX_SEED={seed} ETCDEX_STEPS={length} shows a difference:");
            let case = Case::new(binary, history, difference).shrink().await;
            panic!("ETCDEX_SEED={seed} ETCDEX_STEPS={length}; the smallest case found:\n{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cases_that_were_found_are_answered_as_by_real_etcd() {
    let binaries = Binaries::for_tests();
    let Some(binary) = binaries.newest() else {
        println!("not run: there is no etcd; cargo xtask etcd gets it");
        return;
    };
    let mut failed = Vec::new();
    for (name, history) in cases::all() {
        let mut pair = Pair::start(binary, DEADLINE).await;
        if let Err(difference) = pair.play(&history).await {
            failed.push((name, difference));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
