//! Reading one key or a range.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{RangeRequest, RangeResponse, range_request};

use super::{
    GetStream, KeyValue, ResponseHeader, Selection, count, decode, header, key_values,
    range_options, refuse,
};
use crate::call::wire::Wire;
use crate::call::{Call, Request, options};
use crate::error::{Error, ErrorKind, Outcome};
use crate::key::{Key, Namespace};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// What a range is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// Which way a range is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    // The first thing that is wrong, told when it would be sent.
    refusal: Option<&'static str>,
}

impl Get {
    /// Gets one key; options make it a range.
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

    /// The message with the namespace applied, if it makes sense.
    pub(crate) fn message(
        &self,
        namespace: Option<&Namespace>,
    ) -> Result<Cow<'_, RangeRequest>, Failure> {
        if let Some(refusal) = self.refusal {
            return Err(refuse(refusal));
        }
        // The plain case needs no second message, nor a second count on the key's buffer.
        if namespace.is_none() && self.selection.is_single() && !self.wire.key.is_empty() {
            return Ok(Cow::Borrowed(&self.wire));
        }
        let range = self.selection.range(&self.wire.key, namespace)?;
        let mut wire = self.wire.clone();
        wire.key = range.start;
        wire.range_end = range.end;
        Ok(Cow::Owned(wire))
    }

    /// From `from` on, up to `end`, which is not included; `"\0"` means "no end".
    pub(crate) fn over(mut self, from: Bytes, end: &Bytes) -> Self {
        self.selection = Selection::default();
        match &end[..] {
            b"\0" => self.selection.set_from_key(),
            _ => self.selection.set_end(end.clone().into()),
        }
        self.wire.key = from;
        self
    }

    /// At that revision, unless another one was chosen.
    pub(crate) fn pinned(mut self, revision: i64) -> Self {
        if self.wire.revision == 0 {
            self.wire.revision = revision;
        }
        self
    }

    /// The revision that is read; 0 is now.
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
    /// At most so many pairs; 0 is no limit. `more` in the reply says whether there are others,
    /// `count` how many in all.
    fn limit(mut self, limit: u64) {
        match i64::try_from(limit) {
            Ok(limit) => self.wire.limit = limit,
            Err(_) => self.refusal = Some("the limit is over what etcd can count"),
        }
    }

    /// As it was at a revision; 0 is now.
    fn revision(mut self, revision: i64) {
        self.wire.revision = self.check_revision(revision);
    }

    /// Sorted. Without this, pairs come in the order of their keys.
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

    /// From the member's own state, without asking the cluster: faster and available without a
    /// leader, but possibly old.
    fn serializable(mut self) {
        self.wire.serializable = true;
    }

    /// Without the values.
    fn keys_only(mut self) {
        self.wire.keys_only = true;
    }

    /// Only how many there are.
    fn count_only(mut self) {
        self.wire.count_only = true;
    }

    /// Without pairs that were last changed before this revision.
    fn min_mod_revision(mut self, revision: i64) {
        self.wire.min_mod_revision = self.check_revision(revision);
    }

    /// Without pairs that were last changed after this revision.
    fn max_mod_revision(mut self, revision: i64) {
        self.wire.max_mod_revision = self.check_revision(revision);
    }

    /// Without keys that were created before this revision.
    fn min_create_revision(mut self, revision: i64) {
        self.wire.min_create_revision = self.check_revision(revision);
    }

    /// Without keys that were created after this revision.
    fn max_create_revision(mut self, revision: i64) {
        self.wire.max_create_revision = self.check_revision(revision);
    }

    /// Of the range, the pair with the smallest of that: shorthand for a sort and a limit of 1.
    fn first(mut self, target: SortTarget) {
        self = self.sort(target, SortOrder::Ascend).limit(1);
    }

    /// Of the range, the pair with the largest of that: shorthand for a sort and a limit of 1.
    fn last(mut self, target: SortTarget) {
        self = self.sort(target, SortOrder::Descend).limit(1);
    }
} }

impl Call<Get> {
    /// Only the value: `None` when the key does not exist.
    pub fn bytes(self) -> Call<ValueOf<Bytes>> {
        self.map(|get| ValueOf::new(get, Ok))
    }

    /// The pairs as a stream of chunks, from a server of 3.7 or later: see [`GetStream`].
    pub fn stream(self) -> GetStream {
        let (scope, get) = self.into_parts();
        GetStream::new(scope, get)
    }

    /// Only the value, as text: `None` when the key does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when it is no UTF-8.
    pub fn string(self) -> Call<ValueOf<String>> {
        self.map(|get| ValueOf::new(get, text))
    }

    /// Only the value, read as JSON: `None` when the key does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when it is not the JSON of a `T`.
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
    /// Who answered, at which revision of the store.
    pub header: ResponseHeader,
    /// The pairs.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left some out.
    pub more: bool,
    /// How many keys the range has, whatever the limit.
    pub count: u64,
}

impl GetResponse {
    /// The first pair, taken.
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
}

#[allow(private_interfaces)]
impl Wire for Get {
    type Answer = GetResponse;

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

/// Gets one key, and of it only the value, as a `T`.
///
/// [`Call::<Get>::bytes`], `string` and `json` make it.
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
}

#[allow(private_interfaces)]
impl<T: Send + 'static> Wire for ValueOf<T> {
    type Answer = Option<T>;

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
        // The cause of `FromUtf8Error` holds the bytes; its inner error only their place.
        undecodable("the value is no UTF-8").with_source(cause.utf8_error())
    })
}

#[cfg(feature = "serde")]
fn json<T: serde::de::DeserializeOwned>(value: Bytes) -> Result<T, Error> {
    serde_json::from_slice(&value).map_err(|cause| {
        // serde_json quotes what it found; only where is safe to tell.
        undecodable("the value is not the JSON that was asked for").with_source(
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
