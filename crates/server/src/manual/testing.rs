//! Testing your program with etcdex-server.
//!
//! A [`Server`] is etcd in your test: it starts in less than a millisecond, listens on a port of
//! its own, and is gone with all its keys when it is dropped. Your program uses it by its URL, with this
//! client, with another one, or from another language. Tests run side by side, each with its own server.
//!
//! ```toml
//! [dev-dependencies]
//! etcdex-server = "0.1"
//! tokio = { version = "1", features = ["macros", "rt"] }
//! ```
//!
//! # A complete example
//!
//! The program under test elects a worker: it keeps a lease, and writes its name with it if no other worker
//! is there. The tests ask what it does when its lease ends, when its connection is cut, when etcd refuses
//! the write, and when the reply to the write is lost.
//!
//! ```
//! use std::time::Duration;
//!
//! use etcdex::{Client, Compare, Error, LeaseId, Outcome, Put, Txn};
//! use etcdex_server::{Code, Server};
//!
//! /// The program under test.
//! async fn elect(client: &Client, name: &str) -> Result<Option<LeaseId>, Error> {
//!     let lease = client.grant(Duration::from_secs(10)).await?.id;
//!     let txn = Txn::new()
//!         .when(Compare::create_revision("worker").equal(0))
//!         .then(Put::new("worker", name).lease(lease));
//!     Ok(client.run(txn).await?.succeeded.then_some(lease))
//! }
//!
//! async fn worker(client: &Client) -> Result<Option<String>, Error> {
//!     client.get("worker").string().await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder().start().await?;
//! let client = Client::connect(server.client_url()).await?;
//!
//! // One worker is elected, and the next one when the lease of the first has ended. The test does
//! // not wait for that: it turns the clock.
//! assert!(elect(&client, "one").await?.is_some());
//! assert!(elect(&client, "two").await?.is_none());
//! server.clock().advance(Duration::from_secs(10));
//! assert!(elect(&client, "two").await?.is_some());
//! assert_eq!(worker(&client).await?.as_deref(), Some("two"));
//!
//! // A cut connection is replaced, and a read is sent again.
//! server.faults().cut();
//! assert_eq!(worker(&client).await?.as_deref(), Some("two"));
//!
//! // The next transaction is refused as if the store was full.
//! server.clock().advance(Duration::from_secs(10));
//! let txns = server.faults().method("/etcdserverpb.KV/Txn");
//! txns.refuse(1, Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
//! let error = elect(&client, "three").await.expect_err("the store is full");
//! assert_eq!(error.outcome(), Outcome::Rejected);
//! assert_eq!(worker(&client).await?, None);
//!
//! // The next one is carried out, and its reply is lost. The program must not take this for a failure.
//! txns.cut();
//! let error = elect(&client, "four").await.expect_err("the reply is lost");
//! assert_eq!(error.outcome(), Outcome::Unknown);
//! assert_eq!(worker(&client).await?.as_deref(), Some("four"));
//! # Ok(())
//! # }
//! ```
//!
//! # Time
//!
//! [`Clock::advance`](crate::Clock::advance) turns the clock of the server, and of no one else. Leases, tokens,
//! progress notifications and automatic compactions go by it. When it returns, each lease that has ended is
//! gone with its keys. A client that keeps a lease hears of its end by the next renewal, which the client sends
//! by its own clock. With tokio's paused time, let the test turn both.
//!
//! # Faults
//!
//! [`Faults`](crate::Faults) are caused by the test, in the same process; no client can cause them over the
//! network. `server.faults()` is for all connections and methods,
//! [`connection`](crate::Faults::connection) and [`method`](crate::Faults::method) narrow it.
//!
//! | to test that your program | cause |
//! |---|---|
//! | comes back after a lost connection | [`cut`](crate::Faults::cut), [`go_away`](crate::Faults::go_away) |
//! | does not write twice when it does not know whether it has written | `method(..)`, [`cut`](crate::Faults::cut) |
//! | has a time-out for a server that takes calls and does not answer | [`hang`](crate::Faults::hang) |
//! | finds a silent network | [`stall`](crate::Faults::stall) |
//! | bears a slow server | [`delay`](crate::Faults::delay), [`fragment`](crate::Faults::fragment) |
//! | handles an error of etcd | [`refuse`](crate::Faults::refuse), [`lose_leader`](crate::Faults::lose_leader) |
//! | reads anew when its watch has fallen behind a compaction | [`compact`](crate::Faults::compact) |
//! | logs in again | [`expire_tokens`](crate::Faults::expire_tokens) |
//!
//! [`heal`](crate::Faults::heal) ends all of them.
//!
//! # Without tokio
//!
//! [`start_blocking`](crate::ServerBuilder::start_blocking) starts a server from code that is not asynchronous.
//! The server has a thread of its own, and needs no runtime of the caller.
//!
//! # From another language
//!
//! `etcdex serve --listen-client-urls http://127.0.0.1:0` is the same server as a command. It prints a line
//! `ready: ` with its URL when it serves.
//!
//! [`Server`]: crate::Server
