//! The data of an object, hashed while it is read (B9.21).

use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;

use rustix::fs::Advice;
use rustix::io::Errno;

use crate::format::hashes::digest_to_hex;
use crate::format::md5::Md5;

/// Pages of the page cache are given back after so many bytes, as the reference does: what is read here is not read
/// again.
const DROP_AFTER: u64 = 1 << 20;

/// An open data file.
#[derive(Debug)]
pub(crate) struct ObjectData {
    file: OwnedFd,
    length: u64,
    read: u64,
    dropped: u64,
    md5: Md5,
    /// What the metadata say that the hash is.
    etag: Vec<u8>,
}

impl ObjectData {
    pub(super) fn new(file: OwnedFd, length: u64, etag: &[u8]) -> Self {
        Self { file, length, read: 0, dropped: 0, md5: Md5::default(), etag: etag.to_owned() }
    }

    /// How many bytes there are in all.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// How many bytes have not been read yet.
    pub(crate) fn remaining(&self) -> u64 {
        self.length - self.read
    }

    /// Fills `room` with the next bytes; it must not be larger than what remains.
    ///
    /// # Errors
    /// [`DataError::Io`] if the disk fails, [`DataError::Short`] if the file ends before `room` is full.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> Result<(), DataError> {
        let filled = self.fill(room).map_err(|errno| DataError::Io(errno.into()))?;
        self.md5.update(&room[..filled]);
        self.read += filled as u64;
        if self.read - self.dropped > DROP_AFTER || self.remaining() == 0 {
            self.drop_pages();
        }
        if filled < room.len() {
            return Err(DataError::Short { read: self.read, length: self.length });
        }
        Ok(())
    }

    /// Reads until there is no room or nothing left.
    fn fill(&self, room: &mut [u8]) -> Result<usize, Errno> {
        #[cfg(test)]
        faults::strike(self.read)?;
        let mut filled = 0;
        while filled < room.len() {
            match rustix::io::read(&self.file, &mut room[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(filled)
    }

    fn drop_pages(&mut self) {
        if let Some(length) = NonZeroU64::new(self.read - self.dropped) {
            // A hint, no more.
            let _ = rustix::fs::fadvise(&self.file, self.dropped, Some(length), Advice::DontNeed);
        }
        self.dropped = self.read;
    }

    /// Compares the hash of all that was read with the metadata.
    ///
    /// # Errors
    /// [`DataError::Different`] if the two hashes differ.
    pub(crate) fn verify(&self) -> Result<(), DataError> {
        let md5 = digest_to_hex(&self.md5.clone().finish());
        if md5[..] == self.etag[..] {
            return Ok(());
        }
        let etag = String::from_utf8_lossy(&self.etag).into_owned();
        Err(DataError::Different { etag, md5: md5.escape_ascii().to_string() })
    }
}

/// What bad disks answer in the middle of a file, for tests.
#[cfg(test)]
pub(crate) mod faults {
    use std::cell::Cell;

    use super::Errno;

    thread_local! {
        static FAULT: Cell<Option<(u64, Errno)>> = const { Cell::new(None) };
    }

    /// Lets the reading of data fail beyond so many bytes, on this thread, while `run` runs.
    pub(crate) fn beyond<T>(offset: u64, errno: Errno, run: impl FnOnce() -> T) -> T {
        FAULT.set(Some((offset, errno)));
        let result = run();
        FAULT.set(None);
        result
    }

    pub(super) fn strike(offset: u64) -> Result<(), Errno> {
        FAULT.get().filter(|(from, _)| offset >= *from).map_or(Ok(()), |(_, errno)| Err(errno))
    }
}

/// Why data cannot be read, or cannot be trusted. The texts are those that the reference gives as reasons for a
/// quarantine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    /// The disk fails.
    #[error("{}", crate::python::error_text(.0))]
    Io(#[source] io::Error),
    /// The file ends too early.
    #[error("Bytes read: {read}, does not match metadata: {length}")]
    Short {
        /// So many bytes were there.
        read: u64,
        /// So many there should be.
        length: u64,
    },
    /// The data are not those that were stored.
    #[error("ETag {etag} and file's md5 {md5} do not match")]
    Different {
        /// What the metadata say.
        etag: String,
        /// What the data say.
        md5: String,
    },
}

impl DataError {
    /// Whether the object is damaged beyond doubt, or its disk is.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Io(error) => error.raw_os_error() == Some(Errno::IO.raw_os_error()),
            Self::Short { .. } | Self::Different { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use super::*;
    use crate::device::fixture::md5_hex;

    fn data(content: &[u8], length: u64, etag: &str) -> ObjectData {
        let path = tempfile::NamedTempFile::new().unwrap();
        path.as_file().write_all(content).unwrap();
        ObjectData::new(File::open(path.path()).unwrap().into(), length, etag.as_bytes())
    }

    /// Reads so many bytes.
    fn read(data: &mut ObjectData, count: usize) -> Result<Vec<u8>, DataError> {
        let mut room = vec![0; count];
        data.read(&mut room).map(|()| room)
    }

    #[test]
    fn data_are_read_and_hashed() {
        let mut data = data(b"some data", 9, &md5_hex(b"some data"));
        assert_eq!(read(&mut data, 5).unwrap(), b"some ");
        assert_eq!((data.length(), data.remaining()), (9, 4));
        assert_eq!(read(&mut data, 4).unwrap(), b"data");
        assert_eq!(data.remaining(), 0);
        data.verify().unwrap();
    }

    #[test]
    fn much_is_read_though_the_pages_are_given_back() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let mut data = data(&content, content.len() as u64, &md5_hex(&content));
        let mut out = Vec::new();
        while data.remaining() > 0 {
            let count = data.remaining().min(65_536) as usize;
            out.extend(read(&mut data, count).unwrap());
        }
        assert!(out == content);
        data.verify().unwrap();
    }

    #[test]
    fn a_file_that_has_become_shorter_is_told() {
        let mut data = data(b"some", 9, &md5_hex(b"some data"));
        let error = read(&mut data, 9).unwrap_err();
        assert_eq!(error.to_string(), "Bytes read: 4, does not match metadata: 9");
        assert!(error.is_damage());
    }

    #[test]
    fn other_data_than_were_stored_are_told() {
        let mut data = data(b"evil", 4, &md5_hex(b"good"));
        read(&mut data, 4).unwrap();
        let error = data.verify().unwrap_err();
        let expected = format!("ETag {} and file's md5 {} do not match", md5_hex(b"good"), md5_hex(b"evil"));
        assert_eq!(error.to_string(), expected);
        assert!(error.is_damage());
    }

    #[test]
    fn a_disk_that_fails_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut data = ObjectData::new(File::open(folder.path()).unwrap().into(), 4, b"");
        let error = read(&mut data, 4).unwrap_err();
        assert_eq!(error.to_string(), "[Errno 21] Is a directory");
        assert!(!error.is_damage() && DataError::Io(Errno::IO.into()).is_damage());
    }
}
