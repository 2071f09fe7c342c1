//! PURE: streams that come and go, and what is left of a lost one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::creations::AnswerDue;
use super::{Note, StreamState, WatchPhase, Watches};
use crate::error::{Error, ErrorKind};
use crate::watch::end::WatchEnd;
use crate::watch::entry::Entry;

/// Pauses between two streams of which the first did not last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A stream that has lasted so long may be followed by another one at once.
const STEADY: Duration = Duration::from_secs(1);

/// How many streams in a row may end because of messages that are too large for a watch.
const OVERSIZED: u32 = 3;

impl Watches {
    /// A stream is there; the one before it is gone.
    pub(crate) fn opened(&mut self, now: Instant) {
        self.stream = StreamState::Open(now);
        self.opened = Some(now);
        self.creations.restart_wait(now);
    }

    /// The stream is gone, or could not be opened.
    pub(crate) fn failed(&mut self, error: Error, now: Instant) {
        if matches!(self.stream, StreamState::Over) {
            return;
        }
        // ORDER: which watches the stream carried is forgotten with it.
        if error.kind() == ErrorKind::MessageTooLarge {
            self.split_messages(&error);
        }
        self.drop_stream();
        self.close = false;
        self.stream = StreamState::Closed(None);
        if error.kind() == ErrorKind::Closed {
            return self.shut();
        }
        let error = Arc::new(error);
        let lasted = self
            .opened
            .take()
            .is_some_and(|since| since + STEADY <= now);
        if lasted {
            self.failures = 0;
        }
        if is_hopeless(error.kind()) {
            self.refuse_new(&error);
        }
        self.interrupt(&error, now);
        self.failures = self.failures.saturating_add(1);
        let pause = (self.failures > 1).then(|| now + self.pause());
        self.stream = StreamState::Closed(pause);
    }

    /// When the stream is given up because the oldest creation has no answer.
    pub(super) fn answer_due(&self, heard: Instant) -> Option<AnswerDue> {
        let entries = &self.entries;
        let unanswered = |number| entries.get(&number).map_or(0, |entry| entry.unanswered);
        self.creations.answer_due(heard, unanswered)
    }

    /// A long message is on its way: the server is not silent.
    pub(crate) fn delayed(&mut self, now: Instant) {
        if matches!(self.stream, StreamState::Open(_)) {
            self.creations.restart_wait(now);
        }
    }

    /// Gives the stream up because the oldest creation has no answer; says whether nothing else
    /// has come either.
    pub(super) fn unanswered(&mut self, heard: Instant, now: Instant) -> bool {
        let due = self.answer_due(heard);
        let is_silent = due.is_some_and(|due| due.silent <= now);
        let oldest = self.creations.timed_out();
        if let Some(entry) = oldest.and_then(|number| self.entries.get_mut(&number)) {
            entry.unanswered = entry.unanswered.saturating_add(1);
        }
        // INVARIANT: no stream carries again the same request for pieces that may have made
        // this one silent.
        for entry in self.entries.values_mut() {
            entry.refuses_fragments |= entry.phase.is_live() && !entry.is_synced;
        }
        let error = Error::new(ErrorKind::Timeout, "the watch stream is not answered");
        self.failed(error, now);
        is_silent
    }

    /// The server has broken a rule: the stream starts over.
    pub(super) fn violated(&mut self, what: &'static str, now: Instant) {
        self.fail(Error::new(ErrorKind::Protocol, what), now);
    }

    /// Gives the stream up.
    pub(super) fn fail(&mut self, error: Error, now: Instant) {
        self.failed(error, now);
        self.close = true;
    }

    pub(super) fn close_stream(&mut self) {
        self.drop_stream();
        self.close = true;
        self.stream = StreamState::Closed(None);
    }

    /// Forgets the stream; its watches are to be created again, each from where it was.
    ///
    /// INVARIANT: nothing of a stream outlives it: neither IDs nor half a revision.
    pub(super) fn drop_stream(&mut self) {
        self.drop_progress();
        let mut order = Vec::new();
        for (number, entry) in &mut self.entries {
            entry.assembler.restart();
            entry.lowered = 0;
            entry.is_synced = false;
            if let WatchPhase::Live(_) | WatchPhase::Asked | WatchPhase::Waiting = entry.phase {
                // Whose turn did not come is first on the next stream: where streams are short,
                // the last of many would never be served. A creation that was not answered
                // comes last: it may be the one that keeps the server from all others.
                let is_live = entry.phase.is_live();
                order.push((entry.unanswered, is_live, *number));
                entry.phase = WatchPhase::Waiting;
            }
        }
        order.sort_unstable();
        self.creations
            .restart(order.into_iter().map(|(.., number)| number));
    }

    /// Tells the owners that their watches wait to be in force again.
    pub(super) fn interrupt(&mut self, error: &Arc<Error>, now: Instant) {
        let mut owners = Vec::new();
        for entry in self.entries.values_mut() {
            let lost = entry.was_created && entry.phase == WatchPhase::Waiting && !entry.missing;
            if !lost {
                continue;
            }
            entry.missing = true;
            if self.owners.lost_watch(entry.owner) {
                owners.push(entry.owner);
            }
        }
        owners.sort_unstable();
        for owner in owners {
            let (since, error) = (now, Arc::clone(error));
            self.tell(owner, Note::Disconnected { since, error });
        }
    }

    /// Lets the watches of the stream that a message was too large for ask for pieces.
    ///
    /// The error does not tell which watch the message was for. A watch that has its history
    /// behind it is the least likely one, so it is left out as long as there are others. A watch
    /// that is never served, in pieces either, ends.
    fn split_messages(&mut self, error: &Error) {
        let carried =
            |entry: &Entry| matches!(entry.phase, WatchPhase::Live(_) | WatchPhase::Asked);
        let mut suspects = self.of(|entry| carried(entry) && !entry.is_synced);
        if suspects.is_empty() {
            suspects = self.of(carried);
        }
        for number in suspects {
            let Some(entry) = self.entries.get_mut(&number) else {
                continue;
            };
            entry.needs_fragments = true;
            entry.refuses_fragments = false;
            entry.oversized += 1;
            if entry.oversized >= OVERSIZED {
                let reason = error.message().to_owned();
                self.end(number, WatchEnd::Cancelled { reason });
            }
        }
    }

    pub(super) fn pause(&mut self) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10));
        let longest = doubled.min(LONGEST_PAUSE);
        longest.mul_f64(0.5 + self.random.f64() / 2.0)
    }

    /// Whether the next stream needs another token.
    // ORDER: what waits now is created before the token gets old; what comes later may not be.
    pub(super) fn open_anew(&mut self) -> bool {
        let fresh = std::mem::take(&mut self.wants_fresh);
        for entry in self.entries.values_mut() {
            entry.token_refreshed = fresh && entry.phase == WatchPhase::Waiting;
        }
        fresh
    }
}

/// Errors that trying again does not mend: who waits for a watch is told.
pub(super) fn is_hopeless(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::AuthenticationFailed
            | ErrorKind::Config
            | ErrorKind::Unimplemented
            // A key is too long; whose, it does not say.
            | ErrorKind::RequestTooLarge
    )
}

/// Errors of a call that has tried all the tokens there are.
pub(super) fn wants_token(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidToken | ErrorKind::StaleToken | ErrorKind::TokenMissing
    )
}
