//! Progress of the stream: the watches that it moves, and the notes to owners.

use super::rules::{Bench, created, message};

/// The server may have answered the progress request before it created the watch, and the answer to the
/// creation does not tell the revision.
#[test]
fn progress_does_not_include_a_watch_that_was_created_at_an_unknown_revision() {
    let mut bench = Bench::judged(true);
    assert_eq!(bench.ask(100), ["progress?"]);
    bench.add(2, 7);
    assert_eq!(bench.run(), ["create 2 at 7"]);
    assert_eq!(bench.receive(created(2, 0)), ["2 created from 7"]);
    assert!(bench.receive(message(-1, 100)).is_empty());
    bench.cut();
    assert_eq!(bench.open(), ["pin", "create 1 at 101", "create 2 at 7"]);
}

/// A watch that is not in force yet does not delay the answer.
#[test]
fn an_owner_is_told_of_the_watches_that_are_in_force() {
    let mut bench = Bench::judged(true);
    bench.add(2, 3);
    assert_eq!(bench.run(), ["create 2 at 3"]);
    assert_eq!(bench.ask(100), ["progress?"]);
    assert_eq!(bench.receive(message(-1, 100)), ["progress 100"]);
}

/// A server may send any revision, also the last one, which has no successor.
#[test]
fn a_creation_at_the_last_revision_is_taken() {
    let mut bench = Bench::new();
    bench.add(1, 5);
    bench.run();
    bench.open();
    assert_eq!(bench.receive(created(1, i64::MAX)), ["1 created from 5"]);
}
