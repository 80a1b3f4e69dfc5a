//! How much there is to push of a suffix, for a dry run.

use std::io;
use std::ops::AddAssign;

use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;

use crate::device::layout::PartitionDir;
use crate::device::listing::{Buffer, Names, open_folder};
use crate::names::Suffix;

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SuffixSize {
    pub files: u64,
    pub bytes: u64,
}

impl AddAssign for SuffixSize {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// What the objects of a suffix hold. What is gone, or is no file of an object, counts as nothing.
///
/// # Errors
/// The system's error if a folder or file of the suffix cannot be looked at.
pub(crate) fn of_suffix(dir: &PartitionDir, suffix: Suffix) -> io::Result<SuffixSize> {
    let mut buffer = Buffer::new();
    let (mut objects, mut files) = (Names::default(), Names::default());
    let mut extent = SuffixSize::default();
    let Some(folder) = present(open_folder(CWD, dir.suffix_path(suffix)))? else { return Ok(extent) };
    objects.list(&folder, &mut buffer)?;
    for object in objects.iter() {
        let Some(object) = present(open_folder(&folder, object))? else { continue };
        files.list(&object, &mut buffer)?;
        for file in files.iter() {
            let Some(stat) = present(rustix::fs::statat(&object, file, AtFlags::SYMLINK_NOFOLLOW))? else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                extent += SuffixSize { files: 1, bytes: u64::try_from(stat.st_size).unwrap_or(0) };
            }
        }
    }
    Ok(extent)
}

fn present<T>(looked: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match looked {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        looked => looked.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::names::{Partition, PolicyIndex};

    #[test]
    fn the_files_of_all_objects_are_counted_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let dir = PartitionDir::new(root.path(), "sda", PolicyIndex::new(0), Partition::new(3));
        let suffix = Suffix::from_name(b"abc").unwrap();
        assert_eq!(of_suffix(&dir, suffix).unwrap(), SuffixSize::default());
        for (object, bytes) in [("one", 10), ("two", 1000)] {
            let folder = dir.suffix_path(suffix).join(object);
            fs::create_dir_all(folder.join("no-file")).unwrap();
            fs::write(folder.join("1.data"), vec![0; bytes]).unwrap();
            fs::write(folder.join("2.ts"), "").unwrap();
        }
        fs::write(dir.suffix_path(suffix).join("stray"), "stray").unwrap();
        assert_eq!(of_suffix(&dir, suffix).unwrap(), SuffixSize { files: 4, bytes: 1010 });
    }
}
