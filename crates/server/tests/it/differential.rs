//! One serial history of random calls on real etcd and on the store: each reply is the same,
//! and each watch is told the same.

use etcdex_server::store::{Limits, Store};
use fastrand::Rng;

use crate::history::Call;
use crate::number;
use crate::real::Real;
use crate::watches::Watch;

/// Number of calls; `ETCDEX_STEPS` makes it another one.
const CALLS: usize = 4_000;

/// `ETCDEX_SEED` plays the same history again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_answers_as_real_etcd_does() {
    let Some(Real {
        etcd: _etcd,
        client,
        seed,
    }) = Real::start(&[]).await
    else {
        return;
    };
    let mut random = Rng::with_seed(seed);
    let mut store = Store::new(Limits::default());
    let calls = number("ETCDEX_STEPS").map_or(CALLS, |steps| usize::try_from(steps).unwrap());
    for step in 0..calls {
        let call = Call::random(&mut random, &store);
        let expected = call.to_etcd(&client).await;
        let found = call.to_store(&mut store);
        assert_eq!(found, expected, "step {step}, ETCDEX_SEED={seed}: {call:?}");
        if random.u8(..4) == 0 {
            store.sweep(random.usize(1..20));
        }
        if random.u16(..400) == 0 {
            let watch = Watch::random(&mut random, &store);
            let expected = watch.of_server(&client).await;
            let found = watch.of_store(&mut random, &mut store);
            assert_eq!(found, expected, "ETCDEX_SEED={seed}: {watch:?}");
        }
    }
}
