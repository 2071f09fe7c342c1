//! A copy of a member's database, chunk by chunk.

use std::fmt;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{SnapshotRequest, SnapshotResponse};

use crate::call::wire::Wire;
use crate::call::{Messages, Scope};
use crate::error::Error;
use crate::key::Namespace;
use crate::kv::{broken, decode};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// How many bytes the checksum behind the database has: a SHA-256.
pub(super) const CHECKSUM_LEN: u64 = 32;

/// A copy of a member's database, as a stream of chunks.
///
/// All chunks one after another are a file that `etcdutl snapshot restore` takes: the database,
/// and behind it 32 bytes with its SHA-256. The copy is of the moment at which it began, and
/// holds all keys, users and members: keep it as safe as the data itself.
///
/// The transfer may take as long as it takes; the time-out of the handle is the longest time
/// without a chunk. `Maintenance::snapshot_to` (feature `snapshot`) writes it to a file and
/// checks the SHA-256, which this stream does not.
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
    messages: Messages<Request>,
    count: Count,
    version: Option<String>,
}

/// What a snapshot is asked for by.
struct Request;

/// How far the transfer is, by the words of the server and by the bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    received: u64,
    /// Of the database, behind what was received.
    remaining: Option<u64>,
    /// Database and checksum together, as the first chunk tells.
    total: u64,
}

impl Snapshot {
    pub(crate) fn new(scope: Scope) -> Self {
        Self {
            messages: Messages::new(scope, Request),
            count: Count::default(),
            version: None,
        }
    }

    /// The next chunk; `None` behind the last, when the copy is whole.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout) when no chunk comes for as long as a call may
    /// take, [`Protocol`](crate::ErrorKind::Protocol) when the stream ends before the copy is
    /// whole, and what else a read can fail with. After one, what came is of no use.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    ///
    /// # Retries
    /// Before the first chunk like a read, after it none: another copy would be a different one.
    pub async fn try_next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let chunk = match self.messages.next().await? {
                Some(reply) => self.take(reply).map(Some),
                None => self.count.end().map(|()| None),
            };
            match chunk {
                // A server may tell its version ahead of the first byte.
                Ok(Some(chunk)) if chunk.is_empty() => {}
                Ok(chunk) => return Ok(chunk),
                Err(error) => return Err(self.messages.end(error)),
            }
        }
    }

    /// How many bytes of the database are still to come, once the first chunk is there. The
    /// 32 bytes of the checksum are not counted.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        self.count.remaining
    }

    /// How many bytes have come.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.count.received
    }

    /// The version of the format that the database is in, as in `3.6.0`, once the first chunk
    /// is there; told by etcd 3.6 and later.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Ends the transfer because of an error, to which it adds what is known of the call.
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

#[allow(private_interfaces)]
impl Wire for Request {
    type Answer = SnapshotResponse;

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

impl Count {
    /// A chunk of so many bytes has come, after which the server says that so many are left.
    fn take(&mut self, length: usize, remaining: u64) -> Result<(), Error> {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        match self.remaining {
            None => {
                self.total = length
                    .saturating_add(remaining)
                    .saturating_add(CHECKSUM_LEN);
            }
            // Only the checksum comes behind the database.
            Some(0) if remaining == 0 => {}
            Some(before) if before.checked_sub(length) == Some(remaining) => {}
            Some(_) => return Err(broken("a chunk of the snapshot is missing or comes twice")),
        }
        self.received = self.received.saturating_add(length);
        self.remaining = Some(remaining);
        Ok(())
    }

    /// The server has said that this is all.
    fn end(self) -> Result<(), Error> {
        if self.remaining == Some(0) && self.received == self.total {
            Ok(())
        } else {
            Err(broken("the snapshot ends before it is whole"))
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("received", &self.count.received)
            .field("remaining", &self.count.remaining)
            .field("version", &self.version)
            .field("attempts", &self.messages.attempts())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(chunks: &[(usize, u64)]) -> Result<(), Error> {
        let mut count = Count::default();
        for (length, remaining) in chunks {
            count.take(*length, *remaining)?;
        }
        count.end()
    }

    #[test]
    fn a_whole_snapshot_has_every_byte_once() {
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
