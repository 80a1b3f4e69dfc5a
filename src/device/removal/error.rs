//! A step of recording or removing that failed.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::device::lock::LockError;

/// A step of recording or removing that failed; the partition stays as it is then.
#[derive(Debug, Error)]
pub(crate) enum RemovalError {
    /// A call of the system's failed.
    #[error("cannot {doing} {}: {}", .path.display(), io::Error::from(*.errno))]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        errno: Errno,
    },
    /// A folder lies deeper than any object of a partition.
    #[error("{} lies deeper than any object of a partition", .0.display())]
    TooDeep(PathBuf),
    /// A file is being changed faster than the file system counts time.
    #[error("{} is being changed right now", .0.display())]
    Unsettled(PathBuf),
    /// The partition's lock could not be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Several steps failed; this is the first.
    #[error("{first}; {more} more could not be removed")]
    Several {
        /// The first that failed.
        first: Box<Self>,
        /// How many failed after it.
        more: usize,
    },
}

impl RemovalError {
    pub(super) fn at(doing: &'static str, path: &Path, errno: Errno) -> Self {
        Self::Io { doing, path: path.to_owned(), errno }
    }
}
