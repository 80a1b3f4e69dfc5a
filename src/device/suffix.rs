//! The hash of one suffix (B6.13 to B6.20).
//!
//! Each object adds the names of the files that say what it is; their contents are never read. On the way, what is
//! obsolete is deleted, as are tombstones that are older than `reclaim_age`, and folders that this leaves empty. So
//! hashing is also how deleted objects finally go.
//!
//! A folder that was empty before stays while it is new. An object server makes an object's folder, and a moment later
//! opens a file in it; if the folder goes in between, the client's PUT fails with 500. (The reference takes that chance,
//! but it comes by less often.)
//!
//! What is no directory, or cannot be listed, is moved to quarantine and the hashing goes on; any other error leaves the
//! suffix without a hash.

use std::ffi::{CStr, OsStr};
use std::io;
use std::mem;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use log::{Level, debug, error, log};
use md5::{Digest as _, Md5};
use rustix::fs::fstat;
use rustix::io::Errno;

use crate::device::layout::PartitionDir;
use crate::device::listing::{Buffer, Names, open_folder, open_real_folder};
use crate::device::ondisk::{self, Choice, ObjectFile};
use crate::device::quarantine::{QuarantineError, quarantine_entry, quarantine_unlistable};
use crate::device::writes::Writes;
use crate::format::hashes::Digest;
use crate::format::timestamp::Timestamp;
use crate::names::Suffix;

/// Why a suffix has no hash. The text is the line to log.
#[derive(Debug, thiserror::Error)]
pub(super) enum SuffixError {
    #[error("Error hashing suffix {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("Error hashing suffix {}: {source}", path.display())]
    Quarantine { path: PathBuf, source: QuarantineError },
}

/// For how long an empty folder may be one in which somebody is about to store an object. A server that is too busy to
/// open a file in it for so long has other worries.
const NEW: Duration = Duration::from_secs(60);

/// What is left of a folder after it was cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Something.
    Something,
    /// It is there, but empty and new.
    ForWriter,
    Nothing,
}

/// Hashes suffixes of one partition.
pub(super) struct SuffixHasher<'a> {
    dir: &'a PartitionDir,
    /// The partition's folder.
    folder: BorrowedFd<'a>,
    reclaim_age: Duration,
    buffer: Buffer,
    entries: Names,
    files: Names,
}

impl<'a> SuffixHasher<'a> {
    pub(super) fn new(dir: &'a PartitionDir, folder: BorrowedFd<'a>, reclaim_age: Duration) -> Self {
        let (entries, files) = (Names::default(), Names::default());
        Self { dir, folder, reclaim_age, buffer: Buffer::new(), entries, files }
    }

    /// Cleans and hashes a suffix; `None` if there is no such folder, or no longer, or nothing in it yet.
    pub(super) fn hash(&mut self, suffix: Suffix) -> Result<Option<Digest>, SuffixError> {
        let mut entries = mem::take(&mut self.entries);
        let hash = self.hash_entries(suffix, &mut entries);
        self.entries = entries;
        hash
    }

    fn hash_entries(&mut self, suffix: Suffix, entries: &mut Names) -> Result<Option<Digest>, SuffixError> {
        let listed = open_folder(self.folder, suffix.as_str())
            .and_then(|folder| entries.list(&folder, &mut self.buffer).map(|()| folder));
        let folder = match listed {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(self.unreadable(suffix, errno)),
        };
        entries.sort();
        let mut md5 = Md5::new();
        let mut left = if entries.is_empty() && is_new(&folder) { Left::ForWriter } else { Left::Nothing };
        for name in entries.iter() {
            match self.hash_object(suffix, &folder, name, &mut md5) {
                Ok(Left::Something) => left = Left::Something,
                Ok(Left::ForWriter) if left == Left::Nothing => left = Left::ForWriter,
                Ok(_) => {}
                Err(errno) => self.set_aside(suffix, name, errno)?,
            }
        }
        match left {
            Left::ForWriter => Ok(None),
            // The reference always tries; it cannot succeed while something is in there.
            Left::Nothing if self.remove_suffix(suffix) => Ok(None),
            Left::Something | Left::Nothing => Ok(Some(md5.finalize().into())),
        }
    }

    /// Deletes what is obsolete in an object's directory (B6.18, B6.19) and adds what counts to the hash of the suffix;
    /// says what is left of the directory.
    fn hash_object(&mut self, suffix: Suffix, parent: &OwnedFd, name: &CStr, md5: &mut Md5) -> Result<Left, Errno> {
        let mut writes = self.dir.writes();
        let opened = open_real_folder(parent, name).or_else(|errno| {
            // A link counts as what it leads to, as in the reference, but nothing is removed behind it.
            writes = if errno == Errno::NOTDIR { Writes::Imagined } else { writes };
            open_folder(parent, name)
        });
        let listed = opened.and_then(|folder| self.files.list(&folder, &mut self.buffer).map(|()| folder));
        let folder = match listed {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(Left::Nothing),
            Err(errno) => return Err(errno),
        };
        if self.files.is_empty() && is_new(&folder) {
            return Ok(Left::ForWriter);
        }
        let mut choice = ondisk::choose(self.known_files(suffix, name));
        let kept = self.files.len() - self.delete_outdated(&folder, &mut choice, writes);
        feed(md5, &choice);
        let is_gone = kept == 0 && writes == self.dir.writes() && self.remove_object_folder(suffix, parent, name);
        Ok(if is_gone { Left::Nothing } else { Left::Something })
    }

    /// The files whose names have timestamps; the others are logged and otherwise left alone (B6.17).
    fn known_files(&self, suffix: Suffix, name: &CStr) -> Vec<ObjectFile<'_>> {
        let mut known = Vec::with_capacity(self.files.len());
        known.extend(self.files.iter().filter_map(ObjectFile::parse));
        if known.len() < self.files.len() {
            let folder = self.dir.suffix_path(suffix).join(os(name));
            for file in self.files.iter().filter(|file| ObjectFile::parse(file).is_none()) {
                let (level, line) = unexpected(&folder.join(os(file)), os(file));
                log!(level, "{line}");
            }
        }
        known
    }

    /// Unlinks what is obsolete, and what may go once it is old; returns how many files count as gone.
    ///
    /// The reference counts a file as gone even if it could not be unlinked, and so must its hash here. But while an
    /// obsolete file is there, so must be the tombstone that makes it obsolete: the object would come back. For the same
    /// reason the tombstone goes last.
    fn delete_outdated(&self, folder: &OwnedFd, choice: &mut Choice, writes: Writes) -> usize {
        let is_old = |file: &ObjectFile| self.is_reclaimable(file.timestamp);
        let mut gone = 0;
        let mut failed = false;
        for file in choice.obsolete.iter().chain(choice.strays.iter().filter(|file| is_old(file))) {
            gone += 1;
            failed |= !matches!(writes.unlink(folder, file.name), Ok(()) | Err(Errno::NOENT));
        }
        if let Some(tombstone) = choice.tombstone.take_if(|tombstone| is_old(tombstone)) {
            gone += 1;
            if !failed {
                let _ = writes.unlink(folder, tombstone.name);
            }
        }
        gone
    }

    fn is_reclaimable(&self, timestamp: Timestamp) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.as_secs_f64() - timestamp.seconds() > self.reclaim_age.as_secs_f64()
    }

    /// Removes an object's directory in which nothing counts any more; false if it is still there.
    fn remove_object_folder(&self, suffix: Suffix, parent: &OwnedFd, name: &CStr) -> bool {
        match self.dir.writes().remove_folder(parent, name) {
            Ok(()) | Err(Errno::NOENT) => true,
            Err(errno) => {
                if errno != Errno::NOTEMPTY {
                    let path = self.dir.suffix_path(suffix).join(os(name));
                    debug!("Error cleaning up empty hash directory {}: {errno}", path.display());
                }
                false
            }
        }
    }

    /// Removes a suffix's folder in which nothing is left; false if it is still there.
    fn remove_suffix(&self, suffix: Suffix) -> bool {
        let removed = self.dir.writes().remove_folder(self.folder, suffix.as_str());
        matches!(removed, Ok(()) | Err(Errno::NOENT))
    }

    /// Moves an entry to quarantine that is no directory or cannot be listed (B6.20).
    fn set_aside(&self, suffix: Suffix, name: &CStr, errno: Errno) -> Result<(), SuffixError> {
        let (reason, moved) = match errno {
            Errno::NOTDIR => ("it is not a directory", quarantine_entry(self.dir, suffix, os(name))),
            Errno::NODATA | Errno::UCLEAN => {
                ("it could not be listed", quarantine_unlistable(self.dir, suffix, os(name)))
            }
            _ => return Err(self.unreadable(suffix, errno)),
        };
        let moved = moved.map_err(|source| SuffixError::Quarantine { path: self.dir.suffix_path(suffix), source })?;
        error!("Quarantined {} to {} because {reason}", moved.from.display(), moved.to.display());
        Ok(())
    }

    fn unreadable(&self, suffix: Suffix, errno: Errno) -> SuffixError {
        SuffixError::Read { path: self.dir.suffix_path(suffix), source: errno.into() }
    }
}

/// Whether a folder was made, or something in it came or went, a short time ago. In doubt it was.
fn is_new(folder: &OwnedFd) -> bool {
    let Ok(stat) = fstat(folder) else { return true };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // One from the future says only that the clock was set back.
    (stat.st_mtime as u64).abs_diff(now.as_secs()) < NEW.as_secs()
}

/// Adds an object to the hash of its suffix (B6.13).
fn feed(md5: &mut Md5, object: &Choice) {
    let parts = [
        (object.meta, ".meta"),
        (object.tombstone.map(|file| file.timestamp), ".ts"),
        (object.data, ".data"),
        (object.content_type, "_ctype"),
    ];
    for (timestamp, name) in parts {
        if let Some(timestamp) = timestamp {
            md5.update(timestamp.write_internal(&mut [0; 33]));
            md5.update(name);
        }
    }
}

/// What is logged of a file that has no place among an object's (B6.17).
fn unexpected(path: &Path, name: &OsStr) -> (Level, String) {
    if ondisk::is_rsync_tempfile(name.as_bytes()) {
        return (Level::Debug, format!("Rsync tempfile: {}", path.display()));
    }
    let name = name.to_string_lossy();
    let reason = format!("Invalid Timestamp value in filename '{}'", name.escape_debug());
    (Level::Warn, format!("Unexpected file {}: {reason}", path.display()))
}

fn os(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::device::fixture::age;
    use crate::device::listing::faults;
    use crate::format::hashes::digest_to_hex;
    use crate::names::{Partition, PolicyIndex};

    const WEEK: Duration = Duration::from_secs(7 * 86_400);
    const ONE: &str = "77777777777777777777777777777abc";
    const TWO: &str = "88888888888888888888888888888abc";
    /// The hash of a suffix in which nothing counts (B6.14).
    const NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";

    struct Tree {
        root: tempfile::TempDir,
        dir: PartitionDir,
    }

    impl Tree {
        fn new(files: &[(&str, &[&str])]) -> Self {
            let root = tempfile::tempdir().unwrap();
            let dir = PartitionDir::new(root.path(), "sd1", PolicyIndex::new(0), Partition::new(7));
            let tree = Self { root, dir };
            fs::create_dir_all(tree.suffix()).unwrap();
            for (object, names) in files {
                fs::create_dir_all(tree.suffix().join(object)).unwrap();
                for name in *names {
                    fs::write(tree.suffix().join(object).join(name), "").unwrap();
                }
            }
            tree
        }

        fn suffix(&self) -> PathBuf {
            self.dir.suffix_path(suffix())
        }

        fn try_hash(&self) -> Result<Option<String>, SuffixError> {
            let folder = fs::File::open(self.dir.path()).unwrap();
            let hash = SuffixHasher::new(&self.dir, folder.as_fd(), WEEK).hash(suffix())?;
            Ok(hash.map(|digest| String::from_utf8(digest_to_hex(&digest).to_vec()).unwrap()))
        }

        fn hash(&self) -> Option<String> {
            self.try_hash().unwrap()
        }

        /// What is in a folder of the suffix.
        fn left(&self, object: &str) -> Vec<String> {
            let entries = fs::read_dir(self.suffix().join(object)).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    fn suffix() -> Suffix {
        Suffix::from_name(b"abc").unwrap()
    }

    fn md5(text: &str) -> String {
        String::from_utf8(digest_to_hex(&Md5::digest(text).into()).to_vec()).unwrap()
    }

    fn ago(seconds: u64) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        format!("{}.00000", now - seconds)
    }

    #[test]
    fn objects_count_in_the_order_of_their_hashes() {
        let tree =
            Tree::new(&[(TWO, &["1400000000.00002.data", "1400000005.00000.meta"]), (ONE, &["1400000000.00001.data"])]);
        // B6.15: of one object the metadata come before the data.
        assert_eq!(tree.hash().unwrap(), "0bf63558895f7c78f4dc913581661e2c");
    }

    #[test]
    fn obsolete_files_go_and_strays_stay() {
        let names = [
            "1400000000.00000.data",
            "1400000001.00000.data",
            "1400000002.00000.meta",
            "1400000003.00000-19.meta",
            "1400000000.50000.ts",
            "junk",
            ".1400000009.00000.data.Ab12Cd",
        ];
        let tree = Tree::new(&[(ONE, &names)]);
        // B6.15, worked by the reference.
        assert_eq!(tree.hash().unwrap(), "2b69ce6493d220cc4fd9a2591f6ffcd6");
        assert_eq!(tree.left(ONE), [".1400000009.00000.data.Ab12Cd", names[1], names[3], "junk"]);
    }

    #[test]
    fn an_offset_is_part_of_the_hash() {
        let tree = Tree::new(&[(ONE, &["1400000000.00000_0000000000000001.data"])]);
        assert_eq!(tree.hash().unwrap(), "941bdc56c7604ed82f827fd6e9e180ec");
    }

    #[test]
    fn old_tombstones_and_old_stray_metadata_go_and_what_is_empty_goes_with_them() {
        let week = WEEK.as_secs();
        let (old, young) = (ago(week + 60), ago(week - 60));
        let tree = Tree::new(&[(ONE, &[&format!("{old}.ts")]), (TWO, &[&format!("{old}.meta")])]);
        assert_eq!(tree.hash(), None);
        assert!(!tree.suffix().exists());
        let tree = Tree::new(&[(ONE, &[&format!("{young}.ts")]), (TWO, &[&format!("{young}.meta")])]);
        assert_eq!(tree.hash().unwrap(), md5(&format!("{young}.ts")));
        assert_eq!(tree.left(TWO), [format!("{young}.meta")]);
    }

    #[test]
    fn a_tombstone_stays_while_what_it_made_obsolete_cannot_go() {
        let (older, old) = (ago(WEEK.as_secs() + 70), ago(WEEK.as_secs() + 60));
        let tree = Tree::new(&[(ONE, &[&format!("{old}.ts")])]);
        // A folder cannot be unlinked.
        fs::create_dir(tree.suffix().join(ONE).join(format!("{older}.data"))).unwrap();
        assert_eq!(tree.hash().unwrap(), NOTHING, "the hash is that of the reference, where both count as gone");
        assert_eq!(tree.left(ONE), [format!("{older}.data"), format!("{old}.ts")]);
    }

    #[test]
    fn what_has_no_timestamp_keeps_its_place_and_does_not_count() {
        let tree = Tree::new(&[(ONE, &["junk", "inf.data", "nan.ts"])]);
        assert_eq!(tree.hash().unwrap(), NOTHING);
        assert_eq!(tree.left(ONE), ["inf.data", "junk", "nan.ts"]);
    }

    #[test]
    fn unexpected_files_are_named() {
        let line = |name: &str| unexpected(Path::new("/a").join(name).as_path(), OsStr::new(name));
        let warning = "Unexpected file /a/x.data: Invalid Timestamp value in filename 'x.data'".to_owned();
        assert_eq!(line("x.data"), (Level::Warn, warning));
        let tempfile = ".1400000009.00000.data.Ab12Cd";
        assert_eq!(line(tempfile), (Level::Debug, format!("Rsync tempfile: /a/{tempfile}")));
    }

    /// An object server makes the folders, and only then opens a file in them.
    #[test]
    fn what_is_empty_and_new_is_left_for_who_made_it() {
        let tree = Tree::new(&[(ONE, &[])]);
        assert_eq!(tree.hash(), None, "there is nothing in it yet");
        assert!(tree.suffix().join(ONE).exists());
        age(&tree.suffix());
        assert_eq!(tree.hash(), None);
        assert!(tree.suffix().join(ONE).exists());
        fs::remove_dir(tree.suffix().join(ONE)).unwrap();
        assert_eq!(tree.hash(), None, "between the making of the two folders");
        assert!(tree.suffix().exists());
    }

    #[test]
    fn an_empty_and_new_folder_beside_an_object_does_not_count() {
        let tree = Tree::new(&[(ONE, &["1400000000.00001.data"]), (TWO, &[])]);
        let hash = tree.hash();
        age(&tree.suffix().join(TWO));
        assert_eq!(tree.hash(), hash);
        assert!(!tree.suffix().join(TWO).exists());
    }

    #[test]
    fn missing_empty_and_misplaced_suffixes_have_no_hash() {
        let tree = Tree::new(&[(ONE, &[])]);
        age(&tree.suffix().join(ONE));
        assert_eq!(tree.hash(), None);
        assert!(!tree.suffix().exists(), "an empty one is removed");
        assert_eq!(tree.hash(), None, "a missing one");
        fs::write(tree.suffix(), "").unwrap();
        assert_eq!(tree.hash(), None, "a file");
        assert!(tree.suffix().exists());
    }

    #[test]
    fn a_file_in_an_objects_place_is_quarantined_and_the_rest_hashed() {
        let tree = Tree::new(&[(TWO, &["1400000000.00002.data"])]);
        fs::write(tree.suffix().join(ONE), "precious").unwrap();
        assert_eq!(tree.hash().unwrap(), md5("1400000000.00002.data"));
        let quarantined = tree.root.path().join("sd1/quarantined/objects").join(ONE);
        assert_eq!(fs::read_to_string(quarantined).unwrap(), "precious");
        assert_eq!(fs::read_to_string(tree.dir.path().join("hashes.invalid")).unwrap(), "abc\n");
    }

    #[test]
    fn a_folder_that_cannot_be_listed_is_quarantined() {
        for errno in [Errno::NODATA, Errno::UCLEAN] {
            let tree = Tree::new(&[(ONE, &["1400000000.00001.data"]), (TWO, &["1400000000.00002.data"])]);
            let hash = faults::with(ONE, errno, || tree.hash());
            assert_eq!(hash.unwrap(), md5("1400000000.00002.data"));
            assert!(tree.root.path().join("sd1/quarantined/objects").join(ONE).join("1400000000.00001.data").exists());
        }
    }

    #[test]
    fn a_folder_that_cannot_be_moved_takes_its_suffix_with_it() {
        let tree = Tree::new(&[(ONE, &["1400000000.00001.data"]), (TWO, &["1400000000.00002.data"])]);
        let hash = || faults::with(&format!("rename {ONE}"), Errno::IO, || tree.try_hash());
        faults::with(ONE, Errno::NODATA, hash).unwrap();
        assert!(!tree.suffix().exists());
        assert!(tree.root.path().join("sd1/quarantined/objects/abc").join(TWO).exists());
    }

    #[test]
    fn a_folder_that_has_no_place_in_quarantine_leaves_its_suffix_where_it_is() {
        let tree = Tree::new(&[(ONE, &["1400000000.00001.data"]), (TWO, &["1400000000.00002.data"])]);
        fs::write(tree.root.path().join("sd1/quarantined"), "in the way").unwrap();
        let error = faults::with(ONE, Errno::NODATA, || tree.try_hash()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("Error hashing suffix {}: cannot quarantine ", tree.suffix().display())));
        assert_eq!((tree.left(ONE).len(), tree.left(TWO).len()), (1, 1));
    }

    #[test]
    fn any_other_error_leaves_the_suffix_without_a_hash() {
        let tree = Tree::new(&[(ONE, &["1400000000.00001.data"])]);
        let error = faults::with(ONE, Errno::IO, || tree.try_hash()).unwrap_err().to_string();
        assert_eq!(error, format!("Error hashing suffix {}: Input/output error (os error 5)", tree.suffix().display()));
        let error = faults::with("abc", Errno::IO, || tree.try_hash()).unwrap_err().to_string();
        assert_eq!(error, format!("Error hashing suffix {}: Input/output error (os error 5)", tree.suffix().display()));
        symlink(TWO, tree.suffix().join(TWO)).unwrap();
        assert!(tree.try_hash().is_err(), "a symlink that leads nowhere but to itself");
    }

    #[test]
    fn nothing_is_removed_behind_a_symlink() {
        let week = WEEK.as_secs();
        let tombstone = format!("{}.ts", ago(week + 60));
        for names in [&["1400000000.00001.data", "1400000000.00002.data"][..], &[&tombstone], &[]] {
            let tree = Tree::new(&[]);
            let elsewhere = tree.root.path().join("elsewhere");
            fs::create_dir(&elsewhere).unwrap();
            names.iter().for_each(|name| fs::write(elsewhere.join(name), "").unwrap());
            age(&elsewhere);
            symlink(&elsewhere, tree.suffix().join(ONE)).unwrap();
            let hash = tree.hash().unwrap();
            assert_eq!(tree.left(ONE), names);
            // What the reference makes of it, since it takes what is obsolete for gone.
            assert_eq!(hash, if names.len() == 2 { md5("1400000000.00002.data") } else { NOTHING.to_owned() });
        }
    }

    #[test]
    fn a_symlink_that_leads_to_no_folder_is_moved_itself() {
        let tree = Tree::new(&[(TWO, &["1400000000.00002.data"])]);
        let elsewhere = tree.root.path().join("elsewhere");
        fs::write(&elsewhere, "precious").unwrap();
        symlink(&elsewhere, tree.suffix().join(ONE)).unwrap();
        assert_eq!(tree.hash().unwrap(), md5("1400000000.00002.data"));
        assert!(tree.root.path().join("sd1/quarantined/objects").join(ONE).is_symlink());
        assert_eq!(fs::read_to_string(elsewhere).unwrap(), "precious");
    }

    #[test]
    fn an_object_behind_a_symlink_is_listed_through_it() {
        let tree = Tree::new(&[(ONE, &["1400000000.00001.data"])]);
        symlink(ONE, tree.suffix().join(TWO)).unwrap();
        assert_eq!(tree.hash().unwrap(), md5("1400000000.00001.data1400000000.00001.data"));
    }
}
