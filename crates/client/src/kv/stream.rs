//! A range that the server sends in chunks.

use bytes::Bytes;
use etcdex_proto::etcdserverpb::RangeStreamResponse;

use super::{Get, GetResponse, broken, decode};
use crate::call::Request;
use crate::call::{Messages, Scope};
use crate::debug::debug_fields;
use crate::error::Error;
use crate::key::Namespace;
use crate::method::Method;
use crate::transport::Failure;

/// The pairs of a [`Get`] as a stream of chunks (etcd 3.7 and later); returned by
/// [`Call::<Get>::stream`](crate::Call::stream).
///
/// All chunks are of one revision. Each chunk is a [`GetResponse`] with the next pairs. Only the
/// last chunk has a header, `more` and `count`. The server accepts no sort order and no limits of
/// revisions for such a read.
///
/// [`Client::list`](crate::Client::list) works with servers of any version, and continues after a
/// lost connection.
///
/// ```no_run
/// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
/// let mut chunks = client.get("jobs/").prefix().stream();
/// while let Some(chunk) = chunks.try_next().await? {
///     println!("{} more", chunk.kvs.len());
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a stream reads nothing until it is asked for the next chunk"]
pub struct GetStream {
    messages: Messages<Chunks>,
}

/// The request of a [`GetStream`].
struct Chunks(Get);

impl GetStream {
    pub(crate) fn new(scope: Scope, get: Get) -> Self {
        Self {
            messages: Messages::new(scope, Chunks(get)),
        }
    }

    /// Returns the next chunk; `None` after the last one.
    ///
    /// # Errors
    /// [`ErrorKind::Unimplemented`](crate::ErrorKind::Unimplemented) from servers before 3.7,
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) when no chunk arrives within the time-out
    /// of a call, and the errors of a get. The stream ends after an error.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    ///
    /// # Retries
    /// Before the first chunk, those of a get, all within the time-out of a call. After the first
    /// chunk none: its revision is known only from the last chunk, so that another attempt could
    /// not continue at the same revision.
    pub async fn try_next(&mut self) -> Result<Option<GetResponse>, Error> {
        self.messages.next().await
    }
}

impl Request for Chunks {
    type Reply = GetResponse;

    fn method(&self) -> Method {
        Method::RangeStream
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn encode(&self, namespace: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        self.0.encode(namespace, limit)
    }

    fn decode(&self, reply: Bytes, namespace: Option<&Namespace>) -> Result<GetResponse, Error> {
        let reply: RangeStreamResponse = decode(reply)?;
        let range = reply
            .range_response
            .ok_or_else(|| broken("a chunk of the range is empty"))?;
        GetResponse::of(range, namespace)
    }
}

debug_fields! { GetStream |stream| {
    get: stream.messages.request().0, attempts: stream.messages.attempts(), ..
} }
