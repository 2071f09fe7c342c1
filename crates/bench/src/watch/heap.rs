//! What this process holds of memory.

use stats_alloc::INSTRUMENTED_SYSTEM;

/// Bytes on the heap that were asked for and not given back.
pub(super) fn held() -> i64 {
    let stats = INSTRUMENTED_SYSTEM.stats();
    // What a reallocation adds or gives back is in these, too.
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}

/// The largest size that the process has had in memory, in KiB, where the system tells it.
pub(super) fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
