//! The two replies of the null server.

use bytes::{BufMut, Bytes, BytesMut};
use etcdex_proto::etcdserverpb::{PutResponse, RangeResponse, ResponseHeader};
use etcdex_proto::{method, mvccpb};
use prost::Message;

use crate::unary::{KEY, VALUE};

/// A kind of reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Put,
    Range,
}

impl Reply {
    /// Returns the kind of reply to a method's path.
    pub(super) fn to(path: &str) -> Option<Self> {
        match path {
            method::kv::PUT => Some(Self::Put),
            method::kv::RANGE => Some(Self::Range),
            _ => None,
        }
    }

    /// Encodes the reply as a gRPC message with its prefix.
    pub(super) fn framed(self) -> Bytes {
        let message = match self {
            Self::Put => put().encode_to_vec(),
            Self::Range => range().encode_to_vec(),
        };
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).expect("a reply has a few hundred bytes"));
        frame.put_slice(&message);
        frame.freeze()
    }
}

fn put() -> PutResponse {
    PutResponse {
        header: Some(header()),
        prev_kv: None,
    }
}

fn range() -> RangeResponse {
    RangeResponse {
        header: Some(header()),
        kvs: vec![mvccpb::KeyValue {
            key: KEY,
            value: VALUE,
            create_revision: 1_000,
            mod_revision: 1_000_000,
            version: 999,
            lease: 0,
        }],
        more: false,
        count: 1,
    }
}

/// A header whose numbers are as large as those of a cluster that is some days old.
fn header() -> ResponseHeader {
    ResponseHeader {
        cluster_id: 0xcdf8_181e_3277_2427,
        member_id: 0x8e9e_05c5_2164_694d,
        revision: 1_000_000,
        raft_term: 7,
    }
}
