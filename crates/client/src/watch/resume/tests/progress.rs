//! The progress of watches without events.

use std::time::{Duration, Instant};

use etcdex_proto::etcdserverpb::WatchResponse;

use super::rules::{Bench, compacted, created, events, message, spec};
use crate::config::WatchLimits;
use crate::error::{Error, ErrorKind};
use crate::watch::entry::{OwnerId, Spec, WatchRef};

const SOON: Duration = Duration::from_millis(10);

/// A progress message of the server for the whole stream.
fn all(revision: i64) -> WatchResponse {
    message(-1, revision)
}

impl Bench {
    /// Returns a machine with a watch of owner 1 from revision 5 on, at a store of revision 9, on a
    /// stream whose server is exact or is not.
    pub(super) fn judged(exact: bool) -> Self {
        let mut bench = Self::new();
        bench.add(1, 5);
        bench.run();
        bench.open();
        bench.receive(created(1, 9));
        bench.machine.progress_is_exact(exact);
        assert!(bench.run().is_empty());
        bench
    }

    /// Requests progress for owner 1 while the store has this revision. Returns the steps.
    pub(super) fn ask(&mut self, revision: i64) -> Vec<String> {
        self.machine.request_progress(OwnerId(1));
        assert_eq!(self.run(), ["pin"]);
        let mut done = self.pinned(revision);
        self.wait(SOON);
        done.append(&mut self.run());
        done
    }
}

/// etcd issue 15220.
#[test]
fn progress_of_the_stream_moves_no_watch_on_an_old_server() {
    let mut bench = Bench::judged(false);
    assert_eq!(bench.ask(100), ["progress?"]);
    assert_eq!(bench.receive(all(100)), ["progress 4"]);
    assert_eq!(bench.receive(events(1, 100, &[50])), ["1 got [50]"]);
    // The owner is told of events under way when they have come.
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.run(), ["progress?"]);
    assert_eq!(bench.receive(all(100)), ["progress 50"]);
    bench.cut();
    assert_eq!(bench.open(), ["pin", "create 1 at 51"]);
}

#[test]
fn requests_to_an_old_server_end() {
    let mut bench = Bench::judged(false);
    assert_eq!(bench.ask(100), ["progress?"]);
    bench.receive(all(100));
    let mut asked = 0;
    for _ in 0..60 {
        bench.wait(Duration::from_secs(1));
        for request in bench.run() {
            assert_eq!(request, "progress?");
            asked += 1;
            assert!(bench.receive(all(100)).is_empty());
        }
    }
    assert_eq!(asked, 10);
}

#[test]
fn progress_of_the_stream_moves_live_watches_on_a_new_server() {
    let mut bench = Bench::judged(true);
    assert_eq!(bench.ask(100), ["progress?"]);
    bench.add(2, 7);
    assert_eq!(bench.run(), ["create 2 at 7"]);
    // The second watch was created while the answer was under way.
    assert_eq!(bench.receive(created(2, 100)), ["2 created from 7"]);
    assert!(bench.receive(all(100)).is_empty());
    bench.cut();
    assert_eq!(bench.open(), ["pin", "create 1 at 101", "create 2 at 7"]);
}

/// The next stream may be one of an older server.
#[test]
fn the_version_of_a_server_is_forgotten_with_its_stream() {
    let mut bench = Bench::judged(true);
    bench.cut();
    bench.open();
    assert_eq!(bench.receive(created(1, 9)), ["resumed"]);
    // No request is sent before the version of the server is known.
    assert!(bench.ask(100).is_empty());
    bench.machine.progress_is_exact(false);
    assert_eq!(bench.run(), ["progress?"]);
    assert_eq!(bench.receive(all(100)), ["progress 4"]);
    assert_eq!(bench.receive(events(1, 100, &[50])), ["1 got [50]"]);
}

/// The first of two requests seemed lost. Its answer comes, a watch is created, and then comes the
/// answer to the second request, which does not include this watch.
#[test]
fn a_late_answer_does_not_include_younger_watches() {
    let mut bench = Bench::judged(true);
    assert_eq!(bench.ask(100), ["progress?"]);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.run(), ["progress?"]);
    assert_eq!(bench.receive(all(100)), ["progress 100"]);
    bench.add(2, 7);
    assert_eq!(bench.run(), ["create 2 at 7"]);
    assert_eq!(bench.receive(created(2, 100)), ["2 created from 7"]);
    assert_eq!(bench.ask(100), ["progress?"]);
    assert!(bench.receive(all(100)).is_empty());
    assert_eq!(bench.receive(events(2, 100, &[8])), ["2 got [8]"]);
    // There are more answers than requests before the watch, so this one is to a later request.
    bench.wait(SOON);
    assert_eq!(bench.run(), ["progress?"]);
    assert_eq!(bench.receive(all(100)), ["progress 100"]);
}

#[test]
fn an_answer_without_a_request_is_ignored() {
    let mut bench = Bench::judged(true);
    assert!(bench.receive(all(100)).is_empty());
    bench.cut();
    assert_eq!(bench.open(), ["create 1 at 5"]);
}

/// Exact servers get a request every ten seconds, the others none.
#[test]
fn idle_watches_are_moved_on_every_ten_seconds() {
    for (exact, asked) in [(true, vec!["progress?"]), (false, vec![])] {
        let mut bench = Bench::judged(exact);
        bench.wait(Duration::from_secs(9));
        assert!(bench.run().is_empty());
        bench.wait(Duration::from_secs(1));
        assert_eq!(bench.run(), asked);
        // The store has not changed since the watch was created.
        bench.receive(all(9));
        bench.cut();
        let next = if exact { 10 } else { 5 };
        assert_eq!(bench.open(), [format!("create 1 at {next}")]);
    }
}

/// Servers drop a request while a watch of the stream is behind.
#[test]
fn a_request_is_repeated_until_it_is_answered() {
    let mut bench = Bench::judged(true);
    assert_eq!(bench.ask(100), ["progress?"]);
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        bench.wait(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert!(bench.run().is_empty());
        bench.wait(Duration::from_millis(1));
        assert_eq!(bench.run(), ["progress?"], "after {seconds} s");
    }
    assert_eq!(bench.receive(all(100)), ["progress 100"]);
    bench.wait(Duration::from_secs(1));
    assert!(bench.run().is_empty());
}

/// A member may lag behind a write that its client has sent to another member.
#[test]
fn an_answer_from_before_the_request_does_not_count() {
    let mut bench = Bench::judged(true);
    assert_eq!(bench.ask(100), ["progress?"]);
    assert!(bench.receive(all(99)).is_empty());
    bench.wait(SOON);
    assert_eq!(bench.run(), ["progress?"]);
    assert_eq!(bench.receive(all(101)), ["progress 101"]);
}

#[test]
fn a_request_while_another_waits_has_an_answer_of_its_own() {
    let mut bench = Bench::judged(true);
    assert_eq!(bench.ask(100), ["progress?"]);
    bench.machine.request_progress(OwnerId(1));
    assert_eq!(bench.run(), ["pin"]);
    bench.machine.request_progress(OwnerId(1));
    assert_eq!(bench.pinned(110), ["pin"]);
    assert!(bench.pinned(120).is_empty());
    assert_eq!(bench.receive(all(105)), ["progress 105"]);
    bench.wait(SOON);
    assert_eq!(bench.run(), ["progress?"]);
    assert_eq!(bench.receive(all(120)), ["progress 120"]);
    bench.wait(Duration::from_secs(1));
    assert!(bench.run().is_empty());
}

/// Events show the same as an answer of the server.
#[test]
fn an_owner_is_answered_when_events_have_reached_the_target() {
    let mut bench = Bench::judged(true);
    assert_eq!(bench.ask(12), ["progress?"]);
    let told = ["1 got [10, 12]", "progress 12"];
    assert_eq!(bench.receive(events(1, 12, &[10, 12])), told);
}

/// etcd does not answer before the store has reached the start of a watch. The start itself is the
/// answer.
#[test]
fn a_watch_from_now_is_told_of_now_where_nothing_is_written() {
    for exact in [true, false] {
        let mut bench = Bench::new();
        bench.add(1, 0);
        bench.run();
        bench.pinned(10);
        bench.open();
        let told = ["1 created from 11", "1 progress 10"];
        assert_eq!(bench.receive(created(1, 10)), told);
        bench.machine.progress_is_exact(exact);
        assert_eq!(bench.ask(10), ["progress 10"]);
    }
}

/// The member that created the watch lags. A linearizable read tells the revision.
#[test]
fn a_member_that_lags_does_not_keep_a_watch_from_being_told_of_now() {
    let mut bench = Bench::new();
    bench.add(1, 0);
    bench.run();
    bench.pinned(10);
    bench.open();
    assert_eq!(bench.receive(created(1, 8)), ["1 created from 11", "pin"]);
    assert_eq!(bench.pinned(10), ["1 progress 10"]);
}

/// A watch from now on and one of the future both prevent an answer of etcd for all others.
#[test]
fn a_watch_that_is_ahead_of_the_store_does_not_keep_others_from_an_answer() {
    for start in [10, 500] {
        let mut bench = Bench::judged(true);
        bench.add_spec(2, 2, spec(start));
        assert_eq!(bench.run(), [format!("create 2 at {start}")]);
        bench.receive(created(2, 9));
        assert_eq!(bench.ask(9), ["cancel 2", "create 3 at 9"]);
        assert!(bench.receive(created(3, 9)).is_empty());
        bench.wait(Duration::from_millis(250));
        assert_eq!(bench.run(), ["progress?"]);
        // Events from before its start are left out.
        assert!(bench.receive(events(3, 9, &[9])).is_empty());
        assert_eq!(bench.receive(all(9)), ["progress 9"]);
        let told = bench.receive(events(3, start, &[start - 1, start]));
        assert_eq!(told, [format!("2 got [{start}]")]);
        bench.cut();
        let next = start + 1;
        let creations = ["create 1 at 10".to_owned(), format!("create 2 at {next}")];
        assert_eq!(bench.open(), creations);
    }
}

/// No watch is created again, because no owner needs the answer.
#[test]
fn watches_that_are_all_ahead_of_the_store_are_left_alone() {
    let mut bench = Bench::new();
    for number in 1..=3 {
        bench.add(number, 10);
    }
    bench.run();
    bench.open();
    for watch_id in 1..=3 {
        bench.receive(created(watch_id, 9));
    }
    bench.machine.progress_is_exact(true);
    for _ in 0..100 {
        bench.wait(Duration::from_secs(5));
        let done = bench.run();
        assert!(done.iter().all(|step| step == "progress?"), "{done:?}");
    }
}

/// The other watch has caught up with the store.
#[test]
fn a_watch_ahead_of_the_store_is_left_alone_where_no_other_lacks_anything() {
    let mut bench = Bench::judged(true);
    bench.wait(Duration::from_secs(10));
    assert_eq!(bench.run(), ["progress?"]);
    bench.receive(all(9));
    bench.add_spec(2, 2, spec(10));
    assert_eq!(bench.run(), ["create 2 at 10"]);
    bench.receive(created(2, 9));
    bench.wait(Duration::from_secs(10));
    assert_eq!(bench.run(), ["progress?"]);
}

#[test]
fn a_watch_that_was_created_below_its_start_does_not_end_for_a_compaction_there() {
    let mut bench = Bench::judged(true);
    bench.add_spec(2, 2, spec(10));
    bench.run();
    bench.receive(created(2, 9));
    assert_eq!(bench.ask(9), ["cancel 2", "create 3 at 9"]);
    bench.receive(created(3, 10));
    let done = bench.receive(compacted(3, 10));
    assert_eq!(done, ["cancel 3", "create 4 at 10"]);
}

/// `etcd grpc-proxy` assigns IDs of its own and never answers.
#[test]
fn a_proxy_that_never_answers_gets_a_few_requests_for_each_stream() {
    let mut bench = Bench::new();
    bench.add(1, 5);
    bench.run();
    assert_eq!(bench.open(), ["create 1 at 5"]);
    assert_eq!(bench.receive(created(0, 9)), ["close", "open"]);
    for _ in 0..2 {
        assert_eq!(bench.open(), ["create 0 at 5"]);
        bench.receive(created(0, 9));
        bench.machine.progress_is_exact(true);
        let mut asked = 0;
        for revision in 10..1_000 {
            bench.wait(Duration::from_secs(10));
            asked += bench.run().len();
            bench.receive(events(0, revision, &[4]));
        }
        assert_eq!(asked, 5);
        bench.cut();
    }
}

/// The owner still waits when the revision cannot be read.
#[test]
fn a_request_survives_a_failed_read_of_the_revision_and_a_cut() {
    let mut bench = Bench::judged(true);
    bench.machine.request_progress(OwnerId(1));
    assert_eq!(bench.run(), ["pin"]);
    let key = spec(5).range.start;
    let error = Error::new(ErrorKind::Unavailable, "no").into();
    bench.machine.unpinned(&key, &error, bench.now);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.run(), ["pin"]);
    bench.cut();
    assert!(bench.pinned(100).is_empty());
    assert_eq!(bench.open(), ["pin", "create 1 at 5"]);
    bench.receive(created(1, 9));
    bench.pinned(101);
    bench.machine.progress_is_exact(true);
    bench.wait(SOON);
    assert_eq!(bench.run(), ["progress?"]);
    assert_eq!(bench.receive(all(101)), ["progress 101"]);
}

/// The user has lost the permission to read, and the watch stays in force.
#[test]
fn a_request_without_permission_to_read_is_answered_by_the_revision_of_the_stream() {
    let mut bench = Bench::judged(true);
    bench.machine.request_progress(OwnerId(1));
    assert_eq!(bench.run(), ["pin"]);
    let key = spec(5).range.start;
    let error = Error::new(ErrorKind::PermissionDenied, "no").into();
    bench.machine.unpinned(&key, &error, bench.now);
    bench.wait(SOON);
    assert_eq!(bench.run(), ["progress?"]);
    assert_eq!(bench.receive(all(9)), ["progress 9"]);
}

/// The same on a stream that has not shown any revision yet. The machine once forgot such a
/// request, and the caller never got an answer.
#[test]
fn a_request_without_permission_to_read_waits_for_the_first_revision_of_the_stream() {
    let mut bench = Bench::judged(true);
    bench.cut();
    assert_eq!(bench.open(), ["create 1 at 5"]);
    bench.machine.request_progress(OwnerId(1));
    assert_eq!(bench.run(), ["pin"]);
    let key = spec(5).range.start;
    let error = Error::new(ErrorKind::PermissionDenied, "no").into();
    bench.machine.unpinned(&key, &error, bench.now);
    assert!(bench.run().is_empty());
    assert_eq!(bench.receive(created(1, 9)), ["resumed"]);
    bench.machine.progress_is_exact(true);
    bench.wait(SOON);
    assert_eq!(bench.run(), ["progress?"]);
    assert_eq!(bench.receive(all(9)), ["progress 9"]);
}

/// A watch that was created at the store's revision once got all events since then again after each
/// pause on the same stream.
#[test]
fn a_watch_that_was_created_below_its_start_is_resumed_after_a_pause_where_it_was() {
    let mut bench = Bench::with(WatchLimits {
        watch_events: 1,
        ..WatchLimits::default()
    });
    bench.add(1, 5);
    bench.run();
    bench.open();
    bench.receive(created(1, 9));
    bench.machine.progress_is_exact(true);
    bench.add_spec(2, 2, spec(10));
    bench.run();
    bench.receive(created(2, 9));
    assert_eq!(bench.ask(9), ["cancel 2", "create 3 at 9"]);
    bench.receive(created(3, 9));
    let paused = ["2 got [50]", "cancel 3"];
    assert_eq!(bench.receive(events(3, 60, &[50, 60])), paused);
    assert!(bench.take());
    bench.machine.unpause(WatchRef(2));
    assert_eq!(bench.run(), ["create 4 at 51"]);
}

/// The machine once searched all watches for each owner.
#[test]
fn many_owners_are_served_by_one_pass() {
    let owners = 30_000;
    let mut bench = Bench::new();
    for number in 1..=owners {
        bench.add_spec(
            number,
            number,
            Spec {
                progress: false,
                ..spec(5)
            },
        );
    }
    bench.run_all();
    for watch_id in 1..=i64::try_from(owners).expect("few") {
        bench.machine.received(created(watch_id, 9), bench.now);
        bench.run_all();
    }
    bench.machine.progress_is_exact(true);
    for owner in 1..=owners {
        bench.machine.request_progress(OwnerId(owner));
    }
    bench.run_all();
    let begin = Instant::now();
    bench.machine.pinned(crate::kv::ResponseHeader {
        cluster_id: 7,
        revision: 9,
        ..Default::default()
    });
    bench.wait(SOON);
    bench.run_all();
    bench.machine.received(all(9), bench.now);
    assert_eq!(bench.run_all(), 30_000);
    // With a pass for each owner, this took minutes.
    assert!(begin.elapsed() < Duration::from_secs(20));
}

impl Bench {
    /// Executes all steps, and opens the stream. Returns the number of notes.
    fn run_all(&mut self) -> usize {
        use super::super::Step;
        let mut told = 0;
        loop {
            match self.machine.next(self.now, true) {
                Step::Tell(_) => told += 1,
                Step::Open { .. } => self.machine.opened(self.now),
                Step::Rest(_) => return told,
                _ => {}
            }
        }
    }
}
