//! One round of one client.

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
    /// Returns the name as on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }
}

/// The calls of a round.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Kind of every call.
    pub op: Op,
    /// Number of concurrent callers.
    pub callers: u32,
    /// Number of calls by all callers together.
    pub calls: u32,
}

/// Runs a round, and returns its cost. The runtime has to have one thread.
pub async fn round<P: Peer>(peer: &P, load: Load) -> anyhow::Result<Reading> {
    let begun = Arc::new(AtomicU32::new(0));
    let callers: Vec<_> = (0..load.callers)
        .map(|_| tokio::spawn(caller(peer.clone(), load, Arc::clone(&begun))))
        .collect();
    // On a runtime of one thread no caller runs before the first `await` below, so the reading does
    // not include the spawning.
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
                ensure!(length == VALUE.len(), "a get returned a wrong value");
            }
        }
    }
    Ok(())
}
