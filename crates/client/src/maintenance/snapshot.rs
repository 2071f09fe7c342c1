//! A copy of a member's database as a stream of chunks.

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{SnapshotRequest, SnapshotResponse};

use crate::call::Request;
use crate::call::{Messages, Scope};
use crate::debug::debug_fields;
use crate::error::Error;
use crate::key::Namespace;
use crate::kv::{broken, decode};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// Size of the checksum after the database, a SHA-256, in bytes.
pub(super) const CHECKSUM_LEN: u64 = 32;

/// A copy of a member's database as a stream of chunks; returned by
/// [`Maintenance::snapshot`](super::Maintenance::snapshot).
///
/// The chunks, one after another, are a file that `etcdutl snapshot restore` accepts: the database,
/// followed by the 32 bytes of its SHA-256. The copy shows the database as it was when the transfer
/// began. It holds all keys, users and members: protect it like the data itself.
///
/// The whole transfer has no time-out; the time-out of the handle limits the time without a chunk.
/// This stream does not check the SHA-256. `Maintenance::snapshot_to` (feature `snapshot`) does,
/// and writes the copy to a file.
///
/// ```no_run
/// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
/// let mut snapshot = client.maintenance().snapshot();
/// while let Some(chunk) = snapshot.try_next().await? {
///     println!("{} bytes, {:?} to go", chunk.len(), snapshot.remaining());
/// }
/// # Ok(())
/// # }
/// ```
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/recovery/#snapshotting-the-keyspace>.
#[must_use = "a stream reads nothing until it is asked for the next chunk"]
pub struct Snapshot {
    messages: Messages<Transfer>,
    count: TransferCount,
    version: Option<String>,
}

/// The request of a [`Snapshot`].
struct Transfer;

/// The progress of the transfer: the bytes received, and what the server says is left.
#[derive(Clone, Copy, Debug, Default)]
struct TransferCount {
    received: u64,
    /// Bytes of the database that are not received yet, as the last chunk says.
    remaining: Option<u64>,
    /// Size of database and checksum together, computed from the first chunk.
    total: u64,
}

impl Snapshot {
    pub(crate) fn new(scope: Scope) -> Self {
        Self {
            messages: Messages::new(scope, Transfer),
            count: TransferCount::default(),
            version: None,
        }
    }

    /// Returns the next chunk; `None` after the last one, when the copy is complete.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout) when no chunk arrives within the time-out of a call,
    /// [`Protocol`](crate::ErrorKind::Protocol) when the stream ends before the copy is complete,
    /// and the errors of a read. After an error, the chunks received are of no use.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    ///
    /// # Retries
    /// Before the first chunk, those of a read. After it none: another attempt would send a
    /// different copy.
    pub async fn try_next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let chunk = match self.messages.next().await? {
                Some(reply) => self.take(reply).map(Some),
                None => self.count.end().map(|()| None),
            };
            match chunk {
                // A server may send its version before the first byte.
                Ok(Some(chunk)) if chunk.is_empty() => {}
                Ok(chunk) => return Ok(chunk),
                Err(error) => return Err(self.messages.end(error)),
            }
        }
    }

    /// Returns the number of bytes of the database that are not received yet, without the 32 bytes
    /// of the checksum; `None` before the first chunk.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        self.count.remaining
    }

    /// Returns the number of bytes received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.count.received
    }

    /// Returns the version of the data format (`3.6.0`); `None` before the first chunk, and before
    /// etcd 3.6.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Ends the transfer because of an error. Returns the error with the details of the call.
    #[cfg(feature = "snapshot")]
    pub(super) fn end(&mut self, error: Error) -> Error {
        self.messages.end(error)
    }

    fn take(&mut self, reply: SnapshotResponse) -> Result<Bytes, Error> {
        self.count.take(reply.blob.len(), reply.remaining_bytes)?;
        if !reply.version.is_empty() {
            self.version = Some(reply.version);
        }
        Ok(reply.blob)
    }
}

impl Request for Transfer {
    type Reply = SnapshotResponse;

    fn method(&self) -> Method {
        Method::Snapshot
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn encode(&self, _: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        frame(&SnapshotRequest {}, limit)
    }

    fn decode(&self, reply: Bytes, _: Option<&Namespace>) -> Result<SnapshotResponse, Error> {
        decode(reply)
    }
}

impl TransferCount {
    /// Counts a chunk of `length` bytes, after which `remaining` bytes of the database are left.
    fn take(&mut self, length: usize, remaining: u64) -> Result<(), Error> {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        match self.remaining {
            None => {
                self.total = length
                    .saturating_add(remaining)
                    .saturating_add(CHECKSUM_LEN);
            }
            // Only the checksum follows the database.
            Some(0) if remaining == 0 => {}
            Some(before) if before.checked_sub(length) == Some(remaining) => {}
            Some(_) => {
                return Err(broken(
                    "a chunk of the snapshot is missing or was sent twice",
                ));
            }
        }
        self.received = self.received.saturating_add(length);
        self.remaining = Some(remaining);
        Ok(())
    }

    /// Checks, at the end of the stream, that the copy is complete.
    fn end(self) -> Result<(), Error> {
        if self.remaining == Some(0) && self.received == self.total {
            Ok(())
        } else {
            Err(broken("the snapshot ends before it is complete"))
        }
    }
}

debug_fields! { Snapshot |snapshot| {
    received: snapshot.count.received, remaining: snapshot.count.remaining,
    version: snapshot.version, attempts: snapshot.messages.attempts(), ..
} }

#[cfg(test)]
mod tests {
    use super::*;

    fn count(chunks: &[(usize, u64)]) -> Result<(), Error> {
        let mut count = TransferCount::default();
        for (length, remaining) in chunks {
            count.take(*length, *remaining)?;
        }
        count.end()
    }

    #[test]
    fn a_complete_snapshot_has_each_byte_once() {
        assert!(count(&[(100, 50), (50, 0), (32, 0)]).is_ok());
        assert!(count(&[(0, 150), (150, 0), (31, 0), (1, 0)]).is_ok());
        for wrong in [
            &[][..],
            &[(100, 50)],
            &[(100, 50), (49, 0), (32, 0)],
            &[(100, 50), (100, 50), (50, 0)],
            &[(100, 50), (51, 0)],
            &[(100, 50), (50, 0)],
            &[(100, 50), (50, 0), (31, 0)],
            &[(100, 50), (50, 0), (33, 0)],
        ] {
            assert!(count(wrong).is_err(), "{wrong:?}");
        }
    }
}
