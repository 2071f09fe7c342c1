//! Transactions: <https://etcd.io/docs/v3.6/learning/api/#transaction>.

use etcdex::txn::{CompareOp, Operation, OperationResponse};
use etcdex::{Client, Compare, Delete, Error, ErrorKind, Get, Outcome, Put, Txn};

use crate::stage::{assert_refused, each, keys, values};

#[tokio::test]
async fn then_and_otherwise() {
    each(|stage| async move {
        let inside = stage.inside();
        let take = |owner: &str| {
            let txn = inside.txn().when(Compare::version("owner").equal(0));
            txn.then(Put::new("owner", owner))
                .otherwise(Get::new("owner"))
        };
        let taken = take("me").await.unwrap();
        assert!(taken.succeeded);
        let [OperationResponse::Put(put)] = &taken.responses[..] else {
            panic!("{taken:?}")
        };
        assert_eq!(put.prev_kv, None);
        let mut refused = take("you").await.unwrap();
        assert!(!refused.succeeded);
        assert_eq!(refused.responses.len(), 1);
        let kv = refused.responses.remove(0).into_get().unwrap().into_kv();
        let kv = kv.unwrap();
        assert_eq!((kv.key_str(), kv.value_str()), (Some("owner"), Some("me")));
        assert_eq!(kv.mod_revision, taken.header.revision);

        // All conditions must hold. A transaction without conditions succeeds.
        let txn = inside.txn().when(Compare::version("owner").equal(1));
        let txn = txn.when(Compare::value("owner").equal("you"));
        assert!(!txn.await.unwrap().succeeded);
        let empty = inside.txn().await.unwrap();
        assert!(empty.succeeded && empty.responses.is_empty());
    })
    .await;
}

#[tokio::test]
async fn lists_of_conditions_and_operations() {
    each(|stage| async move {
        let inside = stage.inside();
        let absent = |key: &str| Compare::version(key).equal(0);
        let puts = |value: &str| ["a", "b"].map(|key| Put::new(key, value));
        let all = |value: &str| {
            let txn = inside.txn().when_all(["a", "b"].map(absent));
            let txn = txn.then_all(puts(value));
            txn.otherwise_all([Operation::from(Get::new("a")), Delete::new("b").into()])
        };
        assert!(all("new").await.unwrap().succeeded);
        let refused = all("newer").await.unwrap();
        assert!(!refused.succeeded);
        assert_eq!(refused.responses.len(), 2);
        assert_eq!(inside.get("b").string().await.unwrap(), None);
        // Only one of the two conditions holds.
        assert!(!all("newest").await.unwrap().succeeded);
        let value = inside.get("a").string().await.unwrap();
        assert_eq!(value.as_deref(), Some("new"));
    })
    .await;
}

#[tokio::test]
async fn an_operator_can_be_chosen_at_run_time() {
    use std::cmp::Ordering;
    each(|stage| async move {
        let inside = stage.inside();
        inside.put("k", "m").await.unwrap();
        for op in [
            CompareOp::Equal,
            CompareOp::NotEqual,
            CompareOp::Greater,
            CompareOp::Less,
        ] {
            for other in ["a", "m", "z"] {
                let compare = Compare::value("k").compare(op, other);
                let held = inside.txn().when(compare).await.unwrap().succeeded;
                let order = "m".cmp(other);
                let expected = match op {
                    CompareOp::Equal => order == Ordering::Equal,
                    CompareOp::NotEqual => order != Ordering::Equal,
                    CompareOp::Greater => order == Ordering::Greater,
                    CompareOp::Less => order == Ordering::Less,
                };
                assert_eq!(held, expected, "{op:?} {other}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_operation_is_a_request_of_its_own() {
    each(|stage| async move {
        let inside = stage.inside();
        let run = async |operation: Operation| inside.run(operation).await.unwrap();
        let put = run(Put::new("k", "v").into()).await;
        assert!(put.into_put().is_some());
        let get = run(Get::new("k").into()).await.into_get().unwrap();
        assert_eq!(get.into_kv().unwrap().value_str(), Some("v"));
        let txn = run(Txn::new().then(Get::new("k")).into()).await;
        assert_eq!(txn.into_txn().unwrap().responses.len(), 1);
        let delete = run(Delete::new("k").into()).await.into_delete().unwrap();
        assert_eq!(delete.deleted, 1);
    })
    .await;
}

#[tokio::test]
async fn replies_of_all_kinds_come_in_order() {
    each(|stage| async move {
        let inside = stage.inside();
        for key in ["a", "b", "c"] {
            inside.put(key, "old").await.unwrap();
        }
        let txn = inside
            .txn()
            .then(Get::new("a").prefix())
            .then(Put::new("a", "new").prev_kv())
            .then(Delete::new("b").range_end("d").prev_kv())
            .then(
                Txn::new()
                    .when(Compare::version("none").greater(0))
                    .then(Put::new("never", ""))
                    .otherwise(Get::new("").all_keys())
                    .otherwise(Txn::new().then(Put::new("deep", "down"))),
            )
            .then(Get::new("none"));
        let txn = txn.await.unwrap();
        assert!(txn.succeeded);
        let mut replies = txn.responses.into_iter();
        let mut next = || replies.next().unwrap();

        let get = next().into_get().unwrap();
        assert_eq!(get.kvs[0].value_str(), Some("old"));
        let put = next().into_put().unwrap();
        assert_eq!(put.prev_kv.unwrap().key_str(), Some("a"));
        let delete = next().into_delete().unwrap();
        assert_eq!(
            (delete.deleted, keys(&delete.prev_kvs)),
            (2, vec!["b", "c"])
        );
        let nested = next().into_txn().unwrap();
        assert!(!nested.succeeded);
        let mut inner = nested.responses.into_iter();
        // An operation sees the changes of the operations before it.
        let get = inner.next().unwrap().into_get().unwrap();
        assert_eq!(keys(&get.kvs), ["a"]);
        assert_eq!(get.kvs[0].value_str(), Some("new"));
        let deepest = inner.next().unwrap().into_txn().unwrap();
        assert!(deepest.succeeded && deepest.responses.len() == 1);
        assert_eq!(next().into_get().unwrap().count, 0);
        assert!(replies.next().is_none());

        // All changes are of one revision.
        let all = inside.get("").all_keys().await.unwrap();
        assert_eq!(keys(&all.kvs), ["a", "deep"]);
        let one = |kv: &etcdex::KeyValue| kv.mod_revision == txn.header.revision;
        assert!(all.kvs.iter().all(one));
    })
    .await;
}

#[track_caller]
fn assert_rejected<T>(reply: Result<T, Error>, kind: ErrorKind, message: &str) {
    let error = reply.err().expect("the server rejects");
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
    assert_eq!(error.message(), message);
}

#[tokio::test]
async fn a_transaction_puts_a_key_once() {
    each(|stage| async move {
        let inside = stage.inside();
        let put = || Put::new("k", "v");
        let again = "etcdserver: duplicate key given in txn request";
        for txn in [
            inside.txn().then(put()).then(put()),
            inside.txn().otherwise(put()).otherwise(put()),
            inside.txn().then(put()).then(Delete::new("k")),
            inside.txn().then(Delete::new("a").from_key()).then(put()),
            inside.txn().then(put()).then(Delete::new("").all_keys()),
            inside.txn().then(put()).then(Txn::new().otherwise(put())),
        ] {
            assert_rejected(txn.await, ErrorKind::DuplicateKey, again);
        }
        // The branches are checked separately, and deletes may overlap.
        let apart = inside.txn().then(put()).otherwise(put());
        assert!(apart.await.unwrap().succeeded);
        let deletes = inside.txn().then(Delete::new("k"));
        let deletes = deletes.then(Delete::new("k").prefix()).await.unwrap();
        let deleted = deletes.responses.into_iter();
        let deleted: Vec<u64> = deleted
            .map(|reply| reply.into_delete().unwrap().deleted)
            .collect();
        assert_eq!(deleted, [1, 0]);
    })
    .await;
}

#[tokio::test]
async fn as_many_operations_as_the_server_allows() {
    each(|stage| async move {
        let inside = stage.inside();
        let gets = |count| (0..count).fold(Txn::new(), |txn, _| txn.then(Get::new("k")));
        let others = |count| (0..count).fold(Txn::new(), |txn, _| txn.otherwise(Get::new("k")));
        let compares = |count| {
            (0..count).fold(Txn::new(), |txn, _| {
                txn.when(Compare::version("k").equal(0))
            })
        };
        let run = |client: &Client, txn| client.run(txn);
        for txn in [gets(128), others(128), compares(128)] {
            run(&inside, txn).await.unwrap();
        }
        let message = "etcdserver: too many operations in txn request";
        for txn in [gets(129), others(129), compares(129)] {
            let reply = run(&inside, txn).await;
            assert_rejected(reply, ErrorKind::TooManyOperations, message);
        }
    })
    .await;
}

/// If one operation fails, no operation is applied.
#[tokio::test]
async fn all_or_nothing() {
    each(|stage| async move {
        let inside = stage.inside();
        let lease = etcdex::LeaseId::new(i64::MAX).unwrap();
        let txn = inside
            .txn()
            .then(Put::new("a", "v"))
            .then(Put::new("b", "v").lease(lease));
        let message = "etcdserver: requested lease not found";
        assert_rejected(txn.await, ErrorKind::LeaseNotFound, message);
        let txn = inside
            .txn()
            .then(Put::new("a", "v"))
            .then(Get::new("b").revision(i64::MAX));
        let message = "etcdserver: mvcc: required revision is a future revision";
        assert_rejected(txn.await, ErrorKind::FutureRevision, message);
        let get = inside.get("").all_keys().await.unwrap();
        assert_eq!(get.count, 0);
    })
    .await;
}

/// The server accepts the deepest nesting that the client allows, and the client reads its reply.
#[tokio::test]
async fn the_deepest_nesting_is_accepted_and_its_reply_is_read() {
    each(|stage| async move {
        let client = stage.inside();
        client.put("k", "v").await.unwrap();
        let nest = |depth: u32| {
            let innermost = Txn::new().then(Get::new("k")).then(Put::new("deep", "1"));
            (1..depth).fold(innermost, |txn, _| Txn::new().then(txn))
        };
        let mut reply = client.run(nest(49)).await.unwrap();
        for _ in 1..49 {
            reply = reply.responses.remove(0).into_txn().unwrap();
        }
        let get = reply.responses.remove(0).into_get().unwrap();
        assert_eq!(values(&get.kvs), ["v"]);
        assert_refused(client.run(nest(50)).await);
    })
    .await;
}
