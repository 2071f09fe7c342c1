//! A mutex that ignores poisoning.

use std::fmt;
use std::sync::{self, MutexGuard, PoisonError};

/// A mutex whose lock does not fail after a panic.
///
/// A thread that panics while it holds a [`sync::Mutex`] poisons it. All later locks return an error
/// then, because the value may be half changed. Critical sections of the client are short and call no
/// code of its users. Code in them that may panic comes before or after the change of a value, and not
/// in the middle of one. So the value is used as it is, and a panic in one task does not make all
/// handles of the client fail.
#[derive(Default)]
pub(crate) struct Mutex<T> {
    inner: sync::Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self {
            inner: sync::Mutex::new(value),
        }
    }

    /// Blocks the thread until no other thread holds the lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks if no thread holds the lock.
    #[cfg(test)]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.inner.try_lock().ok()
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_panic_leaves_the_value_usable() {
        let mutex = Mutex::new(1);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut value = mutex.lock();
            *value = 2;
            panic!("while the lock is held");
        }));
        assert!(panicked.is_err() && mutex.inner.is_poisoned());
        assert_eq!(*mutex.lock(), 2);
    }
}
