//! Random actions in a namespace: they neither read nor change keys outside, and their results are
//! those of a store with only the keys inside.

use std::collections::BTreeMap;

use etcdex::txn::{OperationResponse, TxnResponse};
use etcdex::{Client, Compare, Delete, Error, ErrorKind, Get, KeyValue, Put};
use etcdex_testkit::Etcd;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::stage::{connect, newest, seed};

/// The expected keys of the namespace, with values and versions.
type Model = BTreeMap<Vec<u8>, (Vec<u8>, i64)>;

#[derive(Clone, Debug)]
enum Keys {
    One(Vec<u8>),
    To(Vec<u8>, Vec<u8>),
    Prefix(Vec<u8>),
    From(Vec<u8>),
    All,
}

impl Keys {
    fn has(&self, key: &[u8]) -> bool {
        match self {
            Self::One(one) => key == one,
            // An end of one zero byte means "no end".
            Self::To(from, end) => key >= &from[..] && (end == b"\0" || key < &end[..]),
            Self::Prefix(prefix) => key.starts_with(prefix),
            Self::From(from) => key >= &from[..],
            Self::All => true,
        }
    }

    fn get(&self) -> Get {
        match self {
            Self::One(key) => Get::new(key.clone()),
            Self::To(key, end) => Get::new(key.clone()).range_end(end.clone()),
            Self::Prefix(key) => Get::new(key.clone()).prefix(),
            Self::From(key) => Get::new(key.clone()).from_key(),
            Self::All => Get::new("").all_keys(),
        }
    }

    fn delete(&self) -> Delete {
        match self {
            Self::One(key) => Delete::new(key.clone()),
            Self::To(key, end) => Delete::new(key.clone()).range_end(end.clone()),
            Self::Prefix(key) => Delete::new(key.clone()).prefix(),
            Self::From(key) => Delete::new(key.clone()).from_key(),
            Self::All => Delete::new("").all_keys(),
        }
    }

    fn compare(&self, version: i64) -> Compare {
        let on = |key: &Vec<u8>| Compare::version(key.clone()).equal(version);
        match self {
            Self::One(key) => on(key),
            Self::To(key, end) => on(key).range_end(end.clone()),
            Self::Prefix(key) => on(key).prefix(),
            Self::From(key) => on(key).from_key(),
            Self::All => on(&Vec::new()).prefix(),
        }
    }
}

#[derive(Clone, Debug)]
enum Action {
    Put(Vec<u8>, Vec<u8>),
    Get(Keys),
    List(Vec<u8>),
    Delete(Keys),
    /// A transaction: if all these keys have that version, delete, put and get; otherwise get.
    Txn(Keys, i64, Keys, Vec<u8>, Keys),
}

fn bytes(least: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop::sample::select(vec![0x00, 0x01, b'a', 0xFE, 0xFF]);
    prop::collection::vec(byte, least..4)
}

fn some_keys() -> impl Strategy<Value = Keys> {
    prop_oneof![
        2 => bytes(1).prop_map(Keys::One),
        2 => (bytes(1), bytes(1))
            .prop_filter("an empty range", |(from, end)| end > from || end == b"\0")
            .prop_map(|(from, end)| Keys::To(from, end)),
        2 => bytes(0).prop_map(Keys::Prefix),
        2 => bytes(0).prop_map(Keys::From),
        1 => Just(Keys::All),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (bytes(1), bytes(0)).prop_map(|(key, value)| Action::Put(key, value)),
        3 => some_keys().prop_map(Action::Get),
        1 => bytes(0).prop_map(Action::List),
        1 => some_keys().prop_map(Action::Delete),
        3 => (some_keys(), 0..3i64, some_keys(), bytes(1), some_keys())
            .prop_map(|(on, version, delete, put, get)| Action::Txn(on, version, delete, put, get)),
    ]
}

/// Returns the part of the model in the range.
fn selected(model: &Model, keys: &Keys) -> Vec<(Vec<u8>, Vec<u8>, i64)> {
    let all = model.iter().filter(|(key, _)| keys.has(key));
    all.map(|(key, (value, version))| (key.clone(), value.clone(), *version))
        .collect()
}

fn told(kvs: &[KeyValue]) -> Vec<(Vec<u8>, Vec<u8>, i64)> {
    kvs.iter()
        .map(|kv| (kv.key.to_vec(), kv.value.to_vec(), kv.version))
        .collect()
}

fn put(model: &mut Model, key: &[u8], value: &[u8]) {
    let entry = model.entry(key.to_vec()).or_default();
    *entry = (value.to_vec(), entry.1 + 1);
}

/// Runs one action.
async fn act(client: &Client, model: &mut Model, action: Action) -> Result<(), TestCaseError> {
    match action {
        Action::Put(key, value) => {
            let before = selected(model, &Keys::One(key.clone()));
            let reply = client.put(key.clone(), value.clone()).prev_kv().await;
            let prev = reply.map_err(wrong)?.prev_kv;
            prop_assert_eq!(told(prev.as_slice()), before);
            put(model, &key, &value);
        }
        Action::Get(keys) => {
            let get = client.run(keys.get()).await.map_err(wrong)?;
            let expected = selected(model, &keys);
            prop_assert_eq!(get.count, expected.len() as u64);
            prop_assert_eq!(told(&get.kvs), expected);
        }
        Action::List(prefix) => {
            let mut list = client.list(prefix.clone()).page(2);
            let mut found = Vec::new();
            while let Some(kv) = list.try_next().await.map_err(wrong)? {
                found.push(kv);
            }
            prop_assert_eq!(told(&found), selected(model, &Keys::Prefix(prefix)));
        }
        Action::Delete(keys) => {
            let delete = client.run(keys.delete().prev_kv()).await.map_err(wrong)?;
            prop_assert_eq!(told(&delete.prev_kvs), selected(model, &keys));
            model.retain(|key, _| !keys.has(key));
        }
        Action::Txn(on, version, delete, key, get) => {
            let txn = client
                .txn()
                .when(on.compare(version))
                .then(delete.delete())
                .then(Put::new(key.clone(), "txn"))
                .then(get.get())
                .otherwise(get.get());
            let reply = txn.await;
            // The client finds it for a range without an end, and etcd for others.
            if delete.has(&key) {
                let kind = reply.map(|_| ()).map_err(|error| error.kind());
                prop_assert_eq!(kind, Err(ErrorKind::DuplicateKey));
                return Ok(());
            }
            let chosen = selected(model, &on);
            // The version of a missing key is 0.
            let held = match &chosen[..] {
                [] => version == 0,
                some => some.iter().all(|one| one.2 == version),
            };
            let TxnResponse {
                succeeded,
                responses,
                ..
            } = reply.map_err(wrong)?;
            prop_assert_eq!(succeeded, held);
            if held {
                model.retain(|key, _| !delete.has(key));
                put(model, &key, b"txn");
            }
            let found = responses
                .into_iter()
                .next_back()
                .and_then(OperationResponse::into_get);
            let found = found.map(|get| told(&get.kvs));
            prop_assert_eq!(found, Some(selected(model, &get)));
        }
    }
    Ok(())
}

fn wrong(error: Error) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// Keys outside: before and after the prefix, and the key that equals the prefix.
async fn surround(plain: &Client, prefix: &[u8]) {
    let shorter = &prefix[..prefix.len() - 1];
    let mut others = vec![
        b"\0".to_vec(),
        b"\xff\xff\xff\xff\xff".to_vec(),
        prefix.to_vec(),
    ];
    for last in [0x00, 0x01, b'a', b'm', 0xFE, 0xFF] {
        others.push([shorter, &[last]].concat());
        others.push([shorter, &[last, 0]].concat());
        others.push([shorter, &[last, 0xFF]].concat());
    }
    others.retain(|key| !is_inside(key, prefix));
    for key in others {
        plain.put(key, "theirs").await.unwrap();
    }
}

fn is_inside(key: &[u8], prefix: &[u8]) -> bool {
    key.len() > prefix.len() && key.starts_with(prefix)
}

/// The pairs outside of the namespace, with their revisions.
async fn outside(plain: &Client, prefix: &[u8]) -> Vec<KeyValue> {
    let mut all = plain.get("").all_keys().await.unwrap().kvs;
    all.retain(|kv| !is_inside(&kv.key, prefix));
    all
}

async fn case(
    plain: &Client,
    prefix: &[u8],
    split: usize,
    actions: Vec<Action>,
) -> Result<(), TestCaseError> {
    plain.delete("").all_keys().await.map_err(wrong)?;
    surround(plain, prefix).await;
    let before = outside(plain, prefix).await;
    // One namespace, or one in another.
    let (outer, inner) = prefix.split_at(split.min(prefix.len()));
    let client = plain.namespace(outer).namespace(inner);
    let mut model = Model::new();
    for action in actions {
        act(&client, &mut model, action).await?;
    }
    prop_assert!(
        outside(plain, prefix).await == before,
        "a key outside was changed"
    );
    let all = client.get("").all_keys().await.map_err(wrong)?;
    prop_assert_eq!(told(&all.kvs), selected(&model, &Keys::All));
    Ok(())
}

#[test]
fn actions_in_a_namespace_stay_inside() {
    let Some(binary) = newest() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let etcd = runtime.block_on(Etcd::start(binary)).unwrap();
    let plain = runtime.block_on(connect(&etcd));

    let config = Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes_of_seed = [0; 32];
    bytes_of_seed[..8].copy_from_slice(&seed().to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes_of_seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let prefix = prop_oneof![
        Just(b"n".to_vec()),
        Just(b"n\xff".to_vec()),
        Just(b"\xff\xff".to_vec()),
        bytes(1),
    ];
    let strategy = (prefix, 0..4usize, prop::collection::vec(action(), 1..24));
    let end = runner.run(&strategy, |(prefix, split, actions)| {
        runtime.block_on(case(&plain, &prefix, split, actions))
    });
    if let Err(error) = end {
        panic!("{error}");
    }
}

#[tokio::test]
async fn an_empty_namespace_changes_nothing() {
    crate::stage::each(|stage| async move {
        let inside = stage.inside();
        inside.namespace("").put("k", "v").await.unwrap();
        let deep = inside.namespace("a/").namespace("").namespace("b/");
        deep.put("k", "deep").await.unwrap();
        let get = stage.client.get(stage.key("a/b/k")).string().await.unwrap();
        assert_eq!(get.as_deref(), Some("deep"));
        let get = stage.client.get(stage.key("k")).string().await.unwrap();
        assert_eq!(get.as_deref(), Some("v"));
    })
    .await;
}
