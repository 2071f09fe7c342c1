//! Callers that put and get without a pause, and record the result of every call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use etcdex::{Client, Error, Outcome};
use tokio::task::{JoinError, JoinSet};

use crate::failure::Failure;

/// Number of concurrent callers.
pub(super) const CALLERS: usize = 64;

/// Prefix of the keys of the load. The value of each key is the key.
pub(super) const KEYS: &str = "load/";

/// One call and its result.
pub(super) struct CallRecord {
    pub(super) operation: Operation,
    pub(super) key: String,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) result: CallResult,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operation {
    Put,
    Get,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum CallResult {
    Ok,
    Err(Outcome),
}

/// Running callers.
pub(super) struct Load {
    callers: JoinSet<Vec<CallRecord>>,
    stop: Arc<AtomicBool>,
    succeeded: Arc<AtomicU64>,
}

impl Load {
    pub(super) fn start(client: &Client) -> Self {
        let mut load = Self {
            callers: JoinSet::new(),
            stop: Arc::default(),
            succeeded: Arc::default(),
        };
        for number in 0..CALLERS {
            let caller = Caller {
                client: client.clone(),
                number,
                stop: Arc::clone(&load.stop),
                succeeded: Arc::clone(&load.succeeded),
            };
            load.callers.spawn(caller.run());
        }
        load
    }

    /// Number of calls that have succeeded.
    pub(super) fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Waits for the calls in flight, and returns the records of all calls. A call ends at the
    /// client's time-out at the latest.
    pub(super) async fn stop(mut self) -> Result<Vec<CallRecord>, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut records = Vec::new();
        while let Some(caller) = self.callers.join_next().await {
            records.extend(joined(caller)?);
        }
        Ok(records)
    }
}

/// Unwraps the result of a task. A task of the tour fails only if it panics.
pub(super) fn joined<T>(task: Result<T, JoinError>) -> Result<T, Failure> {
    task.map_err(|error| Failure::System(std::io::Error::other(error)))
}

struct Caller {
    client: Client,
    number: usize,
    stop: Arc<AtomicBool>,
    succeeded: Arc<AtomicU64>,
}

impl Caller {
    /// Puts a new key and gets it, until the load is stopped.
    async fn run(self) -> Vec<CallRecord> {
        let mut records = Vec::new();
        for turn in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let key = format!("{KEYS}{}/{turn}", self.number);
            let began = Instant::now();
            let put = self.client.put(&key, &key).await.map(drop);
            records.push(self.record(Operation::Put, &key, began, put));
            let began = Instant::now();
            let get = self.client.get(&key).await.map(drop);
            records.push(self.record(Operation::Get, &key, began, get));
        }
        records
    }

    fn record(
        &self,
        operation: Operation,
        key: &str,
        began: Instant,
        result: Result<(), Error>,
    ) -> CallRecord {
        let result = match result {
            Ok(()) => {
                self.succeeded.fetch_add(1, Ordering::Relaxed);
                CallResult::Ok
            }
            Err(error) => CallResult::Err(error.outcome()),
        };
        CallRecord {
            operation,
            key: key.to_owned(),
            began,
            ended: Instant::now(),
            result,
        }
    }
}
