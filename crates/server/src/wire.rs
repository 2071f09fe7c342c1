//! Messages with many pairs, which are encoded from the store's own bytes.
//!
//! Large ranges and many watchers spend most of their time on these: the messages of `etcdex-proto` would
//! need two copies of each pair first. Fields: etcd's `rpc.proto` and `kv.proto`.

use bytes::{BufMut as _, BytesMut};
use etcdex_proto::etcdserverpb as pb;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, int64, key_len};

use crate::store::{KeyValue, WatchEvent};

/// A message that can be sent.
pub(crate) trait Encode {
    fn encoded_length(&self) -> usize;

    fn append_to(&self, bytes: &mut BytesMut);
}

impl<M: Message> Encode for M {
    fn encoded_length(&self) -> usize {
        self.encoded_len()
    }

    fn append_to(&self, bytes: &mut BytesMut) {
        self.encode_raw(bytes);
    }
}

/// A range response with the pairs of the store.
pub(crate) struct RangeResponse {
    /// All but the pairs.
    pub(crate) rest: pb::RangeResponse,
    pub(crate) kvs: Vec<KeyValue>,
}

impl Encode for RangeResponse {
    fn encoded_length(&self) -> usize {
        let kvs = self.kvs.iter().map(|kv| field_length(2, pair_length(kv)));
        self.rest.encoded_len() + kvs.sum::<usize>()
    }

    fn append_to(&self, bytes: &mut BytesMut) {
        self.rest.encode_raw(bytes);
        for kv in &self.kvs {
            append_pair(2, kv, bytes);
        }
    }
}

/// A watch response with the changes of the store.
pub(crate) struct WatchResponse {
    /// All but the events.
    pub(crate) rest: pb::WatchResponse,
    pub(crate) events: Vec<WatchEvent>,
}

impl Encode for WatchResponse {
    fn encoded_length(&self) -> usize {
        let events = self.events.iter().map(event_field_length);
        self.rest.encoded_len() + events.sum::<usize>()
    }

    fn append_to(&self, bytes: &mut BytesMut) {
        self.rest.encode_raw(bytes);
        for event in &self.events {
            append_field(11, event_length(event), bytes);
            if event.change.is_tombstone() {
                // The type DELETE; PUT is the default.
                encode_key(1, WireType::Varint, bytes);
                encode_varint(1, bytes);
            }
            append_pair(2, &event.change, bytes);
            if let Some(before) = &event.prev_kv {
                append_pair(3, before, bytes);
            }
        }
    }
}

/// Returns the length of the field with an event, in bytes.
pub(crate) fn event_field_length(event: &WatchEvent) -> usize {
    field_length(11, event_length(event))
}

fn event_length(event: &WatchEvent) -> usize {
    let kind = match event.change.is_tombstone() {
        true => key_len(1) + encoded_len_varint(1),
        false => 0,
    };
    let before = event.prev_kv.as_ref();
    let before = before.map_or(0, |kv| field_length(3, pair_length(kv)));
    kind + field_length(2, pair_length(&event.change)) + before
}

/// The numbers of a pair, by their fields.
fn numbers(kv: &KeyValue) -> [(u32, i64); 4] {
    [
        (2, kv.create_revision()),
        (3, kv.revision().main),
        (4, kv.version()),
        (6, kv.lease()),
    ]
}

fn pair_length(kv: &KeyValue) -> usize {
    let numbers = numbers(kv)
        .into_iter()
        .filter(|(_, number)| *number != 0)
        .map(|(field, number)| int64::encoded_len(field, &number));
    let bytes = [(1, kv.key()), (5, kv.value())]
        .into_iter()
        .filter(|(_, bytes)| !bytes.is_empty())
        .map(|(field, bytes)| field_length(field, bytes.len()));
    numbers.sum::<usize>() + bytes.sum::<usize>()
}

fn append_pair(field: u32, kv: &KeyValue, bytes: &mut BytesMut) {
    append_field(field, pair_length(kv), bytes);
    for (field, content) in [(1, kv.key()), (5, kv.value())] {
        if !content.is_empty() {
            append_field(field, content.len(), bytes);
            bytes.put_slice(content);
        }
    }
    for (field, number) in numbers(kv) {
        if number != 0 {
            int64::encode(field, &number, bytes);
        }
    }
}

/// Returns the length of a field with content of this length.
fn field_length(field: u32, content: usize) -> usize {
    key_len(field) + encoded_len_varint(content as u64) + content
}

/// Appends what stands before the content of a field.
fn append_field(field: u32, content: usize, bytes: &mut BytesMut) {
    encode_key(field, WireType::LengthDelimited, bytes);
    encode_varint(content as u64, bytes);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use etcdex_proto::mvccpb;

    use super::*;
    use crate::kv::pair;
    use crate::store::{Delete, KeyRange};
    use crate::store::{Limits, Put, Store, WatchOutput, WatchQuery};

    fn put(store: &mut Store, key: &'static [u8], value: Vec<u8>) {
        let put = Put::new(Bytes::from_static(key), value.into());
        store.put(&put).unwrap();
    }

    /// Returns the events of a store: puts, a deletion, pairs from before.
    fn events() -> Vec<WatchEvent> {
        let mut store = Store::new(Limits::default());
        let query = WatchQuery {
            range: KeyRange::new(Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
            start: 0,
            no_put: false,
            no_delete: false,
            prev_kv: true,
        };
        let watcher = store.watch(query);
        store.grant(7, 60, std::time::Duration::ZERO).unwrap();
        let mut leased = Put::new(Bytes::from_static(b"leased"), Bytes::from_static(b"v"));
        leased.lease = 7;
        store.put(&leased).unwrap();
        put(&mut store, b"empty", Vec::new());
        put(&mut store, b"long", vec![7; 300]);
        put(&mut store, b"long", vec![8; 20_000]);
        let delete = Delete {
            range: KeyRange::single(Bytes::from_static(b"long")),
            prev_kv: false,
        };
        store.delete(&delete).unwrap();
        match store.take_events(watcher, 1_000) {
            Some(WatchOutput::Events { events, .. }) => events,
            other => panic!("{other:?}"),
        }
    }

    fn encoded(message: &impl Encode) -> Bytes {
        let mut bytes = BytesMut::new();
        message.append_to(&mut bytes);
        assert_eq!(bytes.len(), message.encoded_length());
        bytes.freeze()
    }

    #[test]
    fn a_decoder_finds_the_pairs_of_a_range() {
        let kvs: Vec<KeyValue> = events().into_iter().map(|event| event.change).collect();
        let rest = pb::RangeResponse {
            header: Some(pb::ResponseHeader {
                revision: 5,
                ..pb::ResponseHeader::default()
            }),
            more: true,
            count: 9,
            ..pb::RangeResponse::default()
        };
        let expected = pb::RangeResponse {
            kvs: kvs.iter().map(pair).collect(),
            ..rest.clone()
        };
        let bytes = encoded(&RangeResponse { rest, kvs });
        assert_eq!(pb::RangeResponse::decode(bytes).unwrap(), expected);
    }

    #[test]
    fn a_decoder_finds_the_events_of_a_watch() {
        let events = events();
        assert_eq!(events.len(), 5);
        let rest = pb::WatchResponse {
            watch_id: 3,
            fragment: true,
            ..pb::WatchResponse::default()
        };
        let event = |event: &WatchEvent| mvccpb::Event {
            r#type: i32::from(event.change.is_tombstone()),
            kv: Some(pair(&event.change)),
            prev_kv: event.prev_kv.as_ref().map(pair),
        };
        let expected = pb::WatchResponse {
            events: events.iter().map(event).collect(),
            ..rest.clone()
        };
        let bytes = encoded(&WatchResponse { rest, events });
        assert_eq!(pb::WatchResponse::decode(bytes).unwrap(), expected);
    }
}
