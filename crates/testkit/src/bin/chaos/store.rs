//! Reads the history of the store from the store itself, after all writers have ended.
//!
//! All keys are read at each revision, and compared with the revision before. So each change and
//! each deletion is found once, without a client under test.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use etcdex::{Client, Error, KeyValue};
use etcdex_testkit::history::{History, Op, Pair, hash};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Number of revisions that are read at a time.
const AT_ONCE: i64 = 64;
/// How long a server may take to answer without faults.
const PATIENCE: Duration = Duration::from_secs(90);

type State = HashMap<Arc<str>, Pair>;

/// Reads the whole history of a store that was never compacted.
pub(crate) async fn read(client: &Client) -> io::Result<History> {
    let (last, present) = state(client.clone(), None).await?;
    let mut history = History::since(1);
    while history.revision() < last {
        let from = history.revision() + 1;
        let to = last.min(from + AT_ONCE - 1);
        let mut reads = JoinSet::new();
        for revision in from..=to {
            let client = client.clone();
            reads.spawn(async move { (revision, state(client, Some(revision)).await) });
        }
        let mut states = HashMap::new();
        while let Some(read) = reads.join_next().await {
            let (revision, state) = read.map_err(io::Error::other)?;
            states.insert(revision, state?.1);
        }
        for revision in from..=to {
            let state = states.remove(&revision).unwrap_or_default();
            let ops = changes(history.present(), &state, revision);
            history.append(ops);
            same(history.present(), &state, revision)?;
        }
    }
    same(history.present(), &present, last)?;
    Ok(history)
}

/// Returns the changes of a revision.
fn changes(before: &State, after: &State, revision: i64) -> Vec<Op> {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let written = after.iter();
    let written = written.filter(|(_, pair)| pair.mod_revision == revision);
    gone.map(|key| Op::Delete(Arc::clone(key)))
        .chain(written.map(|(key, pair)| Op::Put(Arc::clone(key), pair.value)))
        .collect()
}

/// Asserts that both states are equal, with versions and revisions.
fn same(known: &State, read: &State, revision: i64) -> io::Result<()> {
    if known == read {
        return Ok(());
    }
    let what = format!("the store contradicts itself at {revision}: {read:?}, and {known:?}");
    Err(io::Error::other(what))
}

async fn state(client: Client, revision: Option<i64>) -> io::Result<(i64, State)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask(&client, revision).await {
            Ok(state) => return Ok(state),
            Err(error) if Instant::now() > deadline => return Err(io::Error::other(error)),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn ask(client: &Client, revision: Option<i64>) -> Result<(i64, State), Error> {
    let get = client.get("").all_keys();
    let get = match revision {
        Some(revision) => get.revision(revision),
        None => get,
    };
    let reply = get.await?;
    let key = |key: &[u8]| Arc::from(String::from_utf8_lossy(key));
    let pairs = reply.kvs.iter().map(|kv| (key(&kv.key), pair(kv)));
    Ok((reply.header.revision, pairs.collect()))
}

pub(crate) fn pair(kv: &KeyValue) -> Pair {
    Pair {
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: hash(&kv.value),
    }
}
