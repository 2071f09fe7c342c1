//! Benchmarks of etcdex beside other clients, in one run.
//!
//! The `etcdex-bench` binary is the product. The library exists so that tests can use its parts.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

mod binary;
pub mod cores;
pub mod null_server;
pub mod peer;
pub mod ratio;
pub mod reading;
pub mod server;
pub mod unary;
pub mod watch;

/// The allocator is in the library and not in the binary, so that the tests count too.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;
