//! Encodings computed by hand, and the data that `Debug` hides.

use std::fmt::Debug;

use bytes::Bytes;
use prost::Message;

use crate::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::etcdserverpb::request_op::Request;
use crate::etcdserverpb::watch_request::RequestUnion;
use crate::{authpb, etcdserverpb as pb, health, method, mvccpb, v3electionpb, v3lockpb};

fn round_trip<M: Message + Default + PartialEq + Debug>(message: M, bytes: &[u8]) {
    assert_eq!(message.encode_to_vec(), bytes);
    assert_eq!(M::decode(bytes).unwrap(), message);
}

fn put() -> pb::PutRequest {
    pb::PutRequest {
        key: Bytes::from_static(b"a"),
        value: Bytes::from_static(b"b"),
        ..Default::default()
    }
}

#[test]
fn a_put_is_encoded_as_its_key_and_value() {
    round_trip(put(), &[0x0a, 1, b'a', 0x12, 1, b'b']);
}

#[test]
fn the_range_end_of_a_compare_is_field_64() {
    let compare = pb::Compare {
        result: CompareResult::NotEqual.into(),
        target: CompareTarget::Value.into(),
        key: Bytes::from_static(b"k"),
        range_end: Bytes::from_static(b"l"),
        target_union: Some(TargetUnion::Value(Bytes::from_static(b"v"))),
    };
    // 64 << 3 | 2 is 0x202, two bytes as a varint.
    let bytes = [
        0x08, 3, 0x10, 3, 0x1a, 1, b'k', 0x3a, 1, b'v', 0x82, 0x04, 1, b'l',
    ];
    round_trip(compare, &bytes);
}

#[test]
fn a_transaction_nests_its_operations() {
    let transaction = pb::TxnRequest {
        success: vec![pb::RequestOp {
            request: Some(Request::RequestPut(put())),
        }],
        ..Default::default()
    };
    let bytes = [0x12, 8, 0x12, 6, 0x0a, 1, b'a', 0x12, 1, b'b'];
    round_trip(transaction, &bytes);
}

#[test]
fn watch_events_are_field_11() {
    let response = pb::WatchResponse {
        watch_id: 1,
        events: vec![mvccpb::Event {
            r#type: mvccpb::event::EventType::Delete.into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    round_trip(response, &[0x10, 1, 0x5a, 2, 0x08, 1]);
    let progress = pb::WatchRequest {
        request_union: Some(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})),
    };
    round_trip(progress, &[0x1a, 0]);
}

#[test]
fn a_lease_that_has_ended_has_a_negative_ttl() {
    let response = pb::LeaseTimeToLiveResponse {
        id: 300,
        ttl: -1,
        ..Default::default()
    };
    let mut bytes = vec![0x10, 0xac, 0x02, 0x18];
    bytes.extend([0xff; 9]);
    bytes.push(0x01);
    round_trip(response, &bytes);
}

#[test]
fn the_smaller_packages_encode() {
    let lock = v3lockpb::LockRequest {
        name: Bytes::from_static(b"n"),
        lease: 2,
    };
    round_trip(lock, &[0x0a, 1, b'n', 0x10, 2]);
    let key = v3electionpb::LeaderKey {
        rev: 3,
        lease: 4,
        ..Default::default()
    };
    let resign = v3electionpb::ResignRequest { leader: Some(key) };
    round_trip(resign, &[0x0a, 4, 0x18, 3, 0x20, 4]);
    let mut response = health::HealthCheckResponse::default();
    response.set_status(health::health_check_response::ServingStatus::Serving);
    round_trip(response, &[0x08, 1]);
}

#[test]
fn an_unknown_field_is_skipped() {
    let bytes = [0x0a, 1, b'a', 0xf8, 0x7f, 1, 0x12, 1, b'b'];
    assert_eq!(pb::PutRequest::decode(&bytes[..]).unwrap(), put());
}

#[test]
fn a_truncated_message_is_an_error() {
    assert!(pb::PutRequest::decode(&[0x0a, 9, b'a'][..]).is_err());
}

#[test]
fn decoding_does_not_copy_the_value() {
    let kv = mvccpb::KeyValue {
        key: Bytes::from_static(b"key"),
        value: Bytes::from(vec![7; 1000]),
        ..Default::default()
    };
    let response = pb::RangeResponse {
        kvs: vec![kv],
        ..Default::default()
    };
    let source = Bytes::from(response.encode_to_vec());
    let decoded = pb::RangeResponse::decode(source.clone()).unwrap();
    let within = source.as_ptr_range();
    let value = decoded.kvs[0].value.as_ptr_range();
    assert!(within.contains(&value.start) && value.end <= within.end);
}

fn assert_hides(message: &impl Debug, shown: &str) {
    for text in [format!("{message:?}"), format!("{message:#?}")] {
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains(shown), "{text}");
    }
}

#[test]
fn debug_hides_passwords_and_tokens() {
    let secret = || "hunter2".to_owned();
    let redacted = "password: [redacted]";
    let (name, password) = ("root".to_owned(), secret());
    assert_hides(&pb::AuthenticateRequest { name, password }, redacted);
    let response = pb::AuthenticateResponse {
        header: None,
        token: secret(),
    };
    assert_hides(&response, "token: [redacted]");
    let add = pb::AuthUserAddRequest {
        password: secret(),
        hashed_password: secret(),
        ..Default::default()
    };
    assert_hides(&add, redacted);
    let change = pb::AuthUserChangePasswordRequest {
        password: secret(),
        hashed_password: secret(),
        ..Default::default()
    };
    assert_hides(&change, redacted);
    let user = authpb::User {
        password: secret().into(),
        ..Default::default()
    };
    assert_hides(&user, redacted);
}

#[test]
fn debug_hides_keys_and_values() {
    let data = || Bytes::from_static(b"hunter2");
    let kv = mvccpb::KeyValue {
        key: data(),
        value: data(),
        ..Default::default()
    };
    let put = pb::PutRequest {
        key: data(),
        value: data(),
        ..Default::default()
    };
    let compare = pb::Compare {
        key: data(),
        target_union: Some(TargetUnion::Value(data())),
        ..Default::default()
    };
    assert_hides(&kv, "value: [7 bytes]");
    assert_hides(&put, "value: [7 bytes]");
    assert_hides(&compare, "key: [7 bytes]");
    let response = pb::PutResponse {
        header: None,
        prev_kv: Some(kv.clone()),
    };
    assert_hides(&response, "[7 bytes]");
    let event = mvccpb::Event {
        kv: Some(kv),
        ..Default::default()
    };
    assert_hides(&event, "[7 bytes]");
}

#[test]
fn debug_shows_the_name_of_an_enum_or_an_unknown_number() {
    let mut range = pb::RangeRequest::default();
    range.set_sort_order(pb::range_request::SortOrder::Descend);
    range.sort_target = 99;
    let text = format!("{range:?}");
    assert!(
        text.contains("sort_order: Descend, sort_target: 99"),
        "{text}"
    );
}

#[test]
fn methods_have_their_paths() {
    assert_eq!(method::kv::RANGE, "/etcdserverpb.KV/Range");
    assert_eq!(method::kv::RANGE_STREAM, "/etcdserverpb.KV/RangeStream");
    assert_eq!(method::watch::WATCH, "/etcdserverpb.Watch/Watch");
    assert_eq!(
        method::maintenance::HASH_KV,
        "/etcdserverpb.Maintenance/HashKV"
    );
    assert_eq!(
        method::lease::LEASE_KEEP_ALIVE,
        "/etcdserverpb.Lease/LeaseKeepAlive"
    );
    assert_eq!(
        method::auth::AUTHENTICATE,
        "/etcdserverpb.Auth/Authenticate"
    );
    assert_eq!(method::lock::UNLOCK, "/v3lockpb.Lock/Unlock");
    assert_eq!(method::election::OBSERVE, "/v3electionpb.Election/Observe");
    assert_eq!(method::health::CHECK, "/grpc.health.v1.Health/Check");
}
