//! Files that are replaced as a whole, since others may read them at any time: status, metrics, reports.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use tempfile::NamedTempFile;
use thiserror::Error;

use crate::regular::{self, Links};

/// How often a lock that others have is tried again.
const LOCK_POLL: Duration = Duration::from_millis(10);

/// A file that could not be written: one line.
#[derive(Debug, Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// Puts a whole new file in the place of the old one, readable for all: whoever reads it gets the one or the other.
///
/// # Errors
/// [`WriteError`] if no file can be made or written in the folder, or put in the place of the old one, which then is
/// still there.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), WriteError> {
    write_beside(path, content).map_err(|source| WriteError { path: path.to_owned(), source })
}

/// Locks a file that others replace too, as long as the value lives; `None` if there is none, or if they keep the lock for
/// so long. Whoever gets the lock looks whether what he holds is still the file of that name.
pub(crate) fn lock(path: &Path, patience: Duration) -> Option<File> {
    let deadline = Instant::now() + patience;
    loop {
        let file = regular::open(path, Links::Refused).ok()?;
        let is_locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        let (held, named) = (file.metadata().ok()?, fs::symlink_metadata(path).ok()?);
        if is_locked && (held.dev(), held.ino()) == (named.dev(), named.ino()) {
            return Some(file);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(LOCK_POLL);
    }
}

/// Makes sure that [`replace`] will be able to do its work, as far as that can be told before.
///
/// # Errors
/// [`WriteError`] if the path is a folder, or no file can be made in the folder around it.
pub(crate) fn check(path: &Path) -> Result<(), WriteError> {
    let checked = match path.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => beside(path).map(drop),
    };
    checked.map_err(|source| WriteError { path: path.to_owned(), source })
}

fn write_beside(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = beside(path)?;
    file.write_all(content)?;
    // By the descriptor: in a folder of others, the name may stand for another file by now.
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A new file in the same folder, which goes with the value, and which only we may write.
///
/// An error of it is the system's own: which name was tried is of no interest, and would make every error another one.
fn beside(path: &Path) -> io::Result<NamedTempFile<File>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Collectors of metrics read whatever ends as theirs does.
    let new = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    tempfile::Builder::new().prefix(".").suffix(".tmp").make_in(folder, new)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_new_file_takes_the_place_of_the_old_one_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for content in [&b"old"[..], b"new"] {
            replace(&path, content).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_is_replaced_and_what_it_led_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (other, path) = (folder.path().join("other"), folder.path().join("file"));
        fs::write(&other, "precious").unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o600)).unwrap();
        symlink(&other, &path).unwrap();
        replace(&path, b"new").unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read(&other).unwrap(), b"precious");
        assert_eq!(fs::metadata(&other).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_lock_is_of_the_file_that_is_there_now_and_nobody_waits_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let patience = Duration::from_millis(30);
        assert!(lock(&path, patience).is_none(), "there is no file");
        replace(&path, b"old").unwrap();
        let first = lock(&path, patience).unwrap();
        assert!(lock(&path, patience).is_none());
        thread::scope(|scope| {
            let second = scope.spawn(|| lock(&path, Duration::from_secs(60)));
            thread::sleep(patience);
            replace(&path, b"new").unwrap();
            drop(first);
            let second = second.join().unwrap().unwrap();
            assert_eq!(second.metadata().unwrap().ino(), fs::metadata(&path).unwrap().ino());
        });
    }

    #[test]
    fn the_same_misfortune_has_the_same_words() {
        let words = || replace(Path::new("/proc/file"), b"").unwrap_err().to_string();
        assert_eq!(words(), words());
        assert!(words().starts_with("cannot write /proc/file: ") && !words().contains(".tmp"), "{}", words());
    }

    #[test]
    fn a_path_that_cannot_be_written_is_one_line_with_its_name() {
        let path = Path::new("/no/such/folder/file");
        for error in [replace(path, b"").unwrap_err(), check(path).unwrap_err()] {
            let error = error.to_string();
            assert!(error.starts_with("cannot write /no/such/folder/file: No such file"), "{error}");
        }
    }

    #[test]
    fn a_check_leaves_nothing_and_refuses_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        check(&folder.path().join("file")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let error = check(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("is a directory"), "{error}");
    }
}
