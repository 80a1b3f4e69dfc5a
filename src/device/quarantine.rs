//! Moving away what cannot be what its place says (B6.20, B6.21).
//!
//! A file where an object's directory should be, or a directory that the disk can no longer list, would make each
//! hashing of its suffix fail. It goes to `<device>/quarantined/<datadir>/`, and replication brings a good copy.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::device::hashes::{InvalidateError, invalidate};
use crate::device::layout::PartitionDir;
use crate::names::Suffix;

/// Why something stays where it is.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// Its suffix could not be marked as changed, without which the loss would go unnoticed.
    #[error("cannot quarantine {}: {source}", path.display())]
    Invalidate {
        /// What should have moved.
        path: PathBuf,
        /// Why not.
        source: InvalidateError,
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

/// Moves an entry of a suffix's folder, usually an object's directory, to quarantine; returns where it is now.
pub fn quarantine_entry(dir: &PartitionDir, suffix: Suffix, name: &OsStr) -> Result<PathBuf, QuarantineError> {
    move_away(dir, suffix, &dir.suffix_path(suffix).join(name), name)
}

/// Moves a whole suffix to quarantine; returns where it is now.
pub fn quarantine_suffix(dir: &PartitionDir, suffix: Suffix) -> Result<PathBuf, QuarantineError> {
    move_away(dir, suffix, &dir.suffix_path(suffix), OsStr::new(suffix.as_str()))
}

fn move_away(dir: &PartitionDir, suffix: Suffix, from: &Path, name: &OsStr) -> Result<PathBuf, QuarantineError> {
    // First this: a crash in between costs a hashing, and the other way round it would hide the loss.
    invalidate(dir, &[suffix]).map_err(|source| QuarantineError::Invalidate { path: from.to_owned(), source })?;
    let to = dir.quarantine_path().join(name);
    if !dir.writes().are_made() {
        return Ok(to);
    }
    rename_to_free_name(from, to.clone()).map_err(|source| QuarantineError::Move { path: from.to_owned(), to, source })
}

/// Renames, creating the parents. If the name is taken, random digits are added to it.
fn rename_to_free_name(from: &Path, to: PathBuf) -> io::Result<PathBuf> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    match rename_new(from, &to) {
        Err(Errno::EXIST | Errno::NOTEMPTY) => {
            let mut name = to.into_os_string();
            name.push(format!("-{:032x}", fastrand::u128(..)));
            let to = PathBuf::from(name);
            rename_new(from, &to)?;
            Ok(to)
        }
        renamed => Ok(renamed.map(|()| to)?),
    }
}

/// Renames without replacing anything, on file systems that can do that.
fn rename_new(from: &Path, to: &Path) -> Result<(), Errno> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::rename(from, to),
        renamed => renamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let to = quarantine_entry(&dir, suffix(), OsStr::new("stray")).unwrap();
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
            places.push(quarantine_entry(&dir, suffix(), OsStr::new("stray")).unwrap());
        }
        places.dedup();
        assert_eq!(places.len(), 3);
        assert!(places.iter().all(|place| place.exists()));
        let added = places[1].to_str().unwrap().rsplit_once("stray-").unwrap().1;
        assert!(added.len() == 32 && added.bytes().all(|c| c.is_ascii_hexdigit()), "{added}");
    }

    #[test]
    fn a_whole_suffix_can_go() {
        let root = tempfile::tempdir().unwrap();
        let dir = partition(root.path());
        let to = quarantine_suffix(&dir, suffix()).unwrap();
        assert_eq!(to, root.path().join("sd1/quarantined/objects-1/abc"));
        assert!(to.is_dir() && !dir.suffix_path(suffix()).exists());
    }
}
