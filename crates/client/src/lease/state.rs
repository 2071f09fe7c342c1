//! PURE: the queue of renewals of all leases: which one is sent next and when, and which status their
//! keepers have.
//!
//! The driver reports events (an answer, a stream that opened or failed) and asks
//! [`next`](Renewals::next) what to do. All rules are here and in the files that this one uses.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::renewal::{Lease, LeaseEnd, LeaseStatus};
use super::streams::{StreamStep, Streams};
use super::unanswered::StreamNumber;
use crate::kv::LeaseId;

/// An instruction to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RenewalStep {
    /// Report the status to the keepers of the lease.
    Tell(LeaseId, LeaseStatus),
    /// Open a stream, not over the link of the one before. The driver reports the result.
    Open(StreamNumber),
    /// A renewal is overdue on this stream: report that to its connection.
    Silent(StreamNumber),
    /// Drop the stream, or the attempt to open it.
    Close(StreamNumber),
    /// Send a renewal on this stream; it counts as sent now.
    Send(StreamNumber, LeaseId),
    /// Wait until then, or for an event.
    Rest(Option<Instant>),
}

/// The leases that a client keeps, and what is due for each.
///
/// The next renewal of one lease:
///
/// ```text
///        sent                  answered
///  Due ───────► Unanswered ─────────────► Scheduled
///   ▲                │                       │
///   │                │ another stream opened, or this one was dropped
///   │                ▼                       │
///   └────────── Scheduled ◄──────────────────┘
///     its time has come
/// ```
///
/// [`Lease`] holds the known state of one lease, [`Streams`] the streams.
#[derive(Debug)]
pub(crate) struct Renewals {
    leases: HashMap<LeaseId, Lease>,
    /// When each lease is renewed next.
    sends: BTreeSet<(Instant, LeaseId)>,
    /// When the status of a lease changes without an event.
    changes: BTreeSet<(Instant, LeaseId)>,
    tells: VecDeque<(LeaseId, LeaseStatus)>,
    streams: Streams,
    /// Whether the client was closed.
    closed: bool,
    /// Generation of the latest kept lease.
    generation: u64,
    random: fastrand::Rng,
}

impl Renewals {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            leases: HashMap::new(),
            sends: BTreeSet::new(),
            changes: BTreeSet::new(),
            tells: VecDeque::new(),
            streams: Streams::new(random.fork()),
            closed: false,
            generation: 0,
            random,
        }
    }

    /// Returns whether there is nothing to do until another lease is kept.
    pub(crate) fn is_idle(&self) -> bool {
        self.leases.is_empty() && self.tells.is_empty() && self.streams.is_empty()
    }

    /// Adds a keeper of a lease; the first renewal is due at once. `ttl` is that of the reply to the
    /// grant, if this client has granted the lease.
    pub(crate) fn keep(&mut self, id: LeaseId, ttl: Option<Duration>, now: Instant) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keepers += 1;
            return;
        }
        self.generation += 1;
        self.leases.insert(id, Lease::new(self.generation, ttl));
        if self.closed {
            self.lose(id, LeaseEnd::ClientClosed);
        } else {
            self.set_send(id, Some(now));
        }
    }

    /// Removes a keeper of a lease.
    ///
    /// INVARIANT: without keepers a lease is never renewed again.
    pub(crate) fn release(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        lease.keepers -= 1;
        if lease.keepers == 0 {
            self.forget(id);
        }
    }

    /// Records that the client sends a request that revokes the lease. The revoke is then the
    /// reason, if the server says that the lease is gone.
    pub(crate) fn revoking(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.revoking = true;
        }
    }

    /// Records that the client has revoked a lease.
    pub(crate) fn revoked(&mut self, id: LeaseId) {
        self.lose(id, LeaseEnd::Revoked);
    }

    /// Ends all leases, as the client was closed. None is renewed from now on.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.streams.close();
        let ids: Vec<LeaseId> = self.leases.keys().copied().collect();
        for id in ids {
            self.lose(id, LeaseEnd::ClientClosed);
        }
    }

    /// Records that the stream is open; `round_trip` is that of its connection.
    pub(crate) fn opened(&mut self, number: StreamNumber, round_trip: Duration, now: Instant) {
        let waiting = self.streams.opened(number, round_trip, now);
        self.send_again(waiting, now);
    }

    /// Records that the stream has ended, or could not be opened.
    pub(crate) fn failed(&mut self, number: StreamNumber, now: Instant) {
        let waiting = self.streams.failed(number, now);
        self.send_again(waiting, now);
    }

    /// Records that time has passed that the monotonic clock did not count: no answer to an earlier
    /// renewal shows until when a lease lives.
    pub(crate) fn clocks_jumped(&mut self, now: Instant) {
        let ids: Vec<LeaseId> = self.leases.keys().copied().collect();
        for id in ids {
            self.generation += 1;
            if let Some(lease) = self.leases.get_mut(&id) {
                lease.generation = self.generation;
                lease.expires = None;
            }
            self.set_send(id, Some(now));
            self.update(id, now);
        }
    }

    /// Records an answer of so many seconds to a renewal.
    ///
    /// INVARIANT: a lease is known to live for its time-to-live from the moment when the renewal
    /// was *sent*: the server counted from a later moment, whenever its answer came. If several
    /// renewals are unanswered, the answer counts for the oldest.
    pub(crate) fn answered(
        &mut self,
        number: StreamNumber,
        id: LeaseId,
        seconds: i64,
        now: Instant,
    ) {
        let Some((asked, waiting)) = self.streams.answered(number, id, now) else {
            // There was no such renewal: the answer is ignored.
            return;
        };
        self.send_again(waiting, now);
        let Some(lease) = self.leases.get(&id) else {
            return;
        };
        if lease.generation != asked.generation {
            self.streams.set_limit(id, lease);
            return;
        }
        match u64::try_from(seconds) {
            Ok(seconds @ 1..) => self.renewed(id, asked.sent, seconds, now),
            _ => {
                let early = lease.expires.is_some_and(|expires| now < expires);
                let end = if early || lease.revoking {
                    LeaseEnd::Revoked
                } else {
                    LeaseEnd::Expired
                };
                self.lose(id, end);
            }
        }
    }

    fn renewed(&mut self, id: LeaseId, sent: Instant, seconds: u64, now: Instant) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let due = lease.renew(sent, seconds, self.random.f64());
        self.streams.set_limit(id, lease);
        self.set_send(id, Some(due));
        self.update(id, now);
    }

    /// Returns what the driver has to do now. `ready` returns whether a stream can send a renewal
    /// at once.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        ready: impl Fn(StreamNumber) -> bool,
    ) -> RenewalStep {
        if let Some(number) = self.streams.next_close() {
            return RenewalStep::Close(number);
        }
        if let Some(step) = self.next_tell(now) {
            return step;
        }
        if self.leases.is_empty() {
            self.streams.close();
            return match self.streams.next_close() {
                Some(number) => RenewalStep::Close(number),
                None => RenewalStep::Rest(None),
            };
        }
        let stream = match self.streams.next(&self.leases, now) {
            StreamStep::Open(number) => return RenewalStep::Open(number),
            StreamStep::Silent(number, waiting) => {
                self.send_again(waiting, now);
                return RenewalStep::Silent(number);
            }
            StreamStep::Rest(until) => until,
        };
        let send = match self.next_send(now, ready) {
            RenewalStep::Rest(until) => until,
            step => return step,
        };
        let change = self.changes.first().map(|(at, _)| *at);
        RenewalStep::Rest([change, stream, send].into_iter().flatten().min())
    }

    /// Takes the next status that the keepers do not have yet.
    pub(crate) fn untold(&mut self) -> Option<(LeaseId, LeaseStatus)> {
        self.tells.pop_front()
    }

    fn next_tell(&mut self, now: Instant) -> Option<RenewalStep> {
        while self.tells.is_empty() {
            let (at, id) = self.changes.first().copied()?;
            if at > now {
                return None;
            }
            self.update(id, now);
        }
        let (id, status) = self.tells.pop_front()?;
        Some(RenewalStep::Tell(id, status))
    }

    fn next_send(&mut self, now: Instant, ready: impl Fn(StreamNumber) -> bool) -> RenewalStep {
        let Some(number) = self.streams.newest_open().filter(|number| ready(*number)) else {
            return RenewalStep::Rest(None);
        };
        while let Some((at, id)) = self.sends.first().copied() {
            if at > now {
                return RenewalStep::Rest(Some(at));
            }
            if self.send(id, now) {
                return RenewalStep::Send(number, id);
            }
        }
        RenewalStep::Rest(None)
    }

    /// Records a renewal as sent on the newest open stream. Returns whether it may be sent at all.
    fn send(&mut self, id: LeaseId, now: Instant) -> bool {
        let Some(lease) = self.leases.get_mut(&id) else {
            return false;
        };
        let takes = self.streams.takes(id, lease);
        let mut next = None;
        if takes {
            lease.tries = lease.tries.saturating_add(1);
            lease.sent = Some(now);
            self.streams.sent(id, lease, now);
            let more = self.streams.takes(id, lease);
            next = more.then(|| now + lease.distance());
        }
        self.set_send(id, next);
        takes
    }

    /// Schedules these leases again: their renewals were sent on a stream that may not answer them.
    fn send_again(&mut self, ids: Vec<LeaseId>, now: Instant) {
        for id in ids {
            let Some(lease) = self.leases.get(&id) else {
                continue;
            };
            let again = lease.sent.map_or(now, |sent| sent + lease.gap()).max(now);
            let sooner = lease.send.map_or(again, |send| send.min(again));
            self.set_send(id, Some(sooner));
        }
    }

    fn lose(&mut self, id: LeaseId, end: LeaseEnd) {
        if self.leases.contains_key(&id) {
            self.forget(id);
            self.tells.push_back((id, LeaseStatus::Lost(end)));
        }
    }

    fn forget(&mut self, id: LeaseId) {
        self.set_send(id, None);
        self.streams.forget(id);
        if let Some(lease) = self.leases.remove(&id) {
            if let Some(change) = lease.changes_at {
                self.changes.remove(&(change, id));
            }
            self.tells.retain(|(other, _)| *other != id);
        }
    }

    /// Updates the status of a lease, and records when it changes without an event.
    fn update(&mut self, id: LeaseId, now: Instant) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let (status, change) = lease.status(now);
        let before = std::mem::replace(&mut lease.changes_at, change);
        if let Some(before) = before {
            self.changes.remove(&(before, id));
        }
        if let Some(change) = change {
            self.changes.insert((change, id));
        }
        if status != lease.told {
            lease.told = status;
            self.tells.push_back((id, status));
        }
    }

    fn set_send(&mut self, id: LeaseId, at: Option<Instant>) {
        if let Some(lease) = self.leases.get_mut(&id) {
            if let Some(before) = std::mem::replace(&mut lease.send, at) {
                self.sends.remove(&(before, id));
            }
            if let Some(at) = at {
                self.sends.insert((at, id));
            }
        }
    }
}

#[cfg(test)]
mod tests;
