//! A bad network between the client and a server: the errors of the client, and its recovery.

use std::time::{Duration, Instant};

use etcdex::kv::PutResponse;
use etcdex::{Client, ErrorKind, Outcome};
use etcdex_testkit::{Direction, Proxy, until};
use tokio::task::JoinHandle;

use crate::stage::{DEADLINE, Stage, each, eventually, keys};

/// Long enough to observe a call under way.
const DELAY: Duration = Duration::from_millis(150);
/// Larger than anything that the client sends by itself.
const VALUE: [u8; 5_000] = {
    let mut value = [b'v'; 5_000];
    (value[0], value[1], value[2], value[3]) = (b'h', b'u', b's', b'h');
    value
};

struct Network {
    proxy: Proxy,
    client: Client,
    /// A client without the proxy.
    direct: Client,
}

impl Network {
    async fn new(stage: &Stage) -> Self {
        let proxy = Proxy::start(stage.etcd.client_address()).await.unwrap();
        let client = Client::builder()
            .endpoint(proxy.endpoint())
            .namespace(stage.prefix.as_str())
            .timeout(DEADLINE)
            .connect()
            .await
            .unwrap();
        let direct = stage.inside();
        direct.put("hush-present", "1").await.unwrap();
        Self {
            proxy,
            client,
            direct,
        }
    }

    /// Returns a put that the server has applied and whose answer the proxy holds back.
    async fn half_done(&self, key: &str) -> JoinHandle<Result<PutResponse, etcdex::Error>> {
        // The delay keeps the answer from arriving before the proxy stalls it.
        self.proxy.delay(DELAY);
        let before = self.proxy.forwarded(Direction::ToServer);
        let put = tokio::spawn(self.client.put(key, VALUE));
        until("the put goes to the server", || {
            self.proxy.forwarded(Direction::ToServer) >= before + VALUE.len() as u64
        })
        .await;
        self.proxy.stall();
        eventually("the put is done", || async {
            self.version(key).await == Some(1)
        })
        .await;
        put
    }

    /// Asserts that reads and writes succeed again.
    async fn assert_well(&self) {
        self.proxy.heal();
        // Reads succeed at once. A write may still fail with a link that is reset.
        self.client.get("hush-present").await.unwrap();
        eventually("writes succeed", || async {
            self.client.put("well", "1").await.is_ok()
        })
        .await;
    }

    async fn version(&self, key: &str) -> Option<i64> {
        let kv = self.direct.get(key).await.unwrap().into_kv();
        kv.map(|kv| kv.version)
    }
}

/// The link is lost while the server works on a put, and another time while it reads.
async fn lose_the_link(stage: Stage, fault: fn(&Proxy)) {
    let network = Network::new(&stage).await;
    let put = network.half_done("k").await;
    let begun = Instant::now();
    fault(&network.proxy);
    let error = put.await.unwrap().unwrap_err();
    // The error comes at once: the client does not retry a write.
    assert!(begun.elapsed() < DEADLINE / 3, "{:?}", begun.elapsed());
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    assert_eq!(error.attempts(), 1, "a write is not sent again");
    let endpoint = error.endpoint().unwrap().url().to_owned();
    assert_eq!(endpoint, network.proxy.endpoint());
    network.assert_well().await;
    assert_eq!(network.version("k").await, Some(1));

    // A read is sent again and succeeds.
    network.proxy.delay(DELAY);
    let before = network.proxy.forwarded(Direction::ToServer);
    let get = tokio::spawn(network.client.get("hush-present").string());
    until("the get goes to the server", || {
        network.proxy.forwarded(Direction::ToServer) > before
    })
    .await;
    fault(&network.proxy);
    assert_eq!(get.await.unwrap().unwrap().as_deref(), Some("1"));
    network.assert_well().await;
}

#[tokio::test]
async fn cut() {
    each(|stage| lose_the_link(stage, Proxy::cut)).await;
}

#[tokio::test]
async fn reset() {
    each(|stage| lose_the_link(stage, Proxy::reset)).await;
}

#[tokio::test]
async fn no_more_from_the_server() {
    each(|stage| lose_the_link(stage, |proxy| proxy.half_close(Direction::ToClient))).await;
}

/// The server reads the end and closes the link; its answer may still arrive.
#[tokio::test]
async fn no_more_to_the_server() {
    each(|stage| async move {
        let network = Network::new(&stage).await;
        let put = network.half_done("k").await;
        network.proxy.half_close(Direction::ToServer);
        network.proxy.heal();
        if let Err(error) = put.await.unwrap() {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
        }
        network.assert_well().await;
        assert_eq!(network.version("k").await, Some(1));
    })
    .await;
}

#[tokio::test]
async fn stall_that_ends_in_time() {
    each(|stage| async move {
        let network = Network::new(&stage).await;
        network.proxy.stall();
        let mut put = tokio::spawn(network.client.put("k", "v"));
        let mut get = tokio::spawn(network.client.get("hush-present").string());
        let both = async { tokio::join!(&mut put, &mut get) };
        let early = tokio::time::timeout(DELAY, both).await;
        assert!(early.is_err(), "no byte arrives");
        assert_eq!(network.version("k").await, None);
        network.proxy.heal();
        put.await.unwrap().unwrap();
        assert_eq!(get.await.unwrap().unwrap().as_deref(), Some("1"));
        assert_eq!(network.version("k").await, Some(1));
        assert_eq!(network.proxy.connections(), 1, "on the same link");
    })
    .await;
}

#[tokio::test]
async fn silence_longer_than_the_timeout() {
    each(|stage| async move {
        for fault in [Proxy::stall, Proxy::black_hole] {
            let network = Network::new(&stage).await;
            fault(&network.proxy);
            let (begun, limit) = (Instant::now(), Duration::from_millis(200));
            let put = network.client.put("k", "v").timeout(limit);
            let get = network.client.get("hush-present").timeout(limit);
            let (put, get) = tokio::join!(put, get);
            let took = begun.elapsed();
            assert!(took >= limit && took < limit + DEADLINE / 6, "{took:?}");
            let put = put.unwrap_err();
            assert_eq!(put.kind(), ErrorKind::Timeout, "{put:?}");
            assert_eq!(put.outcome(), Outcome::Unknown, "{put:?}");
            assert_eq!(get.unwrap_err().kind(), ErrorKind::Timeout);
            network.assert_well().await;
        }
    })
    .await;
}

#[tokio::test]
async fn delay() {
    each(|stage| async move {
        let network = Network::new(&stage).await;
        network.proxy.delay(DELAY);
        let begun = Instant::now();
        let calls = tokio::join!(
            network.client.put("a", "1"),
            network.client.put("b", "1"),
            network.client.get("hush-present"),
        );
        let took = begun.elapsed();
        assert!(calls.0.is_ok() && calls.1.is_ok() && calls.2.is_ok());
        assert!(took >= 2 * DELAY, "{took:?}");
        network.assert_well().await;
    })
    .await;
}

#[tokio::test]
async fn outage() {
    each(|stage| async move {
        let network = Network::new(&stage).await;
        let down = |proxy: &Proxy| {
            proxy.refuse();
            proxy.reset();
        };
        down(&network.proxy);
        until("the link is closed", || network.proxy.open() == 0).await;
        // The client learns of the loss a moment later; before, it may still send a call.
        eventually("the client knows", || async {
            let get = network.client.get("hush-present");
            let limit = Duration::from_millis(20);
            get.timeout(limit).await.unwrap_err().attempts() == 0
        })
        .await;

        let put = network.client.put("k", "v");
        let error = put.timeout(Duration::from_millis(300)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
        assert_eq!(error.attempts(), 0);
        assert!(error.to_string().contains(&network.proxy.endpoint()));

        // A put with time left waits for the connection, and is applied once.
        let mut put = tokio::spawn(network.client.put("k", "v"));
        let early = tokio::time::timeout(DELAY, &mut put).await;
        assert!(early.is_err());
        network.proxy.heal();
        put.await.unwrap().unwrap();
        assert_eq!(network.version("k").await, Some(1));
        network.assert_well().await;
    })
    .await;
}

/// Links break repeatedly under load: reads do not fail, and the outcomes of writes are correct.
#[tokio::test]
async fn links_that_break_under_load() {
    each(|stage| async move {
        let network = Network::new(&stage).await;
        let reader = network.client.clone();
        let reads = tokio::spawn(async move {
            let mut reads = 0;
            loop {
                reader.get("hush-present").await.unwrap();
                reads += 1;
                if reader.get("over").await.unwrap().count == 1 {
                    return reads;
                }
            }
        });
        let (mut done, mut unknown) = (Vec::new(), 0);
        for number in 0..60 {
            let key = format!("k{number}");
            let put = tokio::spawn(network.client.put(&key, VALUE));
            match number % 6 {
                0 => network.proxy.cut(),
                3 => network.proxy.reset(),
                _ => {}
            }
            match put.await.unwrap() {
                Ok(_) => done.push(key),
                Err(error) => {
                    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                    unknown += 1;
                }
            }
        }
        network.direct.put("over", "1").await.unwrap();
        assert!(reads.await.unwrap() > 0);
        let all = network.direct.get("k").prefix().await.unwrap();
        assert!(all.kvs.iter().all(|kv| kv.version == 1), "once each");
        let there = keys(&all.kvs);
        assert!(done.iter().all(|key| there.contains(&&**key)));
        assert!(
            done.len() + unknown == 60 && done.len() >= 40,
            "{}",
            done.len()
        );
    })
    .await;
}
