//! Leases and locks; [`lease`](crate::lease) shows leases by example.
//!
//! # Renewal
//! [`keep`](crate::Client::keep) renews a lease at about a third of its time-to-live, over one
//! stream for all leases of the client, for as long as the [`LeaseKeeper`](crate::LeaseKeeper)
//! exists. A server may take up to half of the time-to-live for its answers. A stream whose answer
//! is overdue stays open while another one is tried, at another endpoint if there is one; the first
//! answer on either counts.
//!
//! # States
//! | state | meaning |
//! |---|---|
//! | [`Alive`](crate::LeaseState::Alive) | The lease lives at least until `expires`, unless a client revokes it. |
//! | [`AtRisk`](crate::LeaseState::AtRisk) | Less than a third of the time-to-live is left, and renewals are not answered. The cause is in the state. |
//! | [`Unknown`](crate::LeaseState::Unknown) | The time-to-live is over, and no server has answered. The lease may still live: a new leader gives every lease its whole time-to-live again. |
//! | [`Lost`](crate::LeaseState::Lost) | A server has said that the lease is gone, or this client has revoked it or was closed. |
//!
//! A state never claims more than is known. The client counts `Alive` from the moment at which it
//! sent the renewal. After a machine has slept, the state of its leases is unknown until the next answer.
//!
//! A program that must not work without its lease stops at `AtRisk`, or at the latest when
//! `expires` is over; it need not wait for `Lost`.
//!
//! # Locks
//! [`lock`](crate::Client::lock) is etcd's own lock service. While the key of the reply exists, the
//! service gives the lock to no other caller. The holder may learn late that the key no longer
//! exists. Work that must happen only under the lock therefore belongs into a transaction that
//! compares the key's create revision: see the example of [`Client::lock`](crate::Client::lock).
//!
//! A waiting lock requires a member with a leader. When the member loses its leader, the wait ends
//! with [`NoLeader`](crate::ErrorKind::NoLeader) instead of lasting for ever.
//!
//! # The end of a client
//! [`close`](crate::Client::close) revokes the leases that the client keeps. Dropping the last
//! handle does not: the leases expire after their time-to-live.
