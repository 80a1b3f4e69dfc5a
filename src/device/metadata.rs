//! The metadata of an object's file, as its extended attributes hold it (B14.1, B14.2).
//!
//! The pickle of [`Metadata`] is cut into pieces, each an attribute of its own, and has a checksum since Swift 2.16. An
//! absent checksum is fine, and nothing is ever written here.

use std::io;
use std::os::fd::AsFd;

use md5::{Digest as _, Md5};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::format::hashes::digest_to_hex;
use crate::format::metadata::{MAX_BYTES, Metadata, MetadataError};

/// The first piece; the others have a number after it, counted from 1.
const PIECE: &str = "user.swift.metadata";
const CHECKSUM: &str = "user.swift.metadata_checksum";
/// What one attribute can hold.
const MAX_ATTRIBUTE: usize = 64 << 10;

/// Why a file's metadata cannot be read or trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The file has none.
    #[error("it has no metadata")]
    Missing,
    /// The file system has no extended attributes at all.
    #[error("its filesystem does not support xattr")]
    NotSupported,
    /// The bytes are not those that were written.
    #[error("its metadata have the checksum '{computed}' in place of '{stored}'")]
    Checksum {
        /// What the checksum should be.
        stored: String,
        /// What it is.
        computed: String,
    },
    /// The bytes say nothing.
    #[error("its metadata cannot be read: {0}")]
    Pickle(#[from] MetadataError),
    /// The disk does not give them.
    #[error("its metadata cannot be read: {0}")]
    Io(#[source] io::Error),
}

/// Reads the metadata of one file after the other, into memory that is used again.
#[derive(Debug, Default)]
pub(crate) struct MetadataReader {
    pickle: Vec<u8>,
}

impl MetadataReader {
    /// The metadata of an open file.
    ///
    /// # Errors
    /// [`ReadError::Missing`] if the file has no metadata, and other [`ReadError`]s if the file system has no extended
    /// attributes, or the metadata cannot be read or are damaged.
    pub(crate) fn read(&mut self, file: impl AsFd) -> Result<Metadata, ReadError> {
        self.read_pickle(&file)?;
        self.verify(&file)?;
        match Metadata::decode(&self.pickle) {
            Err(MetadataError::Empty) => Err(ReadError::Missing),
            decoded => Ok(decoded?),
        }
    }

    fn read_pickle(&mut self, file: &impl AsFd) -> Result<(), ReadError> {
        self.pickle.clear();
        for piece in 0.. {
            self.pickle.reserve(MAX_ATTRIBUTE);
            let room = spare_capacity(&mut self.pickle);
            let read = match piece {
                0 => rustix::fs::fgetxattr(file, PIECE, room),
                piece => rustix::fs::fgetxattr(file, format!("{PIECE}{piece}"), room),
            };
            match read {
                Ok(_) if self.pickle.len() > MAX_BYTES => break,
                Ok(_) => {}
                Err(Errno::NODATA) => break,
                Err(Errno::NOTSUP) => return Err(ReadError::NotSupported),
                Err(errno) => return Err(ReadError::Io(errno.into())),
            }
        }
        Ok(())
    }

    /// Compares the checksum, if there is one.
    fn verify(&self, file: &impl AsFd) -> Result<(), ReadError> {
        // One that is longer than any checksum is wrong, whatever it is.
        let mut buffer = [0; 64];
        let stored = match rustix::fs::fgetxattr(file, CHECKSUM, &mut buffer) {
            Ok(0) | Err(Errno::NODATA) => return Ok(()),
            Ok(length) => &buffer[..length],
            Err(Errno::RANGE) => &b"(too long)"[..],
            Err(errno) => return Err(ReadError::Io(errno.into())),
        };
        let computed = digest_to_hex(&Md5::digest(&self.pickle).into());
        if stored == computed {
            return Ok(());
        }
        let computed = computed.escape_ascii().to_string();
        Err(ReadError::Checksum { stored: stored.escape_ascii().to_string(), computed })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const PICKLE: &[u8] =
        b"\x80\x02}q\x01(U\x0bX-Timestampq\x02U\x101700000011.00011q\x03U\x04nameq\x04U\x06/a/c/oq\x05u.";

    /// A file with these attributes, on a file system that has them.
    fn file(attributes: &[(&str, &[u8])]) -> File {
        let folder = crate::device::fixture::folder_with_xattrs();
        let path = folder.path().join("1700000011.00011.data");
        let file = File::create(&path).unwrap();
        attributes.iter().for_each(|(name, value)| xattr::set(&path, name, value).unwrap());
        file
    }

    fn checksum(pickle: &[u8]) -> Vec<u8> {
        digest_to_hex(&Md5::digest(pickle).into()).to_vec()
    }

    fn read(attributes: &[(&str, &[u8])]) -> Result<Metadata, ReadError> {
        MetadataReader::default().read(file(attributes))
    }

    #[test]
    fn metadata_are_read_with_and_without_a_checksum() {
        let expected = Metadata::decode(PICKLE).unwrap();
        assert_eq!(read(&[(PIECE, PICKLE)]).unwrap(), expected);
        assert_eq!(read(&[(PIECE, PICKLE), (CHECKSUM, b"")]).unwrap(), expected);
        assert_eq!(read(&[(PIECE, PICKLE), (CHECKSUM, &checksum(PICKLE))]).unwrap(), expected);
    }

    #[test]
    fn metadata_may_be_cut_into_pieces() {
        let (first, rest) = PICKLE.split_at(11);
        let (second, third) = rest.split_at(3);
        let pieces = [(PIECE, first), ("user.swift.metadata1", second), ("user.swift.metadata2", third)];
        assert_eq!(read(&pieces).unwrap(), Metadata::decode(PICKLE).unwrap());
        let hidden = [pieces[0], pieces[2]];
        assert!(matches!(read(&hidden), Err(ReadError::Pickle(MetadataError::Truncated))), "what follows a gap");
    }

    #[test]
    fn a_reader_forgets_the_file_before() {
        let mut reader = MetadataReader::default();
        reader.read(file(&[(PIECE, PICKLE)])).unwrap();
        assert!(matches!(reader.read(file(&[])), Err(ReadError::Missing)));
    }

    #[test]
    fn what_is_missing_is_told_from_what_is_damaged() {
        assert!(matches!(read(&[]), Err(ReadError::Missing)));
        assert!(matches!(read(&[(PIECE, b"")]), Err(ReadError::Missing)));
        assert!(matches!(read(&[(PIECE, b"junk")]), Err(ReadError::Pickle(_))));
        let wrong = read(&[(PIECE, PICKLE), (CHECKSUM, b"0123")]).unwrap_err().to_string();
        let right = String::from_utf8(checksum(PICKLE)).unwrap();
        assert_eq!(wrong, format!("its metadata have the checksum '{right}' in place of '0123'"));
        assert!(matches!(read(&[(PIECE, PICKLE), (CHECKSUM, &[b'0'; 100])]), Err(ReadError::Checksum { .. })));
        assert!(matches!(read(&[(CHECKSUM, &checksum(PICKLE))]), Err(ReadError::Checksum { .. })));
    }

    #[test]
    fn a_file_system_without_attributes_is_told() {
        let proc = File::open("/proc/self/status").unwrap();
        assert!(matches!(MetadataReader::default().read(proc), Err(ReadError::NotSupported)));
    }
}
