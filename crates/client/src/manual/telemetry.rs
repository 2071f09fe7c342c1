//! Events and metrics.
//!
//! # Events
//! The client sends events of `tracing` with the target `etcdex`:
//!
//! | event | fields |
//! |---|---|
//! | `request started` | `client`, `request` |
//! | `request stopped` | `client`, `request`, `endpoint`, `outcome` (ok, not_sent, unknown, rejected, or dropped by its caller), `kind`, `attempts`, `duration` |
//! | `connect started` | `client`, `endpoint` |
//! | `connect stopped` | `client`, `endpoint`, `outcome`, `cause`, `duration` |
//! | `disconnected` | `client`, `endpoint`, `reason` |
//! | `not serving`, `serving` | `client`, `endpoint` |
//!
//! Most events have the level `debug`. A lost connection, an endpoint that does not serve (its
//! return has the level `info`), a server that objects to the number of pings, and credentials that
//! go over a network in plain text have the level `warn`. No event contains a key, a value, a
//! password or a token.
//!
//! # Metrics
//! With the feature `metrics`, the client also records metrics of the `metrics` facade, under
//! stable names:
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `etcdex_requests_total` | counter | `client`, `endpoint`, `request`, `outcome` (ok, not_sent, unknown, rejected, dropped) |
//! | `etcdex_request_duration_seconds` | histogram | the same |
//! | `etcdex_connects_total` | counter | `client`, `endpoint`, `outcome` (ok, failed) |
//! | `etcdex_connect_duration_seconds` | histogram | the same |
//! | `etcdex_disconnects_total` | counter | `client`, `endpoint`, `planned` (true, false) |
//!
//! A label without a value (a client without a name, a request that reached no endpoint) is empty.
//! The labels cost a call some ten allocations.
