//! The lock files of a folder, shared with Swift's own processes (B6.7).
//!
//! `<partition>/.lock` guards `hashes.pkl` and `hashes.invalid`, and `<partition>/.lock-replication` the whole partition
//! while it moves home. The lock is a `flock` on the file, polled as the reference polls it. Nobody ever unlinks a lock
//! file but together with its partition, so what was locked is what others lock.
//!
//! A disk that is full, or out of inodes, has no room for a new lock file. Then there is no lock: nobody else could
//! make the file either, but room may come at any time, and two that both believe to be alone are worse than one that
//! waits. So [`LockError::is_no_room`] tells this from other errors, and what only copies may go on without; what
//! removes may not. Whatever a server of Swift's has touched has its `.lock` already, and with the first partition that
//! goes there are inodes for the others.
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

/// Why a lock could not be taken.
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

impl LockError {
    /// Whether the folder is not there, or no longer.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether there is no lock file and none can be made, since the disk is full, has no inode left, is over its quota,
    /// or can only be read. A lock file that is there is used on such a disk too.
    pub fn is_no_room(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        source.raw_os_error().is_some_and(|error| is_no_room(Errno::from_raw_os_error(error)))
    }
}

fn is_no_room(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::ROFS)
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
        let file = open(&folder, file).map_err(failed)?;
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

/// Opens the lock file, which is made if it can be. One that is there is enough, even if nothing can be written.
///
/// A link in its place is not followed: it would have a file made, or locked, that others take for something else. And
/// if there is a pipe in its place, no reader is waited for.
fn open(folder: impl AsFd, file: &Path) -> Result<OwnedFd, Errno> {
    #[cfg(test)]
    super::listing::faults::strike(&file)?;
    let flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    // The mode is the reference's, less the umask.
    match rustix::fs::openat(&folder, file, OFlags::WRONLY | OFlags::CREATE | flags, Mode::from_raw_mode(0o777)) {
        Err(errno) if is_no_room(errno) => {
            rustix::fs::openat(&folder, file, OFlags::RDONLY | flags, Mode::empty()).map_err(|_| errno)
        }
        opened => opened,
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
    use crate::device::fixture::{on_a_small_disk, remount_read_only};

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
    fn a_link_in_the_place_of_a_lock_is_not_followed() {
        for leads_somewhere in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let lure = dir.path().join("lure");
            if leads_somewhere {
                fs::write(&lure, "precious").unwrap();
            }
            for (name, file) in [(None, ".lock"), (Some("replication"), ".lock-replication")] {
                std::os::unix::fs::symlink(&lure, dir.path().join(file)).unwrap();
                let error = PathLock::acquire(dir.path(), name, SHORT).unwrap_err();
                assert!(!error.is_no_room() && error.to_string().contains(file), "{error}");
            }
            assert_eq!(lure.exists(), leads_somewhere);
        }
    }

    #[test]
    fn a_pipe_in_the_place_of_a_lock_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(PathLock::acquire(dir.path(), None, SHORT), Err(LockError::Io { .. })));
    }

    /// A file system of 4 pages that holds as many files.
    #[test]
    fn a_full_disk_has_no_room_for_a_lock_but_keeps_the_ones_it_has() {
        on_a_small_disk("device::lock::tests::a_full_disk_has_no_room_for_a_lock_but_keeps_the_ones_it_has", |disk| {
            drop(PathLock::acquire(disk, None, SHORT).unwrap());
            for number in 0..1000 {
                if fs::write(disk.join(number.to_string()), "").is_err() {
                    break;
                }
            }
            let error = PathLock::acquire(disk, Some("replication"), SHORT).unwrap_err();
            assert!(error.is_no_room(), "{error}");
            PathLock::acquire(disk, None, SHORT).expect("the file is there");
            remount_read_only(disk);
            PathLock::acquire(disk, None, SHORT).expect("the file is there");
            assert!(PathLock::acquire(disk, Some("replication"), SHORT).unwrap_err().is_no_room());
        });
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
