//! Several endpoints: choice, failure, learning.
//!
//! # Which endpoint a call goes to
//! The [`Mode`](crate::Mode) decides: one endpoint for all calls (`PickFirst`, the default), a
//! random endpoint for each call (`Random`), or the one with the fewest calls in progress
//! (`ConnectAll`). A client with `PickFirst` starts at a random endpoint, and chooses again when
//! its connection is half an hour old, so that many clients are distributed over the members.
//!
//! # When a client leaves an endpoint, and returns
//! The page of [`Mode`](crate::Mode) has the rule. In short:
//! - A client leaves a connection that is lost or does not answer pings at once.
//! - A client probes a member that answers pings and no calls with a small read without a token,
//!   and leaves the member when the probe is not answered either.
//! - A client leaves a member that says that it cannot serve at once.
//! - A client uses an endpoint again when the endpoint has answered.
//! - When no endpoint serves, the client sends calls all the same, and they are answered as soon as
//!   an endpoint serves.
//!
//! Calls, long streams and waiting calls use separate connections to each endpoint: five hundred
//! waiting locks do not delay the renewal of a lease.
//!
//! # Pings
//! The client pings a connection that receives nothing for 10 s while calls are in progress
//! ([`keep_alive_interval`](crate::ClientBuilder::keep_alive_interval)). After 2 s without an
//! answer, new calls use other endpoints. After 3 s, the client closes the connection, and its
//! calls fail or are sent again. etcd closes connections that ping more often than every 5 s.
//!
//! # Learning endpoints
//! [`auto_sync_interval`](crate::ClientBuilder::auto_sync_interval) asks the cluster for its
//! members periodically, and uses the URLs that they advertise. The option is off by default. A
//! learned endpoint is used only after it has proven that it belongs to the same cluster: on each
//! connection, the client asks for the cluster's ID, without a token, before it sends anything
//! else. Passwords and tokens never go to an endpoint without that proof. The client returns to the
//! endpoints that it was given when the learned ones fail. A client with an https endpoint never
//! uses http. [`sync_endpoints`](crate::Client::sync_endpoints) asks on demand, and
//! [`set_endpoints`](crate::Client::set_endpoints) replaces all endpoints.
//!
//! # One member
//! [`with_endpoint`](crate::Client::with_endpoint) and [`member`](crate::Client::member) return
//! handles whose calls go to one member only: for status, snapshots, defragmenting.
//!
//! # Users and tokens
//! A login belongs to the client, not to the call that needed it first. The client sends one login
//! at a time, to any endpoint that serves, and calls wait for its result within their own
//! time-outs. The client renews a token of known lifetime in the background while the token is
//! still valid. After a refused password, the client pauses before the next login.
//! [`set_credentials`](crate::Client::set_credentials) replaces the user at run time.
