//! A client whose runtime ends goes on in the runtime of the next caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::leases::{Manner, Script, one};
use super::peer::{Peers, handshake, head, headers, poll_once, read, serve_well};
use super::watches::server::Server;
use crate::connector::ConnectFuture;
use crate::method::Lane;
use crate::transport::{PickInfo, leader_loss};
use crate::{Client, Connector, Endpoint, ErrorKind, LeaseId, LeaseState, Outcome, WatchEnd};

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

fn client() -> (Peers, Client) {
    let peers = Peers::one(|_, stream| serve_well(stream));
    let client = peers.builder().connect_lazy();
    (peers, client.expect("the options are valid"))
}

/// Longer than any of these tests takes on a busy machine; a rule that is broken ends the test.
const BOUND: Duration = Duration::from_secs(30);

#[test]
fn calls_are_served_in_each_of_several_runtimes() {
    let (peers, client) = client();
    for number in 1..=3 {
        runtime().block_on(async {
            client.put("k", "v").await.expect("an answer");
            client.get("k").await.expect("an answer");
        });
        assert_eq!(peers.connections("http://one:1"), number);
        assert!(!client.status().is_ready(), "no driver runs");
    }
}

#[test]
fn the_end_of_a_runtime_affects_no_other() {
    let (peers, client) = client();
    let mut first = Builder::new_multi_thread();
    let first = first.worker_threads(1).enable_all().build();
    let first = first.expect("a runtime");
    first.block_on(client.get("k")).expect("an answer");
    let second = runtime();
    second.block_on(client.get("k")).expect("an answer");
    assert_eq!(
        peers.connections("http://one:1"),
        1,
        "both runtimes share the connection"
    );
    second.block_on(async {
        let reads: Vec<_> = (0..100).map(|_| tokio::spawn(client.get("k"))).collect();
        tokio::task::yield_now().await;
        first.shutdown_background();
        for read in reads {
            read.await.expect("no panic").expect("an answer");
        }
        client.put("k", "v").await.expect("an answer");
    });
}

#[test]
fn a_call_outside_of_a_runtime_fails_and_leaves_the_client_usable() {
    let (_, client) = client();
    let outside = || match poll_once(&mut Box::pin(client.get("k"))) {
        std::task::Poll::Ready(Err(error)) => {
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            assert_eq!(error.outcome(), Outcome::NotSent);
            assert!(error.to_string().contains("tokio runtime"), "{error}");
        }
        other => panic!("{other:?}"),
    };
    outside();
    let runtime = runtime();
    runtime.block_on(client.get("k")).expect("an answer");
    outside();
    runtime.block_on(client.get("k")).expect("an answer");
}

#[test]
fn the_error_in_a_runtime_without_io_names_that_cause() {
    let client = Client::builder().endpoint("http://127.0.0.1:1");
    let client = client.connect_lazy().expect("the options are valid");
    let runtime = Builder::new_current_thread().enable_time().build();
    let get = client.get("k").timeout(Duration::from_millis(300));
    let error = runtime.expect("a runtime").block_on(get);
    let error = error.expect_err("the client cannot connect");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let text = error.to_string().to_lowercase();
    assert!(text.contains("panic") && text.contains("io"), "{error}");
}

#[test]
fn a_lease_is_kept_in_the_next_runtime() {
    let server = Script::new(Manner::Answer);
    let client = one(&server).builder().connect_lazy();
    let client = client.expect("the options are valid");
    let id = LeaseId::new(7).expect("not 0");
    // The first call is made outside of any runtime.
    let mut keeper = client.keep(id);
    let mut alive = async || {
        while !matches!(keeper.state(), LeaseState::Alive { .. }) {
            keeper.changed().await;
        }
    };
    runtime().block_on(alive());
    let before = server.renewals();
    runtime().block_on(async {
        while server.renewals() == before {
            alive().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn a_wait_for_the_loss_of_a_lease_outlives_the_runtime_of_the_renewals() {
    let server = Script::new(Manner::Answer);
    let client = one(&server).builder().connect_lazy();
    let client = client.expect("the options are valid");
    let mut first = Builder::new_multi_thread();
    let first = first.worker_threads(1).enable_all().build();
    let first = first.expect("a runtime");
    let id = LeaseId::new(7).expect("not 0");
    let mut keeper = first.block_on(async { client.keep(id) });
    first.block_on(keeper.changed());
    runtime().block_on(async {
        let lost = tokio::spawn(async move { keeper.lost().await });
        tokio::task::yield_now().await;
        server.set_manner(Manner::Gone);
        first.shutdown_background();
        // The wait never ends if no task renews the lease.
        lost.await.expect("no panic");
    });
}

#[test]
fn a_watch_ends_with_its_runtime_and_names_that_cause() {
    let server = Server::new();
    let client = server.peers().builder().connect_lazy();
    let client = client.expect("the options are valid");
    let open = async || client.watch("k").await.expect("in force");
    let mut watch = runtime().block_on(open());
    runtime().block_on(async {
        let end = watch.try_next().await.expect_err("the runtime has ended");
        assert_eq!(end, WatchEnd::RuntimeEnded);
        assert!(matches!(watch.try_next().await, Ok(None)));
        drop(open().await);
    });
    let mut outside = Box::pin(client.watch("k").into_future());
    match poll_once(&mut outside) {
        std::task::Poll::Ready(Err(error)) => assert_eq!(error.kind(), ErrorKind::Config),
        other => panic!("{:?}", other.map(drop)),
    }
}

#[test]
fn a_login_is_repeated_in_the_next_runtime() {
    let server = super::credentials::AuthServer::default();
    let builder = server.peers().builder().credentials("root", "hunter2");
    let client = builder.connect_lazy().expect("the options are valid");
    runtime().block_on(async {
        let mut call = Box::pin(client.put("k", "v"));
        assert!(poll_once(&mut call).is_pending());
    });
    runtime().block_on(client.put("k", "v")).expect("an answer");
}

#[test]
fn endpoints_are_learned_in_the_next_runtime() {
    let urls = ["http://a:1", "http://b:1", "http://c:1"];
    let script = super::discovery::Script::default();
    let builder = Client::builder().endpoint(urls[0]);
    let builder = builder.connector(script.peers(&urls, &[]));
    let builder = builder.auto_sync_interval(Duration::from_millis(10));
    // The client is made outside of any runtime.
    let client = builder.connect_lazy().expect("the options are valid");
    for count in [2, 3] {
        script.advertise(&urls[..count]);
        runtime().block_on(async {
            client.get("k").await.expect("an answer");
            let learned = async {
                while client.endpoints().len() < count {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let learned = tokio::time::timeout(BOUND, learned).await;
            learned.expect("the endpoints are learned in this runtime");
        });
    }
}

#[test]
fn endpoint_sync_moves_to_a_runtime_with_a_connection() {
    let (_, client) = client();
    runtime().block_on(async {
        client.get("k").await.expect("an answer");
        let (sender, started) = tokio::sync::oneshot::channel::<()>();
        // The end of the sync task's runtime parks it like this, in a thread without a runtime.
        let parks = || {
            client.core().pool.defer(Box::new(move || {
                Box::pin(async move {
                    let _told = sender.send(());
                })
            }));
        };
        std::thread::scope(|scope| scope.spawn(parks).join().expect("no panic"));
        started
            .await
            .expect("the watcher of the connection starts the sync task");
    });
}

#[test]
fn a_lost_leader_is_reported_after_the_runtime_of_the_monitor_has_ended() {
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&opened);
    let peers = Peers::one(move |_, stream| {
        let counted = Arc::clone(&counted);
        async move {
            let mut kept = Vec::new();
            let mut connection = handshake(stream).await;
            while let Some(Ok((request, mut reply))) = connection.accept().await {
                if request.method() == "POST" && request.uri().path().contains("LeaseKeepAlive") {
                    if counted.fetch_add(1, Ordering::Relaxed) == 0 {
                        kept.push((request, reply));
                        continue;
                    }
                    let mut refusal = head("application/grpc");
                    let no_leader = [
                        ("grpc-status", "14"),
                        ("grpc-message", "etcdserver: no leader"),
                    ];
                    refusal.headers_mut().extend(headers(&no_leader));
                    let _ = reply.send_response(refusal, true);
                } else if let Some(asked) = read(request, reply).await {
                    asked.answer_well();
                }
            }
        }
    });
    let client = peers.builder().connect_lazy();
    let client = client.expect("the options are valid");
    let mut first = Builder::new_multi_thread();
    let first = first.worker_threads(1).enable_all().build();
    let first = first.expect("a runtime");
    runtime().block_on(async {
        client.get("k").await.expect("an answer");
        let pick = PickInfo {
            lane: Lane::Unary,
            member: None,
            avoided: None,
            during_shutdown: false,
        };
        let place = client.core().pool.try_acquire(pick);
        let link = Arc::clone(place.expect("the link is up").link());
        first.spawn(leader_loss(&link, None));
        while opened.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut loss = leader_loss(&link, None);
        // The stream of the first runtime reports it.
        tokio::time::timeout(Duration::from_millis(1_500), &mut loss)
            .await
            .expect_err("there is a leader");
        first.shutdown_background();
        let reported = tokio::time::timeout(BOUND, loss).await;
        reported.expect("the next task reports that the leader is lost");
    });
}

#[test]
fn the_error_after_a_panic_of_the_connector_names_it() {
    struct Panics(Peers, AtomicUsize);
    impl Connector for Panics {
        fn connect(&self, endpoint: &Endpoint) -> ConnectFuture {
            if self.1.fetch_add(1, Ordering::Relaxed) == 0 {
                panic!("a fault of the connector");
            }
            self.0.connect(endpoint)
        }
    }
    let peers = Peers::one(|_, stream| serve_well(stream));
    let builder = peers.builder();
    let builder = builder.connector(Panics(peers.clone(), AtomicUsize::new(0)));
    runtime().block_on(async {
        let error = builder.connect().await.expect_err("the connector panics");
        assert!(
            error.to_string().contains("a fault of the connector"),
            "{error}"
        );
    });
    let builder = peers
        .builder()
        .connector(Panics(peers.clone(), AtomicUsize::new(0)));
    let client = builder.connect_lazy().expect("the options are valid");
    runtime()
        .block_on(client.get("k"))
        .expect("an answer of the second attempt");
}
