//! The counters of a proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Direction;

#[derive(Debug, Default)]
pub(super) struct Counters {
    accepted: AtomicU64,
    open: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

impl Counters {
    pub(super) fn accept(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    pub(super) fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    pub(super) fn forward(&self, direction: Direction, bytes: usize) {
        self.bytes(direction).fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn forwarded(&self, direction: Direction) -> u64 {
        self.bytes(direction).load(Relaxed)
    }

    fn bytes(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }
}

/// Counts an open link until it is dropped.
#[derive(Debug)]
pub(super) struct OpenLink {
    counters: Arc<Counters>,
}

impl OpenLink {
    pub(super) fn new(counters: &Arc<Counters>) -> Self {
        counters.open.fetch_add(1, Relaxed);
        Self {
            counters: Arc::clone(counters),
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Drop for OpenLink {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Relaxed);
    }
}
