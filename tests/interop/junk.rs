//! Devices that hold what they should not: it is named or ignored, never lost, and the pass goes on.

use std::fs;
use std::path::Path;

use crate::support::cluster::{Disk, Lease, Spec};
use crate::support::guard::ReadOnly;
use crate::support::object::{Object, time};
use crate::support::replicator::{Outcome, Which};
use crate::support::tree::{Tree, hashes};

both! {
    a_partition_that_is_a_file_is_removed,
    the_auditors_files_are_left_alone,
    names_that_are_no_numbers_are_counted_and_left_alone,
    a_missing_device_is_named_and_its_failures_counted,
    a_missing_datadir_is_made,
    old_temporary_files_are_removed,
    junk_for_hashes_is_replaced,
    a_list_for_hashes_is_replaced,
    truncated_hashes_are_replaced,
    hashes_of_strange_suffixes_are_replaced,
    strays_beside_objects_are_left_alone,
    a_read_only_device_does_not_stop_the_others,
}

/// A cluster whose first node has one object to push, whatever else stands beside it.
struct Device {
    cluster: Lease,
    object: Object,
    disk: Disk,
}

impl Device {
    fn new() -> Self {
        let cluster = Spec::nodes(4).lease();
        let object = cluster.object_in(0, cluster.partitions_at(0, 0)[0]);
        let disk = cluster.home(0, object.partition, 0);
        cluster.put(&disk, &object, &time(1), b"in the middle of junk");
        Self { cluster, object, disk }
    }

    fn datadir(&self) -> std::path::PathBuf {
        self.disk.path.join("objects")
    }

    fn partition(&self) -> std::path::PathBuf {
        self.disk.partition(0, self.object.partition)
    }

    /// Runs a pass; the object must get to where it belongs.
    fn pass(&self, which: Which) -> Outcome {
        let outcome = self.cluster.replicate(which, 0);
        outcome.ended(0);
        self.cluster.assert_everywhere(&self.object, b"in the middle of junk");
        outcome
    }
}

fn fill(folder: &Path) {
    let files = folder.join("abc/0123456789abcdef0123456789abcabc");
    fs::create_dir_all(&files).expect("the device is writable");
    fs::write(files.join("1700000000.00000.data"), b"precious").expect("the device is writable");
}

fn a_partition_that_is_a_file_is_removed(which: Which) {
    let device = Device::new();
    let other = device.cluster.partitions_at(0, 0)[1];
    let file = device.disk.partition(0, other);
    fs::write(&file, b"").expect("the device is writable");
    let outcome = device.pass(which);
    outcome.clean().says(&format!("Removing partition directory which was a file: {}", file.display()));
    outcome.says("1/2 (50.00%) partitions replicated").counts(&[("attempted", 1), ("failure", 0)]);
    assert!(!file.exists());
}

fn the_auditors_files_are_left_alone(which: Which) {
    let device = Device::new();
    let file = device.datadir().join("auditor_status_ALL.json");
    fs::write(&file, b"{}").expect("the device is writable");
    device.pass(which).clean().says("1/1 (100.00%)").counts(&[("failure", 0)]);
    assert_eq!(fs::read(&file).expect("it is there"), b"{}");
}

fn names_that_are_no_numbers_are_counted_and_left_alone(which: Which) {
    let device = Device::new();
    let names = ["lost+found", "abc", "1.5", "0x1"].map(|name| device.datadir().join(name));
    names.iter().for_each(|folder| fill(folder));
    let before = names.each_ref().map(|folder| Tree::of(folder));
    // Each costs one failure for every device of the ring (B5.11).
    device.pass(which).counts(&[("attempted", 1), ("failure", 4 * 4)]).says("1/1 (100.00%)");
    assert_eq!(names.each_ref().map(|folder| Tree::of(folder)), before);
}

fn a_missing_device_is_named_and_its_failures_counted(which: Which) {
    let cluster = Spec::nodes(3).devices(2).lease();
    let part = (0..16).find(|&part| cluster.home(0, part, 0).name == "sdb").expect("such a partition");
    let object = cluster.object_in(0, part);
    cluster.put(&cluster.home(0, part, 0), &object, &time(1), b"x");
    let missing = cluster.disks()[0].path.clone();
    fs::remove_dir_all(&missing).expect("the device is ours");
    let outcome = cluster.replicate(which, 0);
    outcome.ended(0).says(&format!("{} is not a directory", missing.display()));
    outcome.counts(&[("attempted", 1), ("success", 2), ("failure", 6)]);
    cluster.assert_everywhere(&object, b"x");
    assert!(!missing.exists(), "a mount point was made");
}

fn a_missing_datadir_is_made(which: Which) {
    let cluster = Spec::nodes(4).lease();
    let datadir = cluster.disks()[0].path.join("objects");
    fs::remove_dir(&datadir).expect("it is empty");
    cluster.replicate(which, 0).clean().says("Nothing replicated for ");
    assert!(datadir.is_dir());
}

fn old_temporary_files_are_removed(which: Which) {
    let device = Device::new();
    let tmp = device.disk.path.join("tmp");
    fs::create_dir_all(tmp.join("folder")).expect("the device is writable");
    let (old, new) = (tmp.join("old"), tmp.join("new"));
    for file in [&old, &new] {
        fs::write(file, b"half").expect("the device is writable");
    }
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(8 * 86_400);
    fs::File::options().write(true).open(&old).and_then(|file| file.set_modified(long_ago)).expect("a file of ours");
    device.pass(which).clean();
    assert!(!old.exists() && new.exists() && tmp.join("folder").is_dir());
}

/// The partition's `hashes.pkl` is made this; a pass finds the truth in the tree.
fn with_bad_hashes(which: Which, pickle: &[u8]) {
    let device = Device::new();
    let path = device.partition().join("hashes.pkl");
    fs::write(&path, pickle).expect("the device is writable");
    device.pass(which).counts(&[("suffix_count", 1), ("suffix_hash", 1), ("rsync", 2), ("failure", 0)]);
    let stored = hashes(&path);
    assert_eq!(stored["valid"], true, "{stored}");
    assert!(stored[device.object.suffix()].is_string(), "{stored}");
    assert_eq!(stored.as_object().map(|map| map.len()), Some(2), "{stored}");
}

fn junk_for_hashes_is_replaced(which: Which) {
    with_bad_hashes(which, b"\xff\x00 not a pickle");
}

fn a_list_for_hashes_is_replaced(which: Which) {
    with_bad_hashes(which, b"\x80\x02]q\0X\x01\0\0\0xa.");
}

fn truncated_hashes_are_replaced(which: Which) {
    with_bad_hashes(which, b"\x80\x02}q\0(X\x05\0\0\0valid");
}

fn hashes_of_strange_suffixes_are_replaced(which: Which) {
    with_bad_hashes(which, b"\x80\x02}q\0(X\x05\0\0\0valid\x88X\x03\0\0\0xyzNu.");
}

fn strays_beside_objects_are_left_alone(which: Which) {
    let device = Device::new();
    let (suffix, folder) = (device.partition().join(device.object.suffix()), device.object.folder(&device.disk));
    let strays =
        [folder.join("notes"), folder.join(".1700000000.00000.data.Ab12Cd"), device.partition().join("long-name")];
    for stray in &strays {
        fs::write(stray, b"stray").expect("the device is writable");
    }
    let in_suffix = suffix.join("stray");
    fs::create_dir(&in_suffix).expect("the device is writable");
    let outcome = device.pass(which);
    outcome.says(&format!("Unexpected file {}: Invalid Timestamp value in filename 'notes'", strays[0].display()));
    for stray in &strays {
        assert_eq!(fs::read(stray).expect("it is there"), b"stray");
    }
    for peer in device.cluster.peers(0, device.object.partition, 0) {
        assert!(!device.object.files(&peer).contains(&".1700000000.00000.data.Ab12Cd".to_owned()));
    }
}

fn a_read_only_device_does_not_stop_the_others(which: Which) {
    let cluster = Spec::nodes(3).devices(2).lease();
    let on = |name: &str| (0..16).find(|&part| cluster.home(0, part, 0).name == name).expect("such a partition");
    let objects = ["sda", "sdb"].map(|name| cluster.object_in(0, on(name)));
    for object in &objects {
        cluster.put(&cluster.home(0, object.partition, 0), object, &time(1), b"x");
    }
    let bad = cluster.home(0, objects[0].partition, 0);
    let outcome = {
        let _read_only = ReadOnly::make(&bad.path);
        cluster.replicate(which, 0)
    };
    outcome.ended(0);
    cluster.assert_everywhere(&objects[1], b"x");
    assert_eq!(cluster.get(&bad, &objects[0]).body, b"x");
    assert!(outcome.syslog.iter().any(|line| line.severity() <= 4), "nobody is told:\n{}", outcome.all());
}

#[test]
fn a_partition_beyond_the_ring_is_kept() {
    let device = Device::new();
    let (full, empty) = (device.datadir().join("16"), device.datadir().join("4294967295"));
    fill(&full);
    fs::create_dir(&empty).expect("the device is writable");
    let before = Tree::of(&full);
    let outcome = device.pass(Which::Ours);
    assert_eq!(Tree::of(&full), before, "{}", outcome.all());
    assert!(!empty.exists(), "an empty one is of no use");
    let lines = outcome.syslog.iter().filter(|line| line.severity() == 3 && line.text.contains("16")).count();
    assert_eq!(lines, 1, "{}", outcome.all());
    assert!(outcome.counter("failure") > 0);
}

#[test]
fn numbers_in_strange_spellings_are_no_partitions() {
    let device = Device::new();
    let here = device.object.partition;
    let names = [format!("0{here}"), format!("+{here}"), format!("-{here}"), format!(" {here}"), "1_0".to_owned()];
    let folders: Vec<_> = names.iter().map(|name| device.datadir().join(name)).collect();
    folders.iter().for_each(|folder| fill(folder));
    let before: Vec<_> = folders.iter().map(|folder| Tree::of(folder)).collect();
    let outcome = device.pass(Which::Ours);
    assert_eq!(folders.iter().map(|folder| Tree::of(folder)).collect::<Vec<_>>(), before, "{}", outcome.all());
    outcome.counts(&[("attempted", 1), ("failure", 4 * 5)]);
}

#[test]
fn an_empty_list_for_hashes_is_replaced() {
    // The reference trips over it, in every pass.
    with_bad_hashes(Which::Ours, b"\x80\x02]q\0.");
}

#[test]
fn junk_in_the_list_of_invalid_suffixes_is_cleared() {
    let device = Device::new();
    let invalid = device.partition().join("hashes.invalid");
    fs::write(&invalid, b"\xff\xfe\n").expect("the device is writable");
    device.pass(Which::Ours).counts(&[("failure", 0), ("rsync", 2)]);
    assert_eq!(fs::read(&invalid).expect("it stays"), b"");
}
