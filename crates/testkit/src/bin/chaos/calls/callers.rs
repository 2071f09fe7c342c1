//! Callers, and the recordings of their calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use etcdex::txn::Swapped;
use etcdex::{Client, Error, Outcome, Put, Txn};
use etcdex_testkit::calls::{Action, Answer, Call, Effect};
use etcdex_testkit::history::hash;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::store::pair;

/// Number of keys that all callers share: few, so that calls conflict.
const KEYS: usize = 12;

/// A caller that makes one call after the other.
pub(super) struct Caller {
    name: Arc<str>,
    client: Client,
    clock: Clock,
    random: fastrand::Rng,
    stop: Arc<AtomicBool>,
    /// The revision of each key that this caller saw last.
    seen: HashMap<Arc<str>, i64>,
    calls: Vec<Call>,
}

impl Caller {
    pub(super) fn new(
        name: String,
        client: Client,
        clock: Clock,
        random: fastrand::Rng,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self {
            name: name.into(),
            client,
            clock,
            random,
            stop,
            seen: HashMap::new(),
            calls: Vec::new(),
        }
    }

    /// Makes calls until it is stopped, and returns their recordings.
    pub(super) async fn call(mut self) -> Vec<Call> {
        while !self.stop.load(Relaxed) {
            let (action, value) = self.next();
            let began = self.clock.now();
            let answer = self.ask(&action, &value).await;
            let ended = self.clock.now();
            let answer = answer.unwrap_or_else(|error| failed(&error));
            self.note(&action, &answer);
            let pause = match answer {
                Answer::Failed { .. } => self.random.u64(20..60),
                _ => self.random.u64(5..50),
            };
            self.calls.push(Call {
                caller: Arc::clone(&self.name),
                began,
                ended,
                action,
                answer,
            });
            sleep(Duration::from_millis(pause)).await;
        }
        self.calls
    }

    /// Chooses the next action, and the value of a write.
    fn next(&mut self) -> (Action, String) {
        let text = format!("{} {}", self.name, self.calls.len());
        let value = hash(text.as_bytes());
        let key = self.key();
        let action = match self.random.u8(..100) {
            0..30 => Action::Get {
                key,
                serializable: false,
            },
            30..40 => Action::Get {
                key,
                serializable: true,
            },
            40..62 => Action::Put {
                keys: vec![key],
                value,
            },
            62..70 => {
                let mut other = self.key();
                while other == key {
                    other = self.key();
                }
                let keys = vec![key, other];
                Action::Put { keys, value }
            }
            70..88 => Action::Swap {
                expected: self.seen.get(&key).copied().unwrap_or(0),
                key,
                value,
            },
            _ => Action::Delete { key },
        };
        (action, text)
    }

    fn key(&mut self) -> Arc<str> {
        format!("calls/{:02}", self.random.usize(..KEYS)).into()
    }

    async fn ask(&self, action: &Action, value: &str) -> Result<Answer, Error> {
        let client = &self.client;
        Ok(match action {
            Action::Get { key, serializable } => {
                let get = client.get(&**key);
                let get = if *serializable {
                    get.serializable()
                } else {
                    get
                };
                let reply = get.await?;
                Answer::Read {
                    revision: reply.header.revision,
                    pair: reply.kvs.first().map(pair),
                }
            }
            Action::Put { keys, .. } => match &keys[..] {
                [key] => {
                    let reply = client.put(&**key, value).prev_kv().await?;
                    Answer::Written {
                        revision: reply.header.revision,
                        prev: reply.prev_kv.as_ref().map(pair),
                    }
                }
                keys => {
                    let puts = keys.iter().map(|key| Put::new(&**key, value));
                    let reply = client.run(puts.fold(Txn::new(), Txn::then)).await?;
                    Answer::Written {
                        revision: reply.header.revision,
                        prev: None,
                    }
                }
            },
            Action::Delete { key } => {
                let reply = client.delete(&**key).prev_kv().await?;
                let revision = reply.header.revision;
                match reply.prev_kvs.first().map(pair) {
                    None => Answer::Read {
                        revision,
                        pair: None,
                    },
                    prev => Answer::Written { revision, prev },
                }
            }
            Action::Swap { key, expected, .. } => {
                match client.swap(&**key, value).if_mod(*expected).await? {
                    Swapped::Done(header) => Answer::Written {
                        revision: header.revision,
                        prev: None,
                    },
                    Swapped::Conflict { header, present } => Answer::Read {
                        revision: header.revision,
                        pair: present.as_ref().map(pair),
                    },
                }
            }
        })
    }

    /// Records the revisions of the keys, for the next swap.
    fn note(&mut self, action: &Action, answer: &Answer) {
        for key in action.keys() {
            let seen = match answer {
                Answer::Read { pair, .. } => pair.map_or(0, |pair| pair.mod_revision),
                Answer::Written { .. } if matches!(action, Action::Delete { .. }) => 0,
                Answer::Written { revision, .. } => *revision,
                Answer::Failed { .. } => continue,
            };
            self.seen.insert(Arc::clone(key), seen);
        }
    }
}

fn failed(error: &Error) -> Answer {
    Answer::Failed {
        effect: match error.outcome() {
            Outcome::NotSent => Effect::NotSent,
            Outcome::Unknown => Effect::Unknown,
            Outcome::Rejected => Effect::Rejected,
        },
        error: format!("{:?}: {error}", error.kind()),
    }
}
