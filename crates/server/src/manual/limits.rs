//! The limits of the server.
//!
//! It is one node of etcd in memory, for tests, development, and small things on one machine. For more, point
//! the same program at real etcd: it is a matter of the URL.
//!
//! # It keeps nothing
//! There is no file: all keys, leases, users and the history are gone when it ends. `etcdex serve --data-dir`
//! is refused for that reason. There are no snapshots: the call `Snapshot` is refused with the status
//! `UNIMPLEMENTED`.
//!
//! # It is one node
//! There is no raft, no other member, and no failure of a majority. The list of members has one, which can be
//! updated; to add, remove or promote a member gets the answer of a cluster of one.
//! [`lose_leader`](crate::Faults::lose_leader) gives the errors of a member without a leader, and nothing
//! else of that state: reads that need no leader are refused too.
//! A program whose correctness depends on what happens between members has to be tested on a cluster.
//!
//! # It answers as one version does
//! The answers are those of etcd 3.7.3. A program that has to work with an older version has to be tested on it.
//! These differ on purpose:
//!
//! | | etcd 3.7.3 | this server |
//! |---|---|---|
//! | the hashes of `Hash` and `HashKV` | of etcd's file format | of the pairs, by another function |
//! | raft index and term, size of the store | of the log and the file | the revision; the bytes in memory |
//! | a request for progress on a stream with a watch that a compaction has ended | is not answered until the client cancels that watch | is answered |
//! | open calls and streams of a connection | no limit | 16,384, an [option](crate::ServerBuilder::max_concurrent_streams) |
//! | passwords | bcrypt | salted SHA-256: an attacker who could read the memory has the keys too |
//! | tokens | simple tokens or JWT | simple tokens |
//! | a downgrade | is carried out | is checked, and then refused |
//! | `/metrics` | all | five gauges |
//!
//! # It is not hardened for the open network
//! It listens on the loopback unless it is told otherwise. It has TLS, client certificates and users, and bounds
//! what a connection makes it keep; but no one has attacked it for a living, and there is no limit for
//! connections or for the number of calls.
