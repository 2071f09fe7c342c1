//! The conditions of transactions.

use std::cmp::Ordering;

use etcdex::txn::CompareTarget;
use etcdex::{Client, Compare, LeaseId, Put};

use crate::stage::{each, grant};

async fn holds(client: &Client, compare: Compare) -> bool {
    client.txn().when(compare).await.unwrap().succeeded
}

/// Checks all four operators against a number with this order to the key's field.
async fn check<T: Clone>(
    client: &Client,
    what: &str,
    target: CompareTarget<T>,
    other: T,
    order: Ordering,
) {
    let cases = [
        (target.clone().equal(other.clone()), order.is_eq()),
        (target.clone().not_equal(other.clone()), order.is_ne()),
        (target.clone().greater(other.clone()), order.is_gt()),
        (target.less(other), order.is_lt()),
    ];
    for (number, (compare, expected)) in cases.into_iter().enumerate() {
        let held = holds(client, compare).await;
        assert_eq!(held, expected, "{what}: result {number}, {order:?}");
    }
}

/// The key's field against the given value: greater, equal and less.
const ORDERS: [(i64, Ordering); 3] = [
    (-1, Ordering::Greater),
    (0, Ordering::Equal),
    (1, Ordering::Less),
];

#[tokio::test]
async fn each_target_and_result() {
    each(|stage| async move {
        let (inside, lease) = (stage.inside(), grant(stage.etcd).await);
        let create = inside.put("k", "x").await.unwrap().header.revision;
        inside.put("k", "y").await.unwrap();
        let last = inside.put("k", "m").lease(lease).await.unwrap();
        let last = last.header.revision;
        for (by, order) in ORDERS {
            let version = Compare::version("k");
            check(&inside, "version", version, 3 + by, order).await;
            let revision = Compare::create_revision("k");
            check(&inside, "create", revision, create + by, order).await;
            let revision = Compare::mod_revision("k");
            check(&inside, "mod", revision, last + by, order).await;
            let other = LeaseId::new(lease.as_i64() + by);
            check(&inside, "lease", Compare::lease("k"), other, order).await;
        }
        for (other, order) in [
            ("l", Ordering::Greater),
            ("", Ordering::Greater),
            ("m", Ordering::Equal),
            ("m\0", Ordering::Less),
            ("\u{7f}", Ordering::Less),
        ] {
            let value = Compare::value("k");
            check(&inside, "value", value, other.into(), order).await;
        }
        let none = Compare::lease("k").equal(None);
        assert!(!holds(&inside, none).await);
    })
    .await;
}

/// Version, revisions and lease are 0; no comparison with the value holds.
#[tokio::test]
async fn keys_that_do_not_exist() {
    each(|stage| async move {
        let inside = stage.inside();
        for (by, order) in ORDERS {
            for (what, target) in [
                ("version", Compare::version("none")),
                ("create", Compare::create_revision("none")),
                ("mod", Compare::mod_revision("none")),
            ] {
                check(&inside, what, target, by, order).await;
            }
            let lease = Compare::lease("none");
            check(&inside, "lease", lease, LeaseId::new(by), order).await;
        }
        let value = || Compare::value("none");
        for compare in [
            value().equal(""),
            value().not_equal(""),
            value().not_equal("x"),
            value().greater(""),
            value().less("x"),
        ] {
            assert!(!holds(&inside, compare).await);
        }
    })
    .await;
}

#[tokio::test]
async fn ranges() {
    each(|stage| async move {
        let inside = stage.inside();
        for (key, value) in [("a", "v"), ("b", "v"), ("bb", "v"), ("c", "w")] {
            inside.put(key, value).await.unwrap();
        }
        let is_v = |key: &str| Compare::value(key).equal("v");
        assert!(holds(&inside, is_v("a").range_end("c")).await);
        assert!(!holds(&inside, is_v("a").range_end("d")).await);
        assert!(holds(&inside, is_v("b").prefix()).await);
        assert!(!holds(&inside, is_v("b").from_key()).await);
        assert!(!holds(&inside, is_v("").prefix()).await);
        let new = |key: &str| Compare::version(key).equal(1);
        assert!(holds(&inside, new("").from_key()).await);
        assert!(holds(&inside, new("b").from_key()).await);
        inside.put("bb", "v").await.unwrap();
        assert!(!holds(&inside, new("b").from_key()).await);
        assert!(!holds(&inside, new("b").prefix()).await);
        assert!(holds(&inside, new("c").from_key()).await);
        // Keys after the namespace do not count.
        let behind = stage.prefix.replace('/', "0");
        stage.client.put(&behind, "1").await.unwrap();
        stage.client.put(&behind, "2").await.unwrap();
        assert!(holds(&inside, new("c").from_key()).await);

        // An empty range has no value to compare.
        assert!(!holds(&inside, is_v("x").prefix()).await);
        let nowhere = || Compare::create_revision("x").equal(0).prefix();
        assert!(holds(&inside, nowhere()).await);
        let txn = inside.txn().when(nowhere()).then(Put::new("x1", ""));
        assert!(txn.await.unwrap().succeeded);
        assert!(!holds(&inside, nowhere()).await);
    })
    .await;
}
