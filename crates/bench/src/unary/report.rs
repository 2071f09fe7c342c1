//! What the workload found, as a table or as JSON.

use std::fmt;

use serde::Serialize;

use super::{Load, Op};
use crate::peer::Name;
use crate::reading::Reading;

/// The peer that the others are compared with.
const YARDSTICK: Name = Name::RawH2;

/// What the workload found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Calls in a round.
    pub calls: u32,
    /// Rounds that counted.
    pub rounds: usize,
    /// A cell for each kind of call and number of callers.
    pub cells: Vec<Cell>,
}

/// The peers under the same load.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The kind of call.
    pub op: Op,
    /// How many callers at once.
    pub callers: u32,
    /// A row for each peer.
    pub peers: Vec<Row>,
}

/// One peer under one load: medians over the rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which one.
    pub peer: Name,
    /// Microseconds of processor time a call.
    pub cpu_us: f64,
    /// Allocations a call.
    pub allocations: f64,
    /// Bytes allocated a call.
    pub bytes: f64,
    /// Microseconds on the wall a call, all callers together.
    pub wall_us: f64,
    /// Calls a second.
    pub calls_per_s: f64,
    /// Its processor time over that of raw-h2, if that is in the run too.
    pub cpu_ratio: Option<Ratio>,
}

/// How a peer compares with another: each of its rounds with the other's round beside it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The middle.
    pub median: f64,
    /// The round that was best for the peer.
    pub min: f64,
    /// The round that was worst for it.
    pub max: f64,
}

impl Cell {
    /// Sums up the rounds of all peers; every peer has as many, and at least one.
    #[must_use]
    pub fn new(load: Load, peers: Vec<(Name, Vec<Reading>)>) -> Self {
        let yardstick = peers.iter().find(|(name, _)| *name == YARDSTICK);
        let rows = peers.iter().map(|(name, readings)| {
            let other = yardstick.filter(|_| *name != YARDSTICK);
            Row {
                cpu_ratio: other.map(|(_, other)| Ratio::of(readings, other)),
                ..Row::new(*name, load, readings)
            }
        });
        Self {
            op: load.op,
            callers: load.callers,
            peers: rows.collect(),
        }
    }
}

impl Row {
    fn new(peer: Name, load: Load, readings: &[Reading]) -> Self {
        let calls = f64::from(load.calls);
        let a_call =
            |cost: fn(&Reading) -> f64| median(readings.iter().map(cost).collect()) / calls;
        let wall = a_call(|reading| reading.wall.as_secs_f64());
        Self {
            peer,
            cpu_us: a_call(|reading| reading.cpu.as_secs_f64()) * 1e6,
            allocations: a_call(|reading| reading.allocations as f64),
            bytes: a_call(|reading| reading.bytes as f64),
            wall_us: wall * 1e6,
            calls_per_s: wall.recip(),
            cpu_ratio: None,
        }
    }
}

impl Ratio {
    fn of(readings: &[Reading], other: &[Reading]) -> Self {
        let pairs = readings.iter().zip(other);
        let mut ratios: Vec<f64> = pairs
            .map(|(one, other)| one.cpu.as_secs_f64() / other.cpu.as_secs_f64())
            .collect();
        ratios.sort_by(f64::total_cmp);
        Self {
            min: ratios[0],
            max: ratios[ratios.len() - 1],
            median: median(ratios),
        }
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let half = numbers.len() / 2;
    if numbers.len() % 2 == 1 {
        numbers[half]
    } else {
        f64::midpoint(numbers[half - 1], numbers[half])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "op   callers  peer         cpu us/call  allocs/call  bytes/call  wall us/call  \
             calls/s  cpu over {} (min..max)",
            YARDSTICK.as_str(),
        )?;
        for cell in &self.cells {
            for row in &cell.peers {
                write!(f, "{:<3}  {:>7}  {row}", cell.op.as_str(), cell.callers)?;
            }
        }
        writeln!(
            f,
            "Medians of {} rounds of {} calls.",
            self.rounds, self.calls
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<11}  {:>11.2}  {:>11.2}  {:>10.0}  {:>12.2}  {:>7.0}",
            self.peer.as_str(),
            self.cpu_us,
            self.allocations,
            self.bytes,
            self.wall_us,
            self.calls_per_s,
        )?;
        match self.cpu_ratio {
            Some(Ratio { median, min, max }) => writeln!(f, "  {median:.3} ({min:.3}..{max:.3})"),
            None => writeln!(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn readings(cpu_us: &[u64]) -> Vec<Reading> {
        let reading = |&cpu: &u64| Reading {
            cpu: Duration::from_micros(cpu),
            wall: Duration::from_micros(2 * cpu),
            allocations: 40,
            bytes: 800,
        };
        cpu_us.iter().map(reading).collect()
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(vec![4.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_ratio_compares_round_with_round() {
        let ratio = Ratio::of(&readings(&[30, 10, 80]), &readings(&[20, 10, 20]));
        let expected = Ratio {
            median: 1.5,
            min: 1.0,
            max: 4.0,
        };
        assert_eq!(ratio, expected);
    }

    #[test]
    fn a_row_is_about_one_call() {
        let load = Load {
            op: Op::Put,
            callers: 1,
            calls: 10,
        };
        let cell = Cell::new(load, vec![(Name::RawH2, readings(&[50, 10, 20]))]);
        let row = &cell.peers[0];
        assert_eq!((row.allocations, row.bytes), (4.0, 80.0));
        assert!((row.cpu_us - 2.0).abs() < 1e-9);
        assert!((row.calls_per_s - 250_000.0).abs() < 1e-3);
        assert_eq!(row.cpu_ratio, None);
    }
}
