//! Long histories of small events, which a server is slow to send in pieces.

use std::time::Duration;

use etcdex_proto::etcdserverpb::WatchResponse;
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;

use super::super::Step;
use super::rules::{Bench, created, events};
use crate::config::WatchLimits;
use crate::error::ErrorKind;

/// A piece of a message, with so many events of one revision.
fn piece(revision: i64, events_in_it: usize) -> WatchResponse {
    WatchResponse {
        fragment: true,
        ..events(1, revision + 5, &vec![revision; events_in_it])
    }
}

/// Opens the stream that the machine wants, and creates watch 1 on it; says whether it wants
/// pieces.
fn wants_pieces(bench: &mut Bench) -> bool {
    bench.machine.opened(bench.now);
    let Step::Send(request) = bench.machine.next(bench.now, true) else {
        panic!("nothing is sent");
    };
    let Some(RequestUnion::CreateRequest(create)) = request.request_union else {
        panic!("nothing is created");
    };
    bench.receive(created(1, 9));
    create.fragment
}

#[test]
fn a_crowd_in_pieces_is_asked_for_as_a_whole() {
    let mut bench = Bench::live(5);
    assert!(bench.receive(piece(5, 3_999)).is_empty());
    assert_eq!(
        bench.receive(piece(6, 4_000)),
        [
            format!("1 got {:?}", vec![5; 3_999]),
            "disconnected".to_owned(),
            "close".to_owned(),
            "open".to_owned(),
        ]
    );
    assert!(!wants_pieces(&mut bench));
}

/// Once a whole message was too large, crowds come in pieces, however slowly.
#[test]
fn a_crowd_that_is_too_large_as_a_whole_comes_in_pieces() {
    let mut bench = Bench::live(5);
    bench.receive(piece(5, 4_000));
    assert!(!wants_pieces(&mut bench));
    bench.wait(Duration::from_secs(2));
    bench.fail(ErrorKind::MessageTooLarge);
    assert!(wants_pieces(&mut bench));
    let more = bench.receive(piece(5, 4_000));
    assert!(more.is_empty(), "{more:?}");
}

/// Who is paused with small events has many of them before it.
#[test]
fn a_paused_crowd_goes_on_as_a_whole() {
    let limits = WatchLimits {
        watch_events: 2,
        ..WatchLimits::default()
    };
    let mut bench = Bench::with(limits);
    bench.add(1, 5);
    bench.run();
    assert!(wants_pieces(&mut bench));
    assert_eq!(
        bench.receive(events(1, 9, &[5, 6, 7])),
        ["1 got [5, 6]", "cancel 1"]
    );
    let (held, revision) = bench.held.pop_front().expect("it was delivered");
    assert!(held.take(revision));
    bench.machine.go_on(1);
    let Step::Send(request) = bench.machine.next(bench.now, true) else {
        panic!("nothing is sent");
    };
    let Some(RequestUnion::CreateRequest(create)) = request.request_union else {
        panic!("nothing is created");
    };
    assert_eq!((create.start_revision, create.fragment), (7, false));
}

/// Watches of one range meet the same crowd: one new stream serves them all.
#[test]
fn one_crowd_is_enough_for_all() {
    let mut bench = Bench::live(5);
    bench.add(2, 5);
    assert_eq!(bench.run(), ["create 2 at 5"]);
    bench.receive(created(2, 9));
    bench.receive(piece(5, 4_000));
    bench.machine.opened(bench.now);
    for _ in 0..2 {
        let Step::Send(request) = bench.machine.next(bench.now, true) else {
            panic!("nothing is sent");
        };
        let Some(RequestUnion::CreateRequest(create)) = request.request_union else {
            panic!("nothing is created");
        };
        assert!(!create.fragment);
    }
}
