//! Asks an endpoint whether it serves, as `probe.rs` says.
//!
//! A probe is a count of one key, linearizable and without a token. The server needs its quorum to
//! answer it and reads next to nothing, and the probe carries no secret. A server that requires a user
//! refuses the probe after it has asked its quorum, which is as good an answer.

use std::future::{pending, poll_fn};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcdex_proto::etcdserverpb::RangeRequest;

use super::balance::OtherEndpoints;
use super::grpc::frame;
use super::link::{Head, Link, StreamPermit};
use super::link_state::now;
use super::probe::{Action, LONGEST_WAIT, Probes};
use super::serving::Serving;
use super::shared::Shared;
use super::unary::Exchange;
use crate::method::Method;

/// Calls, streams and waiting calls under way leave an endpoint that has not served for this long:
/// writes fail, and the others go to another endpoint. Together with the time until the endpoint is
/// found not to serve, this is about half of the default time-out of a call.
const LEAVE: Duration = Duration::from_secs(1);

/// Calls leave the endpoint only when another one has served for this long. After an election, the
/// members answer their waiting reads one after the other: etcd asks its quorum again every 500 ms.
const OTHER: Duration = Duration::from_millis(750);

/// Time between two checks whether another endpoint serves.
const LOOK: Duration = Duration::from_millis(500);

/// The same shortly after the endpoint was found not to serve, while the next one is connected to and
/// asked.
const SOON: Duration = Duration::from_millis(50);

/// How long [`SOON`] is used.
const HURRY: Duration = Duration::from_secs(2);

/// Largest answer that is accepted, in bytes.
const LIMIT: usize = 64 << 10;

/// The key that is counted. It need not exist, and the user need not be allowed to read it.
const KEY: &[u8] = b"\0";

/// The probes over one unary connection.
pub(crate) struct Prober {
    rule: Probes,
    serving: Arc<Serving>,
    /// Weak, so that probes do not keep the connection open.
    link: Weak<Link>,
    sent: Option<Exchange>,
    /// Whether the endpoint did not serve at the last check.
    not_serving: bool,
    since: Option<Since>,
}

/// The time at which the endpoint was found not to serve, and what was known then.
#[derive(Clone, Copy, Debug)]
struct Since {
    then: Instant,
    /// Number of replies of other endpoints that had shown by then that they serve.
    served_elsewhere: u64,
    /// When another endpoint was first seen to serve.
    other: Option<Instant>,
}

impl Prober {
    pub(crate) fn new(link: &Arc<Link>, round_trip: Duration) -> Self {
        Self {
            rule: Probes::new(round_trip),
            serving: Arc::clone(&link.serving),
            link: Arc::downgrade(link),
            sent: None,
            not_serving: false,
            since: None,
        }
    }

    /// Whether a probe is under way.
    pub(crate) fn is_asking(&self) -> bool {
        self.sent.is_some()
    }

    /// Gives up the probe that is under way, as its answer is not needed any more.
    pub(crate) fn stop(&mut self) {
        self.sent = None;
    }

    /// Does what is due; returns when to look again.
    pub(super) fn step(&mut self, moment: Instant, shared: &Shared) -> Option<Instant> {
        let alone = shared.others() != OtherEndpoints::Serving;
        if self.serving.take_silent() {
            self.rule.silent(moment);
        }
        let mut look = self.look(moment, alone, shared);
        loop {
            let not_serving = self.serving.is_not_serving();
            match self.rule.next(moment, not_serving) {
                Action::Rest(until) => return until.into_iter().chain(look).min(),
                Action::NotServing => {
                    self.serving.set_not_serving(true);
                    look = self.look(moment, alone, shared);
                }
                Action::Send => self.send(moment, alone),
                Action::GiveUp => {
                    self.sent = None;
                    self.rule.given_up(moment, fastrand::f64());
                }
            }
        }
    }

    /// Checks whether the endpoint serves, and makes calls leave it; returns when to look again.
    ///
    /// INVARIANT: no call leaves before a reply has shown that another endpoint serves. While none does,
    /// a call waits where it is, within its time-out.
    fn look(&mut self, moment: Instant, alone: bool, shared: &Shared) -> Option<Instant> {
        if !self.serving.is_not_serving() {
            self.since = None;
            if std::mem::take(&mut self.not_serving) {
                self.rule.served();
            }
            return None;
        }
        self.not_serving = true;
        self.rule.not_serving(moment, alone, fastrand::f64());
        if self.serving.is_left() {
            return None;
        }
        let present = shared.served_elsewhere();
        let since = self.since.get_or_insert(Since {
            then: moment,
            served_elsewhere: present,
            other: None,
        });
        // The number is smaller when a connection was lost with its count.
        since.served_elsewhere = since.served_elsewhere.min(present);
        let hurries = moment < since.then + HURRY;
        let look = moment + if hurries { SOON } else { LOOK };
        if alone {
            since.other = None;
            return Some(look);
        }
        if present > since.served_elsewhere {
            let other = *since.other.get_or_insert(moment);
            let due = (since.then + LEAVE).max(other + OTHER);
            if moment < due {
                return Some(due);
            }
            self.serving.leave();
            return None;
        }
        shared.ask_elsewhere();
        Some(look)
    }

    fn send(&mut self, moment: Instant, alone: bool) {
        let Some(link) = self.link.upgrade() else {
            self.rule.ended(moment, true, alone, 0.0);
            return;
        };
        self.rule.sent(moment);
        let question = RangeRequest {
            key: Bytes::from_static(KEY),
            count_only: true,
            ..RangeRequest::default()
        };
        let head = Head {
            timeout: Some(LONGEST_WAIT),
            ..Head::default()
        };
        let sent = frame(&question, LIMIT).and_then(|body| {
            let permit = StreamPermit::new(link);
            Exchange::begin(permit, Method::Range, false, head, body, LIMIT)
        });
        match sent {
            Ok(exchange) => self.sent = Some(exchange),
            // The connection takes no more requests, which its monitor notices.
            Err(_) => self.rule.ended(moment, false, alone, fastrand::f64()),
        }
    }

    /// Resolves when the probe that is under way was answered. The answer is noted.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn answered(&mut self, alone: bool) {
        let Some(exchange) = &mut self.sent else {
            return pending().await;
        };
        // The exchange itself reports its end to the endpoint.
        let _ = poll_fn(|cx| exchange.poll_reply(cx)).await;
        self.sent = None;
        let served = !self.serving.is_not_serving();
        self.rule.ended(now(), served, alone, fastrand::f64());
    }
}
