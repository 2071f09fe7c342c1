//! PURE: leases that a member has revoked although another member led.
//!
//! The leader counts the time of leases, and revokes an expired one by an entry of the raft log. A
//! leader that was stopped, or that cannot keep up, does so by its old clock, although the next
//! leader has renewed the lease meanwhile: etcd's issue 15247. The fix of 3.4.31 and 3.5.13 is not
//! enough, for two reasons (`server/etcdserver/server.go`, read in 3.5.35 and 3.7.3):
//!
//! * `ensureLeadership` believes that the member leads if its last tick is not older than three
//!   (`isActive`). A member that goes on ticks at once, and may not know the next leader yet.
//! * `revokeExpiredLeases` asks it once for a batch, and then revokes 16 leases at a time
//!   (`maxPendingRevokes`). Entries that a deposed leader appends are overwritten, so its requests
//!   time out after up to 7 s (`ReqTimeout`). The leases behind the first 16 of the batch are
//!   revoked when these requests have timed out. The member is a follower by then, and forwards the
//!   requests to the leader.
//!
//! The log shows both: a request names the member that made it, and the entry has the term in
//! which it was appended.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// A request to revoke a lease in the raft log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The lease.
    pub lease: i64,
    /// The index of the entry.
    pub index: u64,
    /// The term of the leader that appended the entry.
    pub term: u64,
    /// The lower 16 bits of the ID of the member that made the request.
    pub proposer: u16,
    /// The user of the request; empty without users, `root` if the member itself made the request.
    pub user: String,
}

/// A member that led in a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leadership {
    /// The term.
    pub term: u64,
    /// The ID of the member.
    pub member: u64,
}

/// Leases that a member has revoked after it was deposed, each with the proof.
#[derive(Clone, Debug, Default)]
pub struct Deposed(HashMap<i64, String>);

impl Deposed {
    /// Compares the members that have revoked leases with the leaders. `revocations` are in the
    /// order of the log.
    pub fn new(revocations: &[Revocation], leaderships: &[Leadership]) -> Self {
        let mut first: HashMap<i64, &Revocation> = HashMap::new();
        for revocation in revocations {
            // Later requests find no such lease.
            first.entry(revocation.lease).or_insert(revocation);
        }
        let proven = first.into_iter();
        let proven = proven.filter_map(|(lease, one)| Some((lease, proof(one, leaderships)?)));
        Self(proven.collect())
    }

    /// Returns the proof that such a member has revoked the lease of this key. The key ends with
    /// the ID of its lease, in hexadecimal, like keys of locks.
    pub(super) fn proof(&self, key: &str) -> Option<&str> {
        let lease = key.rsplit('/').next()?;
        let lease = i64::from_str_radix(lease, 16).ok()?;
        self.0.get(&lease).map(String::as_str)
    }
}

fn proof(revocation: &Revocation, leaderships: &[Leadership]) -> Option<String> {
    let Revocation {
        index,
        term,
        proposer,
        ..
    } = *revocation;
    if !matches!(&*revocation.user, "" | "root") {
        // A client has sent the request.
        return None;
    }
    let is_proposer = |one: &&Leadership| one.member & 0xffff == u64::from(proposer);
    let mut candidates = leaderships.iter().filter(is_proposer);
    let before = candidates.clone().find(|one| one.term < term)?;
    if candidates.any(|one| one.member != before.member) {
        // Two members have these bits, so the member that made the request is not known.
        return None;
    }
    let leader = leaderships.iter().find(|one| one.term == term)?;
    (leader.member != before.member).then(|| {
        format!(
            "revoked at {index} of the raft log, in term {term}, which {:x} led, by {:x}, which led \
             in term {}",
            leader.member, before.member, before.term
        )
    })
}
