//! Removing a hand-off partition after it was pushed: never more than what was seen before the push.
//!
//! A recursive delete would take the object that arrived a millisecond ago. So before the first push every regular file
//! is recorded with what identifies it ([`Inventory::record`]), and after success exactly those are unlinked, if they
//! are still what was recorded ([`Inventory::remove`]). Then the partition's own bookkeeping goes (hashes, locks,
//! temporary files), and folders are removed upwards with `rmdir`, which refuses where something arrived.
//!
//! Nodes whose rings differ may each take the other for the home of a partition that both have. What keeps them from
//! both removing it is the order of steps that every node of ours keeps (`claims`).
//!
//! What can go wrong between the steps, and what then holds:
//! - *A file arrives before it is recorded*: it is recorded and pushed, or rsync misses it and the check after the push
//!   says so; either way nothing is removed that was not there.
//! - *A file arrives after it was recorded*: it is not in the record, its folder is not empty, `rmdir` refuses, the
//!   partition is kept. The same name with another inode or change time counts as arrived.
//! - *The process dies half-way*: `hashes.pkl` went first, so no peer can be told hashes of suffixes that are gone
//!   (a partition without the file is listed and hashed anew).
//! - *An object server rehashes meanwhile* and writes a fresh `hashes.pkl`: where the partition is kept the caller
//!   invalidates the suffixes that were touched.
//! - *A client's PUT invalidates before it renames*: if that was before the first unlink, the partition is kept; else it
//!   waits for the lock, finds no partition, and its rename makes one anew, without `hashes.pkl`.
//!
//! Only regular files are pushed by rsync as it is called here, so anything else below a suffix (a symbolic link, a
//! socket) and whatever in the partition is neither a suffix nor bookkeeping is kept, and named.

mod claims;

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use self::claims::{Claims, Hold};
use crate::device::lock::LockError;
use crate::device::object_files::{FileIdentity, FileMark};
use crate::names::Suffix;

/// Folders nested deeper than this below a partition are not Swift's; the partition is left alone.
const MAX_DEPTH: usize = 8;

/// A step of recording or removing that failed; the partition stays as it is then.
#[derive(Debug, Error)]
pub enum RemovalError {
    #[error("cannot {doing} {}: {}", .path.display(), io::Error::from(*.errno))]
    Io { doing: &'static str, path: PathBuf, errno: Errno },
    #[error("{} lies deeper than any object of a partition", .path.display())]
    TooDeep { path: PathBuf },
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl RemovalError {
    fn at(doing: &'static str, path: &Path, errno: Errno) -> Self {
        Self::Io { doing, path: path.to_owned(), errno }
    }
}

/// What became of a partition.
#[derive(Debug, PartialEq, Eq)]
pub enum Removal {
    /// The partition is gone.
    Gone,
    /// Something is left in it: what arrived since it was recorded, and what is not Swift's.
    Kept { left: Vec<PathBuf> },
    /// Somebody changed it since it was recorded, or was told by another node that it has this partition, and so may be
    /// counted on to have it. What was not removed by then is left.
    Claimed,
}

/// What a record was restricted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restricted {
    /// Files that may go.
    pub files: usize,
    /// Whether nothing else was recorded.
    pub is_all: bool,
}

/// The files of a partition at one moment.
#[derive(Debug)]
pub struct Inventory {
    path: PathBuf,
    claims: Claims,
    suffixes: Vec<(Suffix, Folder)>,
    foreign: Vec<PathBuf>,
}

#[derive(Debug, Default)]
struct Folder {
    files: Vec<FileMark>,
    folders: Vec<(CString, Folder)>,
}

impl Inventory {
    /// Records every file of the partition. `None`: there is no such partition (any more).
    ///
    /// # Errors
    /// Anything but "not there" that keeps a file or a folder from being seen: what cannot be seen cannot be known to
    /// have been pushed.
    pub fn record(partition: &Path) -> Result<Option<Self>, RemovalError> {
        let root = match open_folder(CWD, partition) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(RemovalError::at("open", partition, errno)),
        };
        // Before the first look at what the partition holds.
        let claims = Claims::record(root.as_fd(), partition)?;
        let mut inventory = Self { path: partition.to_owned(), claims, suffixes: Vec::new(), foreign: Vec::new() };
        for entry in entries(root.as_fd(), partition)? {
            let path = partition.join(OsStr::from_bytes(entry.name.to_bytes()));
            match (Suffix::from_name(entry.name.to_bytes()), entry.kind) {
                (Some(suffix), FileType::Directory) => {
                    let mut recorder = Recorder { foreign: &mut inventory.foreign };
                    if let Some(folder) = recorder.folder(root.as_fd(), &entry.name, &path, 1)? {
                        inventory.suffixes.push((suffix, folder));
                    }
                }
                (_, FileType::RegularFile) if is_bookkeeping(entry.name.to_bytes()) => {}
                _ => inventory.foreign.push(path),
            }
        }
        Ok(Some(inventory))
    }

    /// The suffixes that were there, in the order of the folder.
    pub fn suffixes(&self) -> impl Iterator<Item = Suffix> {
        self.suffixes.iter().map(|(suffix, _)| *suffix)
    }

    /// Whether there was no suffix at all: then there is nothing to push.
    pub fn is_empty(&self) -> bool {
        self.suffixes.is_empty()
    }

    /// What is no part of a partition and so will be left where it is.
    pub fn foreign(&self) -> &[PathBuf] {
        &self.foreign
    }

    /// Leaves in the record only files for which `may_go` says yes: by the name of the object's folder, and what the file
    /// was. Says how many are left in it, and whether that is all of them.
    pub fn restrict(&mut self, may_go: impl Fn(&CStr, &FileMark) -> bool) -> Restricted {
        let mut restricted = Restricted { files: 0, is_all: self.foreign.is_empty() };
        for (_, suffix) in &mut self.suffixes {
            restricted.is_all &= suffix.files.is_empty();
            suffix.files.clear();
            for (name, object) in &mut suffix.folders {
                let before = object.files.len();
                object.files.retain(|file| may_go(name, file));
                restricted.is_all &= object.files.len() == before && object.folders.is_empty();
                object.folders.clear();
                restricted.files += object.files.len();
            }
        }
        restricted
    }

    /// What [`Inventory::remove`] would come to if nothing happened to the partition meanwhile.
    pub fn foretell(&self) -> Removal {
        let is_empty_folder = |path: &PathBuf| {
            path.parent() == Some(&self.path)
                && open_folder(CWD, path)
                    .is_ok_and(|folder| entries(folder.as_fd(), path).is_ok_and(|entries| entries.is_empty()))
        };
        let left: Vec<_> = self.foreign.iter().filter(|path| !is_empty_folder(path)).cloned().collect();
        if left.is_empty() { Removal::Gone } else { Removal::Kept { left } }
    }

    /// Unlinks what was recorded and is still the same, then the bookkeeping, then the folders that are empty.
    ///
    /// # Errors
    /// The first unlink or rmdir that failed for another reason than that somebody was faster or something arrived. The
    /// partition's lock could not be had.
    pub fn remove(self) -> Result<Removal, RemovalError> {
        self.remove_with_pauses(claims::HELD_AT_MOST, || std::thread::sleep(claims::PAUSE))
    }

    fn remove_with_pauses(mut self, held_at_most: Duration, pause: impl Fn()) -> Result<Removal, RemovalError> {
        let root = match open_folder(CWD, &self.path) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(Removal::Gone),
            Err(errno) => return Err(RemovalError::at("open", &self.path, errno)),
        };
        let root = root.as_fd();
        let mut hold = match Hold::take(root, &self.path) {
            Err(RemovalError::Lock(LockError::Io { source, .. })) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Removal::Gone);
            }
            hold => hold?,
        };
        if !hold.is_unclaimed(&self.claims)? {
            return Ok(Removal::Claimed);
        }
        unlink(root, c"hashes.pkl", &self.path)?;
        self.claims.forget_hashes();
        let mut left = Vec::new();
        for (suffix, folder) in &self.suffixes {
            if hold.lasts_for(held_at_most) {
                hold = hold.pause(&pause)?;
                if !hold.is_unclaimed(&self.claims)? {
                    return Ok(Removal::Claimed);
                }
            }
            let name = CString::new(suffix.as_str()).expect("a suffix holds no NUL");
            folder.remove(root, &name, &self.path.join(suffix.as_str()), &mut left)?;
        }
        self.remove_rest(root, left)
    }

    /// Removes what is no suffix, and the partition's folder, if nothing is left in the suffixes.
    fn remove_rest(&self, root: BorrowedFd<'_>, mut left: Vec<PathBuf>) -> Result<Removal, RemovalError> {
        self.remove_foreign_folders_if_empty(root)?;
        if left.is_empty() {
            remove_bookkeeping(root, &self.path)?;
            if remove_folder(CWD, &self.path)? {
                return Ok(Removal::Gone);
            }
            left = entries(root, &self.path)?
                .into_iter()
                .map(|entry| self.path.join(OsStr::from_bytes(entry.name.to_bytes())))
                .collect();
        }
        Ok(Removal::Kept { left })
    }

    fn remove_foreign_folders_if_empty(&self, root: BorrowedFd<'_>) -> Result<(), RemovalError> {
        for path in self.foreign.iter().filter(|path| path.parent() == Some(&self.path)) {
            let name = path.file_name().expect("an entry of the partition has a name");
            match rustix::fs::unlinkat(root, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(errno) => return Err(RemovalError::at("remove", path, errno)),
            }
        }
        Ok(())
    }
}

struct Recorder<'a> {
    foreign: &'a mut Vec<PathBuf>,
}

impl Recorder<'_> {
    fn folder(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
        depth: usize,
    ) -> Result<Option<Folder>, RemovalError> {
        if depth > MAX_DEPTH {
            return Err(RemovalError::TooDeep { path: path.to_owned() });
        }
        let opened = match open_folder(parent, name) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(RemovalError::at("open", path, errno)),
        };
        let mut folder = Folder::default();
        for entry in entries(opened.as_fd(), path)? {
            let entry_path = path.join(OsStr::from_bytes(entry.name.to_bytes()));
            match entry.kind {
                FileType::Directory => {
                    if let Some(inner) = self.folder(opened.as_fd(), &entry.name, &entry_path, depth + 1)? {
                        folder.folders.push((entry.name, inner));
                    }
                }
                FileType::RegularFile => {
                    if let Some(identity) = identity(opened.as_fd(), &entry.name, &entry_path)? {
                        folder.files.push((entry.name, identity));
                    }
                }
                _ => self.foreign.push(entry_path),
            }
        }
        Ok(Some(folder))
    }
}

impl Folder {
    /// Removes the folder's recorded files and then the folder; what stays is added to `left`.
    fn remove(
        &self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
        left: &mut Vec<PathBuf>,
    ) -> Result<(), RemovalError> {
        let opened = match open_folder(parent, name) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(RemovalError::at("open", path, errno)),
        };
        for (file, recorded) in &self.files {
            let file_path = path.join(OsStr::from_bytes(file.to_bytes()));
            match identity(opened.as_fd(), file, &file_path)? {
                Some(now) if now == *recorded => unlink(opened.as_fd(), file, path)?,
                _ => {}
            }
        }
        let left_before = left.len();
        for (inner, folder) in &self.folders {
            folder.remove(opened.as_fd(), inner, &path.join(OsStr::from_bytes(inner.to_bytes())), left)?;
        }
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                if left.len() == left_before {
                    left.push(path.to_owned());
                }
                Ok(())
            }
            Err(errno) => Err(RemovalError::at("remove", path, errno)),
        }
    }
}

struct Entry {
    name: CString,
    kind: FileType,
}

/// The entries of an open folder, without `.` and `..`; kinds are looked up where the file system does not tell.
fn entries(folder: BorrowedFd<'_>, path: &Path) -> Result<Vec<Entry>, RemovalError> {
    let listed = |errno| RemovalError::at("list", path, errno);
    let mut found = Vec::new();
    for entry in Dir::read_from(folder).map_err(listed)? {
        let entry = entry.map_err(listed)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(errno) => {
                    return Err(RemovalError::at("look at", &path.join(OsStr::from_bytes(name.to_bytes())), errno));
                }
            },
            kind => kind,
        };
        found.push(Entry { name: name.to_owned(), kind });
    }
    Ok(found)
}

fn identity(folder: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<Option<FileIdentity>, RemovalError> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileIdentity::from(&stat))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(RemovalError::at("look at", path, errno)),
    }
}

fn open_folder<P: rustix::path::Arg>(parent: BorrowedFd<'_>, name: P) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn unlink(folder: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<(), RemovalError> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(RemovalError::at("unlink", &path.join(OsStr::from_bytes(name.to_bytes())), errno)),
    }
}

/// Whether the folder is gone; false where it is not empty.
fn remove_folder(parent: BorrowedFd<'_>, path: &Path) -> Result<bool, RemovalError> {
    match rustix::fs::unlinkat(parent, path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(errno) => Err(RemovalError::at("remove", path, errno)),
    }
}

/// Unlinks hashes, temporary files and, last, the locks. Without suffixes none of them says anything about an object.
fn remove_bookkeeping(root: BorrowedFd<'_>, path: &Path) -> Result<(), RemovalError> {
    let (locks, others): (Vec<_>, Vec<_>) = entries(root, path)?
        .into_iter()
        .filter(|entry| entry.kind == FileType::RegularFile && is_bookkeeping(entry.name.to_bytes()))
        .partition(|entry| entry.name.to_bytes().starts_with(b".lock"));
    others.iter().chain(&locks).try_for_each(|entry| unlink(root, &entry.name, path))
}

/// The files that Swift keeps in a partition beside the suffixes (B6.1).
fn is_bookkeeping(name: &[u8]) -> bool {
    match name {
        b"hashes.pkl" | b"hashes.invalid" | b".lock" => true,
        _ if name.starts_with(b".lock-") => true,
        _ => name.starts_with(b"tmp") && name.ends_with(b".tmp"),
    }
}

#[cfg(test)]
mod tests;
