//! Removing a hand-off partition after it was pushed: never more than what was seen before the push.
//!
//! A recursive delete would take the object that arrived a millisecond ago. So before the first push every regular file
//! is recorded with what identifies it ([`Inventory::record`]), and after success exactly those are unlinked, if they
//! are still what was recorded ([`Inventory::remove`]). Then the partition's own bookkeeping goes (hashes, locks,
//! temporary files), and folders are removed upwards with `rmdir`, which refuses where something arrived.
//!
//! Nodes whose rings differ may each take the other for the home of a partition that both have. What keeps them from
//! both removing it is the order of steps that every node of ours keeps (`claims`). How the files of an object go, one
//! after the other, is told in `unlink`.
//!
//! **Nobody is left with hashes of what is gone.** A server hashes a partition without a lock, which can take long, and
//! writes the result under `.lock` if `hashes.pkl` is still what it was before. Where that was "not there", or where the
//! file came to be the same again, it would write hashes of suffixes that went meanwhile, as valid ones, and peers would
//! believe for ever that they are here. So before the first unlink, under `.lock`, all recorded suffixes are appended to
//! `hashes.invalid`, and then `hashes.pkl` is replaced by one that is not valid and has a time of its own
//! (`claims::Claims::bar`). Whoever
//! - *began before that* finds another `hashes.pkl` than he saw, and begins anew;
//! - *begins afterwards* has to take in `hashes.invalid` first, which he does under the lock: so in a moment when it is
//!   let go. That changes `hashes.pkl`, and the removal stops there. What went until then he finds gone, or the one after
//!   him does, since what he could not write (on a full disk) stays named in `hashes.invalid`.
//!
//! Both files are there until nothing but bookkeeping is left of the partition. They go last, and should the folder then
//! stay, since something arrived in this moment, both are made anew. What is left over is a server that has been hashing
//! since before there was any `hashes.pkl`, and ends after the folder is gone: Swift's would make the folder again to
//! write its hashes in it. Listing the suffixes puts that right (`hashes`).
//!
//! What can go wrong between the steps, and what then holds:
//! - *A file arrives before it is recorded*: it is recorded and pushed, or rsync misses it and the check after the push
//!   says so; either way nothing is removed that was not there.
//! - *A file arrives after it was recorded*: it is not in the record, its folder is not empty, `rmdir` refuses, the
//!   partition is kept. The same name with another inode or change time counts as arrived.
//! - *The process dies half-way, or an unlink fails*: the suffixes are named in `hashes.invalid`, and `hashes.pkl` is not
//!   valid, so no peer is told hashes of suffixes that are gone. After a loss of power the same, or no `hashes.pkl`.
//! - *A client's PUT invalidates before it renames*: if that was before the first unlink, the partition is kept; else it
//!   waits for the lock, finds no partition, and its rename makes one anew, without `hashes.pkl`.
//! - *There is no room to append*: `hashes.pkl` goes first, which usually makes some. If it does not, nothing is removed.
//!
//! Something that cannot be looked at does not keep the rest from being pushed, but the partition stays
//! ([`Inventory::unseen`]). Only regular files are pushed by rsync as it is called here, so anything else in the place of a
//! suffix or below it (a symbolic link, a socket) and whatever in the partition is neither a suffix nor bookkeeping is
//! kept, and named. A partition that is a symbolic link is pushed as what it leads to, since rsync goes into the folder
//! that it is given; nothing behind any link is removed.

mod claims;
mod fingerprint;
mod folders;
mod hold;
mod record;
mod unlink;

use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::CWD;
use rustix::io::Errno;
use thiserror::Error;

use self::claims::Claims;
use self::folders::{entries, open_folder};
use self::hold::Hold;
use self::record::Folder;
use self::unlink::{Remover, Stop};
use crate::device::lock::LockError;
use crate::device::object_files::FileMark;
use crate::device::ondisk::{ObjectFile, is_metadata};
use crate::format::object::ObjectHash;
use crate::names::Suffix;

/// A step of recording or removing that failed; the partition stays as it is then.
#[derive(Debug, Error)]
pub enum RemovalError {
    /// A call of the system's failed.
    #[error("cannot {doing} {}: {}", .path.display(), io::Error::from(*.errno))]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        errno: Errno,
    },
    /// A folder lies deeper than any object of a partition.
    #[error("{} lies deeper than any object of a partition", .0.display())]
    TooDeep(PathBuf),
    /// A file is being changed faster than the file system counts time.
    #[error("{} is being changed right now", .0.display())]
    Unsettled(PathBuf),
    /// The partition's lock could not be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Several steps failed; this is the first.
    #[error("{first}; {more} more could not be removed")]
    Several {
        /// The first that failed.
        first: Box<Self>,
        /// How many failed after it.
        more: usize,
    },
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

/// What a record was restricted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restricted {
    /// Files that may go.
    pub files: usize,
    /// Whether nothing else was recorded.
    pub is_all: bool,
    /// How many recorded files are left behind, without what is foreign.
    pub left: usize,
    /// One of them.
    pub example: Option<PathBuf>,
}

/// The files of a partition at one moment.
#[derive(Debug)]
pub struct Inventory {
    path: PathBuf,
    is_link: bool,
    /// None if they could not be looked at.
    claims: Option<Claims>,
    suffixes: Vec<(Suffix, Folder)>,
    foreign: Vec<PathBuf>,
    unseen: Vec<RemovalError>,
    /// What it was restricted to, if it was.
    restricted: Option<Restricted>,
}

impl Inventory {
    /// The suffixes that were there, in the order of the folder, whether or not all in them could be looked at.
    pub fn suffixes(&self) -> impl Iterator<Item = Suffix> {
        self.suffixes.iter().map(|(suffix, _)| *suffix)
    }

    /// Whether there was no suffix at all: then there is nothing to push.
    pub fn is_empty(&self) -> bool {
        self.suffixes.is_empty()
    }

    /// Whether the partition is a symbolic link. What it leads to can be pushed; nothing of it is removed.
    pub fn is_link(&self) -> bool {
        self.is_link
    }

    /// What is no part of a partition and so will be left where it is. The partition itself, if it is a link.
    pub fn foreign(&self) -> &[PathBuf] {
        &self.foreign
    }

    /// What could not be looked at, and why. Nothing is removed then, unless the record is restricted.
    pub fn unseen(&self) -> &[RemovalError] {
        &self.unseen
    }

    /// Leaves in the record only files for which `may_go` says yes: by the name of the object's folder, and what the file
    /// was. Says how many are left in it, and whether that is all of them.
    ///
    /// What is no part of an object nobody can be asked to have: it stays, as what is foreign does, and keeps nothing
    /// else here. Metadata of which there is neither data nor a tombstone are none either; they stay until they are as
    /// old as a tombstone has to be.
    pub fn restrict(&mut self, may_go: impl Fn(&CStr, &FileMark) -> bool) -> &Restricted {
        let is_all = self.foreign.is_empty() && self.unseen.is_empty() && !self.is_link;
        let mut restricted = Restricted { files: 0, is_all, left: 0, example: None };
        for (suffix, content) in &mut self.suffixes {
            let path = self.path.join(suffix.as_str());
            restricted.leave_behind(content.files.drain(..).map(|(name, _)| path.join(folders::os(&name))));
            for (name, object) in &mut content.folders {
                let path = path.join(folders::os(name));
                let files = std::mem::take(&mut object.files);
                let stray = Stray::among(*suffix, name, &files);
                let (going, staying): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| may_go(name, file));
                object.files = going;
                restricted.is_all &= staying.is_empty() && object.folders.is_empty();
                let (foreign, staying): (Vec<_>, Vec<_>) = staying.into_iter().partition(|(file, _)| stray.is(file));
                let names = foreign.into_iter().map(|(file, _)| file);
                let names = names.chain(object.folders.drain(..).map(|(folder, _)| folder));
                self.foreign.extend(names.map(|name| path.join(folders::os(&name))));
                restricted.leave_behind(staying.into_iter().map(|(file, _)| path.join(folders::os(&file))));
                restricted.files += object.files.len();
            }
        }
        self.restricted.insert(restricted)
    }

    /// What [`Inventory::remove`] would come to if nothing happened to the partition meanwhile.
    ///
    /// # Errors
    /// As there: what could not be looked at, or whom the partition belongs to.
    pub fn foretell(self) -> Result<Removal, RemovalError> {
        let is_empty_folder = |path: &PathBuf| {
            path.parent() == Some(&self.path)
                && open_folder(CWD, path)
                    .is_ok_and(|folder| entries(&folder, path).is_ok_and(|entries| entries.is_empty()))
        };
        let mut left: Vec<_> = self.foreign.iter().filter(|path| !is_empty_folder(path)).cloned().collect();
        let unconfirmed = self.restricted.as_ref().and_then(|restricted| restricted.example.clone());
        let only_foreign = unconfirmed.is_none();
        left.extend(unconfirmed);
        self.removable()?;
        Ok(if left.is_empty() { Removal::Gone } else { Removal::Kept { left, only_foreign } })
    }

    /// The record with the claims to look after, if all was seen that has to be.
    fn removable(mut self) -> Result<(Self, Option<Claims>), RemovalError> {
        let claims = self.claims.take();
        let is_enough = self.is_link || claims.is_some() && (self.restricted.is_some() || self.unseen.is_empty());
        if !is_enough && !self.unseen.is_empty() {
            return Err(self.unseen.swap_remove(0));
        }
        Ok((self, claims))
    }

    /// Unlinks what was recorded and is still the same, then the bookkeeping, then the folders that are empty.
    ///
    /// An object whose file cannot be unlinked keeps the newer files in its folder; the others go all the same.
    ///
    /// # Errors
    /// Something could not be looked at when the partition was recorded; then nothing is removed. The partition's lock
    /// could not be had. The unlinks that failed for another reason than that somebody was faster or something arrived.
    pub fn remove(self) -> Result<Removal, RemovalError> {
        self.remove_with_pauses(hold::AT_MOST, &|| std::thread::sleep(hold::PAUSE))
    }

    fn remove_with_pauses(self, at_most: Duration, pause: &dyn Fn()) -> Result<Removal, RemovalError> {
        let (record, claims) = self.removable()?;
        let Some(mut claims) = claims else {
            return Ok(Removal::Kept { left: record.foreign, only_foreign: true });
        };
        let root = match open_folder(CWD, &record.path) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(Removal::Gone),
            Err(errno) => return Err(RemovalError::at("open", &record.path, errno)),
        };
        let hold = match Hold::take(&root, &record.path, at_most) {
            Err(RemovalError::Lock(error)) if error.is_gone() => return Ok(Removal::Gone),
            hold => hold?,
        };
        // Of an empty partition nobody can have hashes.
        if !hold.is_unclaimed(&claims)? || !record.is_empty() && !claims.bar(&root, &record.path, &record.names())? {
            return Ok(Removal::Claimed);
        }
        let mut remover = Remover::new(&root, &record, hold, claims, pause);
        match remover.remove_all() {
            Err(Stop::Claimed) => Ok(Removal::Claimed),
            Err(Stop::Failed(error)) => Err(error),
            Ok(removal) => Ok(removal),
        }
    }

    /// The names under which hashes may be known.
    fn names(&self) -> Vec<Suffix> {
        self.suffixes().filter(|suffix| suffix.is_hex()).collect()
    }
}

/// Which files of a folder are no part of an object.
enum Stray {
    /// All: nobody looks for an object there, or there is none.
    All,
    /// Those whose names are not Swift's.
    Unnamed,
}

impl Stray {
    fn among(suffix: Suffix, folder: &CStr, files: &[FileMark]) -> Self {
        let is_place = ObjectHash::from_name(folder.to_bytes()).is_some_and(|hash| hash.suffix() == suffix);
        let mut named = files.iter().filter(|(file, _)| ObjectFile::parse(file).is_some());
        if is_place && named.any(|(file, _)| !is_metadata(file)) { Self::Unnamed } else { Self::All }
    }

    fn is(&self, file: &CStr) -> bool {
        matches!(self, Self::All) || ObjectFile::parse(file).is_none()
    }
}

impl Restricted {
    fn leave_behind(&mut self, mut files: impl ExactSizeIterator<Item = PathBuf>) {
        self.left += files.len();
        self.is_all &= files.len() == 0;
        if self.example.is_none() {
            self.example = files.next();
        }
    }
}

#[cfg(test)]
mod tests;
