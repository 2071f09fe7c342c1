//! Checks the messages of a watcher about all its watches.

use super::{Guarantee, Subject, Violation};
use crate::history::{Body, Recording};

/// How long a request for progress may wait for its answer, in microseconds, without faults and
/// after the watches have caught up.
const PATIENCE: u64 = 30_000_000;

/// Checks the recording of a watcher: outages and their ends alternate, and requests after the last
/// outage are answered. At `Drained`, which ends a recording, no request may be open that had
/// enough time.
pub fn owner(recording: &Recording) -> Vec<Violation> {
    let mut violations = paired(recording);
    violations.extend(answered(recording));
    for (number, message) in recording.messages.iter().enumerate() {
        if let Body::Ended(end) = &message.body {
            let (guarantee, subject) = (Guarantee::Dropped, Subject::Watch);
            let what = format!("{end:?}");
            violations.push(Violation::new(guarantee, number, 0, subject, what));
        }
    }
    violations
}

fn paired(recording: &Recording) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut is_down = false;
    let mut tell = |message, what: &str| {
        let (subject, what) = (Subject::Watch, what.to_owned());
        violations.push(Violation::new(Guarantee::Paired, message, 0, subject, what));
    };
    for (number, message) in recording.messages.iter().enumerate() {
        match message.body {
            Body::Disconnected if is_down => {
                tell(number, "two outages without an end between them");
            }
            Body::Disconnected => is_down = true,
            Body::Resumed if !is_down => tell(number, "the end of an outage that did not begin"),
            Body::Resumed => is_down = false,
            Body::Drained { .. } if is_down => {
                tell(number, "the outage has no end");
            }
            _ => {}
        }
    }
    violations
}

/// Finds a request that was open at the end of the run, although it had enough time without faults.
fn answered(recording: &Recording) -> Vec<Violation> {
    let mut open: Option<(usize, u64)> = None;
    for (number, message) in recording.messages.iter().enumerate() {
        match message.body {
            Body::Requested => open = open.or(Some((number, message.at))),
            Body::Progress { .. } => open = None,
            // The answer may have been lost with the connection, or the client may ask again.
            Body::Disconnected | Body::Resumed => {
                open = open.map(|(request, _)| (request, message.at));
            }
            _ => {}
        }
    }
    let end = recording.messages.last().map_or(0, |message| message.at);
    match open {
        Some((request, since)) if end.saturating_sub(since) >= PATIENCE => {
            let what = format!(
                "the request for progress at {:.3} s had no answer by {:.3} s",
                recording.messages[request].at as f64 / 1e6,
                end as f64 / 1e6
            );
            let (guarantee, subject) = (Guarantee::Answered, Subject::Watch);
            vec![Violation::new(guarantee, request, 0, subject, what)]
        }
        _ => Vec::new(),
    }
}
