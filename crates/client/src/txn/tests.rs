use bytes::Bytes;
use etcdex_proto::etcdserverpb::{RequestOp, TxnRequest, request_op::Request};

use super::*;
use crate::call::Request as _;
use crate::error::ErrorKind;
use crate::kv::LeaseId;

const PREFIX: &[u8] = b"tenant/";

/// A transaction with every kind of condition and operation, nested.
fn every_kind() -> Txn {
    let inner = Txn::new()
        .when(Compare::value("secret").not_equal("secret"))
        .when(Compare::lease("secret").equal(LeaseId::new(7)))
        .when(Compare::create_revision("secret").less(9).from_key())
        .then(Delete::new("secret").from_key())
        .otherwise(Get::new("secret").all_keys());
    Txn::new()
        .when(Compare::version("secret").greater(0).prefix())
        .when(
            Compare::mod_revision("secret")
                .equal(3)
                .range_end("secrets"),
        )
        .then(Put::new("secret", "secret"))
        .then(inner)
        .otherwise(Get::new("").prefix())
        .otherwise(Delete::new("secret").prefix())
}

fn keys(txn: &TxnRequest, found: &mut Vec<(Bytes, Bytes)>) {
    for compare in &txn.compare {
        found.push((compare.key.clone(), compare.range_end.clone()));
    }
    for RequestOp { request } in txn.success.iter().chain(&txn.failure) {
        match request.as_ref().expect("it is set") {
            Request::RequestRange(get) => found.push((get.key.clone(), get.range_end.clone())),
            Request::RequestPut(put) => found.push((put.key.clone(), Bytes::new())),
            Request::RequestDeleteRange(delete) => {
                found.push((delete.key.clone(), delete.range_end.clone()));
            }
            Request::RequestTxn(inner) => keys(inner, found),
        }
    }
}

#[test]
fn a_namespace_covers_every_key_of_a_transaction() {
    let namespace = Namespace::new(Bytes::from_static(PREFIX));
    let message = every_kind()
        .message(namespace.as_ref())
        .expect("it makes sense");
    let mut found = Vec::new();
    keys(&message, &mut found);
    assert_eq!(found.len(), 10);
    for (key, end) in found {
        assert!(key.starts_with(PREFIX), "{key:?}");
        assert!(
            end.is_empty() || end.starts_with(PREFIX) || &end[..] == b"tenant0",
            "{end:?}"
        );
    }
}

#[test]
fn neither_keys_nor_values_are_printed() {
    let printed = format!("{:?}", every_kind());
    assert!(!printed.contains("secret"), "{printed}");
}

#[test]
fn only_read_only_transactions_are_repeatable() {
    let read = Txn::new()
        .then(Get::new("k"))
        .otherwise(Txn::new().then(Get::new("k")));
    assert!(read.is_repeatable());
    assert!(!every_kind().is_repeatable());
    assert!(!Txn::new().otherwise(Delete::new("k")).is_repeatable());
}

#[test]
fn invalid_transactions_are_refused_before_they_are_sent() {
    let refused = |txn: Txn| match txn.encode(None, 1 << 20) {
        Ok(_) => panic!("it was taken"),
        Err(failure) => {
            assert_eq!(failure.error.outcome(), crate::Outcome::NotSent);
            failure.error.to_string()
        }
    };
    assert!(refused(Txn::new().then(Put::new("", "v"))).contains("key is empty"));
    assert!(refused(Txn::new().when(Compare::version("").equal(0))).contains("key is empty"));
    let both = Get::new("a").prefix().range_end("b");
    assert!(refused(Txn::new().then(both)).contains("exclude each other"));
    let both = Put::new("a", "v").ignore_value();
    assert!(refused(Txn::new().otherwise(both)).contains("ignore_value"));
    let negative = Txn::new().then(Get::new("a").revision(-1));
    assert!(refused(Txn::new().then(negative)).contains("negative"));
}

fn nested(depth: u32) -> Txn {
    (1..depth).fold(Txn::new().then(Get::new("k")), |txn, _| {
        Txn::new().then(txn)
    })
}

#[test]
fn transactions_nest_to_the_limit_and_are_refused_beyond() {
    assert!(nested(DEEPEST).message(None).is_ok());
    for depth in [DEEPEST + 1, 3_000, 200_000] {
        let txn = nested(depth);
        // Functions that call themselves for nested transactions do not exceed the limit either.
        let copy = txn.clone();
        assert!(format!("{copy:?}").len() < 10_000);
        assert!(!copy.is_serializable() || copy.is_read_only());
        let failure = txn.message(None).expect_err("it is too deep");
        assert_eq!(failure.error.kind(), ErrorKind::InvalidArgument);
        let text = failure.error.to_string();
        assert!(
            text.contains(&depth.to_string()) && text.contains("49"),
            "{text}"
        );
    }
    let otherwise = Txn::new().otherwise_all([nested(DEEPEST)]);
    assert!(otherwise.message(None).is_err());
    let beside = Txn::new().then_all([nested(DEEPEST - 1), nested(1)]);
    assert!(beside.message(None).is_ok());
}

/// The limit is that of the reply: a reply with one more level could not be decoded.
#[test]
fn the_reply_to_the_deepest_one_can_be_read() {
    let reply = |depth: u32| {
        let pair = etcdex_proto::mvccpb::KeyValue {
            key: "k".into(),
            ..Default::default()
        };
        let range = etcdex_proto::etcdserverpb::RangeResponse {
            kvs: vec![pair],
            ..Default::default()
        };
        let txn = |response| Reply {
            responses: vec![ResponseOp {
                response: Some(response),
            }],
            ..Default::default()
        };
        (1..depth).fold(
            txn(response_op::Response::ResponseRange(range)),
            |inner, _| txn(response_op::Response::ResponseTxn(inner)),
        )
    };
    let bytes = |depth| Bytes::from(prost::Message::encode_to_vec(&reply(depth)));
    assert!(Txn::new().decode(bytes(DEEPEST), None).is_ok());
    assert!(Txn::new().decode(bytes(DEEPEST + 1), None).is_err());
}
