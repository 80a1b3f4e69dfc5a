//! The files of a partition in which its hashes stand, read and written by their names in the open folder.
//!
//! None is ever opened through a symbolic link, in whatever place one may stand, and none but a plain file is read or
//! written: what a link leads to, or whoever sits at the other end of a pipe, is no business of a partition's.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::clock;
use crate::format::pickle::{self, StoredHashes};
use crate::names::Suffix;

/// What is known of the suffixes.
pub(super) const HASHES: &str = "hashes.pkl";
/// Which of them changed since.
pub(super) const INVALIDATIONS: &str = "hashes.invalid";

/// For all files: no child inherits them, no link is followed, and a pipe in a file's place is not waited for.
const COMMON: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW);

/// What has to outlive a crash of the machine. One of the process all writes outlive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Nothing; others see it at once all the same.
    Cache,
    /// File and name.
    Disk,
}

/// The time as `hashes.pkl` has it.
pub(super) fn now() -> f64 {
    clock::now().as_secs_f64()
}

/// Opens a plain file; anything else is an error.
pub(super) fn open(folder: impl AsFd, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    #[cfg(test)]
    super::listing::faults::strike(&name)?;
    let file = rustix::fs::openat(folder, name, flags | COMMON, Mode::from_raw_mode(0o666))?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::OPNOTSUPP),
    }
}

/// The whole of a file. Of one that is longer than `limit` it is a little more than that.
pub(super) fn read(folder: impl AsFd, name: &str, limit: usize) -> Result<Vec<u8>, Errno> {
    let file = open(folder, name, OFlags::RDONLY)?;
    let mut bytes = Vec::with_capacity(8 << 10);
    while bytes.len() <= limit {
        if bytes.capacity() - bytes.len() < 1024 {
            bytes.reserve(bytes.capacity());
        }
        match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes)) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(bytes)
}

/// Replaces `hashes.pkl`; returns what is in it now. The partition's lock is held.
pub(super) fn write_hashes(folder: impl AsFd, stored: &StoredHashes, durability: Durability) -> io::Result<Vec<u8>> {
    let folder = folder.as_fd();
    let bytes = pickle::encode_stored(stored);
    let temporary = TemporaryFile::create(folder)?;
    temporary.fill(&bytes, durability)?;
    temporary.rename(HASHES)?;
    if durability == Durability::Disk {
        rustix::fs::fsync(folder)?;
    }
    Ok(bytes)
}

/// Appends names to `hashes.invalid`; says by how much it has grown. The partition's lock is held.
pub(super) fn append_invalidations(folder: impl AsFd, suffixes: &[Suffix]) -> io::Result<u64> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE;
    let mut file = File::from(open(folder, INVALIDATIONS, flags)?);
    let length = file.metadata()?.len();
    // Behind half a line, as a crash or a full disk leaves it, the first name would be lost.
    let mut lines = String::from(if ends_in_half_a_line(&file, length)? { "\n" } else { "" });
    suffixes.iter().for_each(|suffix| lines.extend([suffix.as_str(), "\n"]));
    if let Err(error) = file.write_all(lines.as_bytes()) {
        // What comes after half a line would be lost with it.
        let _ = file.set_len(length);
        return Err(error);
    }
    Ok(lines.len() as u64)
}

fn ends_in_half_a_line(file: &File, length: u64) -> Result<bool, Errno> {
    let mut last = [b'\n'];
    if let Some(place) = length.checked_sub(1) {
        rustix::io::pread(file, &mut last, place)?;
    }
    Ok(last != [b'\n'])
}

/// Empties `hashes.invalid`. The partition's lock is held.
pub(super) fn empty_invalidations(folder: impl AsFd) -> io::Result<()> {
    let file = open(folder, INVALIDATIONS, OFlags::WRONLY)?;
    Ok(rustix::fs::ftruncate(file, 0)?)
}

/// A file without its final name; it goes when this is dropped.
struct TemporaryFile<'a> {
    folder: BorrowedFd<'a>,
    name: String,
    file: File,
}

impl<'a> TemporaryFile<'a> {
    /// Creates a file with the name and the mode that Python's `mkstemp` gives the reference's.
    fn create(folder: BorrowedFd<'a>) -> io::Result<Self> {
        const CHARACTERS: &[u8; 37] = b"abcdefghijklmnopqrstuvwxyz0123456789_";
        const TRIES: usize = 100;
        for _ in 0..TRIES {
            let random = (0..8).map(|_| char::from(CHARACTERS[fastrand::usize(..CHARACTERS.len())]));
            let name = format!("tmp{}.tmp", random.collect::<String>());
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | COMMON;
            match rustix::fs::openat(folder, &name, flags, Mode::from_raw_mode(0o600)) {
                Ok(file) => return Ok(Self { folder, name, file: file.into() }),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    fn fill(&self, bytes: &[u8], durability: Durability) -> io::Result<()> {
        (&self.file).write_all(bytes)?;
        if durability == Durability::Disk { self.file.sync_all() } else { Ok(()) }
    }

    fn rename(mut self, to: &str) -> io::Result<()> {
        rustix::fs::renameat(self.folder, &self.name, self.folder, to)?;
        self.name.clear();
        Ok(())
    }
}

impl Drop for TemporaryFile<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            let _ = rustix::fs::unlinkat(self.folder, &self.name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, File) {
        let folder = tempfile::tempdir().unwrap();
        let opened = File::open(folder.path()).unwrap();
        (folder, opened)
    }

    fn suffixes(names: &[&str]) -> Vec<Suffix> {
        names.iter().map(|name| Suffix::from_name(name.as_bytes()).unwrap()).collect()
    }

    #[test]
    fn names_are_appended_on_lines_of_their_own() {
        let (folder, opened) = folder();
        assert_eq!(append_invalidations(&opened, &suffixes(&["abc", "def"])).unwrap(), 8);
        let path = folder.path().join(INVALIDATIONS);
        assert_eq!(fs::read(&path).unwrap(), b"abc\ndef\n");
        fs::write(&path, "abc\nde").unwrap();
        assert_eq!(append_invalidations(&opened, &suffixes(&["012"])).unwrap(), 5);
        assert_eq!(fs::read(&path).unwrap(), b"abc\nde\n012\n");
    }

    #[test]
    fn nothing_is_read_or_written_through_a_link() {
        for leads_somewhere in [true, false] {
            let (folder, opened) = folder();
            let lure = folder.path().join("lure");
            for name in [HASHES, INVALIDATIONS] {
                symlink(&lure, folder.path().join(name)).unwrap();
            }
            if leads_somewhere {
                fs::write(&lure, "precious").unwrap();
            }
            assert_eq!(read(&opened, HASHES, 100), Err(Errno::LOOP));
            assert!(append_invalidations(&opened, &suffixes(&["abc"])).is_err());
            assert!(empty_invalidations(&opened).is_err());
            write_hashes(&opened, &StoredHashes::invalid(), Durability::Disk).unwrap();
            assert!(!folder.path().join(HASHES).is_symlink(), "the link itself is replaced");
            assert_eq!(fs::read_to_string(&lure).ok().as_deref(), leads_somewhere.then_some("precious"));
        }
    }

    #[test]
    fn what_is_no_plain_file_is_refused() {
        let (folder, opened) = folder();
        fs::create_dir(folder.path().join(HASHES)).unwrap();
        rustix::fs::mknodat(&opened, INVALIDATIONS, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert_eq!(read(&opened, HASHES, 100), Err(Errno::ISDIR));
        assert_eq!(read(&opened, INVALIDATIONS, 100), Err(Errno::OPNOTSUPP));
        assert!(append_invalidations(&opened, &suffixes(&["abc"])).is_err());
    }
}
