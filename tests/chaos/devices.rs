//! The devices of a node: file systems of their own, mounted where the servers see them come and go.
//!
//! The medium of a device is a small tmpfs, or an ext4 in a file ([`super::images`]), that stays mounted beside the node's
//! devices; the device is a bind mount of it. So an unmounted device keeps what it has, and can be looked at. The folders
//! of all devices and of all media are shared mounts, which the servers' mount namespaces follow.
//!
//! What lies below the mount points, on the root disk as it were, is reached through a bind mount of the devices' folder
//! alone, made before anything was mounted in it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::census;
use super::images::Image;
use crate::support::guard::{PATIENCE, must, until};

/// The space of a device.
const MEGABYTES: u32 = 24;

/// Makes a folder a shared mount, so that what is mounted in it later is mounted for the servers too.
pub fn share(folder: &Path) {
    fs::create_dir_all(folder).expect("the node's folder is writable");
    must(Command::new("mount").arg("--bind").args([folder, folder]));
    must(Command::new("mount").arg("--make-shared").arg(folder));
}

/// Shows in `below` what the folder of devices has when nothing is mounted in it.
pub fn look_below(devices: &Path, below: &Path) {
    fs::create_dir_all(below).expect("the node's folder is writable");
    must(Command::new("mount").arg("--bind").args([devices, below]));
    must(Command::new("mount").arg("--make-private").arg(below));
}

/// What a device's medium is.
#[derive(Debug)]
pub enum Medium {
    /// A tmpfs.
    Memory,
    /// An ext4 in a file.
    Image(Image),
}

/// A device.
#[derive(Debug)]
pub struct Device {
    /// Where the servers look for it.
    mount_point: PathBuf,
    /// The same folder without what is mounted there.
    below: PathBuf,
    medium: PathBuf,
    kind: Medium,
}

impl Device {
    /// Makes a device and mounts it.
    pub fn make(mount_point: PathBuf, below: PathBuf, medium: PathBuf, kind: Medium, datadirs: &[String]) -> Self {
        fs::create_dir_all(&medium).expect("the node's folder is writable");
        let device = Self { mount_point, below, medium, kind };
        match &device.kind {
            Medium::Memory => {
                let size = format!("size={MEGABYTES}m");
                must(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&device.medium));
            }
            Medium::Image(image) => image.mount(&device.medium),
        }
        for datadir in datadirs {
            fs::create_dir(device.medium.join(datadir)).expect("the medium is new");
        }
        device.mount();
        device
    }

    /// The folder that holds the device's content, mounted or not.
    pub fn medium(&self) -> &Path {
        &self.medium
    }

    /// The file that it is in, if it is in one.
    pub fn image(&self) -> Option<&Image> {
        match &self.kind {
            Medium::Memory => None,
            Medium::Image(image) => Some(image),
        }
    }

    /// Where the servers look for it.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// The folder on the root disk that shows where the device is not mounted.
    pub fn below(&self) -> &Path {
        &self.below
    }

    /// Removes what lies below the mount point. Whoever found it there may still be writing to it.
    pub fn clear_below(&self) {
        let clear = || {
            let mut find = Command::new("find");
            find.arg(&self.below).args(["-mindepth", "1", "-delete"]).stderr(Stdio::null());
            find.status().expect("find is installed").success()
        };
        assert!(until(PATIENCE, clear), "{} does not become empty", self.below.display());
    }

    /// Takes the device away together with its medium, at once and whoever has files open in it.
    pub fn tear_out(&self) {
        for mounted in [&self.mount_point, &self.medium] {
            must(Command::new("umount").arg("--lazy").arg(mounted));
        }
    }

    /// Unmounts the device and its medium, so that all is written; whether nobody had files open in it.
    pub fn take_out(&self) -> bool {
        must(Command::new("umount").arg("--lazy").arg(&self.mount_point));
        let umount = || {
            let status = Command::new("umount").arg(&self.medium).stderr(Stdio::null()).status();
            status.expect("umount is installed").success()
        };
        until(Duration::from_secs(3), umount)
    }

    /// Mounts it; what stands in the mount point before, which is nothing if all is well.
    pub fn mount(&self) -> Vec<PathBuf> {
        let strays = census::files_below(&self.mount_point);
        must(Command::new("mount").arg("--bind").args([&self.medium, &self.mount_point]));
        strays
    }

    /// Unmounts it, under the hands of whoever uses it, if they do not let it go.
    pub fn unmount(&self) {
        let umount = |options: &[&str]| {
            let mut command = Command::new("umount");
            command.args(options).arg(&self.mount_point).stderr(Stdio::null());
            command.status().expect("umount is installed").success()
        };
        if !until(Duration::from_secs(2), || umount(&[])) {
            assert!(umount(&["--lazy"]), "{} cannot be unmounted", self.mount_point.display());
        }
        // A server that saw the device just before may still make a folder of it. Its data would have gone the same way
        // in a real cluster; here clients wait meanwhile.
        for _ in 0..10 {
            thread::sleep(Duration::from_millis(50));
            for entry in fs::read_dir(&self.mount_point).into_iter().flatten().flatten() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Unmounts it under the hands of whoever uses it, as a watcher of drives does with one that has errors.
    pub fn unmount_at_once(&self) {
        must(Command::new("umount").arg("--lazy").arg(&self.mount_point));
    }

    /// Makes it read-only, or takes that back; whether it could be done, which it cannot while something is written.
    pub fn set_read_only(&self, read_only: bool) -> bool {
        let option = if read_only { "remount,ro" } else { "remount,rw" };
        until(Duration::from_secs(1), || {
            let mut command = Command::new("mount");
            let status = command.args(["-o", option]).arg(&self.medium).stderr(Stdio::null()).status();
            status.expect("mount is installed").success()
        })
    }

    fn ballast(&self) -> PathBuf {
        self.medium.join("ballast")
    }

    /// Leaves no space on it.
    pub fn fill(&self) {
        let Ok(mut ballast) = File::create(self.ballast()) else { return };
        for size in [1 << 20, 4096] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Gives its space back.
    pub fn free(&self) {
        let _ = fs::remove_file(self.ballast());
    }
}

/// Whether a tmpfs keeps user xattrs here (Linux does since 6.6); without them Swift stores nothing on it.
pub fn are_possible(scratch: &Path) -> bool {
    let probe = scratch.join("probe");
    fs::create_dir(&probe).expect("the folder is writable");
    must(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&probe));
    fs::write(probe.join("file"), "").expect("the probe is writable");
    let possible = xattr::set(probe.join("file"), "user.swift.metadata", b"x").is_ok();
    must(Command::new("umount").arg(&probe));
    fs::remove_dir(&probe).expect("the folder is writable");
    possible
}
