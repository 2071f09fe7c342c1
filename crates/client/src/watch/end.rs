//! The reasons for the end of a watch.

use std::fmt;

use crate::error::{Error, ErrorKind, Outcome};

/// The reason why a watch has ended. All events that the client has received are delivered before the
/// end.
///
/// A lost connection, a lost leader, an expired token and a slow consumer end no watch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WatchEnd {
    /// The next revision to deliver was compacted away: the store has no events from before `revision`
    /// any more. Read the present state and watch from there, or use
    /// [`watch_list`](crate::Client::watch_list), which does so by itself.
    #[non_exhaustive]
    Compacted {
        /// The first revision that the store still has.
        revision: i64,
    },
    /// The server has cancelled the watch.
    #[non_exhaustive]
    Cancelled {
        /// The reason in the server's words; empty if the server gives none.
        reason: String,
    },
    /// The user may not read the keys, also with a fresh token.
    PermissionDenied,
    /// The events of this one revision are over
    /// [the limit](crate::WatchLimits::revision_bytes) by themselves.
    #[non_exhaustive]
    TooLarge {
        /// The revision; everything before it has been delivered.
        revision: i64,
    },
    /// Another cluster answers at the endpoints. Its revisions are those of another store.
    ClusterChanged,
    /// The store has gone back, for example to a backup: its revision is lower than the last one
    /// that this watch had seen.
    #[non_exhaustive]
    RolledBack {
        /// The last revision that the watch had seen.
        watched: i64,
        /// The revision of the store.
        store: i64,
    },
    /// The client was closed.
    ClientClosed,
    /// The tokio runtime of the client's watches has ended. Watches run in the runtime of the first
    /// watch that was opened while there was no other. Watch again, from the revision after the
    /// last one that was delivered; [`watch_list`](crate::Client::watch_list) does so by itself.
    RuntimeEnded,
}

impl fmt::Display for WatchEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compacted { revision } => {
                write!(f, "the history before revision {revision} was compacted")
            }
            Self::Cancelled { reason } if reason.is_empty() => {
                f.write_str("the server has cancelled the watch and gives no reason")
            }
            Self::Cancelled { reason } => write!(f, "the server has cancelled the watch: {reason}"),
            Self::PermissionDenied => f.write_str("the user may not read these keys"),
            Self::TooLarge { revision } => write!(
                f,
                "the events of revision {revision} are over the limit of one revision"
            ),
            Self::ClusterChanged => f.write_str("another cluster answers at the endpoints"),
            Self::RolledBack { watched, store } => write!(
                f,
                "the store is at revision {store} and was at {watched}: it has gone back"
            ),
            Self::ClientClosed => f.write_str("the client was closed"),
            Self::RuntimeEnded => f.write_str("the tokio runtime of the watches has ended"),
        }
    }
}

impl std::error::Error for WatchEnd {}

/// Lets a function that returns [`Error`] use `?` on the result of a watch. The end itself is the
/// [`source`](std::error::Error::source) of the error; the outcome is
/// [`Rejected`](Outcome::Rejected), because a watch writes nothing.
impl From<WatchEnd> for Error {
    fn from(end: WatchEnd) -> Self {
        let kind = match &end {
            WatchEnd::Compacted { .. } => ErrorKind::Compacted,
            WatchEnd::Cancelled { .. } => ErrorKind::Cancelled,
            WatchEnd::PermissionDenied => ErrorKind::PermissionDenied,
            WatchEnd::TooLarge { .. } => ErrorKind::MessageTooLarge,
            WatchEnd::ClusterChanged => ErrorKind::ClusterMismatch,
            WatchEnd::RolledBack { .. } => ErrorKind::FutureRevision,
            WatchEnd::ClientClosed => ErrorKind::Closed,
            WatchEnd::RuntimeEnded => ErrorKind::Unavailable,
        };
        Self::new(kind, format!("the watch has ended: {end}"))
            .with_outcome(Outcome::Rejected)
            .with_source(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read() -> Result<(), Error> {
        let end = WatchEnd::Compacted { revision: 7 };
        Err::<(), WatchEnd>(end)?;
        Ok(())
    }

    #[tokio::test]
    async fn an_end_becomes_an_error_that_keeps_it_as_its_source() {
        let error = read().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Compacted);
        assert_eq!(error.outcome(), Outcome::Rejected);
        let source = std::error::Error::source(&error).unwrap();
        let end = source.downcast_ref::<WatchEnd>();
        assert_eq!(end, Some(&WatchEnd::Compacted { revision: 7 }));
        assert!(error.to_string().contains("before revision 7"), "{error}");
    }
}
