//! Unlinking what was recorded, object by object.
//!
//! **In each folder the data go first, then the metadata, then the tombstones**, and each only if all before it is gone.
//! Whatever stops the removal in between, what is left of the object says no less than it did: a tombstone outlives the
//! data that it ended, which would else be pushed back to where nobody remembers the deletion. So
//! - a file that cannot be unlinked, or is not what was recorded, keeps all that come after it;
//! - data or a tombstone in the folder that are not in the record keep the metadata and tombstones that are;
//! - metadata that are not in the record keep the folder as it is: they say something of the data that are there, and
//!   without these they could not be sent.
//!
//! No object is any other's business, so the other folders are gone through all the same; but where one unlink after the
//! other fails, the disk is beyond that, and the rest is left alone.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;

use super::claims::OtherWriters;
use super::error::RemovalError;
use super::folders::{entries, identity, is_bookkeeping, os, remove_bookkeeping, remove_folder, unlink};
use super::hold::RemovalLock;
use super::inventory::{Folder, Inventory};
use crate::device::listing::open_real_folder;
use crate::device::listing::{Buffer, Names};
use crate::device::object_files::FileMark;
use crate::device::ondisk::{ObjectFile, is_metadata, is_rsync_tempfile, is_tombstone};
use crate::names::Suffix;

/// After so many failures nothing more is tried.
const FAILURES: usize = 10;

/// What became of a partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The partition is gone.
    Gone,
    /// Something is left in it.
    Kept {
        /// What keeps it: entries that arrived since it was recorded, that were not to go, or that are not Swift's.
        left: Vec<PathBuf>,
        /// Whether that is nothing but what was foreign when the partition was recorded: all objects are gone.
        only_foreign: bool,
    },
    /// Somebody changed it since it was recorded, or was told by another node that it has this partition, and so may be
    /// counted on to have it. What was not removed by then is left.
    Claimed,
}

/// Why a removal ends early.
pub(super) enum Stop {
    Claimed,
    Failed(RemovalError),
}

impl From<RemovalError> for Stop {
    fn from(error: RemovalError) -> Self {
        Self::Failed(error)
    }
}

/// What is in a folder beside what was recorded, in the order of how much it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Beside {
    /// Nothing of an object.
    Nothing,
    /// Something of one, or what is about to become that.
    Object,
    /// Metadata.
    Metadata,
}

/// Removes a partition, with its lock held.
pub(super) struct Remover<'a> {
    root: &'a OwnedFd,
    record: &'a Inventory,
    hold: RemovalLock<'a>,
    claims: OtherWriters,
    pause: &'a dyn Fn(),
    foreign: HashSet<&'a Path>,
    left: Vec<PathBuf>,
    only_foreign: bool,
    failures: Vec<RemovalError>,
    names: Names,
    buffer: Buffer,
}

impl<'a> Remover<'a> {
    pub(super) fn new(
        root: &'a OwnedFd,
        record: &'a Inventory,
        hold: RemovalLock<'a>,
        claims: OtherWriters,
        pause: &'a dyn Fn(),
    ) -> Self {
        let foreign = record.foreign.iter().map(PathBuf::as_path).collect();
        let (left, failures, names, buffer) = (Vec::new(), Vec::new(), Names::default(), Buffer::new());
        Self { root, record, hold, claims, pause, foreign, left, only_foreign: true, failures, names, buffer }
    }

    /// Removes the suffixes, what else can go, and the partition's folder, if nothing is left in it.
    pub(super) fn remove_all(&mut self) -> Result<Removal, Stop> {
        let suffixes: Vec<_> = self.record.suffixes.iter().map(|(suffix, folder)| (name_of(*suffix), folder)).collect();
        let folders = suffixes.iter().map(|(name, folder)| (&**name, *folder));
        let noted = self.folders(self.root.as_fd(), &self.record.path, folders)?;
        self.remove_foreign_folders_if_empty();
        self.note_left(self.root.as_fd(), &self.record.path, &noted)?;
        if self.left.is_empty() && self.failures.is_empty() {
            remove_bookkeeping(self.root, &self.record.path)?;
            if remove_folder(CWD, &self.record.path, &self.record.path)? {
                return Ok(Removal::Gone);
            }
            self.stay()?;
        }
        self.outcome()
    }

    /// Something arrived when even the locks were gone already: makes the partition one again of which nothing is known.
    fn stay(&mut self) -> Result<(), Stop> {
        self.hold.take_again()?;
        self.claims = OtherWriters::record(self.root, &self.record.path)?;
        self.claims.bar(self.root, &self.record.path, &self.record.names())?;
        self.only_foreign = false;
        self.note_left(self.root.as_fd(), &self.record.path, &HashSet::new())
    }

    fn outcome(&mut self) -> Result<Removal, Stop> {
        let mut failures = std::mem::take(&mut self.failures).into_iter();
        match (failures.next(), failures.len()) {
            (None, _) => Ok(Removal::Kept { left: std::mem::take(&mut self.left), only_foreign: self.only_foreign }),
            (Some(only), 0) => Err(only.into()),
            (Some(first), more) => Err(RemovalError::Several { first: Box::new(first), more }.into()),
        }
    }

    /// Removes the folder's recorded files and then the folder; takes note of what stays.
    fn folder(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &Path, folder: &Folder) -> Result<(), Stop> {
        self.give_way()?;
        let opened = match open_real_folder(parent, name) {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(()),
            // Something else has its place, or had it all the time: a link to a suffix.
            Err(Errno::NOTDIR) => {
                self.leave(path.to_owned());
                return Ok(());
            }
            Err(errno) => return self.failed(RemovalError::at("open", path, errno)),
        };
        self.files(&opened, path, folder)?;
        let folders = folder.folders.iter().map(|(name, folder)| (&**name, folder));
        let noted = self.folders(opened.as_fd(), path, folders)?;
        match remove_folder(parent, name, path) {
            Ok(true) => Ok(()),
            Ok(false) => self.note_left(opened.as_fd(), path, &noted),
            Err(error) => self.failed(error),
        }
    }

    /// Removes folders of an open one; says which of them have something in them that stays, and was noted.
    fn folders<'f>(
        &mut self,
        parent: BorrowedFd<'_>,
        path: &Path,
        folders: impl Iterator<Item = (&'f CStr, &'f Folder)>,
    ) -> Result<HashSet<&'f CStr>, Stop> {
        let mut noted = HashSet::new();
        for (name, folder) in folders {
            let before = self.left.len();
            self.folder(parent, name, &path.join(os(name)), folder)?;
            if self.left.len() > before {
                noted.insert(name);
            }
        }
        Ok(noted)
    }

    /// Removes the recorded files of a folder, as far as the order at the head of this file allows.
    fn files(&mut self, opened: &OwnedFd, path: &Path, folder: &Folder) -> Result<(), Stop> {
        if folder.files.is_empty() {
            return Ok(());
        }
        let beside = match self.beside(opened, &folder.files) {
            Ok(beside) => beside,
            Err(errno) => return self.failed(RemovalError::at("list", path, errno)),
        };
        if beside == Beside::Metadata {
            return Ok(());
        }
        let mut files: Vec<_> = folder.files.iter().collect();
        files.sort_by_key(|(name, _)| (rank(name), ObjectFile::parse(name).map(|file| file.timestamp)));
        for (name, recorded) in files {
            if rank(name) > 0 && beside != Beside::Nothing {
                break;
            }
            self.give_way()?;
            let unlinked = match identity(opened, name, &path.join(os(name))) {
                Ok(None) => continue,
                Ok(Some(now)) if now != *recorded => break,
                Ok(Some(_)) => unlink(opened, name, path),
                Err(error) => Err(error),
            };
            if let Err(error) = unlinked {
                return self.failed(error);
            }
        }
        Ok(())
    }

    /// What there is in a folder that was just opened beside its recorded files.
    fn beside(&mut self, opened: &OwnedFd, recorded: &[FileMark]) -> Result<Beside, Errno> {
        self.names.list(opened, &mut self.buffer)?;
        let others = self.names.iter().filter(|name| !recorded.iter().any(|(recorded, _)| **recorded == **name));
        Ok(others.map(Beside::of).max().unwrap_or(Beside::Nothing))
    }

    fn give_way(&mut self) -> Result<(), Stop> {
        if self.hold.give_way(self.pause)? && !self.hold.is_unclaimed(&self.claims)? {
            return Err(Stop::Claimed);
        }
        Ok(())
    }

    /// Takes note of a failure; goes on unless there have been too many.
    fn failed(&mut self, error: RemovalError) -> Result<(), Stop> {
        self.failures.push(error);
        if self.failures.len() < FAILURES { Ok(()) } else { self.outcome().map(drop) }
    }

    fn leave(&mut self, path: PathBuf) {
        self.only_foreign &= self.foreign.contains(&*path);
        self.left.push(path);
    }

    /// Takes note of what is left in a folder, but for what was noted already.
    fn note_left(&mut self, opened: BorrowedFd<'_>, path: &Path, noted: &HashSet<&CStr>) -> Result<(), Stop> {
        let is_root = path == self.record.path;
        let listed = match entries(opened, path) {
            Ok(listed) => listed,
            Err(error) => return self.failed(error),
        };
        for entry in listed {
            let entry_path = path.join(os(&entry.name));
            let is_foreign = self.foreign.contains(&*entry_path);
            let is_ours = is_root && !is_foreign && is_bookkeeping(entry.name.to_bytes());
            if !is_ours && !noted.contains(&*entry.name) {
                self.leave(entry_path);
            }
        }
        Ok(())
    }

    fn remove_foreign_folders_if_empty(&mut self) {
        for path in self.record.foreign.iter().filter(|path| path.parent() == Some(&self.record.path)) {
            let name = path.file_name().expect("an entry of the partition has a name");
            // What stays is noted afterwards.
            let _ = rustix::fs::unlinkat(self.root, name, AtFlags::REMOVEDIR);
        }
    }
}

impl Beside {
    fn of(name: &CStr) -> Self {
        match ObjectFile::parse(name) {
            Some(_) if is_metadata(name) => Self::Metadata,
            Some(_) => Self::Object,
            None if is_rsync_tempfile(name.to_bytes()) => Self::Object,
            None => Self::Nothing,
        }
    }
}

/// When a file goes: what is neither metadata nor a tombstone first.
fn rank(name: &CStr) -> u8 {
    if is_tombstone(name) { 2 } else { u8::from(is_metadata(name)) }
}

fn name_of(suffix: Suffix) -> CString {
    CString::new(suffix.as_str()).expect("a suffix holds no NUL")
}
