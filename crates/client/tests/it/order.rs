//! Sorting and filtering ranges.

use etcdex::Client;
use etcdex::kv::SortOrder::{Ascend, Descend};
use etcdex::kv::SortTarget;

use crate::stage::{each, keys};

/// Fields of a key that are known from the replies to its puts.
#[derive(Clone, Debug)]
struct Known {
    key: &'static str,
    version: i64,
    create: i64,
    last: i64,
    value: String,
}

impl Known {
    fn cmp(&self, other: &Self, target: SortTarget) -> std::cmp::Ordering {
        match target {
            SortTarget::Key => self.key.cmp(other.key),
            SortTarget::Version => self.version.cmp(&other.version),
            SortTarget::Create => self.create.cmp(&other.create),
            SortTarget::Mod => self.last.cmp(&other.last),
            SortTarget::Value => self.value.cmp(&other.value),
        }
    }
}

/// Puts keys so that each target gives another order.
async fn known(client: &Client) -> Vec<Known> {
    let mut known: Vec<Known> = Vec::new();
    for key in ["c", "a", "d", "b", "b", "c", "b", "a", "b", "a"] {
        // "c" has the largest value, then "b", "a", "d".
        let value = match key {
            "c" => "\u{7f}",
            "b" => "zz",
            "a" => "z",
            _ => "",
        };
        let revision = client.put(key, value).await.unwrap().header.revision;
        match known.iter_mut().find(|one| one.key == key) {
            Some(one) => {
                one.version += 1;
                one.last = revision;
            }
            None => known.push(Known {
                key,
                version: 1,
                create: revision,
                last: revision,
                value: value.to_owned(),
            }),
        }
    }
    known
}

const TARGETS: [SortTarget; 5] = [
    SortTarget::Key,
    SortTarget::Version,
    SortTarget::Create,
    SortTarget::Mod,
    SortTarget::Value,
];

#[tokio::test]
async fn every_target_both_ways() {
    each(|stage| async move {
        let inside = stage.inside();
        let known = known(&inside).await;
        let mut orders = Vec::new();
        for target in TARGETS {
            let mut expected = known.clone();
            expected.sort_by(|one, other| one.cmp(other, target));
            let mut expected: Vec<&str> = expected.iter().map(|one| one.key).collect();

            let all = || inside.get("").all_keys();
            let get = all().sort(target, Ascend).await.unwrap();
            assert_eq!(keys(&get.kvs), expected, "{target:?}");
            let get = all().first(target).await.unwrap();
            assert_eq!(keys(&get.kvs), expected[..1], "{target:?}");
            assert_eq!((get.count, get.more), (4, true));
            let get = all().sort(target, Ascend).limit(3).await.unwrap();
            assert_eq!(keys(&get.kvs), expected[..3], "{target:?}");

            orders.push(expected.clone());
            expected.reverse();
            let get = all().sort(target, Descend).await.unwrap();
            assert_eq!(keys(&get.kvs), expected, "{target:?}");
            let get = all().last(target).await.unwrap();
            assert_eq!(keys(&get.kvs), expected[..1], "{target:?}");
        }
        orders.sort();
        orders.dedup();
        assert_eq!(orders.len(), TARGETS.len(), "all orders differ");
    })
    .await;
}

/// The filters leave pairs out; the count stays that of the range.
#[tokio::test]
async fn filters_by_revision() {
    each(|stage| async move {
        let inside = stage.inside();
        let known = known(&inside).await;
        let expect = |holds: &dyn Fn(&Known) -> bool| {
            let kept = known.iter().filter(|one| holds(one));
            let mut kept: Vec<&str> = kept.map(|one| one.key).collect();
            kept.sort_unstable();
            kept
        };
        let all = || inside.get("").all_keys();
        for bound in known.iter().flat_map(|one| [one.create, one.last]) {
            let cases = [
                (
                    all().min_mod_revision(bound),
                    expect(&|one| one.last >= bound),
                ),
                (
                    all().max_mod_revision(bound),
                    expect(&|one| one.last <= bound),
                ),
                (
                    all().min_create_revision(bound),
                    expect(&|one| one.create >= bound),
                ),
                (
                    all().max_create_revision(bound),
                    expect(&|one| one.create <= bound),
                ),
            ];
            for (number, (get, expected)) in cases.into_iter().enumerate() {
                let get = get.await.unwrap();
                assert_eq!(keys(&get.kvs), expected, "filter {number} at {bound}");
                assert_eq!(get.count, 4);
            }
        }
    })
    .await;
}
