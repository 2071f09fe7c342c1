//! The messages that a server sends as the answer to one request.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use super::Request;
use super::Scope;
use super::flight::Flight;
use crate::error::{Error, ErrorKind, Outcome, Retry};
use crate::transport::Failure;
use crate::transport::stream::Incoming;

/// A call whose answer is many messages. It is sent when the first one is asked for.
///
/// Until the first message has come it is a call like others, with their rules for retries, for
/// tokens and for its time. From then on it may take as long as it takes: what the handle calls a
/// time-out is the longest silence.
pub(crate) struct Messages<W> {
    request: W,
    flight: Pin<Box<Flight>>,
    stage: Stage,
}

enum Stage {
    /// Before the first message.
    Asking,
    Open(Box<Incoming>),
    Over,
}

impl<W: Request> Messages<W> {
    pub(crate) fn new(scope: Scope, request: W) -> Self {
        Self {
            request,
            flight: Box::pin(Flight::new(scope)),
            stage: Stage::Asking,
        }
    }

    pub(crate) fn request(&self) -> &W {
        &self.request
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.flight.attempts()
    }

    /// The next message; `None` behind the last.
    ///
    /// INVARIANT: the call is not begun again once a message has come.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<W::Reply>, Error> {
        let message = match &mut self.stage {
            Stage::Over => return Ok(None),
            Stage::Asking => {
                let (request, flight) = (&self.request, &mut self.flight);
                let first = poll_fn(|cx| flight.as_mut().poll_first(cx, request)).await;
                let (first, rest) = match first {
                    Ok(first) => first,
                    Err(error) => {
                        self.stage = Stage::Over;
                        return Err(error);
                    }
                };
                // INVARIANT: the method answers by messages, and so there is a rest.
                self.stage = rest.map_or(Stage::Over, |rest| Stage::Open(Box::new(rest)));
                first
            }
            Stage::Open(incoming) => {
                let idle = self.flight.scope().timeout.of_a_call();
                match message(incoming, idle).await {
                    Ok(Some(message)) => message,
                    Ok(None) => {
                        self.stage = Stage::Over;
                        self.flight.as_mut().end(Ok(()))?;
                        return Ok(None);
                    }
                    Err(failure) => return Err(self.end(failure.error)),
                }
            }
        };
        let namespace = self.flight.scope().namespace.as_ref();
        match self.request.decode(message, namespace) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => Err(self.end(error)),
        }
    }

    /// Gives the call up because of an error, to which it adds what is known of the call.
    pub(crate) fn end(&mut self, error: Error) -> Error {
        self.stage = Stage::Over;
        match self.flight.as_mut().end::<()>(Err(error)) {
            Err(error) => error,
            // INVARIANT: the end of a call makes no success of an error.
            Ok(()) => Error::new(ErrorKind::Protocol, "the call has ended"),
        }
    }
}

/// The next message behind the first, within the longest silence.
async fn message(
    incoming: &mut Incoming,
    idle: Option<Duration>,
) -> Result<Option<bytes::Bytes>, Failure> {
    let Some(idle) = idle else {
        return incoming.message().await;
    };
    match tokio::time::timeout(idle, incoming.message()).await {
        Ok(outcome) => outcome,
        Err(_) => {
            incoming.report_no_answer();
            Err(silence(idle))
        }
    }
}

fn silence(idle: Duration) -> Failure {
    Failure::new(
        ErrorKind::Timeout,
        Outcome::Unknown,
        format!("no chunk came within {idle:?}"),
        Retry::Never,
    )
}
