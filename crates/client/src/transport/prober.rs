//! Asks an endpoint whether it serves, as `probe.rs` says.
//!
//! The question is a count of one key, linearizable and without a token. It needs the quorum, it
//! reads next to nothing, and no secret leaves with it. Where the server wants a user it refuses
//! the question after it has asked its quorum, which is as good an answer.

use std::future::{pending, poll_fn};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcdex_proto::etcdserverpb::RangeRequest;

use super::grpc::frame;
use super::link::{Head, Link, Occupancy};
use super::probe::{Action, LONGEST_WAIT, Probes};
use super::pulse::now;
use super::serving::Serving;
use super::unary::Exchange;
use crate::method::Method;

/// Streams and waiting calls leave an endpoint that has not served for this long while another
/// one serves. They have more to lose than a call, and an election passes in less.
const LEAVE: Duration = Duration::from_secs(5);

/// The largest answer that is taken.
const LIMIT: usize = 64 << 10;

/// Any key will do: it need not exist, and the user need not be allowed to read it.
const KEY: &[u8] = b"\0";

/// The probes over one unary connection.
pub(crate) struct Prober {
    rule: Probes,
    serving: Arc<Serving>,
    /// The connection lives no longer for being probed.
    link: Weak<Link>,
    sent: Option<Exchange>,
    /// Since when the endpoint does not serve.
    since: Option<Instant>,
    /// Its streams were told to leave.
    left: bool,
}

impl Prober {
    pub(crate) fn new(link: &Arc<Link>, round_trip: Duration) -> Self {
        Self {
            rule: Probes::new(round_trip),
            serving: Arc::clone(&link.serving),
            link: Arc::downgrade(link),
            sent: None,
            since: None,
            left: false,
        }
    }

    /// Whether a probe is under way.
    pub(crate) fn is_asking(&self) -> bool {
        self.sent.is_some()
    }

    /// Gives the present probe up: nobody needs its answer any more.
    pub(crate) fn stop(&mut self) {
        self.sent = None;
    }

    /// Does what is due; returns until when to rest. `alone` says that no other endpoint serves.
    pub(crate) fn step(&mut self, moment: Instant, alone: bool) -> Option<Instant> {
        if self.serving.take_silent() {
            self.rule.silent(moment);
        }
        let leave = self.look(moment, alone);
        loop {
            let not_serving = self.serving.is_not_serving();
            match self.rule.next(moment, not_serving) {
                Action::Rest(until) => return until.into_iter().chain(leave).min(),
                Action::NotServing => {
                    self.serving.set_not_serving(true);
                    self.look(moment, alone);
                }
                Action::Send => self.send(moment, alone),
                Action::GiveUp => {
                    self.sent = None;
                    self.rule.given_up(moment, fastrand::f64());
                }
            }
        }
    }

    /// Follows whether the endpoint serves; returns when its streams are to leave.
    fn look(&mut self, moment: Instant, alone: bool) -> Option<Instant> {
        if !self.serving.is_not_serving() {
            if self.since.take().is_some() {
                self.rule.served();
            }
            self.left = false;
            return None;
        }
        self.rule.not_serving(moment, alone, fastrand::f64());
        let then = *self.since.get_or_insert(moment) + LEAVE;
        if self.left || alone {
            return None;
        }
        if then > moment {
            return Some(then);
        }
        self.left = true;
        self.serving.leave();
        None
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
            let occupancy = Occupancy::of(link);
            Exchange::begin(occupancy, Method::Range, false, head, body, LIMIT)
        });
        match sent {
            Ok(exchange) => self.sent = Some(exchange),
            // The connection takes no more requests, which its watcher knows.
            Err(_) => self.rule.ended(moment, false, alone, fastrand::f64()),
        }
    }

    /// Ready when the present probe was answered, which is noted.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn answered(&mut self, alone: bool) {
        let Some(exchange) = &mut self.sent else {
            return pending().await;
        };
        // The exchange itself reports what its end says of the endpoint.
        let _ = poll_fn(|cx| exchange.poll_reply(cx)).await;
        self.sent = None;
        let served = !self.serving.is_not_serving();
        self.rule.ended(now(), served, alone, fastrand::f64());
    }
}
