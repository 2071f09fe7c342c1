//! An etcd-compatible server for tests and laptops: one node, in memory.
//!
//! *There is only the [`store`] so far.* The services of etcd's API, the clock and the faults are not
//! there yet.

pub mod store;
