//! What crashed writers left in a device's `tmp` folder (B5.10).

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;

use crate::device::listing::{Buffer, Names, open_real_folder};
use crate::device::writes::Writes;

/// Unlinks the entries of `tmp` that were last written longer than `age` ago.
///
/// What cannot be looked at or unlinked stays, and so do folders; a missing `tmp` holds nothing. Behind a link in the
/// place of `tmp`, or of one of its entries, nothing goes.
///
/// # Errors
/// The system's error if `tmp` cannot be listed, or is not a folder itself.
pub(crate) fn unlink_older_than(tmp: &Path, age: Duration, writes: Writes) -> io::Result<()> {
    let folder = match open_real_folder(CWD, tmp) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    let mut names = Names::default();
    names.list(&folder, &mut Buffer::new())?;
    // An age beyond the clock's range keeps everything.
    let Some(limit) = SystemTime::now().checked_sub(age) else { return Ok(()) };
    let limit = limit.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |limit| limit.as_secs());
    for name in names.iter() {
        // Through symlinks, as the reference looks at them; what goes is the link.
        let old = rustix::fs::statat(&folder, name, AtFlags::empty())
            .is_ok_and(|stat| i64::try_from(limit).is_ok_and(|limit| stat.st_mtime < limit));
        if old {
            let _ = writes.unlink(&folder, name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 86_400);

    fn write(path: &Path, age: Duration) {
        let file = fs::File::create(path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn only_old_files_go() {
        let tmp = tempfile::tempdir().unwrap();
        write(&tmp.path().join("old"), WEEK * 2);
        write(&tmp.path().join("young"), WEEK / 2);
        fs::create_dir(tmp.path().join("folder")).unwrap();
        fs::File::open(tmp.path().join("folder")).unwrap().set_modified(SystemTime::now() - WEEK * 2).unwrap();
        std::os::unix::fs::symlink("nowhere", tmp.path().join("dangling")).unwrap();
        unlink_older_than(tmp.path(), WEEK, Writes::Made).unwrap();
        let mut left: Vec<_> = fs::read_dir(tmp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["dangling", "folder", "young"]);
    }

    #[test]
    fn nothing_goes_behind_a_link() {
        let root = tempfile::tempdir().unwrap();
        let (elsewhere, tmp) = (root.path().join("elsewhere"), root.path().join("tmp"));
        fs::create_dir(&elsewhere).unwrap();
        write(&elsewhere.join("old"), WEEK * 2);
        std::os::unix::fs::symlink(&elsewhere, &tmp).unwrap();
        let error = unlink_older_than(&tmp, WEEK, Writes::Made).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        fs::remove_file(&tmp).unwrap();
        fs::create_dir(&tmp).unwrap();
        std::os::unix::fs::symlink(elsewhere.join("old"), tmp.join("link")).unwrap();
        unlink_older_than(&tmp, WEEK, Writes::Made).unwrap();
        assert!(elsewhere.join("old").exists() && !tmp.join("link").is_symlink());
    }

    #[test]
    fn a_missing_folder_is_fine_and_a_file_in_its_place_is_not() {
        let root = tempfile::tempdir().unwrap();
        unlink_older_than(&root.path().join("tmp"), WEEK, Writes::Made).unwrap();
        fs::write(root.path().join("tmp"), "").unwrap();
        let error = unlink_older_than(&root.path().join("tmp"), WEEK, Writes::Made).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
