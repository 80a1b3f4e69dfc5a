//! Devices full of objects, and devices with nothing but partitions.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::object::time;

/// What Swift keeps of an object beside its data; the size is that of a small object's metadata.
const METADATA: [u8; 240] = [b'm'; 240];

/// What a tree of objects is made from.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub partitions: u32,
    pub suffixes: u32,
    /// Objects per suffix.
    pub objects: u32,
}

impl Shape {
    /// The tree of most rows: partitions of eight suffixes with two small objects each.
    pub const fn usual(partitions: u32) -> Self {
        Self { partitions, suffixes: 8, objects: 2 }
    }

    /// Makes the tree below a datadir whose ring has 2^`part_power` partitions. Every tenth object has metadata that
    /// were written after it, as from a POST.
    pub fn build(&self, datadir: &Path, part_power: u32) {
        let mut random = fastrand::Rng::with_seed(1);
        for partition in 0..self.partitions {
            for suffix in suffixes(partition, self.suffixes) {
                for n in 0..self.objects {
                    let high = u128::from(partition) << (128 - part_power);
                    let middle = (random.u128(..) >> part_power) & !0xfff;
                    let hash = format!("{:032x}", high | middle | u128::from(suffix));
                    let folder = datadir.join(format!("{partition}/{suffix:03x}/{hash}"));
                    fs::create_dir_all(&folder).expect("the device is writable");
                    write(&folder, &format!("{}.data", time(n)), random.usize(64..1024));
                    if random.u32(..10) == 0 {
                        write(&folder, &format!("{}.meta", time(n + 60)), 0);
                    }
                }
            }
        }
    }
}

/// Which suffixes a partition has: spread over all that there are.
fn suffixes(partition: u32, count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(move |n| (partition * 37 + n * 509) % 4096)
}

fn write(folder: &Path, name: &str, size: usize) {
    let path = folder.join(name);
    fs::write(&path, vec![b'.'; size]).expect("the device is writable");
    xattr::set(&path, "user.swift.metadata", &METADATA).expect("a file system with xattrs");
}

/// Makes a partition that is nothing but this `hashes.pkl`. A pass that finds nothing to hash looks for nothing else.
pub fn build_partition(datadir: &Path, number: u32, hashes: &[u8]) {
    let folder = datadir.join(number.to_string());
    fs::create_dir(&folder).expect("the device is writable");
    fs::write(folder.join("hashes.pkl"), hashes).expect("the device is writable");
}

/// Takes what is known of hashes out of every partition, so that all are hashed anew.
pub fn forget_hashes(datadir: &Path) {
    let aside = new_aside(datadir);
    for partition in fs::read_dir(datadir).expect("the device is readable") {
        let partition = partition.expect("the device is readable");
        for file in ["hashes.pkl", "hashes.invalid", ".lock"] {
            let name = format!("{}-{file}", partition.file_name().display());
            let _ = fs::rename(partition.path().join(file), aside.join(name));
        }
    }
}

/// Takes everything out of a datadir.
pub fn empty(datadir: &Path) {
    let aside = new_aside(datadir);
    for entry in fs::read_dir(datadir).expect("the device is readable") {
        let entry = entry.expect("the device is readable");
        fs::rename(entry.path(), aside.join(entry.file_name())).expect("the device is writable");
    }
}

/// The folder of a device for what is only in the way.
const ASIDE: &str = "aside";

/// A new folder in it. Were its files removed, ext4 would look at each of their inodes for a minute before it makes
/// another file, and that would be most of what is measured.
fn new_aside(datadir: &Path) -> PathBuf {
    let device = datadir.parent().expect("a datadir is on a device");
    let aside = device.join(ASIDE).join(format!("{:016x}", fastrand::u64(..)));
    fs::create_dir_all(&aside).expect("the device is writable");
    aside
}

/// Removes what was moved out of the way on a device.
pub fn remove_what_is_aside(device: &Path) {
    let _ = fs::remove_dir_all(device.join(ASIDE));
}
