//! `hashes.pkl` and `hashes.invalid` of a partition, shared with the object servers.
//!
//! A server that is about to change a suffix appends its name to `hashes.invalid`. Whoever wants the hashes first
//! *consolidates*: what `hashes.invalid` names loses its hash in `hashes.pkl`, and then `hashes.invalid` is emptied.
//! Everyone does both under `<partition>/.lock`, and replaces `hashes.pkl` by renaming, so that a reader without the lock
//! sees one whole version. What may go wrong between the steps, and why nothing is lost:
//!
//! - **Reading without the lock.** `hashes.invalid` is looked at first. If it is empty, all that it ever named is in
//!   the `hashes.pkl` that is read afterwards. The other way round, someone could consolidate in between: the old
//!   `hashes.pkl` would go with the new, empty `hashes.invalid`. What is appended after the look stays there for the next
//!   one who asks.
//! - **Consolidating.** `hashes.pkl` is on disk, file and folder, before `hashes.invalid` is emptied; a crash in between
//!   leaves both, and names that are invalid twice do no harm. It is written even if it is replaced at once (because
//!   nothing in it is valid): the new `updated` is what tells everyone who is hashing right now that what they saw of
//!   the suffixes may be old.
//! - **Replacing.** Hashing takes long and holds no lock, so its result is written only if `hashes.pkl` is still, byte for
//!   byte, what it was before. If a suffix changed meanwhile, its name is either still in `hashes.invalid`, or was
//!   consolidated, which changed `hashes.pkl`.
//! - **Crashing after replacing.** That write need not be on disk. What a crash leaves is the last consolidated version,
//!   or an empty file; in both, what was hashed since is hashed again.
//! - **Damage.** If lines of `hashes.invalid` cannot be read, or are what a torn write leaves, nobody knows which
//!   suffixes changed. Then `hashes.pkl` is first marked as not valid, then `hashes.invalid` is emptied, and only then
//!   everything is hashed: emptied after the hashing, it would lose what was appended meanwhile.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{error, warn};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::device::hash_files::{self, Durability, HASHES, INVALIDATIONS, now};
use crate::device::layout::PartitionDir;
use crate::device::listing::{Buffer, Names, open_folder};
use crate::device::lock::{LockError, PathLock};
use crate::format::hashes::SuffixHashes;
use crate::format::pickle::{self, StoredHashes};
use crate::names::Suffix;

/// How long the partition's lock is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// More of `hashes.invalid` is not looked at: all suffixes could be in it a thousand times.
const MAX_INVALIDATIONS: usize = 1 << 24;

/// The open folder of a partition with its two files.
#[derive(Debug)]
pub(super) struct HashStore<'a> {
    dir: &'a PartitionDir,
    folder: OwnedFd,
}

/// What was known at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The hashes.
    pub(super) stored: StoredHashes,
    /// The bytes of `hashes.pkl`; `None` if there was nothing to read.
    bytes: Option<Vec<u8>>,
}

impl<'a> HashStore<'a> {
    /// Opens a partition's folder.
    pub(super) fn open(dir: &'a PartitionDir) -> io::Result<Self> {
        Ok(Self { dir, folder: open_folder(rustix::fs::CWD, dir.path())? })
    }

    /// The partition's folder.
    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// Where that is.
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where `hashes.pkl` is.
    pub(super) fn hashes_path(&self) -> PathBuf {
        self.dir.path().join(HASHES)
    }

    /// What is known of the partition's suffixes, with all that was invalidated.
    pub(super) fn load(&self) -> Result<Snapshot, LockError> {
        // In this order: see the head of this file.
        if self.has_invalidations() { self.consolidate() } else { Ok(self.snapshot()) }
    }

    /// The partition's entries whose names could be suffixes (B6.9).
    pub(super) fn list_suffixes(&self) -> io::Result<Vec<Suffix>> {
        let mut names = Names::default();
        names.list(open_folder(&self.folder, ".")?, &mut Buffer::new())?;
        Ok(names.iter().filter_map(|name| Suffix::from_name(name.to_bytes())).collect())
    }

    /// Writes hashes if `hashes.pkl` is still what it was in `before`; false if it is not.
    pub(super) fn replace(&self, before: &Snapshot, hashes: &SuffixHashes) -> Result<bool, ReplaceError> {
        if !self.dir.writes().are_made() {
            return Ok(true);
        }
        let _lock = self.lock()?;
        if hash_files::read(&self.folder, HASHES, pickle::MAX_BYTES).ok() != before.bytes {
            return Ok(false);
        }
        let (hashes, valid, updated) = (hashes.clone(), true, now());
        hash_files::write_hashes(&self.folder, &StoredHashes { hashes, valid, updated }, Durability::Cache)?;
        Ok(true)
    }

    /// Appends names to `hashes.invalid`.
    pub(super) fn invalidate(&self, suffixes: &[Suffix]) -> Result<(), ReplaceError> {
        if !self.dir.writes().are_made() {
            return Ok(());
        }
        let _lock = self.lock()?;
        hash_files::append_invalidations(&self.folder, suffixes)?;
        Ok(())
    }

    fn lock(&self) -> Result<PathLock, LockError> {
        PathLock::acquire_in(&self.folder, self.dir.path(), LOCK_TIMEOUT)
    }

    /// Takes the lock; `None` if there is none to take, because its file is damaged, no file, or cannot be made. Then what
    /// is known is used and nothing written: that a lock is broken is no reason not to copy a partition away from here.
    fn lock_or_do_without(&self) -> Result<Option<PathLock>, LockError> {
        match self.lock() {
            Err(error @ LockError::Io { .. }) if !error.is_gone() => {
                error!("Cannot consolidate {}: {error}", self.hashes_path().display());
                Ok(None)
            }
            lock => lock.map(Some),
        }
    }

    /// Whether there may be something to consolidate.
    fn has_invalidations(&self) -> bool {
        match rustix::fs::statat(&self.folder, INVALIDATIONS, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat.st_size != 0 || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile,
            Err(errno) => errno != Errno::NOENT,
        }
    }

    fn snapshot(&self) -> Snapshot {
        // A file that cannot be read is as good as none: everything is hashed, and a new one takes its place (B6.4).
        let bytes = hash_files::read(&self.folder, HASHES, pickle::MAX_BYTES).ok();
        let decoded = bytes.as_deref().map(pickle::decode_stored);
        Snapshot { stored: decoded.and_then(Result::ok).unwrap_or(StoredHashes::invalid()), bytes }
    }

    /// Takes the hash from each suffix that `hashes.invalid` names, and empties it.
    fn consolidate(&self) -> Result<Snapshot, LockError> {
        let lock = if self.dir.writes().are_made() { self.lock_or_do_without()? } else { None };
        // In this order without the lock too: see the head of this file.
        let found = hash_files::read(&self.folder, INVALIDATIONS, MAX_INVALIDATIONS);
        let found = found.map(|bytes| Invalidations::parse(&bytes));
        let mut snapshot = self.snapshot();
        let found = match found {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(snapshot),
            Err(errno) => {
                self.warn_of_rehash(&errno.to_string());
                snapshot.stored = StoredHashes::invalid();
                return Ok(snapshot);
            }
        };
        if found.is_damaged {
            self.warn_of_rehash("there are damaged lines in it");
            snapshot.stored = StoredHashes::invalid();
        }
        for suffix in &found.suffixes {
            snapshot.stored.hashes.insert(*suffix, None);
        }
        if lock.is_some()
            && let Err(error) = self.settle(&mut snapshot, &found)
        {
            // The names stay where they are; for now it is enough to know them.
            error!("Cannot consolidate {}: {error}", self.hashes_path().display());
        }
        Ok(snapshot)
    }

    fn settle(&self, snapshot: &mut Snapshot, found: &Invalidations) -> io::Result<()> {
        if found.is_damaged || !found.suffixes.is_empty() {
            snapshot.stored.updated = now();
            snapshot.bytes = Some(hash_files::write_hashes(&self.folder, &snapshot.stored, Durability::Disk)?);
        }
        hash_files::empty_invalidations(&self.folder)
    }

    fn warn_of_rehash(&self, reason: &str) {
        let invalidations = self.dir.path().join(INVALIDATIONS);
        warn!("Unable to read '{}': {}: {reason}", self.hashes_path().display(), invalidations.display());
    }
}

/// Why hashes or invalidations could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplaceError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Write(#[from] io::Error),
}

impl From<Errno> for ReplaceError {
    fn from(errno: Errno) -> Self {
        Self::Write(errno.into())
    }
}

/// What `hashes.invalid` says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Invalidations {
    /// The suffixes that changed, each once, in the order of their first lines.
    suffixes: Vec<Suffix>,
    /// There may have been others.
    is_damaged: bool,
}

impl Invalidations {
    /// Reads one suffix per line. Lines that name none are dropped as the reference drops them (B6.5), unless they are
    /// what a crash or a full disk leaves of a suffix.
    fn parse(bytes: &[u8]) -> Self {
        let Some(text) = Some(bytes).filter(|bytes| bytes.len() <= MAX_INVALIDATIONS).and_then(as_text) else {
            return Self { is_damaged: true, ..Self::default() };
        };
        let mut found = SuffixHashes::new();
        let mut is_damaged = false;
        for line in text.split(['\n', '\r']).map(strip) {
            match Suffix::from_name(line.as_bytes()).filter(|suffix| suffix.is_hex()) {
                Some(suffix) => found.insert(suffix, None),
                None => is_damaged |= is_torn(line),
            }
        }
        Self { suffixes: found.iter().map(|(suffix, _)| suffix).collect(), is_damaged }
    }
}

fn as_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Whether a line may be the rest of a suffix's name, alone or with the next one right behind it, or holds what some
/// file systems leave after a crash in place of what was written last.
fn is_torn(line: &str) -> bool {
    line.contains('\0') || !line.is_empty() && line.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// Without what Python's `strip()` takes away: a few control characters more than Rust's white space.
fn strip(line: &str) -> &str {
    line.trim_matches(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(bytes: &[u8]) -> (Vec<String>, bool) {
        let found = Invalidations::parse(bytes);
        (found.suffixes.iter().map(|suffix| suffix.to_string()).collect(), found.is_damaged)
    }

    fn suffixes(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn each_line_of_invalidations_is_a_suffix() {
        assert_eq!(parsed(b""), (vec![], false));
        assert_eq!(parsed(b"abc\n012\nabc\n"), (suffixes(&["abc", "012"]), false));
        assert_eq!(parsed(b" abc \r\n\x1c012\x1f\r\xc2\xa0def"), (suffixes(&["abc", "012", "def"]), false));
    }

    #[test]
    fn lines_that_name_no_suffix_are_dropped() {
        assert_eq!(parsed(b"xyz\n\n  \nABC\nabc\nhello\nab c\n"), (suffixes(&["abc"]), false));
    }

    #[test]
    fn lines_that_are_torn_or_no_text_are_damage() {
        for damage in [&b"ab\n"[..], b"abcdef\n", b"a", b"\0\0\0\0", b"abc\0\n"] {
            let bytes = [b"012\n", damage, b"\n345\n"].concat();
            assert_eq!(parsed(&bytes), (suffixes(&["012", "345"]), true), "{}", damage.escape_ascii());
        }
        assert_eq!(parsed(b"012\n\xff\n"), (vec![], true));
        assert!(parsed(&b"012\n".repeat(MAX_INVALIDATIONS / 4 + 1)).1);
    }

    proptest! {
        #[test]
        fn no_invalidations_make_it_panic(bytes: Vec<u8>, text in "[0-9a-f\\n\\r\0 ]{0,40}") {
            let _ = (Invalidations::parse(&bytes), Invalidations::parse(text.as_bytes()));
        }
    }
}
