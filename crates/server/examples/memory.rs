//! Measures the memory and the time of a large store.
//!
//! ```console
//! $ cargo run --release -p etcdex-server --example memory -- 1000000
//! ```

use std::time::Instant;

use bytes::Bytes;
use etcdex_server::store::{KeyRange, Limits, Put, RangeQuery, Store};

/// Bytes of a value.
const VALUE: usize = 100;

/// Returns the memory of this process, in bytes, as Linux counts it.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4_096
}

fn key(number: usize) -> Bytes {
    format!("key/{number:012}").into()
}

fn main() {
    let keys = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let keys: usize = keys.unwrap_or(1_000_000);
    let before = resident();
    let mut store = Store::new(Limits::default());
    let value = Bytes::from(vec![b'v'; VALUE]);
    let fill = |store: &mut Store, what: &str| {
        let begin = Instant::now();
        for number in 0..keys {
            store
                .put(&Put::new(key(number), value.clone()))
                .expect("a put");
        }
        let nanoseconds = begin.elapsed().as_nanos() / keys as u128;
        println!(
            "{what}: {nanoseconds} ns a put, {} bytes a key",
            (resident() - before) / keys
        );
    };
    fill(&mut store, "first puts");
    fill(&mut store, "second puts");
    store.compact(store.revision()).expect("it is the present");
    let begin = Instant::now();
    let (mut steps, mut longest) = (0, 0);
    loop {
        let begin = Instant::now();
        let more = store.sweep(1_000);
        longest = begin.elapsed().as_micros().max(longest);
        steps += 1;
        if !more {
            break;
        }
    }
    println!(
        "compaction: {:?} in {steps} steps, of {longest} us at most; {} bytes a key",
        begin.elapsed(),
        (resident() - before) / keys
    );
    let everything = KeyRange::new(b"\0"[..].into(), b"\0"[..].into());
    let begin = Instant::now();
    let mut scan = store
        .begin_range(RangeQuery::new(everything))
        .expect("the present");
    let (mut steps, mut longest) = (0, 0);
    loop {
        let begin = Instant::now();
        let is_done = store.continue_range(&mut scan, 1_000);
        longest = begin.elapsed().as_micros().max(longest);
        steps += 1;
        if is_done {
            break;
        }
    }
    let reply = scan.finish();
    println!(
        "range of {} keys: {:?} in {steps} steps, of {longest} us at most",
        reply.count,
        begin.elapsed()
    );
}
