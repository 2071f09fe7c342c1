//! Revisions and compaction, on servers without other writers.

use etcdex::{Client, Compare, Error, ErrorKind, Get, Outcome, Put, Txn};
use etcdex_testkit::Etcd;

use crate::stage::{assert_refused, connect, each_alone};

async fn revision(client: &Client) -> i64 {
    let get = client.get("any").count_only().await.unwrap();
    get.header.revision
}

/// Number of gRPC calls that the server has counted.
async fn seen(etcd: &Etcd) -> f64 {
    let metrics = etcd.metrics().await.unwrap();
    let lines = metrics.lines();
    lines
        .filter(|line| line.starts_with("grpc_server_started_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[tokio::test]
async fn writes_raise_the_revision() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        // An empty store is at revision 1.
        assert_eq!(revision(&client).await, 1);
        assert_eq!(client.put("a", "1").await.unwrap().header.revision, 2);
        let three = ["b", "c", "d"].map(|key| Put::new(key, "1"));
        let txn = three.into_iter().fold(Txn::new(), Txn::then);
        assert_eq!(client.run(txn).await.unwrap().header.revision, 3);
        assert_eq!(client.delete("none").await.unwrap().header.revision, 3);
        let delete = client.delete("x").range_end("z").await.unwrap();
        assert_eq!(delete.header.revision, 3);

        let reading = client
            .txn()
            .when(Compare::version("a").equal(1))
            .then(Get::new("b"))
            .then(Txn::new().then(Get::new("c")));
        assert_eq!(reading.await.unwrap().header.revision, 3);
        let failing = client
            .txn()
            .when(Compare::version("a").greater(1))
            .then(Put::new("a", "never"));
        assert_eq!(failing.await.unwrap().header.revision, 3);
        let swap = client.swap("a", "never").if_value("2").await.unwrap();
        assert!(!swap.is_done());

        let delete = client.delete("b").range_end("d").await.unwrap();
        assert_eq!((delete.deleted, delete.header.revision), (2, 4));
        assert_eq!(revision(&client).await, 4);

        // Invalid requests are not sent to the server.
        let before = seen(&etcd).await;
        assert!(before > 0.0);
        assert_refused(client.put("", "v").await);
        assert_refused(client.get("").await);
        assert_refused(client.delete("").await);
        assert_refused(client.swap("a", "v").await);
        assert_refused(client.compact(0).await);
        assert_refused(client.txn().then(Put::new("", "v")).await);
        assert_refused(client.txn().when(Compare::version("").equal(0)).await);
        assert_eq!(seen(&etcd).await, before);
        client.get("a").await.unwrap();
        assert_eq!(seen(&etcd).await, before + 1.0);
    })
    .await;
}

#[track_caller]
fn assert_gone<T>(reply: Result<T, Error>) {
    let error = reply.err().expect("the revision is compacted");
    assert_eq!(error.kind(), ErrorKind::Compacted, "{error}");
    assert_eq!(error.outcome(), Outcome::Rejected);
    assert_eq!(
        error.message(),
        "etcdserver: mvcc: required revision has been compacted"
    );
}

#[tokio::test]
async fn compaction() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        let mut revisions = Vec::new();
        for value in ["0", "1", "2", "3", "4"] {
            revisions.push(client.put("k", value).await.unwrap().header.revision);
        }
        let at = |revision| client.get("k").revision(revision).string();
        assert_eq!(at(revisions[0]).await.unwrap().as_deref(), Some("0"));

        let compact = client.compact(revisions[2]).await.unwrap();
        assert_eq!(compact.header.revision, revisions[4]);
        assert_gone(at(revisions[0]).await);
        assert_gone(at(revisions[1]).await);
        // The compacted revision itself is readable.
        assert_eq!(at(revisions[2]).await.unwrap().as_deref(), Some("2"));
        let old = Get::new("k").revision(revisions[1]);
        assert_gone(client.txn().then(old).await);
        assert_gone(client.compact(revisions[2]).await);
        assert_gone(client.compact(revisions[1]).await);

        client.compact(revisions[3]).physical().await.unwrap();
        assert_gone(at(revisions[2]).await);
        assert_eq!(at(revisions[3]).await.unwrap().as_deref(), Some("3"));

        let future = client.compact(revisions[4] + 1).await.unwrap_err();
        assert_eq!(future.kind(), ErrorKind::FutureRevision);
        let future = at(revisions[4] + 1).await.unwrap_err();
        assert_eq!(future.kind(), ErrorKind::FutureRevision);
        // A compaction covers all keys, also those outside of the namespace.
        let inside = client.namespace("other/");
        inside.compact(revisions[4]).await.unwrap();
        assert_gone(at(revisions[3]).await);
    })
    .await;
}

#[tokio::test]
async fn a_list_whose_revision_is_compacted_ends_with_an_error() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        for key in ["k1", "k2", "k3"] {
            client.put(key, "old").await.unwrap();
        }
        let mut list = client.list("k").page(2);
        assert!(list.try_next().await.unwrap().is_some());
        let put = client.put("k3", "new").await.unwrap();
        client.compact(put.header.revision).await.unwrap();
        assert!(
            list.try_next().await.unwrap().is_some(),
            "the first page was read before"
        );
        assert_gone(list.try_next().await);
        assert!(
            list.try_next().await.unwrap().is_none(),
            "the list has ended"
        );
    })
    .await;
}
