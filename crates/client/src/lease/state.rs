//! PURE: when each lease is renewed, what its keepers may believe, and when the stream moves.
//!
//! The driver tells what came (answers, a stream that opened or failed) and asks
//! [`next`](Leases::next) what to do; all rules are here.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::renewal::{Asked, Lease, LeaseEnd, Standing};
use crate::error::ErrorKind;
use crate::kv::LeaseId;

/// Pauses between two streams of which the first gave no answer.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many renewals of one lease may wait for their answers on one stream.
const MOST_ASKED: usize = 8;

/// What the driver has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Tell the keepers of the lease.
    Tell(LeaseId, Standing),
    /// Open a stream, not over the link of the one before, and tell what came of it.
    Open,
    /// Drop the stream, or the attempt to open one.
    Close,
    /// Send a renewal; it counts as sent now.
    Send(LeaseId),
    /// Nothing until then, unless something comes.
    Rest(Option<Instant>),
}

/// All leases that a client keeps, and the stream that they share.
#[derive(Debug)]
pub(crate) struct Leases {
    leases: HashMap<LeaseId, Lease>,
    /// When each lease is to be renewed next.
    sends: BTreeSet<(Instant, LeaseId)>,
    /// When what is known of a lease changes by itself.
    turns: BTreeSet<(Instant, LeaseId)>,
    /// Until when a renewal under way should have its answer.
    limits: BTreeSet<(Instant, LeaseId)>,
    tells: VecDeque<(LeaseId, Standing)>,
    stream: Stream,
    /// Renewals without answers on this stream, also of leases that nobody keeps any more.
    asked: HashMap<LeaseId, VecDeque<Asked>>,
    /// Streams in a row that gave no answer.
    failures: u32,
    cause: ErrorKind,
    generation: u64,
    random: fastrand::Rng,
}

#[derive(Clone, Copy, Debug)]
enum Stream {
    /// To be opened, but not before then.
    Closed(Option<Instant>),
    Opening,
    /// With when an answer last came, or else when it was opened.
    Open(Instant),
    /// The client was closed.
    Over,
}

impl Leases {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            leases: HashMap::new(),
            sends: BTreeSet::new(),
            turns: BTreeSet::new(),
            limits: BTreeSet::new(),
            tells: VecDeque::new(),
            stream: Stream::Closed(None),
            asked: HashMap::new(),
            failures: 0,
            cause: ErrorKind::Unavailable,
            generation: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Whether there is nothing to do until another lease is kept.
    pub(crate) fn is_idle(&self) -> bool {
        self.leases.is_empty() && self.tells.is_empty() && !self.is_busy()
    }

    fn is_busy(&self) -> bool {
        matches!(self.stream, Stream::Opening | Stream::Open(_))
    }

    /// One keeper more for a lease; the first renewal is due at once.
    pub(crate) fn keep(&mut self, id: LeaseId, now: Instant) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keepers += 1;
            return;
        }
        self.generation += 1;
        self.sends.insert((now, id));
        self.leases.insert(id, Lease::new(self.generation, now));
    }

    /// One keeper less for a lease.
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

    /// The client has revoked a lease.
    pub(crate) fn revoked(&mut self, id: LeaseId) {
        self.lose(id, LeaseEnd::Revoked);
    }

    /// The stream is open.
    pub(crate) fn opened(&mut self, now: Instant) {
        if matches!(self.stream, Stream::Opening) {
            self.stream = Stream::Open(now);
        }
    }

    /// The stream has ended, or could not be opened.
    pub(crate) fn failed(&mut self, cause: ErrorKind, now: Instant) {
        if self.is_busy() {
            self.shut(cause, now);
        }
        if cause == ErrorKind::Closed {
            self.stream = Stream::Over;
        }
    }

    /// The server has answered a renewal with so many seconds.
    ///
    /// INVARIANT: a lease is known to live for its time-to-live from when the renewal was *sent*:
    /// the server counted from a moment after that, whenever its answer came. Of several
    /// renewals under way the oldest counts.
    pub(crate) fn answered(&mut self, id: LeaseId, seconds: i64, now: Instant) {
        if !matches!(self.stream, Stream::Open(_)) {
            return;
        }
        self.stream = Stream::Open(now);
        self.failures = 0;
        let Some(asked) = self.take_asked(id) else {
            // Nobody has asked: no reason to believe it.
            return;
        };
        let Some(lease) = self.leases.get(&id) else {
            return;
        };
        if lease.generation != asked.generation {
            return;
        }
        match u64::try_from(seconds) {
            Ok(seconds @ 1..) => self.renewed(id, asked.sent, seconds, now),
            _ => {
                let early = lease.expires.is_some_and(|expires| now < expires);
                let end = if early {
                    LeaseEnd::Revoked
                } else {
                    LeaseEnd::Expired
                };
                self.lose(id, end);
            }
        }
    }

    fn take_asked(&mut self, id: LeaseId) -> Option<Asked> {
        let queue = self.asked.get_mut(&id)?;
        let asked = queue.pop_front();
        if queue.is_empty() {
            self.asked.remove(&id);
        }
        asked
    }

    fn renewed(&mut self, id: LeaseId, sent: Instant, seconds: u64, now: Instant) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let due = lease.renew(sent, seconds, self.random.f64());
        let earliest = lease.sent.map_or(now, |last| last + lease.patience());
        let waiting = self.asked.get(&id).and_then(|queue| queue.front());
        let limit = waiting.map(|asked| asked.sent + lease.patience());
        self.set_send(id, due.max(earliest));
        self.set_limit(id, limit);
        self.turn(id, now);
    }

    /// What is to be done now. `ready` says that a renewal could leave at once.
    pub(crate) fn next(&mut self, now: Instant, ready: bool) -> Step {
        if let Some(step) = self.next_tell(now) {
            return step;
        }
        if self.leases.is_empty() {
            return self.next_without_leases();
        }
        let turn = self.turns.first().map(|(at, _)| *at);
        let other = match self.stream {
            Stream::Over | Stream::Opening => None,
            Stream::Closed(Some(at)) if at > now => Some(at),
            Stream::Closed(_) => {
                self.stream = Stream::Opening;
                return Step::Open;
            }
            Stream::Open(heard) => {
                let limit = self.limit(heard, now);
                if limit.is_some_and(|limit| limit <= now) {
                    self.shut(ErrorKind::Timeout, now);
                    return Step::Close;
                }
                let send = self.sends.first().copied().filter(|_| ready);
                match send {
                    Some((at, id)) if at <= now => {
                        self.send(id, now);
                        return Step::Send(id);
                    }
                    send => earlier(limit, send.map(|(at, _)| at)),
                }
            }
        };
        Step::Rest(earlier(turn, other))
    }

    /// What is still to be told, before anything else happens to the lease.
    pub(crate) fn untold(&mut self) -> Option<(LeaseId, Standing)> {
        self.tells.pop_front()
    }

    fn next_tell(&mut self, now: Instant) -> Option<Step> {
        while self.tells.is_empty() {
            let (at, id) = self.turns.first().copied()?;
            if at > now {
                return None;
            }
            self.turn(id, now);
        }
        let (id, standing) = self.tells.pop_front()?;
        Some(Step::Tell(id, standing))
    }

    fn next_without_leases(&mut self) -> Step {
        if self.is_busy() {
            self.stream = Stream::Closed(None);
            self.asked.clear();
            return Step::Close;
        }
        Step::Rest(None)
    }

    /// When the stream is to be taken for stuck: a renewal has waited for a sixth of its lease's
    /// time-to-live, and nothing else was answered for as long. A slow server that gets on with
    /// its work is not left: that would only make it do it again.
    fn limit(&mut self, heard: Instant, now: Instant) -> Option<Instant> {
        loop {
            let (limit, id) = self.limits.first().copied()?;
            let patience = self.leases.get(&id)?.patience();
            if limit > now || heard + patience <= limit {
                return Some(limit);
            }
            self.set_limit(id, Some(heard + patience));
        }
    }

    fn send(&mut self, id: LeaseId, now: Instant) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        lease.tries = lease.tries.saturating_add(1);
        lease.sent = Some(now);
        let (next, limit) = (
            now + lease.gap(),
            lease.limit.or(Some(now + lease.patience())),
        );
        let asked = Asked {
            sent: now,
            generation: lease.generation,
        };
        let queue = self.asked.entry(id).or_default();
        // What is not noted here can only be believed less.
        if queue.len() < MOST_ASKED {
            queue.push_back(asked);
        }
        self.set_send(id, next);
        self.set_limit(id, limit);
    }

    /// The stream is gone; what was asked on it is not going to be answered.
    fn shut(&mut self, cause: ErrorKind, now: Instant) {
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST_PAUSE)
            .mul_f64(0.5 + self.random.f64() / 2.0);
        self.failures = self.failures.saturating_add(1);
        self.cause = cause;
        self.stream = Stream::Closed(Some(now + pause));
        self.asked.clear();
        self.limits.clear();
        for lease in self.leases.values_mut() {
            lease.limit = None;
        }
    }

    fn lose(&mut self, id: LeaseId, end: LeaseEnd) {
        if self.leases.contains_key(&id) {
            self.forget(id);
            self.tells.push_back((id, Standing::Lost(end)));
        }
    }

    fn forget(&mut self, id: LeaseId) {
        self.set_limit(id, None);
        if let Some(lease) = self.leases.remove(&id) {
            self.sends.remove(&(lease.send, id));
            if let Some(turn) = lease.turn {
                self.turns.remove(&(turn, id));
            }
            self.tells.retain(|(other, _)| *other != id);
        }
    }

    /// Looks at what is known of a lease, and notes when to look again.
    fn turn(&mut self, id: LeaseId, now: Instant) {
        let cause = if self.is_busy() {
            ErrorKind::Timeout
        } else {
            self.cause
        };
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let (standing, turn) = lease.standing(now, cause);
        let before = std::mem::replace(&mut lease.turn, turn);
        if let Some(before) = before {
            self.turns.remove(&(before, id));
        }
        if let Some(turn) = turn {
            self.turns.insert((turn, id));
        }
        if standing != lease.told {
            lease.told = standing;
            self.tells.push_back((id, standing));
        }
    }

    fn set_send(&mut self, id: LeaseId, at: Instant) {
        if let Some(lease) = self.leases.get_mut(&id) {
            self.sends.remove(&(lease.send, id));
            lease.send = at;
            self.sends.insert((at, id));
        }
    }

    fn set_limit(&mut self, id: LeaseId, at: Option<Instant>) {
        if let Some(lease) = self.leases.get_mut(&id) {
            if let Some(before) = std::mem::replace(&mut lease.limit, at) {
                self.limits.remove(&(before, id));
            }
            if let Some(at) = at {
                self.limits.insert((at, id));
            }
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;
