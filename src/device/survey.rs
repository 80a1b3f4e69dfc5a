//! Which objects a partition has: what an SSYNC sender offers (B9.6).
//!
//! If objects may be removed afterwards, each suffix is hashed before it is listed, which is how obsolete files and old
//! tombstones go: nothing may be removed on a receiver's word that has an older version lying beside it. An update has
//! just hashed what it pushes.
//!
//! A partition, a suffix or an object's folder may be a symbolic link: what is behind it is offered too, as the reference
//! does. But it is never marked for removal.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::error;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::device::layout::PartitionDir;
use crate::device::listing::{Buffer, Names, open_folder_or_link};
use crate::device::object_files::{FileIdentity, FileMark, ObjectFiles};
use crate::device::suffix::SuffixHasher;
use crate::format::object::{ObjectHash, Times};
use crate::names::Suffix;

/// The partition's folder cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}: {source}", path.display())]
pub struct SurveyError {
    /// The folder.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// What the survey is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To have the objects elsewhere too.
    Update,
    /// To have them elsewhere instead: they are cleaned, and each comes with what identifies its files.
    Removal {
        /// How long tombstones are kept.
        reclaim_age: Duration,
    },
}

/// An object that was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// The hash of its name.
    pub hash: ObjectHash,
    /// When its parts were written.
    pub times: Times,
    /// The files that say so, if they may be removed. None if one cannot be looked at, if an older version of the object is
    /// still there, which would come back, or if they are behind a symbolic link.
    pub marks: Vec<FileMark>,
}

/// Looks for the objects of a partition.
pub(crate) struct Survey<'a> {
    dir: &'a PartitionDir,
    folder: OwnedFd,
    is_link: bool,
    purpose: Purpose,
    buffer: Buffer,
    entries: Names,
    files: Names,
    others: usize,
    examples: Vec<PathBuf>,
}

/// So many of what is not shown are named.
const MAX_EXAMPLES: usize = 3;

impl<'a> Survey<'a> {
    /// Opens the partition.
    ///
    /// # Errors
    /// [`SurveyError`] if the partition's folder cannot be opened.
    pub(crate) fn new(dir: &'a PartitionDir, purpose: Purpose) -> Result<Self, SurveyError> {
        let (folder, is_link) = open_folder_or_link(rustix::fs::CWD, dir.path())
            .map_err(|errno| SurveyError { path: dir.path().to_owned(), source: errno.into() })?;
        let (entries, files) = (Names::default(), Names::default());
        Ok(Self {
            dir,
            folder,
            is_link,
            purpose,
            buffer: Buffer::new(),
            entries,
            files,
            others: 0,
            examples: Vec::new(),
        })
    }

    /// How many entries of the suffixes so far were no objects, or could not be looked at.
    pub(crate) fn others(&self) -> usize {
        self.others
    }

    /// The first few of them.
    pub(crate) fn other_examples(&self) -> &[PathBuf] {
        &self.examples
    }

    /// Shows the objects of a suffix in the order of the folder, until `visit` fails.
    ///
    /// What cannot be read is logged and left out.
    ///
    /// # Errors
    /// The first error that `visit` returns.
    pub(crate) fn suffix<E>(&mut self, suffix: Suffix, mut visit: impl FnMut(Found) -> Result<(), E>) -> Result<(), E> {
        let Some((folder, is_link)) = self.list(suffix) else { return Ok(()) };
        let entries = std::mem::take(&mut self.entries);
        let visited = entries.iter().try_for_each(|name| {
            let found = match self.examine(suffix, &folder, is_link, name) {
                Ok(Some(found)) => found,
                Ok(None) => {
                    self.leave_out(&self.dir.suffix_path(suffix).join(OsStr::from_bytes(name.to_bytes())));
                    return Ok(());
                }
                Err(Errno::NOENT) => return Ok(()),
                Err(errno) => {
                    self.skip(&self.dir.suffix_path(suffix).join(name.to_string_lossy().as_ref()), errno.into());
                    return Ok(());
                }
            };
            visit(found)
        });
        self.entries = entries;
        visited
    }

    /// Lists a suffix, and says whether it is behind a link; `None` if nothing is to be found there.
    fn list(&mut self, suffix: Suffix) -> Option<(OwnedFd, bool)> {
        if let Purpose::Removal { reclaim_age } = self.purpose
            && !self.clean(suffix, reclaim_age)
        {
            return None;
        }
        let listed = open_folder_or_link(&self.folder, suffix.as_str())
            .and_then(|(folder, is_link)| self.entries.list(&folder, &mut self.buffer).map(|()| (folder, is_link)));
        match listed {
            Ok((folder, is_link)) => Some((folder, is_link || self.is_link)),
            Err(Errno::NOENT) => None,
            Err(errno) => {
                self.skip(&self.dir.suffix_path(suffix), errno.into());
                None
            }
        }
    }

    /// Removes what is obsolete in a suffix; false if that was all there was.
    ///
    /// Where the suffix goes with it, its hash is to be forgotten (B9.6), unless the partition goes too: that is for the
    /// one who removes to do. Here it would be taken for somebody's claim to the partition, and keep it.
    fn clean(&self, suffix: Suffix, reclaim_age: Duration) -> bool {
        match SuffixHasher::new(self.dir, self.folder.as_fd(), reclaim_age).hash(suffix) {
            Ok(Some(_)) => true,
            Ok(None) => false,
            // What can be read is offered all the same.
            Err(error) => {
                error!("{error}");
                true
            }
        }
    }

    fn leave_out(&mut self, path: &Path) {
        self.others += 1;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(path.to_owned());
        }
    }

    fn skip(&mut self, path: &Path, error: io::Error) {
        self.leave_out(path);
        error!("ERROR: Skipping '{}' due to error with listdir attempt: {error}", path.display());
    }

    /// What an entry of a suffix is; `None` if it is no object.
    fn examine(
        &mut self,
        suffix: Suffix,
        parent: &OwnedFd,
        behind_link: bool,
        name: &CStr,
    ) -> Result<Option<Found>, Errno> {
        let Some(hash) = ObjectHash::from_name(name.to_bytes()).filter(|hash| hash.suffix() == suffix) else {
            return Ok(None);
        };
        let (folder, is_link) = open_folder_or_link(parent, name)?;
        self.files.list(&folder, &mut self.buffer)?;
        let Some(files) = ObjectFiles::among(&self.files) else { return Ok(None) };
        let is_removable = self.purpose != Purpose::Update && !files.has_outdated && !is_link && !behind_link;
        let marks = if is_removable { marks(&folder, &files) } else { Vec::new() };
        Ok(Some(Found { hash, times: files.times, marks }))
    }
}

/// What identifies the files; nothing if one cannot be looked at.
fn marks(folder: &OwnedFd, files: &ObjectFiles<'_>) -> Vec<FileMark> {
    let mark = |name: &CStr| {
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((name.to_owned(), FileIdentity::from(&stat)))
    };
    files.names().map(mark).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::fs;

    use super::*;
    use crate::device::fixture::{Fixture, logged};
    use crate::device::listing::faults;

    const NAME: &str = "/a/c/o";
    const FOR_REMOVAL: Purpose = Purpose::Removal { reclaim_age: Duration::from_secs(7 * 86_400) };

    /// A time so many seconds ago.
    fn ago(seconds: u64) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        format!("{:010}.00000", now - seconds)
    }

    /// The objects of the suffix that `NAME` is in, and how many other entries there are.
    fn survey(fixture: &Fixture) -> (Vec<Found>, usize) {
        let mut survey = Survey::new(&fixture.dir, FOR_REMOVAL).unwrap();
        let mut all = Vec::new();
        let Ok(()) = survey.suffix(fixture.hash(NAME).suffix(), |found| {
            all.push(found);
            Ok::<_, Infallible>(())
        });
        (all, survey.others())
    }

    fn names(found: &Found) -> Vec<&str> {
        found.marks.iter().map(|(name, _)| name.to_str().unwrap()).collect()
    }

    #[test]
    fn objects_are_found_with_their_times_and_files() {
        let fixture = Fixture::new();
        let (stored, changed) = (ago(20), ago(10));
        fixture.put(NAME, &stored, b"data", &[]);
        fixture.post(NAME, &changed, &[]);
        let (found, others) = survey(&fixture);
        assert_eq!((found.len(), others), (1, 0));
        assert_eq!(found[0].hash, fixture.hash(NAME));
        assert_eq!(found[0].times.data.to_string(), stored);
        assert_eq!(found[0].times.meta.unwrap().to_string(), changed);
        assert_eq!(names(&found[0]), [format!("{stored}.data"), format!("{changed}.meta")]);
    }

    #[test]
    fn a_tombstone_is_an_object_until_it_is_old() {
        let fixture = Fixture::new();
        let deleted = ago(10);
        fixture.delete(NAME, &deleted);
        let (found, _) = survey(&fixture);
        assert_eq!(found[0].times.data.to_string(), deleted);
        assert_eq!(names(&found[0]), [format!("{deleted}.ts")]);

        let fixture = Fixture::new();
        fixture.delete(NAME, &ago(8 * 86_400));
        assert_eq!(survey(&fixture).0.len(), 0);
        assert!(!fixture.folder(NAME).exists());
    }

    #[test]
    fn metadata_beside_a_tombstone_are_marked_with_it_and_alone_are_no_object() {
        let fixture = Fixture::new();
        let (deleted, posted) = (ago(20), ago(10));
        fixture.delete(NAME, &deleted);
        fixture.post(NAME, &posted, &[]);
        let (found, others) = survey(&fixture);
        assert_eq!((found.len(), others, found[0].times.meta), (1, 0, None));
        assert_eq!(names(&found[0]), [format!("{deleted}.ts"), format!("{posted}.meta")]);

        fs::remove_file(fixture.folder(NAME).join(format!("{deleted}.ts"))).unwrap();
        let (found, others) = survey(&fixture);
        assert_eq!((found.len(), others), (0, 1));
        assert!(fixture.folder(NAME).join(format!("{posted}.meta")).exists());

        let fixture = Fixture::new();
        fixture.post(NAME, &ago(8 * 86_400), &[]);
        assert_eq!((survey(&fixture).0.len(), fixture.folder(NAME).exists()), (0, false), "it is old");
    }

    /// An object server makes an object's folder before it opens a file in it.
    #[test]
    fn a_suffix_with_nothing_in_it_yet_stays() {
        let fixture = Fixture::new();
        fs::create_dir_all(fixture.folder(NAME)).unwrap();
        let (found, others) = survey(&fixture);
        assert_eq!((found.len(), others), (0, 0));
        assert!(fixture.folder(NAME).exists());
    }

    /// A change of these is taken for somebody's claim to the partition.
    #[test]
    fn what_is_known_of_hashes_is_not_touched() {
        let fixture = Fixture::new();
        fixture.put("/a/c/other", &ago(10), b"data", &[]);
        fixture.delete(NAME, &ago(8 * 86_400));
        survey(&fixture);
        assert!(!fixture.folder(NAME).exists());
        for name in ["hashes.invalid", "hashes.pkl"] {
            assert!(!fixture.dir.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn obsolete_files_go_before_anything_is_offered() {
        let fixture = Fixture::new();
        let newest = ago(10);
        fixture.put(NAME, &ago(20), b"older", &[]);
        fixture.put(NAME, &newest, b"newer", &[]);
        let (found, _) = survey(&fixture);
        assert_eq!(names(&found[0]), [format!("{newest}.data")]);
        assert_eq!(fs::read_dir(fixture.folder(NAME)).unwrap().count(), 1);
    }

    #[test]
    fn an_object_with_an_older_version_beside_it_has_no_marks() {
        let fixture = Fixture::new();
        let newest = ago(10);
        fixture.put(NAME, &newest, b"newer", &[]);
        // A folder cannot be unlinked, as a file may not be on a failing disk.
        fs::create_dir(fixture.folder(NAME).join(format!("{}.data", ago(20)))).unwrap();
        let (found, _) = survey(&fixture);
        assert_eq!(found[0].times.data.to_string(), newest);
        assert_eq!(found[0].marks, []);
    }

    #[test]
    fn what_is_no_object_is_counted() {
        let fixture = Fixture::new();
        fixture.put(NAME, &ago(10), b"data", &[]);
        let suffix = fixture.dir.suffix_path(fixture.hash(NAME).suffix());
        for (entry, file) in [("notes", "junk"), ("0123456789abcdef0123456789abcdef", "1700000000.00000.data")] {
            fs::create_dir(suffix.join(entry)).unwrap();
            fs::write(suffix.join(entry).join(file), "").unwrap();
        }
        let stray = suffix.join(format!("{}{}", "f".repeat(29), fixture.hash(NAME).suffix()));
        fs::create_dir(&stray).unwrap();
        fs::write(stray.join(format!("{}.meta", ago(10))), "").unwrap();
        let (found, others) = survey(&fixture);
        assert_eq!((found.len(), others), (1, 3));
    }

    #[test]
    fn what_cannot_be_read_is_logged_and_counted() {
        let fixture = Fixture::new();
        fixture.put(NAME, &ago(10), b"data", &[]);
        let suffix = fixture.hash(NAME).suffix();
        let hash = fixture.hash(NAME).to_string();
        let ((found, others), lines) = logged(|| faults::with(&hash, Errno::IO, || survey(&fixture)));
        assert_eq!((found.len(), others), (0, 1));
        let io = "Input/output error (os error 5)";
        let expected = [
            format!("ERROR Error hashing suffix {}: {io}", fixture.dir.suffix_path(suffix).display()),
            format!(
                "ERROR ERROR: Skipping '{}' due to error with listdir attempt: {io}",
                fixture.folder(NAME).display()
            ),
        ];
        assert_eq!(lines, expected);

        let suffix = suffix.to_string();
        let ((found, others), lines) = logged(|| faults::with(&suffix, Errno::IO, || survey(&fixture)));
        assert_eq!((found.len(), others, lines.len()), (0, 1, 2));
    }

    #[test]
    fn a_suffix_that_is_not_there_has_nothing() {
        let fixture = Fixture::new();
        let (found, others) = survey(&fixture);
        assert_eq!((found.len(), others), (0, 0));
    }

    #[test]
    fn an_update_changes_nothing_and_marks_nothing() {
        let fixture = Fixture::new();
        let newest = ago(10);
        fixture.put(NAME, &ago(20), b"older", &[]);
        fixture.put(NAME, &newest, b"newer", &[]);
        let mut survey = Survey::new(&fixture.dir, Purpose::Update).unwrap();
        let mut found = Vec::new();
        let Ok(()) = survey.suffix(fixture.hash(NAME).suffix(), |one| {
            found.push((one.times.data.to_string(), one.marks.len()));
            Ok::<_, Infallible>(())
        });
        assert_eq!(found, [(newest, 0)]);
        assert_eq!(fs::read_dir(fixture.folder(NAME)).unwrap().count(), 2);
    }

    /// As the reference sends it. What may be removed is recorded without following any link.
    #[test]
    fn what_is_behind_a_link_is_found_and_has_no_marks() {
        for depth in 0..3 {
            let fixture = Fixture::new();
            fixture.put(NAME, &ago(10), b"data", &[]);
            let object = fixture.folder(NAME);
            let place = object.ancestors().nth(depth).unwrap().to_owned();
            let elsewhere = fixture.dir.path().parent().unwrap().join("elsewhere");
            fs::rename(&place, &elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
            let (found, others) = survey(&fixture);
            assert_eq!((found.len(), others), (1, 0), "{}", place.display());
            assert_eq!(found[0].marks, []);
        }
    }

    #[test]
    fn whoever_looks_can_stop() {
        let fixture = Fixture::new();
        fixture.put(NAME, &ago(10), b"data", &[]);
        let mut survey = Survey::new(&fixture.dir, Purpose::Update).unwrap();
        assert_eq!(survey.suffix(fixture.hash(NAME).suffix(), |_| Err("enough")), Err("enough"));
    }
}
