//! Connections on which the server allows no more streams: which requests were sent, and what
//! becomes of those that wait.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use etcdex_proto::etcdserverpb as pb;
use prost::Message;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::frames;
use super::peer::{Asked, Peers, framed, handshake_with, header, poll_once, read};
use crate::kv::PutResponse;
use crate::{Client, Error, ErrorKind, Mode, Outcome};

const URL: &str = "http://one:1";

/// A member that allows few streams, and holds the calls for keys that begin with `hang`.
#[derive(Clone)]
struct Member {
    limit: u32,
    hangs: watch::Sender<bool>,
    /// Keys of the puts that came whole.
    puts: Arc<Mutex<Vec<String>>>,
}

impl Member {
    fn new(limit: u32) -> Self {
        Self {
            limit,
            hangs: watch::Sender::new(true),
            puts: Arc::default(),
        }
    }

    fn release(&self) {
        self.hangs.send_replace(false);
    }

    fn puts(&self) -> Vec<String> {
        self.puts.lock().expect("no panic").clone()
    }

    /// Serves until `end`, and then breaks the connection.
    async fn serve_until(self, stream: DuplexStream, end: impl Future<Output = ()>) {
        tokio::select! {
            () = self.serve(stream) => {}
            () = end => {}
        }
    }

    async fn serve(self, stream: DuplexStream) {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(self.limit);
        let mut connection = handshake_with(stream, builder).await;
        while let Some(Ok((request, reply))) = connection.accept().await {
            let member = self.clone();
            tokio::spawn(async move {
                if let Some(asked) = read(request, reply).await {
                    member.answer(asked).await;
                }
            });
        }
    }

    async fn answer(self, asked: Asked) {
        let mut key = Bytes::new();
        if asked.path == "/etcdserverpb.KV/Put" {
            // A message that was cut off is none.
            let Ok(put) = pb::PutRequest::decode(asked.message.clone()) else {
                return;
            };
            key = put.key;
            let text = String::from_utf8_lossy(&key).into_owned();
            if text.is_empty() {
                return;
            }
            self.puts.lock().expect("no panic").push(text);
        }
        if key.starts_with(b"hang") {
            // INVARIANT: `self` holds the sender.
            let _ = self.hangs.subscribe().wait_for(|hangs| !hangs).await;
        }
        asked.answer_well();
    }
}

fn one(member: &Member) -> Peers {
    let member = member.clone();
    Peers::one(move |_, stream| member.clone().serve(stream))
}

type Put = JoinHandle<Result<PutResponse, Error>>;

/// Puts in the order of their keys.
async fn puts(client: &Client, keys: &[&'static str]) -> Vec<Put> {
    let mut puts = Vec::new();
    for key in keys {
        puts.push(tokio::spawn(client.put(*key, "v")));
        // It is in the queue before the next one.
        sleep(Duration::from_millis(1)).await;
    }
    puts
}

async fn failed(put: Put) -> Error {
    put.await.expect("no panic").expect_err("no answer")
}

async fn done(put: Put) {
    let done = timeout(Duration::from_secs(1), put).await;
    done.expect("soon").expect("no panic").expect("an answer");
}

#[tokio::test(start_paused = true)]
async fn a_put_that_gets_no_stream_in_time_was_not_sent() {
    for limit in [0, 1, 2, 3] {
        let member = Member::new(limit);
        let client = one(&member).client().await;
        let keys = &["hang1", "hang2", "hang3"][..limit as usize];
        let held = puts(&client.no_timeout(), keys).await;
        let waiting = puts(&client, &["wait1", "wait2", "wait3"]).await;
        for call in waiting {
            let error = failed(call).await;
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
            assert_eq!(error.attempts(), 1, "{error}");
            let told = format!("the server allows {limit} at once");
            assert!(error.to_string().contains(&told), "{error}");
        }
        // A call that has a stream may have been applied.
        let sent = client.put("hang", "v").timeout(Duration::from_secs(3));
        member.release();
        for call in held {
            done(call).await;
        }
        sleep(Duration::from_secs(60)).await;
        assert_eq!(member.puts(), keys);
        if limit > 0 {
            member.hangs.send_replace(true);
            let error = sent.await.expect_err("it hangs");
            assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
            assert_eq!(member.puts().last().map(String::as_str), Some("hang"));
        }
    }
}

/// The connection's task gets no turn between the calls.
#[tokio::test(start_paused = true)]
async fn puts_that_come_at_once_know_which_of_them_was_sent() {
    let member = Member::new(10);
    let client = one(&member).client().await;
    let keys: Vec<_> = (0..30).map(|number| format!("hang{number:02}")).collect();
    let mut calls: Vec<_> = keys
        .iter()
        .map(|key| Box::pin(client.put(key.as_str(), "v")))
        .collect();
    for call in &mut calls {
        assert!(poll_once(call).is_pending());
    }
    let calls: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
    let mut unknown = Vec::new();
    for (key, call) in keys.iter().zip(calls) {
        match failed(call).await.outcome() {
            Outcome::NotSent => {}
            outcome => unknown.push((key.clone(), outcome)),
        }
    }
    let sent = member.puts();
    assert_eq!(sent.len(), 10);
    let expected: Vec<_> = sent
        .into_iter()
        .map(|key| (key, Outcome::Unknown))
        .collect();
    assert_eq!(unknown, expected);
}

/// Bytes have left since: a ping, and what belongs to other calls.
#[tokio::test(start_paused = true)]
async fn a_put_that_waits_outlives_its_connection() {
    let member = Member::new(2);
    let serving = member.clone();
    let peers = Peers::one(move |number, stream| {
        let member = serving.clone();
        async move {
            if number == 0 {
                let end = sleep(Duration::from_secs(2));
                member.serve_until(stream, end).await;
            } else {
                member.release();
                member.serve(stream).await;
            }
        }
    });
    let client = peers.client().await;
    let keys = ["hang1", "hang2", "wait1", "wait2", "wait3"];
    let mut calls = puts(&client, &keys).await;
    for call in calls.drain(..2) {
        let error = failed(call).await;
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    }
    for call in calls {
        done(call).await;
    }
    let mut sent = member.puts();
    sent.sort();
    assert_eq!(sent, keys);
    assert_eq!(peers.connections(URL), 2);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_waits_when_the_server_leaves_goes_to_the_next_connection() {
    let member = Member::new(1);
    let serving = member.clone();
    let peers = Peers::one(move |number, stream| {
        let member = serving.clone();
        async move {
            if number > 0 {
                return member.serve(stream).await;
            }
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(1);
            let mut connection = handshake_with(stream, builder).await;
            let first = connection.accept().await;
            let (request, reply) = first.expect("a request").expect("it is whole");
            let driving = tokio::spawn(async move {
                sleep(Duration::from_secs(1)).await;
                connection.graceful_shutdown();
                while let Some(Ok((request, reply))) = connection.accept().await {
                    let member = member.clone();
                    tokio::spawn(async move {
                        if let Some(asked) = read(request, reply).await {
                            member.answer(asked).await;
                        }
                    });
                }
            });
            if let Some(asked) = read(request, reply).await {
                sleep(Duration::from_secs(2)).await;
                asked.answer_well();
            }
            let _ = driving.await;
        }
    });
    let client = peers.client().await;
    let calls = puts(&client, &["first", "wait1", "wait2"]).await;
    for call in calls {
        call.await.expect("no panic").expect("an answer");
    }
    let mut sent = member.puts();
    sent.sort();
    assert_eq!(sent, ["wait1", "wait2"]);
}

/// A call that was answered and is not polled takes no stream, and one that waits and is not polled
/// holds up nobody.
#[tokio::test(start_paused = true)]
async fn calls_that_nobody_polls_hold_up_no_other() {
    let member = Member::new(1);
    let client = one(&member).client().await.no_timeout();
    let mut answered = Box::pin(client.put("answered", "v"));
    assert!(poll_once(&mut answered).is_pending());
    let next = timeout(Duration::from_secs(60), client.put("next", "v"));
    next.await.expect("it gets a stream").expect("an answer");

    let mut held = Box::pin(client.put("hang", "v"));
    assert!(poll_once(&mut held).is_pending());
    let mut waiting: Vec<_> = ["wait1", "wait2"]
        .map(|key| Box::pin(client.put(key, "v")))
        .into();
    for call in &mut waiting {
        assert!(poll_once(call).is_pending());
    }
    let last = tokio::spawn(client.put("last", "v"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(member.puts(), ["answered", "next", "hang"]);
    member.release();
    done(last).await;
    let order = ["answered", "next", "hang", "wait1", "wait2", "last"];
    assert_eq!(member.puts(), order);
    for call in waiting {
        call.await.expect("an answer");
    }
    held.await.expect("an answer");
    answered.await.expect("an answer");
}

#[tokio::test(start_paused = true)]
async fn a_put_that_is_dropped_while_it_waits_is_never_sent() {
    let member = Member::new(1);
    let client = one(&member).client().await.no_timeout();
    let mut calls = puts(&client, &["hang", "drop1", "drop2", "last"]).await;
    for call in calls.drain(1..3) {
        call.abort();
    }
    sleep(Duration::from_secs(1)).await;
    member.release();
    for call in calls {
        done(call).await;
    }
    assert_eq!(member.puts(), ["hang", "last"]);
    // The next one has its stream at once.
    client.put("k", "v").await.expect("an answer");
}

#[tokio::test(start_paused = true)]
async fn a_put_waits_for_the_server_to_allow_a_stream() {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (server, channel) = (sender.clone(), Mutex::new(Some(receiver)));
    let peers = Peers::one(move |_, stream| {
        let receiver = channel.lock().expect("no panic").take();
        let server = server.clone();
        async move {
            let put = framed(&pb::PutResponse {
                header: header(2),
                ..pb::PutResponse::default()
            });
            let Some(receiver) = receiver else { return };
            let answer = |stream| frames::reply(stream, &put);
            frames::serve(stream, (server, receiver), answer).await;
        }
    });
    let set = |limit| sender.send(frames::stream_limit(limit)).expect("it serves");
    set(0);
    let client = peers.client().await.no_timeout();
    for _ in 0..3 {
        let calls = puts(&client, &["k"; 9]).await;
        sleep(Duration::from_secs(10)).await;
        assert!(calls.iter().all(|call| !call.is_finished()));
        set(2);
        for call in calls {
            done(call).await;
        }
        client.put("k", "v").await.expect("an answer");
        // Nothing is open now, and nothing is allowed.
        set(0);
        sleep(Duration::from_millis(10)).await;
        let late = client.put("k", "v").timeout(Duration::from_secs(1));
        let error = late.await.expect_err("there is no stream");
        assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
    }
    assert_eq!(peers.connections(URL), 1);
}

/// Streams that are open beyond a limit that was lowered count against it.
#[tokio::test(start_paused = true)]
async fn a_lower_limit_holds_back_new_requests_only() {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (server, channel) = (sender.clone(), Mutex::new(Some(receiver)));
    let streams = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&streams);
    let peers = Peers::one(move |_, stream| {
        let receiver = channel.lock().expect("no panic").take();
        let (server, asked) = (server.clone(), Arc::clone(&asked));
        async move {
            let Some(receiver) = receiver else { return };
            let answer = |stream| {
                asked.lock().expect("no panic").push(stream);
                Vec::new()
            };
            frames::serve(stream, (server, receiver), answer).await;
        }
    });
    let put = framed(&pb::PutResponse {
        header: header(2),
        ..pb::PutResponse::default()
    });
    let send = |bytes| sender.send(bytes).expect("it serves");
    send(frames::stream_limit(2));
    let client = peers.client().await.no_timeout();
    let mut calls = puts(&client, &["a", "b"]).await;
    send(frames::stream_limit(1));
    sleep(Duration::from_millis(1)).await;
    calls.extend(puts(&client, &["c"]).await);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*streams.lock().expect("no panic"), [1, 3]);
    send(frames::reply(1, &put));
    done(calls.remove(0)).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*streams.lock().expect("no panic"), [1, 3]);
    send(frames::reply(3, &put));
    done(calls.remove(0)).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*streams.lock().expect("no panic"), [1, 3, 5]);
    send(frames::reply(5, &put));
    done(calls.remove(0)).await;
}

/// A member that answers pings and no calls, with all of its streams taken: what was not sent goes
/// to the other member, writes too.
#[tokio::test(start_paused = true)]
async fn a_put_that_waits_at_a_member_that_does_not_serve_goes_elsewhere() {
    let (hung, well) = (Member::new(2), Member::new(100));
    well.release();
    let (one, other) = (hung.clone(), well.clone());
    let peers = Peers::default()
        .and("http://hung:1", move |_, stream| one.clone().serve(stream))
        .and("http://well:1", move |_, stream| {
            other.clone().serve(stream)
        });
    for mode in [Mode::PickFirst, Mode::Random, Mode::ConnectAll] {
        let builder = Client::builder().endpoint("http://hung:1").mode(mode);
        let client = builder.connector(peers.clone()).connect().await;
        let client = client.expect("it connects");
        let calls = puts(&client, &["hang1", "hang2"]).await;
        let waiting = puts(&client, &["wait1", "wait2", "wait3"]).await;
        client.add_endpoint("http://well:1").expect("a URL");
        let begun = Instant::now();
        for call in waiting {
            call.await.expect("no panic").expect("an answer");
        }
        assert!(begun.elapsed() < Duration::from_secs(3), "{mode:?}");
        for call in calls {
            let error = failed(call).await;
            assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        }
        let mut sent = well.puts();
        sent.sort();
        assert_eq!(sent, ["wait1", "wait2", "wait3"], "{mode:?}");
        well.puts.lock().expect("no panic").clear();
    }
    assert!(hung.puts().iter().all(|key| key.starts_with("hang")));
}

/// Threads race for the moment in which a message is sent or taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_told_as_not_sent_was_never_applied() {
    let member = Member::new(4);
    let client = one(&member).client().await;
    // How long a call takes decides when the time of the calls below is over: about when it is their
    // turn.
    let begun = Instant::now();
    let calls: Vec<_> = (0..500)
        .map(|_| tokio::spawn(client.put("first", "v").no_timeout()))
        .collect();
    for call in calls {
        call.await.expect("no panic").expect("an answer");
    }
    let each = begun.elapsed() / 500;
    let calls: Vec<_> = (0..4_000_u32)
        .map(|number| {
            let key = format!("k{number}");
            let timeout = each * number * (number % 16) / 10;
            let put = client.put(key.as_str(), "v").timeout(timeout);
            tokio::spawn(async move { (key, put.await) })
        })
        .collect();
    let mut not_sent = HashSet::new();
    for call in calls {
        let (key, reply) = call.await.expect("no panic");
        match reply {
            Ok(_) => {}
            Err(error) if error.outcome() == Outcome::NotSent => {
                not_sent.insert(key);
            }
            Err(error) => assert_eq!(error.outcome(), Outcome::Unknown, "{error}"),
        }
    }
    // The server has taken all that was sent before.
    let last = client.put("last", "v").no_timeout();
    last.await.expect("an answer");
    let wrong: Vec<_> = member
        .puts()
        .into_iter()
        .filter(|key| not_sent.contains(key))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(!not_sent.is_empty());
}
