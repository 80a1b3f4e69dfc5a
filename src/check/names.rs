//! Whether what is on a device was stored by this cluster: a sample of objects' folders, whose names are hashes.
//!
//! The first bits of a hash are the partition, the last three digits the suffix, and all of it comes from the object's
//! name and the salts of `swift.conf`. If the hash of an object's name is not the name of its folder, the salts have
//! changed since it was stored: all objects would be looked for and moved to the wrong places. That has destroyed
//! clusters.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::device::metadata::MetadataReader;
use crate::format::object::{ObjectHash, ObjectName, Salts};
use crate::names::{Partition, Suffix};
use crate::regular::{self, Links};
use crate::ring::Ring;

/// How many partitions are looked into, how many suffixes of each, and how many hashes of each of those.
const PARTITIONS: usize = 16;
const SUFFIXES: usize = 2;
const HASHES: usize = 2;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// Hashes whose place was compared.
    pub hashes: usize,
    /// Those of them that are not where they belong, and the first of them.
    pub misplaced_count: usize,
    pub misplaced: Option<PathBuf>,
    /// Names that were hashed.
    pub names: usize,
    /// Those of them that have another hash, and the folder of the first of them.
    pub misnamed_count: usize,
    pub misnamed: Option<PathBuf>,
    /// What could not be read, if anything.
    pub unreadable: Option<(PathBuf, String)>,
}

/// Looks at a few of the objects in a policy's folder on a device.
///
/// # Errors
/// The system's error if the policy's folder cannot be listed.
pub(super) fn sample(datadir: &Path, ring: &Ring, salts: &Salts) -> io::Result<Sample> {
    let mut sample = Sample::default();
    for name in some_of(list(datadir)?, PARTITIONS, |name| Partition::from_dir_name(name).is_some()) {
        let Some(partition) = Partition::from_dir_name(&name) else { continue };
        let folder = datadir.join(&name);
        for suffix in sample.some_in(&folder, SUFFIXES, is_suffix) {
            let folder = folder.join(&suffix);
            for hash in sample.some_in(&folder, HASHES, |name| ObjectHash::from_name(name.as_bytes()).is_some()) {
                let Some(hash) = ObjectHash::from_name(hash.as_bytes()) else { continue };
                let belongs = hash.suffix().as_str().as_bytes() == suffix.as_bytes()
                    && partition_of(hash, ring.part_power()) == partition.number();
                sample.look(&folder.join(hash.to_string()), hash, belongs, salts);
            }
        }
    }
    Ok(sample)
}

impl Sample {
    fn some_in(&mut self, folder: &Path, count: usize, wanted: impl Fn(&OsStr) -> bool) -> Vec<std::ffi::OsString> {
        match list(folder) {
            Ok(names) => some_of(names, count, wanted),
            // What went away meanwhile, or is no folder, has its own remedies.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Vec::new(),
            Err(error) => {
                self.note_unreadable(folder, error.to_string());
                Vec::new()
            }
        }
    }

    fn look(&mut self, folder: &Path, hash: ObjectHash, belongs: bool, salts: &Salts) {
        self.hashes += 1;
        if !belongs {
            self.misplaced_count += 1;
            self.misplaced.get_or_insert_with(|| folder.to_owned());
        }
        match name_in(folder) {
            Ok(Some(name)) => {
                let Some(name) = ObjectName::parse(&name) else {
                    return self.note_unreadable(folder, "the object's name is none".to_owned());
                };
                self.names += 1;
                if salts.hash(name) != hash {
                    self.misnamed_count += 1;
                    self.misnamed.get_or_insert_with(|| folder.to_owned());
                }
            }
            Ok(None) => {}
            Err(error) => self.note_unreadable(folder, error),
        }
    }

    fn note_unreadable(&mut self, path: &Path, error: String) {
        self.unreadable.get_or_insert_with(|| (path.to_owned(), error));
    }
}

/// The partition that a hash belongs in: its first bits.
fn partition_of(hash: ObjectHash, part_power: u32) -> u32 {
    let digits = hash.to_hex();
    let first = std::str::from_utf8(&digits[..8]).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    first.and_then(|first| first.checked_shr(32 - part_power.min(32))).unwrap_or(0)
}

/// The full name of the object in a folder; `None` if nothing of it is left there.
fn name_in(folder: &Path) -> Result<Option<Vec<u8>>, String> {
    let is_object = |name: &OsStr| {
        let extension = Path::new(name).extension().map(OsStr::as_bytes);
        matches!(extension, Some(b"data" | b"ts"))
    };
    let names = match list(folder) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let Some(file) = names.iter().find(|name| is_object(name)) else { return Ok(None) };
    let file = match regular::open(&folder.join(file), Links::Refused) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let metadata = MetadataReader::default().read(file).map_err(|error| error.to_string())?;
    metadata.get("name").map(|name| Some(name.to_owned())).ok_or_else(|| "the object has no name".to_owned())
}

fn is_suffix(name: &OsStr) -> bool {
    Suffix::from_name(name.as_bytes()).is_some_and(Suffix::is_hex)
}

fn list(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// So many of the names that are wanted, at random.
fn some_of(names: Vec<std::ffi::OsString>, count: usize, wanted: impl Fn(&OsStr) -> bool) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = names.into_iter().filter(|name| wanted(name)).collect();
    fastrand::shuffle(&mut names);
    names.truncate(count);
    names
}
