//! Reading and writing keys.
//!
//! Each request is a value that is its own options: `Put::new(key, value).lease(id)` serves
//! [`Client::put`](crate::Client::put), [`Txn`] and the `etcdex` command alike.

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
pub use crate::lease_id::LeaseId;
use crate::transport::Failure;

/// A request that makes no sense, refused before anything is sent.
pub(crate) fn refuse(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::not_sent(ErrorKind::InvalidArgument, message, Retry::Never)
}

/// Decodes a reply's message.
pub(crate) fn decode<M: Message + Default>(reply: Bytes) -> Result<M, Error> {
    M::decode(reply).map_err(|cause| {
        broken("the reply's bytes are not the message that was asked for").with_source(cause)
    })
}

/// A reply that breaks the rules of etcd's API.
pub(crate) fn broken(message: &'static str) -> Error {
    Error::new(ErrorKind::Protocol, message).with_outcome(Outcome::Unknown)
}

/// A number of things, which the wire calls a signed one.
pub(crate) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
