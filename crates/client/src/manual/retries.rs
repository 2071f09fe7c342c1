//! Outcomes and retries.
//!
//! # Outcomes
//! An [`Error`](crate::Error) has an [`outcome`](crate::Error::outcome), which says whether a write
//! may have been applied. A program has to know that before it repeats the write.
//!
//! | outcome | meaning | after a write |
//! |---|---|---|
//! | [`NotSent`](crate::Outcome::NotSent) | No server has seen the request. | Nothing was written. |
//! | [`Rejected`](crate::Outcome::Rejected) | A server has refused the request. | Nothing was written. |
//! | [`Unknown`](crate::Outcome::Unknown) | The request was sent, and no answer shows whether it was applied. | The write may have been applied, or may still be. |
//!
//! After `Unknown`, a program reads and decides. The safest way is a transaction that compares the
//! revision that was read before: the program can repeat the transaction, because its condition
//! holds at most once. The example `outcomes` shows it.
//!
//! The outcome is as exact as HTTP/2 and etcd allow. A request that h2 has accepted and of which no
//! byte has left counts as not sent. An answer of etcd counts as a refusal only if etcd gives that
//! answer before it acts. "Request timed out" and "leader changed" do not count as refusals, and
//! neither do answers of proxies that may have passed the request on.
//!
//! # Which requests are sent again
//! | failure | a read | a write |
//! |---|---|---|
//! | not sent | at the next connection | at the next connection |
//! | refused, and another member may serve it (no leader, a learner, stopping) | at another endpoint | at another endpoint |
//! | refused for its token | with a new token | with a new token |
//! | unknown | at another endpoint if there is one | never |
//! | refused for its content (a key that does not exist, no permission) | never | never |
//!
//! A [`Grant`](crate::lease::Grant) whose ID the client has chosen counts as a read, as a repeated
//! grant makes no second lease. So do transactions that only read. A [`Lock`](crate::Lock) is never
//! sent again while an attempt may still be in progress: etcd's clean-up of the first attempt would
//! delete the key of the second.
//!
//! # How often
//! A call is sent again up to [`retries`](crate::ClientBuilder::retries) times (10), with pauses that
//! double from 10 ms to 1 s and are jittered, within the time-out of the call. The first move away
//! from a lost connection is free. All other retries use up a budget of the whole client: a
//! thousand retries, of which ten good replies give one back. The budget limits the load of retries
//! on overloaded servers.
//!
//! With several endpoints, a read whose answer has not begun after half of its remaining time goes
//! to another endpoint. Use a long time-out for a read that takes long.
//!
//! # Streams of messages
//! [`snapshot`](crate::maintenance::Maintenance::snapshot) and `stream` follow the same rules until
//! the first message has arrived. After it they are not started again, because another attempt
//! would read another state.
