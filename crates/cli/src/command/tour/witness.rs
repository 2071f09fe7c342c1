//! A watch over the connection that is cut: it has to tell every put that happened, once.

use std::collections::HashSet;

use etcdex::{Client, WatchStream};
use tokio::time::timeout;

use super::cut::PATIENCE;
use super::load::KEYS;
use super::page::{Page, count};
use crate::failure::Failure;

pub(super) struct Witness {
    watch: WatchStream,
}

impl Witness {
    pub(super) async fn start(client: &Client) -> Result<Self, Failure> {
        let watch = client.watch(KEYS).prefix().await?;
        Ok(Self { watch })
    }

    /// Compares what it was told up to a revision with the keys that are there.
    pub(super) async fn testify(
        mut self,
        there: &HashSet<String>,
        last: i64,
        page: &mut Page,
    ) -> Result<(), Failure> {
        let (mut told, mut reached) = (Vec::new(), 0);
        while reached < last {
            let next = timeout(PATIENCE, self.watch.next()).await;
            let Ok(Ok(Some(batch))) = next else {
                return Err(Failure::Work(format!("the watch has ended: {next:?}")));
            };
            if batch.revision <= reached {
                return Err(Failure::Work("the watch went back".to_owned()));
            }
            reached = batch.revision;
            told.extend(batch.events.into_iter().map(|event| event.kv.key));
        }
        let once: HashSet<&[u8]> = told.iter().map(|key| &key[..]).collect();
        let right = once.len() == told.len()
            && once.len() == there.len()
            && there.iter().all(|key| once.contains(key.as_bytes()));
        if !right {
            return Err(Failure::Work(
                "what the watch has told is not what happened".to_owned(),
            ));
        }
        page.line("")?;
        page.line("A watch went over the same connection, and was cut with it.")?;
        page.figure(
            &count(told.len(), "put"),
            "were told by it: all that happened, each once, in order",
        )
    }
}
