//! A watch on the connection that is cut. It has to report every stored put exactly once.

use std::collections::HashSet;

use etcdex::{Client, WatchStream};
use tokio::time::timeout;

use super::cut::{DEADLINE, StoredPuts};
use super::load::KEYS;
use super::printer::{Printer, count};
use crate::failure::Failure;

pub(super) struct WatchCheck {
    watch: WatchStream,
}

impl WatchCheck {
    pub(super) async fn start(client: &Client) -> Result<Self, Failure> {
        let watch = client.watch(KEYS).prefix().await?;
        Ok(Self { watch })
    }

    /// Reads the watch up to the last stored put, and fails if the store contradicts it.
    pub(super) async fn compare(
        mut self,
        stored: &StoredPuts,
        printer: &mut Printer,
    ) -> Result<(), Failure> {
        let (mut reported, mut revision) = (Vec::new(), 0);
        while revision < stored.last_revision {
            let next = timeout(DEADLINE, self.watch.try_next()).await;
            let Ok(Ok(Some(batch))) = next else {
                return Err(Failure::Other(format!("the watch ended: {next:?}")));
            };
            if batch.revision <= revision {
                return Err(Failure::Other(
                    "the watch reported an older revision".to_owned(),
                ));
            }
            revision = batch.revision;
            reported.extend(batch.events.into_iter().map(|event| event.kv.key));
        }
        let distinct: HashSet<&[u8]> = reported.iter().map(|key| &key[..]).collect();
        let is_complete = distinct.len() == reported.len()
            && distinct.len() == stored.keys.len()
            && stored
                .keys
                .iter()
                .all(|key| distinct.contains(key.as_bytes()));
        if !is_complete {
            return Err(Failure::Other(
                "the store contradicts the events of the watch".to_owned(),
            ));
        }
        printer.line("")?;
        printer.line("A watch was on the same connection, and lost it too.")?;
        printer.figure(
            &count(reported.len(), "put"),
            "were reported by the watch: every stored one once, in order",
        )
    }
}
