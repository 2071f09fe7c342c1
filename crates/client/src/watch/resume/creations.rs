//! PURE: the creations of watches on a stream.
//!
//! A watch waits to be created, is sent, is answered, and is live until it is cancelled. The server
//! answers creations in the order in which it receives them.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::adaptive_timeout::AdaptiveTimeout;
use crate::watch::entry::WatchRef;

/// Maximum number of creations without an answer.
pub(super) const WINDOW: usize = 1_024;

/// The longest wait for the answer to a creation while no message comes on its stream.
const SILENCE: Duration = Duration::from_secs(5);

/// The longest wait while other messages come: a server may be busy with a long history.
const BUSY: Duration = Duration::from_secs(30);

/// The upper bound of these waits, which grow with each stream that is given up.
const LONGEST: Duration = Duration::from_secs(300);

/// A creation without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Creation {
    pub(super) watch: WatchRef,
    /// The ID of the request; 0 lets the server choose.
    pub(super) watch_id: i64,
    /// The first revision that was requested.
    pub(super) from: i64,
    pub(super) sent: Instant,
    /// Number of progress requests that were sent on the stream before.
    pub(super) progress_requests: u64,
}

/// The times at which a stream is given up because its oldest creation has no answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerDue {
    /// If no message comes.
    pub(super) silent: Instant,
    /// If other messages come.
    pub(super) busy: Instant,
}

impl AnswerDue {
    pub(super) fn first(self) -> Instant {
        self.silent.min(self.busy)
    }
}

/// The watches that wait to be created, the creations without an answer, and the watches that live
/// on the present stream.
#[derive(Debug, Default)]
pub(super) struct Creations {
    waiting: VecDeque<WatchRef>,
    /// Creations without an answer, in the order in which they were sent.
    unanswered: VecDeque<Creation>,
    /// Watches in force, by their IDs on the present stream.
    live: HashMap<i64, WatchRef>,
    /// IDs of watches that the server is to cancel.
    cancels: Vec<i64>,
    /// The time of the last answer to a creation, or of the opening of the stream.
    last_answer: Option<Instant>,
    answer_timeout: AdaptiveTimeout,
    /// Whether a watch of the stream requests fragments because whole messages are too large.
    has_fragments: bool,
    last_id: i64,
    /// Whether the server assigns IDs of its own. Creations are sent one at a time then.
    server_assigns_ids: bool,
}

impl Creations {
    /// Puts a watch at the end of the queue.
    pub(super) fn push(&mut self, watch: WatchRef) {
        self.waiting.push_back(watch);
    }

    /// Takes the next watch that is to be created, if one more creation may be sent.
    pub(super) fn pop(&mut self) -> Option<WatchRef> {
        let window = if self.server_assigns_ids { 1 } else { WINDOW };
        if self.unanswered.len() < window {
            self.waiting.pop_front()
        } else {
            None
        }
    }

    /// Removes watches that are gone from the front of the queue, so that no stream is opened for them.
    pub(super) fn prune(&mut self, is_present: impl Fn(WatchRef) -> bool) {
        while self
            .waiting
            .front()
            .is_some_and(|front| !is_present(*front))
        {
            self.waiting.pop_front();
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns the ID of the next creation.
    ///
    /// INVARIANT: it is 0 only if the server assigns IDs, and occurs only once on a stream otherwise.
    pub(super) fn next_id(&mut self) -> i64 {
        if self.server_assigns_ids {
            return 0;
        }
        self.last_id += 1;
        self.last_id
    }

    /// Records a creation that is being sent. `in_fragments` says that it requests fragments because
    /// whole messages are too large.
    pub(super) fn sent(&mut self, creation: Creation, in_fragments: bool) {
        self.has_fragments |= in_fragments;
        self.unanswered.push_back(creation);
    }

    /// Takes the oldest creation, which the server has answered.
    ///
    /// The time of the answer counts only on a stream that has lasted longer than the last one that
    /// was given up. Before that it does not show that the server is quick: watches are created
    /// quickly before a long history begins.
    pub(super) fn answered(&mut self, opened: Option<Instant>, now: Instant) -> Option<Creation> {
        let creation = self.unanswered.pop_front()?;
        let limit = self.answer_timeout.limit(SILENCE, LONGEST);
        if opened.is_some_and(|opened| opened + limit <= now) {
            let taken = now.duration_since(creation.sent);
            self.answer_timeout.answered(taken);
        }
        self.last_answer = Some(now);
        Some(creation)
    }

    /// Begins the wait for the oldest answer again: the stream was opened, or a long message is on
    /// its way.
    pub(super) fn restart_wait(&mut self, now: Instant) {
        self.last_answer = Some(now);
    }

    /// Returns when the stream is given up because the oldest creation has no answer. `unanswered`
    /// returns how often the creation of a watch was the oldest one on a stream that was given up.
    ///
    /// Answers come in order. So the wait begins when the creation was sent, or when the one
    /// before it was answered. A creation that has made streams be given up waits longer.
    pub(super) fn answer_due(
        &self,
        heard: Instant,
        unanswered: impl Fn(WatchRef) -> u32,
    ) -> Option<AnswerDue> {
        let oldest = self.unanswered.front()?;
        let first = self
            .last_answer
            .map_or(oldest.sent, |at| at.max(oldest.sent));
        let doubled = 1 << unanswered(oldest.watch).min(8);
        // etcd sends nothing while it makes a fragment of many events.
        let silence = if self.has_fragments { LONGEST } else { SILENCE };
        let limit = |base| self.answer_timeout.limit(base, LONGEST) * doubled;
        Some(AnswerDue {
            silent: heard.max(first) + limit(silence),
            busy: first + limit(BUSY.max(silence)),
        })
    }

    /// Records that the stream is given up because the oldest creation has no answer. Returns the
    /// watch of this creation.
    pub(super) fn timed_out(&mut self) -> Option<WatchRef> {
        self.answer_timeout.silent();
        self.unanswered.front().map(|oldest| oldest.watch)
    }

    /// Records that a watch is in force. Returns false if another watch has this ID.
    pub(super) fn created(&mut self, watch_id: i64, watch: WatchRef) -> bool {
        self.live.insert(watch_id, watch).is_none()
    }

    /// Returns the watch in force with this ID.
    pub(super) fn live(&self, watch_id: i64) -> Option<WatchRef> {
        self.live.get(&watch_id).copied()
    }

    /// Returns all watches in force.
    pub(super) fn all_live(&self) -> impl Iterator<Item = WatchRef> {
        self.live.values().copied()
    }

    pub(super) fn has_live(&self) -> bool {
        !self.live.is_empty()
    }

    /// Removes the watch with this ID, which the server has cancelled.
    pub(super) fn canceled(&mut self, watch_id: i64) -> Option<WatchRef> {
        self.live.remove(&watch_id)
    }

    /// Cancels the watch in force with this ID.
    pub(super) fn cancel_live(&mut self, watch_id: i64) {
        self.live.remove(&watch_id);
        self.cancel(watch_id);
    }

    /// Cancels an ID at the server that no watch in force has.
    pub(super) fn cancel(&mut self, watch_id: i64) {
        self.cancels.push(watch_id);
    }

    /// Takes an ID that the server is to cancel.
    pub(super) fn pop_cancel(&mut self) -> Option<i64> {
        self.cancels.pop()
    }

    pub(super) fn has_cancels(&self) -> bool {
        !self.cancels.is_empty()
    }

    pub(super) fn server_assigns_ids(&self) -> bool {
        self.server_assigns_ids
    }

    /// Records that the server assigns IDs of its own.
    pub(super) fn let_server_assign_ids(&mut self) {
        self.server_assigns_ids = true;
    }

    /// Forgets the stream. The watches of `order` are to be created on the next one, in this order.
    pub(super) fn restart(&mut self, order: impl Iterator<Item = WatchRef>) {
        self.waiting = order.collect();
        self.unanswered.clear();
        self.live.clear();
        self.cancels.clear();
        self.last_id = 0;
        self.has_fragments = false;
    }

    #[cfg(test)]
    pub(super) fn unanswered(&self) -> &VecDeque<Creation> {
        &self.unanswered
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.unanswered.is_empty()
            && self.live.is_empty()
            && self.cancels.is_empty()
    }
}
