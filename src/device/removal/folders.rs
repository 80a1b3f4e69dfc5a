//! Folders and files of a partition as recording and removing look at them: by name in an open folder, never through a
//! symbolic link.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::error::RemovalError;
#[cfg(test)]
use crate::device::listing::faults;
use crate::device::object_files::FileIdentity;

/// An entry of a folder.
pub(super) struct Entry {
    pub(super) name: CString,
    /// What it is, or why that cannot be told.
    pub(super) kind: Result<FileType, Errno>,
}

/// The entries of an open folder, without `.` and `..`; kinds are looked up where the file system does not tell.
pub(super) fn entries(folder: impl AsFd, path: &Path) -> Result<Vec<Entry>, RemovalError> {
    let listed = |errno| RemovalError::at("list", path, errno);
    let folder = folder.as_fd();
    let mut found = Vec::new();
    for entry in Dir::read_from(folder).map_err(listed)? {
        let entry = entry.map_err(listed)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                looked => looked.map(|stat| FileType::from_raw_mode(stat.st_mode)),
            },
            kind => Ok(kind),
        };
        found.push(Entry { name: name.to_owned(), kind });
    }
    Ok(found)
}

/// What identifies a file; `None` if it is not there.
pub(super) fn identity(
    folder: impl AsFd,
    name: impl rustix::path::Arg,
    path: &Path,
) -> Result<Option<FileIdentity>, RemovalError> {
    #[cfg(test)]
    faults::strike(&name).map_err(|errno| RemovalError::at("look at", path, errno))?;
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileIdentity::from(&stat))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(RemovalError::at("look at", path, errno)),
    }
}

/// Unlinks a file, or does nothing if it is gone.
pub(super) fn unlink(folder: impl AsFd, name: &CStr, path: &Path) -> Result<(), RemovalError> {
    let failed = |errno| RemovalError::at("unlink", &path.join(os(name)), errno);
    #[cfg(test)]
    faults::strike(&format!("unlink {}", name.to_string_lossy())).map_err(failed)?;
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}

/// Whether the folder is gone; false where it is not empty.
pub(super) fn remove_folder(
    parent: impl AsFd,
    name: impl rustix::path::Arg,
    path: &Path,
) -> Result<bool, RemovalError> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(errno) => Err(RemovalError::at("remove", path, errno)),
    }
}

/// The files that Swift keeps in a partition beside the suffixes (B6.1).
pub(super) fn is_bookkeeping(name: &[u8]) -> bool {
    match name {
        b"hashes.pkl" | b"hashes.invalid" | b".lock" => true,
        _ if name.starts_with(b".lock-") => true,
        _ => name.starts_with(b"tmp") && name.ends_with(b".tmp"),
    }
}

/// Unlinks temporary files, hashes and, last, the locks. Without suffixes none of them says anything about an object.
///
/// `hashes.pkl` goes after `hashes.invalid`: as long as it is there, no server writes hashes that it began to look for
/// before.
pub(super) fn remove_bookkeeping(root: impl AsFd, path: &Path) -> Result<(), RemovalError> {
    let root = root.as_fd();
    let mut files = bookkeeping(root, path)?;
    files.sort_by_key(|name| match name.to_bytes() {
        b".lock" => 4,
        b"hashes.pkl" => 2,
        b"hashes.invalid" => 1,
        name if name.starts_with(b".lock") => 3,
        _ => 0,
    });
    files.iter().try_for_each(|name| unlink(root, name, path))
}

/// Unlinks what there is of temporary files, which are nobody's while the lock is held, and `hashes.pkl`.
pub(super) fn make_room(root: impl AsFd, path: &Path) -> Result<(), RemovalError> {
    let root = root.as_fd();
    let files = bookkeeping(root, path)?;
    let mut spare = files.iter().filter(|name| !matches!(name.to_bytes()[0], b'.') && &***name != c"hashes.invalid");
    spare.try_for_each(|name| unlink(root, name, path))
}

fn bookkeeping(root: impl AsFd, path: &Path) -> Result<Vec<CString>, RemovalError> {
    let is_ours = |entry: &Entry| entry.kind == Ok(FileType::RegularFile) && is_bookkeeping(entry.name.to_bytes());
    Ok(entries(root, path)?.into_iter().filter(is_ours).map(|entry| entry.name).collect())
}

pub(super) fn os(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}
