//! The lock files of a folder, shared with Swift's own processes (B6.7).
//!
//! `<partition>/.lock` guards `hashes.pkl` and `hashes.invalid`, and `<partition>/.lock-replication` the whole partition
//! while it moves home. The lock is a `flock` on the file, polled as the reference polls it. Nobody ever unlinks a lock
//! file but together with its partition, so what was locked is what others lock.
//!
//! The reference first creates the folder. Here a folder that is gone is an error: to create it would bring back a
//! partition that has just been moved home.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Someone else held it all the time. The text is the one that Swift logs.
    #[error("LockTimeout ({}s) {}", waited.as_secs_f64(), path.display())]
    Timeout {
        /// The lock file.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
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
pub struct PathLock {
    file: OwnedFd,
}

/// The shortest pause between two tries.
const PAUSE: Duration = Duration::from_millis(10);

impl PathLock {
    /// Takes `dir/.lock`, or `dir/.lock-<name>`, waiting at most `timeout`. Never creates `dir`.
    ///
    /// # Errors
    /// If someone else holds it for that long, or `dir` is not there, or the lock file cannot be used.
    pub fn acquire(dir: &Path, name: Option<&str>, timeout: Duration) -> Result<Self, LockError> {
        Self::acquire_at(rustix::fs::CWD, &dir.join(file_name(name)), dir, name, timeout)
    }

    /// The same in a folder that is open as `folder`; `dir` is its name for error messages.
    pub(super) fn acquire_in(folder: impl AsFd, dir: &Path, timeout: Duration) -> Result<Self, LockError> {
        Self::acquire_at(folder, Path::new(&file_name(None)), dir, None, timeout)
    }

    fn acquire_at(
        folder: impl AsFd,
        file: &Path,
        dir: &Path,
        name: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, LockError> {
        let failed = |errno: Errno| LockError::Io { path: dir.join(file_name(name)), source: errno.into() };
        // Not to wait for a reader if there is a pipe in the file's place.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NONBLOCK;
        // The mode is the reference's, less the umask.
        let file = rustix::fs::openat(folder, file, flags, Mode::from_raw_mode(0o777)).map_err(failed)?;
        if poll(&file, timeout).map_err(failed)? {
            return Ok(Self { file });
        }
        Err(LockError::Timeout { path: dir.join(file_name(name)), waited: timeout })
    }
}

impl Drop for PathLock {
    /// Closing would not do: a child that was just forked holds a copy of the descriptor until it becomes rsync.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

fn file_name(name: Option<&str>) -> String {
    name.map_or_else(|| ".lock".to_owned(), |name| format!(".lock-{name}"))
}

/// Tries to lock until it succeeds; false if it did not in time. After the first hundredth of the time the pauses are as
/// long as that hundredth.
fn poll(file: &OwnedFd, timeout: Duration) -> Result<bool, Errno> {
    let started = Instant::now();
    let hundredth = timeout / 100;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let waited = started.elapsed();
        if waited >= timeout {
            return Ok(false);
        }
        let pause = if waited > hundredth { PAUSE.max(hundredth) } else { PAUSE };
        thread::sleep(pause.min(timeout - waited));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    #[test]
    fn a_lock_keeps_others_out_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let held = PathLock::acquire(dir.path(), None, SHORT).unwrap();
        let error = PathLock::acquire(dir.path(), None, SHORT).unwrap_err();
        assert_eq!(error.to_string(), format!("LockTimeout (0.05s) {}/.lock", dir.path().display()));
        PathLock::acquire(dir.path(), Some("replication"), SHORT).expect("another name is another lock");
        drop(held);
        PathLock::acquire(dir.path(), None, SHORT).expect("the first lock was given back");
    }

    #[test]
    fn the_lock_of_an_open_folder_is_the_same_lock() {
        let dir = tempfile::tempdir().unwrap();
        let folder = fs::File::open(dir.path()).unwrap();
        let _held = PathLock::acquire_in(&folder, dir.path(), SHORT).unwrap();
        let error = PathLock::acquire(dir.path(), None, SHORT).unwrap_err();
        assert!(matches!(error, LockError::Timeout { .. }), "{error}");
    }

    #[test]
    fn a_waiter_gets_the_lock_when_it_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let held = PathLock::acquire(dir.path(), None, SHORT).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| PathLock::acquire(dir.path(), None, Duration::from_secs(60)).map(drop));
            thread::sleep(SHORT);
            drop(held);
            waiter.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_missing_folder_is_an_error_and_stays_missing() {
        let root = tempfile::tempdir().unwrap();
        let gone = root.path().join("17");
        match PathLock::acquire(&gone, Some("replication"), SHORT).unwrap_err() {
            LockError::Io { path, source } => {
                assert_eq!(path, gone.join(".lock-replication"));
                assert_eq!(source.kind(), io::ErrorKind::NotFound);
            }
            other => panic!("{other}"),
        }
        assert!(!gone.exists());
    }

    #[test]
    fn the_lock_file_has_the_mode_that_swift_gives_it() {
        let dir = tempfile::tempdir().unwrap();
        drop(PathLock::acquire(dir.path(), None, SHORT).unwrap());
        // As created without a umask, less what the umask of this process takes away.
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        fs::create_dir(dir.path().join("as-umask-leaves-it")).unwrap();
        assert_eq!(mode(".lock"), mode("as-umask-leaves-it"));
    }
}
