//! A client without faults, which reads the store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcdex::{Client, LeaseId};
use etcdex_testkit::leases::{Left, Look, Queue};
use tokio::time::sleep;

use crate::clock::Clock;

/// Interval of the reads.
const LOOK: Duration = Duration::from_millis(50);

/// The leases that are kept at present, with their keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Present(Arc<Mutex<Kept>>);

/// The ID and the key of each lease.
type Kept = BTreeMap<i64, (LeaseId, Arc<str>)>;

impl Present {
    pub(super) fn add(&self, id: LeaseId, key: &Arc<str>) {
        self.lock().insert(id.as_i64(), (id, Arc::clone(key)));
    }

    pub(super) fn remove(&self, id: LeaseId) {
        self.lock().remove(&id.as_i64());
    }

    fn any(&self, random: &mut fastrand::Rng) -> Option<(LeaseId, Arc<str>)> {
        let leases = self.lock();
        let at = random.usize(..leases.len().max(1));
        leases.values().nth(at).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The recordings of the observer.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) looks: Vec<Look>,
    pub(super) queues: Vec<Queue>,
    pub(super) left: Vec<Left>,
}

/// Reads the keys of leases and locks, and asks servers for the remaining time of leases.
pub(super) struct Observer {
    pub(super) client: Client,
    pub(super) clock: Clock,
    pub(super) present: Present,
    pub(super) random: fastrand::Rng,
    pub(super) stop: Arc<AtomicBool>,
}

impl Observer {
    pub(super) async fn look(mut self) -> Seen {
        let mut seen = Seen::default();
        while !self.stop.load(Relaxed) {
            let began = self.clock.now();
            if let Ok(reply) = self.client.get("leases/").prefix().keys_only().await {
                let keys = reply.kvs.iter();
                seen.looks.push(Look {
                    began,
                    ended: self.clock.now(),
                    term: reply.header.raft_term,
                    keys: keys.map(|kv| text(&kv.key)).collect(),
                });
            }
            let began = self.clock.now();
            if let Ok(mut reply) = self.client.get("locks/").prefix().keys_only().await {
                reply.kvs.sort_by_key(|kv| kv.create_revision);
                let keys = reply.kvs.iter();
                seen.queues.push(Queue {
                    began,
                    ended: self.clock.now(),
                    keys: keys.map(|kv| text(&kv.key)).collect(),
                });
            }
            if let Some((id, key)) = self.present.any(&mut self.random) {
                let began = self.clock.now();
                if let Ok(reply) = self.client.ttl(id).await {
                    let micros = |ttl: Duration| u64::try_from(ttl.as_micros()).ok();
                    seen.left.push(Left {
                        key,
                        began,
                        ended: self.clock.now(),
                        left: reply.ttl.and_then(micros),
                    });
                }
            }
            sleep(LOOK).await;
        }
        seen
    }
}

fn text(key: &[u8]) -> Arc<str> {
    Arc::from(String::from_utf8_lossy(key))
}
