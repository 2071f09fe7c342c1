//! PURE: keys that a transaction puts twice, or puts and deletes.
//!
//! Source: etcd, `server/etcdserver/api/v3rpc/key.go` (`checkIntervals`).

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Operation, StoreError};
use crate::store::key_set::KeySet;

/// The keys that some operations may change.
#[derive(Default)]
struct Changed {
    puts: BTreeSet<Bytes>,
    deletes: KeySet,
}

/// Refuses operations of one branch that put a key twice, or put a key and delete it.
pub(super) fn check(operations: &[Operation]) -> Result<(), StoreError> {
    changed(operations).map(drop)
}

fn changed(operations: &[Operation]) -> Result<Changed, StoreError> {
    let mut all = Changed::default();
    for operation in operations {
        if let Operation::Delete(delete) = operation {
            // etcd takes the end of a range without an end, a NUL byte, for a key, and finds no
            // overlap with such a range. It loses the pair at the next compaction then.
            all.deletes.insert(&delete.range);
        }
    }
    for operation in operations {
        if let Operation::Txn(inner) = operation {
            let success = changed(&inner.success)?;
            let failure = changed(&inner.failure)?;
            // Only one of the two branches is taken, so both may put the same key.
            let puts = success.puts.union(&failure.puts);
            puts.cloned().try_for_each(|key| all.put(key))?;
            all.deletes.extend(success.deletes);
            all.deletes.extend(failure.deletes);
        }
    }
    for operation in operations {
        if let Operation::Put(put) = operation {
            all.put(put.key.clone())?;
        }
    }
    Ok(all)
}

impl Changed {
    fn put(&mut self, key: Bytes) -> Result<(), StoreError> {
        if self.deletes.contains(&key) || !self.puts.insert(key) {
            return Err(StoreError::DuplicateKey);
        }
        Ok(())
    }
}
