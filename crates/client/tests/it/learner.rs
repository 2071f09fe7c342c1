//! A member without a vote among the endpoints.
//!
//! Expected behavior: a learner serves only serializable reads and its status
//! (<https://etcd.io/docs/v3.6/learning/design-learner/>), and the client asks another member, as
//! clientv3 does.

use etcdex::{Client, ErrorKind, Mode, Outcome};
use etcdex_testkit::Etcd;

use crate::stage::{DEADLINE, each_binary, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_a_learner_refuses_goes_to_a_member_with_a_vote() {
    each_binary(|binary| async move {
        let cluster = Etcd::builder().binary(&binary).start_cluster(1).await;
        let cluster = cluster.unwrap();
        let member = cluster.members()[0].endpoint();
        let client = Client::connect(&member).await.unwrap();
        let newcomer = cluster.newcomer().unwrap();
        let added = client.add_member([newcomer.peer_url()]).learner();
        added.await.unwrap();
        newcomer.launch().unwrap();
        let alone = Client::builder().endpoint(newcomer.endpoint());
        let alone = alone.timeout(DEADLINE).connect_lazy().unwrap();
        eventually("the learner has joined", || async {
            let status = alone.maintenance().status().await;
            status.is_ok_and(|status| status.is_learner)
        })
        .await;

        let error = alone.put("k", "v").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Learner, "{error}");
        assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
        assert_eq!(error.attempts(), 1, "{error}");
        for mode in [Mode::PickFirst, Mode::Random, Mode::ConnectAll] {
            // With one endpoint for all calls, a client picks the first one at random.
            for _ in 0..8 {
                let both = Client::builder().endpoints([newcomer.endpoint(), member.clone()]);
                let both = both.mode(mode).timeout(DEADLINE).connect().await.unwrap();
                for _ in 0..20 {
                    both.put("k", "v").await.unwrap();
                    both.get("k").await.unwrap();
                }
            }
        }
        let written = client.get("k").await.unwrap().into_kv().unwrap();
        assert_eq!(written.version, 3 * 8 * 20);
    })
    .await;
}
