//! Prints the summary of a run.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::Ordering::Relaxed;

use etcdex_testkit::history::{Body, Incident, Moment, Recording};

use crate::watch::consumers::Counters;
use crate::watch::load::Counts;
use crate::watch::plan::Pace;
use crate::watch::recorder::WatchRecord;
use crate::watch::verdict::Verdict;
use crate::watch::wire::WireRecords;

/// The data of a summary.
pub(crate) struct Report<'a> {
    pub(crate) incidents: &'a [Incident],
    pub(crate) records: &'a [WatchRecord],
    pub(crate) lists: &'a [Recording],
    pub(crate) counters: &'a Counters,
    pub(crate) counts: &'a Counts,
    /// When each revision from 2 on was acknowledged or read.
    pub(crate) moments: &'a [Moment],
    pub(crate) changes: usize,
    pub(crate) read: u64,
    pub(crate) compared: u64,
    pub(crate) compactions: usize,
    pub(crate) heard: &'a WireRecords,
    pub(crate) verdict: &'a Verdict,
}

/// The longest time between the acknowledgement of a write and its delivery.
#[derive(Default)]
struct Gap {
    micros: u64,
    watch: String,
}

impl Report<'_> {
    fn gap(&self, pace: impl Fn(Pace) -> bool) -> Gap {
        let mut longest = Gap::default();
        for record in self.records.iter().filter(|record| pace(record.pace)) {
            let messages = &record.recording.messages;
            let created = messages.first().map_or(0, |message| message.at);
            for message in messages {
                let Body::Batch { events, .. } = &message.body else {
                    continue;
                };
                for event in events {
                    let place = usize::try_from(event.revision() - 2).unwrap_or(usize::MAX);
                    let Some(known) = self.moments.get(place).map(|moment| moment.known) else {
                        continue;
                    };
                    // An event from before the watch does not count as late.
                    let micros = message.at.saturating_sub(known.max(created));
                    if micros > longest.micros {
                        longest = Gap {
                            micros,
                            watch: record.recording.name.clone(),
                        };
                    }
                }
            }
        }
        longest
    }

    /// Number of watches that servers have created.
    fn stretches(&self) -> usize {
        let created = |one: &&Recording| {
            let mut bodies = one.messages.iter().map(|message| &message.body);
            bodies.any(|body| matches!(body, Body::Created { .. }))
        };
        self.heard.recordings.iter().filter(created).count()
    }

    /// Number of complete listings, and of those after a compaction.
    fn listed(&self) -> (usize, usize) {
        let messages = self.lists.iter().flat_map(|list| &list.messages);
        let bodies = messages.map(|message| &message.body);
        let synced = |body: &&Body| matches!(body, Body::Synced { .. });
        let resync = |body: &&Body| matches!(body, Body::Resync(_));
        (
            bodies.clone().filter(synced).count(),
            bodies.filter(resync).count(),
        )
    }

    /// Number of watches that were dropped or cancelled.
    fn cancelled(&self) -> usize {
        let cancelled = |one: &&WatchRecord| {
            let mut bodies = one.recording.messages.iter().map(|message| &message.body);
            bodies.any(|body| *body == Body::Cancelled)
        };
        self.records.iter().filter(cancelled).count()
    }

    fn delivered_to_whole(&self) -> (usize, usize) {
        let mut watches = 0;
        let mut delivered = 0;
        for record in self.records.iter().filter(|record| record.is_whole()) {
            watches += 1;
            for message in &record.recording.messages {
                if let Body::Batch { events, .. } = &message.body {
                    delivered += events.len();
                }
            }
        }
        (watches, delivered)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for incident in self.incidents {
            *kinds.entry(incident.kind.as_str()).or_default() += 1;
        }
        let mut faults = String::new();
        for (kind, count) in kinds {
            write!(faults, "\n    {count:>6} {kind}")?;
        }
        let (whole, delivered) = self.delivered_to_whole();
        let keen = self.gap(|pace| pace == Pace::Keen);
        let slow = self.gap(|pace| pace != Pace::Keen);
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
        writeln!(f, "  faults: {}{faults}", self.incidents.len())?;
        writeln!(
            f,
            "  history: {} revisions, {} changes; {} writes acknowledged, {} failed; {} revisions \
             read, all compared {} times; {} compactions asked for",
            self.moments.len(),
            self.changes,
            load(&self.counts.acknowledged),
            load(&self.counts.failed),
            self.read,
            self.compared,
            self.compactions
        )?;
        writeln!(
            f,
            "  watches: {}; {} lived through the whole run, {} ended as compacted, {} dropped or \
             cancelled, {} asked for in vain",
            self.records.len(),
            whole,
            load(&self.counters.compacted),
            self.cancelled(),
            load(&self.counters.late)
        )?;
        let (synced, resynced) = self.listed();
        writeln!(
            f,
            "  lists: {}; read {synced} times, {resynced} of these after a compaction",
            self.lists.len()
        )?;
        writeln!(
            f,
            "  events delivered: {}, of these {delivered} to watches that lived through the run; \
             {} times disconnected, {} resumed",
            load(&self.counters.events),
            load(&self.counters.disconnects),
            load(&self.counters.resumes)
        )?;
        writeln!(
            f,
            "  longest gap: {:.3} s ({}); of slow consumers: {:.3} s ({})",
            keen.micros as f64 / 1e6,
            keen.watch,
            slow.micros as f64 / 1e6,
            slow.watch
        )?;
        writeln!(
            f,
            "  on the wire: {} watches, {} fragments, {} refusals; the servers' own violations: {}, {} of them \
             seen by a watch",
            self.stretches(),
            self.heard.fragments,
            self.heard.refusals.len(),
            self.verdict.server,
            self.verdict.explained
        )?;
        write!(f, "  violations: {}", self.verdict.client)
    }
}

/// Returns the texts of the first violations, of the client and of servers.
pub(crate) fn violations(verdict: &Verdict) -> String {
    let mut text = String::new();
    let groups = [
        ("violation", &verdict.client),
        ("violation that the server has sent", &verdict.explained),
        ("violation of a server", &verdict.server),
    ];
    for proof in &verdict.proofs {
        text.push_str(&format!("excused: {proof}\n"));
    }
    for (title, all) in groups {
        for one in all.told() {
            text.push_str(&format!("{title}: {one}\n"));
        }
        let more = all.len() - all.told().len();
        if more > 0 {
            text.push_str(&format!("{title}: and {more} more\n\n"));
        }
    }
    text
}
