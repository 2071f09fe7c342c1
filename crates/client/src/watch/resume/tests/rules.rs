//! The rules one by one. Some client breaks each of them: the letters in brackets are those of the
//! survey of etcd's own client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use etcdex_proto::etcdserverpb::{ResponseHeader, WatchRequest, WatchResponse};
use etcdex_proto::mvccpb;

use super::super::{Note, Step, Watches};
use crate::config::WatchLimits;
use crate::error::{Error, ErrorKind};
use crate::key::KeyRange;
use crate::kv;
use crate::watch::amount::Amount;
use crate::watch::backlog::{Backlog, HeldGuard};
use crate::watch::budget::MemoryBudget;
use crate::watch::end::WatchEnd;
use crate::watch::entry::{OwnerId, Spec, WatchRef};

/// A machine whose steps are described in words.
pub(super) struct Bench {
    pub(super) machine: Watches,
    pub(super) budget: Arc<MemoryBudget>,
    pub(super) now: Instant,
    /// Deliveries that the consumer has not taken yet.
    pub(super) held: VecDeque<(HeldGuard, i64)>,
    pub(super) until: Option<Instant>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(WatchLimits::default())
    }

    pub(super) fn with(limits: WatchLimits) -> Self {
        let budget = Arc::new(MemoryBudget::new(limits));
        Self {
            machine: Watches::new(Arc::clone(&budget), true, 1),
            budget,
            now: Instant::now(),
            held: VecDeque::new(),
            until: None,
        }
    }

    /// Adds a watch of owner 1 on the key `k`.
    pub(super) fn add(&mut self, number: u64, start: i64) {
        self.add_spec(number, 1, spec(start));
    }

    pub(super) fn add_spec(&mut self, number: u64, owner: u64, spec: Spec) {
        let limits = self.budget.limits();
        let limit = Amount {
            bytes: limits.watch_bytes,
            events: limits.watch_events,
        };
        let backlog = Arc::new(Backlog::new(limit, Arc::clone(&self.budget)));
        self.machine
            .add(WatchRef(number), OwnerId(owner), spec, backlog);
    }

    /// Returns all steps until the machine rests.
    pub(super) fn run(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            assert!(done.len() < 10_000, "it spins");
            done.push(match self.machine.next(self.now, true) {
                Step::Tell(tell) => self.told(tell.note),
                Step::Pin(_) => "pin".to_owned(),
                Step::Open { fresh: false } => "open".to_owned(),
                Step::Open { fresh: true } => "open with a fresh token".to_owned(),
                Step::Close { .. } => "close".to_owned(),
                Step::Send(request) => sent(&request),
                Step::Rest(until) => {
                    self.until = until;
                    return done;
                }
            });
        }
    }

    fn told(&mut self, note: Note) -> String {
        match note {
            Note::Created {
                watch, revision, ..
            } => format!("{} created from {revision}", watch.0),
            Note::Batch { watch, batch, held } => {
                self.held.push_back((held, batch.revision));
                let events = batch.events.iter();
                let revisions: Vec<i64> = events.map(|event| event.kv.mod_revision).collect();
                format!("{} got {revisions:?}", watch.0)
            }
            Note::Progress {
                watch: Some(watch),
                header,
            } => format!("{} progress {}", watch.0, header.revision),
            Note::Progress { header, .. } => format!("progress {}", header.revision),
            Note::End { watch, end } => format!("{} ended: {end:?}", watch.0),
            Note::Refused { watch, error } => format!("{} refused: {:?}", watch.0, error.kind()),
            Note::Disconnected { .. } => "disconnected".to_owned(),
            Note::Resumed { .. } => "resumed".to_owned(),
        }
    }

    /// Opens the stream, and returns the next steps.
    pub(super) fn open(&mut self) -> Vec<String> {
        self.machine.opened(self.now);
        self.run()
    }

    pub(super) fn pinned(&mut self, revision: i64) -> Vec<String> {
        self.machine.pinned(kv::ResponseHeader {
            cluster_id: 7,
            revision,
            ..Default::default()
        });
        self.run()
    }

    pub(super) fn receive(&mut self, message: WatchResponse) -> Vec<String> {
        self.machine.received(message, self.now);
        self.run()
    }

    /// Ends the stream with an error, and returns the next steps. Waits if the machine pauses first.
    pub(super) fn cut(&mut self) -> Vec<String> {
        self.fail(ErrorKind::Unavailable)
    }

    pub(super) fn fail(&mut self, kind: ErrorKind) -> Vec<String> {
        self.machine.failed(Error::new(kind, "cut"), self.now);
        let mut done = self.run();
        self.wait(Duration::from_secs(1));
        done.append(&mut self.run());
        done
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// Returns a machine with a watch that is in force under the ID 1, from this revision on.
    pub(super) fn live(start: i64) -> Self {
        let mut bench = Self::new();
        bench.add(1, start);
        assert_eq!(bench.run(), ["open"]);
        assert_eq!(bench.open(), [format!("create 1 at {start}")]);
        let created = bench.receive(created(1, start - 1));
        assert_eq!(created, [format!("1 created from {start}")]);
        bench
    }
}

pub(super) fn spec(start: i64) -> Spec {
    Spec {
        range: KeyRange::single(Bytes::from_static(b"k")),
        namespace: None,
        start,
        no_put: false,
        no_delete: false,
        prev_kv: false,
        progress: true,
        fragment: true,
        read: None,
    }
}

fn sent(request: &WatchRequest) -> String {
    match request.request_union.as_ref().expect("a request") {
        RequestUnion::CreateRequest(create) => {
            format!("create {} at {}", create.watch_id, create.start_revision)
        }
        RequestUnion::CancelRequest(cancel) => format!("cancel {}", cancel.watch_id),
        RequestUnion::ProgressRequest(_) => "progress?".to_owned(),
    }
}

pub(super) fn message(watch_id: i64, revision: i64) -> WatchResponse {
    WatchResponse {
        header: Some(ResponseHeader {
            cluster_id: 7,
            revision,
            ..Default::default()
        }),
        watch_id,
        ..Default::default()
    }
}

pub(super) fn created(watch_id: i64, revision: i64) -> WatchResponse {
    WatchResponse {
        created: true,
        ..message(watch_id, revision)
    }
}

pub(super) fn canceled(watch_id: i64, reason: &str) -> WatchResponse {
    WatchResponse {
        canceled: true,
        cancel_reason: reason.to_owned(),
        ..message(watch_id, 9)
    }
}

/// The message with which etcd refuses to create a watch.
pub(super) fn refused(reason: &str) -> WatchResponse {
    WatchResponse {
        created: true,
        ..canceled(-1, reason)
    }
}

/// The message with which etcd reports a compaction. Its header has no revision.
pub(super) fn compacted(watch_id: i64, revision: i64) -> WatchResponse {
    WatchResponse {
        canceled: true,
        compact_revision: revision,
        ..message(watch_id, 0)
    }
}

/// Events of these revisions, with the store's revision in the header.
pub(super) fn events(watch_id: i64, header: i64, revisions: &[i64]) -> WatchResponse {
    let event = |revision: &i64| mvccpb::Event {
        kv: Some(mvccpb::KeyValue {
            key: Bytes::from_static(b"k"),
            mod_revision: *revision,
            ..Default::default()
        }),
        ..Default::default()
    };
    WatchResponse {
        events: revisions.iter().map(event).collect(),
        ..message(watch_id, header)
    }
}

/// The same as a fragment that others follow.
pub(super) fn piece(watch_id: i64, revisions: &[i64]) -> WatchResponse {
    WatchResponse {
        fragment: true,
        ..events(watch_id, 9, revisions)
    }
}

const DENIED: &str = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";

// Known bugs of EtcdEx.

#[test]
fn an_idle_watch_from_now_resumes_where_it_began() {
    let mut bench = Bench::new();
    bench.add(1, 0);
    assert_eq!(bench.run(), ["pin"]);
    assert_eq!(bench.pinned(10), ["open"]);
    assert_eq!(bench.open(), ["create 1 at 11"]);
    // Neither the header of a later message nor an unrequested progress proves a delivery.
    let told = ["1 created from 11", "1 progress 10"];
    assert_eq!(bench.receive(created(1, 15)), told);
    assert_eq!(bench.cut(), ["disconnected", "open"]);
    assert_eq!(bench.open(), ["create 1 at 11"]);
    assert_eq!(bench.receive(created(1, 20)), ["resumed"]);
    assert_eq!(bench.receive(events(1, 20, &[13])), ["1 got [13]"]);
}

#[test]
fn a_watch_does_not_resume_from_the_revision_of_a_header() {
    let mut bench = Bench::live(5);
    assert_eq!(
        bench.receive(events(1, 1_000, &[5, 6, 7])),
        ["1 got [5, 6, 7]"]
    );
    assert_eq!(bench.cut(), ["disconnected", "open"]);
    assert_eq!(bench.open(), ["create 1 at 8"]);
}

#[test]
fn a_server_that_ends_the_stream_ends_no_watch() {
    for kind in [
        ErrorKind::Unavailable,
        ErrorKind::NoLeader,
        ErrorKind::Protocol,
    ] {
        let mut bench = Bench::live(5);
        assert_eq!(bench.fail(kind), ["disconnected", "open"]);
        assert_eq!(bench.open(), ["create 1 at 5"]);
        assert_eq!(bench.receive(created(1, 9)), ["resumed"]);
    }
}

#[test]
fn progress_of_the_stream_belongs_to_no_watch() {
    let mut bench = Bench::live(5);
    assert!(bench.receive(message(-1, 50)).is_empty());
    assert_eq!(bench.receive(events(1, 50, &[6])), ["1 got [6]"]);
}

#[test]
fn a_prefix_of_high_bytes_is_watched_to_its_end() {
    for (prefix, end) in [(&b"a\xff\xff"[..], &b"b"[..]), (b"\xff\xff", b"\0")] {
        let mut bench = Bench::new();
        let range = KeyRange::prefix(Bytes::from_static(prefix));
        bench.add_spec(1, 1, Spec { range, ..spec(5) });
        assert_eq!(bench.run(), ["open"]);
        bench.machine.opened(bench.now);
        let Step::Send(request) = bench.machine.next(bench.now, true) else {
            panic!("nothing is sent");
        };
        let Some(RequestUnion::CreateRequest(create)) = request.request_union else {
            panic!("nothing is created");
        };
        assert_eq!((&create.key[..], &create.range_end[..]), (prefix, end));
    }
}

/// [f] All creations within a window are sent at once, each with an ID of its own, none with 0.
#[test]
fn watches_are_created_without_waiting_for_one_another() {
    let mut bench = Bench::new();
    for number in 1..=1_030 {
        bench.add(number, 5);
    }
    assert_eq!(bench.run(), ["open"]);
    let sent = bench.open();
    assert_eq!(sent.len(), 1_024);
    assert_eq!(
        (&sent[0][..], &sent[1_023][..]),
        ("create 1 at 5", "create 1024 at 5")
    );
    let next = bench.receive(created(1, 9));
    assert_eq!(next, ["1 created from 5", "create 1025 at 5"]);
}

// Known bugs of Go's client.

/// [a]
#[test]
fn nothing_from_before_the_watch_comes_after_a_reconnect() {
    let mut bench = Bench::new();
    bench.add(1, 0);
    bench.run();
    bench.pinned(10);
    assert_eq!(bench.open(), ["create 1 at 11"]);
    bench.receive(created(1, 10));
    bench.cut();
    assert_eq!(bench.open(), ["create 1 at 11"]);
    bench.receive(created(1, 12));
    assert_eq!(bench.receive(events(1, 12, &[10, 11])), ["1 got [11]"]);
}

/// [b]
#[test]
fn what_came_before_a_cancellation_is_delivered_before_the_end() {
    let mut bench = Bench::live(5);
    bench.machine.received(events(1, 9, &[5]), bench.now);
    bench.machine.received(events(1, 9, &[6]), bench.now);
    let told = bench.receive(canceled(1, ""));
    let end = "1 ended: Cancelled { reason: \"\" }";
    assert_eq!(told, ["1 got [5]", "1 got [6]", end, "close"]);
}

/// [c]
#[test]
fn an_end_is_delivered_however_late_it_is_read() {
    let mut bench = Bench::live(5);
    bench.machine.received(compacted(1, 8), bench.now);
    bench.wait(Duration::from_secs(3_600));
    assert_eq!(bench.run(), ["1 ended: Compacted { revision: 8 }", "close"]);
}

/// [d]
#[test]
fn the_reason_of_one_watch_is_not_told_to_another() {
    let mut bench = Bench::live(5);
    bench.add(2, 5);
    assert_eq!(bench.run(), ["create 2 at 5"]);
    let end = "2 ended: Cancelled { reason: \"mvcc: watcher range is empty\" }";
    assert_eq!(
        bench.receive(refused("mvcc: watcher range is empty")),
        [end]
    );
    let end = "1 ended: Cancelled { reason: \"\" }";
    assert_eq!(bench.receive(canceled(1, "")), [end, "close"]);
}

/// [e] The fragments of a message are assembled, whatever messages come between them.
#[test]
fn fragments_of_two_watches_may_be_mixed() {
    let mut bench = Bench::live(5);
    bench.add(2, 5);
    bench.run();
    bench.receive(created(2, 9));
    assert!(bench.receive(piece(1, &[5, 5])).is_empty());
    assert!(bench.receive(piece(2, &[6])).is_empty());
    // Neither other watches nor progress complete it.
    assert!(bench.receive(message(1, 9)).is_empty());
    assert_eq!(bench.receive(events(2, 9, &[6])), ["2 got [6, 6]"]);
    assert_eq!(bench.receive(events(1, 9, &[5, 7])), ["1 got [5, 5, 5, 7]"]);
}

#[test]
fn an_incomplete_revision_is_forgotten_with_its_stream() {
    let mut bench = Bench::live(5);
    assert_eq!(bench.receive(piece(1, &[5, 6, 6])), ["1 got [5]"]);
    bench.cut();
    assert_eq!(bench.open(), ["create 1 at 6"]);
    bench.receive(created(1, 9));
    assert_eq!(bench.receive(events(1, 9, &[6, 6, 6])), ["1 got [6, 6, 6]"]);
}

/// None of the revisions of such a message is complete for certain.
#[test]
fn a_message_that_goes_back_is_not_delivered() {
    for pieces in [false, true] {
        let mut bench = Bench::live(5);
        let mut back = events(1, 9, &[5, 6, 7, 6]);
        back.fragment = pieces;
        assert_eq!(bench.receive(back), ["disconnected", "close", "open"]);
        assert_eq!(bench.open(), ["create 1 at 5"]);
        bench.receive(created(1, 9));
        let got = bench.receive(events(1, 9, &[5, 6, 6, 7]));
        assert_eq!(got, ["1 got [5, 6, 6, 7]"]);
    }
}

/// [h]
#[test]
fn a_watch_may_be_cancelled_twice() {
    let mut bench = Bench::live(5);
    bench.add(2, 5);
    bench.run();
    bench.receive(created(2, 9));
    let end = "1 ended: Cancelled { reason: \"gone\" }";
    assert_eq!(bench.receive(canceled(1, "gone")), [end]);
    assert!(bench.receive(canceled(1, "gone")).is_empty());
    bench.machine.cancel(WatchRef(2));
    bench.machine.cancel(WatchRef(2));
    assert_eq!(bench.run(), ["close"]);
}

/// A server may send events until it has the request to cancel.
#[test]
fn events_of_a_cancelled_watch_are_dropped() {
    let mut bench = Bench::live(5);
    bench.add(2, 5);
    bench.add(3, 5);
    assert_eq!(bench.run(), ["create 2 at 5", "create 3 at 5"]);
    bench.machine.cancel(WatchRef(1));
    bench.machine.cancel(WatchRef(2));
    assert_eq!(bench.run(), ["cancel 1"]);
    assert!(bench.receive(events(1, 9, &[5])).is_empty());
    // The watch is cancelled when the server has created it, and its answer is not taken for the next.
    assert_eq!(bench.receive(created(2, 9)), ["cancel 2"]);
    assert_eq!(bench.receive(created(3, 9)), ["3 created from 5"]);
    assert!(bench.receive(events(2, 9, &[5])).is_empty());
    assert_eq!(bench.receive(events(3, 9, &[5])), ["3 got [5]"]);
}

// How far a watch has come.

/// No event comes for an hour, then a compaction, then a cut: the watch has missed nothing.
#[test]
fn progress_of_a_watch_moves_its_resume_point() {
    let mut bench = Bench::live(5);
    assert_eq!(bench.receive(message(1, 100)), ["1 progress 100"]);
    bench.cut();
    assert_eq!(bench.open(), ["create 1 at 101"]);
}

#[test]
fn progress_moves_no_watch_back_and_no_future_watch_on() {
    let mut bench = Bench::live(5);
    bench.receive(events(1, 9, &[7]));
    assert!(bench.receive(message(1, 5)).is_empty());
    bench.add(2, 500);
    bench.run();
    bench.receive(created(2, 9));
    assert!(bench.receive(message(2, 9)).is_empty());
    bench.cut();
    assert_eq!(bench.open(), ["create 1 at 8", "create 2 at 500"]);
}

// Compaction.

#[test]
fn a_watch_ends_with_compaction_only_if_it_needs_compacted_revisions() {
    let mut bench = Bench::live(5);
    bench.receive(events(1, 9, &[7]));
    // Its next revision is 8, which the store still has.
    assert_eq!(
        bench.receive(compacted(1, 8)),
        ["cancel 1", "create 2 at 8"]
    );
    bench.receive(created(2, 9));
    assert_eq!(
        bench.receive(compacted(2, 9)),
        ["1 ended: Compacted { revision: 9 }", "close"]
    );
}

/// The machine does not create the watch for ever while the server calls it compacted.
#[test]
fn a_server_that_insists_on_compaction_is_believed() {
    let mut bench = Bench::live(5);
    assert_eq!(
        bench.receive(compacted(1, 5)),
        ["cancel 1", "create 2 at 5"]
    );
    bench.receive(created(2, 9));
    assert_eq!(
        bench.receive(compacted(2, 5)),
        ["1 ended: Compacted { revision: 5 }", "close"]
    );
}

#[test]
fn now_is_read_again_when_it_was_compacted_before_it_was_told() {
    let mut bench = Bench::new();
    bench.add(1, 0);
    bench.run();
    bench.pinned(10);
    assert_eq!(bench.open(), ["create 1 at 11"]);
    let mut answer = compacted(-1, 20);
    answer.created = true;
    assert_eq!(bench.receive(answer), ["pin"]);
    assert_eq!(bench.pinned(25), ["create 2 at 26"]);
    let told = ["1 created from 26", "1 progress 25"];
    assert_eq!(bench.receive(created(2, 25)), told);
    assert_eq!(
        bench.receive(compacted(2, 30)),
        ["1 ended: Compacted { revision: 30 }", "close"]
    );
}

#[test]
fn a_watch_that_comes_during_a_read_of_now_waits_for_the_next_read() {
    let mut bench = Bench::new();
    bench.add(1, 0);
    bench.add(2, 0);
    assert_eq!(bench.run(), ["pin"]);
    bench.add(3, 0);
    assert!(bench.run().is_empty());
    assert_eq!(bench.pinned(10), ["pin", "open"]);
    assert_eq!(bench.open(), ["create 1 at 11", "create 2 at 11"]);
    assert_eq!(bench.pinned(12), ["create 3 at 13"]);
}

// Refusals.

#[test]
fn a_refused_watch_is_created_once_more_with_a_new_token() {
    let mut bench = Bench::live(5);
    bench.add(2, 5);
    assert_eq!(bench.run(), ["create 2 at 5"]);
    assert_eq!(
        bench.receive(refused(DENIED)),
        ["disconnected", "close", "open with a fresh token"]
    );
    assert_eq!(bench.open(), ["create 1 at 5", "create 2 at 5"]);
    // The refused watch comes first.
    assert_eq!(
        bench.receive(refused(DENIED)),
        ["2 ended: PermissionDenied"]
    );
    assert_eq!(bench.receive(created(2, 9)), ["resumed"]);
}

/// A refused token is never taken for a lack of permission.
#[test]
fn a_refused_token_is_replaced_each_time() {
    let mut bench = Bench::new();
    bench.add(1, 5);
    bench.run();
    bench.open();
    let token = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
    for _ in 0..3 {
        let first = bench.receive(refused(token));
        bench.wait(Duration::from_secs(1));
        let then = bench.run();
        assert_eq!([first, then].concat(), ["close", "open with a fresh token"]);
        assert_eq!(bench.open(), ["create 1 at 5"]);
    }
}

/// The new token of a stream gets old, too.
#[test]
fn a_watch_that_is_resumed_later_gets_a_new_token_of_its_own() {
    let mut bench = Bench::with(WatchLimits {
        watch_events: 1,
        ..Default::default()
    });
    bench.add(1, 5);
    bench.run();
    bench.open();
    assert_eq!(
        bench.receive(refused(DENIED)),
        ["close", "open with a fresh token"]
    );
    bench.open();
    bench.receive(created(1, 9));
    assert_eq!(
        bench.receive(events(1, 9, &[5, 6])),
        ["1 got [5]", "cancel 1"]
    );
    bench.wait(Duration::from_secs(3_600));
    assert!(bench.take());
    bench.machine.unpause(WatchRef(1));
    assert_eq!(bench.run(), ["create 2 at 6"]);
    let appeal = ["disconnected", "close", "open with a fresh token"];
    assert_eq!(bench.receive(refused(DENIED)), appeal);
}

/// A refusal because of a compaction shows that the token of the stream is good. It may be old when
/// the watch is asked for again.
#[test]
fn a_watch_that_a_compaction_moves_has_an_appeal_of_its_own() {
    let mut bench = Bench::new();
    bench.add(1, 0);
    bench.run();
    assert_eq!(bench.pinned(10), ["open"]);
    assert_eq!(bench.open(), ["create 1 at 11"]);
    let appeal = ["close", "open with a fresh token"];
    assert_eq!(bench.receive(refused(DENIED)), appeal);
    assert_eq!(bench.open(), ["create 1 at 11"]);
    let moved = WatchResponse {
        created: true,
        ..compacted(1, 15)
    };
    assert_eq!(bench.receive(moved), ["pin"]);
    assert_eq!(bench.pinned(20), ["create 2 at 21"]);
    let closed = bench.receive(refused(DENIED));
    bench.wait(Duration::from_secs(1));
    assert_eq!([closed, bench.run()].concat(), appeal);
}

/// Without credentials there is no other token.
#[test]
fn without_credentials_a_refusal_is_the_end() {
    let mut bench = Bench::new();
    bench.machine = Watches::new(Arc::clone(&bench.budget), false, 1);
    bench.add(1, 5);
    bench.run();
    bench.open();
    assert_eq!(
        bench.receive(refused(DENIED)),
        ["1 ended: PermissionDenied", "close"]
    );
}

#[test]
fn a_server_that_assigns_ids_gets_one_creation_at_a_time() {
    let mut bench = Bench::new();
    bench.add(1, 5);
    bench.add(2, 5);
    bench.run();
    assert_eq!(bench.open(), ["create 1 at 5", "create 2 at 5"]);
    assert_eq!(bench.receive(created(0, 9)), ["close", "open"]);
    assert_eq!(bench.open(), ["create 0 at 5"]);
    assert_eq!(
        bench.receive(created(0, 9)),
        ["1 created from 5", "create 0 at 5"]
    );
    assert_eq!(bench.receive(created(1, 9)), ["2 created from 5"]);
    assert_eq!(bench.receive(events(0, 9, &[5])), ["1 got [5]"]);
}

#[test]
fn a_duplicate_id_gives_the_stream_up() {
    let mut bench = Bench::live(5);
    bench.add(2, 5);
    bench.run();
    let refusal = refused("mvcc: duplicate watch ID provided on the WatchStream");
    assert_eq!(bench.receive(refusal), ["disconnected", "close", "open"]);
    assert_eq!(bench.open(), ["create 1 at 5", "create 2 at 5"]);
}

/// The caller of a new watch gets the error at once, and not after a time-out. Watches in force wait.
#[test]
fn an_error_that_does_not_pass_ends_new_watches_only() {
    let mut bench = Bench::live(5);
    bench.add(2, 5);
    let told = bench.fail(ErrorKind::AuthenticationFailed);
    assert_eq!(
        told,
        ["2 refused: AuthenticationFailed", "disconnected", "open"]
    );
}

// The cluster of the revisions.

#[test]
fn another_cluster_ends_all_watches() {
    let mut bench = Bench::live(5);
    bench.add(2, 0);
    bench.run();
    let mut foreign = events(1, 9, &[5]);
    foreign.header = Some(ResponseHeader {
        cluster_id: 8,
        ..Default::default()
    });
    let told = [
        "1 ended: ClusterChanged",
        "2 ended: ClusterChanged",
        "close",
    ];
    assert_eq!(bench.receive(foreign), told);
}

#[test]
fn a_store_that_went_back_ends_watches_that_were_ahead() {
    let mut bench = Bench::live(5);
    bench.receive(events(1, 20, &[20]));
    bench.cut();
    assert_eq!(bench.open(), ["create 1 at 21"]);
    // A member may lag: a linearizable read decides.
    assert_eq!(bench.receive(created(1, 15)), ["resumed", "pin"]);
    let end = "1 ended: RolledBack { watched: 20, store: 15 }";
    assert_eq!(bench.pinned(15), [end, "close"]);
}

#[test]
fn a_member_that_lags_ends_nothing() {
    let mut bench = Bench::live(5);
    bench.receive(events(1, 20, &[20]));
    bench.cut();
    bench.open();
    assert_eq!(bench.receive(created(1, 15)), ["resumed", "pin"]);
    // A message before the answer may have a newer revision.
    assert_eq!(bench.receive(events(1, 30, &[30])), ["1 got [30]"]);
    assert!(bench.pinned(25).is_empty());
    assert_eq!(bench.receive(events(1, 31, &[31])), ["1 got [31]"]);
}

#[test]
fn an_answer_from_before_a_doubt_does_not_decide_it() {
    let mut bench = Bench::live(5);
    bench.add(2, 0);
    assert_eq!(bench.run(), ["pin"]);
    bench.receive(events(1, 20, &[20]));
    bench.cut();
    bench.open();
    assert_eq!(bench.receive(created(1, 15)), ["resumed"]);
    // This read began before the twentieth revision.
    assert_eq!(bench.pinned(10), ["pin", "create 2 at 11"]);
    assert!(bench.pinned(20).is_empty());
}

// The notes to owners.

#[test]
fn an_owner_is_told_of_a_resumption_when_all_its_watches_are_in_force() {
    let mut bench = Bench::live(5);
    bench.add(2, 5);
    bench.run();
    bench.receive(created(2, 9));
    assert_eq!(bench.cut(), ["disconnected", "open"]);
    assert!(bench.cut().contains(&"open".to_owned()), "it is told once");
    bench.open();
    assert!(bench.receive(created(1, 9)).is_empty());
    assert_eq!(bench.receive(created(2, 9)), ["resumed"]);
}

#[test]
fn without_a_stream_no_watch_is_resumed() {
    let mut bench = Bench::live(5);
    bench.add(2, 5);
    bench.run();
    assert_eq!(bench.cut(), ["disconnected", "open"]);
    bench.machine.cancel(WatchRef(1));
    assert!(bench.run().is_empty());
    bench.open();
    assert_eq!(
        bench.receive(created(1, 9)),
        ["2 created from 5", "resumed"]
    );
}

#[test]
fn no_stream_is_opened_for_a_removed_watch() {
    let mut bench = Bench::new();
    bench.add(1, 5);
    bench.machine.cancel(WatchRef(1));
    assert!(bench.run().is_empty());
    bench.machine.assert_empty();
}

// Slow consumers.

#[test]
fn a_slow_consumer_pauses_its_own_watch_only() {
    let limits = WatchLimits {
        watch_events: 2,
        ..Default::default()
    };
    let mut bench = Bench::with(limits);
    bench.add(1, 5);
    bench.add(2, 5);
    bench.run();
    bench.open();
    bench.receive(created(1, 9));
    bench.receive(created(2, 9));
    // A revision is never split, and the events beyond the limit are not kept.
    let got = bench.receive(events(1, 9, &[5, 6, 6, 6, 7]));
    assert_eq!(got, ["1 got [5, 6, 6, 6]", "cancel 1"]);
    assert!(bench.receive(events(1, 9, &[8])).is_empty());
    assert_eq!(bench.receive(events(2, 9, &[5])), ["2 got [5]"]);
    assert!(bench.take());
    bench.machine.unpause(WatchRef(1));
    assert_eq!(bench.run(), ["create 3 at 7"]);
    bench.receive(created(3, 9));
    assert_eq!(bench.receive(events(3, 9, &[7])), ["1 got [7]"]);
}

#[test]
fn a_revision_over_the_limit_ends_its_watch_after_earlier_events() {
    let limits = WatchLimits {
        revision_bytes: 1_000,
        ..Default::default()
    };
    for pieces in [false, true] {
        let mut bench = Bench::with(limits);
        bench.add(1, 5);
        bench.run();
        bench.open();
        bench.receive(created(1, 9));
        let mut large = events(1, 9, &[[5].as_slice(), &[6; 12]].concat());
        large.fragment = pieces;
        let end = "1 ended: TooLarge { revision: 6 }";
        assert_eq!(bench.receive(large), ["1 got [5]", end, "close"]);
    }
}

#[test]
fn fragments_are_requested_after_a_message_that_is_too_large() {
    let mut bench = Bench::new();
    let whole = Spec {
        fragment: false,
        ..spec(5)
    };
    bench.add_spec(1, 1, whole);
    bench.run();
    bench.open();
    bench.receive(created(1, 9));
    bench.fail(ErrorKind::MessageTooLarge);
    bench.machine.opened(bench.now);
    let Step::Send(request) = bench.machine.next(bench.now, true) else {
        panic!("nothing is sent");
    };
    let Some(RequestUnion::CreateRequest(create)) = request.request_union else {
        panic!("nothing is created");
    };
    assert!(create.fragment);
}

// Time.

#[test]
fn a_creation_without_an_answer_gives_the_stream_up() {
    let mut bench = Bench::new();
    bench.add(1, 5);
    bench.run();
    // The server may be slow: each stream waits longer than the one before.
    for seconds in [5, 20, 80] {
        assert_eq!(bench.open(), ["create 1 at 5"]);
        bench.wait(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert!(bench.run().is_empty(), "after {seconds} s");
        bench.wait(Duration::from_millis(1));
        assert!(bench.run().contains(&"close".to_owned()));
        bench.wait(Duration::from_secs(1));
        bench.run();
    }
}

/// The stream is not silent, because other watches get messages.
#[test]
fn a_creation_without_an_answer_is_noticed_on_a_busy_stream() {
    let mut bench = Bench::live(5);
    bench.add(2, 5);
    assert_eq!(bench.run(), ["create 2 at 5"]);
    for revision in 5..34 {
        bench.wait(Duration::from_secs(1));
        assert_eq!(bench.receive(events(1, revision, &[revision])).len(), 1);
    }
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.run(), ["close", "disconnected", "open"]);
    // The creation without an answer may be the one that keeps the server from answering the others.
    assert_eq!(bench.open(), ["create 1 at 34", "create 2 at 5"]);
}

/// No other message comes while a long message is received.
#[test]
fn a_stream_on_which_a_message_is_coming_is_not_given_up() {
    let mut bench = Bench::live(5);
    bench.add(2, 5);
    assert_eq!(bench.run(), ["create 2 at 5"]);
    for _ in 0..20 {
        bench.wait(Duration::from_secs(4));
        bench.machine.delayed(bench.now);
        assert!(bench.run().is_empty());
    }
    bench.wait(Duration::from_secs(5));
    assert_eq!(bench.run(), ["close", "disconnected", "open"]);
}

/// Watches are created quickly before the server begins with a long history.
#[test]
fn quick_answers_do_not_shorten_the_wait_of_a_silent_stream() {
    let mut bench = Bench::live(5);
    bench.add(2, 5);
    bench.run();
    bench.wait(Duration::from_secs(5));
    assert!(bench.run().contains(&"close".to_owned()));
    bench.open();
    bench.receive(created(1, 9));
    bench.receive(created(2, 9));
    bench.add(3, 5);
    assert_eq!(bench.run(), ["create 3 at 5"]);
    bench.wait(Duration::from_secs(9));
    assert!(bench.run().is_empty());
    bench.receive(created(3, 9));
    // This stream has lasted, so its answers show that the server is quick again.
    bench.wait(Duration::from_secs(10));
    bench.add(4, 5);
    assert_eq!(bench.run(), ["create 4 at 5"]);
    bench.receive(created(4, 9));
    bench.add(5, 5);
    assert_eq!(bench.run(), ["create 5 at 5"]);
    bench.wait(Duration::from_secs(5));
    assert!(bench.run().contains(&"close".to_owned()));
}

/// The last watch of an owner may be removed while the owner is interrupted.
#[test]
fn an_interruption_ends_with_the_last_watch_of_its_owner() {
    let mut bench = Bench::live(5);
    bench.add_spec(2, 2, spec(5));
    bench.run();
    bench.receive(created(2, 9));
    assert_eq!(bench.cut(), ["disconnected", "disconnected", "open"]);
    bench.machine.cancel(WatchRef(1));
    assert_eq!(bench.run(), ["resumed"]);
    assert_eq!(bench.open(), ["create 1 at 5"]);
    let end = "2 ended: Cancelled { reason: \"gone\" }";
    assert_eq!(bench.receive(refused("gone")), [end, "resumed", "close"]);
}

/// Otherwise the last of many watches would never be created where no stream lasts.
#[test]
fn watches_that_were_not_created_come_first_on_the_next_stream() {
    let mut bench = Bench::new();
    for number in 1..=3 {
        bench.add(number, 5);
    }
    bench.run();
    assert_eq!(bench.open().len(), 3);
    bench.receive(created(1, 4));
    bench.cut();
    let order = ["create 1 at 5", "create 2 at 5", "create 3 at 5"];
    assert_eq!(bench.open(), order);
    // The second and the third watch come first now, with the first IDs.
    assert_eq!(bench.receive(created(1, 4)), ["2 created from 5"]);
    assert_eq!(bench.receive(created(2, 4)), ["3 created from 5"]);
    assert_eq!(bench.receive(created(3, 4)), ["resumed"]);
}

#[test]
fn streams_that_do_not_last_are_opened_less_and_less_often() {
    let mut bench = Bench::live(5);
    let begin = bench.now;
    let mut openings = 0;
    while bench.now < begin + Duration::from_secs(10) {
        bench
            .machine
            .failed(Error::new(ErrorKind::Unavailable, "cut"), bench.now);
        bench.run();
        bench.now = bench.until.unwrap_or(bench.now);
        bench.run();
        bench.machine.opened(bench.now);
        openings += 1;
    }
    assert!(openings < 30, "{openings} in ten seconds");
}

#[test]
fn closing_ends_all_watches_also_later_ones() {
    let mut bench = Bench::live(5);
    bench.machine.close();
    bench.add(2, 0);
    let closed = WatchEnd::ClientClosed;
    let told = [
        format!("1 ended: {closed:?}"),
        format!("2 ended: {closed:?}"),
        "close".to_owned(),
    ];
    assert_eq!(bench.run(), told);
    bench.wait(Duration::from_secs(60));
    assert!(bench.run().is_empty());
}

impl Bench {
    /// Lets the consumer take the oldest batch. Returns whether its watch is resumed.
    pub(super) fn take(&mut self) -> bool {
        let (held, revision) = self.held.pop_front().expect("something came");
        held.take(revision)
    }
}

/// An error of one key ends the watches of this key. The other watches read the revision that
/// stands for now by another key.
#[test]
fn a_key_that_cannot_be_read_holds_up_no_other_watch() {
    for kind in [
        ErrorKind::RequestTooLarge,
        ErrorKind::MessageTooLarge,
        ErrorKind::InvalidArgument,
    ] {
        let mut bench = Bench::new();
        let key = Bytes::from_static(b"too long");
        let mut odd = spec(0);
        odd.range = KeyRange::single(key.clone());
        bench.add_spec(1, 1, odd);
        bench.add(2, 0);
        assert_eq!(bench.run(), ["pin"]);
        let error = Arc::new(Error::new(kind, "not this key"));
        bench.machine.unpinned(&key, &error, bench.now);
        assert_eq!(
            bench.run(),
            [format!("1 refused: {kind:?}"), "pin".to_owned()]
        );
        assert_eq!(bench.pinned(5), ["open"]);
    }
}
