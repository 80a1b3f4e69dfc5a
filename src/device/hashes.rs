//! The hashes of a partition.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::device::layout::PartitionDir;
use crate::device::lock::LockError;
use crate::format::hashes::SuffixHashes;
use crate::names::Suffix;
use crate::pulse::Pulse;

/// What is asked of [`get_hashes`].
#[derive(Clone, Copy, Debug)]
pub struct HashRequest<'a> {
    /// Suffixes to hash again, whatever is known of them.
    pub recalculate: &'a [Suffix],
    /// Look for suffixes that nobody knows of yet (B6.10).
    pub listing: bool,
    /// How long tombstones and stray files are kept (B6.19).
    pub reclaim_age: Duration,
}

/// The answer of [`get_hashes`].
#[derive(Clone, Debug, PartialEq)]
pub struct Hashed {
    /// Every suffix of the partition that is known.
    pub hashes: SuffixHashes,
    /// How many of them were hashed now.
    pub hashed: u64,
}

/// Why the hashes of a partition could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The partition could not be opened or listed.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The partition's folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The partition's lock could not be had.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl HashError {
    /// Whether the partition is not there (any more).
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Read { source, .. } | Self::Lock(LockError::Io { source, .. }) => {
                source.kind() == io::ErrorKind::NotFound
            }
            Self::Lock(LockError::Timeout { .. }) => false,
        }
    }
}

/// Why suffixes could not be marked as changed.
#[derive(Debug, thiserror::Error)]
pub enum InvalidateError {
    /// The partition's lock could not be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// `hashes.invalid` could not be written.
    #[error("cannot append to {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The hashes of a partition's suffixes, hashing those that are not known (B6.9).
pub fn get_hashes(_dir: &PartitionDir, _request: &HashRequest, _pulse: &dyn Pulse) -> Result<Hashed, HashError> {
    todo!()
}

/// Marks suffixes as changed: they are hashed again before anyone trusts their hashes (B6.5). A partition that is gone
/// has nothing to mark (B6.22).
pub fn invalidate(_dir: &PartitionDir, _suffixes: &[Suffix]) -> Result<(), InvalidateError> {
    todo!()
}
