//! Messages of a long history: whole, or in fragments where they are too large.

use std::time::Duration;

use etcdex_proto::etcdserverpb::watch_request::RequestUnion;

use super::super::Step;
use super::rules::{Bench, created, events, spec};
use crate::error::ErrorKind;
use crate::watch::entry::Spec;

impl Bench {
    /// Opens the stream. Returns the start of each creation, and whether it requests fragments.
    fn creations(&mut self) -> Vec<(i64, bool)> {
        self.machine.opened(self.now);
        let mut creations = Vec::new();
        while let Step::Send(request) = self.machine.next(self.now, true) {
            if let Some(RequestUnion::CreateRequest(create)) = request.request_union {
                creations.push((create.start_revision, create.fragment));
            }
        }
        creations
    }
}

fn whole(start: i64) -> Spec {
    Spec {
        fragment: false,
        ..spec(start)
    }
}

/// etcd takes seconds for a fragment of ten thousand small events.
#[test]
fn whole_messages_are_requested_until_one_is_too_large() {
    let mut bench = Bench::new();
    bench.add_spec(1, 1, whole(5));
    assert_eq!(bench.run(), ["open"]);
    assert_eq!(bench.creations(), [(5, false)]);
    bench.receive(created(1, 9));
    bench.fail(ErrorKind::Unavailable);
    assert_eq!(bench.creations(), [(5, false)]);
    bench.receive(created(1, 9));
    bench.fail(ErrorKind::MessageTooLarge);
    assert_eq!(bench.creations(), [(5, true)]);
}

/// A long history does not change the requests of other watches, and changes its own for a time only.
#[test]
fn only_a_watch_that_needs_fragments_requests_them() {
    let mut bench = Bench::new();
    bench.add_spec(1, 1, whole(5));
    bench.add_spec(2, 1, whole(10));
    bench.run();
    assert_eq!(bench.creations(), [(5, false), (10, false)]);
    bench.receive(created(1, 9));
    bench.receive(created(2, 9));
    // The second watch has caught up, so the message was for the first one.
    bench.fail(ErrorKind::MessageTooLarge);
    assert_eq!(bench.creations(), [(5, true), (10, false)]);
    bench.receive(created(1, 9));
    bench.receive(created(2, 9));
    bench.receive(events(1, 9, &[5]));
    bench.cut();
    assert_eq!(bench.creations(), [(6, true), (10, false)]);
    bench.receive(created(1, 9));
    bench.receive(created(2, 9));
    bench.receive(events(1, 9, &[9]));
    bench.cut();
    assert_eq!(bench.creations(), [(10, false), (10, false)]);
}

#[test]
fn a_watch_whose_fragments_are_too_large_ends_alone() {
    let mut bench = Bench::new();
    bench.add_spec(1, 1, whole(5));
    bench.add_spec(2, 1, whole(10));
    bench.run();
    for _ in 0..2 {
        bench.creations();
        bench.receive(created(1, 9));
        bench.receive(created(2, 9));
        bench.fail(ErrorKind::MessageTooLarge);
    }
    bench.creations();
    bench.receive(created(1, 9));
    bench.receive(created(2, 9));
    assert_eq!(
        bench.fail(ErrorKind::MessageTooLarge),
        [
            "1 ended: Cancelled { reason: \"cut\" }",
            "disconnected",
            "open"
        ]
    );
}

/// The user may request fragments from the beginning.
#[test]
fn fragments_that_the_user_requests_stay() {
    let mut bench = Bench::new();
    bench.add_spec(
        1,
        1,
        Spec {
            fragment: true,
            ..spec(5)
        },
    );
    bench.run();
    assert_eq!(bench.creations(), [(5, true)]);
    bench.receive(created(1, 9));
    bench.receive(events(1, 9, &[9]));
    bench.wait(Duration::from_secs(2));
    bench.cut();
    assert_eq!(bench.creations(), [(10, true)]);
}

/// etcd sends nothing while it makes a fragment of many small events. The next stream must not have the
/// same request.
#[test]
fn whole_messages_are_requested_after_fragments_made_a_stream_silent() {
    let mut bench = Bench::new();
    bench.add(1, 5);
    bench.run();
    assert_eq!(bench.creations(), [(5, true)]);
    bench.receive(created(1, 9));
    bench.add(2, 10);
    bench.run();
    bench.wait(Duration::from_secs(5));
    assert!(bench.run().contains(&"close".to_owned()));
    assert_eq!(bench.creations(), [(5, false), (10, true)]);
}

/// If whole messages are too large, the machine can only wait for the fragments.
#[test]
fn the_machine_waits_for_fragments_that_it_needs() {
    let mut bench = Bench::new();
    bench.add_spec(1, 1, whole(5));
    bench.run();
    bench.creations();
    bench.receive(created(1, 9));
    bench.fail(ErrorKind::MessageTooLarge);
    assert_eq!(bench.creations(), [(5, true)]);
    bench.receive(created(1, 9));
    bench.add(2, 5);
    assert_eq!(bench.run(), ["create 2 at 5"]);
    bench.wait(Duration::from_secs(299));
    assert!(bench.run().is_empty());
    bench.wait(Duration::from_secs(1));
    assert!(bench.run().contains(&"close".to_owned()));
}
