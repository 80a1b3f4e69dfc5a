//! Devices full of objects, and devices with nothing but partitions.

use std::fs;
use std::path::Path;

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

/// Makes partitions that are nothing but this `hashes.pkl`. A pass that finds nothing to hash looks for nothing else.
pub fn build_partitions(datadir: &Path, count: u32, hashes: &[u8]) {
    for partition in 0..count {
        let folder = datadir.join(partition.to_string());
        fs::create_dir(&folder).expect("the device is writable");
        fs::write(folder.join("hashes.pkl"), hashes).expect("the device is writable");
    }
}

/// Removes what is known of hashes in every partition, so that all are hashed anew.
pub fn forget_hashes(datadir: &Path) {
    for partition in fs::read_dir(datadir).expect("the device is readable") {
        let partition = partition.expect("the device is readable").path();
        for file in ["hashes.pkl", "hashes.invalid", ".lock"] {
            let _ = fs::remove_file(partition.join(file));
        }
    }
}
