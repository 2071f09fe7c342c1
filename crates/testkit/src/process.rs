//! The process of a server.

use std::fs::File;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::watchdog;

/// A running process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    paused: bool,
}

impl Process {
    /// Starts a process with standard output and error in this file.
    pub(crate) fn spawn(command: &mut Command, log: &File) -> io::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .spawn()?;
        let process = Self {
            child,
            paused: false,
        };
        watchdog::watch(process.id())?;
        Ok(process)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit status, if the process has ended by itself.
    pub(crate) fn exit(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            watchdog::forget(self.id());
        }
        Ok(status)
    }

    /// Returns whether the process runs and is not stopped.
    pub(crate) fn is_running(&mut self) -> bool {
        !self.paused && matches!(self.exit(), Ok(None))
    }

    /// Stops the process, which is stopped when this returns.
    pub(crate) fn pause(&mut self) -> io::Result<()> {
        let pid = self.pid()?;
        if self.paused {
            return Ok(());
        }
        kill_process(pid, Signal::STOP)?;
        // The signal is asynchronous; this waits until the kernel reports the stop.
        waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED)?;
        self.paused = true;
        Ok(())
    }

    /// Continues the process.
    pub(crate) fn resume(&mut self) -> io::Result<()> {
        kill_process(self.pid()?, Signal::CONT)?;
        self.paused = false;
        Ok(())
    }

    /// Sends `SIGTERM`.
    pub(crate) fn terminate(&mut self) -> io::Result<()> {
        Ok(kill_process(self.pid()?, Signal::TERM)?)
    }

    /// Returns the ID to signal. It belongs to this process until the process is waited for.
    fn pid(&mut self) -> io::Result<Pid> {
        if let Some(status) = self.exit()? {
            return Err(io::Error::other(format!(
                "etcd has ended by itself ({status})"
            )));
        }
        Ok(Pid::from_child(&self.child))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that the process has ended already.
        let _ = self.child.kill();
        watchdog::forget(self.child.id());
        let _ = self.child.wait();
    }
}
