//! PURE: the streams of renewals: when each is opened, used and closed.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::renewal::Lease;
use super::unanswered::{SentRenewal, StreamNumber, StreamState};
use crate::adaptive_timeout::AdaptiveTimeout;
use crate::backoff::Backoff;
use crate::kv::LeaseId;

/// Pause after the first of several streams in a row that ended without an answer. The pause
/// doubles with each further stream, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An instruction to the driver about the streams.
pub(super) enum StreamStep {
    /// Open a stream.
    Open(StreamNumber),
    /// Report that a renewal is overdue on this stream. If the stream was dropped for that, these
    /// leases had renewals without an answer on it.
    Silent(StreamNumber, Vec<LeaseId>),
    /// Wait until then, or for an event.
    Rest(Option<Instant>),
}

/// The streams that renew the leases of a client.
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
/// A stream whose answers are overdue stays while another one is tried, so that the answers of a
/// slow server still count. A second stream that is silent, too, is replaced by a third.
#[derive(Debug)]
pub(super) struct Streams {
    /// The stream in use, followed by the one that is tried instead.
    ///
    /// INVARIANT: there are at most two, and the first of two is silent: `next` opens no other.
    streams: Vec<StreamState>,
    /// Dropped streams that the driver has not closed yet.
    closes: VecDeque<StreamNumber>,
    /// Number of streams so far.
    count: u64,
    /// No stream is opened before this moment.
    open_at: Option<Instant>,
    answer_timeout: AdaptiveTimeout,
    /// Whether any renewal was answered.
    proven: bool,
    /// Pauses after streams in a row that ended without an answer.
    backoff: Backoff,
    random: fastrand::Rng,
}

impl Streams {
    pub(super) fn new(random: fastrand::Rng) -> Self {
        Self {
            streams: Vec::new(),
            closes: VecDeque::new(),
            count: 0,
            open_at: None,
            answer_timeout: AdaptiveTimeout::default(),
            proven: false,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            random,
        }
    }

    /// Returns whether there is no stream, and none to close.
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.closes.is_empty()
    }

    /// Drops all streams.
    pub(super) fn close(&mut self) {
        let numbers = self.streams.drain(..).map(|stream| stream.number);
        self.closes.extend(numbers);
    }

    /// Takes the next stream for the driver to close.
    pub(super) fn next_close(&mut self) -> Option<StreamNumber> {
        self.closes.pop_front()
    }

    /// Returns the newest stream that accepts renewals.
    pub(super) fn newest_open(&self) -> Option<StreamNumber> {
        let newest = self.streams.iter().rfind(|stream| stream.is_open())?;
        Some(newest.number)
    }

    /// Records that the stream is open; `round_trip` is that of its connection. Returns the leases
    /// with unanswered renewals on the other stream; they are sent on this one again.
    pub(super) fn opened(
        &mut self,
        number: StreamNumber,
        round_trip: Duration,
        now: Instant,
    ) -> Vec<LeaseId> {
        let Some(place) = self.place(number) else {
            return Vec::new();
        };
        self.streams[place].opened(round_trip, now);
        let other = self.streams.iter().find(|one| one.number != number);
        other.map(StreamState::waiting).unwrap_or_default()
    }

    /// Records that the stream has ended, or could not be opened. Returns the leases with
    /// unanswered renewals on it.
    pub(super) fn failed(&mut self, number: StreamNumber, now: Instant) -> Vec<LeaseId> {
        let Some(place) = self.place(number) else {
            return Vec::new();
        };
        let pause = self.backoff.next(self.random.f64());
        self.open_at = Some(now + pause);
        self.streams.remove(place).waiting()
    }

    /// Records an answer to a renewal of this lease. Returns the renewal, and the leases with
    /// unanswered renewals on the stream that is dropped because of the answer. Returns `None` if
    /// there was no renewal.
    pub(super) fn answered(
        &mut self,
        number: StreamNumber,
        id: LeaseId,
        now: Instant,
    ) -> Option<(SentRenewal, Vec<LeaseId>)> {
        let place = self.place(number)?;
        let first = !self.streams[place].is_proven();
        let asked = self.streams[place].take(id, now)?;
        if first {
            // The answer times of another server say nothing about this server.
            self.answer_timeout = AdaptiveTimeout::default();
        }
        self.answer_timeout
            .answered(now.saturating_duration_since(asked.sent));
        self.proven = true;
        self.backoff.reset();
        let mut waiting = Vec::new();
        if self.streams.len() > 1 {
            // The first answer decides which stream stays.
            waiting = self.drop_stream(1 - place);
        }
        Some((asked, waiting))
    }

    /// Opens a stream if one is needed, and detects an overdue renewal.
    pub(super) fn next(&mut self, leases: &HashMap<LeaseId, Lease>, now: Instant) -> StreamStep {
        let limit = self.limit(leases, now);
        if limit.is_some_and(|limit| limit <= now) {
            return self.overdue(leases);
        }
        let wanted = match self.streams.as_slice() {
            [] => true,
            [only] => only.is_silent(),
            _ => false,
        };
        match self.open_at.filter(|at| *at > now) {
            _ if !wanted => StreamStep::Rest(limit),
            Some(at) => StreamStep::Rest(Some(at)),
            None => {
                self.count += 1;
                let number = StreamNumber(self.count);
                self.streams.push(StreamState::new(number, now));
                StreamStep::Open(number)
            }
        }
    }

    /// Returns whether a renewal of this lease may be sent on the newest open stream, in addition
    /// to its unanswered ones there.
    pub(super) fn takes(&self, id: LeaseId, lease: &Lease) -> bool {
        let newest = self.streams.iter().rfind(|stream| stream.is_open());
        newest.is_some_and(|stream| {
            stream.unanswered(id, lease.generation) < lease.depth(stream.round_trip)
        })
    }

    /// Records a renewal of this lease as sent on the newest open stream.
    pub(super) fn sent(&mut self, id: LeaseId, lease: &Lease, now: Instant) {
        let newest = self.streams.iter_mut().rfind(|stream| stream.is_open());
        if let Some(stream) = newest {
            let asked = SentRenewal {
                sent: now,
                generation: lease.generation,
            };
            let overdue = lease.overdue(now, &self.answer_timeout, self.proven, stream.round_trip);
            stream.asked(id, asked, overdue);
        }
    }

    /// Records on each stream when the oldest renewal of a lease is overdue.
    pub(super) fn set_limit(&mut self, id: LeaseId, lease: &Lease) {
        for place in 0..self.streams.len() {
            let limit = self.limit_of(&self.streams[place], id, lease);
            self.streams[place].set_limit(id, limit);
        }
    }

    /// Removes a lease that is no longer kept: its renewals are never overdue.
    pub(super) fn forget(&mut self, id: LeaseId) {
        for stream in &mut self.streams {
            stream.set_limit(id, None);
        }
    }

    fn place(&self, number: StreamNumber) -> Option<usize> {
        self.streams.iter().position(|one| one.number == number)
    }

    /// Drops a stream that has not ended. Returns the leases with unanswered renewals on it.
    fn drop_stream(&mut self, place: usize) -> Vec<LeaseId> {
        let stream = self.streams.remove(place);
        self.closes.push_back(stream.number);
        stream.waiting()
    }

    /// Marks the newest stream as silent, as a renewal is overdue on it.
    fn overdue(&mut self, leases: &HashMap<LeaseId, Lease>) -> StreamStep {
        self.answer_timeout.silent();
        let second = self.streams.len() > 1;
        let lost = self.has_lost_answer(leases);
        // INVARIANT: the limit that has passed belongs to this stream.
        let Some(stream) = self.streams.last_mut() else {
            return StreamStep::Rest(None);
        };
        let number = stream.number;
        stream.set_silent();
        let mut waiting = Vec::new();
        if second || lost {
            waiting = self.drop_stream(self.streams.len() - 1);
        }
        StreamStep::Silent(number, waiting)
    }

    /// Returns whether the server has passed over the overdue renewal, so that no answer to it will
    /// come.
    fn has_lost_answer(&self, leases: &HashMap<LeaseId, Lease>) -> bool {
        let lost = || {
            let stream = self.streams.last()?;
            let (_, id) = stream.first_limit()?;
            let sent = stream.oldest(id, leases.get(&id)?.generation)?;
            Some(stream.has_passed(sent))
        };
        lost().unwrap_or(false)
    }

    /// Returns when a renewal on the newest stream is overdue, unless that was detected already.
    ///
    /// INVARIANT: a stream is not silent while any renewal is answered on it: a server that makes
    /// progress with the renewals of ten thousand leases does not get all of them again.
    fn limit(&mut self, leases: &HashMap<LeaseId, Lease>, now: Instant) -> Option<Instant> {
        loop {
            let stream = self.streams.last()?;
            if !stream.is_open() || stream.is_silent() {
                return None;
            }
            let (limit, id) = stream.first_limit()?;
            if limit > now {
                return Some(limit);
            }
            let lease = leases.get(&id);
            let later = lease.and_then(|lease| self.limit_of(stream, id, lease));
            if later.is_some_and(|later| later <= now) {
                return later;
            }
            self.streams.last_mut()?.set_limit(id, later);
        }
    }

    /// Returns when the oldest renewal of a lease is overdue on a stream.
    fn limit_of(&self, stream: &StreamState, id: LeaseId, lease: &Lease) -> Option<Instant> {
        let sent = stream.oldest(id, lease.generation)?;
        let overdue = lease.overdue(sent, &self.answer_timeout, self.proven, stream.round_trip);
        if stream.has_passed(sent) {
            return Some(overdue);
        }
        Some(overdue.max(stream.heard() + lease.distance()))
    }
}
