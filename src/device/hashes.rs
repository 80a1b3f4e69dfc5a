//! The hashes of a partition's suffixes (B6.9).
//!
//! What is known stands in `hashes.pkl`; what changed since stands in `hashes.invalid` (see `hash_store`). So usually
//! nothing is hashed: two small files say it all. What has no hash is hashed without a lock, which can take long, and the
//! result is written only if nobody else wrote meanwhile; else all begins again. A partition that changes all the time
//! is not hashed for ever: after some tries the last result is used and not written.
//!
//! The result never depends on the writing: a full disk must not stop a partition from being copied away from it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use log::{debug, error};

use crate::device::hash_store::{HashStore, ReplaceError, Snapshot};
use crate::device::invalidate::is_gone;
use crate::device::layout::PartitionDir;
use crate::device::lock::LockError;
use crate::device::suffix::SuffixHasher;
use crate::format::hashes::{SuffixHashes, SuffixMap};
use crate::heartbeat::Heartbeat;
use crate::names::Suffix;

/// How often a partition is hashed before a result is used that could not be written.
const TRIES: usize = 5;

/// What is asked of [`get_hashes`].
#[derive(Clone, Copy, Debug)]
pub struct HashRequest<'a> {
    /// Suffixes to hash again, whatever is known of them.
    pub recalculate: &'a [Suffix],
    /// Look for suffixes that nobody knows of yet (B6.10), or that are known and not there any more.
    pub listing: bool,
    /// How long tombstones and stray metadata are kept (B6.19).
    pub reclaim_age: Duration,
}

impl HashRequest<'_> {
    /// Whether all is known that is asked for: usually so, and then nothing is copied.
    fn is_answered_by(&self, known: &Snapshot) -> bool {
        let asks_for_more = self.listing || !self.recalculate.is_empty();
        known.stored.valid && !asks_for_more && known.stored.hashes.iter().all(|(_, hash)| hash.is_some())
    }
}

/// The answer of [`get_hashes`].
#[derive(Clone, Debug, PartialEq)]
pub struct Hashed {
    /// Every suffix of the partition that is known; without a hash if it could not be hashed.
    pub hashes: SuffixHashes,
    /// How many of them were hashed now.
    pub hashed: u64,
}

/// Why the hashes of a partition could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The partition could not be opened or listed.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The partition's folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The partition's lock could not be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl HashError {
    /// Whether the partition is not there, or no longer.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Read { source, .. } => is_gone(source),
            Self::Lock(error) => error.is_gone(),
        }
    }
}

/// The hashes of a partition's suffixes; those that are not known are hashed, which also deletes what is obsolete.
///
/// `heartbeat` beats after each suffix. What cannot be hashed or written is logged and does not stop the rest.
///
/// # Errors
/// If the partition cannot be opened or listed, or its lock cannot be taken within 10 s while there are changes to take
/// in. [`HashError::is_gone`] tells a partition that is not there.
pub fn get_hashes(dir: &PartitionDir, request: &HashRequest, heartbeat: &dyn Heartbeat) -> Result<Hashed, HashError> {
    let unreadable = |source| HashError::Read { path: dir.path().to_owned(), source };
    let store = HashStore::open(dir).map_err(unreadable)?;
    let mut tries = 0;
    loop {
        tries += 1;
        let before = store.load()?;
        if request.is_answered_by(&before) {
            return Ok(Hashed { hashes: before.stored.hashes, hashed: 0 });
        }
        let mut hashes = known(&store, &before, request).map_err(unreadable)?;
        let hashed = hash_unknown(dir, &store, &mut hashes, request, heartbeat);
        let is_news = !before.stored.valid || hashes != before.stored.hashes;
        if !is_news || is_settled(store.replace(&before, &hashes), &store)? {
            return Ok(Hashed { hashes, hashed });
        }
        if tries == TRIES {
            debug!("{} changed {TRIES} times while it was hashed", dir.path().display());
            return Ok(Hashed { hashes, hashed });
        }
    }
}

/// What is known, with no hash for what must be hashed.
fn known(store: &HashStore, before: &Snapshot, request: &HashRequest) -> io::Result<SuffixHashes> {
    let is_valid = before.stored.valid;
    let mut hashes = if is_valid { before.stored.hashes.clone() } else { SuffixHashes::new() };
    if request.listing || !is_valid {
        let listed: SuffixMap<()> = store.list_suffixes()?.into_iter().map(|suffix| (suffix, ())).collect();
        // A hash of what is not there is looked at again. Nobody else ever would: its peers take it for a copy.
        hashes.retain(|suffix, hash| {
            *hash = hash.filter(|_| listed.get(suffix).is_some());
            true
        });
        for (suffix, ()) in listed.iter() {
            if hashes.get(suffix).is_none() {
                hashes.insert(suffix, None);
            }
        }
        debug!("Run listdir on {}", store.path().display());
    }
    for suffix in request.recalculate {
        hashes.insert(*suffix, None);
    }
    Ok(hashes)
}

/// Hashes what has no hash, and forgets what is not there; returns how many were hashed.
fn hash_unknown(
    dir: &PartitionDir,
    store: &HashStore,
    hashes: &mut SuffixHashes,
    request: &HashRequest,
    heartbeat: &dyn Heartbeat,
) -> u64 {
    if hashes.iter().all(|(_, hash)| hash.is_some()) {
        return 0;
    }
    let mut hasher = SuffixHasher::new(dir, store.folder(), request.reclaim_age);
    let mut hashed = 0;
    hashes.retain(|suffix, hash| {
        if hash.is_some() {
            return true;
        }
        let result = hasher.hash(suffix);
        heartbeat.beat();
        match result {
            Ok(found) => {
                *hash = found;
                hashed += u64::from(found.is_some());
                found.is_some()
            }
            Err(error) => {
                error!("{error}");
                true
            }
        }
    });
    hashed
}

/// Whether there is nothing left to try about writing the hashes: they were written, or never will be.
fn is_settled(replaced: Result<bool, ReplaceError>, store: &HashStore) -> Result<bool, HashError> {
    match replaced {
        Ok(written) => Ok(written),
        Err(ReplaceError::Lock(LockError::Io { source, path })) if is_gone(&source) => {
            Err(LockError::Io { source, path }.into())
        }
        Err(error) => {
            error!("Cannot write {}: {error}", store.hashes_path().display());
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests;
