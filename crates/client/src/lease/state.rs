//! PURE: when each lease is renewed, what its keepers may believe, and which streams there are.
//!
//! The driver tells what came (answers, a stream that opened or failed) and asks
//! [`next`](Leases::next) what to do; all rules are here.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::renewal::{Lease, LeaseEnd, Standing};
use super::unanswered::{Asked, Stream, StreamNumber};
use crate::kv::LeaseId;
use crate::patience::Patience;

/// Pauses between two streams of which the first gave no answer.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the driver has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Tell the keepers of the lease.
    Tell(LeaseId, Standing),
    /// Open a stream, not over the link of the one before, and tell what came of it.
    Open(StreamNumber),
    /// A renewal is overdue on this stream: have its connection looked at.
    Silent(StreamNumber),
    /// Drop the stream, or the attempt to open it.
    Close(StreamNumber),
    /// Send a renewal on this stream; it counts as sent now.
    Send(StreamNumber, LeaseId),
    /// Nothing until then, unless something comes.
    Rest(Option<Instant>),
}

/// All leases that a client keeps, and the streams that renew them.
///
/// ```text
///            open               overdue                 opened
///  no stream ───► one stream ───────────► one and another ───► two streams
///      ▲              ▲  │                                        │
///      └──────────────┼──┘ it ends                                │
///                     └───────────────────────────────────────────┘
///                       an answer on either, or the end of either
/// ```
///
/// A stream whose answers are overdue stays while another one is tried, so that a slow server is
/// still heard and no time is lost. A second stream that is silent too makes room for a third.
#[derive(Debug)]
pub(crate) struct Leases {
    leases: HashMap<LeaseId, Lease>,
    /// When each lease is to be renewed next.
    sends: BTreeSet<(Instant, LeaseId)>,
    /// When what is known of a lease changes by itself.
    turns: BTreeSet<(Instant, LeaseId)>,
    tells: VecDeque<(LeaseId, Standing)>,
    /// The stream in use, and behind it the one that is tried instead.
    ///
    /// INVARIANT: at most two, and the first of two is silent: `next_stream` opens no other.
    streams: Vec<Stream>,
    closes: VecDeque<StreamNumber>,
    streams_opened: u64,
    /// No stream is opened before that.
    open_at: Option<Instant>,
    /// The client was closed.
    closed: bool,
    patience: Patience,
    /// Whether any renewal was answered.
    proven: bool,
    /// Streams in a row that ended without an answer.
    failures: u32,
    generation: u64,
    random: fastrand::Rng,
}

impl Leases {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            leases: HashMap::new(),
            sends: BTreeSet::new(),
            turns: BTreeSet::new(),
            tells: VecDeque::new(),
            streams: Vec::new(),
            closes: VecDeque::new(),
            streams_opened: 0,
            open_at: None,
            closed: false,
            patience: Patience::default(),
            proven: false,
            failures: 0,
            generation: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Whether there is nothing to do until another lease is kept.
    pub(crate) fn is_idle(&self) -> bool {
        let nothing_to_do = self.tells.is_empty() && self.closes.is_empty();
        self.leases.is_empty() && self.streams.is_empty() && nothing_to_do
    }

    /// One keeper more for a lease; the first renewal is due at once. `ttl` is what the reply to
    /// the grant said, if this client has granted the lease.
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

    /// The client sends a request that revokes the lease. If the server then says that the lease
    /// is gone, this is why.
    pub(crate) fn revoking(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.revoking = true;
        }
    }

    /// The client has revoked a lease.
    pub(crate) fn revoked(&mut self, id: LeaseId) {
        self.lose(id, LeaseEnd::Revoked);
    }

    /// The client was closed: nothing is renewed from now on.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.close_streams();
        let ids: Vec<LeaseId> = self.leases.keys().copied().collect();
        for id in ids {
            self.lose(id, LeaseEnd::ClientClosed);
        }
    }

    /// The stream is open; `round_trip` is that of its connection.
    pub(crate) fn opened(&mut self, number: StreamNumber, round_trip: Duration, now: Instant) {
        let Some(stream) = self.streams.iter_mut().find(|one| one.number == number) else {
            return;
        };
        stream.opened(round_trip, now);
        // What the other stream has not answered is asked here again.
        let other = self.streams.iter().find(|one| one.number != number);
        for id in other.map(Stream::waiting).unwrap_or_default() {
            self.send_again(id, now);
        }
    }

    /// The stream has ended, or could not be opened.
    pub(crate) fn failed(&mut self, number: StreamNumber, now: Instant) {
        let Some(place) = self.streams.iter().position(|one| one.number == number) else {
            return;
        };
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST_PAUSE)
            .mul_f64(0.5 + self.random.f64() / 2.0);
        self.failures = self.failures.saturating_add(1);
        self.open_at = Some(now + pause);
        self.remove_stream(place, now);
    }

    /// The clocks say that time has passed that was not counted: no answer to an earlier renewal
    /// says until when a lease lives.
    pub(crate) fn clocks_jumped(&mut self, now: Instant) {
        let ids: Vec<LeaseId> = self.leases.keys().copied().collect();
        for id in ids {
            self.generation += 1;
            if let Some(lease) = self.leases.get_mut(&id) {
                lease.generation = self.generation;
                lease.expires = None;
            }
            self.set_send(id, Some(now));
            self.turn(id, now);
        }
    }

    /// The server has answered a renewal with so many seconds.
    ///
    /// INVARIANT: a lease is known to live for its time-to-live from when the renewal was *sent*:
    /// the server counted from a moment after that, whenever its answer came. Of several
    /// renewals under way the oldest counts.
    pub(crate) fn answered(
        &mut self,
        number: StreamNumber,
        id: LeaseId,
        seconds: i64,
        now: Instant,
    ) {
        let Some(place) = self.streams.iter().position(|one| one.number == number) else {
            return;
        };
        let first = !self.streams[place].is_proven();
        let Some(asked) = self.streams[place].take(id, now) else {
            // Nobody has asked: no reason to believe it.
            return;
        };
        if first {
            // The time that another server took says nothing of this one.
            self.patience = Patience::default();
        }
        self.patience
            .answered(now.saturating_duration_since(asked.sent));
        self.proven = true;
        self.failures = 0;
        if self.streams.len() > 1 {
            // The first answer decides which stream stays.
            self.closes.push_back(self.streams[1 - place].number);
            self.remove_stream(1 - place, now);
        }
        let Some(lease) = self.leases.get(&id) else {
            return;
        };
        if lease.generation != asked.generation {
            self.set_limit(id);
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
        self.set_send(id, Some(due));
        self.set_limit(id);
        self.turn(id, now);
    }

    /// What is to be done now. `ready` says whether a renewal could leave on a stream at once.
    pub(crate) fn next(&mut self, now: Instant, ready: impl Fn(StreamNumber) -> bool) -> Step {
        if let Some(number) = self.closes.pop_front() {
            return Step::Close(number);
        }
        if let Some(step) = self.next_tell(now) {
            return step;
        }
        if self.leases.is_empty() {
            self.close_streams();
            return match self.closes.pop_front() {
                Some(number) => Step::Close(number),
                None => Step::Rest(None),
            };
        }
        let stream = match self.next_stream(now) {
            Step::Rest(until) => until,
            step => return step,
        };
        let send = match self.next_send(now, ready) {
            Step::Rest(until) => until,
            step => return step,
        };
        let turn = self.turns.first().map(|(at, _)| *at);
        Step::Rest([turn, stream, send].into_iter().flatten().min())
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

    /// Opens a stream where one is wanted, and finds those that are silent.
    fn next_stream(&mut self, now: Instant) -> Step {
        let limit = self.limit(now);
        if limit.is_some_and(|limit| limit <= now) {
            return self.overdue(now);
        }
        let wanted = match self.streams.as_slice() {
            [] => true,
            [only] => only.is_silent(),
            _ => false,
        };
        match self.open_at.filter(|at| *at > now) {
            _ if !wanted => Step::Rest(limit),
            Some(at) => Step::Rest(Some(at)),
            None => {
                self.streams_opened += 1;
                let number = StreamNumber(self.streams_opened);
                self.streams.push(Stream::new(number, now));
                Step::Open(number)
            }
        }
    }

    /// A renewal is overdue on the newest stream.
    fn overdue(&mut self, now: Instant) -> Step {
        self.patience.silent();
        let second = self.streams.len() > 1;
        let lost = self.has_lost_answer();
        // INVARIANT: it was this stream that had a limit.
        let Some(stream) = self.streams.last_mut() else {
            return Step::Rest(None);
        };
        let number = stream.number;
        stream.set_silent();
        if second || lost {
            self.closes.push_back(number);
            self.remove_stream(self.streams.len() - 1, now);
        }
        Step::Silent(number)
    }

    /// Whether the overdue renewal was passed over by the server: waiting for it is no use.
    fn has_lost_answer(&self) -> bool {
        let lost = || {
            let stream = self.streams.last()?;
            let (_, id) = stream.first_limit()?;
            let sent = stream.oldest(id, self.leases.get(&id)?.generation)?;
            Some(stream.has_passed(sent))
        };
        lost().unwrap_or(false)
    }

    /// When a renewal on the newest stream is overdue, unless that was found already.
    ///
    /// INVARIANT: a stream is not silent while anything is answered on it: a server that gets on
    /// with the renewals of ten thousand leases is not asked for all of them again.
    fn limit(&mut self, now: Instant) -> Option<Instant> {
        loop {
            let stream = self.streams.last()?;
            if !stream.is_open() || stream.is_silent() {
                return None;
            }
            let (limit, id) = stream.first_limit()?;
            if limit > now {
                return Some(limit);
            }
            let later = self.limit_of(stream, id);
            if later.is_some_and(|later| later <= now) {
                return later;
            }
            self.streams.last_mut()?.set_limit(id, later);
        }
    }

    /// When the oldest renewal of a lease is overdue on a stream.
    fn limit_of(&self, stream: &Stream, id: LeaseId) -> Option<Instant> {
        let lease = self.leases.get(&id)?;
        let sent = stream.oldest(id, lease.generation)?;
        let overdue = lease.overdue(sent, &self.patience, self.proven, stream.round_trip);
        if stream.has_passed(sent) {
            return Some(overdue);
        }
        Some(overdue.max(stream.heard() + lease.distance()))
    }

    /// Notes on each stream when the oldest renewal of a lease is overdue.
    fn set_limit(&mut self, id: LeaseId) {
        for place in 0..self.streams.len() {
            let limit = self.limit_of(&self.streams[place], id);
            self.streams[place].set_limit(id, limit);
        }
    }

    fn next_send(&mut self, now: Instant, ready: impl Fn(StreamNumber) -> bool) -> Step {
        let newest = self.streams.iter().rposition(Stream::is_open);
        let Some(place) = newest.filter(|place| ready(self.streams[*place].number)) else {
            return Step::Rest(None);
        };
        while let Some((at, id)) = self.sends.first().copied() {
            if at > now {
                return Step::Rest(Some(at));
            }
            if self.send(place, id, now) {
                return Step::Send(self.streams[place].number, id);
            }
        }
        Step::Rest(None)
    }

    /// Notes a renewal as sent; says whether it may be sent at all.
    fn send(&mut self, place: usize, id: LeaseId, now: Instant) -> bool {
        let stream = &self.streams[place];
        let Some(lease) = self.leases.get_mut(&id) else {
            return false;
        };
        let depth = lease.depth(stream.round_trip);
        let unanswered = stream.unanswered(id, lease.generation);
        if unanswered >= depth {
            self.set_send(id, None);
            return false;
        }
        lease.tries = lease.tries.saturating_add(1);
        lease.sent = Some(now);
        let asked = Asked {
            sent: now,
            generation: lease.generation,
        };
        let next = (unanswered + 1 < depth).then(|| now + lease.distance());
        let overdue = lease.overdue(now, &self.patience, self.proven, stream.round_trip);
        self.streams[place].asked(id, asked, overdue);
        self.set_send(id, next);
        true
    }

    /// A renewal of the lease went out on a stream that may not answer it.
    fn send_again(&mut self, id: LeaseId, now: Instant) {
        let Some(lease) = self.leases.get(&id) else {
            return;
        };
        let again = lease.sent.map_or(now, |sent| sent + lease.gap()).max(now);
        let sooner = lease.send.map_or(again, |send| send.min(again));
        self.set_send(id, Some(sooner));
    }

    /// Removes a stream; what it has not answered is asked again on the next one.
    fn remove_stream(&mut self, place: usize, now: Instant) {
        let stream = self.streams.remove(place);
        for id in stream.waiting() {
            self.send_again(id, now);
        }
    }

    fn close_streams(&mut self) {
        let numbers = self.streams.drain(..).map(|stream| stream.number);
        self.closes.extend(numbers);
    }

    fn lose(&mut self, id: LeaseId, end: LeaseEnd) {
        if self.leases.contains_key(&id) {
            self.forget(id);
            self.tells.push_back((id, Standing::Lost(end)));
        }
    }

    fn forget(&mut self, id: LeaseId) {
        self.set_send(id, None);
        for stream in &mut self.streams {
            stream.set_limit(id, None);
        }
        if let Some(lease) = self.leases.remove(&id) {
            if let Some(turn) = lease.turn {
                self.turns.remove(&(turn, id));
            }
            self.tells.retain(|(other, _)| *other != id);
        }
    }

    /// Looks at what is known of a lease, and notes when to look again.
    fn turn(&mut self, id: LeaseId, now: Instant) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let (standing, turn) = lease.standing(now);
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
