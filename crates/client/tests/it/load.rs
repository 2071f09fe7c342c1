//! Large replies and many calls at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use etcdex::connector::{ByteStream, ConnectFuture};
use etcdex::kv::PutResponse;
use etcdex::{Client, Connector, Endpoint, Error, ErrorKind, Outcome, Value};
use etcdex_testkit::{Etcd, Version};
use tokio::task::JoinSet;

use crate::stage::{DEADLINE, connect, each, each_binary, newest};

const MEGABYTE: usize = 1_000_000;

/// Returns a unique value.
fn megabyte(number: usize) -> Vec<u8> {
    let mut draw = fastrand::Rng::with_seed(number as u64);
    let mut value = vec![0; MEGABYTE];
    draw.fill(&mut value);
    value
}

#[tokio::test]
async fn a_range_of_a_hundred_megabytes() {
    let Some(binary) = newest() else { return };
    let etcd = Etcd::start(binary).await.unwrap();
    let client = connect(&etcd).await.with_timeout(2 * DEADLINE);
    let mut puts: JoinSet<Result<PutResponse, Error>> = JoinSet::new();
    for number in 0..100 {
        if puts.len() == 4 {
            puts.join_next().await.unwrap().unwrap().unwrap();
        }
        let value = Value::from(megabyte(number));
        puts.spawn(client.put(format!("k{number:03}"), value).into_future());
    }
    while let Some(put) = puts.join_next().await {
        put.unwrap().unwrap();
    }

    let get = client.get("k").prefix().await.unwrap();
    assert_eq!((get.kvs.len(), get.count), (100, 100));
    for (number, kv) in get.kvs.iter().enumerate() {
        assert!(kv.value == megabyte(number), "value {number}");
    }
    let mut list = client.list("k").page(16);
    let mut number = 0;
    while let Some(kv) = list.try_next().await.unwrap() {
        assert!(kv == get.kvs[number], "pair {number}");
        number += 1;
    }
    assert_eq!(number, 100);

    // A client with a smaller limit reads the range page by page.
    let careful = Client::builder()
        .endpoint(etcd.endpoint())
        .max_receive_size(8 * MEGABYTE)
        .timeout(DEADLINE);
    let mut list = careful.connect().await.unwrap().list("k");
    let mut number = 0;
    while let Some(kv) = list.try_next().await.unwrap() {
        assert!(kv == get.kvs[number], "pair {number}");
        number += 1;
    }
    assert_eq!(number, 100);
}

/// Connects to one address, and counts.
struct Counter {
    address: std::net::SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Connector for Counter {
    fn connect(&self, _endpoint: &Endpoint) -> ConnectFuture {
        self.connections.fetch_add(1, Relaxed);
        let address = self.address;
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_gets_over_one_connection() {
    // One version after the other: the test is not about fifty thousand calls at once.
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    each(|stage| async move {
        let _turn = TURN.lock().await;
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Counter {
            address: stage.etcd.client_address(),
            connections: Arc::clone(&connections),
        };
        let client = Client::builder()
            .endpoint("http://etcd.test:1")
            .connector(counter)
            .namespace(stage.prefix.as_str())
            .timeout(Duration::from_secs(60))
            // All other tests run at the same time: a server may get no processor time for seconds.
            .no_keep_alive_timeout()
            .connect()
            .await
            .unwrap();
        for number in 0..10 {
            let key = number.to_string();
            client.put(&key, &*key).await.unwrap();
        }
        let mut gets = JoinSet::new();
        for number in 0..10_000 {
            let get = client.get((number % 10).to_string()).string();
            gets.spawn(async move { (number, get.await) });
        }
        let mut answered = 0;
        while let Some(get) = gets.join_next().await {
            let (number, value) = get.unwrap();
            assert_eq!(value.unwrap(), Some((number % 10).to_string()));
            answered += 1;
        }
        assert_eq!(answered, 10_000);
        assert_eq!(connections.load(Relaxed), 1);
    })
    .await;
}

/// A server that allows one stream at once, and stands still for a while.
#[tokio::test]
async fn a_put_that_gets_no_stream_is_not_sent() {
    each_binary(|binary| async move {
        if binary.version() == "3.5.1".parse::<Version>().unwrap() {
            // It has no such option.
            return;
        }
        let builder = Etcd::builder().binary(&binary);
        let etcd = builder.args(["--max-concurrent-streams=1"]).start().await;
        let etcd = etcd.unwrap();
        let builder = Client::builder().endpoint(etcd.endpoint());
        let client = builder.no_keep_alive_timeout().connect().await.unwrap();
        let put = |key: String, timeout| {
            let put = client.put(key, "hush").timeout(timeout);
            tokio::spawn(put.into_future())
        };
        let all: Vec<_> = (0..300)
            .map(|number| put(format!("hush-all-{number}"), DEADLINE))
            .collect();
        for one in all {
            one.await.unwrap().unwrap();
        }

        etcd.pause().unwrap();
        let sent = put("hush-sent".to_owned(), Duration::from_secs(3));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let waiting: Vec<_> = (0..10)
            .map(|number| put(format!("hush-late-{number}"), Duration::from_secs(1)))
            .collect();
        for one in waiting {
            let error = one.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
        }
        let error = sent.await.unwrap().unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        etcd.resume().unwrap();

        let again = client.put("hush-again", "hush").timeout(DEADLINE);
        again.await.unwrap();
        let late = client.get("hush-late-").prefix().count_only();
        assert_eq!(late.await.unwrap().count, 0);
        let all = client.get("hush-all-").prefix().count_only();
        assert_eq!(all.await.unwrap().count, 300);
    })
    .await;
}
