//! One failed attempt: the error, and whether another attempt makes sense.

use std::borrow::Cow;

use crate::error::{Class, Code, Error, ErrorKind, Outcome, Retry};

/// Why an attempt failed.
#[derive(Debug)]
// Public for the hidden methods of `Request`.
#[allow(unnameable_types)]
pub struct Failure {
    pub(crate) error: Error,
    pub(crate) retry: Retry,
}

impl Failure {
    pub(crate) fn new(
        kind: ErrorKind,
        outcome: Outcome,
        message: impl Into<Cow<'static, str>>,
        retry: Retry,
    ) -> Self {
        Self {
            error: Error::new(kind, message).with_outcome(outcome),
            retry,
        }
    }

    /// The failure of a request that was not sent: no server that would act on it has seen it.
    pub(crate) fn not_sent(
        kind: ErrorKind,
        message: impl Into<Cow<'static, str>>,
        retry: Retry,
    ) -> Self {
        Self::new(kind, Outcome::NotSent, message, retry)
    }

    /// The server broke a rule after the request was sent.
    pub(crate) fn violation(message: impl Into<Cow<'static, str>>) -> Self {
        Self::answered(ErrorKind::Protocol, message)
    }

    /// The server has answered, and the answer is of no use.
    pub(crate) fn answered(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(kind, Outcome::Unknown, message, Retry::Never)
    }

    /// The server answered with an error status.
    pub(crate) fn status(class: Class, code: Code, message: Cow<'static, str>) -> Self {
        Self {
            error: Error::new(class.kind, message)
                .with_outcome(class.outcome)
                .with_code(code),
            retry: class.retry,
        }
    }

    /// Returns the failure of a request for an error of h2 that came after h2 had taken the request.
    pub(crate) fn from_h2(error: h2::Error) -> Self {
        use h2::Reason;
        let reason = error.reason();
        let (kind, outcome, retry, message): (_, _, _, Cow<'static, str>) =
            if error.is_go_away() && error.is_remote() {
                // h2 fails a stream this way only when its number is above the last one that
                // the server will work on.
                let message = "the server is going away and did not take the request".into();
                (
                    ErrorKind::Unavailable,
                    Outcome::NotSent,
                    Retry::Reconnect,
                    message,
                )
            } else if error.is_reset() && error.is_remote() {
                let message = match reason {
                    Some(reason) => format!("the server reset the stream ({reason:?})").into(),
                    None => "the server reset the stream".into(),
                };
                match reason {
                    Some(Reason::REFUSED_STREAM) => (
                        ErrorKind::Unavailable,
                        Outcome::NotSent,
                        Retry::Elsewhere,
                        message,
                    ),
                    Some(Reason::CANCEL) => (
                        ErrorKind::Cancelled,
                        Outcome::Unknown,
                        Retry::Never,
                        message,
                    ),
                    Some(Reason::ENHANCE_YOUR_CALM) => (
                        ErrorKind::TooManyRequests,
                        Outcome::Unknown,
                        Retry::Never,
                        message,
                    ),
                    _ => (ErrorKind::Protocol, Outcome::Unknown, Retry::Never, message),
                }
            } else if error.is_io() {
                let message = "the connection was lost".into();
                (
                    ErrorKind::Unavailable,
                    Outcome::Unknown,
                    Retry::Reconnect,
                    message,
                )
            } else {
                // One bad frame ends the connection, and with it calls that had no part in it.
                let message = "the server broke the rules of HTTP/2".into();
                (
                    ErrorKind::Protocol,
                    Outcome::Unknown,
                    Retry::Reconnect,
                    message,
                )
            };
        Self {
            error: Error::new(kind, message)
                .with_outcome(outcome)
                .with_source(error),
            retry,
        }
    }
}
