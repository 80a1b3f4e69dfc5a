//! Whether what is on a device is the user's, so that a pass can change it: a sample of partitions and of what is in them.
//!
//! A replicator, an auditor or a copy that somebody ran as root leaves files that the daemons cannot touch any more. Each
//! of them fails in every pass from then on, one partition at a time.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::finding::Finding;

/// How many partitions of a policy are looked at, and how many of these are looked into; how many suffixes of each, and how
/// many objects and other files of each folder.
const PARTITIONS: usize = 64;
const OPENED: usize = 16;
const SUFFIXES: usize = 2;
const OBJECTS: usize = 2;
const FILES: usize = 4;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Sample {
    looked_at: usize,
    /// How many belong to somebody else, and one of them with the number of its owner.
    foreign: usize,
    example: Option<(PathBuf, u32)>,
    /// How many do not, and cannot be used all the same, and one of them.
    closed: usize,
    closed_example: Option<(PathBuf, io::Error)>,
}

/// Looks at a few of the files and folders of policies on a device.
pub(super) fn sample(device: &Path, datadirs: &[PathBuf]) -> Sample {
    let mut sample = Sample::default();
    for folder in ["tmp", "quarantined"] {
        sample.look(&device.join(folder));
    }
    for datadir in datadirs {
        sample.look(datadir);
        for (place, partition) in sample.some_in(datadir, PARTITIONS, |_| true).into_iter().enumerate() {
            sample.look(&partition);
            if place < OPENED {
                sample.partition(&partition);
            }
        }
    }
    sample
}

impl Sample {
    fn partition(&mut self, partition: &Path) {
        // `.lock`, `hashes.pkl` and `hashes.invalid`, which every pass needs, are no folders.
        let is_suffix = |path: &Path| path.file_name().is_some_and(|name| name.len() == 3);
        for file in self.some_in(partition, FILES, |path| !is_suffix(path)) {
            self.look(&file);
        }
        for suffix in self.some_in(partition, SUFFIXES, is_suffix) {
            self.look(&suffix);
            for object in self.some_in(&suffix, OBJECTS, |_| true) {
                self.look(&object);
                for file in self.some_in(&object, FILES, |_| true) {
                    self.look(&file);
                }
            }
        }
    }

    fn look(&mut self, path: &Path) {
        // What is not there, or went away meanwhile, is nobody's.
        let Ok(found) = path.symlink_metadata() else { return };
        if found.is_symlink() {
            return;
        }
        self.looked_at += 1;
        if found.uid() != geteuid().as_raw() {
            self.foreign += 1;
            self.example.get_or_insert_with(|| (path.to_owned(), found.uid()));
            return;
        }
        let wanted =
            if found.is_dir() { Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK } else { Access::READ_OK };
        if let Err(errno) = access(path, wanted) {
            self.close(path, errno.into());
        }
    }

    fn close(&mut self, path: &Path, error: io::Error) {
        self.closed += 1;
        self.closed_example.get_or_insert_with(|| (path.to_owned(), error));
    }

    /// So many of the entries that are wanted, at random. What cannot be listed has been looked at before.
    fn some_in(&self, folder: &Path, count: usize, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let mut names: Vec<OsString> = names.filter(|name| wanted(Path::new(name))).collect();
        fastrand::shuffle(&mut names);
        names.truncate(count);
        names.into_iter().map(|name| folder.join(name)).collect()
    }

    /// What is to be said of it; nothing if there is nothing to look at.
    pub(super) fn judge(self, device: &str, user: &str) -> Option<Finding> {
        let Self { looked_at, foreign, example, closed, closed_example } = self;
        let subject = format!("owner {device}");
        if let Some((path, owner)) = example {
            let owner = if owner == 0 { "root".to_owned() } else { format!("user id {owner}") };
            let text = format!(
                "{} belongs to {owner}, not to {user} (option user), as {foreign} of {looked_at} files and folders of a \
                 sample belong to others: they are not replicated reliably",
                path.display()
            );
            return Some(Finding::error(subject, text));
        }
        if let Some((path, error)) = closed_example {
            let text = format!(
                "{} cannot be used by {user}: {error} ({closed} of {looked_at} files and folders looked at, a sample)",
                path.display()
            );
            return Some(Finding::error(subject, text));
        }
        (looked_at > 0).then(|| {
            Finding::ok(subject, format!("all of {looked_at} files and folders looked at are {user}'s (a sample)"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    /// A device with so many partitions, each with an object.
    fn device(partitions: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..partitions {
            let object = folder.path().join(format!("objects/{number}/abc/{number:032x}"));
            fs::create_dir_all(&object).unwrap();
            fs::write(object.join("1795000000.00000.ts"), "").unwrap();
            fs::write(folder.path().join(format!("objects/{number}/hashes.pkl")), "").unwrap();
        }
        folder
    }

    fn found(device: &Path) -> Option<Finding> {
        sample(device, &[device.join("objects")]).judge("sda", "swift")
    }

    #[test]
    fn what_is_all_the_users_is_well_and_the_sample_is_bounded() {
        let device = device(3);
        let finding = found(device.path()).unwrap();
        assert_eq!(finding.verdict, Verdict::Ok);
        assert_eq!(finding.text, "all of 16 files and folders looked at are swift's (a sample)");
        assert_eq!(found(tempfile::tempdir().unwrap().path()), None);
        let many = self::device(200);
        assert!(sample(many.path(), &[many.path().join("objects")]).looked_at <= 1 + PARTITIONS + OPENED * 4);
    }

    #[test]
    fn one_folder_or_file_of_somebody_else_is_an_error_that_names_it() {
        // Only root can give files away.
        assert!(geteuid().is_root(), "tests of owners need root");
        for (given, name) in [("objects/1", "1"), ("objects/0/hashes.pkl", "hashes.pkl"), ("objects", "objects")] {
            let device = device(2);
            std::os::unix::fs::chown(device.path().join(given), Some(4711), None).unwrap();
            let finding = found(device.path()).unwrap();
            assert_eq!(finding.verdict, Verdict::Error);
            let expected = format!("/{name} belongs to user id 4711, not to swift (option user), as 1 of 11 files and");
            assert!(finding.text.contains(&expected), "{}", finding.text);
        }
    }
}
