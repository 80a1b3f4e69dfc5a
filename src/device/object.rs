//! Opening an object to send it (B9.14, B9.22): its files, their metadata, and whether these can be trusted.
//!
//! What Swift's own object server would not serve is not sent either. What is beyond doubt damaged goes to quarantine on
//! the way, with the reference's words, so that replication brings a good copy; what merely cannot be read, or is not
//! understood, stays where it is. The reference sends neither, without a word, and then takes both for sent.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use log::warn;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::device::layout::PartitionDir;
use crate::device::listing::{Buffer, Names, open_folder};
use crate::device::metadata::{MetadataReader, ReadError};
use crate::device::object_data::ObjectData;
use crate::device::object_files::{FileIdentity, FileMark, ObjectFiles};
use crate::device::quarantine::{Damage, QuarantineError, Quarantined, quarantine_entry};
use crate::format::metadata::{Metadata, MetadataError};
use crate::format::object::{ObjectHash, ObjectName, ObjectNameBuf, Salts};
use crate::format::timestamp::Timestamp;

/// An object as it is on disk.
#[derive(Debug)]
pub(crate) struct StoredObject {
    /// Its full name, which hashes to the object's folder.
    pub name: ObjectNameBuf,
    /// What there is of it.
    pub content: Content,
    /// The files that say so, the data or the tombstone first.
    pub marks: Vec<FileMark>,
}

/// What there is of an object.
#[derive(Debug)]
pub(crate) enum Content {
    /// It was deleted then.
    Tombstone(Timestamp),
    /// Its data and metadata.
    Data(Box<StoredData>),
}

/// The data of an object, and its metadata.
#[derive(Debug)]
pub(crate) struct StoredData {
    /// The data.
    pub data: ObjectData,
    /// The metadata that were stored with the data.
    pub metadata: Metadata,
    /// What replaced them since, with the newest content type; `None` if nothing did.
    pub newer: Option<Metadata>,
}

/// Why an object cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsendable {
    /// It is not there, or no longer.
    #[error("{} is no longer there", .0.display())]
    Vanished(PathBuf),
    /// It was damaged, and has been moved to quarantine; that is logged.
    #[error("{} was quarantined", .0.display())]
    Quarantined(PathBuf),
    /// It stays as it is.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// Its folder, or the file that is to blame.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What is wrong with an object, and which of its files is to blame.
enum Fault {
    /// A file is not there any more.
    Vanished,
    /// A file is damaged beyond doubt. The text is the reference's.
    Damaged(CString, String),
    /// A file cannot be read, or not be understood.
    Unreadable(CString, String),
}

/// Opens the objects of one partition, one after the other.
pub(crate) struct ObjectReader<'a> {
    dir: &'a PartitionDir,
    folder: OwnedFd,
    salts: &'a Salts,
    buffer: Buffer,
    files: Names,
    metadata: MetadataReader,
    quarantined: u64,
}

impl<'a> ObjectReader<'a> {
    /// For the objects of a partition, whose names are hashed with these salts.
    ///
    /// # Errors
    /// The system's error if the partition's folder cannot be opened.
    pub(crate) fn new(dir: &'a PartitionDir, salts: &'a Salts) -> io::Result<Self> {
        let folder = open_folder(rustix::fs::CWD, dir.path())?;
        let (buffer, files) = (Buffer::new(), Names::default());
        Ok(Self { dir, folder, salts, buffer, files, metadata: MetadataReader::default(), quarantined: 0 })
    }

    /// How many objects went to quarantine.
    pub(crate) fn quarantined(&self) -> u64 {
        self.quarantined
    }

    /// Opens an object.
    ///
    /// # Errors
    /// [`Unsendable::Vanished`] if there is no such object (any more), [`Unsendable::Quarantined`] if it is damaged and
    /// was moved away, [`Unsendable::Unreadable`] if it cannot be read or understood and stays as it is.
    pub(crate) fn open(&mut self, hash: ObjectHash) -> Result<StoredObject, Unsendable> {
        let folder = self.list(hash)?;
        let Some(files) = ObjectFiles::among(&self.files) else {
            return Err(Unsendable::Vanished(object_path(self.dir, hash)));
        };
        let (dir, salts, reader) = (self.dir, self.salts, &mut self.metadata);
        let loaded = Loader { dir, folder, files, hash, salts, reader, marks: Vec::new() }.load();
        loaded.map_err(|fault| match fault {
            Fault::Vanished => Unsendable::Vanished(object_path(dir, hash)),
            Fault::Damaged(file, reason) => self.quarantine(hash, &file, &reason),
            Fault::Unreadable(file, reason) => Unsendable::Unreadable { path: self.file_path(hash, &file), reason },
        })
    }

    /// Moves an object to quarantine because of one of its files; what is returned says what became of it.
    pub(crate) fn quarantine(&mut self, hash: ObjectHash, file: &CStr, reason: &str) -> Unsendable {
        let moved = quarantine_entry(self.dir, hash.suffix(), OsStr::from_bytes(&hash.to_hex()));
        self.quarantined_as(self.file_path(hash, file), reason, moved)
    }

    /// Lists a hash dir. What is no directory, or cannot be listed because the disk is damaged, goes to quarantine (B9.22).
    fn list(&mut self, hash: ObjectHash) -> Result<OwnedFd, Unsendable> {
        let hex = hash.to_hex();
        let name = [hash.suffix().as_str().as_bytes(), b"/", &hex].concat();
        let listed = open_folder(&self.folder, name)
            .and_then(|folder| self.files.list(&folder, &mut self.buffer).map(|()| folder));
        let errno = match listed {
            Ok(folder) => return Ok(folder),
            Err(errno) => errno,
        };
        let path = object_path(self.dir, hash);
        if errno == Errno::NOENT {
            return Err(Unsendable::Vanished(path));
        }
        let Some(damage) = Damage::of(errno) else {
            let reason = format!("cannot be listed: {}", io::Error::from(errno));
            return Err(Unsendable::Unreadable { path, reason });
        };
        let reason = match damage {
            Damage::NotADirectory => format!("Expected directory, found file at {}", path.display()),
            Damage::Unlistable => format!("Failed to list directory at {}", path.display()),
        };
        let moved = damage.quarantine(self.dir, hash.suffix(), OsStr::from_bytes(&hex));
        // It can be the whole suffix.
        let path = moved.as_ref().map_or(path, |moved| moved.from.clone());
        Err(self.quarantined_as(path, &reason, moved))
    }

    /// Counts and logs a move to quarantine.
    fn quarantined_as(
        &mut self,
        path: PathBuf,
        reason: &str,
        moved: Result<Quarantined, QuarantineError>,
    ) -> Unsendable {
        match moved {
            Ok(_) => {
                warn!("Quarantined object {}: {reason}", path.display());
                self.quarantined += 1;
                Unsendable::Quarantined(path)
            }
            Err(error) => Unsendable::Unreadable { path, reason: format!("{reason}; {error}") },
        }
    }

    fn file_path(&self, hash: ObjectHash, file: &CStr) -> PathBuf {
        object_path(self.dir, hash).join(OsStr::from_bytes(file.to_bytes()))
    }
}

/// Reads one object's files.
struct Loader<'o> {
    dir: &'o PartitionDir,
    folder: OwnedFd,
    files: ObjectFiles<'o>,
    hash: ObjectHash,
    salts: &'o Salts,
    reader: &'o mut MetadataReader,
    marks: Vec<FileMark>,
}

impl Loader<'_> {
    fn load(mut self) -> Result<StoredObject, Fault> {
        let main = self.files.main;
        let (file, size) = self.open(main)?;
        let metadata = match self.reader.read(&file) {
            // Nobody can say whose file this is. The reference takes it for no object.
            Err(error @ ReadError::Missing) => return Err(unreadable(main, error)),
            read => read.map_err(|error| self.bad_metadata(main, error))?,
        };
        let name = self.name(&metadata)?;
        let content = if self.files.is_deleted {
            self.mark_strays();
            Content::Tombstone(timestamp(main, &metadata)?)
        } else {
            self.data(file, size, metadata)?
        };
        Ok(StoredObject { name, content, marks: self.marks })
    }

    /// Marks the metadata beside a tombstone: they go with it. What they say is of no interest to anyone any more, so
    /// that they cannot be looked at only keeps them here.
    fn mark_strays(&mut self) {
        for name in [self.files.meta, self.files.older_meta].into_iter().flatten() {
            if let Ok(stat) = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                self.marks.push((name.to_owned(), FileIdentity::from(&stat)));
            }
        }
    }

    /// Opens and marks a file; also says how many bytes it has.
    fn open(&mut self, name: &CStr) -> Result<(OwnedFd, u64), Fault> {
        // Not to wait for a writer if there is a pipe in the file's place.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = rustix::fs::openat(&self.folder, name, flags, Mode::empty())
            .and_then(|file| rustix::fs::fstat(&file).map(|stat| (file, stat)));
        let (file, stat) = opened.map_err(|errno| match errno {
            Errno::NOENT => Fault::Vanished,
            Errno::NODATA | Errno::UCLEAN => {
                let path = self.path(name);
                damaged(name, format_args!("Failed to open {}: {}", path.display(), io::Error::from(errno)))
            }
            errno => unreadable(name, io::Error::from(errno)),
        })?;
        self.marks.push((name.to_owned(), FileIdentity::from(&stat)));
        Ok((file, u64::try_from(stat.st_size).unwrap_or_default()))
    }

    fn path(&self, file: &CStr) -> PathBuf {
        object_path(self.dir, self.hash).join(OsStr::from_bytes(file.to_bytes()))
    }

    /// The object's name, if the folder is that of an object with this name. What has no such name is no object to the
    /// reference, and what has another one is looked for elsewhere.
    fn name(&self, metadata: &Metadata) -> Result<ObjectNameBuf, Fault> {
        let main = self.files.main;
        let stored = metadata.get("name").ok_or_else(|| unreadable(main, "its metadata have no name"))?;
        let name = ObjectName::parse(stored).ok_or_else(|| {
            unreadable(main, format_args!("its metadata have the name '{}', which is none", stored.escape_ascii()))
        })?;
        let hash = self.salts.hash(name);
        if hash != self.hash {
            let reason =
                format_args!("its metadata have the name '{}', which belongs in {hash}", stored.escape_ascii());
            return Err(unreadable(main, reason));
        }
        Ok(name.to_buf())
    }

    /// The data with what came after. The order of the checks is the reference's.
    fn data(&mut self, file: OwnedFd, size: u64, metadata: Metadata) -> Result<Content, Fault> {
        let main = self.files.main;
        let stored_at = timestamp(main, &metadata)?;
        let newer = self.newer_metadata(stored_at)?;
        // What a metadata file says replaces all but the object's own properties (B14.7).
        let merged = newer.as_ref().unwrap_or(&metadata);
        let name = merged.get("name").ok_or_else(|| damaged(main, "missing name metadata"))?;
        if Some(name) != metadata.get("name") {
            let reason = format_args!("its newer metadata have the name '{}'", name.escape_ascii());
            return Err(unreadable(main, reason));
        }
        if let Some(value) = merged.get("X-Delete-At").filter(|value| python_int(value).is_none()) {
            return Err(damaged(main, format_args!("bad metadata x-delete-at value {}", value.escape_ascii())));
        }
        let length =
            metadata.get("Content-Length").ok_or_else(|| damaged(main, "missing content-length in metadata"))?;
        let length = python_int(length).ok_or_else(|| {
            damaged(main, format_args!("bad metadata content-length value {}", length.escape_ascii()))
        })?;
        if length != i128::from(size) {
            let reason = format_args!("metadata content-length {length} does not match actual object size {size}");
            return Err(damaged(main, reason));
        }
        let etag = metadata.get("ETag").ok_or_else(|| unreadable(main, "its metadata have no ETag"))?;
        let data = ObjectData::new(file, size, etag);
        let newer = match self.files.meta.zip(newer) {
            Some((file, newer)) if timestamp(file, &newer)? != stored_at => Some(newer),
            _ => None,
        };
        Ok(Content::Data(Box::new(StoredData { data, metadata, newer })))
    }

    /// What the metadata files say, with the newest content type.
    fn newer_metadata(&mut self, stored_at: Timestamp) -> Result<Option<Metadata>, Fault> {
        let Some(meta) = self.files.meta else { return Ok(None) };
        let mut newer = self.metadata_of(meta)?;
        match self.files.older_meta {
            Some(older) if self.files.times.content_type.is_some() => {
                merge_content_type(&mut newer, &self.metadata_of(older)?, stored_at);
            }
            // It has nothing to say, and goes with the others.
            Some(older) => drop(self.open(older)?),
            None => {}
        }
        Ok(Some(newer))
    }

    fn metadata_of(&mut self, name: &CStr) -> Result<Metadata, Fault> {
        let (file, _) = self.open(name)?;
        self.reader.read(&file).map_err(|error| self.bad_metadata(name, error))
    }

    fn bad_metadata(&self, file: &CStr, error: ReadError) -> Fault {
        match error {
            ReadError::Checksum { stored, computed } => {
                let path = self.path(file);
                let reason = format_args!(
                    "Metadata checksum mismatch for {}: stored checksum='{stored}', computed='{computed}'",
                    path.display()
                );
                damaged(file, reason)
            }
            ReadError::Pickle(error) if error.is_corrupt() => {
                damaged(file, format_args!("Exception reading metadata: {error}"))
            }
            ReadError::Missing => damaged(file, format_args!("Exception reading metadata: {}", MetadataError::Empty)),
            error => unreadable(file, error),
        }
    }
}

fn damaged(file: &CStr, reason: impl ToString) -> Fault {
    Fault::Damaged(file.to_owned(), reason.to_string())
}

fn unreadable(file: &CStr, reason: impl ToString) -> Fault {
    Fault::Unreadable(file.to_owned(), reason.to_string())
}

fn timestamp(file: &CStr, metadata: &Metadata) -> Result<Timestamp, Fault> {
    let stored = metadata.get("X-Timestamp").and_then(|stored| Timestamp::parse(stored).ok());
    stored.ok_or_else(|| unreadable(file, "its metadata have no X-Timestamp"))
}

/// Takes the content type over from a metadata file that is older but for that (B14.7).
fn merge_content_type(newer: &mut Metadata, older: &Metadata, stored_at: Timestamp) {
    const TYPE: &str = "Content-Type";
    const TIME: &str = "Content-Type-Timestamp";
    let (Some(value), Some(time)) = (older.get(TYPE), older.get(TIME)) else { return };
    let is_newest =
        time > newer.get(TIME).unwrap_or_default() && Timestamp::parse(time).is_ok_and(|time| time > stored_at);
    if is_newest {
        newer.set(TYPE, value);
        newer.set(TIME, time);
    }
}

/// What Python's `int()` makes of a text of ASCII characters; numbers too large to be of use are all the same.
fn python_int(text: &[u8]) -> Option<i128> {
    let is_white = |c: &u8| matches!(c, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|c| !is_white(c))?;
    let end = text.iter().rposition(|c| !is_white(c))?;
    let (sign, digits) = match &text[start..=end] {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] | digits => (1, digits),
    };
    let mut groups = digits.split(|c| *c == b'_');
    let value = groups.try_fold(0_i128, |value, group| {
        let is_number = !group.is_empty() && group.iter().all(u8::is_ascii_digit);
        is_number.then(|| group.iter().fold(value, |sum, c| sum.saturating_mul(10).saturating_add((c - b'0').into())))
    })?;
    Some(sign * value)
}

fn object_path(dir: &PartitionDir, hash: ObjectHash) -> PathBuf {
    dir.suffix_path(hash.suffix()).join(OsStr::from_bytes(&hash.to_hex()))
}

#[cfg(test)]
mod tests;
