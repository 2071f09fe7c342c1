//! PURE: streams that come and go, and what is left of a lost one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Note, Phase, Stream, Watches};
use crate::error::{Error, ErrorKind};
use crate::watch::end::WatchEnd;

/// Pauses between two streams of which the first did not last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A stream that has lasted so long may be followed by another one at once.
const STEADY: Duration = Duration::from_secs(1);

/// How often in a row a stream may end because a message is too large.
const OVERSIZED: u32 = 3;

impl Watches {
    /// A stream is there; the one before it is gone.
    pub(crate) fn opened(&mut self, now: Instant) {
        self.stream = Stream::Open(now);
        self.opened = Some(now);
        self.progress.asked = Some(now);
    }

    /// Whether this stream's server tells progress only when everything is delivered.
    pub(crate) fn judged(&mut self, exact: bool) {
        self.progress.exact = exact;
    }

    /// The stream is gone, or could not be opened.
    pub(crate) fn failed(&mut self, error: Error, now: Instant) {
        if matches!(self.stream, Stream::Over) {
            return;
        }
        self.drop_stream();
        self.close = false;
        self.stream = Stream::Closed(None);
        match error.kind() {
            ErrorKind::Closed => return self.shut(),
            // Pieces of a message are smaller than a whole one.
            ErrorKind::MessageTooLarge => self.split_messages(&error),
            _ => {}
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
        self.progress.unanswered = false;
        self.progress.asked = None;
        self.progress.exact = false;
        let mut order = Vec::new();
        for (number, entry) in &mut self.entries {
            entry.course.restart();
            if let Phase::Live(_) | Phase::Asked | Phase::Waiting = entry.phase {
                // Whose turn did not come is first on the next stream: where streams are short,
                // the last of many would never be served.
                order.push((matches!(entry.phase, Phase::Live(_)), *number));
                entry.phase = Phase::Waiting;
            }
        }
        order.sort_unstable();
        self.waiting
            .extend(order.into_iter().map(|(_, number)| number));
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

    /// From now on messages come in pieces, for those who wanted them whole. Whose message it
    /// was is not known: when pieces are too large as well, all watches end.
    pub(super) fn split_messages(&mut self, error: &Error) {
        self.oversized += 1;
        if self.oversized >= OVERSIZED {
            let reason = error.message().to_owned();
            return self.end_all(&WatchEnd::Cancelled { reason });
        }
        self.only_pieces = true;
        for entry in self.entries.values_mut() {
            entry.spec.fragment = true;
            entry.whole = false;
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
