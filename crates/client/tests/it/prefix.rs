//! Prefixes that have no simple successor.

use std::collections::BTreeMap;

use etcdex::Key;

use crate::stage::each;

/// Keys around all special cases. No other test puts keys from 0xFE on.
const KEYS: &[&[u8]] = &[
    b"\xfe",
    b"\xfe\xfe",
    b"\xfe\xff",
    b"\xfe\xff\0",
    b"\xfe\xff\xfe",
    b"\xfe\xff\xff",
    b"\xfe\xff\xff\0",
    b"\xfe\xff\xff\xff",
    b"\xff",
    b"\xff\0",
    b"\xff\xfe\xff",
    b"\xff\xff",
    b"\xff\xff\0",
    b"\xff\xff\x01",
    b"\xff\xff\xff",
    b"\xff\xff\xff\xff",
];

#[tokio::test]
async fn exactly_the_keys_with_the_prefix() {
    each(|stage| async move {
        let client = &stage.client;
        for &key in KEYS {
            client.put(key, key).await.unwrap();
        }
        for &prefix in KEYS {
            let expected: Vec<&[u8]> = KEYS
                .iter()
                .copied()
                .filter(|key| key.starts_with(prefix))
                .collect();
            let get = client.get(prefix).prefix().await.unwrap();
            let found: Vec<&[u8]> = get.kvs.iter().map(|kv| &kv.key[..]).collect();
            assert_eq!(found, expected, "{prefix:?}");
            assert_eq!(get.count, expected.len() as u64);

            let mut list = client.list(prefix).page(2);
            let mut found = Vec::new();
            while let Some(kv) = list.try_next().await.unwrap() {
                found.push(kv.key);
            }
            assert_eq!(found, expected, "{prefix:?}");

            // A namespace does not contain the key that equals the prefix.
            let inside = client.namespace(prefix).get("").all_keys().await.unwrap();
            let found: Vec<Vec<u8>> = inside
                .kvs
                .iter()
                .map(|kv| [prefix, &kv.key].concat())
                .collect();
            assert_eq!(found, expected[1..], "{prefix:?}");
        }
        // Deleting all prefixes leaves the keys that have none of them.
        let mut left: BTreeMap<&[u8], ()> = KEYS.iter().map(|&key| (key, ())).collect();
        for prefix in [&b"\xff\xff\xff"[..], b"\xfe\xff\xff", b"\xff\xff", b"\xff"] {
            let before = left.len();
            left.retain(|key, ()| !key.starts_with(prefix));
            let delete = client.delete(Key::from(prefix)).prefix().await.unwrap();
            assert_eq!(delete.deleted, (before - left.len()) as u64);
            let get = client.get(b"\xfe").from_key().await.unwrap();
            let found = get.kvs.iter().map(|kv| &kv.key[..]);
            assert!(found.eq(left.keys().copied()), "{prefix:?}");
        }
        client.delete(b"\xfe").from_key().await.unwrap();
    })
    .await;
}
