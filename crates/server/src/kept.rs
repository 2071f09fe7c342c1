//! The number of bytes that the calls of a connection make the server keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The bytes that all calls of a connection keep.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<AtomicUsize>);

/// The bytes that one call keeps. When it is dropped, the call keeps none.
#[derive(Debug)]
pub(crate) struct Share {
    all: Kept,
    bytes: usize,
}

impl Kept {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Returns the share of a call, which keeps nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share {
            all: self.clone(),
            bytes: 0,
        }
    }
}

impl Share {
    /// Sets the bytes that the call keeps. Returns those of all calls of the connection.
    pub(crate) fn set(&mut self, bytes: usize) -> usize {
        if self.bytes != bytes {
            self.all.0.fetch_add(bytes, Relaxed);
            self.all.0.fetch_sub(self.bytes, Relaxed);
            self.bytes = bytes;
        }
        self.all.bytes()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}
