//! Keys and values: reading, writing and deleting them.
//!
//! [`Client::get`](crate::Client::get), [`put`](crate::Client::put) and
//! [`delete`](crate::Client::delete) return a [`Call`](crate::Call). Options are methods of the
//! call, and awaiting the call sends it:
//!
//! ```no_run
//! # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
//! client.put("jobs/1", "queued").await?;
//!
//! // One value, as text. `None` means that the key does not exist.
//! assert_eq!(client.get("jobs/1").string().await?.as_deref(), Some("queued"));
//!
//! // A range: all keys that start with `jobs/`, at one revision of the store.
//! let jobs = client.get("jobs/").prefix().await?;
//! for kv in &jobs.kvs {
//!     println!("{:?} was last changed at revision {}", kv.key_str(), kv.mod_revision);
//! }
//!
//! // The same range as it was before, while that revision is not compacted.
//! let before = client.get("jobs/").prefix().revision(jobs.header.revision).await?;
//! assert_eq!(before.kvs, jobs.kvs);
//!
//! let reply = client.delete("jobs/").prefix().await?;
//! println!("{} jobs deleted", reply.deleted);
//! # Ok(())
//! # }
//! ```
//!
//! A reply to `get` holds the whole range. To read a large range, use
//! [`Client::list`](crate::Client::list): a stream of pairs that reads page by page at one
//! revision.
//!
//! ```no_run
//! # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
//! let mut jobs = client.list("jobs/").page(500);
//! while let Some(kv) = jobs.try_next().await? {
//!     println!("{:?}", kv.key_str());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Each request is also a value: `Put::new(key, value).lease(id)` has the options of
//! `client.put(key, value)`. [`Client::run`](crate::Client::run) sends it, and a transaction
//! ([`txn`](crate::txn)) takes it as an operation.
//!
//! The types that most programs name are at the root of the crate, too: [`Get`], [`Put`],
//! [`Delete`] and [`KeyValue`].

mod compact;
mod delete;
mod get;
mod list;
mod plain;
mod put;
mod response;
mod selection;
mod stream;

use bytes::Bytes;
use prost::Message;

pub use self::compact::{Compact, CompactResponse};
pub use self::delete::{Delete, DeleteResponse};
pub use self::get::{Get, GetResponse, SortOrder, SortTarget, ValueOf};
pub use self::list::List;
pub(crate) use self::plain::plain_request;
pub use self::put::{Put, PutResponse};
pub use self::response::{KeyValue, ResponseHeader};
pub(crate) use self::response::{header, key_value, key_values};
pub(crate) use self::selection::{Selection, range_options};
pub use self::stream::GetStream;
use crate::error::{Error, ErrorKind, Outcome, Retry};
pub(crate) use crate::lease_id::LeaseId;
use crate::transport::Failure;

/// Returns the error of a request that makes no sense and was not sent.
pub(crate) fn refuse(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::not_sent(ErrorKind::InvalidArgument, message, Retry::Never)
}

/// Decodes the message of a reply.
pub(crate) fn decode<M: Message + Default>(reply: Bytes) -> Result<M, Error> {
    M::decode(reply).map_err(|cause| {
        broken("the reply is not the message that the request expects").with_source(cause)
    })
}

/// Returns the error of a reply that breaks the rules of etcd's API.
pub(crate) fn broken(message: &'static str) -> Error {
    Error::new(ErrorKind::Protocol, message).with_outcome(Outcome::Unknown)
}

/// Converts a count, which is signed on the wire.
pub(crate) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
