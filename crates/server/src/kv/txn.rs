//! Transactions: etcd's message, and what of it is refused.
//!
//! Source: etcd, `server/etcdserver/api/v3rpc/key.go` (`checkTxnRequest`).

use bytes::Bytes;
use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::compare::{
    CompareResult as WireResult, CompareTarget, TargetUnion,
};
use etcdex_proto::etcdserverpb::request_op::Request as Operation;

use super::{change, deletion, query};
use crate::grpc::Status;
use crate::store::{self, KeyRange, StoreError};

/// Converts a transaction, and refuses what etcd refuses, in the same order. `most`: number of operations
/// that are left.
pub(super) fn transaction(request: pb::TxnRequest, most: usize) -> Result<store::Txn, Status> {
    let counts = [&request.success, &request.failure].map(Vec::len);
    let count = counts.into_iter().fold(request.compare.len(), usize::max);
    let left = most
        .checked_sub(count)
        .ok_or(StoreError::TooManyOperations)?;
    if request.compare.iter().any(|one| one.key.is_empty()) {
        return Err(StoreError::EmptyKey.into());
    }
    let operations = |list: Vec<pb::RequestOp>| -> Result<Vec<_>, Status> {
        list.into_iter().map(|one| operation(one, left)).collect()
    };
    Ok(store::Txn {
        compares: request.compare.into_iter().map(condition).collect(),
        success: operations(request.success)?,
        failure: operations(request.failure)?,
    })
}

// prost decodes no message that is nested deeper than a hundred, so this does not go deeper either.
fn operation(operation: pb::RequestOp, most: usize) -> Result<store::Operation, Status> {
    // etcd's answer to an operation that it does not know.
    let request = operation.request.ok_or(StoreError::KeyNotFound)?;
    Ok(match request {
        Operation::RequestRange(range) => store::Operation::Range(query(range)?),
        Operation::RequestPut(put) => {
            let put = change(put);
            put.validate()?;
            store::Operation::Put(put)
        }
        Operation::RequestDeleteRange(delete) => {
            let delete = deletion(delete);
            delete.validate()?;
            store::Operation::Delete(delete)
        }
        Operation::RequestTxn(txn) => store::Operation::Txn(transaction(txn, most)?),
    })
}

/// Converts a condition. As in etcd, a value of another property than the target counts as 0 or
/// empty, a result that is unknown always holds, and of an unknown property it is known that it is equal.
///
/// Source: etcd, `server/etcdserver/txn/txn.go` (`compareKV`).
fn condition(compare: pb::Compare) -> store::Compare {
    let result = match WireResult::try_from(compare.result) {
        Ok(WireResult::Equal) => store::CompareResult::Equal,
        Ok(WireResult::Greater) => store::CompareResult::Greater,
        Ok(WireResult::Less) => store::CompareResult::Less,
        Ok(WireResult::NotEqual) => store::CompareResult::NotEqual,
        Err(_) => store::CompareResult::Any,
    };
    let range = KeyRange::new(compare.key, compare.range_end);
    let Ok(target) = CompareTarget::try_from(compare.target) else {
        // No version is less than 0.
        let holds = matches!(
            result,
            store::CompareResult::Equal | store::CompareResult::Any
        );
        return store::Compare {
            range,
            target: store::CompareTarget::Version(0),
            result: match holds {
                true => store::CompareResult::Any,
                false => store::CompareResult::Less,
            },
        };
    };
    let target = match (target, compare.target_union) {
        (CompareTarget::Version, Some(TargetUnion::Version(version))) => {
            store::CompareTarget::Version(version)
        }
        (CompareTarget::Create, Some(TargetUnion::CreateRevision(revision))) => {
            store::CompareTarget::Create(revision)
        }
        (CompareTarget::Mod, Some(TargetUnion::ModRevision(revision))) => {
            store::CompareTarget::Mod(revision)
        }
        (CompareTarget::Value, Some(TargetUnion::Value(value))) => {
            store::CompareTarget::Value(value)
        }
        (CompareTarget::Lease, Some(TargetUnion::Lease(lease))) => {
            store::CompareTarget::Lease(lease)
        }
        (CompareTarget::Version, _) => store::CompareTarget::Version(0),
        (CompareTarget::Create, _) => store::CompareTarget::Create(0),
        (CompareTarget::Mod, _) => store::CompareTarget::Mod(0),
        (CompareTarget::Value, _) => store::CompareTarget::Value(Bytes::new()),
        (CompareTarget::Lease, _) => store::CompareTarget::Lease(0),
    };
    store::Compare {
        range,
        target,
        result,
    }
}
