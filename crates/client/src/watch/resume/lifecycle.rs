//! PURE: the stream of the watches, from its opening to its loss, and what remains of a lost one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::creations::AnswerDue;
use super::{Note, WatchPhase, Watches};
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind};
use crate::watch::end::WatchEnd;
use crate::watch::entry::Entry;

/// The bounds of the pauses before a stream is opened, or the store's revision is read again.
const FIRST_PAUSE: Duration = Duration::from_millis(40);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// After a stream that has lasted this long, the next one is opened without a pause.
const STEADY: Duration = Duration::from_secs(1);

/// The state of the stream.
///
/// ```text
///        a watch waits, and the pause is over            opened
/// Closed ------------------------------------> Opening ---------> Open
///   ^                                             |                 |
///   +---- failed, or no watches are left ---------+-----------------+
///
/// (any) ---- the client was closed ----> Over
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) enum WatchStreamState {
    /// There is no stream. The next one is not opened before this time.
    Closed(Option<Instant>),
    /// The driver opens a stream.
    Opening,
    /// The stream is open. The time is that of the opening, or of the last message.
    Open(Instant),
    /// The client was closed.
    Over,
}

/// The stream, and what the machine has learned for the next one.
#[derive(Debug)]
pub(super) struct StreamLifecycle {
    state: WatchStreamState,
    /// Whether the driver has to drop its stream.
    has_to_close: bool,
    /// The time of the last opening, until the stream fails.
    opened: Option<Instant>,
    backoff: Backoff,
    random: fastrand::Rng,
    /// The ID of the cluster that answers.
    cluster: Option<u64>,
    has_credentials: bool,
    /// Whether the next stream needs another token, because a watch was refused.
    needs_token: bool,
}

impl StreamLifecycle {
    pub(super) fn new(has_credentials: bool, seed: u64) -> Self {
        Self {
            state: WatchStreamState::Closed(None),
            has_to_close: false,
            opened: None,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            random: fastrand::Rng::with_seed(seed),
            cluster: None,
            has_credentials,
            needs_token: false,
        }
    }

    pub(super) fn state(&self) -> WatchStreamState {
        self.state
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, WatchStreamState::Open(_))
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, WatchStreamState::Over)
    }

    /// Whether there is no stream, and the driver has none to drop.
    pub(super) fn is_idle(&self) -> bool {
        let is_closed = matches!(
            self.state,
            WatchStreamState::Closed(_) | WatchStreamState::Over
        );
        is_closed && !self.has_to_close
    }

    /// The time of the last opening.
    pub(super) fn opened(&self) -> Option<Instant> {
        self.opened
    }

    /// Records a message. Returns false if no stream is open.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        let is_open = self.is_open();
        if is_open {
            self.state = WatchStreamState::Open(now);
        }
        is_open
    }

    /// Records that the driver has to drop the stream.
    fn close(&mut self) {
        self.state = WatchStreamState::Closed(None);
        self.has_to_close = true;
    }

    /// Returns once whether the driver has to drop the stream.
    pub(super) fn take_close(&mut self) -> bool {
        std::mem::take(&mut self.has_to_close)
    }

    /// Records that the stream has failed, and that there is nothing to drop.
    fn lost(&mut self) {
        self.state = WatchStreamState::Closed(None);
        self.has_to_close = false;
    }

    /// Records that the client was closed.
    pub(super) fn end(&mut self) {
        self.state = WatchStreamState::Over;
    }

    /// Begins the pause after a failure. There is none after a first failure, or after a stream that
    /// has lasted.
    fn back_off(&mut self, now: Instant) {
        let opened = self.opened.take();
        if opened.is_some_and(|opened| opened + STEADY <= now) {
            self.backoff.reset();
        }
        let pause = if self.backoff.is_reset() {
            self.backoff.next(0.0);
            None
        } else {
            Some(now + self.next_pause())
        };
        self.state = WatchStreamState::Closed(pause);
    }

    /// Returns the next pause of the back-off.
    pub(super) fn next_pause(&mut self) -> Duration {
        let random = self.random.f64();
        self.backoff.next(random)
    }

    /// Records the cluster that answers. Returns false if another one has answered before.
    pub(super) fn confirm_cluster(&mut self, cluster_id: u64) -> bool {
        let known = self.cluster.replace(cluster_id);
        known.is_none_or(|known| known == cluster_id)
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.has_credentials
    }

    pub(super) fn set_has_credentials(&mut self) {
        self.has_credentials = true;
    }

    /// Records that the next stream needs another token.
    pub(super) fn request_token(&mut self) {
        self.needs_token = true;
    }

    #[cfg(test)]
    pub(super) fn needs_token(&self) -> bool {
        self.needs_token
    }

    #[cfg(test)]
    pub(super) fn cluster(&self) -> Option<u64> {
        self.cluster
    }
}

impl Watches {
    /// Records that a stream is open. The one before it is gone.
    pub(crate) fn opened(&mut self, now: Instant) {
        self.stream.state = WatchStreamState::Open(now);
        self.stream.opened = Some(now);
        self.creations.restart_wait(now);
    }

    /// Records that the stream has failed, or could not be opened.
    pub(crate) fn failed(&mut self, error: Error, now: Instant) {
        if self.stream.is_over() {
            return;
        }
        // ORDER: this comes before the machine forgets which watches the stream carried.
        if error.kind() == ErrorKind::MessageTooLarge {
            self.request_fragments(&error);
        }
        self.drop_stream();
        self.stream.lost();
        if error.kind() == ErrorKind::Closed {
            return self.close();
        }
        let error = Arc::new(error);
        if is_hopeless(error.kind()) {
            self.refuse_new(&error);
        }
        self.interrupt(&error, now);
        self.stream.back_off(now);
    }

    /// Returns when the stream is given up because the oldest creation has no answer.
    pub(super) fn answer_due(&self, heard: Instant) -> Option<AnswerDue> {
        let entries = &self.entries;
        let unanswered = |watch| entries.get(&watch).map_or(0, |entry| entry.unanswered);
        self.creations.answer_due(heard, unanswered)
    }

    /// Records that a long message is on its way, so the server is not silent.
    pub(crate) fn delayed(&mut self, now: Instant) {
        if self.stream.is_open() {
            self.creations.restart_wait(now);
        }
    }

    /// Gives the stream up because the oldest creation has no answer. Returns whether no other message
    /// has come either.
    pub(super) fn unanswered(&mut self, heard: Instant, now: Instant) -> bool {
        let due = self.answer_due(heard);
        let is_silent = due.is_some_and(|due| due.silent <= now);
        let oldest = self.creations.timed_out();
        if let Some(entry) = oldest.and_then(|watch| self.entries.get_mut(&watch)) {
            entry.unanswered = entry.unanswered.saturating_add(1);
        }
        // INVARIANT: the next stream does not carry the same requests for fragments, which may have
        // made this one silent.
        for entry in self.entries.values_mut() {
            if entry.phase.is_live() && !entry.is_synced {
                entry.fragmentation.note_silence();
            }
        }
        let error = Error::new(ErrorKind::Timeout, "the watch stream is not answered");
        self.failed(error, now);
        is_silent
    }

    /// Gives the stream up because the server has violated the protocol.
    pub(super) fn violated(&mut self, what: &'static str, now: Instant) {
        self.fail(Error::new(ErrorKind::Protocol, what), now);
    }

    /// Gives the stream up.
    pub(super) fn fail(&mut self, error: Error, now: Instant) {
        self.failed(error, now);
        self.stream.has_to_close = true;
    }

    /// Closes the stream, without an error.
    pub(super) fn close_stream(&mut self) {
        self.drop_stream();
        self.stream.close();
    }

    /// Forgets the stream. Its watches are to be created again, each where it was.
    ///
    /// INVARIANT: no state of a stream outlives it: neither IDs nor an incomplete revision.
    pub(super) fn drop_stream(&mut self) {
        self.drop_progress();
        let mut order = Vec::new();
        for (watch, entry) in &mut self.entries {
            entry.assembler.restart();
            entry.lowered = 0;
            entry.is_synced = false;
            if let WatchPhase::Live(_) | WatchPhase::Asked | WatchPhase::Waiting = entry.phase {
                // Watches that were not created on this stream are created first on the next one.
                // Otherwise the last ones of many would never be created where streams are short. A
                // creation without an answer comes last, because it may be the one that keeps the
                // server from answering the others.
                let is_live = entry.phase.is_live();
                order.push((entry.unanswered, is_live, *watch));
                entry.phase = WatchPhase::Waiting;
            }
        }
        order.sort_unstable();
        self.creations
            .restart(order.into_iter().map(|(.., watch)| watch));
    }

    /// Tells the owners that their watches wait to be created again.
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

    /// Lets watches request fragments, because a message of the stream was too large.
    ///
    /// The error does not tell the watch of the message. A watch that has caught up with the store is
    /// the least likely one, so these watches are left out as long as there are others. A watch ends
    /// if messages are too large with fragments, too.
    fn request_fragments(&mut self, error: &Error) {
        let carried =
            |entry: &Entry| matches!(entry.phase, WatchPhase::Live(_) | WatchPhase::Asked);
        let mut suspects = self.of(|entry| carried(entry) && !entry.is_synced);
        if suspects.is_empty() {
            suspects = self.of(carried);
        }
        for watch in suspects {
            let entry = self.entries.get_mut(&watch);
            if entry.is_some_and(|entry| entry.fragmentation.note_oversized()) {
                let reason = error.message().to_owned();
                self.end(watch, WatchEnd::Cancelled { reason });
            }
        }
    }

    /// Begins to open a stream. Returns whether the stream needs another token.
    // ORDER: only the watches that wait now are sure to be created while the token is new.
    pub(super) fn open_stream(&mut self) -> bool {
        self.stream.state = WatchStreamState::Opening;
        let fresh = std::mem::take(&mut self.stream.needs_token);
        for entry in self.entries.values_mut() {
            entry.token_refreshed = fresh && entry.phase == WatchPhase::Waiting;
        }
        fresh
    }
}

/// Errors that do not pass by themselves. They end the watches that were never created.
pub(super) fn is_hopeless(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::AuthenticationFailed
            | ErrorKind::Config
            | ErrorKind::Unimplemented
            // A key is too long; the error does not say which one.
            | ErrorKind::RequestTooLarge
    )
}

/// Errors of a call that has tried each token.
pub(super) fn wants_token(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidToken | ErrorKind::StaleToken | ErrorKind::TokenMissing
    )
}
