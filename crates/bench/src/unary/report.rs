//! The results of the workload, as a table or as JSON.

use std::fmt;

use serde::Serialize;

use super::{Load, Op};
use crate::peer::Name;
use crate::ratio::{Ratio, median};
use crate::reading::Reading;

/// The client that the others are compared with.
const BASELINE: Name = Name::RawH2;

/// The results of the workload.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Number of calls in a round.
    pub calls: u32,
    /// Number of measured rounds.
    pub rounds: usize,
    /// One cell for each kind of call and number of callers.
    pub cells: Vec<Cell>,
}

/// The clients under the same load.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Kind of call.
    pub op: Op,
    /// Number of concurrent callers.
    pub callers: u32,
    /// One row for each client.
    pub peers: Vec<Row>,
}

/// One client under one load: medians over the rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the client.
    pub peer: Name,
    /// Processor time per call, in microseconds.
    pub cpu_us: f64,
    /// Allocations per call.
    pub allocations: f64,
    /// Allocated bytes per call.
    pub bytes: f64,
    /// Elapsed time per call, in microseconds, all callers together.
    pub wall_us: f64,
    /// Calls per second.
    pub calls_per_s: f64,
    /// Processor time relative to raw-h2, if raw-h2 is in the run too.
    pub cpu_ratio: Option<Ratio>,
}

impl Cell {
    /// Summarizes the rounds of all clients. Each client has the same number of rounds, at least one.
    #[must_use]
    pub fn new(load: Load, peers: Vec<(Name, Vec<Reading>)>) -> Self {
        let baseline = peers.iter().find(|(name, _)| *name == BASELINE);
        let rows = peers.iter().map(|(name, readings)| {
            let other = baseline.filter(|_| *name != BASELINE);
            Row {
                cpu_ratio: other.map(|(_, other)| cpu_ratio(readings, other)),
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
        let per_call =
            |cost: fn(&Reading) -> f64| median(readings.iter().map(cost).collect()) / calls;
        let wall = per_call(|reading| reading.wall.as_secs_f64());
        Self {
            peer,
            cpu_us: per_call(|reading| reading.cpu.as_secs_f64()) * 1e6,
            allocations: per_call(|reading| reading.allocations as f64),
            bytes: per_call(|reading| reading.bytes as f64),
            wall_us: wall * 1e6,
            calls_per_s: wall.recip(),
            cpu_ratio: None,
        }
    }
}

/// Returns the ratio of the processor times of two clients.
fn cpu_ratio(readings: &[Reading], other: &[Reading]) -> Ratio {
    let rounds = readings.iter().zip(other);
    Ratio::of(rounds.map(|(one, other)| one.cpu.as_secs_f64() / other.cpu.as_secs_f64()))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "op   callers  peer         cpu us/call  allocs/call  bytes/call  wall us/call  \
             calls/s  cpu over {} (min..max)",
            BASELINE.as_str(),
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
            Some(ratio) => writeln!(f, "  {ratio}"),
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
    fn a_ratio_compares_round_by_round() {
        let ratio = cpu_ratio(&readings(&[30, 10, 80]), &readings(&[20, 10, 20]));
        let expected = Ratio {
            median: 1.5,
            min: 1.0,
            max: 4.0,
        };
        assert_eq!(ratio, expected);
    }

    #[test]
    fn a_row_holds_the_costs_of_one_call() {
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
