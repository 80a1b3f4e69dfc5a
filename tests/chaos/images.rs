//! Devices in files: an ext4 on a loop device, which can lose power and can be damaged.
//!
//! The kernel keeps what is written to the file system until it thinks fit to write it to the loop device's file. So a
//! copy of that file is what a disk holds whose power failed at that moment, and the old one, with all that was still to
//! be written, is thrown away. The copy is made twice and compared, since the kernel may write in the middle of it.
//!
//! An inode is damaged in the file, while nobody has mounted it: its extents lose their magic number, so that the kernel
//! refuses to read it (EUCLEAN). Nothing can be done with such an inode, so writing back the same bytes mends it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::guard::{must, until};

/// The space of a device, less what the file system needs for itself.
const MEGABYTES: u64 = 64;
/// Objects of the harness are small: a file and two folders each.
const INODES: u32 = 16_384;
/// More copies are not made to find one that nobody wrote to.
const COPIES: usize = 20;
/// Where the block map, or the head of the extents, stands in an inode.
const BLOCK_FIELD: u64 = 0x28;
/// What the head of the extents begins with.
const EXTENTS: [u8; 2] = [0x0a, 0xf3];
/// Length of what is overwritten: the head of the extents.
const HEAD: usize = 12;

/// A file with a file system.
#[derive(Debug)]
pub struct Image(PathBuf);

impl Image {
    /// Makes a new file system in a file. Without checksums, so that a damaged inode is known by what it holds.
    pub fn make(file: PathBuf) -> Self {
        File::create(&file).and_then(|file| file.set_len(MEGABYTES << 20)).expect("the node's folder is writable");
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-b", "4096", "-O", "^metadata_csum", "-E", "lazy_itable_init=0,lazy_journal_init=0"]);
        must(mkfs.args(["-N", &INODES.to_string()]).arg(&file));
        Self(file)
    }

    /// Mounts it on a loop device, which goes with the mount. A damaged inode does not make it read-only.
    pub fn mount(&self, at: &Path) {
        must(Command::new("mount").args(["-t", "ext4", "-o", "loop,errors=continue"]).arg(&self.0).arg(at));
    }

    /// Whether nothing has the file system any more, now or soon after it was unmounted: whoever still stands in it keeps
    /// it alive, though no path leads there, and it would go over what is changed in the file behind its back.
    pub fn is_let_go(&self) -> bool {
        let is_free = || {
            let loops =
                Command::new("losetup").arg("--associated").arg(&self.0).output().expect("losetup is installed");
            loops.stdout.is_empty()
        };
        until(Duration::from_secs(5), is_free)
    }

    /// Puts in the file's place what it holds at this moment; a file system that is still mounted writes to the old one.
    pub fn lose_power(&self) {
        let [once, twice] = ["once", "twice"].map(|word| self.0.with_extension(word));
        let copy = |to: &Path| must(Command::new("cp").arg("--sparse=always").arg(&self.0).arg(to));
        let mut attempts = 0;
        loop {
            copy(&once);
            copy(&twice);
            let same = Command::new("cmp").arg("--silent").args([&once, &twice]).status().expect("cmp is installed");
            attempts += 1;
            if same.success() || attempts == COPIES {
                break;
            }
        }
        fs::remove_file(twice).expect("the node's folder is writable");
        fs::rename(once, &self.0).expect("the node's folder is writable");
    }

    /// Damages an inode, if it is still in use; the file system must not be mounted.
    pub fn damage(&self, inode: u64) -> Option<Damage> {
        let output = Command::new("debugfs").args(["-R", &format!("imap <{inode}>")]).arg(&self.0).output();
        let text = String::from_utf8_lossy(&output.expect("debugfs is installed").stdout).into_owned();
        let place = place_of_inode(&text).unwrap_or_else(|| panic!("no inode {inode}: {text}"));
        let damage = Damage { place: place + BLOCK_FIELD, was: self.overwrite(place + BLOCK_FIELD, &[0; HEAD]) };
        // Who was killed a moment ago may have come to the end of an unlink.
        let was_in_use = damage.was.starts_with(&EXTENTS);
        if !was_in_use {
            self.mend(&damage);
        }
        was_in_use.then_some(damage)
    }

    /// Writes back what was damaged; the file system must not be mounted.
    pub fn mend(&self, damage: &Damage) {
        self.overwrite(damage.place, &damage.was);
    }

    /// What was there before.
    fn overwrite(&self, place: u64, bytes: &[u8; HEAD]) -> [u8; HEAD] {
        let file = File::options().read(true).write(true).open(&self.0).expect("the image is ours");
        let mut was = [0; HEAD];
        file.read_exact_at(&mut was, place).expect("the image is as long as it was made");
        file.write_all_at(bytes, place).expect("the image is ours");
        was
    }
}

/// What was done to an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    place: u64,
    was: [u8; HEAD],
}

/// Reads `located at block 278, offset 0x0100`, of blocks of 4 KiB.
fn place_of_inode(text: &str) -> Option<u64> {
    let (_, place) = text.split_once("located at block ")?;
    let (block, offset) = place.split_once(", offset 0x")?;
    Some(block.parse::<u64>().ok()? * 4096 + u64::from_str_radix(offset.trim(), 16).ok()?)
}

/// Whether a file system in a file can be mounted here.
pub fn are_possible(scratch: &Path) -> bool {
    let (file, at) = (scratch.join("probe.img"), scratch.join("probe-image"));
    fs::create_dir(&at).expect("the folder is writable");
    Image::make(file.clone());
    let mut mount = Command::new("mount");
    let mounted = mount.args(["-t", "ext4", "-o", "loop"]).arg(&file).arg(&at).output();
    let possible = mounted.expect("mount is installed").status.success();
    if possible {
        must(Command::new("umount").arg(&at));
    }
    fs::remove_file(file).expect("the folder is writable");
    possible
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::support::guard::Scratch;

    /// A mounted image below a folder that unmounts it in the end.
    fn mounted(scratch: &Scratch) -> Option<(Image, PathBuf)> {
        if !are_possible(scratch.path()) {
            return None;
        }
        let (image, at) = (Image::make(scratch.path().join("image")), scratch.path().join("at"));
        fs::create_dir(&at).expect("a new folder");
        image.mount(&at);
        Some((image, at))
    }

    fn remount(image: &Image, at: &Path, meanwhile: impl FnOnce()) {
        must(Command::new("umount").arg(at));
        meanwhile();
        image.mount(at);
    }

    #[test]
    fn what_was_not_written_is_gone_after_a_power_loss() {
        let scratch = Scratch::new("i");
        let Some((image, at)) = mounted(&scratch) else { return };
        let mut synced = File::create(at.join("synced")).expect("a new file");
        synced.write_all(b"on the disk").and_then(|()| synced.sync_all()).expect("there is space");
        drop(synced);
        fs::write(at.join("unsynced"), "in memory").expect("there is space");
        image.lose_power();
        remount(&image, &at, || {});
        assert_eq!(fs::read(at.join("synced")).expect("it was synced"), b"on the disk");
        let left = fs::read(at.join("unsynced")).unwrap_or_default();
        assert!(left.is_empty(), "it was not synced: {left:?}");
    }

    #[test]
    fn a_damaged_inode_can_be_listed_but_not_read_until_it_is_mended() {
        const EUCLEAN: i32 = 117;
        let scratch = Scratch::new("i");
        let Some((image, at)) = mounted(&scratch) else { return };
        let (file, neighbour) = (at.join("file"), at.join("neighbour"));
        fs::write(&file, "content").and_then(|()| fs::write(&neighbour, "x")).expect("there is space");
        let inode = fs::metadata(&file).expect("it was just made").ino();
        let mut damage = None;
        remount(&image, &at, || damage = image.damage(inode));
        let refused = fs::metadata(&file).expect_err("the inode is damaged");
        assert_eq!(refused.raw_os_error(), Some(EUCLEAN));
        assert!(fs::read(&neighbour).is_ok() && fs::remove_file(&file).is_err());
        remount(&image, &at, || image.mend(&damage.expect("it was damaged")));
        assert_eq!(fs::read(&file).expect("it is mended"), b"content");
    }

    #[test]
    fn who_stands_in_a_file_system_keeps_it_from_being_changed() {
        let scratch = Scratch::new("i");
        let Some((image, at)) = mounted(&scratch) else { return };
        let inside = File::open(&at).expect("it was just mounted");
        must(Command::new("umount").arg("--lazy").arg(&at));
        assert!(!image.is_let_go());
        drop(inside);
        assert!(image.is_let_go());
    }
}
