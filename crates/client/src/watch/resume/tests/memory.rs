//! The machine counts the events that it keeps, for as long as it keeps them.

use super::rules::{Bench, canceled, created, events, piece};
use crate::watch::entry::WatchRef;

#[test]
fn the_beginning_of_a_revision_is_counted() {
    let mut bench = Bench::live(5);
    assert!(bench.receive(piece(1, &[6, 6])).is_empty());
    let two = bench.budget.held();
    assert!(two >= 2 * size_of::<crate::Event>());
    assert!(bench.receive(piece(1, &[6])).is_empty());
    assert!(bench.budget.held() > two);
    assert_eq!(bench.receive(events(1, 9, &[6])), ["1 got [6, 6, 6, 6]"]);
    bench.held.clear();
    assert_eq!(bench.budget.held(), 0);
}

#[test]
fn the_beginning_of_a_revision_is_counted_no_longer_than_it_is_kept() {
    for ends in 0..3 {
        let mut bench = Bench::live(5);
        bench.receive(piece(1, &[6, 6]));
        assert!(bench.budget.held() > 0);
        match ends {
            0 => {
                bench.cut();
                bench.open();
                bench.receive(created(1, 9));
            }
            1 => {
                bench.receive(canceled(1, "for a reason"));
            }
            _ => bench.machine.cancel(WatchRef(1)),
        }
        assert_eq!(bench.budget.held(), 0, "{ends}");
    }
}
