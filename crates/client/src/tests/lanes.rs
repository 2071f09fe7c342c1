//! Waiting calls, open streams and short calls do not use up each other's streams.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcdex_proto::{etcdserverpb as pb, v3lockpb};
use tokio::io::DuplexStream;
use tokio::sync::Notify;

use super::leases::{Manner, Script};
use super::peer::{Peers, framed, handshake_with, head, header, headers, read};
use crate::method::{Lane, Method};
use crate::transport::{Head, PickInfo, frame, stream};
use crate::{Client, LeaseId, Mode};

/// Limit of streams on a connection of etcd 3.5 with TLS.
const STREAMS: u32 = 250;
/// Locks on a connection: one stream is reserved for the leader monitor.
const LOCKS: usize = STREAMS as usize - 1;
const WAITING: usize = 1_000;

/// An etcd with few streams: it answers locks after `release`, echoes keep-alives, and answers
/// other calls at once.
async fn serve(stream: DuplexStream, release: Arc<Notify>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(STREAMS);
    let mut connection = handshake_with(stream, builder).await;
    while let Some(Ok((request, mut reply))) = connection.accept().await {
        let release = Arc::clone(&release);
        tokio::spawn(async move {
            match request.uri().path() {
                "/v3lockpb.Lock/Lock" => {
                    let released = release.notified();
                    if let Some(asked) = read(request, reply).await {
                        released.await;
                        asked.answer(framed(&v3lockpb::LockResponse::default()));
                    }
                }
                "/etcdserverpb.Lease/LeaseKeepAlive" => {
                    let mut body = request.into_body();
                    let mut stream = reply
                        .send_response(head("application/grpc"), false)
                        .expect("open");
                    // An empty frame ends the stream.
                    while body
                        .data()
                        .await
                        .is_some_and(|frame| frame.is_ok_and(|frame| !frame.is_empty()))
                    {
                        let alive = pb::LeaseKeepAliveResponse {
                            header: header(2),
                            ..Default::default()
                        };
                        stream.send_data(framed(&alive), false).expect("open");
                    }
                    let _ = stream.send_trailers(headers(&[("grpc-status", "0")]));
                }
                _ => {
                    if let Some(asked) = read(request, reply).await {
                        asked.answer_well();
                    }
                }
            }
        });
    }
}

async fn keep_alive_stream(client: &Client) -> (stream::Outgoing, stream::Incoming) {
    let pick = PickInfo {
        lane: Lane::Stream,
        member: None,
        avoided: None,
        during_shutdown: false,
    };
    let pool = &client.core().pool;
    let permit = pool.acquire(pick).await.expect("a place");
    stream::open(permit, Method::LeaseKeepAlive, Head::default(), 1 << 20)
        .expect("the stream opens")
}

#[tokio::test]
async fn a_thousand_waiting_calls_block_no_other_call() {
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    let peers = Peers::one(move |_, stream| serve(stream, Arc::clone(&released)));
    let client = peers.client().await.no_timeout();
    let waiting: Vec<_> = (0..WAITING)
        .map(|_| tokio::spawn(client.lock("l", LeaseId::new(7).expect("not 0"))))
        .collect();

    let beat = frame(&pb::LeaseKeepAliveRequest { id: 7 }, 1 << 20).expect("small");
    let (mut outgoing, mut incoming) = keep_alive_stream(&client).await;
    for _ in 0..100 {
        outgoing
            .send(beat.clone())
            .await
            .expect("the stream is open");
        assert!(incoming.message().await.expect("an answer").is_some());
        client.get("k").await.expect("an answer");
    }
    // One connection for calls, one for streams, and as many as the waiting calls need.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let wanted = 2 + WAITING.div_ceil(LOCKS);
    while peers.connections("http://one:1") < wanted {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the waiting calls are not all sent"
        );
        client.get("k").await.expect("an answer");
    }
    assert!(waiting.iter().all(|call| !call.is_finished()));

    // `notify_waiters` wakes only tasks that wait already.
    for call in waiting {
        while !call.is_finished() {
            release.notify_waiters();
            tokio::task::yield_now().await;
        }
        call.await.expect("no panic").expect("an answer");
    }
    outgoing.finish().expect("the stream is open");
    assert!(incoming.message().await.expect("a status").is_none());
    assert_eq!(peers.connections("http://one:1"), wanted);
}

/// In virtual time: a machine that is busy for seconds would look like a server that is silent.
#[tokio::test(start_paused = true)]
async fn more_calls_than_streams_are_all_answered() {
    let release = Arc::new(Notify::new());
    let peers = Peers::one(move |_, stream| serve(stream, Arc::clone(&release)));
    let client = peers.client().await.no_timeout();
    let calls: Vec<_> = (0..5_000).map(|_| tokio::spawn(client.get("k"))).collect();
    for call in calls {
        call.await.expect("no panic").expect("an answer");
    }
    assert_eq!(peers.connections("http://one:1"), 1);
}

#[tokio::test]
async fn a_message_larger_than_the_servers_window_is_sent() {
    let release = Arc::new(Notify::new());
    let peers = Peers::one(move |_, stream| serve(stream, Arc::clone(&release)));
    let client = peers.client().await;
    let (mut outgoing, _incoming) = keep_alive_stream(&client).await;
    let large = pb::PutRequest {
        key: Bytes::from(vec![1; 1_500_000]),
        ..pb::PutRequest::default()
    };
    let large = frame(&large, 2 << 20).expect("below the limit");
    let sent = tokio::time::timeout(Duration::from_secs(30), outgoing.send(large));
    sent.await
        .expect("the send does not hang")
        .expect("the stream is open");
}

/// A server may allow no streams at all: more connections would not help.
#[tokio::test(start_paused = true)]
async fn a_server_without_streams_gets_no_more_connections() {
    let peers = Peers::one(|number, stream| async move {
        if number == 0 {
            return super::peer::serve_well(stream).await;
        }
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(0);
        let mut connection = handshake_with(stream, builder).await;
        while let Some(Ok(_)) = connection.accept().await {}
    });
    let client = peers.client().await;
    let lock = client.lock("name", crate::LeaseId::new(7).expect("not 0"));
    let lock = tokio::time::timeout(Duration::from_secs(20), lock).await;
    assert!(lock.is_err(), "there is no stream for the lock");
    assert_eq!(peers.connections("http://one:1"), 2);
}

/// Two endpoints: the first keeps its first connection and ends each further one at once, like a
/// server without file descriptors.
fn full_and_well() -> Peers {
    let (full, well) = (Script::new(Manner::Answer), Script::new(Manner::Answer));
    Peers::default()
        .and(FULL, move |number, stream| {
            let full = full.clone();
            async move {
                if number == 0 {
                    full.serve(stream).await;
                }
            }
        })
        .and(WELL, move |_, stream| well.clone().serve(stream))
}

const FULL: &str = "http://full:1";
const WELL: &str = "http://well:1";

async fn chooses_full_first(peers: &Peers, mode: Mode) -> Client {
    let builder = Client::builder().endpoint(FULL).connector(peers.clone());
    let client = builder
        .mode(mode)
        .connect()
        .await
        .expect("the client connects");
    client.add_endpoint(WELL).expect("a URL");
    client
}

#[tokio::test(start_paused = true)]
async fn streams_go_elsewhere_when_their_endpoint_takes_no_more_connections() {
    for mode in [Mode::PickFirst, Mode::Random, Mode::ConnectAll] {
        let peers = full_and_well();
        let client = chooses_full_first(&peers, mode).await;
        let mut keeper = client.keep(LeaseId::new(7).expect("not 0"));
        let alive = tokio::time::timeout(Duration::from_secs(1), keeper.changed());
        let alive = alive.await.expect("soon");
        assert!(matches!(alive, crate::LeaseState::Alive { .. }), "{mode:?}");
        tokio::time::sleep(Duration::from_secs(600)).await;
        let alive = keeper.state();
        assert!(matches!(alive, crate::LeaseState::Alive { .. }), "{mode:?}");
        // One connection for calls, one that failed, and one that was under way.
        let connections = peers.connections(FULL);
        assert!(connections <= 3, "{mode:?}: {connections}");
        // Unary calls stay at the first endpoint.
        client.put("k", "v").await.expect("an answer");
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_lock_without_a_connection_has_the_cause() {
    let peers = Peers::one(|number, stream| async move {
        if number == 0 {
            super::peer::serve_well(stream).await;
        }
    });
    let client = peers.client().await;
    let lease = LeaseId::new(7).expect("not 0");
    let lock = client.lock("l", lease).timeout(Duration::from_secs(3));
    let error = lock.await.expect_err("no connection for the lock");
    assert_eq!(error.outcome(), crate::Outcome::NotSent, "{error}");
    let text = error.to_string();
    assert!(text.contains("closed it without an answer"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_freed_stream_is_taken_at_once() {
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    let peers = Peers::one(move |number, stream| {
        let release = Arc::clone(&released);
        async move {
            match number {
                0 => super::peer::serve_well(stream).await,
                1 => serve(stream, release).await,
                // No further connections.
                _ => {}
            }
        }
    });
    let client = peers.client().await.no_timeout();
    let lease = LeaseId::new(7).expect("not 0");
    let locks: Vec<_> = (0..LOCKS + 20)
        .map(|_| tokio::spawn(client.lock("l", lease)))
        .collect();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(locks.iter().all(|lock| !lock.is_finished()));
    release.notify_waiters();
    tokio::time::sleep(Duration::from_millis(1)).await;
    release.notify_waiters();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let finished = locks.iter().filter(|lock| lock.is_finished()).count();
    assert_eq!(finished, locks.len());
}
