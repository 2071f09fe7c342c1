//! Processor cores of the client and the null server.

use std::io;

/// One core for the client and another one for the null server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Core of the benchmark's own process.
    pub client: usize,
    /// Core of the null server.
    pub server: usize,
}

impl Cores {
    /// Returns the last and the first core that this process may use. Returns `None` if there is
    /// only one core, or if the system cannot pin processes.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let allowed = allowed();
        let (server, client) = (*allowed.first()?, *allowed.last()?);
        // The client gets the last core because the first one often serves interrupts.
        (server != client).then_some(Self { client, server })
    }
}

/// Pins this thread, and every thread and process that it starts later, to one core.
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

/// Does nothing: only Linux can pin.
#[cfg(not(target_os = "linux"))]
pub fn pin(_core: usize) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Vec<usize> {
    Vec::new()
}
