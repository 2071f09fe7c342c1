//! Locks of etcd's lock service.
//!
//! [`Client::lock`](crate::Client::lock) waits until the caller holds the lock. The lock belongs to
//! a lease: it ends when the lease ends, or with [`Client::unlock`](crate::Client::unlock). The
//! example there shows how to write only while the lock is held.

mod queue;

use bytes::Bytes;
use etcdex_proto::v3lockpb;

use crate::Client;
use crate::call::{Call, Request, Scope, Stall};
use crate::debug::{byte_length, debug_fields};
use crate::error::Error;
use crate::key::{Key, Namespace};
use crate::kv::{LeaseId, ResponseHeader, broken, decode, header, refuse};
use crate::method::Method;
use crate::transport::{Failure, frame};

impl Client {
    /// Takes a lock, and waits for it for any time: see [`Lock`].
    ///
    /// ```no_run
    /// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
    /// use std::time::Duration;
    ///
    /// let lease = client.grant(Duration::from_secs(10)).await?;
    /// let _keeper = client.keep(lease.id);
    /// let lock = client.lock("locks/printer", lease.id).await?;
    ///
    /// // The server carries this out only if the lock is still held.
    /// let done = client
    ///     .txn()
    ///     .when(etcdex::Compare::create_revision(lock.key.clone()).greater(0))
    ///     .then(etcdex::Put::new("printer/page", "1"))
    ///     .await?;
    /// assert!(done.succeeded);
    /// client.unlock(lock.key).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`LeaseNotFound`](crate::ErrorKind::LeaseNotFound) when there is no such lease, and
    /// [`Server`](crate::ErrorKind::Server) (from etcd 3.5 on) when the lease was lost while the
    /// lock waited. The lock service does not report how far it had got: the outcome of its errors
    /// is unknown.
    ///
    /// [`NoLeader`](crate::ErrorKind::NoLeader) when the member loses its leader (because it is cut
    /// off from the other members, for example) for more than three of its election time-outs. An
    /// election of the usual length ends no wait.
    /// - With the outcome [`Rejected`](crate::Outcome::Rejected), no member had a leader when the
    ///   client asked, for some seconds.
    /// - With [`Unknown`](crate::Outcome::Unknown), the call was waiting. Its key may stay, and
    ///   with it the place in the queue; but a member that finds its leader again within a few
    ///   seconds may still delete the key. So do not repeat the lock with the same lease: revoke
    ///   the lease, and use another one.
    ///
    /// With [`require_leader(false)`](crate::Client::require_leader), the call waits until the
    /// member has a leader again.
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) with the outcome
    /// [`Unknown`](crate::Outcome::Unknown) when the connection is lost, or when the member does
    /// not serve while another one does (see [`Mode`](crate::Mode)).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue: the client cancels the call, and the server deletes
    /// the key. If the server gives the lock to the call at that moment, the key may stay, until
    /// [`unlock`](Self::unlock) or the end of the lease. The same holds for an error with an
    /// unknown outcome.
    ///
    /// With authentication enabled, the key always stays: the server tries to delete it without the
    /// caller's token, and refuses that. Revoke the lease, or unlock the key, which is the name,
    /// `/`, and the lease in hexadecimal.
    ///
    /// Do not drop hundreds of waiting locks at the same time: etcd's lock service can then stop
    /// answering until the server is restarted (seen on 3.6.16 and 3.7.3).
    ///
    /// # Retries
    /// The lock is sent again when it provably was not applied, also when a member refused it
    /// because it sees no leader; it is then sent to another endpoint if there is one.
    ///
    /// The lock is also sent again, with the same lease, when the lock service answers that a token
    /// has expired, and when the service cannot let the lock wait because of another caller's
    /// expired token. The first attempt has ended then. A lock can therefore wait for longer than
    /// its token lives.
    ///
    /// etcd's lock service can pass a waiting lock over for ever, after a token has been revoked or
    /// has expired while other locks waited at the same member (seen on all versions from 3.4 to
    /// 3.7), or after hundreds of waiting locks were dropped. So the client reads the queue of the
    /// lock while it waits, after 1 s, and then whenever a quarter of the time has passed that the
    /// lock has waited, at most 12 s. When two reads in a row find the key first in the queue, the
    /// client sends the lock again with the same lease, to another endpoint if there is one. It does
    /// the same when the key is gone from the queue, or is missing after 10 s: the call then ends
    /// with [`LeaseNotFound`](crate::ErrorKind::LeaseNotFound) if the lease has ended.
    ///
    /// That holds for a server that enforces users: the client finds out by a read without its
    /// token. Any other server deletes the key of an attempt that is given up, at any time after
    /// that, so another attempt would not be safe. There, the call ends with
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and the outcome
    /// [`Unknown`](crate::Outcome::Unknown) when the lock was found passed over three times: revoke
    /// the lease, and use another one.
    ///
    /// etcd 3.4.22 to 3.4.24 and 3.5.6 can lose all locks that wait at a member, and use all the CPU
    /// time that they get, when a token expires meanwhile. With these versions, use a time-out of a
    /// second or two, then revoke the lease, and pause for a few seconds before the lock is taken
    /// with another lease. The server uses the expired token for as long as any lock waits at that
    /// member.
    pub fn lock(&self, name: impl Into<Key>, lease: LeaseId) -> Call<Lock> {
        self.run(Lock::new(name, lease))
    }

    /// Releases a lock, by the key that [`lock`](Self::lock) returned: see [`Unlock`].
    ///
    /// # Retries
    /// The request is sent again when it provably was not applied, also when the server refused it
    /// for an expired token.
    pub fn unlock(&self, key: impl Into<Key>) -> Call<Unlock> {
        self.run(Unlock::new(key))
    }
}

/// Takes a lock, after all callers that have asked for it before.
///
/// The client's default time-out does not apply to a lock. The lock is held until it is
/// [unlocked](Unlock) or its lease ends. A lease takes a lock once: a second request with the same
/// lease succeeds at once. [`with_server_lease`](Self::with_server_lease) has the server grant a
/// lease of its own.
///
/// # Guarantees
/// While the key of the reply exists, the server gives the lock to no *other* caller. The holder
/// may learn late that the key no longer exists. Work that must happen only under the lock belongs
/// into a transaction that compares the key's create revision, as in the example of
/// [`Client::lock`](Client::lock). Such a transaction also covers etcd 3.4, which answers a waiting
/// lock whose lease was lost as if the lock had been taken, with a key that does not exist.
///
/// Source: <https://etcd.io/docs/v3.6/dev-guide/api_concurrency_reference_v3/> (`Lock`).
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Lock {
    name: Bytes,
    /// Lease of the lock; with `None`, the server grants one.
    lease: Option<LeaseId>,
}

impl Lock {
    /// Returns a request for the lock of this name with this lease.
    pub fn new(name: impl Into<Key>, lease: LeaseId) -> Self {
        Self {
            name: name.into().into_bytes(),
            lease: Some(lease),
        }
    }

    /// Returns a request for the lock of this name with a lease that the server grants for this
    /// request. The reply [names the lease](LockResponse::lease).
    ///
    /// The lease lives for 60 seconds, and neither the server nor the client renews it. The lock
    /// therefore ends 60 seconds after the server has begun with the request. The time that the
    /// request waits for the lock counts: a request that has waited for longer fails when its turn
    /// comes, with [`Server`](crate::ErrorKind::Server) from etcd 3.5 on. To hold a lock for
    /// longer, [grant](Client::grant) a lease, [keep](Client::keep) it, and take the lock with
    /// [`new`](Self::new), or keep the lease of the reply.
    ///
    /// [`Unlock`] deletes the key and gives the lock to the next request. The lease itself lives
    /// until its 60 seconds are over, or until it is [revoked](Client::revoke), which releases the
    /// lock, too.
    ///
    /// ```no_run
    /// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
    /// let lock = client.run(etcdex::Lock::with_server_lease("locks/printer")).await?;
    /// // A few seconds of work, written in transactions that compare `lock.key`.
    /// client.unlock(lock.key).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`Client::lock`], except for a missing lease. When the outcome is
    /// [`Unknown`](crate::Outcome::Unknown), the server may have granted a lease, and a key with it
    /// may hold the lock or wait in the queue. The client does not know the ID of that lease; both
    /// are deleted after 60 seconds.
    ///
    /// # Cancel safety
    /// As for [`Client::lock`]. A key that stays is deleted after 60 seconds.
    ///
    /// # Retries
    /// Each execution grants another lease and makes another key, which would wait for the key
    /// before it. The request is therefore sent again only when the server has not begun with it.
    /// It is not sent again when a step of the lock service fails, not even for an expired token.
    /// The next call uses another token.
    ///
    /// Source: etcd, `server/etcdserver/api/v3lock/lock.go` and `client/v3/concurrency/session.go`
    /// (`NewSession`, `defaultSessionTTL`).
    pub fn with_server_lease(name: impl Into<Key>) -> Self {
        Self {
            name: name.into().into_bytes(),
            lease: None,
        }
    }
}

debug_fields! { Lock |lock| { name: byte_length(&lock.name), lease: lock.lease } }

/// The reply to a [`Lock`]: the lock is held.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct LockResponse {
    /// Member and cluster that answered.
    pub header: ResponseHeader,
    /// The key that exists for as long as the lock is held: the name, `/`, and the lease in
    /// hexadecimal.
    pub key: Bytes,
}

impl LockResponse {
    /// Returns the lease that holds the lock, from the end of the key: the lease of the request, or
    /// the one that the server has granted for [`Lock::with_server_lease`]. Returns `None` if the
    /// key does not end in `/` and a lease in hexadecimal, as etcd's keys do.
    #[must_use]
    pub fn lease(&self) -> Option<LeaseId> {
        let start = self.key.iter().rposition(|byte| *byte == b'/')? + 1;
        let digits = std::str::from_utf8(self.key.get(start..)?).ok()?;
        // etcd writes an ID with a sign here, and not as two's complement.
        i64::from_str_radix(digits, 16).ok().and_then(LeaseId::new)
    }
}

debug_fields! { LockResponse |response| {
    header: response.header, key: byte_length(&response.key),
} }

impl Request for Lock {
    type Reply = LockResponse;

    fn method(&self) -> Method {
        Method::Lock
    }

    fn is_repeatable(&self) -> bool {
        // The server's clean-up of the first attempt would delete the key of the second.
        false
    }

    fn is_long(&self) -> bool {
        true
    }

    fn wants_leader(&self) -> bool {
        true
    }

    fn is_compound(&self) -> bool {
        // The steps are a transaction, a read, a watch and another read, and a deletion after a
        // failure. Without a lease, its grant and a renewal come before.
        true
    }

    fn is_resumable(&self) -> bool {
        // A second attempt with the same lease finds the key of the first. With another lease, it
        // would wait for that key.
        self.lease.is_some()
    }

    fn stall(&self, scope: &Scope, stalls: u32) -> Option<Stall> {
        self.lease
            .map(|lease| queue::stall(&self.name, lease, scope, stalls))
    }

    fn encode(&self, namespace: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        let name = match namespace {
            None => self.name.clone(),
            Some(namespace) => namespace.key(&self.name),
        };
        // 0 means no lease: the server grants one.
        let lease = self.lease.map_or(0, LeaseId::as_i64);
        frame(&v3lockpb::LockRequest { name, lease }, limit)
    }

    fn decode(&self, reply: Bytes, namespace: Option<&Namespace>) -> Result<LockResponse, Error> {
        let reply: v3lockpb::LockResponse = decode(reply)?;
        let key = match namespace {
            None => reply.key,
            Some(namespace) => namespace
                .strip(&reply.key)
                .ok_or_else(|| broken("the lock's key is outside of the namespace"))?,
        };
        Ok(LockResponse {
            header: header(reply.header),
            key,
        })
    }
}

/// Releases a lock. The server gives it to the request that has waited longest. Releasing a lock
/// that is not held is no error.
///
/// Source: <https://etcd.io/docs/v3.6/dev-guide/api_concurrency_reference_v3/> (`Unlock`).
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Unlock {
    key: Bytes,
}

impl Unlock {
    /// Returns a request that releases the lock with this key: the key of a [`LockResponse`], not
    /// the lock's name.
    pub fn new(key: impl Into<Key>) -> Self {
        Self {
            key: key.into().into_bytes(),
        }
    }
}

debug_fields! { Unlock |unlock| { key: byte_length(&unlock.key) } }

/// The reply to an [`Unlock`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct UnlockResponse {
    /// Member and cluster that answered.
    pub header: ResponseHeader,
}

impl Request for Unlock {
    type Reply = UnlockResponse;

    fn method(&self) -> Method {
        Method::Unlock
    }

    fn is_repeatable(&self) -> bool {
        false
    }

    fn encode(&self, namespace: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        if self.key.is_empty() {
            return Err(refuse("the key of the lock is empty"));
        }
        let key = match namespace {
            None => self.key.clone(),
            Some(namespace) => namespace.key(&self.key),
        };
        frame(&v3lockpb::UnlockRequest { key }, limit)
    }

    fn decode(&self, reply: Bytes, _: Option<&Namespace>) -> Result<UnlockResponse, Error> {
        let reply: v3lockpb::UnlockResponse = decode(reply)?;
        Ok(UnlockResponse {
            header: header(reply.header),
        })
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn the_lease_is_read_from_the_key() {
        let lease = |key: &'static [u8]| {
            let key = Bytes::from_static(key);
            let response = LockResponse {
                key,
                ..LockResponse::default()
            };
            response.lease().map(LeaseId::as_i64)
        };
        assert_eq!(lease(b"lock/7b"), Some(0x7b));
        assert_eq!(lease(b"a/b/694d77aa9e38260f"), Some(0x694d_77aa_9e38_260f));
        // Go's `%x` writes a negative number like this.
        assert_eq!(lease(b"lock/-7b"), Some(-0x7b));
        assert_eq!(lease(b"/1"), Some(1));
        let none: [&[u8]; 7] = [
            b"",
            b"7b",
            b"lock",
            b"lock/",
            b"lock/0",
            b"lock/xy",
            b"lock/\xff",
        ];
        for key in none {
            assert_eq!(lease(key), None, "{key:?}");
        }
        assert_eq!(lease(b"lock/ffffffffffffffff"), None);
    }

    #[test]
    fn no_lease_is_0_on_the_wire() {
        let lease = |lock: Lock| {
            let body = lock.encode(None, 1 << 10).expect("it is small");
            let message = v3lockpb::LockRequest::decode(&body[5..]).expect("a message");
            message.lease
        };
        assert_eq!(lease(Lock::with_server_lease("lock")), 0);
        let own = LeaseId::new(7).expect("not 0");
        assert_eq!(lease(Lock::new("lock", own)), 7);
    }
}
