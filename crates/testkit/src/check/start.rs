//! Where a watch from now on begins.

use super::ground::asked;
use super::{Case, Guarantee, Subject, Violation};
use crate::history::Body;

/// A watch from now on begins with what comes after the call, and with nothing before it: not
/// before a revision that was acknowledged when the consumer called, and not after one whose
/// write began only when the watch was in force. The times of writes say so, and not the client.
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
        let what = format!("it begins with {start}; the store was at {before} before it was asked");
        return violation(start, what);
    }
    match after {
        Some(after) if start > after => {
            let what = format!(
                "it begins with {start}; {after} was written after it was in force, and is not told"
            );
            violation(after, what)
        }
        _ => Vec::new(),
    }
}
