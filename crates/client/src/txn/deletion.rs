//! PURE: transactions that etcd takes, and that end it.
//!
//! A transaction must not put a key that it deletes. etcd refuses that, but takes the end of a range
//! without an end, a NUL byte, for a key, and finds no overlap with such a deletion. Two things follow:
//!
//! - A put that keeps the present value or lease, after the deletion of its key, ends the server with
//!   a panic, and again at each start, because the transaction is in the raft log (3.4.23, 3.5.1,
//!   3.5.35, 3.6.16 and 3.7.3).
//! - A compaction at the revision of the transaction loses the pair of any other put. From then on,
//!   each read of the key ends the server (3.5.35, 3.6.16 and 3.7.3).
//!
//! Each was seen with transactions of etcdctl.
//!
//! Source: etcd, `server/etcdserver/api/v3rpc/key.go` (`checkIntervals`).

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{RequestOp, TxnRequest, request_op::Request};

use crate::error::{ErrorKind, Retry};
use crate::key::ZERO;
use crate::transport::Failure;

/// The keys that operations may change, as far as they matter here.
#[derive(Default)]
struct KeyChanges<'a> {
    /// The first key of all that are deleted from a key on.
    deleted_from: Option<&'a Bytes>,
    /// The last key that is put.
    last_put: Option<&'a Bytes>,
}

/// Returns an error if the transaction may delete all keys from one on, and put one of them.
pub(super) fn check(txn: &TxnRequest) -> Result<(), Failure> {
    changes(txn).map(drop)
}

fn changes(txn: &TxnRequest) -> Result<KeyChanges<'_>, Failure> {
    // Only one of the branches is carried out, so one may put a key that the other one deletes.
    let (success, failure) = (branch(&txn.success)?, branch(&txn.failure)?);
    Ok(success.and(failure))
}

fn branch(operations: &[RequestOp]) -> Result<KeyChanges<'_>, Failure> {
    let mut all = KeyChanges::default();
    for operation in operations {
        let next = match &operation.request {
            Some(Request::RequestDeleteRange(delete)) if delete.range_end == ZERO => KeyChanges {
                deleted_from: Some(&delete.key),
                last_put: None,
            },
            Some(Request::RequestPut(put)) => KeyChanges {
                deleted_from: None,
                last_put: Some(&put.key),
            },
            Some(Request::RequestTxn(inner)) => changes(inner)?,
            _ => continue,
        };
        if all.deletes_a_put_of(&next) || next.deletes_a_put_of(&all) {
            return Err(Failure::not_sent(
                ErrorKind::DuplicateKey,
                "the transaction deletes all keys from one on, and puts one of them: etcd takes \
                 that, and can end with a panic",
                Retry::Never,
            ));
        }
        all = all.and(next);
    }
    Ok(all)
}

impl KeyChanges<'_> {
    fn deletes_a_put_of(&self, other: &Self) -> bool {
        match (self.deleted_from, other.last_put) {
            (Some(from), Some(put)) => put >= from,
            _ => false,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            deleted_from: self
                .deleted_from
                .into_iter()
                .chain(other.deleted_from)
                .min(),
            last_put: self.last_put.max(other.last_put),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Delete, Get, Put, Txn};

    fn is_refused(txn: &Txn) -> bool {
        let message = txn.message(None).expect("it makes sense");
        let refusal = check(&message).err();
        refusal.is_some_and(|failure| failure.error.kind() == ErrorKind::DuplicateKey)
    }

    #[test]
    fn a_transaction_puts_no_key_that_it_deletes_from_another_one_on() {
        let delete = || Delete::new("k").from_key();
        let inner = |txn: Txn| Txn::new().otherwise(txn);
        for put in [Put::new("k", "v"), Put::new("m", "").ignore_lease()] {
            let put = || put.clone();
            let refused = [
                Txn::new().then(delete()).then(put()),
                Txn::new().then(put()).then(delete()),
                Txn::new()
                    .otherwise(Delete::new("").all_keys())
                    .otherwise(put()),
                Txn::new()
                    .then(inner(Txn::new().then(delete())))
                    .then(put()),
                Txn::new()
                    .then(delete())
                    .then(inner(Txn::new().then(put()))),
                Txn::new().then(inner(Txn::new().then(put()).then(delete()))),
            ];
            for txn in &refused {
                assert!(is_refused(txn), "{txn:?}");
            }
            let good = [
                Txn::new().then(delete()).otherwise(put()),
                Txn::new().then(Txn::new().then(delete()).otherwise(put())),
                Txn::new().then(Delete::new("z").from_key()).then(put()),
                Txn::new().then(delete()).then(Get::new("k")),
                Txn::new().then(delete()).then(Put::new("j", "v")),
                // The server refuses this one.
                Txn::new().then(Delete::new("k").range_end("z")).then(put()),
            ];
            for txn in &good {
                assert!(!is_refused(txn), "{txn:?}");
            }
        }
    }
}
