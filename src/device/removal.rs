//! Removing a hand-off partition after it was pushed: never more than what was seen before the push.
//!
//! A recursive delete would take the object that arrived a millisecond ago. So before the first push every regular file
//! is recorded with what identifies it ([`Inventory::record`]), and after success exactly those are unlinked, if they
//! are still what was recorded ([`Inventory::remove`]). Then the partition's own bookkeeping goes (hashes, locks,
//! temporary files), and folders are removed upwards with `rmdir`, which refuses where something arrived.
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
//! - *A client's PUT invalidates before it renames*: its `hashes.invalid` may go with the bookkeeping, then its rename
//!   makes the partition anew, without `hashes.pkl`.
//!
//! Only regular files are pushed by rsync as it is called here, so anything else below a suffix (a symbolic link, a
//! socket) and whatever in the partition is neither a suffix nor bookkeeping is kept, and named.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

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
        let mut inventory = Self { path: partition.to_owned(), suffixes: Vec::new(), foreign: Vec::new() };
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

    /// Unlinks what was recorded and is still the same, then the bookkeeping, then the folders that are empty.
    ///
    /// # Errors
    /// The first unlink or rmdir that failed for another reason than that somebody was faster or something arrived.
    pub fn remove(self) -> Result<Removal, RemovalError> {
        let root = match open_folder(CWD, &self.path) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(Removal::Gone),
            Err(errno) => return Err(RemovalError::at("open", &self.path, errno)),
        };
        let root = root.as_fd();
        unlink(root, c"hashes.pkl", &self.path)?;
        let mut left = Vec::new();
        for (suffix, folder) in &self.suffixes {
            let name = CString::new(suffix.as_str()).expect("a suffix holds no NUL");
            folder.remove(root, &name, &self.path.join(suffix.as_str()), &mut left)?;
        }
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
mod tests {
    use std::fs;

    use super::*;

    const HASH: &str = "00000000000000000000000000000abc";

    /// A partition with one object and the usual bookkeeping.
    fn partition() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let partition = folder.path().join("objects/7");
        fs::create_dir_all(partition.join("abc").join(HASH)).unwrap();
        fs::write(partition.join("abc").join(HASH).join("1400000000.00000.data"), "old").unwrap();
        for name in ["hashes.pkl", "hashes.invalid", ".lock", ".lock-replication", "tmpab12cd34.tmp"] {
            fs::write(partition.join(name), "").unwrap();
        }
        (folder, partition)
    }

    fn record(partition: &Path) -> Inventory {
        Inventory::record(partition).unwrap().expect("the partition is there")
    }

    #[test]
    fn a_partition_that_did_not_change_goes_with_its_bookkeeping() {
        let (_folder, partition) = partition();
        let inventory = record(&partition);
        assert_eq!(inventory.suffixes().map(|s| s.to_string()).collect::<Vec<_>>(), ["abc"]);
        assert_eq!(inventory.remove().unwrap(), Removal::Gone);
        assert!(!partition.exists());
        assert!(partition.parent().unwrap().exists(), "the datadir stays");
    }

    #[test]
    fn a_partition_that_is_not_there_has_no_inventory_and_one_that_vanished_is_gone() {
        let (_folder, partition) = partition();
        let inventory = record(&partition);
        fs::remove_dir_all(&partition).unwrap();
        assert_eq!(inventory.remove().unwrap(), Removal::Gone);
        assert!(Inventory::record(&partition).unwrap().is_none());
    }

    #[test]
    fn a_newer_file_of_the_same_object_survives() {
        let (_folder, partition) = partition();
        let inventory = record(&partition);
        let hash_dir = partition.join("abc").join(HASH);
        fs::write(hash_dir.join("1400000001.00000.data"), "new").unwrap();
        assert_eq!(inventory.remove().unwrap(), Removal::Kept { left: vec![hash_dir.clone()] });
        assert_eq!(fs::read_to_string(hash_dir.join("1400000001.00000.data")).unwrap(), "new");
        assert!(!hash_dir.join("1400000000.00000.data").exists(), "what was pushed is gone");
        assert!(!partition.join("hashes.pkl").exists(), "stale hashes must not outlive their suffixes");
        assert!(partition.join(".lock").exists());
    }

    #[test]
    fn another_object_and_another_suffix_survive() {
        for arrived in ["abc/ffffffffffffffffffffffffffffcabc/1.00000.data", "def/0/1.00000.ts"] {
            let (_folder, partition) = partition();
            let inventory = record(&partition);
            let arrived = partition.join(arrived);
            fs::create_dir_all(arrived.parent().unwrap()).unwrap();
            fs::write(&arrived, "new").unwrap();
            assert!(matches!(inventory.remove().unwrap(), Removal::Kept { .. }), "{}", arrived.display());
            assert_eq!(fs::read_to_string(&arrived).unwrap(), "new");
        }
    }

    #[test]
    fn a_file_that_took_a_recorded_name_survives() {
        let (_folder, partition) = partition();
        let inventory = record(&partition);
        let file = partition.join("abc").join(HASH).join("1400000000.00000.data");
        fs::write(partition.join("new"), "new").unwrap();
        fs::rename(partition.join("new"), &file).unwrap();
        assert!(matches!(inventory.remove().unwrap(), Removal::Kept { .. }));
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }

    #[test]
    fn a_file_that_was_written_to_survives() {
        let (_folder, partition) = partition();
        let inventory = record(&partition);
        let file = partition.join("abc").join(HASH).join("1400000000.00000.data");
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&file, "NEW").unwrap();
        assert!(matches!(inventory.remove().unwrap(), Removal::Kept { .. }));
        assert_eq!(fs::read_to_string(&file).unwrap(), "NEW");
    }

    #[test]
    fn what_rsync_does_not_push_is_kept_and_named() {
        let (folder, partition) = partition();
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("1.00000.data"), "linked").unwrap();
        let link = partition.join("abc/fffffffffffffffffffffffffffffabc");
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        let inventory = record(&partition);
        assert_eq!(inventory.foreign(), std::slice::from_ref(&link));
        assert!(matches!(inventory.remove().unwrap(), Removal::Kept { .. }));
        assert!(link.is_symlink());
        assert!(elsewhere.join("1.00000.data").exists());
    }

    #[test]
    fn folders_that_are_no_suffixes_are_kept_if_they_hold_something() {
        let (_folder, partition) = partition();
        fs::create_dir(partition.join("none")).unwrap();
        assert_eq!(record(&partition).remove().unwrap(), Removal::Gone, "an empty one holds nothing");

        fs::create_dir_all(partition.join("some")).unwrap();
        fs::write(partition.join("some/file"), "precious").unwrap();
        let inventory = record(&partition);
        assert_eq!(inventory.foreign(), [partition.join("some")]);
        assert!(inventory.is_empty());
        assert_eq!(inventory.remove().unwrap(), Removal::Kept { left: vec![partition.join("some")] });
        assert_eq!(fs::read_to_string(partition.join("some/file")).unwrap(), "precious");
    }

    #[test]
    fn a_plain_file_of_unknown_name_is_kept() {
        let (_folder, partition) = partition();
        fs::write(partition.join("notes"), "precious").unwrap();
        assert_eq!(record(&partition).remove().unwrap(), Removal::Kept { left: vec![partition.join("notes")] });
        assert!(!partition.join("abc").exists(), "what was recorded goes all the same");
    }

    #[test]
    fn a_restricted_record_removes_only_what_is_left_in_it() {
        let (_folder, partition) = partition();
        let other = partition.join("abc/fffffffffffffffffffffffffffffabc");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("1400000000.00000.data"), "unconfirmed").unwrap();
        let mut inventory = record(&partition);
        let restricted = inventory.restrict(|name, _| name.to_bytes() == HASH.as_bytes());
        assert_eq!(restricted, Restricted { files: 1, is_all: false });
        assert!(matches!(inventory.remove().unwrap(), Removal::Kept { .. }));
        assert!(!partition.join("abc").join(HASH).exists());
        assert_eq!(fs::read_to_string(other.join("1400000000.00000.data")).unwrap(), "unconfirmed");

        let mut inventory = record(&partition);
        assert_eq!(inventory.restrict(|_, _| true), Restricted { files: 1, is_all: true });
        assert_eq!(inventory.remove().unwrap(), Removal::Gone);
    }

    #[test]
    fn a_partition_that_is_a_symbolic_link_is_refused() {
        let (folder, partition) = partition();
        let link = folder.path().join("objects/8");
        std::os::unix::fs::symlink(&partition, &link).unwrap();
        let refused = Inventory::record(&link).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("cannot open {}", link.display())), "{refused}");
        assert!(partition.join("abc").exists());
    }

    #[test]
    fn a_tree_deeper_than_objects_are_is_left_alone() {
        let (_folder, partition) = partition();
        let deep = partition.join("abc").join(["d"; 10].join("/"));
        fs::create_dir_all(&deep).unwrap();
        assert!(matches!(Inventory::record(&partition), Err(RemovalError::TooDeep { .. })));
        assert!(deep.exists());
    }
}
