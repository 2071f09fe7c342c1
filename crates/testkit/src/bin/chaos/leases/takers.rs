//! Takers of locks.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use etcdex::{Client, Compare, Error, LeaseKeeper, LeaseState, Put};
use etcdex_testkit::leases::{Grant, Turn, TurnEnd};
use tokio::time::{sleep, timeout};

use crate::clock::Clock;

/// The time-to-live of the lease of a lock.
const TTL: Duration = Duration::from_secs(5);
/// How long a taker waits for its lock before it starts again.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same on servers that can lose waiting locks. A lost lock at the front of the queue blocks
/// the others for this time.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// How long a taker pauses on such servers, in milliseconds, after a failed attempt. The server
/// uses the expired token for as long as any lock waits at the member.
const PAUSE: Range<u64> = 2_000..8_000;
/// Interval at which a holder reads the state of its keeper.
const ASK: Duration = Duration::from_millis(5);

/// Number of times that a taker had its lock.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    name: Arc<str>,
    count: Arc<AtomicUsize>,
}

/// The recordings of a taker.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) grants: Vec<Grant>,
    pub(super) turns: Vec<Turn>,
    pub(super) failures: Vec<String>,
}

/// Takes a lock repeatedly, each time with a new lease.
pub(super) struct Taker {
    pub(super) name: Arc<str>,
    pub(super) client: Client,
    /// Whether the servers can lose waiting locks.
    pub(super) may_be_lost: bool,
    pub(super) clock: Clock,
    pub(super) random: fastrand::Rng,
    pub(super) progress: Progress,
    pub(super) stop: Arc<AtomicBool>,
}

impl Progress {
    pub(super) fn new(name: String) -> Self {
        Self {
            name: name.into(),
            count: Arc::default(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }
}

impl Taker {
    pub(super) async fn take(mut self) -> Told {
        let mut told = Told::default();
        while !self.stop.load(Relaxed) {
            if let Err(failure) = self.turn(&mut told).await {
                told.failures.push(failure);
                let pause = if self.may_be_lost { PAUSE } else { 50..200 };
                sleep(Duration::from_millis(self.random.u64(pause))).await;
            }
        }
        told
    }

    /// Grants a lease, and takes the lock once.
    async fn turn(&mut self, told: &mut Told) -> Result<(), String> {
        let lease = self.client.grant(TTL).await;
        let lease = lease.map_err(|error| describe("grant", &error))?;
        let keeper = self.client.keep(lease.id);
        let lock = self.client.lock(&*self.name, lease.id);
        let patience = if self.may_be_lost {
            SHORT_PATIENCE
        } else {
            PATIENCE
        };
        let began = self.clock.now();
        let answer = timeout(patience, lock).await;
        told.turns.push(Turn {
            taker: self.progress.name(),
            lock: Arc::clone(&self.name),
            key: format!("{}/{:x}", self.name, lease.id.as_i64()).into(),
            began,
            ended: self.clock.now(),
            end: match &answer {
                Ok(Ok(_)) => TurnEnd::Granted,
                Ok(Err(_)) => TurnEnd::Failed,
                Err(_) => TurnEnd::GaveUp,
            },
        });
        let outcome = match answer {
            Ok(Ok(reply)) => {
                let grant = self.hold(&keeper, reply.key.clone()).await;
                told.grants.push(grant);
                self.progress.count.fetch_add(1, Relaxed);
                let unlocked = self.client.unlock(reply.key).await;
                unlocked.map_err(|error| describe("unlock", &error))
            }
            Ok(Err(error)) => Err(describe("lock", &error)),
            Err(_) => Err("lock: gave up".to_owned()),
        };
        // If this fails, the lease expires.
        if let Err(error) = keeper.revoke().await {
            told.failures.push(describe("revoke", &error));
        }
        outcome.map(drop)
    }

    /// Holds the lock for a while, until the keeper does not report the lease as alive any more.
    async fn hold(&mut self, keeper: &LeaseKeeper, key: Bytes) -> Grant {
        let at = self.clock.now();
        let text: Arc<str> = String::from_utf8_lossy(&key).into();
        let mut grant = Grant {
            name: Arc::clone(&self.name),
            key: text,
            at,
            until: at,
            fenced: None,
        };
        let fence = Put::new(format!("fence/{}", self.name), &*grant.key);
        let exists = Compare::create_revision(key).greater(0);
        let write = self.client.txn().when(exists).then(fence).await;
        match write {
            Ok(reply) if reply.succeeded => grant.fenced = Some(reply.header.revision),
            // The key does not exist, so the lock is not held.
            Ok(_) => return grant,
            Err(_) => {}
        }
        let hold = self.random.u64(10_000..200_000);
        loop {
            let now = self.clock.now();
            let lives = matches!(
                keeper.state(),
                LeaseState::Alive { .. } | LeaseState::AtRisk { .. }
            );
            if !lives {
                return grant;
            }
            grant.until = now;
            if now > at + hold {
                return grant;
            }
            sleep(ASK).await;
        }
    }
}

fn describe(what: &str, error: &Error) -> String {
    format!("{what}: {:?}, {}", error.kind(), error.outcome())
}
