//! PURE: transactions that would end the server.
//!
//! etcd checks before a transaction that no operation puts a key that another one deletes. It takes
//! the end of a range without an end, a NUL byte, for a key there, and finds nothing. When it then
//! carries out a put that keeps the present value or lease, the key is gone, and the server ends with
//! a panic. The transaction stays in the raft log, and ends the server at each start. Seen on 3.4.23,
//! 3.5.1, 3.5.35, 3.6.16 and 3.7.3.
//!
//! Source: etcd, `server/etcdserver/api/v3rpc/key.go` (`checkIntervals`) and
//! `server/etcdserver/txn/put.go`.

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{RequestOp, TxnRequest, request_op::Request};

use crate::kv::refuse;
use crate::transport::Failure;

/// The end of a range without an end.
const NO_END: &[u8] = b"\0";

/// Returns an error if the transaction may delete all keys from one on and then put one of them with
/// its present value or lease.
pub(super) fn check(txn: &TxnRequest) -> Result<(), Failure> {
    for branch in [&txn.success, &txn.failure] {
        deleted_from(branch, None)?;
    }
    Ok(())
}

/// Returns the first key of all that the operations may delete from it on. `from`: that of earlier
/// operations.
fn deleted_from(
    operations: &[RequestOp],
    mut from: Option<Bytes>,
) -> Result<Option<Bytes>, Failure> {
    let lower = |one: Option<Bytes>, other: Option<Bytes>| one.into_iter().chain(other).min();
    for operation in operations {
        match &operation.request {
            Some(Request::RequestDeleteRange(delete)) if delete.range_end == NO_END => {
                from = lower(from, Some(delete.key.clone()));
            }
            Some(Request::RequestPut(put))
                if (put.ignore_value || put.ignore_lease)
                    && from.as_ref().is_some_and(|from| put.key >= *from) =>
            {
                return Err(refuse(
                    "the transaction deletes all keys from one on, and then puts one of them \
                     with ignore_value or ignore_lease: etcd would end with a panic",
                ));
            }
            Some(Request::RequestTxn(inner)) => {
                let success = deleted_from(&inner.success, from.clone())?;
                from = lower(success, deleted_from(&inner.failure, from)?);
            }
            _ => {}
        }
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Delete, Put, Txn};

    fn is_refused(txn: &Txn) -> bool {
        let message = txn.message(None).expect("it makes sense");
        check(&message).is_err()
    }

    #[test]
    fn a_key_that_the_transaction_has_deleted_keeps_neither_value_nor_lease() {
        let delete = || Delete::new("k").from_key();
        let inner = |txn: Txn| Txn::new().otherwise(txn);
        for keep in [
            Put::new("k", "").ignore_value(),
            Put::new("m", "").ignore_lease(),
        ] {
            let keep = || keep.clone();
            let refused = [
                Txn::new().then(delete()).then(keep()),
                Txn::new()
                    .otherwise(Delete::new("").all_keys())
                    .otherwise(keep()),
                Txn::new()
                    .then(inner(Txn::new().then(delete())))
                    .then(keep()),
                Txn::new()
                    .then(delete())
                    .then(inner(Txn::new().then(keep()))),
            ];
            for txn in &refused {
                assert!(is_refused(txn), "{txn:?}");
            }
            let good = [
                Txn::new().then(keep()).then(delete()),
                Txn::new().then(delete()).otherwise(keep()),
                Txn::new().then(Delete::new("z").from_key()).then(keep()),
                // The server refuses this one.
                Txn::new()
                    .then(Delete::new("k").range_end("z"))
                    .then(keep()),
            ];
            for txn in &good {
                assert!(!is_refused(txn), "{txn:?}");
            }
        }
        let plain = Txn::new().then(delete()).then(Put::new("k", "v"));
        assert!(!is_refused(&plain));
    }
}
