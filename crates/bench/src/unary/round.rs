//! One round of one peer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::ensure;

use super::{KEY, VALUE};
use crate::peer::Peer;
use crate::reading::{Reading, Start};

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// A put of one key
    Put,
    /// A get of one key
    Get,
}

impl Op {
    /// The name as the command line has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }
}

/// What a round does.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The kind of its calls.
    pub op: Op,
    /// How many callers are at it at once.
    pub callers: u32,
    /// How many calls they make, all together.
    pub calls: u32,
}

/// Runs a round, and says what it has cost. For a runtime of one thread.
pub async fn round<P: Peer>(peer: &P, load: Load) -> anyhow::Result<Reading> {
    let begun = Arc::new(AtomicU32::new(0));
    let callers: Vec<_> = (0..load.callers)
        .map(|_| tokio::spawn(caller(peer.clone(), load, Arc::clone(&begun))))
        .collect();
    // On a runtime of one thread no caller has run before the first `await` below: to spawn them
    // is not in the reading.
    let start = Start::now();
    for caller in callers {
        caller.await??;
    }
    Ok(start.reading())
}

async fn caller<P: Peer>(peer: P, load: Load, begun: Arc<AtomicU32>) -> anyhow::Result<()> {
    while begun.fetch_add(1, Ordering::Relaxed) < load.calls {
        match load.op {
            Op::Put => peer.put(KEY, VALUE).await?,
            Op::Get => {
                let length = peer.get(KEY).await?;
                ensure!(length == VALUE.len(), "a get with a wrong value");
            }
        }
    }
    Ok(())
}
