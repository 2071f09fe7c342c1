//! Invalid replies: valid messages with random mutations.

use bytes::{BufMut, Bytes, BytesMut};
use etcdex_proto::{etcdserverpb as pb, mvccpb};
use fastrand::Rng;
use prost::Message;

/// Numbers that may overflow or have a special meaning.
const EDGES: [i64; 10] = [
    i64::MIN,
    -2,
    -1,
    0,
    1,
    12,
    1 << 31,
    1 << 53,
    i64::MAX - 1,
    i64::MAX,
];

/// Makes valid answers to these creations, mutates them, and returns them as bytes.
pub(super) fn mutated_replies(
    rng: &mut Rng,
    asked: &[pb::WatchCreateRequest],
    revision: i64,
) -> Bytes {
    let mut messages = valid(rng, asked, revision);
    for _ in 0..rng.usize(..4) {
        mutate_messages(rng, &mut messages);
    }
    let mut bytes = BytesMut::new();
    for message in &messages {
        let body = message.encode_to_vec();
        let (flag, length) = match rng.u32(..60) {
            0 => (rng.u8(..), body.len()),
            1 => (0, rng.usize(..)),
            2 => (0, body.len().saturating_sub(rng.usize(..5))),
            _ => (0, body.len()),
        };
        bytes.put_u8(flag);
        bytes.put_u32(u32::try_from(length & 0xFFFF_FFFF).expect("the value is masked"));
        bytes.extend_from_slice(&body);
    }
    if rng.u32(..3) == 0 {
        mutate_bytes(rng, &mut bytes);
    }
    bytes.freeze()
}

/// Flips, cuts, inserts and repeats bytes.
pub(super) fn mutate_bytes(rng: &mut Rng, bytes: &mut BytesMut) {
    for _ in 0..=rng.usize(..4) {
        if bytes.is_empty() {
            return;
        }
        let place = rng.usize(..bytes.len());
        match rng.u32(..4) {
            0 => bytes[place] ^= 1 << rng.u32(..8),
            1 => bytes.truncate(place),
            2 => {
                let tail = bytes.split_off(place);
                let more: Vec<u8> = (0..rng.usize(..40)).map(|_| rng.u8(..)).collect();
                bytes.extend_from_slice(&more);
                bytes.extend_from_slice(&tail);
            }
            _ => {
                let again = bytes.clone().split_off(place);
                bytes.extend_from_slice(&again);
            }
        }
    }
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        cluster_id: 7,
        member_id: 1,
        revision,
        raft_term: 2,
    })
}

fn valid(rng: &mut Rng, asked: &[pb::WatchCreateRequest], mut now: i64) -> Vec<pb::WatchResponse> {
    let mut messages = Vec::new();
    for create in asked {
        messages.push(pb::WatchResponse {
            header: header(now),
            watch_id: create.watch_id,
            created: true,
            ..pb::WatchResponse::default()
        });
    }
    for _ in 0..rng.usize(..12) {
        let Some(create) = rng.choice(asked) else {
            break;
        };
        let watch_id = create.watch_id;
        let mut message = pb::WatchResponse {
            watch_id,
            ..pb::WatchResponse::default()
        };
        match rng.u32(..12) {
            0..=6 => {
                for _ in 0..=rng.usize(..4) {
                    now += i64::from(rng.bool());
                    message.events.push(event(rng, &create.key, now));
                }
                message.fragment = rng.u32(..4) == 0;
            }
            7 | 8 => {}
            9 => message.watch_id = -1,
            10 => message.canceled = true,
            _ => {
                message.canceled = true;
                message.compact_revision = now + rng.i64(-3..3);
            }
        }
        message.header = header(now);
        messages.push(message);
    }
    messages
}

fn event(rng: &mut Rng, key: &Bytes, revision: i64) -> mvccpb::Event {
    let pair = |mod_revision| mvccpb::KeyValue {
        key: key.clone(),
        create_revision: mod_revision,
        mod_revision,
        version: 1,
        value: Bytes::from_static(b"v"),
        lease: 0,
    };
    mvccpb::Event {
        r#type: i32::from(rng.bool()),
        kv: Some(pair(revision)),
        prev_kv: rng.bool().then(|| pair(revision - 1)),
    }
}

/// One mutation of messages.
fn mutate_messages(rng: &mut Rng, messages: &mut Vec<pb::WatchResponse>) {
    if messages.is_empty() {
        return;
    }
    let (place, other) = (rng.usize(..messages.len()), rng.usize(..messages.len()));
    match rng.u32(..8) {
        0 => messages.swap(place, other),
        1 => {
            let again = messages[place].clone();
            messages.insert(other, again);
        }
        2 => {
            messages.remove(place);
        }
        3 => {
            // The events of one message with the other fields of another.
            let events = messages[place].events.clone();
            messages[other].events.extend(events);
        }
        _ => mutate_field(rng, &mut messages[place]),
    }
}

/// Sets one field of a message to a random value.
fn mutate_field(rng: &mut Rng, message: &mut pb::WatchResponse) {
    let edge = EDGES[rng.usize(..EDGES.len())];
    match rng.u32(..11) {
        0 => message.watch_id = edge,
        1 => message.header = None,
        2 => message.header = header(edge),
        3 => message.compact_revision = edge,
        4 => message.created ^= true,
        5 => message.canceled ^= true,
        6 => message.fragment ^= true,
        7 => message.cancel_reason = "etcdserver: permission denied".to_owned(),
        8 => {
            if let Some(header) = &mut message.header {
                header.cluster_id = rng.u64(..3);
            }
        }
        _ => {
            let Some(event) = message.events.first_mut() else {
                return;
            };
            match (rng.u32(..5), &mut event.kv) {
                (0, kv) => *kv = None,
                (1, _) => event.r#type = i32::try_from(edge).unwrap_or(i32::MIN),
                (2, Some(kv)) => kv.key = Bytes::new(),
                (_, Some(kv)) => kv.mod_revision = edge,
                (_, None) => event.prev_kv = None,
            }
        }
    }
}
