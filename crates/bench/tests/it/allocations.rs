//! The maximum number of allocations of a call. The counts do not depend on the machine, so they
//! are committed. A change that makes a call cheaper lowers its number here.

use etcdex_bench::peer::{Etcdex, Peer, RawH2};
use etcdex_bench::reading::{Reading, Start};
use etcdex_bench::unary::{Load, Op, round};

use crate::{alone, start};

const CALLS: u32 = 1_000;

/// Tolerance above a whole number: h2 allocates a new read buffer only every ten calls or so, and a
/// table of the runtime may grow.
const SLACK: f64 = 0.1;

/// Allocations of a minimal put over h2. This baseline distinguishes a change of h2 from one of
/// etcdex.
const RAW_H2_PUT: f64 = 9.0;
/// Allocations of a minimal get, whose reply has a list of one key.
const RAW_H2_GET: f64 = 10.0;

/// Allocations of a put with etcdex: time-outs, retries, fail-over and keep-alive allocate nothing.
const ETCDEX_PUT: f64 = 9.0;
/// Allocations of a get with etcdex: the list of the reply is converted in place.
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
    // A thread of the test harness may allocate too.
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
        .expect("the runtime is built");
    runtime.block_on(async {
        let peer = connect(server.address())
            .await
            .expect("the client connects");
        for (op, limit) in [(Op::Put, put), (Op::Get, get)] {
            let count = per_call(&peer, op).await;
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

/// Returns the allocations per call, after a round of warm-up.
async fn per_call(peer: &impl Peer, op: Op) -> f64 {
    let load = Load {
        op,
        callers: 1,
        calls: CALLS,
    };
    round(peer, load).await.expect("the calls succeed");
    let Reading { allocations, .. } = round(peer, load).await.expect("the calls succeed");
    allocations as f64 / f64::from(CALLS)
}
