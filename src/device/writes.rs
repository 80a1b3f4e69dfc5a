//! Whether what a pass would change on a device is changed, or only imagined to be: for a dry run.
//!
//! What hashing changes on its way (obsolete files, empty folders, things for quarantine, the hash files and their lock)
//! goes through here, and so does what a pass tidies. An imagined change does nothing and says that it worked, so that
//! what is hashed afterwards, and thus compared and pushed, is what it would be after the real one.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::io::Errno;

/// How a device's tree is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// What is to be changed is changed.
    #[default]
    Made,
    /// Nothing is changed.
    Imagined,
}

impl Writes {
    /// Whether anything is changed.
    pub fn are_made(self) -> bool {
        self == Self::Made
    }

    /// Unlinks a file by its name in an open folder.
    pub fn unlink(self, folder: impl AsFd, name: &CStr) -> Result<(), Errno> {
        match self {
            Self::Made => rustix::fs::unlinkat(folder, name, AtFlags::empty()),
            Self::Imagined => Ok(()),
        }
    }

    /// Removes an empty folder by its name in an open one.
    pub fn remove_folder(self, parent: impl AsFd, name: impl rustix::path::Arg) -> Result<(), Errno> {
        match self {
            Self::Made => rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR),
            Self::Imagined => Ok(()),
        }
    }

    /// Unlinks a file by its path.
    pub fn remove_file(self, path: &Path) -> io::Result<()> {
        self.when_made(|| fs::remove_file(path))
    }

    /// Makes a folder in one that is there.
    pub fn create_folder(self, path: &Path) -> io::Result<()> {
        self.when_made(|| fs::create_dir(path))
    }

    fn when_made(self, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Made => change(),
            Self::Imagined => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_imagined_change_works_and_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (file, folder, new) = (root.path().join("file"), root.path().join("folder"), root.path().join("new"));
        fs::write(&file, "x").unwrap();
        fs::create_dir(&folder).unwrap();
        let opened = fs::File::open(root.path()).unwrap();
        let change = |writes: Writes| {
            writes.create_folder(&new).unwrap();
            writes.unlink(&opened, c"file").unwrap();
            writes.remove_folder(&opened, c"folder").unwrap();
        };
        change(Writes::Imagined);
        Writes::Imagined.remove_file(&file).unwrap();
        assert!(file.exists() && folder.exists() && !new.exists());
        change(Writes::Made);
        assert!(!file.exists() && !folder.exists() && new.exists());
        assert!(Writes::Made.remove_file(&file).is_err());
    }
}
