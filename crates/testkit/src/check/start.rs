//! Checks the start of watches from now on.

use super::ground::asked;
use super::{Case, Guarantee, Subject, Violation};
use crate::history::Body;

/// A watch from now on begins with the changes after the call, and delivers none from before it: it
/// begins after all revisions that were acknowledged before the call, and not after a revision
/// whose write began when the watch was in force. The check uses the times of writes, and not those
/// of the client.
pub(super) fn started(case: &Case<'_>) -> Vec<Violation> {
    let Some((called, 0)) = asked(case.recording) else {
        return Vec::new();
    };
    let created = case.messages().find_map(|(number, message)| {
        let Body::Created { revision } = message.body else {
            return None;
        };
        Some((number, message.at, revision))
    });
    let Some((message, in_force, start)) = created else {
        return Vec::new();
    };
    let before = case.history.certain_at(called);
    let after = case.history.impossible_at(in_force);
    let violation = |revision, what| {
        let subject = Subject::Watch;
        vec![Violation::new(
            Guarantee::Started,
            message,
            revision,
            subject,
            what,
        )]
    };
    if start <= before {
        let what =
            format!("the watch begins with {start}; the store was at {before} before the call");
        return violation(start, what);
    }
    match after {
        Some(after) if start > after => {
            let what = format!(
                "the watch begins with {start}; {after} was written after it was in force, and is left out"
            );
            violation(after, what)
        }
        _ => Vec::new(),
    }
}
