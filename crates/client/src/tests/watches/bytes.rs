//! Random bytes as a server's watch stream: the client does not panic, does not hang and bounds its
//! memory, and the next valid stream serves the remaining watches.
//!
//! `ETCDEX_FUZZ_SECONDS` sets the duration, `ETCDEX_SEED` repeats a run from its seed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use fastrand::Rng;
use h2::server::SendResponse;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{sleep, timeout};

use super::super::peer::{Peers, head, headers, serve_streams};
use super::mutations::{mutate_bytes, mutated_replies};
use super::server::{Server, WATCH, whole};
use super::{MOMENT, nothing_left};
use crate::tests::seed::{PrintSeed, seed};
use crate::{Client, ErrorKind, WatchEnd, WatchLimits, WatchMessage, WatchStream, Watcher};

/// Longer than any step takes, in virtual time.
const LONG: Duration = Duration::from_secs(120);
const WATCH_BYTES: usize = 20_000;

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    streams: AtomicUsize,
    bytes: AtomicUsize,
    batches: AtomicUsize,
    ends: AtomicUsize,
}

/// A server that sends random bytes while `is_hostile` is set.
#[derive(Clone)]
struct Hostile {
    server: Server,
    is_hostile: Arc<AtomicBool>,
    rng: Arc<Mutex<Rng>>,
    counts: Arc<Counts>,
}

impl Hostile {
    fn rng(&self) -> Rng {
        self.rng.lock().expect("no panic").fork()
    }

    fn peers(&self) -> Peers {
        let this = self.clone();
        Peers::one(move |_, stream| this.clone().serve(stream))
    }

    async fn serve(self, stream: DuplexStream) {
        self.counts.connections.fetch_add(1, Relaxed);
        if self.is_hostile.load(Relaxed) && self.rng().u32(..8) == 0 {
            return self.send_random_bytes(stream).await;
        }
        let server = self.server.clone();
        let streams = move |request, reply| {
            let this = self.clone();
            async move {
                if this.is_hostile.load(Relaxed) {
                    this.stream(request, reply).await;
                } else {
                    this.server.stream(request, reply).await;
                }
            }
        };
        serve_streams(stream, WATCH, streams, move |asked| server.answer(asked)).await;
    }

    /// Sends bytes that are no HTTP/2, or begin as HTTP/2.
    async fn send_random_bytes(&self, mut stream: DuplexStream) {
        let mut rng = self.rng();
        let mut bytes = BytesMut::new();
        if rng.bool() {
            // SETTINGS, and the acknowledgement of the client's SETTINGS.
            bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
            bytes.extend_from_slice(&[0, 0, 0, 4, 1, 0, 0, 0, 0]);
        }
        bytes.extend((0..rng.usize(..200)).map(|_| rng.u8(..)));
        if rng.bool() {
            mutate_bytes(&mut rng, &mut bytes);
        }
        self.counts.bytes.fetch_add(bytes.len(), Relaxed);
        let _ = stream.write_all(&bytes).await;
        let mut sink = [0; 1_024];
        let reads = async { while matches!(stream.read(&mut sink).await, Ok(1..)) {} };
        let _ = timeout(MOMENT, reads).await;
    }

    async fn stream(&self, request: http::Request<h2::RecvStream>, mut reply: SendResponse<Bytes>) {
        self.counts.streams.fetch_add(1, Relaxed);
        let mut rng = self.rng();
        let Ok(mut stream) = reply.send_response(head("application/grpc"), false) else {
            return;
        };
        let mut body = request.into_body();
        let (mut asked, mut bytes) = (Vec::new(), BytesMut::new());
        for _ in 0..rng.usize(..4) {
            // Collects the creations that come within this time.
            let listen = Duration::from_millis(rng.u64(1..50));
            while let Ok(Some(Ok(frame))) = timeout(listen, body.data()).await {
                let _ = body.flow_control().release_capacity(frame.len());
                bytes.extend_from_slice(&frame);
            }
            while let Some(message) = whole(&mut bytes) {
                let request = pb::WatchRequest::decode(message).expect("a request");
                if let Some(RequestUnion::CreateRequest(create)) = request.request_union {
                    asked.push(create);
                }
            }
            let mut rest = mutated_replies(&mut rng, &asked, self.server.state().revision);
            self.counts.bytes.fetch_add(rest.len(), Relaxed);
            while !rest.is_empty() {
                let piece = rest.split_to(rng.usize(1..=rest.len()));
                if stream.send_data(piece, false).is_err() {
                    return;
                }
                sleep(Duration::from_millis(rng.u64(..3))).await;
            }
        }
        match rng.u32(..4) {
            0 => sleep(Duration::from_secs(rng.u64(..10))).await,
            1 => {
                let status = rng.u32(..20).to_string();
                let _ = stream.send_trailers(headers(&[("grpc-status", &status)]));
            }
            2 => stream.send_reset(h2::Reason::from(rng.u32(..16))),
            _ => {}
        }
    }
}

/// The watches of a client and their ends.
struct Watching {
    client: Client,
    watcher: Watcher,
    streams: Vec<WatchStream>,
}

#[test]
fn any_bytes_of_a_server_are_survived() {
    let seconds = std::env::var("ETCDEX_FUZZ_SECONDS").ok();
    let seconds: u64 = seconds.map_or(2, |text| text.parse().expect("a number"));
    let mut seed = seed();
    let end = Instant::now() + Duration::from_secs(seconds);
    let counts = Arc::<Counts>::default();
    let (mut rounds, mut settled) = (0, 0);
    while rounds == 0 || Instant::now() < end {
        let told = PrintSeed(seed);
        round(seed, &counts);
        std::mem::forget(told);
        seed = seed.wrapping_add(1);
        rounds += 1;
        if rounds == 50 {
            settled = resident();
        }
    }
    let grown = resident().saturating_sub(settled);
    println!("{rounds} rounds, {counts:?}, {grown} KiB more than after 50 rounds");
    // The bound includes the memory of other tests in this process.
    assert!(rounds < 50 || grown < 512 << 10, "{grown} KiB");
}

/// Returns the resident memory of this process in KiB; 0 where it is not known.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn round(seed: u64, counts: &Arc<Counts>) {
    fastrand::seed(seed);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(one_client(seed, Arc::clone(counts)));
}

async fn one_client(seed: u64, counts: Arc<Counts>) {
    let mut rng = Rng::with_seed(seed);
    let hostile = Hostile {
        server: Server::new(),
        is_hostile: Arc::default(),
        rng: Arc::new(Mutex::new(rng.fork())),
        counts,
    };
    let limits = WatchLimits {
        watch_bytes: WATCH_BYTES,
        revision_bytes: 100_000,
        ..WatchLimits::default()
    };
    let builder = hostile.peers().builder().watch_limits(limits);
    let client = builder.max_receive_size(200_000).connect().await;
    let client = client.expect("the server is not hostile yet");
    let mut stage = Watching {
        watcher: client.watcher(),
        streams: Vec::new(),
        client,
    };
    for _ in 0..=rng.usize(..2) {
        hostile.is_hostile.store(true, Relaxed);
        stage.use_watches(&mut rng, &hostile).await;
        hostile.is_hostile.store(false, Relaxed);
        stage.recover(&hostile).await;
    }
    let Watching {
        client,
        mut watcher,
        streams,
    } = stage;
    if rng.bool() {
        client.close(Duration::ZERO).await;
        loop {
            match timeout(LONG, watcher.next()).await.expect("at once") {
                Some(WatchMessage::Closed(error)) => assert_eq!(error.kind(), ErrorKind::Closed),
                Some(_) => {}
                None => break,
            }
        }
    } else {
        watcher.cancel_all();
    }
    drop((watcher, streams));
    nothing_left(&hostile.server).await;
    assert_eq!(client.watches().tasks(), 0);
    assert_eq!(client.watches().budget().held(), 0);
}

impl Watching {
    /// Uses watches while the server is hostile.
    async fn use_watches(&mut self, rng: &mut Rng, hostile: &Hostile) {
        hostile
            .server
            .end_streams("14", "the server becomes hostile");
        let counts = &hostile.counts;
        for step in 0..rng.usize(5..40) {
            let key = format!("k{}", rng.u32(..4));
            match rng.u32(..10) {
                0..=2 => {
                    let mut watch = crate::Watch::new(key).prev_kv();
                    if rng.bool() {
                        watch = watch.prefix().progress_notify().fragment(rng.bool());
                    }
                    if rng.bool() {
                        watch = watch.start_revision(rng.i64(1..10));
                    }
                    let limit = Duration::from_millis(rng.u64(1..2_000));
                    check_start(self.watcher.add(watch).timeout(limit).await.err());
                }
                3 => {
                    let open = self.client.watch(key).prefix().timeout(MOMENT).await;
                    match open {
                        Ok(stream) => self.streams.push(stream),
                        Err(error) => check_start(Some(error)),
                    }
                }
                4 => self.watcher.request_progress(),
                5 => {
                    if let Some((watch, _)) = rng.choice(self.watcher.list()) {
                        self.watcher.cancel(watch);
                    }
                }
                6 if step % 7 == 0 => {
                    self.watcher.cancel_all();
                    self.streams.clear();
                }
                7 => sleep(Duration::from_millis(rng.u64(..8_000))).await,
                _ => {
                    for _ in 0..rng.usize(..20) {
                        let pause = Duration::from_millis(rng.u64(1..100));
                        match timeout(pause, self.watcher.next()).await {
                            Ok(Some(message)) => check_message(&message, counts),
                            Ok(None) => panic!("the watcher has ended"),
                            Err(_) => {}
                        }
                    }
                }
            }
            for (watch, _) in self.watcher.list() {
                let lag = self.watcher.lag(watch).expect("the watch is listed");
                // The limit and one message.
                assert!(lag.bytes <= WATCH_BYTES + 300_000, "{lag:?}");
            }
        }
    }

    /// The server behaves like etcd from now on: every remaining watch has to deliver events.
    async fn recover(&mut self, hostile: &Hostile) {
        let counts = &hostile.counts;
        // Paused watches and pending creations get time to finish.
        while let Ok(message) = timeout(Duration::from_secs(20), self.watcher.next()).await {
            check_message(&message.expect("the watcher goes on"), counts);
        }
        let (mut fresh, mut refusals) = (None, Vec::new());
        // The cluster ID of the hostile server may end the first attempts.
        while fresh.is_none() && refusals.len() < 4 {
            match self.watcher.watch("fresh").timeout(LONG).await {
                Ok(watch) => fresh = Some(watch),
                Err(error) => refusals.push(error),
            }
        }
        let fresh = fresh.unwrap_or_else(|| panic!("never in force: {refusals:?}"));
        for key in ["k0", "k1", "k2", "k3", "fresh"] {
            hostile.server.put(key, "v");
        }
        let mut told = std::collections::HashSet::new();
        while let Ok(message) = timeout(Duration::from_secs(20), self.watcher.next()).await {
            let message = message.expect("the watcher goes on");
            check_message(&message, counts);
            if let WatchMessage::Notify { watch, .. } = message {
                told.insert(watch);
            }
        }
        for (watch, request) in self.watcher.list() {
            assert!(
                told.contains(&watch),
                "{watch} delivers nothing: {request:?}"
            );
        }
        assert!(told.contains(&fresh));
        for stream in &mut self.streams {
            loop {
                match timeout(LONG, stream.try_next())
                    .await
                    .expect("an event or the end")
                {
                    Ok(Some(batch)) if batch.events.iter().any(|event| event.kv.value == "v") => {
                        break;
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(end) => assert_ne!(end, WatchEnd::ClientClosed),
                }
            }
        }
        self.streams.clear();
    }
}

fn check_message(message: &WatchMessage, counts: &Counts) {
    match message {
        WatchMessage::Notify { batch, .. } => {
            counts.batches.fetch_add(1, Relaxed);
            // Batches are ordered and complete for any input.
            let revisions = batch.events.iter().map(|event| event.kv.mod_revision);
            assert!(revisions.is_sorted(), "{batch:?}");
        }
        WatchMessage::Cancelled { end, .. } => {
            counts.ends.fetch_add(1, Relaxed);
            assert_ne!(*end, WatchEnd::ClientClosed);
        }
        WatchMessage::Closed(error) => panic!("{error}"),
        _ => {}
    }
}

/// A start may fail, but not because a task has ended.
fn check_start(error: Option<crate::Error>) {
    if let Some(error) = error {
        assert_ne!(error.kind(), ErrorKind::Closed, "{error}");
    }
}
