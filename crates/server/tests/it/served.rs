//! One serial history of random calls on real etcd and on the embedded server, by the same client:
//! each reply is the same, and each watch is told the same.

use etcdex::Client;
use etcdex_server::Server;
use etcdex_server::store::{Limits, Store};
use fastrand::Rng;

use crate::history::Call;
use crate::number;
use crate::real::Real;
use crate::watches::Watch;

/// Number of calls; `ETCDEX_STEPS` makes it another one.
const CALLS: usize = 2_000;

/// `ETCDEX_SEED` plays the same history again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_answers_as_real_etcd_does() {
    let Some(Real {
        etcd: _etcd,
        client: real,
        seed,
    }) = Real::start(&[]).await
    else {
        return;
    };
    let server = Server::builder().start().await.unwrap();
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
        if random.u16(..200) == 0 {
            let watch = Watch::random(&mut random, &model);
            let expected = watch.of_server(&real).await;
            let found = watch.of_server(&embedded).await;
            assert_eq!(found, expected, "ETCDEX_SEED={seed}: {watch:?}");
        }
    }
}
