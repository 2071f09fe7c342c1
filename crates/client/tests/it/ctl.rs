//! The output of `etcdctl`, for comparisons.

use etcdex_testkit::Etcd;
use serde_json::Value;

/// Runs `etcdctl` with these arguments and reads its answer.
pub(crate) async fn json(etcd: &Etcd, arguments: &[&str]) -> Value {
    let told = etcd
        .etcdctl(arguments.iter().chain(&["--write-out=json"]))
        .await
        .unwrap();
    serde_json::from_str(&told).expect(&told)
}

/// Returns a list of texts; etcd leaves an empty list out.
pub(crate) fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.iter().map(text).collect()
}

/// Bytes as etcd's JSON has them.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            text.push(if place <= group.len() {
                char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize])
            } else {
                '='
            });
        }
    }
    text
}

/// Waits until the expression, which may await, holds.
///
/// A function that takes an asynchronous closure cannot be spawned with the borrows of a test.
macro_rules! wait {
    ($what:literal, $holds:expr) => {{
        let deadline = tokio::time::Instant::now() + crate::stage::DEADLINE;
        while !$holds {
            let left = tokio::time::Instant::now() < deadline;
            assert!(left, "timed out waiting: {}", $what);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }};
}
pub(crate) use wait;
