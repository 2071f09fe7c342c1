//! Checks of each note of the machine.

use super::*;
use crate::watch::amount::BATCH;

impl World {
    pub(super) fn told(&mut self, tell: Tell) {
        let Tell {
            owner: OwnerId(owner),
            note,
        } = tell;
        log!(self, "tell {owner}: {note:?}");
        match note {
            Note::Created {
                watch, revision, ..
            } => self.is_created(owner, watch.0, revision),
            Note::Batch { watch, batch, held } => self.is_delivered(owner, watch.0, &batch, held),
            Note::Progress { watch, header } => {
                assert!(header.revision <= self.store.revision(), "from the future");
                for (number, known) in &mut self.watches {
                    let meant = watch.is_none_or(|watch| watch.0 == *number);
                    if known.owner == owner && meant && known.created && known.is_present() {
                        let view = &known.view;
                        let left = self.store.history(view, known.cursor, header.revision);
                        assert!(
                            left.is_empty(),
                            "progress lies: {number} has not got {left:?}"
                        );
                        assert!(!known.foreign, "it is for another cluster");
                        known.cursor = known.cursor.max(header.revision + 1);
                    }
                }
                if watch.is_none() {
                    if let Some(questions) = self.questions.get_mut(&owner) {
                        // The requests to a server that is not exact end.
                        let exact = self.exact;
                        questions.retain(|revision| exact && *revision > header.revision);
                    }
                    self.questions.retain(|_, questions| !questions.is_empty());
                }
                if let Some(watch) = watch {
                    assert!(self.watches[&watch.0].spec.progress, "not asked for");
                }
            }
            Note::End { watch, end } => self.has_ended(owner, watch.0, &end),
            Note::Refused { watch, .. } => {
                assert!(!self.watches[&watch.0].created, "it was in force");
                *self.ends.entry("Refused").or_default() += 1;
                self.is_over(owner, watch.0);
            }
            Note::Disconnected { .. } => {
                assert!(self.interrupted.insert(owner), "told twice");
            }
            Note::Resumed { .. } => {
                self.resumed += 1;
                assert!(self.interrupted.remove(&owner), "it was not interrupted");
            }
        }
    }

    fn is_created(&mut self, owner: u64, number: u64, revision: i64) {
        let store = self.store.revision();
        let watch = self.watches.get_mut(&number).expect("a watch");
        assert_eq!(watch.owner, owner);
        assert!(!watch.created && !watch.over, "twice, or too late");
        assert!(!watch.foreign, "it is for another cluster");
        watch.created = true;
        if watch.spec.start == 0 {
            assert!(revision > watch.called, "now is before it was asked for");
            let put_back = self.rolled_back.iter().map(|(from, _)| *from).max();
            assert!(
                revision <= store.max(put_back.unwrap_or(0)) + 1,
                "now is in the future"
            );
            watch.cursor = revision;
        } else {
            assert_eq!(revision, watch.spec.start);
        }
    }

    fn is_delivered(&mut self, owner: u64, number: u64, batch: &Batch, held: HeldGuard) {
        let watch = self.watches.get_mut(&number).expect("a watch");
        assert_eq!(watch.owner, owner);
        assert!(watch.created && !watch.over, "too early, or too late");
        assert!(!watch.foreign, "it is for another cluster");
        let expected = self
            .store
            .history(&watch.view, watch.cursor, batch.revision);
        let got: Vec<_> = batch.events.iter().map(seen).collect();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|change| {
                let key = change.key.as_bytes();
                (key, &change.value[..], change.delete, change.revision)
            })
            .collect();
        assert_eq!(got, expected, "watch {number} from {}", watch.cursor);
        assert_eq!(got.last().map(|event| event.3), Some(batch.revision));
        watch.cursor = batch.revision + 1;
        let watch = &self.watches[&number];
        self.delivered += got.len();
        let queue = self.owners.entry(owner).or_default();
        queue.push_back((number, batch.revision, held));
        let lag = watch.backlog.lag();
        let (bytes, events) = heaviest(&batch.events);
        assert!(lag.bytes < watch.limit.bytes + bytes + BATCH, "{lag:?}");
        assert!(lag.events < watch.limit.events + events, "{lag:?}");
        let all = self
            .watches
            .values()
            .map(|watch| watch.backlog.lag().events);
        let before = all.sum::<usize>() - got.len();
        let waits = lag.events > got.len();
        let full = before >= self.budget.limits().client_events;
        assert!(!(waits && full), "the client holds too much");
    }

    fn has_ended(&mut self, owner: u64, number: u64, end: &WatchEnd) {
        let store = self.store.revision();
        let watch = &self.watches[&number];
        let name = match end {
            WatchEnd::Compacted { revision } => {
                assert!(*revision > watch.cursor, "{number} needs nothing so old");
                assert!(
                    *revision <= self.store.compacted(store),
                    "it was not compacted"
                );
                let left = self.store.history(&watch.view, watch.cursor, *revision);
                log!(self, "lost: {left:?}");
                "Compacted"
            }
            WatchEnd::Cancelled { reason } => {
                let given = self
                    .reasons
                    .iter()
                    .any(|given| given.0 == *reason && given.1 == number);
                let large = reason == "cut" || reason == "too large";
                assert!(given || large, "not its reason: {reason}");
                "Cancelled"
            }
            WatchEnd::RuntimeEnded => panic!("no runtime ends here"),
            WatchEnd::PermissionDenied => {
                let denied = self.was_denied.iter().any(|key| watch.view.holds(key));
                let stale = !self.has_credentials && self.token != self.own_token;
                assert!(denied || stale, "it is allowed");
                "PermissionDenied"
            }
            WatchEnd::TooLarge { revision } => {
                let limit = self.budget.limits().revision_bytes;
                let all = self.store.history(&watch.view, watch.cursor, *revision);
                assert!(
                    all.iter().all(|change| change.revision == *revision),
                    "more is left"
                );
                let weight = |change: &&crate::watch::resume::tests::model::Change| {
                    size_of::<Event>() + change.key.len() + change.value.len()
                };
                assert!(all.iter().map(weight).sum::<usize>() > limit, "it is not");
                "TooLarge"
            }
            WatchEnd::ClusterChanged => {
                assert!(watch.foreign, "it is the same");
                "ClusterChanged"
            }
            WatchEnd::RolledBack { watched, store } => {
                let mut all = self.rolled_back.iter();
                let was = all.any(|(from, to)| to <= store && store < watched && watched <= from);
                assert!(was, "it has not gone back");
                "RolledBack"
            }
            WatchEnd::ClientClosed => {
                assert!(self.closed, "it is open");
                "ClientClosed"
            }
        };
        *self.ends.entry(name).or_default() += 1;
        self.is_over(owner, number);
    }

    fn is_over(&mut self, owner: u64, number: u64) {
        let watch = self.watches.get_mut(&number).expect("a watch");
        assert_eq!(watch.owner, owner);
        assert!(!watch.over, "it ends twice");
        watch.over = true;
        self.deeds.push_back(self.now);
        self.leave(owner);
    }

    /// Checks the invariants that hold at any time.
    pub(super) fn check(&mut self) {
        for (number, next, _) in self.machine.points() {
            let watch = &self.watches[&number];
            assert!(watch.is_present(), "{number} is kept for ever");
            if watch.cursor == 0 || watch.foreign {
                continue;
            }
            assert!(next >= watch.cursor, "{number} would get something twice");
            let lost = self.store.history(&watch.view, watch.cursor, next - 1);
            assert!(lost.is_empty(), "{number} would lose {lost:?}");
            assert_eq!(self.machine.is_told(number), watch.created);
        }
        for owner in &self.interrupted {
            assert!(
                self.has_watches(*owner),
                "{owner} never hears that it is over"
            );
        }
        // Streams are opened at a bounded rate, whatever happens.
        let second = self
            .now
            .checked_sub(Duration::from_secs(1))
            .unwrap_or(self.start);
        for times in [&mut self.openings, &mut self.deeds] {
            while times.front().is_some_and(|time| *time < second) {
                times.pop_front();
            }
        }
        let most = 12 + self.deeds.len();
        assert!(
            self.openings.len() <= most,
            "{} openings in a second",
            self.openings.len()
        );
    }

    /// Checks the number of creations. A stream creates each watch once, and once more each time
    /// that the watch has to be resumed. Each of these may be followed by one at the store's
    /// revision, so that the server answers progress requests.
    pub(super) fn is_sent(&mut self, number: u64) {
        let creations = self.creations.entry(number).or_default();
        *creations += 1;
        let restarts = self.restarts.get(&number).copied().unwrap_or(0);
        assert!(
            *creations <= 2 * (1 + restarts),
            "{number} is created {creations} times on a stream, {restarts} of them to go on"
        );
    }

    pub(super) fn budget_held(&self) -> usize {
        self.budget.held()
    }
}

fn seen(event: &Event) -> (&[u8], &[u8], bool, i64) {
    let delete = event.kind == crate::watch::event::EventKind::Delete;
    (
        &event.kv.key,
        &event.kv.value,
        delete,
        event.kv.mod_revision,
    )
}

/// The bytes and events of the largest revision.
fn heaviest(events: &[Event]) -> (usize, usize) {
    let revisions = events.chunk_by(|one, next| one.kv.mod_revision == next.kv.mod_revision);
    let weights = revisions.map(|all| (all.iter().map(Event::weight).sum(), all.len()));
    weights.fold((0, 0), |most: (usize, usize), next: (usize, usize)| {
        (most.0.max(next.0), most.1.max(next.1))
    })
}
