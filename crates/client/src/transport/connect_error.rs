//! Why an endpoint could not be reached.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use crate::error::ErrorKind;

/// Why an endpoint could not be reached. All calls that wait for the endpoint share one value.
#[derive(Clone, Debug)]
pub(crate) struct ConnectError {
    kind: ErrorKind,
    what: Cow<'static, str>,
    source: Option<Arc<io::Error>>,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.source {
            // The text of a TLS library adds nothing to `what`.
            Some(_) if self.kind == ErrorKind::Tls => Ok(()),
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl ConnectError {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            kind: ErrorKind::Unavailable,
            what: Cow::Borrowed(what),
            source: None,
        }
    }

    /// The error of a connection that was up and broke.
    pub(crate) fn lost(cause: String) -> Self {
        Self::with("the connection was lost", io::Error::other(cause))
    }

    pub(crate) fn with(what: &'static str, source: io::Error) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..Self::new(what)
        }
    }

    /// The error of an attempt in which TLS failed.
    #[cfg(feature = "_tls")]
    pub(crate) fn tls(what: String, source: Option<io::Error>) -> Self {
        Self {
            kind: ErrorKind::Tls,
            what: Cow::Owned(what),
            source: source.map(Arc::new),
        }
    }

    /// The error of an endpoint at which a server of another cluster listens.
    pub(crate) fn cluster_mismatch(what: String) -> Self {
        Self {
            kind: ErrorKind::ClusterMismatch,
            what: Cow::Owned(what),
            source: None,
        }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Why the server ended the TLS session after the handshake, if the server said so.
///
/// In TLS 1.3 the client has completed the handshake before the server has checked the client's
/// certificate. h2 turns the error of the byte stream into a text, so the cause is kept here.
pub(crate) type SessionError = Arc<OnceLock<ConnectError>>;

/// Whether the error says that the other side has closed the byte stream.
pub(crate) fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}
