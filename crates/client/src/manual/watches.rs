//! Watches.
//!
//! # What a watch promises
//! Ordered, unique, atomic, reliable, resumable, in etcd's own words: revisions never go back; no
//! event comes twice; a revision is never split over two batches; no event is left out; and all of
//! that across any number of reconnects, for as long as the history is there.
//!
//! A watch ends only with a typed reason ([`WatchEnd`](crate::WatchEnd)), after everything that was
//! received has been delivered. A lost connection, a lost leader, an expired token and a slow
//! consumer end no watch.
//!
//! # From now
//! "Now" is a revision: before a watch is created, the client asks for the store's revision (one
//! small read for all watches that are being created), and watches from the next one. So what was
//! written before the call is never told, and what is written after the call has returned always
//! is, also when the first stream breaks at once.
//!
//! # Reconnects
//! All watches of a client share one stream. When it is lost, each watch goes on behind the last
//! revision that it has delivered, or behind a progress that the server has proven. A header's
//! revision is never taken for that: a server that is catching up sends headers that are ahead of
//! its events. A [`Watcher`](crate::Watcher) is told of the loss and of the end of it
//! (`Disconnected`, `Resumed`).
//!
//! # Idle watches
//! The client asks for progress now and then, so that a watch without events is not overtaken by
//! compactions. On servers whose answers can overtake events (before 3.4.25 and 3.5.8) such answers
//! are not believed, and an idle watch there can end as compacted after a reconnect.
//!
//! # Compaction
//! When the next revision to deliver was compacted, the watch ends with
//! [`WatchEnd::Compacted`](crate::WatchEnd::Compacted). Read the state and watch from there, or use
//! [`watch_list`](crate::Client::watch_list), which does: it gives a state and then every change,
//! and is right again by itself after a compaction, a restore of a backup, or a change of the
//! cluster.
//!
//! # Slow consumers
//! What is not read yet is kept up to [`WatchLimits`](crate::WatchLimits). A watch that is full is
//! cancelled at the server, and created again from where it was when its consumer has read half.
//! No other watch is slowed. [`Lag`](crate::Lag) says how far a consumer is behind.
//!
//! # Large messages
//! Messages are asked for as a whole. Where one is larger than
//! [`max_receive_size`](crate::ClientBuilder::max_receive_size), the watches that were behind ask for
//! pieces until they have caught up. `fragment(true)` asks for pieces from the beginning; etcd makes
//! pieces of many small events slowly.
