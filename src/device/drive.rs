//! A device that was found to be there, for as long as it is the same.
//!
//! A device may be unmounted between any two steps of a job (`swift-drive-audit` does that with a failing one). Then its
//! path leads to what lies below the mount point: an empty folder, or what was written there years ago, objects that were
//! deleted since among it. So whoever read something by path looks *afterwards* whether the device is still the one that
//! was checked, and only then acts on what was read: what was read before that look came from the device.
//!
//! The same device that is unmounted, and mounted again, between two looks goes unnoticed, with what was read meanwhile.
//! What is pushed is not among that: rsync works in a folder that was held open before the look ([`hold`]), and an object
//! that SSYNC sends was opened before one.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open, stat};
use rustix::io::Errno;

use crate::device::mount::{DriveError, check_drive};

/// A device that was there when it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    path: PathBuf,
    /// The file system, and its root.
    identity: (u64, u64),
}

impl Drive {
    /// Checks the device ([`check_drive`]), and takes note of what it is.
    ///
    /// # Errors
    /// Those of [`check_drive`]; [`DriveError::Unreadable`] if the device's folder cannot be looked at.
    pub fn check(devices: &Path, device: &str, mount_check: bool) -> Result<Self, DriveError> {
        let path = check_drive(devices, device, mount_check)?;
        let identity = identity(&path)?;
        Ok(Self { path, identity })
    }

    /// Looks whether the device is still there.
    ///
    /// # Errors
    /// [`DriveError::Changed`] if something else, or nothing, is in its place; [`DriveError::Unreadable`] if its folder
    /// cannot be looked at.
    pub fn look(&self) -> Result<(), DriveError> {
        match identity(&self.path) {
            Ok(now) if now == self.identity => Ok(()),
            Ok(_) => Err(DriveError::Changed(self.path.clone())),
            Err(DriveError::Unreadable { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Err(DriveError::Changed(self.path.clone()))
            }
            Err(error) => Err(error),
        }
    }
}

/// Opens a folder of a device, to work from there: whatever the path leads to afterwards, the folder is the same. Meanwhile
/// the device can only be unmounted lazily.
///
/// A look at the device after this tells whether the folder that was opened is on it.
///
/// # Errors
/// That of open(2).
pub(crate) fn hold(folder: &Path) -> Result<OwnedFd, Errno> {
    open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn identity(path: &Path) -> Result<(u64, u64), DriveError> {
    let unreadable = |errno: Errno| DriveError::Unreadable { path: path.to_owned(), source: errno.into() };
    let stat = stat(path).map_err(unreadable)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_device_is_the_same_until_something_else_is_in_its_place() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("sdb");
        fs::create_dir(&at).unwrap();
        let drive = Drive::check(root.path(), "sdb", false).unwrap();
        assert!(drive.look().is_ok());

        fs::rename(&at, root.path().join("away")).unwrap();
        let gone = drive.look().unwrap_err().to_string();
        assert_eq!(gone, format!("{} was unmounted or replaced while it was worked on", at.display()));
        fs::create_dir(&at).unwrap();
        assert!(matches!(drive.look(), Err(DriveError::Changed(_))), "another folder of that name");

        fs::remove_dir(&at).unwrap();
        fs::rename(root.path().join("away"), &at).unwrap();
        assert!(drive.look().is_ok(), "it is back");
    }

    #[test]
    fn a_device_that_is_not_there_is_none() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(Drive::check(root.path(), "sdb", false), Err(DriveError::NotADirectory(_))));
    }
}
