//! Tests with the null server as a process.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use etcdex_bench::null_server::NullServer;

mod allocations;
mod null_server;

/// Keeps tests from running at once, because allocations are counted for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A failed test leaves no state behind.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start() -> NullServer {
    let program = Path::new(env!("CARGO_BIN_EXE_etcdex-bench"));
    NullServer::start(program, None).expect("the null server starts")
}
