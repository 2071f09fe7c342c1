//! Defaults: times and limits, and the option that changes each.
//!
//! | what | default | option |
//! |---|---|---|
//! | endpoint | `http://127.0.0.1:2379` | [`endpoint`](crate::ClientBuilder::endpoint), [`endpoints`](crate::ClientBuilder::endpoints) |
//! | choice among endpoints | one for all calls | [`mode`](crate::ClientBuilder::mode) |
//! | time-out of a call | 5 s | [`timeout`](crate::ClientBuilder::timeout), and of each call and handle |
//! | time-out of a watch, lock, snapshot, defragmentation, physical compaction | none | the call's `timeout` |
//! | one attempt to connect | 3 s | [`connect_timeout`](crate::ClientBuilder::connect_timeout) |
//! | pauses between attempts to connect | 10 ms, doubled, up to 1 s | [`retry_timeout`](crate::ClientBuilder::retry_timeout) |
//! | retries of a call | 10 | [`retries`](crate::ClientBuilder::retries) |
//! | ping after silence | 10 s | [`keep_alive_interval`](crate::ClientBuilder::keep_alive_interval) |
//! | answer to a ping | 3 s | [`keep_alive_timeout`](crate::ClientBuilder::keep_alive_timeout) |
//! | age of a connection | 30 min | [`max_connection_age`](crate::ClientBuilder::max_connection_age) |
//! | learning endpoints | off | [`auto_sync_interval`](crate::ClientBuilder::auto_sync_interval) |
//! | a leader is required | by waiting locks, watches and renewals | [`require_leader`](crate::ClientBuilder::require_leader) |
//! | size of a received message | 256 MiB | [`max_receive_size`](crate::ClientBuilder::max_receive_size) |
//! | size of a request | 2 MiB | [`max_send_size`](crate::ClientBuilder::max_send_size) |
//! | unread events | 16 MiB or 65,536 events a watch, 256 MiB a client | [`watch_limits`](crate::ClientBuilder::watch_limits) |
//! | pairs of a page of `list` | 1,000 | [`List::page`](crate::kv::List::page) |
//! | TLS | for `https`, verified against the system's authorities | `tls` |
//! | credentials | none | [`credentials`](crate::ClientBuilder::credentials) |
//!
//! `ClientBuilder::environment` reads the `ETCDCTL_*` variables.
