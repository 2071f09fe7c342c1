//! Several endpoints: choice, failure, learning.
//!
//! # Which endpoint a call goes to
//! The [`Mode`](crate::Mode) decides: one endpoint for all calls (`PickFirst`, the default), a
//! random one for each call (`Random`), or the one with the fewest calls under way (`ConnectAll`).
//! A client with `PickFirst` begins at a random endpoint, and moves on when its connection is
//! half an hour old, so that a fleet of clients spreads and stays spread.
//!
//! # When a client leaves an endpoint, and comes back
//! The page of [`Mode`](crate::Mode) has the rule. In short: a connection that is lost or does not
//! answer pings is left at once; a member that answers pings and no calls is asked by the client
//! itself, with a small read that brings no token, and is left when that is not answered either; a
//! member that says that it cannot serve is left at its word. An endpoint is used again when it has
//! answered. Where no endpoint serves, calls go out all the same, and are answered as soon as one
//! does.
//!
//! A pool of connections to each endpoint keeps calls, long streams and waiting calls apart: five
//! hundred waiting locks do not keep a lease from being renewed.
//!
//! # Pings
//! A connection on which nothing comes for 10 s while calls are under way is pinged
//! ([`keep_alive_interval`](crate::ClientBuilder::keep_alive_interval)). After 2 s without an answer new
//! calls go elsewhere, after 3 s the connection is ended, and its calls are told. etcd closes
//! connections that ping more often than every 5 s.
//!
//! # Learning endpoints
//! [`auto_sync_interval`](crate::ClientBuilder::auto_sync_interval) asks the cluster for its members now
//! and then, and uses what they advertise. It is off by default. A learned endpoint is used only
//! after it has proven that it belongs to the same cluster: each connection to it is asked for the
//! cluster's ID before anything else is sent, without a token. Passwords and tokens never go to an
//! endpoint that has not proven it. The endpoints that were given come back when the learned ones
//! fail. Https is never left for http. [`sync_endpoints`](crate::Client::sync_endpoints) does it on
//! demand, and [`set_endpoints`](crate::Client::set_endpoints) replaces all endpoints.
//!
//! # One member
//! [`member`](crate::Client::member) and [`member_with_id`](crate::Client::member_with_id) make
//! handles whose calls go to one member and nowhere else: for status, snapshots, defragmenting.
//!
//! # Users and tokens
//! A login belongs to the client, not to the call that came first. It goes to any endpoint that
//! serves, there is one at a time, and calls wait for its result within their own time-outs. A token
//! of known life is renewed in the background while the old one is still good. A refused password is
//! not tried again before its pause is over.
//! [`set_credentials`](crate::Client::set_credentials) replaces the user at run time.
