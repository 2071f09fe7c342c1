//! Notes of the machine become messages in the inboxes of the owners.

use super::Driver;
use crate::error::{Error, ErrorKind, Outcome};
use crate::watch::end::WatchEnd;
use crate::watch::message::WatchMessage;
use crate::watch::resume::{Note, Tell};

impl Driver {
    pub(super) fn tell(&mut self, tell: Tell) {
        let Tell { owner, note } = tell;
        let Some(inbox) = self.inboxes.get(&owner) else {
            return;
        };
        let (message, held) = match note {
            Note::Created {
                watch,
                revision,
                watch_id,
            } => {
                if let Some(start) = self.starts.remove(&watch) {
                    // If the pending future was dropped, it has cancelled the watch already.
                    let _ = start.send(Ok(revision));
                }
                let created = WatchMessage::Created {
                    watch,
                    revision,
                    watch_id,
                };
                (created, None)
            }
            Note::Batch { watch, batch, held } => {
                (WatchMessage::Notify { watch, batch }, Some(held))
            }
            Note::Progress { watch, header } => {
                let progress = WatchMessage::Progress {
                    watch,
                    revision: header.revision,
                    header,
                };
                (progress, None)
            }
            Note::End { watch, end } => {
                tracing::debug!(target: "etcdex", watch = watch.0, %end, "a watch has ended");
                if let Some(start) = self.starts.remove(&watch) {
                    let _ = start.send(Err(never_created(&end)));
                    return;
                }
                (WatchMessage::Cancelled { watch, end }, None)
            }
            Note::Refused { watch, error } => {
                if let Some(start) = self.starts.remove(&watch) {
                    let _ = start.send(Err(error.again()));
                }
                return;
            }
            Note::Disconnected { since, error } => {
                (WatchMessage::Disconnected { since, error }, None)
            }
            Note::Resumed { revision } => (WatchMessage::Resumed { revision }, None),
        };
        inbox.push(message, held);
    }
}

/// Makes the error of a watch that was never created. Its source is the [`WatchEnd`].
fn never_created(end: &WatchEnd) -> Error {
    let (kind, outcome) = match end {
        WatchEnd::Compacted { .. } => (ErrorKind::Compacted, Outcome::Rejected),
        WatchEnd::PermissionDenied => (ErrorKind::PermissionDenied, Outcome::Rejected),
        WatchEnd::ClusterChanged => (ErrorKind::ClusterMismatch, Outcome::Rejected),
        WatchEnd::ClientClosed => (ErrorKind::Closed, Outcome::NotSent),
        _ => (ErrorKind::Server, Outcome::Rejected),
    };
    Error::new(kind, end.to_string())
        .with_outcome(outcome)
        .with_source(end.clone())
}
