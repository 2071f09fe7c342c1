//! PURE: one stream of renewals: its unanswered renewals, and which of them is overdue.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::kv::LeaseId;

/// Maximum number of recorded renewals of one lease on one stream.
const MOST_ASKED: usize = 8;

/// Identifies a stream; a client never uses the number of a stream again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamNumber(pub(super) u64);

/// A renewal without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentRenewal {
    pub(super) sent: Instant,
    /// Generation of the lease when the renewal was sent.
    pub(super) generation: u64,
}

/// A stream of renewals.
///
/// ```text
///            opened              a renewal is overdue
///  Opening ─────────► Open ──────────────────────────► Silent
///                      ▲            an answer             │
///                      └──────────────────────────────────┘
/// ```
///
/// A silent stream is not ended: another one is opened beside it, and the first answer on either
/// decides which of the two stays.
#[derive(Debug)]
pub(super) struct StreamState {
    pub(super) number: StreamNumber,
    phase: StreamPhase,
    /// When the last answer came, or else when the stream was opened.
    heard: Instant,
    /// Round trip of the connection below.
    pub(super) round_trip: Duration,
    /// When the latest of the answered renewals was sent.
    answered: Option<Instant>,
    asked: HashMap<LeaseId, VecDeque<SentRenewal>>,
    /// When a renewal of each lease is overdue; contains every kept lease of `asked`.
    limits: BTreeSet<(Instant, LeaseId)>,
    limit_of: HashMap<LeaseId, Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamPhase {
    Opening,
    Open,
    Silent,
}

impl StreamState {
    pub(super) fn new(number: StreamNumber, now: Instant) -> Self {
        Self {
            number,
            phase: StreamPhase::Opening,
            heard: now,
            round_trip: Duration::ZERO,
            answered: None,
            asked: HashMap::new(),
            limits: BTreeSet::new(),
            limit_of: HashMap::new(),
        }
    }

    pub(super) fn opened(&mut self, round_trip: Duration, now: Instant) {
        self.phase = StreamPhase::Open;
        self.heard = now;
        self.round_trip = round_trip;
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase != StreamPhase::Opening
    }

    pub(super) fn is_silent(&self) -> bool {
        self.phase == StreamPhase::Silent
    }

    pub(super) fn set_silent(&mut self) {
        self.phase = StreamPhase::Silent;
    }

    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Records a renewal, which is overdue at `limit`.
    pub(super) fn asked(&mut self, id: LeaseId, asked: SentRenewal, limit: Instant) {
        let queue = self.asked.entry(id).or_default();
        // A renewal that is not recorded only makes the client assume less.
        if queue.len() < MOST_ASKED {
            queue.push_back(asked);
        }
        if !self.limit_of.contains_key(&id) {
            self.set_limit(id, Some(limit));
        }
    }

    /// Takes the oldest renewal of a lease, as the server has answered it.
    pub(super) fn take(&mut self, id: LeaseId, now: Instant) -> Option<SentRenewal> {
        let queue = self.asked.get_mut(&id)?;
        let asked = queue.pop_front();
        if queue.is_empty() {
            self.asked.remove(&id);
        }
        self.set_limit(id, None);
        self.heard = now;
        self.answered = self.answered.max(asked.map(|asked| asked.sent));
        self.phase = StreamPhase::Open;
        asked
    }

    /// Returns whether any renewal was answered.
    pub(super) fn is_proven(&self) -> bool {
        self.answered.is_some()
    }

    /// Returns when the oldest unanswered renewal of this generation was sent.
    pub(super) fn oldest(&self, id: LeaseId, generation: u64) -> Option<Instant> {
        let mut queue = self.asked.get(&id)?.iter();
        let oldest = queue.find(|asked| asked.generation == generation)?;
        Some(oldest.sent)
    }

    /// Returns the number of unanswered renewals of this generation.
    pub(super) fn unanswered(&self, id: LeaseId, generation: u64) -> usize {
        self.asked.get(&id).map_or(0, |queue| {
            let same = queue.iter().filter(|asked| asked.generation == generation);
            same.count()
        })
    }

    /// Returns whether the server has answered a renewal that was sent after `sent`. A server
    /// answers in the order of the renewals, so no answer to the renewal of `sent` will come.
    pub(super) fn has_passed(&self, sent: Instant) -> bool {
        self.answered > Some(sent)
    }

    /// Returns the leases with unanswered renewals.
    pub(super) fn waiting(&self) -> Vec<LeaseId> {
        self.asked.keys().copied().collect()
    }

    pub(super) fn first_limit(&self) -> Option<(Instant, LeaseId)> {
        self.limits.first().copied()
    }

    pub(super) fn set_limit(&mut self, id: LeaseId, limit: Option<Instant>) {
        let before = match limit {
            Some(limit) => self.limit_of.insert(id, limit),
            None => self.limit_of.remove(&id),
        };
        if let Some(before) = before {
            self.limits.remove(&(before, id));
        }
        if let Some(limit) = limit {
            self.limits.insert((limit, id));
        }
    }
}
