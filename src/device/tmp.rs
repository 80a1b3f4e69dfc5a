//! What crashed writers left in a device's `tmp` folder (B5.10).

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::device::writes::Writes;

/// Unlinks the entries of `tmp` that were last written longer than `age` ago.
///
/// What cannot be looked at or unlinked stays, and so do folders; a missing `tmp` holds nothing.
///
/// # Errors
/// If `tmp` cannot be listed.
pub fn unlink_older_than(tmp: &Path, age: Duration, writes: Writes) -> io::Result<()> {
    let entries = match fs::read_dir(tmp) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    // An age beyond the clock's range keeps everything.
    let Some(limit) = SystemTime::now().checked_sub(age) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        // Through symlinks, as the reference looks at them.
        let old = fs::metadata(&path).and_then(|metadata| metadata.modified()).is_ok_and(|written| written < limit);
        if old {
            let _ = writes.remove_file(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
    fn a_missing_folder_is_fine_and_a_file_in_its_place_is_not() {
        let root = tempfile::tempdir().unwrap();
        unlink_older_than(&root.path().join("tmp"), WEEK, Writes::Made).unwrap();
        fs::write(root.path().join("tmp"), "").unwrap();
        let error = unlink_older_than(&root.path().join("tmp"), WEEK, Writes::Made).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
