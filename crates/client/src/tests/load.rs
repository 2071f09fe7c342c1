//! Many calls at once, dropped calls, unread replies, large replies, and a graceful GOAWAY under
//! load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use etcdex_proto::etcdserverpb as pb;
use tokio::sync::Notify;

use super::frames;
use super::peer::{
    Asked, Peers, framed, handshake, poll_once, range_reply, read, serve, serve_well,
};
use crate::Client;

const MANY: usize = 10_000;
const URL: &str = "http://one:1";

/// A client with long time-outs: the duration of ten thousand calls depends on the machine.
async fn patient(peers: &Peers) -> Client {
    peers.client().await.no_timeout()
}

/// A server that gets no processor time for a while makes its connection suspect. Looking for
/// another endpoint costs retries. A call without a retry left waits on, and gets its answer.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_slow_for_a_while_fails_no_read() {
    let peers = Peers::one(|_, stream| async move {
        let mut connection = handshake(stream).await;
        let mut asked = 0;
        while let Some(Ok((request, reply))) = connection.accept().await {
            asked += 1;
            if asked == 3_000 || asked == 7_000 {
                // Suspect after 3 s: each call looks for another connection and finds none, twice.
                tokio::time::sleep(Duration::from_secs(8)).await;
            }
            tokio::spawn(async move {
                if let Some(asked) = read(request, reply).await {
                    asked.answer_well();
                }
            });
        }
    });
    let builder = peers.builder().no_keep_alive_timeout();
    let client = builder.connect().await.expect("the client connects");
    let client = client.no_timeout();
    let calls: Vec<_> = (0..6_000)
        .map(|_| tokio::spawn(client.get("k").into_future()))
        .collect();
    let mut failed = 0;
    for call in calls {
        failed += usize::from(call.await.expect("no panic").is_err());
    }
    assert_eq!((failed, peers.connections(URL)), (0, 1));
}

/// In virtual time: a machine that is busy for seconds would look like a server that is silent.
#[tokio::test(start_paused = true)]
async fn ten_thousand_gets_at_once_over_one_connection() {
    let peers = Peers::one(|_, stream| serve_well(stream));
    let client = patient(&peers).await;
    let calls: Vec<_> = (0..MANY).map(|_| tokio::spawn(client.get("k"))).collect();
    for call in calls {
        let reply = call.await.expect("no panic").expect("an answer");
        assert_eq!(reply.kvs.len(), 1);
    }
    assert_eq!(peers.connections(URL), 1);
}

/// Answers only requests without `stall` in them, and never answers the others.
async fn stall(asked: Asked) {
    if asked.message.windows(5).any(|part| part == b"stall") {
        std::future::pending::<()>().await;
    }
    asked.answer_well();
}

#[tokio::test]
async fn ten_thousand_dropped_calls_affect_no_other() {
    let peers = Peers::one(|_, stream| serve(stream, stall));
    let client = patient(&peers).await;
    for _ in 0..3 {
        let mut calls: Vec<_> = (0..MANY).map(|_| Box::pin(client.get("stall"))).collect();
        for call in &mut calls {
            assert!(poll_once(call).is_pending());
        }
        // When the calls are dropped, half of them are sent and half are still in the queue.
        tokio::task::yield_now().await;
        calls.truncate(MANY / 2);
        client.get("k").await.expect("an answer amid dropped calls");
        drop(calls);
        client
            .get("k")
            .await
            .expect("an answer after dropped calls");
    }
    assert_eq!(peers.connections(URL), 1);
}

#[tokio::test]
async fn ten_thousand_unread_replies_delay_no_other() {
    let answered = Arc::new((AtomicUsize::new(0), Notify::new()));
    let counter = Arc::clone(&answered);
    let peers = Peers::one(move |_, stream| {
        let counter = Arc::clone(&counter);
        serve(stream, move |asked: Asked| {
            let counter = Arc::clone(&counter);
            async move {
                asked.answer_well();
                counter.0.fetch_add(1, Ordering::Relaxed);
                counter.1.notify_one();
            }
        })
    });
    let client = patient(&peers).await;
    let mut calls: Vec<_> = (0..MANY).map(|_| Box::pin(client.get("k"))).collect();
    for call in &mut calls {
        assert!(poll_once(call).is_pending());
    }
    while answered.0.load(Ordering::Relaxed) < MANY {
        answered.1.notified().await;
    }
    for _ in 0..100 {
        client.get("k").await.expect("an answer beside unread ones");
    }
    for call in calls {
        call.await.expect("an answer that was left unread");
    }
    assert_eq!(peers.connections(URL), 1);
}

#[tokio::test]
async fn a_reply_of_100_mb_arrives_whole() {
    let large: Vec<u8> = (0..100 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    let large = Bytes::from(large);
    let reply = framed(&range_reply(large.clone()));
    let peers = Peers::one(move |_, stream| {
        let reply = reply.clone();
        serve(stream, move |asked: Asked| {
            let reply = reply.clone();
            async move { asked.answer(reply) }
        })
    });
    let client = peers.client().await.no_timeout();
    let value = client.get("k").bytes().await.expect("an answer");
    assert!(value.is_some_and(|value| value == large));
}

#[tokio::test]
async fn a_reply_over_the_limit_names_the_setting() {
    let peers = Peers::one(|_, stream| serve_well(stream));
    let client = peers.builder().max_receive_size(10);
    let client = client.connect().await.expect("the client connects");
    let error = client
        .get("k")
        .await
        .expect_err("the reply is over 10 bytes");
    assert_eq!(error.kind(), crate::ErrorKind::MessageTooLarge);
    assert!(error.to_string().contains("max_receive_size"), "{error}");
    assert!(error.to_string().contains("list"), "{error}");
}

#[tokio::test]
async fn a_request_over_the_limit_is_not_sent() {
    let peers = Peers::one(|_, stream| serve_well(stream));
    let client = patient(&peers).await;
    let error = client
        .put("k", vec![0; 3 << 20])
        .await
        .expect_err("over 2 MiB");
    assert_eq!(error.outcome(), crate::Outcome::NotSent);
    assert!(error.to_string().contains("max_send_size"), "{error}");
}

/// A server that sends GOAWAY after this number of requests, like a server in a rolling restart.
async fn go_away_after(requests: usize, stream: tokio::io::DuplexStream, served: Arc<AtomicUsize>) {
    let mut connection = handshake(stream).await;
    let mut count = 0;
    while let Some(Ok((request, reply))) = connection.accept().await {
        count += 1;
        if count == requests {
            connection.graceful_shutdown();
        }
        let served = Arc::clone(&served);
        tokio::spawn(async move {
            if let Some(asked) = read(request, reply).await {
                served.fetch_add(1, Ordering::Relaxed);
                asked.answer_well();
            }
        });
    }
}

#[tokio::test]
async fn a_graceful_goaway_fails_no_request_and_repeats_no_write() {
    const CALLERS: usize = 64;
    const CALLS: usize = 100;
    let served = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&served);
    let peers = Peers::one(move |_, stream| go_away_after(500, stream, Arc::clone(&counter)));
    let client = patient(&peers).await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                for _ in 0..CALLS {
                    client.put("k", "v").await.expect("no request fails");
                }
            })
        })
        .collect();
    for caller in callers {
        tokio::time::timeout(Duration::from_secs(30), caller)
            .await
            .expect("no hang")
            .expect("no panic");
    }
    assert_eq!(served.load(Ordering::Relaxed), CALLERS * CALLS);
    assert!(peers.connections(URL) >= CALLERS * CALLS / 500);
}

#[tokio::test]
async fn writes_above_the_last_stream_id_are_sent_again_and_applied_once() {
    const LAST: u32 = 63;
    let applied = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&applied);
    let peers = Peers::one(move |number, stream| {
        let counter = Arc::clone(&counter);
        let reply = framed(&pb::PutResponse::default());
        frames::answer_with(stream, move |id| match id {
            // The first connection processes a part of the requests, and its GOAWAY says which.
            _ if number == 0 && id == LAST + 2 => frames::go_away(LAST),
            _ if number == 0 && id > LAST => Vec::new(),
            _ => {
                counter.fetch_add(1, Ordering::Relaxed);
                frames::reply(id, &reply)
            }
        })
    });
    let client = patient(&peers).await;
    let puts: Vec<_> = (0..200)
        .map(|_| tokio::spawn(client.put("k", "v")))
        .collect();
    for put in puts {
        put.await.expect("no panic").expect("no request fails");
    }
    assert_eq!(applied.load(Ordering::Relaxed), 200);
    assert_eq!(peers.connections(URL), 2);
}

#[tokio::test]
async fn a_call_does_nothing_before_it_is_polled() {
    let peers = Peers::one(|_, stream| serve_well(stream));
    let client = peers
        .builder()
        .connect_lazy()
        .expect("the options are valid");
    let mut call = Box::pin(client.get("k"));
    assert_eq!(peers.connections(URL), 0);
    assert!(matches!(poll_once(&mut call), Poll::Pending));
    call.await.expect("an answer");
    assert_eq!(peers.connections(URL), 1);
}

#[tokio::test]
async fn a_closed_client_takes_no_new_calls() {
    let peers = Peers::one(|_, stream| serve_well(stream));
    let client = patient(&peers).await;
    client.get("k").await.expect("an answer");
    let left = client.clone().close(Duration::ZERO).await;
    assert!(left.is_clean());
    let error = client.get("k").await.expect_err("the client is closed");
    assert_eq!(error.kind(), crate::ErrorKind::Closed);
}

#[tokio::test]
async fn the_connection_ends_with_the_last_handle() {
    let gone = Arc::new(Notify::new());
    let told = Arc::clone(&gone);
    let peers = Peers::one(move |_, stream| {
        let told = Arc::clone(&told);
        async move {
            serve_well(stream).await;
            told.notify_one();
        }
    });
    let client = patient(&peers).await;
    let call = client.get("k");
    drop(client);
    call.await.expect("a call keeps the connection");
    gone.notified().await;
}

#[tokio::test(start_paused = true)]
async fn large_replies_arrive_with_the_smallest_windows() {
    let reply = framed(&range_reply(Bytes::from(vec![7; 200_000])));
    let peers = Peers::one(move |_, stream| {
        let reply = reply.clone();
        serve(stream, move |asked: Asked| {
            let reply = reply.clone();
            async move { asked.answer(reply) }
        })
    });
    let small = 65_535;
    for builder in [
        peers.builder().stream_window(small),
        peers.builder().connection_window(small),
        peers
            .builder()
            .stream_window(small)
            .connection_window(small),
    ] {
        let client = builder.connect().await.expect("the client connects");
        let calls: Vec<_> = (0..64).map(|_| tokio::spawn(client.get("k"))).collect();
        for call in calls {
            call.await.expect("no panic").expect("an answer");
        }
    }
}
