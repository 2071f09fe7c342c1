//! Why a lease is not known to be renewed.

use std::fmt;
use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};

/// Why a lease is not known to be renewed: what went wrong last.
///
/// `Display` gives the text and the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseCause {
    inner: Arc<Inner>,
}

#[derive(Debug, PartialEq, Eq)]
struct Inner {
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
            inner: Arc::new(Inner {
                kind,
                message: message.into(),
                endpoint,
            }),
        }
    }

    pub(super) fn of(error: &Error, endpoint: Option<Endpoint>) -> Self {
        let endpoint = endpoint.or_else(|| error.endpoint().cloned());
        Self::new(error.kind(), error.message(), endpoint)
    }

    /// What went wrong: [`Timeout`](ErrorKind::Timeout) when a server does not answer,
    /// [`Unavailable`](ErrorKind::Unavailable) without a connection,
    /// [`NoLeader`](ErrorKind::NoLeader), [`AuthenticationFailed`](ErrorKind::AuthenticationFailed)
    /// when no token is to be had, or what else ended the stream.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The same in words, those of the server or of the client.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The endpoint that it is about, if it is about one.
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
