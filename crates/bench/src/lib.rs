//! etcdex beside its peers, in one run.
//!
//! A library only so that its tests can use the parts; the `etcdex-bench` binary is the product.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

pub mod cores;
pub mod null_server;
pub mod peer;
pub mod reading;
pub mod unary;
pub mod watch;

/// Here and not in the binary, so that the tests count too.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;
