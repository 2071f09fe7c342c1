//! A member that is cut off from its peers: it answers pings, and no call that needs its quorum.

use std::time::Duration;

use etcdex::{Client, ErrorKind};
use etcdex_testkit::{Binary, Cluster, Etcd};

use crate::stage::each_binary;

async fn cluster(binary: &Binary) -> Cluster {
    let builder = Etcd::builder().binary(binary).peer_proxies();
    builder.start_cluster(3).await.unwrap()
}

/// The question of a probe: etcd asks its quorum before it refuses it for want of a user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_without_a_user_needs_the_quorum_before_it_is_refused() {
    each_binary(|binary| async move {
        let cluster = cluster(&binary).await;
        let endpoint = &cluster.endpoints()[0];
        let client = Client::connect(endpoint.as_str()).await.unwrap();
        let auth = client.auth();
        auth.add_user("root", "secret").await.unwrap();
        auth.add_role("root").await.unwrap();
        auth.grant_role("root", "root").await.unwrap();
        auth.enable().await.unwrap();

        let probe = || client.get([0u8; 1]).count_only();
        let refused = probe().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TokenMissing, "{refused}");

        cluster.isolate(0).await.unwrap();
        let error = probe().timeout(Duration::from_secs(3)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        // Without the quorum's part, the refusal comes at once.
        let local = probe().serializable().await.unwrap_err();
        assert_eq!(local.kind(), ErrorKind::TokenMissing, "{local}");
    })
    .await;
}
