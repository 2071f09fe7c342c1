//! PURE: the progress of the watches while there are no events, as the server reports it.

use std::time::{Duration, Instant};

use super::progress_requests::ProgressRequests;
use super::{Note, WatchPhase, Watches};
use crate::kv::ResponseHeader;
use crate::watch::entry::WatchRef;

/// The first wait for an answer before a request is repeated, which doubles each time: servers drop
/// requests while a watch of the stream is behind.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest time between two requests while an owner waits.
const LONGEST_AGAIN: Duration = Duration::from_secs(30);

/// The interval of the requests that move the resume points of idle watches, on servers whose answers
/// are exact. etcd itself sends the progress of an idle watch only every ten minutes.
pub(super) const EVERY: Duration = Duration::from_secs(10);

/// The longest such interval, after many requests without an answer.
const LONGEST_EVERY: Duration = Duration::from_secs(40);

/// The shortest time between two requests.
const SPACING: Duration = Duration::from_millis(10);

/// The time that etcd takes at most to synchronize a watch that was created at the store's revision: it
/// does so every 100 ms.
const RESYNC: Duration = Duration::from_millis(250);

/// Number of consecutive requests that a proxy may leave unanswered. After that, no request is sent
/// to it on the same stream.
///
/// Source: `server/proxy/grpcproxy/watch.go` of etcd, which never answers.
const IGNORED: u32 = 5;

/// The progress requests of the owners, and the requests to the server on the present stream.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) requests: ProgressRequests,
    /// Whether the server answers only after it has sent all events; `None` until its version is known.
    exact: Option<bool>,
    /// Number of requests that were sent on this stream.
    sent: u64,
    /// Number of answers. INVARIANT: each request has at most one answer, and answers come in order.
    /// So answer n is to request n or to a later one.
    answered: u64,
    /// Number of requests since the last answer.
    ignored: u32,
    /// The time of the last request.
    asked: Option<Instant>,
    /// The time of the next request, if it differs from the regular one.
    again: Option<Instant>,
    /// The highest revision of the store that is known since the stream was opened.
    known: i64,
    /// The newest header with a revision of the store.
    header: ResponseHeader,
}

impl Progress {
    /// Number of requests that were sent on this stream.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// The highest revision of the store that is known since the stream was opened; 0 if none is.
    pub(super) fn known(&self) -> i64 {
        self.known
    }

    /// The newest header with a revision of the store.
    pub(super) fn header(&self) -> ResponseHeader {
        self.header
    }

    /// Records a header of the present stream, or of a reply that was read for it.
    pub(super) fn saw(&mut self, header: &ResponseHeader) {
        if header.revision < self.known || header.revision < 1 {
            return;
        }
        if self.known == 0 {
            self.requests.first_revision(header.revision);
        }
        self.known = header.revision;
        self.header = *header;
    }

    /// Records that a watch has caught up. A request that was dropped before may be answered now.
    pub(super) fn caught_up(&mut self) {
        self.ignored = 0;
    }

    fn is_exact(&self) -> bool {
        self.exact == Some(true)
    }
}

impl Watches {
    /// Records whether the server of the stream answers progress requests only after it has sent
    /// all events.
    pub(crate) fn progress_is_exact(&mut self, exact: bool) {
        self.progress.exact = Some(exact);
    }

    /// Forgets the requests of a stream, and the store's revision. The requests of the owners begin
    /// again.
    pub(super) fn drop_progress(&mut self) {
        let mut requests = std::mem::take(&mut self.progress.requests);
        self.pins.set_owners(requests.restart());
        self.progress = Progress {
            requests,
            ..Progress::default()
        };
    }

    /// Returns the time of the next request, if the stream is open.
    pub(super) fn progress_due(&self) -> Option<Instant> {
        let progress = &self.progress;
        let exact = progress.exact?;
        if !self.stream.is_open() {
            return None;
        }
        // Only a proxy assigns IDs of its own.
        let is_ignored = self.creations.server_assigns_ids() && progress.ignored >= IGNORED;
        if !self.creations.has_live() || is_ignored {
            return None;
        }
        if progress.again.is_some() {
            return progress.again;
        }
        let last = progress.asked.or(self.stream.opened())?;
        let ignored = progress.ignored.min(10);
        if !progress.requests.has_behind() {
            let pause = EVERY * (1 << ignored.saturating_sub(2));
            return exact.then(|| last + pause.min(LONGEST_EVERY));
        }
        let pause = match ignored {
            // The first request of an owner is sent at once.
            0 if exact || progress.sent == 0 => SPACING,
            0 => AGAIN,
            ignored => AGAIN * (1 << (ignored - 1)),
        };
        Some(last + pause.min(LONGEST_AGAIN))
    }

    /// Returns whether to send a request now, which counts as sent.
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

    /// Creates watches again that prevent the server from answering. Returns whether there are any.
    ///
    /// etcd does not answer while a watch of the stream begins later than the store's revision. If
    /// another watch needs the answer, such a watch is created at the store's revision instead. The
    /// server then sends events from before its start, which the assembler leaves out.
    fn lower(&mut self) -> bool {
        let known = self.progress.known;
        let (mut ahead, mut needy) = (Vec::new(), false);
        for watch in self.creations.all_live() {
            let Some(entry) = self.entries.get(&watch) else {
                continue;
            };
            match entry.phase.live() {
                Some(live) if live.created_from > known => ahead.push(watch),
                _ => needy |= entry.assembler.next <= known,
            }
        }
        if known < 1 || !needy {
            return false;
        }
        ahead.sort_unstable();
        for watch in &ahead {
            self.stop(*watch);
            if let Some(entry) = self.entries.get_mut(watch) {
                entry.lowered = known;
                entry.phase = WatchPhase::Waiting;
                self.creations.push(*watch);
            }
        }
        !ahead.is_empty()
    }

    /// Takes a progress message of the server, for one watch or for the whole stream.
    pub(super) fn progressed(&mut self, watch_id: i64, header: ResponseHeader, now: Instant) {
        if watch_id == -1 {
            return self.all_progressed(header, now);
        }
        let Some(watch) = self.creations.live(watch_id) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&watch) else {
            return;
        };
        // A watch that starts in the future, or has an incomplete revision, has not come that far.
        let reached = header.revision.saturating_add(1) >= entry.assembler.next;
        if !reached || entry.assembler.is_amid_revision() {
            return;
        }
        entry.passed(header.revision);
        let (owner, next) = (entry.owner, entry.assembler.next);
        if entry.spec.progress {
            let watch = Some(watch);
            self.tell(owner, Note::Progress { watch, header });
        }
        self.moved(watch, owner, Some(next));
    }

    /// Tells the owner of a watch from now on which revision stands for now, if it requests progress
    /// messages. etcd sends none before the store has reached the start of the watch.
    pub(super) fn tell_start(&mut self, watch: WatchRef, header: ResponseHeader) {
        let Some(entry) = self.entries.get(&watch) else {
            return;
        };
        let (owner, wants) = (entry.owner, entry.spec.progress && entry.spec.start == 0);
        if wants && entry.was_created && entry.assembler.next == entry.start {
            let (revision, watch) = (entry.start - 1, Some(watch));
            let header = ResponseHeader { revision, ..header };
            self.tell(owner, Note::Progress { watch, header });
        }
    }

    /// Takes the answer to a progress request, which is about the whole stream.
    ///
    /// INVARIANT: the answer moves a resume point only if the server answers after it has sent all
    /// events, and only for watches that were in force when the server answered. The server handles
    /// creations and requests in order. So the answer is younger than a watch if it has a later
    /// revision than the answer to the creation, or if it is to a request that was sent after the
    /// creation.
    fn all_progressed(&mut self, header: ResponseHeader, now: Instant) {
        if self.progress.answered == self.progress.sent {
            // This is no answer: there was no request.
            return;
        }
        self.progress.answered += 1;
        self.progress.ignored = 0;
        if !self.progress.is_exact() {
            return self.progressed_maybe(header, now);
        }
        let mut unsure = false;
        let watches: Vec<WatchRef> = self.creations.all_live().collect();
        for watch in watches {
            let Some(entry) = self.entries.get_mut(&watch) else {
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
                self.moved(watch, owner, Some(next));
            } else {
                unsure = true;
            }
        }
        // Dropped requests are counted as sent, too. The answer to the next request decides.
        if unsure && self.progress.answered < self.progress.sent {
            self.progress.again = Some(now + SPACING);
        }
    }
}
