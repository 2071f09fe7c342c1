//! Callers that put and get all the time, and remember what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use etcdex::{Client, Error, Outcome};
use tokio::task::JoinSet;

use crate::failure::Failure;

/// So many at once.
pub(super) const CALLERS: usize = 64;

/// The keys of the load stand below this; their values are their names.
pub(super) const KEYS: &str = "load/";

/// What a caller did, and what it was told.
pub(super) struct Entry {
    pub(super) request: Request,
    pub(super) key: String,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Request {
    Put,
    Get,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Told {
    Good,
    Error(Outcome),
}

/// Callers at work.
pub(super) struct Load {
    callers: JoinSet<Vec<Entry>>,
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
}

impl Load {
    pub(super) fn start(client: &Client) -> Self {
        let mut load = Self {
            callers: JoinSet::new(),
            stop: Arc::default(),
            good: Arc::default(),
        };
        for number in 0..CALLERS {
            let caller = Caller {
                client: client.clone(),
                number,
                stop: Arc::clone(&load.stop),
                good: Arc::clone(&load.good),
            };
            load.callers.spawn(caller.run());
        }
        load
    }

    /// How many good replies there were.
    pub(super) fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// Lets everybody finish, and gives what they remember. A call has a time-out of its own,
    /// so that nobody can hang here for longer.
    pub(super) async fn stop(mut self) -> Result<Vec<Entry>, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut entries = Vec::new();
        while let Some(caller) = self.callers.join_next().await {
            entries.extend(
                caller
                    .map_err(std::io::Error::other)
                    .map_err(Failure::System)?,
            );
        }
        Ok(entries)
    }
}

struct Caller {
    client: Client,
    number: usize,
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
}

impl Caller {
    /// A put of a key of its own, and a get of it, and again.
    async fn run(self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for turn in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let key = format!("{KEYS}{}/{turn}", self.number);
            let began = Instant::now();
            let put = self.client.put(&key, &key).await.map(drop);
            entries.push(self.entry(Request::Put, &key, began, put));
            let began = Instant::now();
            let get = self.client.get(&key).await.map(drop);
            entries.push(self.entry(Request::Get, &key, began, get));
        }
        entries
    }

    fn entry(&self, request: Request, key: &str, began: Instant, end: Result<(), Error>) -> Entry {
        let told = match end {
            Ok(()) => {
                self.good.fetch_add(1, Ordering::Relaxed);
                Told::Good
            }
            Err(error) => Told::Error(error.outcome()),
        };
        Entry {
            request,
            key: key.to_owned(),
            began,
            ended: Instant::now(),
            told,
        }
    }
}
