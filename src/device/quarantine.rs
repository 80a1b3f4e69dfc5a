//! Moving away what cannot be what its place says (B6.20, B6.21).
//!
//! A file where an object's directory should be, or a directory that the disk can no longer list, would make each
//! hashing of its suffix fail. It goes to `<device>/quarantined/<datadir>/`, and replication brings a good copy.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::device::invalidate::{InvalidateError, invalidate};
use crate::device::layout::PartitionDir;
use crate::names::Suffix;

/// Why something stays where it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QuarantineError {
    /// Its suffix could not be marked as changed, without which the loss would go unnoticed.
    #[error("cannot quarantine {}: {source}", path.display())]
    Invalidate {
        /// What should have moved.
        path: PathBuf,
        /// Why not.
        source: InvalidateError,
    },
    /// There is no folder for it, or a link in the place of one, which is not followed.
    #[error("cannot quarantine {} to {}: {source}", path.display(), to.display())]
    Folder {
        /// What should have moved.
        path: PathBuf,
        /// Where to.
        to: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be moved.
    #[error("cannot quarantine {} to {}: {source}", path.display(), to.display())]
    Move {
        /// What should have moved.
        path: PathBuf,
        /// Where to.
        to: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl QuarantineError {
    /// Whether the disk itself does not let go of what was to be moved.
    fn is_bad_disk(&self) -> bool {
        let Self::Move { source, .. } = self else { return false };
        let bad = [Errno::IO, Errno::UCLEAN, Errno::NODATA, Errno::BADMSG, Errno::REMOTEIO];
        Errno::from_io_error(source).is_some_and(|errno| bad.contains(&errno))
    }
}

/// What was moved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Quarantined {
    /// Where it was.
    pub from: PathBuf,
    /// Where it is now.
    pub to: PathBuf,
}

/// What is wrong with an entry of a suffix's folder that has to be an object's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    NotADirectory,
    /// The disk cannot list it any more.
    Unlistable,
}

impl Damage {
    /// What the error says that came of listing the entry; `None` where it says nothing of the entry itself, which then
    /// has to stay.
    pub(crate) fn of(errno: Errno) -> Option<Self> {
        match errno {
            Errno::NOTDIR => Some(Self::NotADirectory),
            Errno::NODATA | Errno::UCLEAN => Some(Self::Unlistable),
            _ => None,
        }
    }

    /// Moves the entry to quarantine.
    ///
    /// # Errors
    /// [`QuarantineError`] if it could not be moved; it is then still where it was.
    pub(crate) fn quarantine(
        self,
        dir: &PartitionDir,
        suffix: Suffix,
        name: &OsStr,
    ) -> Result<Quarantined, QuarantineError> {
        match self {
            Self::NotADirectory => quarantine_entry(dir, suffix, name),
            Self::Unlistable => quarantine_unlistable(dir, suffix, name),
        }
    }
}

/// Moves an entry of a suffix's folder, usually an object's directory, to quarantine.
///
/// # Errors
/// [`QuarantineError`] if it could not be moved; it is then still where it was.
pub(crate) fn quarantine_entry(
    dir: &PartitionDir,
    suffix: Suffix,
    name: &OsStr,
) -> Result<Quarantined, QuarantineError> {
    move_away(dir, suffix, dir.suffix_path(suffix).join(name), name)
}

/// Moves an object's directory to quarantine that the disk cannot list any more. Bad sectors can make even the move
/// impossible; then, and only then, the whole suffix goes, with the healthy objects that are in it.
///
/// # Errors
/// [`QuarantineError`] if neither could be moved. The suffix is left alone where moving the directory failed for
/// another reason than a bad disk: a busy lock, no room, or no quarantine folder.
fn quarantine_unlistable(dir: &PartitionDir, suffix: Suffix, name: &OsStr) -> Result<Quarantined, QuarantineError> {
    match quarantine_entry(dir, suffix, name) {
        Err(error) if error.is_bad_disk() => {
            move_away(dir, suffix, dir.suffix_path(suffix), OsStr::new(suffix.as_str())).map_err(|_| error)
        }
        moved => moved,
    }
}

fn move_away(dir: &PartitionDir, suffix: Suffix, from: PathBuf, name: &OsStr) -> Result<Quarantined, QuarantineError> {
    // First this: a crash in between costs a hashing, and the other way round it would hide the loss.
    if let Err(source) = invalidate(dir, &[suffix]) {
        return Err(QuarantineError::Invalidate { path: from, source });
    }
    let to = dir.quarantine_path().join(name);
    if !dir.writes().are_made() {
        return Ok(Quarantined { from, to });
    }
    let folder = match quarantine_folder(dir) {
        Ok(folder) => folder,
        Err(errno) => return Err(QuarantineError::Folder { path: from, to, source: errno.into() }),
    };
    match rename_to_free_name(&from, &folder, &to) {
        Ok(to) => Ok(Quarantined { from, to }),
        Err(errno) => Err(QuarantineError::Move { path: from, to, source: errno.into() }),
    }
}

/// Opens the folder where things of the partition's policy go. No link in its place is followed: what is moved has to
/// stay on the device, and nobody asked for files to be put where a link leads.
fn quarantine_folder(dir: &PartitionDir) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let device = rustix::fs::open(dir.device_path(), flags, Mode::empty())?;
    let folder = |parent: OwnedFd, name: &str| {
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        rustix::fs::openat(&parent, name, flags | OFlags::NOFOLLOW, Mode::empty())
    };
    folder(folder(device, "quarantined")?, &dir.policy().datadir())
}

/// Renames into the folder. If the name is taken, random digits are added to it.
fn rename_to_free_name(from: &Path, folder: &OwnedFd, to: &Path) -> Result<PathBuf, Errno> {
    match rename_new(from, folder, to) {
        Err(Errno::EXIST | Errno::NOTEMPTY) => {
            let mut name = to.as_os_str().to_owned();
            name.push(format!("-{:032x}", fastrand::u128(..)));
            let to = PathBuf::from(name);
            rename_new(from, folder, &to).map(|()| to)
        }
        renamed => renamed.map(|()| to.to_owned()),
    }
}

/// Renames without replacing anything, on file systems that can do that.
fn rename_new(from: &Path, folder: impl AsFd, to: &Path) -> Result<(), Errno> {
    let name = to.file_name().ok_or(Errno::INVAL)?;
    #[cfg(test)]
    super::listing::faults::strike(&format!("rename {}", name.display()))?;
    match rustix::fs::renameat_with(CWD, from, &folder, name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::renameat(CWD, from, &folder, name),
        renamed => renamed,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::device::listing::faults;
    use crate::names::{Partition, PolicyIndex};

    fn suffix() -> Suffix {
        Suffix::from_name(b"abc").unwrap()
    }

    fn partition(devices: &Path) -> PartitionDir {
        let dir = PartitionDir::new(devices, "sd1", PolicyIndex::new(1), Partition::new(7));
        fs::create_dir_all(dir.suffix_path(suffix())).unwrap();
        dir
    }

    #[test]
    fn what_is_moved_is_marked_as_changed_and_kept() {
        let root = tempfile::tempdir().unwrap();
        let dir = partition(root.path());
        fs::write(dir.suffix_path(suffix()).join("stray"), "precious").unwrap();
        let to = quarantine_entry(&dir, suffix(), OsStr::new("stray")).unwrap().to;
        assert_eq!(to, root.path().join("sd1/quarantined/objects-1/stray"));
        assert_eq!(fs::read_to_string(to).unwrap(), "precious");
        assert_eq!(fs::read_to_string(dir.path().join("hashes.invalid")).unwrap(), "abc\n");
        assert!(!dir.suffix_path(suffix()).join("stray").exists());
    }

    #[test]
    fn nothing_in_quarantine_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let dir = partition(root.path());
        let mut places = Vec::new();
        for _ in 0..3 {
            fs::write(dir.suffix_path(suffix()).join("stray"), "precious").unwrap();
            places.push(quarantine_entry(&dir, suffix(), OsStr::new("stray")).unwrap().to);
        }
        places.dedup();
        assert_eq!(places.len(), 3);
        assert!(places.iter().all(|place| place.exists()));
        let added = places[1].to_str().unwrap().rsplit_once("stray-").unwrap().1;
        assert!(added.len() == 32 && added.bytes().all(|c| c.is_ascii_hexdigit()), "{added}");
    }

    const BAD: &str = "00000000000000000000000000000abc";

    fn with_an_object(devices: &Path) -> PartitionDir {
        let dir = partition(devices);
        fs::create_dir(dir.suffix_path(suffix()).join(BAD)).unwrap();
        dir
    }

    #[test]
    fn what_cannot_be_listed_goes_alone_if_it_can() {
        let root = tempfile::tempdir().unwrap();
        let dir = with_an_object(root.path());
        let from = dir.suffix_path(suffix()).join(BAD);
        let to = root.path().join("sd1/quarantined/objects-1").join(BAD);
        assert_eq!(quarantine_unlistable(&dir, suffix(), OsStr::new(BAD)).unwrap(), Quarantined { from, to });
        assert!(dir.suffix_path(suffix()).exists());
    }

    #[test]
    fn the_whole_suffix_goes_where_the_disk_does_not_let_go_of_the_object() {
        for errno in [Errno::IO, Errno::UCLEAN, Errno::NODATA, Errno::BADMSG] {
            let root = tempfile::tempdir().unwrap();
            let dir = with_an_object(root.path());
            let moved = faults::with(&format!("rename {BAD}"), errno, || {
                quarantine_unlistable(&dir, suffix(), OsStr::new(BAD)).unwrap()
            });
            let to = root.path().join("sd1/quarantined/objects-1/abc");
            assert_eq!(moved, Quarantined { from: dir.suffix_path(suffix()), to: to.clone() });
            assert!(to.join(BAD).is_dir() && !dir.suffix_path(suffix()).exists());
        }
    }

    #[test]
    fn healthy_objects_stay_whatever_else_is_wrong() {
        let stays = |prepare: &dyn Fn(&PartitionDir), fault: Option<Errno>| {
            let root = tempfile::tempdir().unwrap();
            let dir = with_an_object(root.path());
            prepare(&dir);
            let quarantine = || quarantine_unlistable(&dir, suffix(), OsStr::new(BAD)).unwrap_err();
            let error = match fault {
                Some(errno) => faults::with(&format!("rename {BAD}"), errno, quarantine),
                None => quarantine(),
            };
            assert!(error.to_string().contains(BAD), "it names the object: {error}");
            assert!(dir.suffix_path(suffix()).join(BAD).exists(), "{error}");
        };
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::ACCESS, Errno::PERM, Errno::XDEV, Errno::NOENT] {
            stays(&|_| {}, Some(errno));
        }
        stays(&|dir| fs::write(dir.device_path().join("quarantined"), "").unwrap(), None);
        stays(&|dir| fs::create_dir(dir.path().join("hashes.invalid")).unwrap(), None);
        stays(&|dir| fs::create_dir(dir.path().join(".lock")).unwrap(), None);
    }

    #[test]
    fn nothing_is_moved_through_a_link() {
        for link in ["quarantined", "quarantined/objects-1"] {
            let root = tempfile::tempdir().unwrap();
            let dir = with_an_object(root.path());
            let elsewhere = root.path().join("elsewhere");
            fs::create_dir(&elsewhere).unwrap();
            let link = dir.device_path().join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(&elsewhere, &link).unwrap();
            let error = quarantine_unlistable(&dir, suffix(), OsStr::new(BAD)).unwrap_err();
            assert!(matches!(error, QuarantineError::Folder { .. }), "{error}");
            assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
            assert!(dir.suffix_path(suffix()).join(BAD).exists());
        }
    }
}
