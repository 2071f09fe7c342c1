//! The logs that a recorded run keeps: those of the servers, and the events of the clients.
//!
//! No check reads them. They are for the reader of a violation.

use std::fmt::{Debug, Write as _};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use etcdex_testkit::Etcd;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::clock::Clock;

/// The events of all clients. A process does one run.
static EVENTS: Mutex<String> = Mutex::new(String::new());

/// Collects the events of the clients from now on, up to this level. Calls that went well are left
/// out.
pub(crate) fn collect(level: LevelFilter, clock: Clock) {
    // It fails if another run of this process collects them.
    let _ = tracing::subscriber::set_global_default(Events { level, clock });
}

/// Writes all logs to the folder.
pub(crate) fn write(folder: &Path, members: &[Etcd]) -> io::Result<()> {
    for member in members {
        let file = folder.join(format!("{}.log", member.name()));
        // The embedded server has none.
        if member.server().is_none() {
            fs::copy(member.log_file(), file)?;
        }
    }
    fs::write(folder.join("clients.log"), &*lock())
}

fn lock() -> MutexGuard<'static, String> {
    EVENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Appends each event to [`EVENTS`], with the microseconds since the start of the run.
struct Events {
    level: LevelFilter,
    clock: Clock,
}

impl Subscriber for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == "etcdex" && *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{:>12}", self.clock.now()));
        event.record(&mut line);
        let is_good = line.0.contains("request started") || line.0.contains("outcome=\"ok\"");
        if !is_good {
            let mut events = lock();
            events.push_str(&line.0);
            events.push('\n');
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        let _ = write!(self.0, " {field}={value:?}");
    }
}
