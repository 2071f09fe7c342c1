//! One serial history of random calls on real etcd and on the embedded server, by the same client:
//! each reply is the same.

use etcdex::Client;
use etcdex_server::Server;
use etcdex_server::store::{Limits, Store};
use etcdex_testkit::{Binaries, Etcd};
use fastrand::Rng;

use crate::history::Call;
use crate::number;

/// Number of calls; `ETCDEX_STEPS` makes it another one.
const CALLS: usize = 2_000;

/// `ETCDEX_SEED` plays the same history again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_answers_as_real_etcd_does() {
    let binaries = Binaries::for_tests();
    let Some(binary) = binaries.newest() else {
        println!("not run: there is no etcd; cargo xtask etcd gets it");
        return;
    };
    let seed = number("ETCDEX_SEED").unwrap_or_else(|| fastrand::u64(..1 << 48));
    println!("etcd {}, ETCDEX_SEED={seed}", binary.version());
    let etcd = Etcd::builder().binary(binary).start().await.unwrap();
    let real = Client::connect(etcd.endpoint()).await.unwrap();
    let server = Server::start().unwrap();
    let embedded = Client::connect(server.client_url()).await.unwrap();
    let mut random = Rng::with_seed(seed);
    // Random calls are about keys and revisions that there are.
    let mut model = Store::new(Limits::default());
    let calls = number("ETCDEX_STEPS").map_or(CALLS, |steps| usize::try_from(steps).unwrap());
    for step in 0..calls {
        let call = Call::random(&mut random, &model);
        let _ = call.to_store(&mut model);
        let expected = call.to_etcd(&real).await;
        let found = call.to_etcd(&embedded).await;
        assert_eq!(found, expected, "step {step}, ETCDEX_SEED={seed}: {call:?}");
    }
}
