//! The lock files of a folder, shared with Swift's own processes (B6.7).

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Someone else held it all the time. The text is the one that Swift logs.
    #[error("LockTimeout ({}s) {}", seconds.as_secs_f64(), path.display())]
    Timeout {
        /// The lock file.
        path: PathBuf,
        /// How long it was waited for.
        seconds: Duration,
    },
    /// The lock file could not be opened or locked; `NotFound` if its folder does not exist.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A held lock; dropping it gives it back.
#[derive(Debug)]
pub struct PathLock {}

impl PathLock {
    /// Takes `dir/.lock`, or `dir/.lock-<name>`, waiting at most `timeout`. Never creates `dir`.
    pub fn acquire(_dir: &Path, _name: Option<&str>, _timeout: Duration) -> Result<Self, LockError> {
        todo!()
    }
}
