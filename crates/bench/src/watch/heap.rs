//! The memory of this process.

use stats_alloc::INSTRUMENTED_SYSTEM;

/// Returns the number of allocated bytes that are not freed.
pub(super) fn held() -> i64 {
    let stats = INSTRUMENTED_SYSTEM.stats();
    // Both numbers include reallocations.
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}

/// Returns the peak resident memory of the process, in KiB, if the system reports it.
pub(super) fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
