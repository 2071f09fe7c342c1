//! A member that is left alone.

use std::time::{Duration, Instant};

use etcdex::{Client, Code, ErrorKind, Outcome};
use etcdex_testkit::Etcd;

use crate::stage::{ends, eventually};

#[tokio::test]
async fn without_a_leader() {
    ends(|binary| async move {
        let builder = Etcd::builder().binary(&binary);
        let builder = builder.args(["--heartbeat-interval=50", "--election-timeout=500"]);
        let cluster = builder.start_cluster(3).await.unwrap();
        let [first, second, last] = cluster.members() else {
            panic!("three members")
        };
        let client = Client::connect(last.endpoint()).await.unwrap();
        client.put("k", "v").await.unwrap();
        first.kill();
        second.kill();
        eventually("the last member sees no leader", async || {
            let metrics = last.metrics().await.unwrap();
            metrics
                .lines()
                .any(|line| line == "etcd_server_has_leader 0")
        })
        .await;

        // Who asks for a leader is told at once that there is none.
        let strict = client.require_leader(true);
        let begun = Instant::now();
        let put = strict.put("k", "w").await.unwrap_err();
        assert_eq!(put.message(), "etcdserver: no leader");
        assert_eq!(put.kind(), ErrorKind::NoLeader);
        assert_eq!(put.outcome(), Outcome::Rejected);
        assert_eq!(put.code(), Some(Code::Unavailable));
        assert_eq!(put.endpoint().unwrap().url(), last.endpoint());
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        let begun = Instant::now();
        let get = strict.get("k").serializable().await.unwrap_err();
        assert_eq!(get.kind(), ErrorKind::NoLeader, "{get}");
        println!("a read was told after {:?}, {get}", begun.elapsed());

        // Who does not still reads what the member has.
        let get = client.get("k").serializable().string().await.unwrap();
        assert_eq!(get.as_deref(), Some("v"));

        // What needs the cluster waits for it, as long as it may.
        let limit = Duration::from_millis(700);
        let begun = Instant::now();
        let get = client.get("k").timeout(limit);
        let put = client.put("k", "w").timeout(limit);
        let (get, put) = tokio::join!(get, put);
        let took = begun.elapsed();
        let (get, put) = (get.unwrap_err(), put.unwrap_err());
        println!("{took:?}: {get:?}\n{put:?}");
        assert_eq!(get.kind(), ErrorKind::Timeout);
        assert_eq!(put.kind(), ErrorKind::Timeout);
        assert_eq!(put.outcome(), Outcome::Unknown);
        assert!(took < limit + Duration::from_secs(1), "{took:?}");

        // The cluster comes back, and so does the client.
        first.launch().unwrap();
        second.launch().unwrap();
        last.ready().await.unwrap();
        client.put("k", "x").await.unwrap();
        let get = strict.get("k").string().await.unwrap();
        assert_eq!(get.as_deref(), Some("x"));
    })
    .await;
}
