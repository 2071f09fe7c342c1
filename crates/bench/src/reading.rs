//! The cost of a span of work: time, processor time, allocations.

use std::alloc::System;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region};

/// The cost of a span of work for this process, all threads together.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Processor time, user and system.
    pub cpu: Duration,
    /// Elapsed time.
    pub wall: Duration,
    /// Number of allocations; a reallocation counts as one.
    pub allocations: usize,
    /// Allocated bytes; for a reallocation, the growth.
    pub bytes: usize,
}

/// The beginning of a span of work.
#[derive(Debug)]
pub struct Start {
    cpu: Duration,
    wall: Instant,
    memory: Region<'static, System>,
}

impl Start {
    /// Begins a span.
    #[must_use]
    pub fn now() -> Self {
        Self {
            memory: Region::new(&INSTRUMENTED_SYSTEM),
            wall: Instant::now(),
            cpu: process_cpu(),
        }
    }

    /// Returns the cost since the beginning.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let cpu = process_cpu().saturating_sub(self.cpu);
        let wall = self.wall.elapsed();
        let memory = self.memory.change();
        Reading {
            cpu,
            wall,
            allocations: memory.allocations + memory.reallocations,
            bytes: memory.bytes_allocated,
        }
    }
}

fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("processor time is never negative")
}
