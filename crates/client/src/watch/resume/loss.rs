//! PURE: streams that come and go, and what is left of a lost one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Note, Phase, Stream, Watches};
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

/// How long a creation may wait for its answer while nothing comes on its stream.
const SILENCE: Duration = Duration::from_secs(5);

/// How long it may wait while other messages come: a server may be busy with a long history.
const BUSY: Duration = Duration::from_secs(30);

/// The longest of these waits: they grow while streams are given up.
const LONGEST: Duration = Duration::from_secs(300);

impl Watches {
    /// A stream is there; the one before it is gone.
    pub(crate) fn opened(&mut self, now: Instant) {
        self.stream = Stream::Open(now);
        self.opened = Some(now);
        self.answered = Some(now);
    }

    /// The stream is gone, or could not be opened.
    pub(crate) fn failed(&mut self, error: Error, now: Instant) {
        if matches!(self.stream, Stream::Over) {
            return;
        }
        // ORDER: which watches the stream carried is forgotten with it.
        if error.kind() == ErrorKind::MessageTooLarge {
            self.split_messages(&error);
        }
        self.drop_stream();
        self.close = false;
        self.stream = Stream::Closed(None);
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
        self.stream = Stream::Closed(pause);
    }

    /// When the stream is given up because the oldest creation has no answer.
    ///
    /// Answers come in order. So the wait begins when the creation was sent, or when the one
    /// before it was answered. A creation that has made streams be given up waits longer.
    pub(super) fn answer_due(&self, heard: Instant) -> Option<Instant> {
        let (silent, busy) = self.answers_due(heard)?;
        Some(silent.min(busy))
    }

    /// The same where nothing comes, and where other messages come.
    fn answers_due(&self, heard: Instant) -> Option<(Instant, Instant)> {
        let oldest = self.asked.front()?;
        let first = self.answered.map_or(oldest.sent, |at| at.max(oldest.sent));
        let entry = self.entries.get(&oldest.number);
        let doubled = 1 << entry.map_or(0, |entry| entry.unanswered.min(8));
        // etcd sends nothing while it makes a piece of many events.
        let silence = if self.in_pieces { LONGEST } else { SILENCE };
        let silent = heard.max(first) + self.answer_timeout.limit(silence, LONGEST) * doubled;
        let busy = first + self.answer_timeout.limit(BUSY.max(silence), LONGEST) * doubled;
        Some((silent, busy))
    }

    /// The oldest creation was answered.
    ///
    /// That shows that the server is not slow only on a stream that has lasted longer than the
    /// last one that was given up: watches are created quickly before a long history begins.
    pub(super) fn has_answered(&mut self, sent: Instant, now: Instant) {
        let limit = self.answer_timeout.limit(SILENCE, LONGEST);
        if self.opened.is_some_and(|opened| opened + limit <= now) {
            self.answer_timeout.answered(now.duration_since(sent));
        }
        self.answered = Some(now);
    }

    /// A long message is on its way: the server is not silent.
    pub(crate) fn delayed(&mut self, now: Instant) {
        if matches!(self.stream, Stream::Open(_)) {
            self.answered = Some(now);
        }
    }

    /// Gives the stream up because the oldest creation has no answer; says whether nothing else
    /// has come either.
    pub(super) fn unanswered(&mut self, heard: Instant, now: Instant) -> bool {
        let due = self.answers_due(heard);
        let is_silent = due.is_some_and(|(silent, _)| silent <= now);
        self.answer_timeout.silent();
        let oldest = self.asked.front().map(|asked| asked.number);
        if let Some(entry) = oldest.and_then(|number| self.entries.get_mut(&number)) {
            entry.unanswered = entry.unanswered.saturating_add(1);
        }
        // INVARIANT: no stream carries again the same request for pieces that may have made
        // this one silent.
        for entry in self.entries.values_mut() {
            entry.whole |= matches!(entry.phase, Phase::Live(_)) && !entry.at_head;
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
        self.stream = Stream::Closed(None);
    }

    /// Forgets the stream; its watches are to be created again, each from where it was.
    ///
    /// INVARIANT: nothing of a stream outlives it: neither IDs nor half a revision.
    pub(super) fn drop_stream(&mut self) {
        self.ids.clear();
        self.asked.clear();
        self.cancels.clear();
        self.waiting.clear();
        self.last_id = 0;
        self.in_pieces = false;
        self.drop_progress();
        let mut order = Vec::new();
        for (number, entry) in &mut self.entries {
            entry.course.restart();
            entry.lowered = 0;
            entry.at_head = false;
            if let Phase::Live(_) | Phase::Asked | Phase::Waiting = entry.phase {
                // Whose turn did not come is first on the next stream: where streams are short,
                // the last of many would never be served. A creation that was not answered
                // comes last: it may be the one that keeps the server from all others.
                let is_live = matches!(entry.phase, Phase::Live(_));
                order.push((entry.unanswered, is_live, *number));
                entry.phase = Phase::Waiting;
            }
        }
        order.sort_unstable();
        self.waiting
            .extend(order.into_iter().map(|(.., number)| number));
    }

    /// Tells the owners that their watches wait to be in force again.
    pub(super) fn interrupt(&mut self, error: &Arc<Error>, now: Instant) {
        let mut owners = Vec::new();
        for entry in self.entries.values_mut() {
            let lost = entry.told && entry.phase == Phase::Waiting && !entry.missing;
            let Some(owner) = self.owners.get_mut(&entry.owner).filter(|_| lost) else {
                continue;
            };
            entry.missing = true;
            owner.missing += 1;
            if !std::mem::replace(&mut owner.interrupted, true) {
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
        let carried = |entry: &Entry| matches!(entry.phase, Phase::Live(_) | Phase::Asked);
        let mut suspects = self.of(|entry| carried(entry) && !entry.at_head);
        if suspects.is_empty() {
            suspects = self.of(carried);
        }
        for number in suspects {
            let Some(entry) = self.entries.get_mut(&number) else {
                continue;
            };
            entry.pieces = true;
            entry.whole = false;
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
            entry.appealed = fresh && entry.phase == Phase::Waiting;
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
