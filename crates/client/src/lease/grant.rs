//! The request that grants a lease.

use std::time::Duration;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{LeaseGrantRequest, LeaseGrantResponse};

use super::seconds;
use crate::call::{Core, Request, options};
use crate::error::{Error, ErrorKind};
use crate::key::Namespace;
use crate::kv::{LeaseId, ResponseHeader, broken, decode, header, refuse};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// Grants a lease.
///
/// The time-to-live is sent in whole seconds, rounded up. The server raises one that is too short
/// (under 2 s with etcd's defaults) and refuses one over 9,000,000,000 s with
/// [`LeaseTtlTooLarge`](ErrorKind::LeaseTtlTooLarge).
///
/// # The ID
/// Without [`id`](Self::id), the client chooses a random positive ID (63 bits from the operating
/// system); it never leaves the choice to the server. The grant can therefore be sent again: when
/// an attempt may have been applied and the next one fails with
/// [`LeaseExists`](ErrorKind::LeaseExists), the first attempt has made the lease, and the grant has
/// succeeded. The reply then has an empty header and the time-to-live of the request. A clone of
/// the request grants another lease, with another ID.
///
/// An ID that the caller chooses could be the ID of another lease. Such a grant is sent again only
/// when it provably reached no server.
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#obtaining-leases>.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Grant {
    ttl: Duration,
    id: i64,
    chosen: bool,
}

impl Grant {
    /// Returns a request for a lease that lives for `ttl` after each renewal.
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            id: random_id(),
            chosen: false,
        }
    }

    fn seconds(&self) -> u64 {
        self.ttl
            .as_secs()
            .saturating_add(u64::from(self.ttl.subsec_nanos() > 0))
    }
}

/// Returns an ID from the randomness of the system.
///
/// A generator in the process is seeded once. Clones of a running machine, or a process and its
/// fork, would choose the same IDs from then on, and each would use the lease of the other as its
/// own. The system's generator does not have that problem: Linux seeds it again in a cloned machine
/// (`vmgenid`), and a fork does not copy its state.
fn random_id() -> i64 {
    let mut bytes = [0; 8];
    let random = match getrandom::fill(&mut bytes) {
        Ok(()) => i64::from_ne_bytes(bytes),
        // No system that tokio runs on is known to fail here. An ID that is random within this
        // process is better than no lease.
        Err(_) => fastrand::i64(..),
    };
    (random & i64::MAX).max(1)
}

impl Clone for Grant {
    fn clone(&self) -> Self {
        let new = Self::new(self.ttl);
        if self.chosen {
            Self {
                id: self.id,
                chosen: true,
                ..new
            }
        } else {
            new
        }
    }
}

options! { Grant {
    /// Chooses the ID of the lease.
    fn id(mut self, id: LeaseId) {
        self.id = id.as_i64();
        self.chosen = true;
    }
} }

/// The reply to a [`Grant`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct GrantResponse {
    /// The member that answered, and the revision of its store.
    pub header: ResponseHeader,
    /// The ID of the lease.
    pub id: LeaseId,
    /// The time-to-live after each renewal, in whole seconds; the server may have raised it.
    pub ttl: Duration,
}

impl GrantResponse {
    /// Returns a reply with an empty header, for programs that fake a client.
    #[must_use]
    pub fn new(id: LeaseId, ttl: Duration) -> Self {
        Self {
            header: ResponseHeader::default(),
            id,
            ttl,
        }
    }
}

impl Request for Grant {
    type Reply = GrantResponse;

    fn method(&self) -> Method {
        Method::LeaseGrant
    }

    fn is_repeatable(&self) -> bool {
        !self.chosen
    }

    fn is_read(&self) -> bool {
        false
    }

    fn encode(&self, _: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        if self.ttl.is_zero() {
            return Err(refuse("the time-to-live of the lease is zero"));
        }
        let message = LeaseGrantRequest {
            // The server's limit is much lower, and has an error of its own.
            ttl: i64::try_from(self.seconds()).unwrap_or(i64::MAX),
            id: self.id,
        };
        frame(&message, limit)
    }

    fn decode(&self, reply: Bytes, _: Option<&Namespace>) -> Result<GrantResponse, Error> {
        let reply: LeaseGrantResponse = decode(reply)?;
        if !reply.error.is_empty() {
            return Err(broken(
                "the reply to the grant has an error although its status is OK",
            ));
        }
        Ok(GrantResponse {
            header: header(reply.header),
            id: LeaseId::new(reply.id).ok_or_else(|| broken("the granted lease has no ID"))?,
            ttl: seconds(reply.ttl),
        })
    }

    fn settle(&self, error: Error) -> Result<GrantResponse, Error> {
        match LeaseId::new(self.id) {
            Some(id) if error.kind() == ErrorKind::LeaseExists && !self.chosen => {
                Ok(GrantResponse {
                    header: ResponseHeader::default(),
                    id,
                    ttl: Duration::from_secs(self.seconds()),
                })
            }
            _ => Err(error),
        }
    }

    fn ended(&self, core: &Core, outcome: Result<&GrantResponse, &Error>) {
        if let Ok(reply) = outcome {
            core.leases.granted(reply.id.as_i64(), reply.ttl);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// A clone of the machine has the same state in its memory.
    #[test]
    fn ids_do_not_come_from_the_memory_of_the_process() {
        let ids: HashSet<i64> = (0..100)
            .map(|_| {
                fastrand::seed(7);
                Grant::new(Duration::from_secs(5)).id
            })
            .collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| *id > 0));
    }
}
