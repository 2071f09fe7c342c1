//! The trait of all requests.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use super::scope::{Core, Scope};
use crate::error::Error;
use crate::key::Namespace;
use crate::method::Method;
use crate::transport::Failure;

/// Resolves when the server has stopped to carry out a request that another attempt would continue.
pub(crate) type Stall = Pin<Box<dyn Future<Output = GivenUp> + Send>>;

/// The fate of the steps of an attempt that is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
// Public for the hidden methods of `Request`.
#[allow(unnameable_types)]
pub enum GivenUp {
    /// The server keeps what they have done, and the next attempt goes on with it.
    Kept,
    /// The server undoes it, some time. Another attempt could be undone with it.
    Undone,
}

/// A request that a [`Call`](crate::Call) can carry.
///
/// `new` and options make its values (`Put::new(key, value).lease(id)`), and so do the methods of
/// a [`Client`](crate::Client). The trait cannot be implemented outside of this crate.
// Sealed: its hidden methods have types that cannot be named outside of the crate.
pub trait Request: Send + Unpin + 'static {
    /// The type of the reply.
    type Reply: Send + 'static;

    /// Returns the gRPC method of the request.
    #[doc(hidden)]
    fn method(&self) -> Method;

    /// Whether a second execution changes nothing.
    #[doc(hidden)]
    fn is_repeatable(&self) -> bool;

    /// Whether the request changes nothing, so that its errors do not say that it may have been
    /// applied.
    #[doc(hidden)]
    fn is_read(&self) -> bool {
        self.is_repeatable()
    }

    /// Whether the request takes long by nature, so that the default time-out does not apply.
    #[doc(hidden)]
    fn is_long(&self) -> bool {
        false
    }

    /// Whether the request needs a leader unless the caller says otherwise, because it waits for
    /// other clients: without a leader it would wait in vain.
    #[doc(hidden)]
    fn wants_leader(&self) -> bool {
        false
    }

    /// Whether the server carries out the request in several steps, and returns the error of a step
    /// as text only. Such an error does not say which steps were carried out; but all steps are
    /// over, including the clean-up.
    #[doc(hidden)]
    fn is_compound(&self) -> bool {
        false
    }

    /// Whether another attempt goes on with what the steps of an earlier one have left. A request of
    /// several steps is sent again after a refused step only then.
    #[doc(hidden)]
    fn is_resumable(&self) -> bool {
        self.is_compound()
    }

    /// Returns a future that resolves when the server has stopped to carry out the steps of the
    /// request, without an answer. The attempt is then given up. The request is sent again if the
    /// server keeps what the attempt has done, and fails otherwise. Only for a [resumable](Self::is_resumable) request. The number is that of the attempts of the call
    /// that were given up before.
    #[doc(hidden)]
    fn stall(&self, _: &Scope, _: u32) -> Option<Stall> {
        None
    }

    /// Whether a member answers without asking its quorum.
    #[doc(hidden)]
    fn is_local(&self) -> bool {
        self.method().is_local()
    }

    /// Returns the framed message, with the namespace applied.
    #[doc(hidden)]
    fn encode(&self, namespace: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure>;

    /// Returns the reply, with the namespace removed.
    #[doc(hidden)]
    fn decode(&self, reply: Bytes, namespace: Option<&Namespace>) -> Result<Self::Reply, Error>;

    /// Returns the result of a call that ended with `error` after an attempt that may have been
    /// applied: a repeatable request may recognise the effect of that attempt.
    #[doc(hidden)]
    fn settle(&self, error: Error) -> Result<Self::Reply, Error> {
        Err(error)
    }

    /// Called before each attempt is sent.
    #[doc(hidden)]
    fn sends(&self, _: &Core) {}

    /// Called with the result before the caller gets it.
    #[doc(hidden)]
    fn ended(&self, _: &Core, _: Result<&Self::Reply, &Error>) {}
}
