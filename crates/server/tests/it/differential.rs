//! One serial history of random calls on real etcd and on the store: each reply is the same,
//! and each watch is told the same.

use etcdex::Client;
use etcdex_server::store::{Limits, Store};
use etcdex_testkit::{Binaries, Etcd};
use fastrand::Rng;

use crate::history::Call;
use crate::{number, watches};

/// Number of calls; `ETCDEX_STEPS` makes it another one.
const CALLS: usize = 4_000;

/// `ETCDEX_SEED` plays the same history again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_answers_as_real_etcd_does() {
    let binaries = Binaries::for_tests();
    // It answers as the newest version does.
    let Some(binary) = binaries.newest() else {
        println!("not run: there is no etcd; cargo xtask etcd gets it");
        return;
    };
    let seed = number("ETCDEX_SEED").unwrap_or_else(|| fastrand::u64(..1 << 48));
    println!("etcd {}, ETCDEX_SEED={seed}", binary.version());
    let etcd = Etcd::builder().binary(binary).start().await.unwrap();
    let client = Client::connect(etcd.endpoint()).await.unwrap();
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
            watches::compare(&mut random, &mut store, &client).await;
        }
    }
}
