//! Calls whose answer is a stream of messages.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use super::flight::Flight;
use super::request::Request;
use super::scope::Scope;
use crate::error::{Error, ErrorKind, Outcome, Retry};
use crate::transport::Failure;
use crate::transport::stream::Incoming;

/// A call whose answer is a stream of messages. It is sent when the first message is requested.
///
/// Until the first message has arrived, the rules of other calls apply: retries, tokens and the
/// time-out. After it, the whole call has no time-out; the handle's time-out then limits the time
/// without a message.
pub(crate) struct Messages<W> {
    request: W,
    flight: Pin<Box<Flight>>,
    state: MessagesState,
}

/// ```text
///               the first message          the end, or an error
///  BeforeFirst ───────────────────► Open ───────────────────────► Done
/// ```
///
/// An error before the first message leads to `Done`, too.
enum MessagesState {
    /// Before the first message.
    BeforeFirst,
    Open(Box<Incoming>),
    Done,
}

impl<W: Request> Messages<W> {
    pub(crate) fn new(scope: Scope, request: W) -> Self {
        Self {
            request,
            flight: Box::pin(Flight::new(scope)),
            state: MessagesState::BeforeFirst,
        }
    }

    pub(crate) fn request(&self) -> &W {
        &self.request
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.flight.attempts()
    }

    /// Returns the next message; `None` after the last.
    ///
    /// INVARIANT: the call is not sent again once a message has arrived.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<W::Reply>, Error> {
        let message = match &mut self.state {
            MessagesState::Done => return Ok(None),
            MessagesState::BeforeFirst => {
                let (request, flight) = (&self.request, &mut self.flight);
                let first = poll_fn(|cx| flight.as_mut().poll_first(cx, request)).await;
                let (first, rest) = match first {
                    Ok(first) => first,
                    Err(error) => {
                        self.state = MessagesState::Done;
                        return Err(error);
                    }
                };
                // INVARIANT: the method answers by messages, so there is a stream of the others.
                self.state = rest.map_or(MessagesState::Done, |rest| {
                    MessagesState::Open(Box::new(rest))
                });
                first
            }
            MessagesState::Open(incoming) => {
                let idle = self.flight.scope().timeout.of_a_call();
                match message(incoming, idle).await {
                    Ok(Some(message)) => message,
                    Ok(None) => {
                        self.state = MessagesState::Done;
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

    /// Ends the call because of an error. Returns the error with the facts about the call.
    pub(crate) fn end(&mut self, error: Error) -> Error {
        self.state = MessagesState::Done;
        match self.flight.as_mut().end::<()>(Err(error)) {
            Err(error) => error,
            // INVARIANT: `Flight::end` returns an error for an error.
            Ok(()) => Error::new(ErrorKind::Protocol, "the call has ended"),
        }
    }
}

/// Returns the next message after the first, within the longest time without a message.
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
