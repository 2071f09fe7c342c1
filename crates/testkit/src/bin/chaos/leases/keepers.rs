//! Kept leases, and the recordings of their states.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use etcdex::{Client, LeaseId, LeaseKeeper, LeaseState};
use etcdex_testkit::leases::{KeptLease, State, Word};
use tokio::time::sleep;

use super::observer::Present;
use crate::clock::Clock;

/// Interval at which the state of a keeper is read.
const ASK: Duration = Duration::from_millis(20);
/// How long the state is read on after the lease was lost, in microseconds.
const AFTER: u64 = 1_000_000;

/// Keeps one lease at a time, and the next one when it is lost.
pub(super) struct Keeper {
    pub(super) way: usize,
    pub(super) client: Client,
    /// A client without faults, which attaches the key.
    pub(super) direct: Client,
    pub(super) ttl: Duration,
    pub(super) clock: Clock,
    pub(super) present: Present,
    pub(super) stop: Arc<AtomicBool>,
}

impl Keeper {
    pub(super) async fn keep(self) -> Vec<KeptLease> {
        let mut leases = Vec::new();
        while !self.stop.load(Relaxed) {
            let Ok(lease) = self.client.grant(self.ttl).await else {
                sleep(ASK).await;
                continue;
            };
            let keeper = self.client.keep(lease.id);
            let key: Arc<str> = format!("leases/{:016x}", lease.id.as_i64()).into();
            if self.direct.put(&*key, "").lease(lease.id).await.is_err() {
                // The lease may have expired meanwhile: grant another one.
                sleep(ASK).await;
                continue;
            }
            leases.push(self.watch(&keeper, lease.id, key).await);
        }
        leases
    }

    /// Records the states of the keeper, until the lease is lost or the run ends.
    async fn watch(&self, keeper: &LeaseKeeper, id: LeaseId, key: Arc<str>) -> KeptLease {
        let began = self.clock.now();
        self.present.add(id, &key);
        let mut words: Vec<Word> = Vec::new();
        let ended = loop {
            let before = self.clock.now();
            let state = self.state(keeper.state(), before);
            let at = self.clock.now();
            let last = words.last();
            let is_lost = last.filter(|word| word.state == State::Lost);
            if self.stop.load(Relaxed) || is_lost.is_some_and(|word| word.at + AFTER < at) {
                break before;
            }
            if last.is_none_or(|word| word.state != state) {
                words.push(Word { at, state });
            }
            sleep(ASK).await;
        };
        self.present.remove(id);
        KeptLease {
            way: self.way,
            key,
            ttl: u64::try_from(self.ttl.as_micros()).unwrap_or(u64::MAX),
            began,
            ended,
            words,
        }
    }

    fn state(&self, state: LeaseState, now: u64) -> State {
        match state {
            LeaseState::Alive { expires, .. } => State::Lives(self.clock.at(expires)),
            LeaseState::AtRisk { remaining, .. } => {
                let remaining = u64::try_from(remaining.as_micros()).unwrap_or(u64::MAX);
                State::Lives(now.saturating_add(remaining))
            }
            LeaseState::Lost(_) => State::Lost,
            _ => State::Unknown,
        }
    }
}
