//! Servers that are slow, and servers that stop answering.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{LeaseStatus, NEAR, RenewalStep, StreamNumber, id, milliseconds, seconds};
use crate::lease::state::Renewals;

/// The part of the path that delays answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Slow {
    /// The network: several renewals can be on their way.
    Network,
    /// The server, which answers one renewal after the other.
    Server,
}

/// A client with one lease, the server of the first stream, and another server.
struct Pair {
    ttl: Duration,
    round_trip: Duration,
    slow: Slow,
    /// Time from the start until the first server stops answering and renewing.
    stops: Duration,
    start: Instant,
    now: Instant,
    renewals: Renewals,
    /// Answers on their way. A renewal counts as carried out after half of the delay, or at its end
    /// if the server is slow.
    answers: BTreeMap<(Instant, u64), StreamNumber>,
    /// Until when the first server is busy.
    busy: Instant,
    /// Until when the lease lives.
    lives: Instant,
    arrivals: BTreeMap<Instant, ()>,
    number: u64,
    open: Vec<StreamNumber>,
    streams: usize,
    sent: usize,
    told: Vec<(Duration, LeaseStatus)>,
}

impl Pair {
    fn new(ttl: Duration, round_trip: Duration, slow: Slow, stops: Duration) -> Self {
        let now = Instant::now();
        Self {
            ttl,
            round_trip,
            slow,
            stops,
            start: now,
            now,
            renewals: Renewals::new(7),
            answers: BTreeMap::new(),
            busy: now,
            lives: now + ttl,
            arrivals: BTreeMap::new(),
            number: 0,
            open: Vec::new(),
            streams: 0,
            sent: 0,
            told: Vec::new(),
        }
    }

    fn keep(mut self, known: bool) -> Self {
        let ttl = known.then_some(self.ttl);
        self.renewals.keep(id(7), ttl, self.now);
        self
    }

    /// Sends a renewal. The first server has the delay of the test, the other one 20 ms.
    fn send(&mut self, stream: StreamNumber) {
        self.sent += 1;
        let stops = self.start + self.stops;
        let (done, answer) = match (stream, self.slow) {
            (StreamNumber(1), Slow::Network) => {
                (self.now + self.round_trip / 2, self.now + self.round_trip)
            }
            (StreamNumber(1), Slow::Server) => {
                self.busy = self.busy.max(self.now) + self.round_trip;
                (self.busy, self.busy)
            }
            _ => (self.now + milliseconds(10), self.now + milliseconds(20)),
        };
        let first = stream == StreamNumber(1);
        if first && done >= stops {
            return;
        }
        self.arrivals.insert(done, ());
        if !first || answer < stops {
            self.number += 1;
            self.answers.insert((answer, self.number), stream);
        }
    }

    fn step(&mut self, step: RenewalStep) {
        match step {
            RenewalStep::Open(stream) => {
                self.streams += 1;
                self.open.push(stream);
                assert!(self.open.len() <= 2, "three streams");
                let far = self.slow == Slow::Network && stream == StreamNumber(1);
                let round_trip = if far { self.round_trip } else { NEAR };
                self.renewals.opened(stream, round_trip, self.now);
            }
            RenewalStep::Close(stream) => self.open.retain(|open| *open != stream),
            RenewalStep::Send(stream, _) => self.send(stream),
            RenewalStep::Tell(_, status) => self.told.push((self.now - self.start, status)),
            RenewalStep::Silent(_) | RenewalStep::Rest(_) => {}
        }
    }

    /// Runs for `time`. Returns until when the lease lived, if it ended.
    fn run(&mut self, time: Duration) -> Option<Duration> {
        let end = self.now + time;
        while self.now < end {
            let rest = loop {
                match self.renewals.next(self.now, |_| true) {
                    RenewalStep::Rest(rest) => break rest,
                    step => self.step(step),
                }
            };
            let answer = self.answers.keys().next().map(|(at, _)| *at);
            let renewal = self.arrivals.keys().next().copied();
            let next = [rest, answer, renewal].into_iter().flatten().min();
            self.now = next.unwrap_or(end).min(end);
            if renewal == Some(self.now) {
                self.arrivals.pop_first();
                if self.lives <= self.now {
                    return Some(self.lives - self.start);
                }
                self.lives = self.now + self.ttl;
            }
            if answer == Some(self.now) {
                let (_, stream) = self.answers.pop_first().expect("it was seen");
                let seconds = self.ttl.as_secs().cast_signed();
                if self.open.contains(&stream) {
                    self.renewals.answered(stream, id(7), seconds, self.now);
                }
            }
        }
        None
    }

    fn first_alive(&self) -> Option<usize> {
        let alive = |(_, status): &(_, LeaseStatus)| matches!(status, LeaseStatus::Alive { .. });
        self.told.iter().position(alive)
    }

    /// The statuses from the first answer on.
    fn later(&self) -> impl Iterator<Item = LeaseStatus> {
        let from = self.first_alive().unwrap_or(self.told.len());
        self.told[from..].iter().map(|(_, status)| *status)
    }

    fn is_ever_unknown(&self) -> bool {
        self.later().any(|status| status == LeaseStatus::Unknown)
    }

    fn is_ever_at_risk(&self) -> bool {
        let at_risk = |status| matches!(status, LeaseStatus::AtRisk { .. });
        self.later().any(at_risk) || self.is_ever_unknown()
    }
}

fn ttl() -> impl Strategy<Value = u64> {
    prop_oneof![2..20_u64, 20..600_u64, 600..3_601_u64]
}

const NEVER: Duration = Duration::from_secs(1_000_000);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The share is in thousandths of half of the time-to-live. The very first answer is awaited on
    /// a single stream for 10 s.
    #[test]
    fn a_slow_server_keeps_a_lease_alive_over_one_stream(
        ttl in ttl(), share in 0..=1_000_u32, network: bool, known: bool,
    ) {
        let ttl = seconds(ttl);
        let slow = if network { Slow::Network } else { Slow::Server };
        // A slow server answers a moment before the lease ends, as the lease would be over
        // otherwise.
        let share = if network { share } else { share.min(996) };
        let round_trip = ttl / 2 * share / 1_000;
        let mut pair = Pair::new(ttl, round_trip, slow, NEVER).keep(known);
        let ended = pair.run(ttl * 10);
        prop_assert_eq!(ended, None);
        prop_assert!(pair.first_alive().is_some());
        prop_assert!(!pair.is_ever_unknown(), "{:?}", pair.told);
        let first_wait = match (known, slow) {
            (true, _) => seconds(10),
            (false, Slow::Network) => (round_trip * 2).clamp(seconds(1), seconds(10)),
            (false, Slow::Server) => seconds(1),
        };
        if round_trip < first_wait {
            prop_assert_eq!(pair.streams, 1);
        }
        // Six renewals in a time-to-live are the maximum.
        prop_assert!(pair.sent <= 62, "{}", pair.sent);
    }

    /// The time-to-live is that of this client's grant. The share is in thousandths of a sixth of
    /// the time-to-live, which is added to a round trip of a third. The first answer comes within
    /// 10 s.
    #[test]
    fn a_slow_network_never_puts_a_lease_at_risk(ttl in 2..=20_u64, share in 1..=980_u32) {
        let ttl = seconds(ttl);
        let round_trip = ttl / 3 + ttl / 6 * share / 1_000;
        let mut pair = Pair::new(ttl, round_trip, Slow::Network, NEVER).keep(true);
        prop_assert_eq!(pair.run(ttl * 10), None);
        prop_assert!(pair.first_alive().is_some());
        prop_assert!(!pair.is_ever_at_risk(), "{:?}", pair.told);
    }

    /// The share is in thousandths of a third of the time-to-live.
    #[test]
    fn a_lease_survives_when_its_server_stops_and_another_answers(
        ttl in ttl(), share in 0..=1_000_u32, network: bool, known: bool, stops in 0..4_000_u32,
    ) {
        let ttl = seconds(ttl);
        let slow = if network { Slow::Network } else { Slow::Server };
        let round_trip = ttl / 3 * share / 1_000;
        let stops = ttl * stops / 1_000;
        let mut pair = Pair::new(ttl, round_trip, slow, stops).keep(known);
        let ended = pair.run(ttl * 10);
        prop_assert_eq!(ended, None, "{:?}", pair.told);
        let last = pair.told.last().map(|(_, status)| *status);
        prop_assert!(matches!(last, Some(LeaseStatus::Alive { .. })), "{:?}", pair.told);
        prop_assert!(pair.streams <= 4, "{}", pair.streams);
    }
}

/// The slowest server for which the rule holds, at each moment of its stop.
#[test]
fn a_lease_survives_a_server_that_takes_a_third_of_its_time_and_stops() {
    let ttl = seconds(9);
    for stops in 0..400 {
        let stops = ttl * stops / 100;
        let round_trip = ttl * 98 / 300;
        let mut pair = Pair::new(ttl, round_trip, Slow::Server, stops).keep(true);
        let ended = pair.run(ttl * 10);
        assert_eq!(ended, None, "{stops:?}: {:?}", pair.told);
    }
}
