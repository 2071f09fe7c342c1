//! Clients that send anything: no panic, and other clients are served.
//!
//! `ETCDEX_FUZZ_SECONDS` sets the duration, `ETCDEX_SEED` repeats a run from its seed.

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use etcdex::Client;
use etcdex_proto::method;
use etcdex_server::Server;
use fastrand::Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::number;
use crate::raw::connect;

const DEADLINE: Duration = Duration::from_secs(30);
/// How long a hostile client waits for what its bytes have done.
const MOMENT: Duration = Duration::from_millis(5);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const PATHS: &[&str] = &[
    method::kv::RANGE,
    method::kv::RANGE_STREAM,
    method::kv::PUT,
    method::kv::DELETE_RANGE,
    method::kv::TXN,
    method::kv::COMPACT,
    method::watch::WATCH,
    method::lease::LEASE_GRANT,
    method::lease::LEASE_REVOKE,
    method::lease::LEASE_KEEP_ALIVE,
    method::lease::LEASE_TIME_TO_LIVE,
    method::lease::LEASE_LEASES,
    method::lock::LOCK,
    method::lock::UNLOCK,
    method::election::CAMPAIGN,
    method::election::PROCLAIM,
    method::election::LEADER,
    method::election::OBSERVE,
    method::election::RESIGN,
    method::auth::USER_ADD,
    method::auth::ROLE_ADD,
    method::auth::ROLE_GRANT_PERMISSION,
    method::auth::AUTHENTICATE,
    method::cluster::MEMBER_LIST,
    method::cluster::MEMBER_UPDATE,
    method::maintenance::ALARM,
    method::maintenance::STATUS,
    method::maintenance::HASH_KV,
    method::maintenance::DOWNGRADE,
    method::health::CHECK,
    method::health::WATCH,
];

/// Number of panics in threads of servers.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            if thread
                .name()
                .is_some_and(|name| name.starts_with("etcdex-server"))
            {
                PANICS.fetch_add(1, Relaxed);
            }
            next(info);
        }));
    });
}

fn bytes(random: &mut Rng, most: usize) -> Vec<u8> {
    let length = random.usize(..most);
    (0..length).map(|_| random.u8(..)).collect()
}

/// Returns a frame of HTTP/2 that may make no sense.
fn frame(random: &mut Rng) -> Vec<u8> {
    let payload = bytes(random, 60);
    let length = match random.u8(..8) {
        0 => random.u32(..1 << 24),
        _ => u32::try_from(payload.len()).unwrap(),
    };
    let stream = match random.u8(..4) {
        0 => 0,
        1 => random.u32(..),
        _ => random.u32(..6),
    };
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([random.u8(..12), random.u8(..)]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Returns a message that may be one of protobuf: fields with small numbers.
fn message(random: &mut Rng) -> Vec<u8> {
    let mut message = Vec::new();
    for _ in 0..random.usize(..6) {
        let (field, kind) = (
            random.u8(1..12),
            random.choice([0, 0, 2, 2, 2, 1, 5, 7]).unwrap(),
        );
        message.push(field << 3 | kind);
        match kind {
            0 => message.extend([random.u8(..) | 0x80, random.u8(..0x80)]),
            _ => {
                let part = bytes(random, 12);
                message.push(u8::try_from(part.len()).unwrap());
                message.extend(part);
            }
        }
    }
    message
}

async fn send_bytes(random: &mut Rng, url: &str) {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut sent = Vec::new();
    match random.u8(..4) {
        0 => sent.extend(bytes(random, 2_000)),
        1 => sent.extend(&PREFACE[..random.usize(..PREFACE.len())]),
        _ => {
            sent.extend(PREFACE);
            // An empty SETTINGS, which has to come first.
            sent.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
            (0..random.usize(..20)).for_each(|_| sent.extend(frame(random)));
        }
    }
    // The server may have closed the connection.
    let _ = stream.write_all(&sent).await;
    let mut sink = Vec::new();
    let _ = timeout(MOMENT, stream.read_to_end(&mut sink)).await;
}

async fn send_calls(random: &mut Rng, url: &str) {
    let sender = connect(url).await;
    let mut open = Vec::new();
    for _ in 0..random.usize(1..30) {
        let path = random.choice(PATHS).unwrap();
        let request = http::Request::post(format!("http://server{path}"))
            .header("content-type", "application/grpc")
            .header("token", "x".repeat(random.usize(..50)))
            .body(())
            .unwrap();
        let Ok(mut sender) = sender.clone().ready().await else {
            return;
        };
        let Ok((response, mut stream)) = sender.send_request(request, false) else {
            return;
        };
        for _ in 0..random.usize(..4) {
            let message = message(random);
            let length = match random.u8(..8) {
                0 => random.u32(..),
                _ => u32::try_from(message.len()).unwrap(),
            };
            let prefix = [&[u8::from(random.u8(..20) == 0)][..], &length.to_be_bytes()].concat();
            let data = [prefix, message].concat();
            let _ = stream.send_data(data.into(), random.u8(..4) == 0);
        }
        // Some calls stay half open, and are given up with the connection.
        open.push((response, stream));
    }
    for (response, _) in open {
        let _ = timeout(MOMENT, response).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bytes_make_the_server_panic_or_disturb_other_clients() {
    count_panics();
    let seed = number("ETCDEX_SEED").unwrap_or_else(|| fastrand::u64(..1 << 48));
    println!("ETCDEX_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let server = Server::builder().start().await.unwrap();
    let url = server.client_url();
    let client = Client::connect(&*url).await.unwrap();
    let seconds = number("ETCDEX_FUZZ_SECONDS").unwrap_or(2);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut connections = 0;
    while Instant::now() < end {
        match random.bool() {
            true => send_bytes(&mut random, &url).await,
            false => send_calls(&mut random, &url).await,
        }
        connections += 1;
        // A hostile alarm or a user may refuse it, and that is an answer.
        let answered = client.get("k").timeout(DEADLINE).await;
        assert!(answered.is_ok(), "ETCDEX_SEED={seed}: {answered:?}");
        assert_eq!(PANICS.load(Relaxed), 0, "ETCDEX_SEED={seed}");
    }
    println!("{connections} connections");
    drop(client);
    let wait = async {
        while !server.connections().is_empty() {
            tokio::time::sleep(MOMENT).await;
        }
    };
    timeout(DEADLINE, wait)
        .await
        .expect("no connection is left");
}

/// Connections that do nothing cost little, and keep nobody from being served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_keep_nobody_from_being_served() {
    let server = Server::builder().start().await.unwrap();
    let url = server.client_url();
    let address = url.strip_prefix("http://").unwrap();
    let mut idle = Vec::new();
    for number in 0..400 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(PREFACE).await.unwrap();
        }
        idle.push(stream);
    }
    let client = Client::connect(&*url).await.unwrap();
    client.put("k", "v").timeout(DEADLINE).await.unwrap();
    drop(idle);
    client.get("k").timeout(DEADLINE).await.unwrap();
}
