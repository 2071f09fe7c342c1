//! PURE: how far the watches have come while nothing happens, by the server's word.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::progress_requests::ProgressRequest;
use super::{Note, StreamState, WatchPhase, Watches};
use crate::kv::ResponseHeader;

/// A request that is not answered is made again after this time, which doubles each time:
/// servers drop it while a watch of the stream is behind.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest time between two requests while an owner waits.
const LONGEST_AGAIN: Duration = Duration::from_secs(30);

/// How often the resume points of idle watches are moved on, on servers where that is exact.
/// etcd itself tells an idle watch only every ten minutes.
pub(super) const EVERY: Duration = Duration::from_secs(10);

/// The same after many requests without an answer.
const LONGEST_EVERY: Duration = Duration::from_secs(40);

/// The least time between two requests.
const SPACING: Duration = Duration::from_millis(10);

/// How long etcd takes to catch up with a watch that was created at the store's revision: it
/// looks every 100 ms.
const RESYNC: Duration = Duration::from_millis(250);

/// A proxy that has ignored so many requests in a row is not asked again on the same stream.
///
/// Source: `server/proxy/grpcproxy/watch.go` of etcd, which never answers.
const IGNORED: u32 = 5;

/// Requests for progress on the present stream, and the owners that wait for an answer.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Owners that want to be told.
    pub(super) wanted: HashMap<u64, ProgressRequest>,
    /// Owners whose watches may have come as far as they want to know.
    pub(super) ripe: HashSet<u64>,
    /// Whether the server answers only when all is delivered; `None` until its version is known.
    exact: Option<bool>,
    /// Requests that were sent on this stream.
    pub(super) sent: u64,
    /// Answers to them. INVARIANT: each request has at most one answer, and they come in order,
    /// so answer number n is to request n or to a later one.
    answered: u64,
    /// Requests since the last answer.
    ignored: u32,
    /// When the last request was sent.
    asked: Option<Instant>,
    /// When the next one is due, if that is not a matter of routine.
    again: Option<Instant>,
    /// The highest revision of the store that is known since the stream was opened.
    pub(super) known: i64,
    /// The newest header that told a revision of the store.
    pub(super) header: ResponseHeader,
}

impl Progress {
    /// Whether an owner waits for an answer.
    pub(super) fn waits(&self, owner: u64) -> bool {
        self.wanted.contains_key(&owner)
    }

    pub(super) fn forget(&mut self, owner: u64) {
        self.wanted.remove(&owner);
        self.ripe.remove(&owner);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.ripe.is_empty()
    }

    /// Notes a header of the present stream, or of an answer that was read for it.
    pub(super) fn saw(&mut self, header: &ResponseHeader) {
        if header.revision < self.known || header.revision < 1 {
            return;
        }
        if self.known == 0 {
            for (owner, want) in &mut self.wanted {
                if want.target == Some(0) {
                    want.target = Some(header.revision);
                    self.ripe.insert(*owner);
                }
            }
        }
        self.known = header.revision;
        self.header = *header;
    }

    /// A watch has caught up: a request that was dropped before may be answered now.
    pub(super) fn caught_up(&mut self) {
        self.ignored = 0;
    }

    fn is_exact(&self) -> bool {
        self.exact == Some(true)
    }
}

impl Watches {
    /// Whether this stream's server tells progress only when everything is delivered.
    pub(crate) fn progress_is_exact(&mut self, exact: bool) {
        self.progress.exact = Some(exact);
    }

    /// Forgets what was asked on a stream, and what the store's revision was.
    pub(super) fn drop_progress(&mut self) {
        let wanted = std::mem::take(&mut self.progress.wanted);
        self.pins.set_owners(wanted.keys().copied());
        self.progress = Progress::default();
        for owner in wanted.into_keys() {
            self.progress
                .wanted
                .insert(owner, ProgressRequest::default());
        }
    }

    /// When progress is to be asked for, on a stream that is open.
    pub(super) fn progress_due(&self) -> Option<Instant> {
        let progress = &self.progress;
        let exact = progress.exact?;
        let StreamState::Open(_) = self.stream else {
            return None;
        };
        // Only a proxy gives IDs of its own.
        let is_ignored = self.creations.server_assigns_ids() && progress.ignored >= IGNORED;
        if !self.creations.has_live() || is_ignored {
            return None;
        }
        if progress.again.is_some() {
            return progress.again;
        }
        let last = progress.asked.or(self.opened)?;
        let ignored = progress.ignored.min(10);
        let waits = progress.wanted.values().any(|want| !want.behind.is_empty());
        if !waits {
            let pause = EVERY * (1 << ignored.saturating_sub(2));
            return exact.then(|| last + pause.min(LONGEST_EVERY));
        }
        let pause = match ignored {
            // The first request of an owner does not wait.
            0 if exact || progress.sent == 0 => SPACING,
            0 => AGAIN,
            ignored => AGAIN * (1 << (ignored - 1)),
        };
        Some(last + pause.min(LONGEST_AGAIN))
    }

    /// Whether a request for progress is to be sent now; it counts as sent.
    pub(super) fn asks_progress(&mut self, now: Instant) -> bool {
        if self.progress_due().is_none_or(|due| due > now) {
            return false;
        }
        self.progress.asked = Some(now);
        self.progress.again = None;
        if self.progress.is_exact() && self.lower() {
            self.progress.again = Some(now + RESYNC);
            return false;
        }
        self.progress.sent += 1;
        self.progress.ignored = self.progress.ignored.saturating_add(1);
        true
    }

    /// Creates watches anew that keep the server from answering; says whether there are any.
    ///
    /// etcd tells no progress while a watch of the stream begins later than the store's
    /// revision. Where another watch needs the answer, such a watch is created at that
    /// revision instead: it is sent more than it wants, which is left out here.
    fn lower(&mut self) -> bool {
        let known = self.progress.known;
        let (mut ahead, mut needy) = (Vec::new(), false);
        for number in self.creations.all_live() {
            let Some(entry) = self.entries.get(&number) else {
                continue;
            };
            match entry.phase.live() {
                Some(live) if live.created_from > known => ahead.push(number),
                _ => needy |= entry.assembler.next <= known,
            }
        }
        if known < 1 || !needy {
            return false;
        }
        ahead.sort_unstable();
        for number in &ahead {
            self.stop(*number);
            if let Some(entry) = self.entries.get_mut(number) {
                entry.lowered = known;
                entry.phase = WatchPhase::Waiting;
                self.creations.push(*number);
            }
        }
        !ahead.is_empty()
    }

    /// The server tells how far one watch has come.
    pub(super) fn progressed(&mut self, watch_id: i64, header: ResponseHeader, now: Instant) {
        if watch_id == -1 {
            return self.all_progressed(header, now);
        }
        let Some(number) = self.creations.live(watch_id) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        // A watch that starts in the future, or amid a revision, has not come that far.
        let reached = header.revision.saturating_add(1) >= entry.assembler.next;
        if !reached || entry.assembler.is_amid_revision() {
            return;
        }
        entry.passed(header.revision);
        let (owner, next) = (entry.owner, entry.assembler.next);
        if entry.spec.progress {
            let watch = Some(number);
            self.tell(owner, Note::Progress { watch, header });
        }
        self.moved(number, owner, Some(next));
    }

    /// Tells a watch from now on the revision that is now, if it wants to be told of progress:
    /// etcd tells nothing before the store has reached the start of the watch.
    pub(super) fn tell_start(&mut self, number: u64, header: ResponseHeader) {
        let Some(entry) = self.entries.get(&number) else {
            return;
        };
        let (owner, wants) = (entry.owner, entry.spec.progress && entry.spec.start == 0);
        if wants && entry.was_created && entry.assembler.next == entry.start {
            let (revision, watch) = (entry.start - 1, Some(number));
            let header = ResponseHeader { revision, ..header };
            self.tell(owner, Note::Progress { watch, header });
        }
    }

    /// The answer to a request for progress, for the whole stream.
    ///
    /// INVARIANT: it moves a resume point only where the server waits until all is delivered,
    /// and only of what was in force when the server answered. The server takes creations and
    /// requests in order. So the answer is younger than a watch if it has a later revision than
    /// the answer to the creation, or if it is to a request that was sent after the creation.
    fn all_progressed(&mut self, header: ResponseHeader, now: Instant) {
        if self.progress.answered == self.progress.sent {
            // Nobody asked.
            return;
        }
        self.progress.answered += 1;
        self.progress.ignored = 0;
        if !self.progress.is_exact() {
            return self.progressed_maybe(header, now);
        }
        let mut unsure = false;
        let numbers: Vec<u64> = self.creations.all_live().collect();
        for number in numbers {
            let Some(entry) = self.entries.get_mut(&number) else {
                continue;
            };
            let Some(live) = entry.phase.live() else {
                continue;
            };
            let younger = live.created_at < header.revision
                || self.progress.answered > live.progress_requests;
            if entry.assembler.next > header.revision {
                continue;
            }
            if younger {
                entry.passed(header.revision);
                let (owner, next) = (entry.owner, entry.assembler.next);
                self.moved(number, owner, Some(next));
            } else {
                unsure = true;
            }
        }
        // Requests that were dropped are still counted: the next answer tells more.
        if unsure && self.progress.answered < self.progress.sent {
            self.progress.again = Some(now + SPACING);
        }
    }
}
