//! The request that reads a key or a range.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{RangeRequest, RangeResponse, range_request};

use super::{
    GetStream, KeyValue, ResponseHeader, Selection, count, decode, header, key_values,
    range_options, refuse,
};
use crate::call::{Call, Request, options};
use crate::error::{Error, ErrorKind, Outcome};
use crate::key::{Key, Namespace};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// The field by which a range is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
// Exhaustive: etcd's API has these five and has not gained one since version 3.0.
pub enum SortTarget {
    /// The key, byte by byte.
    Key,
    /// The version.
    Version,
    /// The revision of creation.
    Create,
    /// The revision of the last change.
    Mod,
    /// The value, byte by byte.
    Value,
}

/// The direction in which a range is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
// Exhaustive: there is no third direction.
pub enum SortOrder {
    /// The smallest first.
    Ascend,
    /// The largest first.
    Descend,
}

/// Gets a key or a range of keys.
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#range>.
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Get {
    selection: Selection,
    wire: RangeRequest,
    // Error of an option, returned when the request would be sent.
    refusal: Option<&'static str>,
}

impl Get {
    /// Returns a request that gets one key. Options such as [`prefix`](Self::prefix) extend it to
    /// a range.
    pub fn new(key: impl Into<Key>) -> Self {
        Self {
            selection: Selection::default(),
            wire: RangeRequest {
                key: key.into().into_bytes(),
                ..RangeRequest::default()
            },
            refusal: None,
        }
    }

    pub(crate) fn is_serializable(&self) -> bool {
        self.wire.serializable
    }

    /// Returns the message with the namespace applied, or an error for options that contradict
    /// each other.
    pub(crate) fn message(
        &self,
        namespace: Option<&Namespace>,
    ) -> Result<Cow<'_, RangeRequest>, Failure> {
        if let Some(refusal) = self.refusal {
            return Err(refuse(refusal));
        }
        // A single key without a namespace is sent as it is, without a copy of the message.
        if namespace.is_none() && self.selection.is_single() && !self.wire.key.is_empty() {
            return Ok(Cow::Borrowed(&self.wire));
        }
        let range = self.selection.range(&self.wire.key, namespace)?;
        let mut wire = self.wire.clone();
        wire.key = range.start;
        wire.range_end = range.end;
        Ok(Cow::Owned(wire))
    }

    /// Reads the keys from `from` up to `end`, exclusive. `"\0"` means "no end".
    pub(crate) fn over(mut self, from: Bytes, end: &Bytes) -> Self {
        self.selection = Selection::default();
        match &end[..] {
            b"\0" => self.selection.set_from_key(),
            _ => self.selection.set_end(end.clone().into()),
        }
        self.wire.key = from;
        self
    }

    /// Reads at `revision`, unless the caller has chosen one.
    pub(crate) fn pinned(mut self, revision: i64) -> Self {
        if self.wire.revision == 0 {
            self.wire.revision = revision;
        }
        self
    }

    /// Returns the revision to read at; 0 is the latest.
    pub(crate) fn at_revision(&self) -> i64 {
        self.wire.revision
    }

    fn check_revision(&mut self, revision: i64) -> i64 {
        if revision < 0 {
            self.refusal = Some("a revision is negative");
        }
        revision
    }
}

range_options! { Get }

options! { Get {
    /// Returns at most `limit` pairs. 0, the default, means no limit. In the reply, `more` says
    /// whether the range has further pairs, and `count` how many it has in all.
    fn limit(mut self, limit: u64) {
        match i64::try_from(limit) {
            Ok(limit) => self.wire.limit = limit,
            Err(_) => self.refusal = Some("the limit exceeds 2^63 - 1, the largest of etcd"),
        }
    }

    /// Reads the state at a revision. 0, the default, means the latest.
    fn revision(mut self, revision: i64) {
        self.wire.revision = self.check_revision(revision);
    }

    /// Sorts the pairs. Without this option, they are in the order of their keys.
    fn sort(mut self, target: SortTarget, order: SortOrder) {
        self.wire.sort_target = match target {
            SortTarget::Key => range_request::SortTarget::Key,
            SortTarget::Version => range_request::SortTarget::Version,
            SortTarget::Create => range_request::SortTarget::Create,
            SortTarget::Mod => range_request::SortTarget::Mod,
            SortTarget::Value => range_request::SortTarget::Value,
        } as i32;
        self.wire.sort_order = match order {
            SortOrder::Ascend => range_request::SortOrder::Ascend,
            SortOrder::Descend => range_request::SortOrder::Descend,
        } as i32;
    }

    /// Lets the member answer from its own state, without asking the cluster. The read is faster
    /// and needs no leader, but its result may be stale.
    fn serializable(mut self) {
        self.wire.serializable = true;
    }

    /// Returns the pairs without their values.
    fn keys_only(mut self) {
        self.wire.keys_only = true;
    }

    /// Returns only `count`, without pairs.
    fn count_only(mut self) {
        self.wire.count_only = true;
    }

    /// Leaves out pairs that were last changed before `revision`.
    fn min_mod_revision(mut self, revision: i64) {
        self.wire.min_mod_revision = self.check_revision(revision);
    }

    /// Leaves out pairs that were last changed after `revision`.
    fn max_mod_revision(mut self, revision: i64) {
        self.wire.max_mod_revision = self.check_revision(revision);
    }

    /// Leaves out keys that were created before `revision`.
    fn min_create_revision(mut self, revision: i64) {
        self.wire.min_create_revision = self.check_revision(revision);
    }

    /// Leaves out keys that were created after `revision`.
    fn max_create_revision(mut self, revision: i64) {
        self.wire.max_create_revision = self.check_revision(revision);
    }

    /// Returns the pair with the smallest value of the sort target: an ascending sort with a
    /// limit of 1.
    fn first(mut self, target: SortTarget) {
        self = self.sort(target, SortOrder::Ascend).limit(1);
    }

    /// Returns the pair with the largest value of the sort target: a descending sort with a limit
    /// of 1.
    fn last(mut self, target: SortTarget) {
        self = self.sort(target, SortOrder::Descend).limit(1);
    }
} }

impl Call<Get> {
    /// Makes the call return only the value of the key; `None` when the key does not exist.
    pub fn bytes(self) -> Call<ValueOf<Bytes>> {
        self.map(|get| ValueOf::new(get, Ok))
    }

    /// Returns the pairs as a stream of chunks; needs etcd 3.7 or later. See [`GetStream`].
    pub fn stream(self) -> GetStream {
        let (scope, get) = self.into_parts();
        GetStream::new(scope, get)
    }

    /// Makes the call return only the value, as text; `None` when the key does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the value is not UTF-8.
    pub fn string(self) -> Call<ValueOf<String>> {
        self.map(|get| ValueOf::new(get, text))
    }

    /// Makes the call return only the value, deserialized from JSON; `None` when the key does not
    /// exist.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the value is not the JSON of a `T`.
    #[cfg(feature = "serde")]
    pub fn json<T>(self) -> Call<ValueOf<T>>
    where
        T: serde::de::DeserializeOwned + Send + 'static,
    {
        self.map(|get| ValueOf::new(get, json))
    }
}

impl fmt::Debug for Get {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get")
            .field(
                "selection",
                &format_args!(
                    "{} key",
                    if self.selection.is_single() {
                        "one"
                    } else {
                        "range from a"
                    }
                ),
            )
            .field("limit", &self.wire.limit)
            .field("revision", &self.wire.revision)
            .finish_non_exhaustive()
    }
}

/// The reply to a [`Get`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GetResponse {
    /// Member that answered, and the revision of the store.
    pub header: ResponseHeader,
    /// Pairs of the range, at most as many as the limit.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left out pairs.
    pub more: bool,
    /// Number of keys in the range, regardless of the limit.
    pub count: u64,
}

impl GetResponse {
    /// Returns the first pair.
    #[must_use]
    pub fn into_kv(self) -> Option<KeyValue> {
        self.kvs.into_iter().next()
    }

    pub(crate) fn of(reply: RangeResponse, namespace: Option<&Namespace>) -> Result<Self, Error> {
        Ok(Self {
            header: header(reply.header),
            kvs: key_values(reply.kvs, namespace)?,
            more: reply.more,
            count: count(reply.count),
        })
    }
}

impl Request for Get {
    type Reply = GetResponse;

    fn method(&self) -> Method {
        Method::Range
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn is_local(&self) -> bool {
        self.is_serializable()
    }

    fn encode(&self, namespace: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        frame(&*self.message(namespace)?, limit)
    }

    fn decode(&self, reply: Bytes, namespace: Option<&Namespace>) -> Result<GetResponse, Error> {
        GetResponse::of(decode(reply)?, namespace)
    }
}

/// Gets the value of one key as a `T`; made by [`Call::<Get>::bytes`], `string` and `json`.
#[derive(Clone)]
pub struct ValueOf<T> {
    get: Get,
    read: fn(Bytes) -> Result<T, Error>,
}

impl<T> ValueOf<T> {
    fn new(get: Get, read: fn(Bytes) -> Result<T, Error>) -> Self {
        Self { get, read }
    }
}

impl<T> fmt::Debug for ValueOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValueOf").field(&self.get).finish()
    }
}

impl<T: Send + 'static> Request for ValueOf<T> {
    type Reply = Option<T>;

    fn method(&self) -> Method {
        self.get.method()
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn is_local(&self) -> bool {
        self.get.is_serializable()
    }

    fn encode(&self, namespace: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        if !self.get.selection.is_single() {
            return Err(refuse(
                "bytes, string and json read one key, and this is a range: use its kvs",
            ));
        }
        if self.get.wire.keys_only || self.get.wire.count_only {
            return Err(refuse(
                "bytes, string and json read a value, and keys_only or count_only leave it out",
            ));
        }
        self.get.encode(namespace, limit)
    }

    fn decode(&self, reply: Bytes, namespace: Option<&Namespace>) -> Result<Option<T>, Error> {
        let kv = self.get.decode(reply, namespace)?.into_kv();
        kv.map(|kv| (self.read)(kv.value)).transpose()
    }
}

fn text(value: Bytes) -> Result<String, Error> {
    String::from_utf8(value.into()).map_err(|cause| {
        // `FromUtf8Error` holds the bytes of the value. `Utf8Error` holds only a position.
        undecodable("the value is not UTF-8").with_source(cause.utf8_error())
    })
}

#[cfg(feature = "serde")]
fn json<T: serde::de::DeserializeOwned>(value: Bytes) -> Result<T, Error> {
    serde_json::from_slice(&value).map_err(|cause| {
        // An error of serde_json quotes the value, so only its position is kept.
        undecodable("the value is not JSON of the requested type").with_source(
            std::io::Error::other(format!(
                "at line {}, column {}",
                cause.line(),
                cause.column()
            )),
        )
    })
}

fn undecodable(message: &'static str) -> Error {
    Error::new(ErrorKind::Decode, message).with_outcome(Outcome::Unknown)
}
