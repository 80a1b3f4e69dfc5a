//! The hash of one suffix (B6.13 to B6.20).
//!
//! Each object adds the names of the files that say what it is; their contents are never read. On the way, what is
//! obsolete is deleted, as are tombstones that are older than `reclaim_age`, and folders that this leaves empty. So
//! hashing is also how deleted objects finally go.
//!
//! A folder that was empty before stays while it is new. An object server makes an object's folder, and a moment later
//! opens a file in it; if the folder goes in between, the client's PUT fails with 500. (The reference takes that chance,
//! but it comes by less often.)
//!
//! What is no directory, or cannot be listed, is moved to quarantine and the hashing goes on; any other error leaves the
//! suffix without a hash.

use std::ffi::{CStr, OsStr};
use std::io;
use std::mem;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{Level, debug, error, log};
use md5::{Digest as _, Md5};
use rustix::fs::fstat;
use rustix::io::Errno;

use crate::clock;
use crate::device::layout::PartitionDir;
use crate::device::listing::{Buffer, Names, open_folder, open_real_folder};
use crate::device::ondisk::{self, Choice, ObjectFile};
use crate::device::quarantine::{Damage, QuarantineError};
use crate::device::writes::Writes;
use crate::format::hashes::Digest;
use crate::format::timestamp::Timestamp;
use crate::names::Suffix;

/// Why a suffix has no hash. The text is the line to log.
#[derive(Debug, thiserror::Error)]
pub(super) enum SuffixError {
    #[error("Error hashing suffix {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("Error hashing suffix {}: {source}", path.display())]
    Quarantine { path: PathBuf, source: QuarantineError },
}

/// For how long an empty folder may be one in which somebody is about to store an object.
const NEW: Duration = Duration::from_secs(60);

/// What is left of a folder after it was cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Something.
    Something,
    /// It is there, but empty and new.
    ForWriter,
    Nothing,
}

/// Hashes suffixes of one partition.
pub(super) struct SuffixHasher<'a> {
    dir: &'a PartitionDir,
    /// The partition's folder.
    folder: BorrowedFd<'a>,
    reclaim_age: Duration,
    buffer: Buffer,
    entries: Names,
    files: Names,
}

impl<'a> SuffixHasher<'a> {
    pub(super) fn new(dir: &'a PartitionDir, folder: BorrowedFd<'a>, reclaim_age: Duration) -> Self {
        let (entries, files) = (Names::default(), Names::default());
        Self { dir, folder, reclaim_age, buffer: Buffer::new(), entries, files }
    }

    /// Cleans and hashes a suffix; `None` if there is no such folder, or no longer, or nothing in it yet.
    pub(super) fn hash(&mut self, suffix: Suffix) -> Result<Option<Digest>, SuffixError> {
        let mut entries = mem::take(&mut self.entries);
        let hash = self.hash_entries(suffix, &mut entries);
        self.entries = entries;
        hash
    }

    fn hash_entries(&mut self, suffix: Suffix, entries: &mut Names) -> Result<Option<Digest>, SuffixError> {
        let listed = open_folder(self.folder, suffix.as_str())
            .and_then(|folder| entries.list(&folder, &mut self.buffer).map(|()| folder));
        let folder = match listed {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(self.unreadable(suffix, errno)),
        };
        entries.sort();
        let mut md5 = Md5::new();
        let mut left = if entries.is_empty() && is_new(&folder) { Left::ForWriter } else { Left::Nothing };
        for name in entries.iter() {
            match self.hash_object(suffix, &folder, name, &mut md5) {
                Ok(Left::Something) => left = Left::Something,
                Ok(Left::ForWriter) if left == Left::Nothing => left = Left::ForWriter,
                Ok(_) => {}
                Err(errno) => self.set_aside(suffix, name, errno)?,
            }
        }
        match left {
            Left::ForWriter => Ok(None),
            // The reference always tries; it cannot succeed while something is in there.
            Left::Nothing if self.remove_suffix(suffix) => Ok(None),
            Left::Something | Left::Nothing => Ok(Some(md5.finalize().into())),
        }
    }

    /// Deletes what is obsolete in an object's directory (B6.18, B6.19) and adds what counts to the hash of the suffix;
    /// says what is left of the directory.
    fn hash_object(&mut self, suffix: Suffix, parent: &OwnedFd, name: &CStr, md5: &mut Md5) -> Result<Left, Errno> {
        let mut writes = self.dir.writes();
        let opened = open_real_folder(parent, name).or_else(|errno| {
            // A link counts as what it leads to, as in the reference, but nothing is removed behind it.
            writes = if errno == Errno::NOTDIR { Writes::Imagined } else { writes };
            open_folder(parent, name)
        });
        let listed = opened.and_then(|folder| self.files.list(&folder, &mut self.buffer).map(|()| folder));
        let folder = match listed {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(Left::Nothing),
            Err(errno) => return Err(errno),
        };
        if self.files.is_empty() && is_new(&folder) {
            return Ok(Left::ForWriter);
        }
        let mut choice = ondisk::choose(self.known_files(suffix, name));
        let kept = self.files.len() - self.delete_outdated(&folder, &mut choice, writes);
        feed(md5, &choice);
        let is_gone = kept == 0 && writes == self.dir.writes() && self.remove_object_folder(suffix, parent, name);
        Ok(if is_gone { Left::Nothing } else { Left::Something })
    }

    /// The files whose names have timestamps; the others are logged and otherwise left alone (B6.17).
    fn known_files(&self, suffix: Suffix, name: &CStr) -> Vec<ObjectFile<'_>> {
        let mut known = Vec::with_capacity(self.files.len());
        known.extend(self.files.iter().filter_map(ObjectFile::parse));
        if known.len() < self.files.len() {
            let folder = self.dir.suffix_path(suffix).join(os(name));
            for file in self.files.iter().filter(|file| ObjectFile::parse(file).is_none()) {
                let (level, line) = unexpected(&folder.join(os(file)), os(file));
                log!(level, "{line}");
            }
        }
        known
    }

    /// Unlinks what is obsolete, and what may go once it is old; returns how many files count as gone.
    ///
    /// The reference counts a file as gone even if it could not be unlinked, and so must its hash here. But while an
    /// obsolete file is there, so must be the tombstone that makes it obsolete: the object would come back. For the same
    /// reason the tombstone goes last.
    fn delete_outdated(&self, folder: &OwnedFd, choice: &mut Choice, writes: Writes) -> usize {
        let is_old = |file: &ObjectFile| self.is_reclaimable(file.timestamp);
        let mut gone = 0;
        let mut failed = false;
        for file in choice.obsolete.iter().chain(choice.strays.iter().filter(|file| is_old(file))) {
            gone += 1;
            failed |= !matches!(writes.unlink(folder, file.name), Ok(()) | Err(Errno::NOENT));
        }
        if let Some(tombstone) = choice.tombstone.take_if(|tombstone| is_old(tombstone)) {
            gone += 1;
            if !failed {
                let _ = writes.unlink(folder, tombstone.name);
            }
        }
        gone
    }

    fn is_reclaimable(&self, timestamp: Timestamp) -> bool {
        clock::now().as_secs_f64() - timestamp.seconds() > self.reclaim_age.as_secs_f64()
    }

    /// Removes an object's directory in which nothing counts any more; false if it is still there.
    fn remove_object_folder(&self, suffix: Suffix, parent: &OwnedFd, name: &CStr) -> bool {
        match self.dir.writes().remove_folder(parent, name) {
            Ok(()) | Err(Errno::NOENT) => true,
            Err(errno) => {
                if errno != Errno::NOTEMPTY {
                    let path = self.dir.suffix_path(suffix).join(os(name));
                    debug!("Error cleaning up empty hash directory {}: {errno}", path.display());
                }
                false
            }
        }
    }

    /// Removes a suffix's folder in which nothing is left; false if it is still there.
    fn remove_suffix(&self, suffix: Suffix) -> bool {
        let removed = self.dir.writes().remove_folder(self.folder, suffix.as_str());
        matches!(removed, Ok(()) | Err(Errno::NOENT))
    }

    /// Moves an entry to quarantine that is no directory or cannot be listed (B6.20).
    fn set_aside(&self, suffix: Suffix, name: &CStr, errno: Errno) -> Result<(), SuffixError> {
        let damage = Damage::of(errno).ok_or_else(|| self.unreadable(suffix, errno))?;
        let reason = match damage {
            Damage::NotADirectory => "it is not a directory",
            Damage::Unlistable => "it could not be listed",
        };
        let moved = damage.quarantine(self.dir, suffix, os(name));
        let moved = moved.map_err(|source| SuffixError::Quarantine { path: self.dir.suffix_path(suffix), source })?;
        error!("Quarantined {} to {} because {reason}", moved.from.display(), moved.to.display());
        Ok(())
    }

    fn unreadable(&self, suffix: Suffix, errno: Errno) -> SuffixError {
        SuffixError::Read { path: self.dir.suffix_path(suffix), source: errno.into() }
    }
}

/// Whether a folder was made, or something in it came or went, a short time ago. In doubt it was.
fn is_new(folder: &OwnedFd) -> bool {
    let Ok(stat) = fstat(folder) else { return true };
    // One from the future says only that the clock was set back.
    (stat.st_mtime as u64).abs_diff(clock::now().as_secs()) < NEW.as_secs()
}

/// Adds an object to the hash of its suffix (B6.13).
fn feed(md5: &mut Md5, object: &Choice) {
    let parts = [
        (object.meta, ".meta"),
        (object.tombstone.map(|file| file.timestamp), ".ts"),
        (object.data, ".data"),
        (object.content_type, "_ctype"),
    ];
    for (timestamp, name) in parts {
        if let Some(timestamp) = timestamp {
            md5.update(timestamp.write_internal(&mut [0; 33]));
            md5.update(name);
        }
    }
}

/// What is logged of a file that has no place among an object's (B6.17).
fn unexpected(path: &Path, name: &OsStr) -> (Level, String) {
    if ondisk::is_rsync_tempfile(name.as_bytes()) {
        return (Level::Debug, format!("Rsync tempfile: {}", path.display()));
    }
    let name = name.to_string_lossy();
    let reason = format!("Invalid Timestamp value in filename '{}'", name.escape_debug());
    (Level::Warn, format!("Unexpected file {}: {reason}", path.display()))
}

fn os(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

#[cfg(test)]
mod tests;
