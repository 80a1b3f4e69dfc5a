//! Who else counts on a partition that is about to be removed.
//!
//! While nodes have different rings, node X may take Y for the home of a partition, and Y take X for it. Each makes sure
//! that the other one has everything, and removes its own: then nobody has it. Locks do not help, since neither has the
//! other's. What helps is that every node keeps this order:
//!
//! 1. it records `hashes.invalid` and `hashes.pkl`, which this module looks after, and then what it has;
//! 2. it pushes;
//! 3. it tells the target what it pushed: the target's object server appends that to `hashes.invalid`, under `.lock`;
//! 4. it makes sure that the target has everything, by a dry run of the push;
//! 5. it takes its own `.lock`. If `hashes.invalid` or `hashes.pkl` changed since step 1, somebody else was at step 3 or
//!    wrote something: then the partition stays. Else it appends to both itself, takes note of how they are now, and
//!    removes the partition with the lock held. When it let go of the lock for a moment, it looks again.
//!
//! Suppose that X and Y both remove. When Y did step 3 at X, X was not between its steps 1 and 5, or it would have
//! noticed. It was not past the beginning of step 5 either: the lock made Y wait until all was gone, and then Y's step 4
//! would have failed; or Y had its turn in a moment when X let go, and X noticed and stopped. So it was before X's
//! step 1. In the same way X did step 3 at Y before Y's step 1. But each node's step 1 comes before its own step 3, so
//! these four come each before the next in a circle, which cannot be. The same holds for any number of nodes in a circle.
//!
//! What X itself appends in step 5 is no claim, and hides none: that both files are as recorded is looked at under the
//! same lock before, and afterwards they must be what they were and what X wrote, byte for byte.
//!
//! "Changed" means another content, or another file. The inode, size and time of change would not do: a file system that
//! counts whole seconds and gives freed inodes to the next file shows two servers' writes within a second as none. The
//! content tells, since each `hashes.pkl` holds the time when it was written, and `hashes.invalid` only grows but where
//! a new `hashes.pkl` takes up what it says.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use md5::{Digest as _, Md5};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::error::RemovalError;
use super::folders::{identity, make_room};
use crate::device::hash_files::{self, Durability, HASHES, INVALIDATIONS};
use crate::device::object_files::FileIdentity;
use crate::format::pickle::StoredHashes;
use crate::names::Suffix;

/// No file of these is as long; one that is would take for ever to look at.
const MAX_BYTES: u64 = 1 << 30;

/// What changes when somebody writes to a partition, or is told that he has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OtherWriters {
    hashes: Option<FileState>,
    invalidations: Option<FileState>,
}

#[derive(Debug, PartialEq, Eq)]
struct FileState {
    identity: FileIdentity,
    /// None if it is no plain file: that nobody writes to.
    content: Option<Content>,
}

#[derive(Debug, PartialEq, Eq)]
struct Content {
    length: u64,
    digest: [u8; 16],
}

impl OtherWriters {
    /// Takes note of how things are.
    pub(super) fn record(partition: impl AsFd, path: &Path) -> Result<Self, RemovalError> {
        let partition = partition.as_fd();
        Ok(Self {
            hashes: FileState::record(partition, HASHES, &path.join(HASHES))?,
            invalidations: FileState::record(partition, INVALIDATIONS, &path.join(INVALIDATIONS))?,
        })
    }

    /// Makes sure that nobody who began to hash these suffixes before now writes, or ends up with, hashes of them (see
    /// the head of `removal`), and takes note of that. The lock is held, and nothing has changed since the claims were
    /// recorded. False if somebody wrote at the same time, without the lock.
    ///
    /// In this order: whenever the process dies, either what `hashes.pkl` says is as true as it was, or it says nothing.
    pub(super) fn bar(&mut self, partition: impl AsFd, path: &Path, suffixes: &[Suffix]) -> Result<bool, RemovalError> {
        let partition = partition.as_fd();
        let expected = match suffixes {
            [] => self.invalidations.as_ref().map(FileState::length),
            _ => {
                let before = self.invalidations.as_ref().map_or(0, FileState::length);
                Some(before + append(partition, path, suffixes)?)
            }
        };
        let barred = StoredHashes { updated: hash_files::now(), ..StoredHashes::invalid() };
        let written = match hash_files::write_hashes(partition, &barred, Durability::Cache) {
            Ok(bytes) => Some(Content::of(&bytes)),
            // Without it nothing is known either, and the suffixes are named in the other file.
            Err(error) if is_no_room(&error) => {
                make_room(partition, path)?;
                None
            }
            Err(error) => return Err(failed("replace", &path.join(HASHES), &error)),
        };
        *self = Self::record(partition, path)?;
        let hashes = self.hashes.as_ref().and_then(|state| state.content.as_ref());
        Ok(self.invalidations.as_ref().map(FileState::length) == expected && hashes == written.as_ref())
    }
}

/// Appends names to `hashes.invalid`. Where there is no room for that, some is made by what can be spared.
fn append(partition: impl AsFd, path: &Path, suffixes: &[Suffix]) -> Result<u64, RemovalError> {
    let partition = partition.as_fd();
    let appended = match hash_files::append_invalidations(partition, suffixes) {
        Err(error) if is_no_room(&error) => {
            make_room(partition, path)?;
            hash_files::append_invalidations(partition, suffixes)
        }
        appended => appended,
    };
    appended.map_err(|error| failed("write", &path.join(INVALIDATIONS), &error))
}

fn failed(doing: &'static str, path: &Path, error: &io::Error) -> RemovalError {
    RemovalError::at(doing, path, Errno::from_io_error(error).unwrap_or(Errno::IO))
}

fn is_no_room(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

impl FileState {
    fn record(partition: impl AsFd, name: &str, path: &Path) -> Result<Option<Self>, RemovalError> {
        let partition = partition.as_fd();
        let Some(identity) = identity(partition, name, path)? else { return Ok(None) };
        let content = match hash_files::open(partition, name, OFlags::RDONLY) {
            Ok(file) => Some(Content::read(file).map_err(|errno| RemovalError::at("read", path, errno))?),
            Err(Errno::LOOP | Errno::ISDIR | Errno::OPNOTSUPP | Errno::NXIO) => None,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(RemovalError::at("open", path, errno)),
        };
        Ok(Some(Self { identity, content }))
    }

    fn length(&self) -> u64 {
        self.content.as_ref().map_or(0, |content| content.length)
    }
}

impl Content {
    fn of(bytes: &[u8]) -> Self {
        Self { length: bytes.len() as u64, digest: Md5::digest(bytes).into() }
    }

    fn read(file: impl AsFd) -> Result<Self, Errno> {
        let (mut length, mut md5, mut buffer) = (0, Md5::new(), [0; 16 << 10]);
        loop {
            match rustix::io::read(&file, &mut buffer) {
                Ok(_) if length > MAX_BYTES => return Err(Errno::FBIG),
                Ok(0) => return Ok(Self { length, digest: md5.finalize().into() }),
                Ok(read) => {
                    length += read as u64;
                    md5.update(&buffer[..read]);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}
