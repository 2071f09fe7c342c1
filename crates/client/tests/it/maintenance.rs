//! Maintenance requests, by etcd's documentation:
//! <https://etcd.io/docs/v3.6/op-guide/maintenance/>.

use etcdex::maintenance::{AlarmType, StatusResponse};
use etcdex::{Client, ErrorKind, Outcome};
use etcdex_testkit::{Binaries, Cluster, Etcd};
use serde_json::{Value, json};

use crate::ctl::{self, wait};
use crate::stage::{assert_refused, connect, connect_cluster, each_alone};

/// Returns the output of `etcdctl endpoint status`, and the same fields of the client's reply.
async fn statuses(etcd: &Etcd, client: &Client) -> (Value, Value) {
    let told = ctl::json(etcd, &["endpoint", "status"]).await;
    let told = told[0]["Status"].clone();
    (told, as_json(client.maintenance().status().await.unwrap()))
}

/// The fields in etcd's JSON, which leaves out fields that are 0, false or empty.
fn as_json(status: StatusResponse) -> Value {
    let header = status.header;
    let mut value = json!({
        "header": {
            "cluster_id": header.cluster_id,
            "member_id": header.member_id,
            "revision": header.revision,
            "raft_term": header.raft_term,
        },
        "version": status.version,
        "dbSize": status.db_size,
        "leader": status.leader,
        "raftIndex": status.raft_index,
        "raftTerm": status.raft_term,
        "raftAppliedIndex": status.raft_applied_index,
        "dbSizeInUse": status.db_size_in_use,
    });
    if !status.errors.is_empty() {
        value["errors"] = json!(status.errors);
    }
    if status.is_learner {
        value["isLearner"] = json!(true);
    }
    if let Some(version) = status.storage_version {
        value["storageVersion"] = json!(version);
    }
    if let Some(quota) = status.db_size_quota {
        value["dbSizeQuota"] = json!(quota);
    }
    if let Some(info) = status.downgrade_info {
        value["downgradeInfo"] = match info.enabled {
            true => json!({"enabled": true, "targetVersion": info.target_version}),
            false => json!({}),
        };
    }
    value
}

async fn assert_same_status(etcd: &Etcd, client: &Client) {
    // The raft index may grow between the two requests.
    for _ in 0..20 {
        let (told, ours) = statuses(etcd, client).await;
        if told == ours {
            return;
        }
    }
    let (told, ours) = statuses(etcd, client).await;
    assert_eq!(told, ours);
}

#[tokio::test]
async fn status() {
    each_alone(&["--quota-backend-bytes=33554432"], |etcd| async move {
        let client = connect(&etcd).await;
        client.put("k", "v").await.unwrap();
        assert_same_status(&etcd, &client).await;
        let status = client.maintenance().status().await.unwrap();
        assert_eq!(status.version, etcd.version().to_string());
        assert_eq!(status.leader, status.header.member_id);
        let modern = etcd.version().is_at_least(3, 6);
        assert_eq!(status.db_size_quota, modern.then_some(32 << 20));
        assert_eq!(status.downgrade_info.is_some(), modern);

        let id = status.header.member_id;
        let alarm = client.maintenance().activate_alarm(id, AlarmType::NoSpace);
        alarm.await.unwrap();
        let status = client.maintenance().status().await.unwrap();
        assert_eq!(status.errors.len(), 1, "{:?}", status.errors);
        assert_same_status(&etcd, &client).await;
    })
    .await;
}

#[tokio::test]
async fn alarms() {
    each_alone(&["--quota-backend-bytes=4194304"], |etcd| async move {
        let client = connect(&etcd).await;
        let maintenance = client.maintenance();
        assert!(maintenance.list_alarms().await.unwrap().alarms.is_empty());
        assert!(maintenance.disarm_all_alarms().await.unwrap().is_empty());

        // etcd raises this alarm by itself.
        let error = loop {
            if let Err(error) = client.put("k", vec![7; 1 << 20]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
        let raised = maintenance.list_alarms().await.unwrap();
        let id = maintenance.status().await.unwrap().header.member_id;
        let told = etcd.version().is_at_least(3, 5);
        assert_eq!(raised.header.member_id, if told { id } else { 0 });
        let [alarm] = raised.alarms[..] else {
            panic!("{raised:?}");
        };
        assert_eq!(
            (alarm.member_id, alarm.alarm_type),
            (id, AlarmType::NoSpace)
        );
        let told = ctl::json(&etcd, &["alarm", "list"]).await;
        assert_eq!(told["alarms"], json!([{"memberID": id, "alarm": 1}]));

        // The alarm of another member is not raised.
        let other = maintenance.disarm_alarm(id ^ 1, AlarmType::NoSpace).await;
        assert!(other.unwrap().alarms.is_empty());
        assert_eq!(maintenance.list_alarms().await.unwrap().alarms, [alarm]);
        let disarmed = maintenance.disarm_alarm(id, AlarmType::NoSpace).await;
        assert_eq!(disarmed.unwrap().alarms, [alarm]);
        assert!(maintenance.list_alarms().await.unwrap().alarms.is_empty());
        client.delete("k").await.unwrap();

        let raise = |kind| maintenance.activate_alarm(id, kind);
        let corrupt = raise(AlarmType::Corrupt).await.unwrap().alarms;
        assert_eq!(corrupt[0].alarm_type, AlarmType::Corrupt);
        let error = client.delete("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        raise(AlarmType::NoSpace).await.unwrap();
        let told = ctl::json(&etcd, &["alarm", "list"]).await;
        assert_eq!(told["alarms"].as_array().unwrap().len(), 2);
        assert_eq!(maintenance.disarm_all_alarms().await.unwrap().len(), 2);
        let told = ctl::json(&etcd, &["alarm", "list"]).await;
        assert_eq!(told["alarms"], Value::Null);
    })
    .await;
}

#[tokio::test]
async fn hashes_and_space() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        let maintenance = client.maintenance();
        for turn in 0_u8..8 {
            client.put("k", vec![turn; 1 << 20]).await.unwrap();
        }
        let revision = client.put("l", "v").await.unwrap().header.revision;
        same_hash(&etcd, &client, 0).await;
        same_hash(&etcd, &client, revision - 2).await;
        let future = maintenance.hash_kv(revision + 1).await.unwrap_err();
        assert_eq!(future.kind(), ErrorKind::FutureRevision, "{future}");
        assert_refused(maintenance.hash_kv(-1).await);

        let first = maintenance.hash().await.unwrap();
        assert_eq!(first.hash, maintenance.hash().await.unwrap().hash);
        client.put("l", "w").await.unwrap();
        assert_ne!(first.hash, maintenance.hash().await.unwrap().hash);

        client.compact(revision).physical().await.unwrap();
        let reply = maintenance.hash_kv(0).await.unwrap();
        assert_eq!(reply.compact_revision, revision);
        same_hash(&etcd, &client, 0).await;
        let gone = maintenance.hash_kv(revision - 2).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::Compacted, "{gone}");

        // Defragmenting returns the compacted space to the file system.
        let before = maintenance.status().await.unwrap();
        maintenance.defragment().await.unwrap();
        let after = maintenance.status().await.unwrap();
        assert!(before.db_size > 8 << 20, "{before:?}");
        assert!(after.db_size < 3 << 20, "{after:?}");
        assert!(after.db_size_in_use <= after.db_size, "{after:?}");
        same_hash(&etcd, &client, 0).await;
    })
    .await;
}

async fn same_hash(etcd: &Etcd, client: &Client, revision: i64) {
    let flag = format!("--rev={revision}");
    let told = ctl::json(etcd, &["endpoint", "hashkv", &flag]).await;
    let told = &told[0]["HashKV"];
    let reply = client.maintenance().hash_kv(revision).await.unwrap();
    assert_eq!(json!(reply.hash), told["hash"]);
    assert_eq!(json!(reply.compact_revision), told["compact_revision"]);
    assert_eq!(json!(reply.hash_revision), told["hash_revision"]);
    assert_eq!(
        reply.hash_revision.is_some(),
        etcd.version().is_at_least(3, 6)
    );
}

#[tokio::test]
async fn downgrades() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        let maintenance = client.maintenance();
        assert_refused(maintenance.validate_downgrade("").await);
        assert_refused(maintenance.enable_downgrade("").await);
        let version = etcd.version();
        if !version.is_at_least(3, 5) {
            for error in [
                maintenance.validate_downgrade("3.3").await.unwrap_err(),
                maintenance.enable_downgrade("3.3").await.unwrap_err(),
                maintenance.cancel_downgrade().await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::Unimplemented, "{error}");
                assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
            }
            return;
        }
        let before = format!("3.{}", version.minor - 1);
        // The members agree on the cluster's version soon after the start.
        wait!("the version before is allowed", {
            maintenance.validate_downgrade(&before).await.is_ok()
        });
        let reply = maintenance.validate_downgrade(&before).await.unwrap();
        let own = format!("3.{}", version.minor);
        assert!(reply.version.starts_with(&own), "{reply:?}");
        for bad in ["nonsense", "3.0"] {
            let error = maintenance.validate_downgrade(bad).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
        }
        if version.is_at_least(3, 6) {
            back_and_forth(&etcd, &client, &before).await;
        } else {
            let none = maintenance.cancel_downgrade().await.unwrap_err();
            assert_eq!(none.kind(), ErrorKind::DowngradeRefused, "{none}");
            assert_eq!(none.outcome(), Outcome::Rejected, "{none}");
        }
    })
    .await;
}

async fn back_and_forth(etcd: &Etcd, client: &Client, before: &str) {
    let maintenance = client.maintenance();
    // Without a downgrade, etcd 3.5 refuses this.
    maintenance.cancel_downgrade().await.unwrap();
    maintenance.enable_downgrade(before).await.unwrap();
    let info = maintenance.status().await.unwrap().downgrade_info.unwrap();
    assert!(info.enabled && info.target_version.starts_with(before));
    assert_same_status(etcd, client).await;

    let twice = maintenance.enable_downgrade(before).await.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::DowngradeRefused, "{twice}");
    assert_eq!(twice.outcome(), Outcome::Rejected, "{twice}");
    maintenance.cancel_downgrade().await.unwrap();
    let info = maintenance.status().await.unwrap().downgrade_info.unwrap();
    assert!(!info.enabled, "{info:?}");
}

/// One version after another: fifteen servers at once are too many for two cores.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_member_can_be_queried_and_can_become_the_leader() {
    for binary in Binaries::for_tests().all() {
        println!("etcd {}", binary.version());
        let cluster = Cluster::start(binary, 3).await.unwrap();
        let client = connect_cluster(&cluster).await;
        let revision = client.put("k", "v").await.unwrap().header.revision;
        let mut ids = Vec::new();
        let mut hashes = Vec::new();
        for member in cluster.members() {
            let maintenance = client
                .with_endpoint(member.endpoint())
                .unwrap()
                .maintenance();
            wait!("the member has caught up", {
                maintenance.status().await.unwrap().header.revision >= revision
            });
            ids.push(maintenance.status().await.unwrap().header.member_id);
            hashes.push(maintenance.hash_kv(revision).await.unwrap().hash);
            // Each member is defragmented separately.
            maintenance.defragment().await.unwrap();
        }
        assert_eq!(hashes, [hashes[0]; 3]);
        for (member, id) in cluster.members().iter().zip(&ids) {
            let told = ctl::json(member, &["endpoint", "status"]).await;
            assert_eq!(told[0]["Status"]["header"]["member_id"], json!(id));
        }
        lead(&cluster, &client, &ids).await;
    }
}

async fn lead(cluster: &Cluster, client: &Client, ids: &[u64]) {
    let leader = cluster.leader().await.unwrap();
    let place = |etcd: &Etcd| {
        cluster
            .members()
            .iter()
            .position(|m| m.name() == etcd.name())
    };
    let place = place(leader).unwrap();
    let (next, other) = ((place + 1) % 3, (place + 2) % 3);
    let of = |place: usize| {
        let endpoint = cluster.members()[place].endpoint();
        client.with_endpoint(endpoint).unwrap().maintenance()
    };
    let error = of(other).move_leader(ids[next]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotLeader, "{error}");
    assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
    let error = of(place).move_leader(7).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    assert_refused(of(place).move_leader(0).await);

    of(place).move_leader(ids[place]).await.unwrap();
    of(place).move_leader(ids[next]).await.unwrap();
    wait!("all see the new leader", {
        let told = ctl::json(&cluster.members()[other], &["endpoint", "status"]).await;
        told[0]["Status"]["leader"] == json!(ids[next])
    });
    assert_eq!(of(other).status().await.unwrap().leader, ids[next]);
}
