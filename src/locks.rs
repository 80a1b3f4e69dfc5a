//! Locks that are taken even after a thread panicked while it held them.
//!
//! A job that panics ends alone and the pass goes on, so a poisoned lock must not take the next thread with it. For that
//! nothing that is behind such a lock may be half changed at a point where its holder can panic.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// Takes a mutex.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a lock for reading.
pub(crate) fn read<T: ?Sized>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a lock for writing.
pub(crate) fn write<T: ?Sized>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Takes out what a mutex holds.
pub(crate) fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a mutex back until the condition is signalled, at most for so long.
pub(crate) fn wait_timeout<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>, most: Duration) -> MutexGuard<'a, T> {
    condition.wait_timeout(guard, most).unwrap_or_else(PoisonError::into_inner).0
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_panic_of_one_holder_does_not_keep_out_the_next() {
        let (mutex, shared) = (Mutex::new(1), RwLock::new(2));
        catch_unwind(AssertUnwindSafe(|| {
            let (_held, _written) = (lock(&mutex), write(&shared));
            panic!("while both are held");
        }))
        .unwrap_err();
        assert!(mutex.is_poisoned() && shared.is_poisoned());
        *lock(&mutex) += 10;
        *write(&shared) += 10;
        assert_eq!((*lock(&mutex), *read(&shared)), (11, 12));
        let waited = wait_timeout(&Condvar::new(), lock(&mutex), Duration::ZERO);
        assert_eq!(*waited, 11);
        drop(waited);
        assert_eq!(into_inner(mutex), 11);
    }
}
