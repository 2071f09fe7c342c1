//! Opens byte streams to endpoints, with TLS where the endpoint is https.

use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::connect_error::{ConnectError, SessionError};
use super::tcp::SocketConnector;
#[cfg(feature = "_tls")]
use super::tls::Tls;
use crate::config::Config;
use crate::connector::{ByteStream, Connector};
use crate::endpoint::Endpoint;
use crate::error::Error;

/// Opens the byte streams of a client.
pub(crate) struct Dialer {
    connector: Arc<dyn Connector>,
    /// Whether the connector is the user's.
    is_foreign: bool,
    /// Present if an endpoint is https.
    #[cfg(feature = "_tls")]
    tls: Option<Arc<Tls>>,
}

/// A byte stream that HTTP/2 can be spoken over.
pub(crate) struct Dialed {
    pub(crate) stream: Box<dyn ByteStream>,
    pub(crate) session_error: SessionError,
}

/// Why an https endpoint cannot be reached by a client that was made without one.
const NO_TLS: &str = "it is https, and the client was made without an https endpoint: TLS is \
                      settled when a client is made";

impl Dialer {
    /// Returns why this endpoint can never be reached, if that is so.
    pub(crate) fn unsupported(&self, endpoint: &Endpoint) -> Option<&'static str> {
        #[cfg(feature = "_tls")]
        let has_tls = self.tls.is_some();
        #[cfg(not(feature = "_tls"))]
        let has_tls = false;
        (endpoint.is_secure() && !has_tls).then_some(NO_TLS)
    }

    /// Reads the certificates, if an endpoint is https.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let options = &config.options;
        let connector: Arc<dyn Connector> = match &options.connector {
            Some(own) => Arc::clone(own),
            None => Arc::new(SocketConnector::new(options.bind_address, options.nodelay)),
        };
        Ok(Self {
            connector,
            is_foreign: options.connector.is_some(),
            #[cfg(feature = "_tls")]
            tls: Tls::of(config)?.map(Arc::new),
        })
    }

    /// Whether a write that fails may have sent a part of its bytes, or bytes of the writes before
    /// it. A socket does not; a TLS session does; a stream of a user's connector may.
    pub(crate) fn may_send_in_part(&self, endpoint: &Endpoint) -> bool {
        endpoint.is_secure() || self.is_foreign
    }

    /// Opens a byte stream by the connector.
    pub(crate) async fn open(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Box<dyn ByteStream>, ConnectError> {
        // A panic (in a runtime without I/O, or in a user's connector) must not end the driver.
        let opening = caught(async { self.connector.connect(endpoint).await }).await;
        opening
            .and_then(|opened| opened)
            .map_err(|error| ConnectError::with("cannot connect", error))
    }

    /// Puts the byte stream inside TLS if the endpoint is https.
    #[cfg_attr(not(feature = "_tls"), allow(unused_variables))]
    pub(crate) async fn secure(
        &self,
        endpoint: &Endpoint,
        stream: Box<dyn ByteStream>,
    ) -> Result<Dialed, ConnectError> {
        #[cfg(feature = "_tls")]
        if let Some(tls) = self.tls.as_ref().filter(|_| endpoint.is_secure()) {
            let session = tls.wrap(endpoint, stream).await?;
            return Ok(Dialed {
                session_error: session.error(),
                stream: Box::new(session),
            });
        }
        // INVARIANT: to an https endpoint nothing is ever sent in plain text.
        if endpoint.is_secure() {
            return Err(ConnectError::new(NO_TLS));
        }
        Ok(Dialed {
            stream,
            session_error: SessionError::default(),
        })
    }
}

/// Returns the output of a future, or an error with the text of its panic.
async fn caught<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let mut future = pin!(future);
    let poll = |cx: &mut Context<'_>| {
        let poll = AssertUnwindSafe(|| future.as_mut().poll(cx));
        match catch_unwind(poll) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => {
                let words = panic
                    .downcast_ref::<&str>()
                    .map(|words| (*words).to_owned());
                let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
                let words = words.unwrap_or_else(|| "without words".to_owned());
                Poll::Ready(Err(io::Error::other(format!("a panic: {words}"))))
            }
        }
    };
    // INVARIANT: after a panic the result is ready, so the future is not polled again.
    poll_fn(poll).await
}
