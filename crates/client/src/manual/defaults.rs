//! Defaults: times and limits, and the option that changes each.
//!
//! | what | default | option |
//! |---|---|---|
//! | endpoint | `http://127.0.0.1:2379` | [`endpoint`](crate::Builder::endpoint), [`endpoints`](crate::Builder::endpoints) |
//! | choice among endpoints | one for all calls | [`mode`](crate::Builder::mode) |
//! | time-out of a call | 5 s | [`timeout`](crate::Builder::timeout), and of each call and handle |
//! | time-out of a watch, lock, snapshot, defragmentation, physical compaction | none | the call's `timeout` |
//! | one attempt to connect | 3 s | [`connect_timeout`](crate::Builder::connect_timeout) |
//! | pauses between attempts to connect | 10 ms, doubled, up to 1 s | [`retry_timeout`](crate::Builder::retry_timeout) |
//! | attempts again of a call | 10 | [`retries`](crate::Builder::retries) |
//! | ping after silence | 10 s | [`keep_alive_interval`](crate::Builder::keep_alive_interval) |
//! | a ping's answer | 3 s | [`keep_alive_timeout`](crate::Builder::keep_alive_timeout) |
//! | age of a connection | 30 min | [`max_connection_age`](crate::Builder::max_connection_age) |
//! | learning endpoints | off | [`auto_sync_interval`](crate::Builder::auto_sync_interval) |
//! | a leader is wanted | by waiting locks, watches and renewals | [`require_leader`](crate::Builder::require_leader) |
//! | size of a message that is received | 256 MiB | [`max_receive_size`](crate::Builder::max_receive_size) |
//! | size of a request | 2 MiB | [`max_send_size`](crate::Builder::max_send_size) |
//! | events that nobody has read | 16 MiB or 65,536 events a watch, 256 MiB a client | [`watch_limits`](crate::Builder::watch_limits) |
//! | pairs of a page of `list` | 1,000 | [`List::page`](crate::kv::List::page) |
//! | TLS | for `https`, verified against the system's authorities | `tls` |
//! | credentials | none | [`credentials`](crate::Builder::credentials) |
//!
//! `Builder::environment` reads the `ETCDCTL_*` variables.
