//! Which core the client and the null server run on.

use std::io;

/// A core each for the two sides, where there is more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The benchmark's own core.
    pub client: usize,
    /// The null server's core.
    pub server: usize,
}

impl Cores {
    /// The last and the first core that this process may use; `None` if that is one core, or if
    /// the system does not pin.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let allowed = allowed();
        let (server, client) = (*allowed.first()?, *allowed.last()?);
        // The last one is the client's because the first one tends to serve the interrupts.
        (server != client).then_some(Self { client, server })
    }
}

/// Keeps this thread, and what it starts from now on, on one core.
#[cfg(target_os = "linux")]
pub fn pin(core: usize) -> io::Result<()> {
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

#[cfg(target_os = "linux")]
fn allowed() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|&core| set.is_set(core))
        .collect()
}

/// Does nothing: only Linux pins.
#[cfg(not(target_os = "linux"))]
pub fn pin(_core: usize) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Vec<usize> {
    Vec::new()
}
