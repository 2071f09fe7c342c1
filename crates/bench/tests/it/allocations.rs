//! What a call may allocate at most. Counts do not depend on the machine, so they can be
//! committed; who makes a call cheaper lowers its number here.

use etcdex_bench::peer::{Etcdex, Peer, RawH2};
use etcdex_bench::reading::{Reading, Start};
use etcdex_bench::unary::{Load, Op, round};

use crate::{alone, start};

const CALLS: u32 = 1_000;

/// Over the whole of a call's allocations: h2 takes a new buffer for what it reads only after
/// some ten calls, and a table in the runtime may grow.
const SLACK: f64 = 0.1;

/// The least that a put over h2 allocates: the yardstick, so that a change of h2 is not taken
/// for one of etcdex.
const RAW_H2_PUT: f64 = 9.0;
/// The same for a get, whose reply has a list of one key.
const RAW_H2_GET: f64 = 10.0;

/// A put with etcdex: its time-out, retries, fail-over and keep-alive allocate nothing.
const ETCDEX_PUT: f64 = 9.0;
/// A get with etcdex: the reply's list is converted in place.
const ETCDEX_GET: f64 = 10.0;

#[test]
fn etcdex_allocates_no_more_than_it_did() {
    let _turn = alone();
    within(Etcdex::connect, ETCDEX_PUT, ETCDEX_GET);
}

#[test]
fn raw_h2_allocates_no_more_than_it_did() {
    let _turn = alone();
    within(RawH2::connect, RAW_H2_PUT, RAW_H2_GET);
}

#[test]
fn the_counter_counts() {
    let _turn = alone();
    let start = Start::now();
    let mut boxes = Vec::with_capacity(1_000);
    boxes.extend((0..1_000_u64).map(Box::new));
    let reading = start.reading();

    assert_eq!(boxes.len(), 1_000);
    // The test harness has a thread of its own, which may allocate too.
    assert!((1_001..1_101).contains(&reading.allocations), "{reading:?}");
    assert!(reading.bytes >= 1_000 * (size_of::<u64>() + size_of::<usize>()));
}

fn within<P: Peer>(
    connect: impl AsyncFnOnce(std::net::SocketAddr) -> anyhow::Result<P>,
    put: f64,
    get: f64,
) {
    let server = start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let peer = connect(server.address()).await.expect("it connects");
        for (op, limit) in [(Op::Put, put), (Op::Get, get)] {
            let count = a_call(&peer, op).await;
            let name = op.as_str();
            assert!(
                count <= limit + SLACK,
                "a {name} allocates {count} times, and {limit} is the limit"
            );
            assert!(
                count > limit - 1.0 + SLACK,
                "a {name} allocates {count} times only: lower its limit of {limit}"
            );
        }
    });
}

/// The allocations of one call, after as many calls to warm up as are counted.
async fn a_call(peer: &impl Peer, op: Op) -> f64 {
    let load = Load {
        op,
        callers: 1,
        calls: CALLS,
    };
    round(peer, load).await.expect("the calls succeed");
    let Reading { allocations, .. } = round(peer, load).await.expect("the calls succeed");
    allocations as f64 / f64::from(CALLS)
}
