//! Tests of the machine: all rules at once against a model of etcd, then one by one.

mod crowds;
mod inspect;
mod memory;
mod model;
mod progress;
mod rules;
mod told;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use self::world::World;

/// Number of steps of an episode. Many short episodes meet more states than a long one.
const STEPS: usize = 3_000;

fn episode(seed: u64, traced: bool) -> World {
    let mut world = World::new(seed, traced);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
    }));
    let Err(failure) = outcome else {
        return world;
    };
    if traced {
        let trace = world.trace.take().unwrap_or_default();
        let first = trace
            .len()
            .saturating_sub(number("ETCDEX_TRACE").unwrap_or(150) as usize);
        trace[first..].iter().for_each(|line| println!("{line}"));
        println!("failed: run this test with ETCDEX_SEED={seed}");
    } else {
        // The same again, with a trace.
        episode(seed, true);
    }
    resume_unwind(failure)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Invariants 1 and 2 of the design, and memory, liveness and good manners. `ETCDEX_SEED` plays
/// one episode; `ETCDEX_STEPS` says how many steps to play in all, and `ETCDEX_FIRST` the seed of
/// the first one, which is random otherwise.
#[test]
fn whatever_happens_nothing_is_lost_and_nothing_comes_twice() {
    if let Some(seed) = number("ETCDEX_SEED") {
        episode(seed, true);
        return;
    }
    let steps = number("ETCDEX_STEPS").unwrap_or(400_000);
    let first = number("ETCDEX_FIRST").unwrap_or_else(|| fastrand::u64(..1 << 48));
    println!("the first seed is {first}");
    let (mut delivered, mut resumed) = (0, 0);
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for place in 0..steps.div_ceil(STEPS as u64) {
        let world = episode(first + place, false);
        delivered += world.delivered;
        resumed += world.resumed;
        for (end, count) in world.ends {
            *ends.entry(end).or_default() += count;
        }
    }
    println!("{steps} steps, {delivered} events, {resumed} times resumed, ends: {ends:?}");
    assert!(delivered > 1_000 && resumed > 10, "nothing has happened");
}
