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

use super::Look;

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
pub struct Deposed {
    /// The proof for each lease that a member has revoked while another member led.
    proofs: HashMap<i64, String>,
    /// For each lease that a member has revoked by itself, the first request.
    requests: HashMap<i64, Revocation>,
}

impl Deposed {
    /// Compares the members that have revoked leases with the leaders. `revocations` are in the
    /// order of the log.
    pub fn new(revocations: &[Revocation], leaderships: &[Leadership]) -> Self {
        let mut first: HashMap<i64, &Revocation> = HashMap::new();
        for revocation in revocations {
            // Later requests find no such lease.
            first.entry(revocation.lease).or_insert(revocation);
        }
        // No client has sent these requests.
        first.retain(|_, one| matches!(&*one.user, "" | "root"));
        let proven = first.iter();
        let proven = proven.filter_map(|(lease, one)| Some((*lease, proof(one, leaderships)?)));
        Self {
            proofs: proven.collect(),
            requests: first
                .into_iter()
                .map(|(lease, one)| (lease, one.clone()))
                .collect(),
        }
    }

    /// Returns the proof that such a member has revoked the lease of this key. The key ends with
    /// the ID of its lease, in hexadecimal, like keys of locks.
    pub(super) fn proof(&self, key: &str) -> Option<&str> {
        self.proofs.get(&lease_of(key)?).map(String::as_str)
    }

    /// Returns the proof that the lease of this key was revoked too early for the clock of any
    /// leader of the term: by `gone`, the leader had not led for `ttl`.
    ///
    /// A leader gives each lease the whole time-to-live and an election time-out when it begins to
    /// lead (`lessor.Promote`). A deposed leader that leads again may still revoke the rest of its
    /// batch. `looks` are linearizable reads: one that was answered in an earlier term shows that
    /// the leader of this term was elected after the request was sent.
    pub(super) fn early(&self, key: &str, ttl: u64, gone: u64, looks: &[Look]) -> Option<String> {
        let Revocation { index, term, .. } = self.requests.get(&lease_of(key)?)?;
        let earlier = looks.iter().filter(|look| look.term < *term);
        let elected = earlier.map(|look| look.began).max()?;
        (gone < elected + ttl).then(|| {
            format!(
                "revoked at {index} of the raft log, in term {term}, whose leader was elected after \
                 {elected}, and the time-to-live is {ttl}"
            )
        })
    }
}

fn lease_of(key: &str) -> Option<i64> {
    i64::from_str_radix(key.rsplit('/').next()?, 16).ok()
}

fn proof(revocation: &Revocation, leaderships: &[Leadership]) -> Option<String> {
    let Revocation {
        index,
        term,
        proposer,
        ..
    } = *revocation;
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
