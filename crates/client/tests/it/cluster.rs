//! Three members, and clients with several endpoints.

use std::time::{Duration, Instant};

use etcdex::Client;
use etcdex_testkit::{Cluster, Proxy};

use crate::restart::Load;
use crate::stage::{connect_cluster, ends};

/// Members shut down gracefully, one after the other, while all are in use: no write is applied
/// twice, no acknowledged write is lost, and no read fails.
#[tokio::test]
async fn members_shut_down_one_after_the_other_under_load() {
    ends(|binary| async move {
        let cluster = Cluster::start(&binary, 3).await.unwrap();
        let client = connect_cluster(&cluster).await;
        let load = Load::start(&client).await;
        load.goes_on(30).await;
        // The leader, the next leader, and a member that was restarted.
        for _ in 0..3 {
            let leader = cluster.leader().await.unwrap();
            leader.terminate().await.unwrap();
            load.goes_on(30).await;
            leader.launch().unwrap();
            leader.ready().await.unwrap();
        }
        load.goes_on(30).await;
        load.end().await;
    })
    .await;
}

/// One member is behind a network that drops all bytes; the client has the default options.
#[tokio::test]
async fn a_black_hole_before_one_member() {
    ends(|binary| async move {
        let cluster = Cluster::start(&binary, 3).await.unwrap();
        let [first, second, _] = cluster.members() else {
            panic!("three members")
        };
        let proxy = Proxy::start(first.client_address()).await.unwrap();
        let client = Client::builder()
            .endpoints([proxy.endpoint(), second.endpoint()])
            .connect()
            .await
            .unwrap();
        client.put("hush-k", "hush-v").await.unwrap();
        // Both members are in use.
        let member = client.with_endpoint(proxy.endpoint()).unwrap();
        member.get("hush-k").await.unwrap();
        client
            .with_endpoint(second.endpoint())
            .unwrap()
            .get("hush-k")
            .await
            .unwrap();
        proxy.black_hole();

        let mut reads = tokio::task::JoinSet::new();
        for _ in 0..100 {
            reads.spawn(client.get("hush-k").string().into_future());
        }
        while let Some(read) = reads.join_next().await {
            assert_eq!(read.unwrap().unwrap().as_deref(), Some("hush-v"));
        }
        let (begun, mut in_a_row) = (Instant::now(), 0);
        while in_a_row < 10 {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{in_a_row} in a row"
            );
            match client
                .put("hush-k", "hush-v")
                .timeout(Duration::from_secs(1))
                .await
            {
                Ok(_) => in_a_row += 1,
                Err(_) => in_a_row = 0,
            }
        }

        // The member is used again.
        proxy.heal();
        member.get("hush-k").await.unwrap();
    })
    .await;
}
