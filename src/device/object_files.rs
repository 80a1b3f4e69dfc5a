//! The files that say what an object is, by name, and what tells a file from another that takes its name.

use std::ffi::{CStr, CString};
use std::time::{Duration, SystemTime};

use rustix::fs::Stat;

use crate::clock;
use crate::device::listing::Names;
use crate::device::ondisk::{self, ObjectFile};
use crate::format::object::Times;

/// What tells a file from any other, also from one that later has its name or its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
    /// When the file was last changed in any way, in nanoseconds since the epoch.
    changed: i64,
    size: u64,
}

/// After this time a file that is changed once more has another time of change, even if times are counted in seconds. The
/// clock that files are stamped with may be some milliseconds late.
pub(super) const SETTLES_IN: Duration = Duration::from_millis(1050);

impl FileIdentity {
    /// Whether any later change would show: not so if times are counted in seconds, and the last change was in this one.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let now = clock::since_epoch(now);
        let counts_seconds = self.changed % 1_000_000_000 == 0;
        // One from the future says only that the clock was set back, which is later than no change can be.
        let apart = u128::from(self.changed.unsigned_abs()).abs_diff(now.as_nanos());
        !counts_seconds || apart >= SETTLES_IN.as_nanos()
    }

    /// All of it, for a digest.
    pub(super) fn to_bytes(self) -> [u8; 32] {
        let Self { device, inode, changed, size } = self;
        let mut bytes = [0; 32];
        for (place, word) in bytes.chunks_exact_mut(8).zip([device, inode, changed.cast_unsigned(), size]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

impl From<&Stat> for FileIdentity {
    fn from(stat: &Stat) -> Self {
        let (seconds, nanoseconds): (i64, i64) = (stat.st_ctime as _, stat.st_ctime_nsec as _);
        let changed = seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds);
        Self { device: stat.st_dev as _, inode: stat.st_ino as _, changed, size: stat.st_size as _ }
    }
}

/// A file of an object's folder: its name, and what tells it from others.
pub(crate) type FileMark = (CString, FileIdentity);

/// The files that count in an object's folder (B6.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ObjectFiles<'n> {
    /// The data, or the tombstone.
    pub(super) main: &'n CStr,
    pub(super) is_deleted: bool,
    /// The newest metadata, if they are newer than the data or the tombstone. Beside a tombstone they do not count, but go
    /// with it: a DELETE and a later POST that each missed a node leave both.
    pub(super) meta: Option<&'n CStr>,
    /// Older metadata, which are kept for the sake of a newer content type.
    pub(super) older_meta: Option<&'n CStr>,
    pub(super) times: Times,
    /// Whether there are older files of which these are the successors.
    pub(super) has_outdated: bool,
}

impl<'n> ObjectFiles<'n> {
    /// What counts among the files of a folder; `None` if there is neither data nor a tombstone.
    pub(super) fn among(names: &'n Names) -> Option<Self> {
        let mut files = Vec::with_capacity(names.len());
        files.extend(names.iter().filter_map(ObjectFile::parse));
        let choice = ondisk::choose(files.clone());
        let has_outdated = !choice.obsolete.is_empty();
        if let Some(tombstone) = choice.tombstone {
            let times = Times { data: tombstone.timestamp, meta: None, content_type: None };
            let main = tombstone.name;
            let mut strays = choice.strays.iter().map(|stray| stray.name);
            let (meta, older_meta) = (strays.next(), strays.next());
            return Some(Self { main, is_deleted: true, meta, older_meta, times, has_outdated });
        }
        let times = Times { data: choice.data?, meta: choice.meta, content_type: choice.content_type };
        let kept = |extension: &'static [u8]| {
            let counts = move |file: &&ObjectFile<'n>| file.name.to_bytes().ends_with(extension);
            files.iter().filter(counts).filter(|file| !choice.obsolete.contains(file))
        };
        let main = kept(b".data").max_by_key(|file| (file.timestamp, file.name))?.name;
        let meta = kept(b".meta").max_by_key(|file| (file.timestamp, file.name)).map(|file| file.name);
        let older_meta = kept(b".meta").map(|file| file.name).find(|name| Some(*name) != meta);
        Some(Self { main, is_deleted: false, meta, older_meta, times, has_outdated })
    }

    /// The names of the files.
    pub(super) fn names(&self) -> impl Iterator<Item = &'n CStr> {
        [Some(self.main), self.meta, self.older_meta].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::device::listing::{Buffer, open_folder};

    /// What counts among files of these names, as `main [meta] [older meta]`; `+` if something is outdated.
    fn counting(files: &[&str]) -> String {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|file| fs::write(dir.path().join(file), "").unwrap());
        let (mut names, mut buffer) = (Names::default(), Buffer::new());
        names.list(open_folder(rustix::fs::CWD, dir.path()).unwrap(), &mut buffer).unwrap();
        let Some(found) = ObjectFiles::among(&names) else { return "nothing".to_owned() };
        assert_eq!(found.is_deleted, found.main.to_bytes().ends_with(b".ts"));
        let names: Vec<_> = found.names().map(|name| name.to_str().unwrap()).collect();
        names.join(" ") + if found.has_outdated { " +" } else { "" }
    }

    #[test]
    fn data_and_newer_metadata_count() {
        assert_eq!(counting(&["0000000002.00000.data"]), "0000000002.00000.data");
        assert_eq!(
            counting(&["0000000002.00000.data", "0000000003.00000.meta", "junk"]),
            "0000000002.00000.data 0000000003.00000.meta"
        );
        assert_eq!(
            counting(&["0000000002.00000.data", "0000000005.00000.meta", "0000000004.00000-5.meta"]),
            "0000000002.00000.data 0000000005.00000.meta 0000000004.00000-5.meta"
        );
    }

    #[test]
    fn what_has_a_successor_is_outdated() {
        assert_eq!(counting(&["0000000001.00000.data", "0000000002.00000.data"]), "0000000002.00000.data +");
        assert_eq!(counting(&["0000000001.00000.meta", "0000000002.00000.data"]), "0000000002.00000.data +");
        assert_eq!(counting(&["0000000001.00000.data", "0000000002.00000.ts"]), "0000000002.00000.ts +");
    }

    #[test]
    fn metadata_beside_a_tombstone_go_with_it() {
        assert_eq!(
            counting(&["0000000003.00000.meta", "0000000002.00000.ts"]),
            "0000000002.00000.ts 0000000003.00000.meta"
        );
        assert_eq!(
            counting(&["0000000001.00000.ts", "0000000005.00000.meta", "0000000004.00000-5.meta"]),
            "0000000001.00000.ts 0000000005.00000.meta 0000000004.00000-5.meta"
        );
        let deleted = ["0000000001.00000.data", "0000000002.00000.ts", "0000000003.00000.meta"];
        assert_eq!(counting(&deleted), "0000000002.00000.ts 0000000003.00000.meta +");
    }

    #[test]
    fn a_file_is_settled_when_any_change_would_show() {
        let at = |nanoseconds: i64| FileIdentity { device: 1, inode: 1, changed: nanoseconds, size: 0 };
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
        let second = 1_000_000_000;
        assert!(!at(1_700_000_000 * second).is_settled(now));
        assert!(at(1_700_000_000 * second + 1).is_settled(now), "times are counted finely here");
        assert!(at(1_699_999_999 * second).is_settled(now), "1.5 s ago");
        assert!(at(1_700_003_600 * second).is_settled(now), "the clock was set back");
    }

    #[test]
    fn metadata_alone_are_nothing() {
        assert_eq!(counting(&[]), "nothing");
        assert_eq!(counting(&["0000000003.00000.meta", "junk"]), "nothing");
    }

    #[test]
    fn the_same_name_and_inode_do_not_make_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let identity = || FileIdentity::from(&rustix::fs::stat(&path).unwrap());
        fs::write(&path, "one").unwrap();
        let before = identity();
        assert_eq!(identity(), before);
        fs::write(&path, "more").unwrap();
        assert_ne!(identity(), before);
        let before = identity();
        fs::write(dir.path().join("other"), "more").unwrap();
        fs::rename(dir.path().join("other"), &path).unwrap();
        assert_ne!(identity(), before);
    }
}
