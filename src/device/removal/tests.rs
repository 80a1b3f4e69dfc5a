//! Removing partitions that change, or are claimed, in between.

mod bars;
mod order;
mod unseen;

use std::cell::Cell;
use std::ffi::CStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use super::inventory::Restricted;
use super::*;
use crate::device::fixture::on_a_disk_with_coarse_times;
use crate::device::lock::{LockError, PathLock};
use crate::device::object_files::FileMark;
use crate::format::pickle;

const HASH: &str = "00000000000000000000000000000abc";

/// A partition with one object and the usual bookkeeping.
fn partition() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let partition = folder.path().join("objects/7");
    fs::create_dir_all(partition.join("abc").join(HASH)).unwrap();
    fs::write(partition.join("abc").join(HASH).join("1400000000.00000.data"), "old").unwrap();
    for name in ["hashes.pkl", "hashes.invalid", ".lock", ".lock-replication", "tmpab12cd34.tmp"] {
        fs::write(partition.join(name), "").unwrap();
    }
    (folder, partition)
}

fn record(partition: &Path) -> Inventory {
    Inventory::record(partition).unwrap().expect("the partition is there")
}

#[test]
fn a_partition_that_did_not_change_goes_with_its_bookkeeping() {
    let (_folder, partition) = partition();
    let inventory = record(&partition);
    assert_eq!(inventory.suffixes().map(|s| s.to_string()).collect::<Vec<_>>(), ["abc"]);
    assert_eq!(inventory.remove().unwrap(), Removal::Gone);
    assert!(!partition.exists());
    assert!(partition.parent().unwrap().exists(), "the datadir stays");
}

#[test]
fn a_partition_that_is_not_there_has_no_inventory_and_one_that_vanished_is_gone() {
    let (_folder, partition) = partition();
    let inventory = record(&partition);
    fs::remove_dir_all(&partition).unwrap();
    assert_eq!(inventory.remove().unwrap(), Removal::Gone);
    assert!(Inventory::record(&partition).unwrap().is_none());
}

#[test]
fn a_newer_file_of_the_same_object_survives() {
    let (_folder, partition) = partition();
    let inventory = record(&partition);
    let hash_dir = partition.join("abc").join(HASH);
    fs::write(hash_dir.join("1400000001.00000.data"), "new").unwrap();
    let left = vec![hash_dir.join("1400000001.00000.data")];
    assert_eq!(inventory.remove().unwrap(), Removal::Kept { left, only_foreign: false });
    assert_eq!(fs::read_to_string(hash_dir.join("1400000001.00000.data")).unwrap(), "new");
    assert!(!hash_dir.join("1400000000.00000.data").exists(), "what was pushed is gone");
    let hashes = pickle::decode_stored(&fs::read(partition.join("hashes.pkl")).unwrap()).unwrap();
    assert!(!hashes.valid && hashes.hashes.is_empty(), "stale hashes must not outlive their suffixes");
    assert!(partition.join(".lock").exists());
}

#[test]
fn another_object_and_another_suffix_survive() {
    for arrived in ["abc/ffffffffffffffffffffffffffffcabc/1.00000.data", "def/0/1.00000.ts"] {
        let (_folder, partition) = partition();
        let inventory = record(&partition);
        let arrived = partition.join(arrived);
        fs::create_dir_all(arrived.parent().unwrap()).unwrap();
        fs::write(&arrived, "new").unwrap();
        assert!(matches!(inventory.remove().unwrap(), Removal::Kept { .. }), "{}", arrived.display());
        assert_eq!(fs::read_to_string(&arrived).unwrap(), "new");
    }
}

#[test]
fn a_file_that_took_a_recorded_name_survives() {
    let (_folder, partition) = partition();
    let inventory = record(&partition);
    let file = partition.join("abc").join(HASH).join("1400000000.00000.data");
    fs::write(partition.join("new"), "new").unwrap();
    fs::rename(partition.join("new"), &file).unwrap();
    assert!(matches!(inventory.remove().unwrap(), Removal::Kept { .. }));
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
}

#[test]
fn a_file_that_was_written_to_survives() {
    let (_folder, partition) = partition();
    let inventory = record(&partition);
    let file = partition.join("abc").join(HASH).join("1400000000.00000.data");
    std::thread::sleep(Duration::from_millis(20));
    fs::write(&file, "NEW").unwrap();
    assert!(matches!(inventory.remove().unwrap(), Removal::Kept { .. }));
    assert_eq!(fs::read_to_string(&file).unwrap(), "NEW");
}

#[test]
fn what_rsync_does_not_push_is_kept_and_named() {
    let (folder, partition) = partition();
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("1.00000.data"), "linked").unwrap();
    let link = partition.join("abc/fffffffffffffffffffffffffffffabc");
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    let inventory = record(&partition);
    assert_eq!(inventory.foreign(), std::slice::from_ref(&link));
    assert_eq!(inventory.remove().unwrap(), Removal::Kept { left: vec![link.clone()], only_foreign: true });
    assert!(!partition.join("abc").join(HASH).exists(), "what was recorded goes all the same");
    assert!(link.is_symlink());
    assert!(elsewhere.join("1.00000.data").exists());
}

#[test]
fn folders_that_are_no_suffixes_are_kept_if_they_hold_something() {
    let (_folder, partition) = partition();
    fs::create_dir(partition.join("none")).unwrap();
    assert_eq!(record(&partition).remove().unwrap(), Removal::Gone, "an empty one holds nothing");

    fs::create_dir_all(partition.join("some")).unwrap();
    fs::write(partition.join("some/file"), "precious").unwrap();
    let inventory = record(&partition);
    assert_eq!(inventory.foreign(), [partition.join("some")]);
    assert!(inventory.is_empty());
    assert_eq!(inventory.remove().unwrap(), Removal::Kept { left: vec![partition.join("some")], only_foreign: true });
    assert_eq!(fs::read_to_string(partition.join("some/file")).unwrap(), "precious");
}

#[test]
fn a_plain_file_of_unknown_name_is_kept() {
    let (_folder, partition) = partition();
    fs::write(partition.join("notes"), "precious").unwrap();
    let left = vec![partition.join("notes")];
    assert_eq!(record(&partition).remove().unwrap(), Removal::Kept { left, only_foreign: true });
    assert!(!partition.join("abc").exists(), "what was recorded goes all the same");
}

#[test]
fn a_restricted_record_removes_only_what_is_left_in_it() {
    let (_folder, partition) = partition();
    let other = partition.join("abc/fffffffffffffffffffffffffffffabc");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("1400000000.00000.data"), "unconfirmed").unwrap();
    let mut inventory = record(&partition);
    let restricted = inventory.restrict(|name, _| name.to_bytes() == HASH.as_bytes());
    let unconfirmed = other.join("1400000000.00000.data");
    let expected = Restricted { files: 1, is_all: false, left: 1, example: Some(unconfirmed.clone()) };
    assert_eq!(*restricted, expected);
    assert_eq!(inventory.remove().unwrap(), Removal::Kept { left: vec![unconfirmed], only_foreign: false });
    assert!(!partition.join("abc").join(HASH).exists());
    assert_eq!(fs::read_to_string(other.join("1400000000.00000.data")).unwrap(), "unconfirmed");

    let mut inventory = record(&partition);
    assert_eq!(*inventory.restrict(|_, _| true), Restricted { files: 1, is_all: true, left: 0, example: None });
    assert_eq!(inventory.remove().unwrap(), Removal::Gone);
}

#[test]
fn what_no_target_can_be_asked_to_have_is_foreign_to_a_restricted_record() {
    let (_folder, partition) = partition();
    let object = partition.join("abc").join(HASH);
    let is_data = |file: &CStr| file.to_bytes() == b"1400000000.00000.data";
    let strays = [
        object.join("notes.txt"),
        object.join(".1400000000.00000.data.Xq3vTz"),
        object.join("1500000000.00000.data"),
        partition.join("abc/none/1400000000.00000.data"),
        partition.join("abc/ffffffffffffffffffffffffffffffff/1400000000.00000.data"),
    ];
    for stray in &strays {
        let folder = if *stray == strays[2] { stray } else { stray.parent().unwrap() };
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(stray.file_name().unwrap()), "precious").unwrap();
    }
    let mut inventory = record(&partition);
    let expected = Restricted { files: 1, is_all: false, left: 0, example: None };
    let is_sent = |name: &CStr, (file, _): &FileMark| name.to_bytes() == HASH.as_bytes() && is_data(file);
    assert_eq!(*inventory.restrict(is_sent), expected);
    let Removal::Kept { mut left, only_foreign: true } = inventory.remove().unwrap() else { panic!("not kept") };
    left.sort();
    let mut all = strays.to_vec();
    all.sort();
    assert_eq!(left, all);
    assert!(strays.iter().all(|stray| stray.exists()));
}

#[test]
fn a_partition_that_is_a_symbolic_link_is_pushed_and_kept() {
    let (folder, partition) = partition();
    let link = folder.path().join("objects/8");
    std::os::unix::fs::symlink(&partition, &link).unwrap();
    let inventory = record(&link);
    assert!(inventory.is_link && inventory.unseen().is_empty());
    assert_eq!(inventory.suffixes().map(|s| s.to_string()).collect::<Vec<_>>(), ["abc"]);
    assert_eq!(record(&link).predict().unwrap(), Removal::Kept { left: vec![link.clone()], only_foreign: true });
    assert_eq!(inventory.remove().unwrap(), Removal::Kept { left: vec![link.clone()], only_foreign: true });
    let mut inventory = record(&link);
    assert_eq!(inventory.restrict(|_, _| true).files, 0);
    assert_eq!(inventory.remove().unwrap(), Removal::Kept { left: vec![link.clone()], only_foreign: true });
    assert!(partition.join("abc").join(HASH).join("1400000000.00000.data").exists());
    assert!(partition.join("hashes.pkl").metadata().unwrap().len() == 0, "nor anything else behind it");

    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let refused = Inventory::record(&link).unwrap_err().to_string();
    assert!(refused.starts_with(&format!("cannot open {}", link.display())), "{refused}");
}

#[test]
fn a_suffix_that_is_a_symbolic_link_is_pushed_and_kept() {
    let (folder, partition) = partition();
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(partition.join("abc"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, partition.join("abc")).unwrap();
    std::os::unix::fs::symlink("nowhere", partition.join("def")).unwrap();
    std::os::unix::fs::symlink("fed", partition.join("fed")).unwrap();
    let inventory = record(&partition);
    assert_eq!(inventory.suffixes().map(|s| s.to_string()).collect::<Vec<_>>(), ["abc"]);
    let Removal::Kept { mut left, only_foreign: true } = inventory.remove().unwrap() else { panic!("not kept") };
    left.sort();
    assert_eq!(left, [partition.join("abc"), partition.join("def"), partition.join("fed")]);
    assert!(elsewhere.join(HASH).join("1400000000.00000.data").exists());
}

/// What was a folder when it was recorded may be a link when it is to be removed.
#[test]
fn nothing_is_removed_through_a_link_that_took_a_folders_place() {
    for place in ["abc", &format!("abc/{HASH}")] {
        let (folder, partition) = partition();
        let inventory = record(&partition);
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(partition.join(place), &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, partition.join(place)).unwrap();
        let left = vec![partition.join(place)];
        assert_eq!(inventory.remove().unwrap(), Removal::Kept { left, only_foreign: false });
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    }
}

/// Says that the suffix changed, as an object server does when a peer pushed to it, or a client writes.
fn claim(partition: &Path) {
    let mut invalidations = fs::File::options().append(true).open(partition.join("hashes.invalid")).unwrap();
    invalidations.write_all(b"abc\n").unwrap();
}

#[test]
fn a_partition_that_a_peer_may_count_on_is_kept() {
    let (_folder, partition) = partition();
    let inventory = record(&partition);
    claim(&partition);
    assert_eq!(inventory.remove().unwrap(), Removal::Claimed);
    assert!(partition.join("abc").join(HASH).join("1400000000.00000.data").exists());
    assert!(partition.join("hashes.pkl").exists());
    assert_eq!(record(&partition).remove().unwrap(), Removal::Gone, "what was there before the record is known");
}

#[test]
fn a_claim_counts_when_it_was_taken_in_already() {
    let (_folder, partition) = partition();
    let inventory = record(&partition);
    claim(&partition);
    // An object server consolidates: a new `hashes.pkl`, and `hashes.invalid` is as empty as it was.
    fs::write(partition.join("tmp00000000.tmp"), "").unwrap();
    fs::rename(partition.join("tmp00000000.tmp"), partition.join("hashes.pkl")).unwrap();
    fs::write(partition.join("hashes.invalid"), "").unwrap();
    assert_eq!(inventory.remove().unwrap(), Removal::Claimed);
}

#[test]
fn nothing_is_removed_without_the_lock() {
    let (_folder, partition) = partition();
    let inventory = record(&partition);
    let _lock = PathLock::acquire(&partition, None, Duration::ZERO).unwrap();
    assert!(matches!(inventory.remove(), Err(RemovalError::Lock(LockError::Timeout { .. }))));
    assert!(partition.join("abc").join(HASH).join("1400000000.00000.data").exists());
}

#[test]
fn a_long_removal_lets_go_of_the_lock_and_stops_at_a_claim() {
    let (_folder, partition) = partition();
    let objects = ["0", "1", "2"].map(|object| partition.join("abd").join(object));
    for object in &objects {
        fs::create_dir_all(object).unwrap();
        fs::write(object.join("1400000000.00000.data"), "old").unwrap();
    }
    let pauses = Cell::new(0);
    let meddle = || {
        drop(PathLock::acquire(&partition, None, Duration::ZERO).expect("nobody holds the lock"));
        pauses.set(pauses.get() + 1);
        if !objects.iter().all(|object| object.exists()) {
            claim(&partition);
        }
    };
    assert_eq!(record(&partition).remove_with_pauses(Duration::ZERO, &meddle).unwrap(), Removal::Claimed);
    let left = objects.iter().filter(|object| object.exists()).count();
    assert_eq!(left, 2, "one of a suffix was removed before the claim");
    assert!(pauses.get() > 2, "{} pauses", pauses.get());
}

/// Two writes within a second leave the inode, size and time of the file before them.
#[test]
fn a_claim_counts_where_times_are_counted_in_seconds() {
    let test = "device::removal::tests::a_claim_counts_where_times_are_counted_in_seconds";
    on_a_disk_with_coarse_times(test, |disk| {
        let partition = disk.join("7");
        let hashes = partition.join("hashes.pkl");
        fs::create_dir_all(partition.join("abc").join(HASH)).unwrap();
        let replace = |content: &str| {
            fs::write(partition.join("tmp1.tmp"), content).unwrap();
            fs::rename(partition.join("tmp1.tmp"), &hashes).unwrap();
        };
        let identity = || crate::device::object_files::FileIdentity::from(&rustix::fs::stat(&hashes).unwrap());
        for _ in 0..20 {
            replace("first");
            let (inventory, before) = (record(&partition), identity());
            replace("other");
            replace("again");
            let is_same = identity() == before;
            assert_eq!(inventory.remove().unwrap(), Removal::Claimed);
            if is_same {
                return;
            }
        }
        panic!("no file took another one's inode within a second");
    });
}

#[test]
fn a_file_that_took_a_name_survives_where_times_are_counted_in_seconds() {
    let test = "device::removal::tests::a_file_that_took_a_name_survives_where_times_are_counted_in_seconds";
    on_a_disk_with_coarse_times(test, |disk| {
        let object = disk.join("7/abc").join(HASH);
        fs::create_dir_all(&object).unwrap();
        let file = object.join("1400000000.00000.data");
        for _ in 0..5 {
            fs::write(&file, "old").unwrap();
            let inventory = record(&disk.join("7"));
            fs::remove_file(&file).unwrap();
            fs::write(&file, "new").unwrap();
            assert!(matches!(inventory.remove().unwrap(), Removal::Kept { .. }));
            assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        }
    });
}

#[test]
fn what_is_foretold_is_what_removing_comes_to() {
    type Change = fn(&Path);
    let changes: [Change; 5] = [
        |_| {},
        |partition| fs::create_dir(partition.join("empty")).unwrap(),
        |partition| fs::create_dir_all(partition.join("holds/something")).unwrap(),
        |partition| fs::write(partition.join("notes"), "").unwrap(),
        |partition| std::os::unix::fs::symlink("/", partition.join("abc").join(HASH).join("link")).unwrap(),
    ];
    let mut kept = Vec::new();
    for change in changes {
        let (_folder, partition) = partition();
        change(&partition);
        let inventory = record(&partition);
        let foretold = inventory.predict().unwrap();
        kept.push(foretold != Removal::Gone);
        assert_eq!(record(&partition).remove().unwrap(), foretold);
    }
    assert_eq!(kept, [false, false, true, true, true]);
}
