//! A client in a `static`, used in one tokio runtime after another, with real sockets.

use std::sync::OnceLock;

use etcdex::{Client, LeaseState, WatchEnd, WatchStream};
use etcdex_testkit::Etcd;
use tokio::runtime::{Builder, Runtime};

use crate::stage::{DEADLINE, grant, newest};

static CLIENT: OnceLock<Client> = OnceLock::new();

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_static_client_outlives_runtimes() {
    let Some(binary) = newest() else { return };
    // The server belongs to a runtime that lives for the whole test.
    let server = Builder::new_multi_thread().enable_all().build().unwrap();
    let etcd = server.block_on(Etcd::start(binary)).unwrap();
    let client = CLIENT.get_or_init(|| {
        let builder = Client::builder().endpoint(etcd.endpoint());
        builder.timeout(DEADLINE).connect_lazy().unwrap()
    });
    let mut keeper = client.keep(server.block_on(grant(&etcd)));
    let mut last: Option<WatchStream> = None;
    for round in 0..3 {
        runtime().block_on(async {
            client.put("k", round.to_string()).await.unwrap();
            while !matches!(keeper.state(), LeaseState::Alive { .. }) {
                keeper.changed().await;
            }
            if let Some(mut watch) = last.take() {
                assert_eq!(watch.try_next().await.unwrap_err(), WatchEnd::RuntimeEnded);
            }
            let mut watch = client.watch("k").await.unwrap();
            client.put("k", "told").await.unwrap();
            let batch = watch.try_next().await.unwrap().unwrap();
            assert_eq!(&batch.events[0].kv.value[..], b"told");
            last = Some(watch);
        });
    }
    drop(keeper);
}
