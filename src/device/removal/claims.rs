//! Who else counts on a partition that is about to be removed.
//!
//! While nodes have different rings, node X may take Y for the home of a partition, and Y take X for it. Each makes sure
//! that the other one has everything, and removes its own: then nobody has it. Locks do not help, since neither has the
//! other's. What helps is that every node keeps this order:
//!
//! 1. it records what it has, and then the files of which this module looks after;
//! 2. it pushes;
//! 3. it tells the target what it pushed: the target's object server appends that to `hashes.invalid`, under `.lock`;
//! 4. it makes sure that the target has everything, by a dry run of the push;
//! 5. it takes its own `.lock`. If `hashes.invalid` or `hashes.pkl` changed since step 1, somebody else was at step 3 or
//!    wrote something: then the partition stays. Else it is removed, with the lock held.
//!
//! Suppose that X and Y both remove. When Y did step 3 at X, X was not between its steps 1 and 5, or it would have
//! noticed. It was not past step 5 either, for the lock made Y wait until all was gone, and then Y's step 4 would have
//! failed. So it was before X's step 1. In the same way X did step 3 at Y before Y's step 1. But each node's step 1 comes
//! before its own step 3, so these four come each before the next in a circle, which cannot be. The same holds for any
//! number of nodes in a circle.
//!
//! Object servers wait for `.lock` 10 s and then fail a client's request, so it is not held for long: it is let go for a
//! moment every now and then, and afterwards looked after in the same way.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{RemovalError, identity};
use crate::device::lock::PathLock;
use crate::device::object_files::FileIdentity;

/// For how long the lock is held without a pause.
pub(super) const HELD_AT_MOST: Duration = Duration::from_secs(1);
/// How long a pause is. Who waits for the lock tries it every tenth of a second.
pub(super) const PAUSE: Duration = Duration::from_millis(250);
/// How long the lock is waited for. Servers hold it for milliseconds.
const WAIT: Duration = Duration::from_secs(2);

/// What changes when somebody writes to a partition, or is told that he has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    hashes: Option<FileIdentity>,
    invalidations: Option<FileIdentity>,
}

impl Claims {
    /// Takes note of how things are.
    pub(super) fn record(partition: BorrowedFd<'_>, path: &Path) -> Result<Self, RemovalError> {
        Ok(Self {
            hashes: identity(partition, c"hashes.pkl", &path.join("hashes.pkl"))?,
            invalidations: identity(partition, c"hashes.invalid", &path.join("hashes.invalid"))?,
        })
    }

    /// Takes note that `hashes.pkl` was unlinked.
    pub(super) fn forget_hashes(&mut self) {
        self.hashes = None;
    }
}

/// The lock of a partition that is being removed.
pub(super) struct Hold<'a> {
    partition: BorrowedFd<'a>,
    path: &'a Path,
    lock: PathLock,
    since: Instant,
}

impl<'a> Hold<'a> {
    /// Takes the lock.
    pub(super) fn take(partition: BorrowedFd<'a>, path: &'a Path) -> Result<Self, RemovalError> {
        let lock = PathLock::acquire_in(partition, path, WAIT)?;
        Ok(Self { partition, path, lock, since: Instant::now() })
    }

    /// Whether nothing has changed since the claims were recorded. Nothing can change before the lock is let go.
    pub(super) fn is_unclaimed(&self, claims: &Claims) -> Result<bool, RemovalError> {
        Ok(Claims::record(self.partition, self.path)? == *claims)
    }

    /// Whether the lock has been held for so long.
    pub(super) fn lasts_for(&self, time: Duration) -> bool {
        self.since.elapsed() >= time
    }

    /// Lets others have the lock, and takes it again.
    pub(super) fn pause(self, pause: impl Fn()) -> Result<Self, RemovalError> {
        drop(self.lock);
        pause();
        Self::take(self.partition, self.path)
    }
}
