//! The reason why a lease is not known to be renewed.

use std::fmt;
use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};

/// The reason why a lease is not known to be renewed: the latest error.
///
/// `Display` writes the text and the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseCause {
    inner: Arc<CauseInner>,
}

#[derive(Debug, PartialEq, Eq)]
struct CauseInner {
    kind: ErrorKind,
    message: String,
    endpoint: Option<Endpoint>,
}

impl LeaseCause {
    pub(super) fn new(
        kind: ErrorKind,
        message: impl Into<String>,
        endpoint: Option<Endpoint>,
    ) -> Self {
        Self {
            inner: Arc::new(CauseInner {
                kind,
                message: message.into(),
                endpoint,
            }),
        }
    }

    pub(super) fn of(error: &Error) -> Self {
        Self::new(error.kind(), error.message(), error.endpoint().cloned())
    }

    /// The cause after the clocks have jumped.
    pub(super) fn clocks_jumped() -> Self {
        let message = "the machine slept, or its clock was set: earlier renewals do not count";
        Self::new(ErrorKind::Timeout, message, None)
    }

    /// Returns the kind of the error: [`Timeout`](ErrorKind::Timeout) when a server does not answer,
    /// [`Unavailable`](ErrorKind::Unavailable) without a connection,
    /// [`NoLeader`](ErrorKind::NoLeader), [`AuthenticationFailed`](ErrorKind::AuthenticationFailed)
    /// without a token, or the kind of the error that ended the stream.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Returns the text of the server, or that of the client.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Returns the endpoint at which the error happened, if the error is about one.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.inner.endpoint.as_ref()
    }
}

impl fmt::Display for LeaseCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        match &self.inner.endpoint {
            Some(endpoint) => write!(f, " ({endpoint})"),
            None => Ok(()),
        }
    }
}
