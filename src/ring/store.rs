//! A policy's ring file, and the ring that was last read from it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use super::{Fault, Ring, RingError};

use crate::locks::{lock, read, write};

/// What tells one state of a file from another.
///
/// Swift looks at the modification time alone, and takes any other one for a change, older ones too (B3.14). Inode and
/// size are there for rings that are copied in with the time that they had elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: (i64, i64),
    inode: (u64, u64),
    size: u64,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
        }
    }

    /// The modification time, as Unix time.
    pub(super) fn modified(&self) -> f64 {
        let (seconds, nanoseconds) = self.modified;
        seconds as f64 + nanoseconds as f64 / 1e9
    }
}

/// What a look at a ring file brought.
#[derive(Debug)]
pub(crate) enum Refresh {
    /// The file is the one that the kept ring was read from.
    Unchanged,
    /// The file is another, whose ring is kept from now on.
    Changed,
    /// The file is gone, or another that cannot be read; the ring before it is still kept. Looking again reads again.
    Failed(RingError),
}

/// A ring file, which many threads read and one or more watch.
#[derive(Debug)]
pub(crate) struct RingFile {
    path: PathBuf,
    current: RwLock<Option<Arc<Ring>>>,
    /// Held by whoever reads the file, so that a change is read, and told of, once.
    loading: Mutex<()>,
}

impl RingFile {
    /// The file with this path; nothing is read yet.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), current: RwLock::default(), loading: Mutex::default() }
    }

    /// The ring that is kept, if one was loaded.
    pub(crate) fn current(&self) -> Option<Arc<Ring>> {
        read(&self.current).clone()
    }

    /// The ring that is kept; the first call reads the file.
    ///
    /// # Errors
    /// [`RingError`] if the file cannot be read or is not a ring, and no ring was read from it before.
    pub(crate) fn load(&self) -> Result<Arc<Ring>, RingError> {
        let _loading = lock(&self.loading);
        match self.current() {
            Some(ring) => Ok(ring),
            None => self.read(),
        }
    }

    /// Looks whether the file changed (one `stat` if it did not), and if so reads it (B3.14).
    pub(crate) fn refresh(&self) -> Refresh {
        let _loading = lock(&self.loading);
        if let Some(ring) = self.current() {
            match self.is_current(&ring) {
                Ok(true) => return Refresh::Unchanged,
                Ok(false) => {}
                Err(error) => {
                    return Refresh::Failed(RingError { path: self.path.clone(), fault: Fault::Io(error) });
                }
            }
        }
        self.read().map_or_else(Refresh::Failed, |_| Refresh::Changed)
    }

    /// Whether the file on disk is still the one that this ring was read from.
    ///
    /// # Errors
    /// The system's error if the state of the file cannot be read; `NotFound` if the file is gone.
    pub(crate) fn is_current(&self, ring: &Ring) -> io::Result<bool> {
        Ok(Stamp::of(&fs::metadata(&self.path)?) == ring.stamp)
    }

    fn read(&self) -> Result<Arc<Ring>, RingError> {
        let ring = Arc::new(Ring::load(&self.path)?);
        *write(&self.current) = Some(Arc::clone(&ring));
        Ok(ring)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::thread;
    use std::time::{Duration, SystemTime};

    use tempfile::TempDir;

    use std::path::Path;

    use super::*;
    use crate::ring::testing::{EXAMPLE_V1, device, ring_1};

    /// A file with the example's ring.
    fn example() -> (TempDir, RingFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object.ring.gz");
        fs::write(&path, EXAMPLE_V1).unwrap();
        (folder, RingFile::new(path))
    }

    fn set_modified(path: &Path, time: SystemTime) {
        File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    }

    fn one_device() -> Vec<u8> {
        ring_1(&[device(0, 1, 1, "10.0.0.1")], 0, 1, &[0])
    }

    #[test]
    fn a_ring_is_loaded_once_and_kept() {
        let (_folder, file) = example();
        assert!(file.current().is_none());
        let ring = file.load().unwrap();
        assert!(Arc::ptr_eq(&ring, &file.load().unwrap()));
        assert!(Arc::ptr_eq(&ring, &file.current().unwrap()));
        assert!(matches!(file.refresh(), Refresh::Unchanged));
        assert!(file.is_current(&ring).unwrap());
    }

    #[test]
    fn any_other_modification_time_is_a_change_and_older_ones_too() {
        let (_folder, file) = example();
        let ring = file.load().unwrap();
        set_modified(&file.path, SystemTime::now() - Duration::from_secs(86_400));
        assert!(!file.is_current(&ring).unwrap());
        assert!(matches!(file.refresh(), Refresh::Changed));
        let changed = file.current().unwrap();
        assert!(!Arc::ptr_eq(&ring, &changed));
        assert!(Arc::ptr_eq(&changed, &file.current().unwrap()));
        assert!(matches!(file.refresh(), Refresh::Unchanged));
    }

    #[test]
    fn a_file_put_in_place_with_the_old_time_is_a_change() {
        let (folder, file) = example();
        file.load().unwrap();
        let modified = fs::metadata(&file.path).unwrap().modified().unwrap();
        let other = folder.path().join("copy");
        fs::write(&other, one_device()).unwrap();
        set_modified(&other, modified);
        fs::rename(&other, &file.path).unwrap();
        assert!(matches!(file.refresh(), Refresh::Changed));
        let changed = file.current().unwrap();
        assert_eq!(changed.partition_count(), 1);
    }

    #[test]
    fn a_ring_that_cannot_be_read_leaves_the_old_one_until_it_can() {
        let (_folder, file) = example();
        let ring = file.load().unwrap();
        fs::write(&file.path, &EXAMPLE_V1[..200]).unwrap();
        for _ in 0..2 {
            let Refresh::Failed(error) = file.refresh() else { panic!("half a ring is none") };
            assert!(matches!(error.fault, Fault::Truncated(_)), "{error}");
            assert!(Arc::ptr_eq(&ring, &file.current().unwrap()));
            assert!(!file.is_current(&ring).unwrap());
        }
        fs::remove_file(&file.path).unwrap();
        assert!(matches!(file.refresh(), Refresh::Failed(RingError { fault: Fault::Io(_), .. })));
        assert!(file.is_current(&ring).is_err());
        fs::write(&file.path, one_device()).unwrap();
        assert!(matches!(file.refresh(), Refresh::Changed));
    }

    #[test]
    fn a_ring_that_was_missing_at_first_is_loaded_when_it_comes() {
        let (_folder, file) = example();
        fs::remove_file(&file.path).unwrap();
        assert!(file.load().is_err());
        assert!(matches!(file.refresh(), Refresh::Failed(_)));
        assert!(file.current().is_none());
        fs::write(&file.path, EXAMPLE_V1).unwrap();
        assert!(matches!(file.refresh(), Refresh::Changed));
    }

    #[test]
    fn one_change_is_told_of_once_to_many_threads() {
        let (_folder, file) = example();
        file.load().unwrap();
        set_modified(&file.path, SystemTime::UNIX_EPOCH);
        let told = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| matches!(file.refresh(), Refresh::Changed))).collect();
            threads.into_iter().map(|thread| u32::from(thread.join().unwrap())).sum::<u32>()
        });
        assert_eq!(told, 1);
    }
}
