//! The manual: the client's own work, and the reasons.
//!
//! The documentation of types and methods describes each of them. These pages describe how the
//! parts work together.
//!
//! | page | it answers |
//! |---|---|
//! | [`retries`] | What may have happened to a write that failed? When is a request sent again? |
//! | [`endpoints`] | Which endpoint does a call go to? When does a client leave it, and come back? |
//! | [`watches`] | What does a watch promise? What happens at a reconnect, at a compaction, at a slow consumer? |
//! | [`leases`] | When is a lease renewed? What does each state mean? What does a lock promise? |
//! | [`defaults`] | What are the limits and times, and which option changes each? |
//! | [`telemetry`] | Which events and metrics are there? |

pub mod defaults;
pub mod endpoints;
pub mod leases;
pub mod retries;
pub mod telemetry;
pub mod watches;
