//! Outcomes and retries.
//!
//! # Outcomes
//! An [`Error`](crate::Error) has an [`outcome`](crate::Error::outcome). It answers the question
//! that a program has to ask before it does something again: may my write have been applied?
//!
//! | outcome | meaning | after a write |
//! |---|---|---|
//! | [`NotSent`](crate::Outcome::NotSent) | No server has seen the request. | Nothing was written. |
//! | [`Rejected`](crate::Outcome::Rejected) | A server has refused the request. | Nothing was written. |
//! | [`Unknown`](crate::Outcome::Unknown) | The request was sent, and no answer tells what became of it. | It may have been written, or may still be. |
//!
//! After `Unknown`, a program reads and decides. The surest way is a transaction that compares
//! the revision that was read before: it can be sent again without harm, because it holds once at
//! most. The example `outcomes` shows it.
//!
//! The outcome is exact where HTTP/2 and etcd allow it. A request that h2 has taken and of which
//! no byte has left counts as not sent. An answer of etcd counts as a refusal only if etcd gives
//! that answer before it acts: "request timed out" and "leader changed" do not, and neither do
//! answers of proxies that may have passed the request on.
//!
//! # What is sent again
//! | failure | a read | a write |
//! |---|---|---|
//! | not sent | at the next connection | at the next connection |
//! | refused, and another member may serve it (no leader, a learner, stopping) | at another endpoint | at another endpoint |
//! | refused for its token | with a new token | with a new token |
//! | unknown | at another endpoint if there is one | never |
//! | refused for itself (a key that does not exist, no permission) | never | never |
//!
//! A [`Grant`](crate::lease::Grant) whose ID the client has chosen counts as a read: twice is once. So do
//! transactions that only read. A [`Lock`](crate::Lock) is never sent again while an attempt may
//! still be under way: etcd's clean-up of the first attempt would delete the key of the second.
//!
//! # How often
//! A call is sent again up to [`retries`](crate::ClientBuilder::retries) times (10), with pauses that
//! double from 10 ms to 1 s and are jittered, within the time-out of the call. The first move away
//! from a lost connection is free. All others take from a budget of the whole client: a thousand
//! retries, of which ten good replies give one back. When servers are overloaded, retries dry up
//! instead of making it worse.
//!
//! With several endpoints, a read that has seen nothing of its answer after half of the time that
//! is left goes to another endpoint. Give a read that takes long a long time-out.
//!
//! # Streams of messages
//! [`snapshot`](crate::maintenance::Maintenance::snapshot) and `stream` follow the same rules until
//! the first message has come. After it they are not begun again, because another attempt would
//! read another state.
