//! Whether a device is there (B5.9).
//!
//! A device that is not mounted leaves an empty folder of the root disk in its place; what the replicator wrote or
//! missed there would be wrong. So each step that is about to work on a device asks first. A disk that cannot even say
//! what it is (EIO and the like) is an error of its own here: nobody may take "I could not look" for "it is not there".

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

/// Why a device cannot be used. The text is the line to log.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The name could lead out of the devices' folder, or would need quoting in a request.
    #[error("{0} is not a valid drive name")]
    InvalidName(String),
    /// Mounts are checked, and nothing is mounted there.
    #[error("{} is not mounted", .0.display())]
    NotMounted(PathBuf),
    /// Mounts are not checked, and there is no folder.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// It was there, but is not any more.
    #[error("{} was unmounted or replaced while it was worked on", .0.display())]
    Changed(PathBuf),
    /// The device did not say what it is.
    #[error("{} cannot be examined: {source}", path.display())]
    Unreadable {
        /// The device's folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The folder of a device, if the device is there: mounted, or with `mount_check` off at least a folder.
///
/// # Errors
/// - [`DriveError::InvalidName`] if the name is not one that a device may have;
/// - [`DriveError::NotMounted`] or [`DriveError::NotADirectory`] if the device is not there;
/// - [`DriveError::Unreadable`] if the system cannot say whether it is.
pub fn check_drive(devices: &Path, device: &str, mount_check: bool) -> Result<PathBuf, DriveError> {
    if !is_valid_name(device) {
        return Err(DriveError::InvalidName(device.to_owned()));
    }
    let path = devices.join(device);
    let looked = if mount_check { is_mounted(&path) } else { is_directory(&path) };
    match looked {
        Ok(true) => Ok(path),
        Ok(false) if mount_check => Err(DriveError::NotMounted(path)),
        Ok(false) => Err(DriveError::NotADirectory(path)),
        Err(errno) => Err(DriveError::Unreadable { path, source: errno.into() }),
    }
}

/// Letters, digits and `_.-~`: what a URL carries unquoted. `.` and `..` name no device, whatever the ring says.
fn is_valid_name(device: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-' | b'~');
    !matches!(device, "" | "." | "..") && device.bytes().all(plain)
}

fn is_directory(path: &Path) -> Result<bool, Errno> {
    Ok(present(rustix::fs::stat(path))?.is_some_and(|stat| file_type(&stat) == FileType::Directory))
}

/// Whether the folder lies on another file system than its parent, or is the root, or an operator says so with a file
/// `.ismount` (for containers, where the other signs fail). A symlink needs that file.
fn is_mounted(path: &Path) -> Result<bool, Errno> {
    let Some(device) = present(rustix::fs::lstat(path))? else { return Ok(false) };
    if file_type(&device) == FileType::Symlink {
        return has_mark(path);
    }
    let Some(parent) = present(rustix::fs::lstat(path.join("..")))? else { return Ok(false) };
    let mounted = device.st_dev != parent.st_dev || device.st_ino == parent.st_ino;
    Ok(mounted || has_mark(path)?)
}

fn has_mark(path: &Path) -> Result<bool, Errno> {
    let mark = present(rustix::fs::stat(path.join(".ismount")))?;
    Ok(mark.is_some_and(|stat| file_type(&stat) == FileType::RegularFile))
}

/// Only these two errors mean that something is not there.
fn present(stat: Result<Stat, Errno>) -> Result<Option<Stat>, Errno> {
    match stat {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn text(devices: &Path, device: &str, mount_check: bool) -> String {
        match check_drive(devices, device, mount_check) {
            Ok(path) => format!("ok {}", path.display()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn without_mount_check_a_folder_is_enough() {
        let root = tempfile::tempdir().unwrap();
        let devices = root.path();
        fs::create_dir(devices.join("sd1")).unwrap();
        fs::write(devices.join("sd2"), "").unwrap();
        symlink("sd1", devices.join("sd4")).unwrap();
        let at = |name: &str| devices.join(name).display().to_string();
        assert_eq!(text(devices, "sd1", false), format!("ok {}", at("sd1")));
        assert_eq!(text(devices, "sd2", false), format!("{} is not a directory", at("sd2")));
        assert_eq!(text(devices, "sd3", false), format!("{} is not a directory", at("sd3")));
        assert_eq!(text(devices, "sd4", false), format!("ok {}", at("sd4")));
    }

    #[test]
    fn a_mount_is_another_file_system_or_marked_by_a_file() {
        let root = tempfile::tempdir().unwrap();
        let devices = root.path();
        for name in ["plain", "marked", "marked-by-folder"] {
            fs::create_dir(devices.join(name)).unwrap();
        }
        fs::write(devices.join("marked/.ismount"), "").unwrap();
        fs::create_dir(devices.join("marked-by-folder/.ismount")).unwrap();
        symlink("plain", devices.join("link")).unwrap();
        symlink("marked", devices.join("marked-link")).unwrap();
        let mounted = |device: &str| match check_drive(devices, device, true) {
            Ok(_) => true,
            Err(DriveError::NotMounted(_)) => false,
            Err(other) => panic!("{other}"),
        };
        assert!(mounted("marked") && mounted("marked-link"));
        assert!(!mounted("plain") && !mounted("marked-by-folder") && !mounted("link") && !mounted("absent"));
        assert!(check_drive(Path::new("/"), "proc", true).is_ok(), "/proc is always a file system of its own");
    }

    #[test]
    fn names_that_would_need_quoting_or_lead_elsewhere_are_refused() {
        for name in ["", ".", "..", "sd 1", "a/b", "sd%41", "sdé", "sd1\n"] {
            assert_eq!(text(Path::new("/"), name, false), format!("{name} is not a valid drive name"));
        }
        assert!(is_valid_name("sd-1_a.b~c"));
    }

    #[test]
    fn a_failing_stat_is_not_an_absent_device() {
        let root = tempfile::tempdir().unwrap();
        symlink("loop", root.path().join("loop")).unwrap();
        let error = check_drive(root.path(), "loop", false).unwrap_err();
        assert!(matches!(error, DriveError::Unreadable { .. }), "{error}");
    }
}
