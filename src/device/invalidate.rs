//! Marking suffixes as changed.

use std::io;
use std::path::PathBuf;

use crate::device::hash_store::{HashStore, ReplaceError};
use crate::device::layout::PartitionDir;
use crate::device::lock::LockError;
use crate::names::Suffix;

/// Why suffixes could not be marked as changed.
#[derive(Debug, thiserror::Error)]
pub enum InvalidateError {
    /// The partition's lock could not be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// `hashes.invalid` could not be written.
    #[error("cannot mark suffixes as changed in {}: {source}", path.display())]
    Write {
        /// The partition's folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Marks suffixes as changed: they are hashed again before anyone trusts their hashes (B6.5). A partition that is gone
/// has nothing to mark (B6.22).
///
/// # Errors
/// [`InvalidateError`] if the partition's lock cannot be taken within 10 s, or the names cannot be written.
pub fn invalidate(dir: &PartitionDir, suffixes: &[Suffix]) -> Result<(), InvalidateError> {
    let unwritten = |source| InvalidateError::Write { path: dir.path().to_owned(), source };
    let written = HashStore::open(dir).map_err(ReplaceError::Write).and_then(|store| store.invalidate(suffixes));
    match written {
        Err(ReplaceError::Write(source) | ReplaceError::Lock(LockError::Io { source, .. })) if is_gone(&source) => {
            Ok(())
        }
        Err(ReplaceError::Write(source)) => Err(unwritten(source)),
        Err(ReplaceError::Lock(error)) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

/// Whether what was to be opened is not there.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
