//! The lock of a partition that is being removed.
//!
//! Object servers wait 10 s for `.lock` and then fail a client's request, so it is not held for long: it is released
//! for a moment every now and then, whatever the shape of the partition. When it is held again, a look at the partition
//! tells whether somebody changed it meanwhile.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use super::claims::OtherWriters;
use super::error::RemovalError;
use crate::device::lock::PathLock;

/// For how long the lock is held without a pause.
pub(super) const AT_MOST: Duration = Duration::from_secs(1);
/// How long a pause is. Who waits for the lock tries it every tenth of a second.
pub(super) const PAUSE: Duration = Duration::from_millis(250);
/// How long the lock is waited for. Servers hold it for milliseconds.
const WAIT: Duration = Duration::from_secs(2);

/// The lock, held but in pauses.
pub(super) struct RemovalLock<'a> {
    partition: BorrowedFd<'a>,
    path: &'a Path,
    lock: Option<PathLock>,
    since: Instant,
    at_most: Duration,
}

impl<'a> RemovalLock<'a> {
    /// Takes the lock.
    pub(super) fn take(partition: &'a impl AsFd, path: &'a Path, at_most: Duration) -> Result<Self, RemovalError> {
        let partition = partition.as_fd();
        let lock = Some(PathLock::acquire_in(partition, path, WAIT)?);
        Ok(Self { partition, path, lock, since: Instant::now(), at_most })
    }

    /// Whether nothing has changed since the claims were recorded. Nothing can change before the lock is let go.
    pub(super) fn is_unclaimed(&self, claims: &OtherWriters) -> Result<bool, RemovalError> {
        Ok(OtherWriters::record(self.partition, self.path)? == *claims)
    }

    /// If the lock has been held for long, lets others have it, and takes it again; says whether that was so.
    pub(super) fn give_way(&mut self, pause: &dyn Fn()) -> Result<bool, RemovalError> {
        if self.since.elapsed() < self.at_most {
            return Ok(false);
        }
        self.lock = None;
        pause();
        self.take_again()?;
        Ok(true)
    }

    /// Takes the lock of a partition whose lock file was unlinked, or was let go.
    pub(super) fn take_again(&mut self) -> Result<(), RemovalError> {
        self.lock = Some(PathLock::acquire_in(self.partition, self.path, WAIT)?);
        self.since = Instant::now();
        Ok(())
    }
}
