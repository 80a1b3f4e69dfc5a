//! The lock of a hand-off: `.lock-replication` in its partition.

use std::time::Duration;

use log::{error, warn};

use crate::device::layout::PartitionDir;
use crate::device::lock::{LockError, PathLock};
use crate::device::writes::Writes;
use crate::job::custody::KeptLock;

/// Takes the partition's `.lock-replication`, waiting for so long; in a dry run nothing is locked.
///
/// # Errors
/// `LockError::Timeout` if somebody else holds it all that time; `LockError::Io` if the lock file cannot be made,
/// opened or locked.
pub(super) fn take(dir: &PartitionDir, wait: Duration) -> Result<Option<PathLock>, LockError> {
    match dir.writes() {
        Writes::Made => PathLock::acquire(dir.path(), Some("replication"), wait).map(Some),
        Writes::Imagined => Ok(None),
    }
}

/// The partition's `.lock-replication`.
pub(super) enum Lock<'r> {
    /// It is held, or nothing is locked (in a dry run).
    Held { _lock: Option<KeptLock<'r>> },
    /// It cannot be taken, though nobody else holds it: there is no room for its file, or something is in its place.
    /// Without it another node could be receiving this partition by SSYNC, and say that it has what is just being
    /// removed. So the partition is pushed, which only copies (and makes room elsewhere for its objects), but stays.
    Without(LockError),
}

impl Lock<'_> {
    /// Whether something is in its place, which no later pass will find gone by itself. (Room may come at any time.)
    pub(super) fn is_barred(&self) -> bool {
        matches!(self, Self::Without(error) if !error.is_no_room())
    }

    /// Says before the push what is in the way of the lock.
    pub(super) fn say_what_is_in_the_way(&self, dir: &PartitionDir) {
        if let Self::Without(error) = self
            && self.is_barred()
        {
            error!(
                "Error syncing handoff partition: {error}; {} is pushed without it, and nothing is removed until that \
                 is mended (something in the place of the file has to go)",
                dir.path().display()
            );
        }
    }

    /// Whether it is held. If not, it is said that the partition stays.
    pub(super) fn is_held(&self, dir: &PartitionDir) -> bool {
        let path = dir.path().display();
        match self {
            Self::Held { .. } => return true,
            Self::Without(error) if error.is_no_room() => warn!(
                "Partition {path} is pushed but kept: there is no room for its lock file .lock-replication, without which \
                 nothing is removed"
            ),
            Self::Without(error) => {
                warn!("Partition {path} is pushed but kept: {error}, and nothing is removed without it");
            }
        }
        false
    }
}
