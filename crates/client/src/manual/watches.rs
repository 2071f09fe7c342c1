//! Watches.
//!
//! # Guarantees of a watch
//! A watch is ordered, unique, atomic, reliable and resumable, in etcd's own words: revisions never
//! go back, no event comes twice, a revision is never split over two batches, and no event is left
//! out. The guarantees hold across any number of reconnects, as long as the history is not
//! compacted.
//!
//! A watch ends only with a typed reason ([`WatchEnd`](crate::WatchEnd)), after all received events
//! have been delivered. A lost connection, a lost leader, an expired token and a slow consumer end
//! no watch.
//!
//! # From now
//! "Now" is a revision: before the client creates a watch, it asks for the store's revision (one
//! small read for all watches that are being created), and watches from the next revision. The
//! watch therefore never reports a write from before the call, and always reports a write after the
//! call has returned, also when the first stream breaks at once.
//!
//! # Reconnects
//! All watches of a client share one stream. When the stream is lost, each watch continues after
//! the last revision that it has delivered, or after a progress that the server has proven. The
//! revision of a header is never used for that: a server that is catching up sends headers that are
//! ahead of its events. A [`Watcher`](crate::Watcher) reports the loss and its end (`Disconnected`,
//! `Resumed`).
//!
//! # Idle watches
//! The client asks for progress periodically, so that compactions do not overtake a watch without
//! events. On servers whose answers can overtake events (before 3.4.25 and 3.5.8), the client does
//! not rely on such answers, and an idle watch can end as compacted after a reconnect.
//!
//! # Compaction
//! When the next revision to deliver was compacted, the watch ends with
//! [`WatchEnd::Compacted`](crate::WatchEnd::Compacted). The program then reads the state and
//! watches from there, or uses [`watch_list`](crate::Client::watch_list): it delivers a state and
//! then every change, and reads the state again by itself after a compaction, a restore of a
//! backup, or a change of the cluster.
//!
//! # Slow consumers
//! The client keeps unread events up to [`WatchLimits`](crate::WatchLimits). It cancels a watch at
//! its limit at the server, and creates it again at the same position when its consumer has read
//! half. Other watches are not slowed. [`Lag`](crate::watch::Lag) says how far a consumer is behind.
//!
//! # Large messages
//! The client asks for whole messages. When one exceeds
//! [`max_receive_size`](crate::ClientBuilder::max_receive_size), the watches that were behind ask
//! for fragments until they have caught up. `fragment(true)` asks for fragments from the beginning;
//! etcd makes fragments of many small events slowly.
