//! Removing partitions that change, or are claimed, in between.

use std::cell::Cell;
use std::fs;
use std::io::Write as _;

use super::*;
use crate::device::lock::PathLock;

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
    assert_eq!(inventory.remove().unwrap(), Removal::Kept { left: vec![hash_dir.clone()] });
    assert_eq!(fs::read_to_string(hash_dir.join("1400000001.00000.data")).unwrap(), "new");
    assert!(!hash_dir.join("1400000000.00000.data").exists(), "what was pushed is gone");
    assert!(!partition.join("hashes.pkl").exists(), "stale hashes must not outlive their suffixes");
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
    std::thread::sleep(std::time::Duration::from_millis(20));
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
    assert!(matches!(inventory.remove().unwrap(), Removal::Kept { .. }));
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
    assert_eq!(inventory.remove().unwrap(), Removal::Kept { left: vec![partition.join("some")] });
    assert_eq!(fs::read_to_string(partition.join("some/file")).unwrap(), "precious");
}

#[test]
fn a_plain_file_of_unknown_name_is_kept() {
    let (_folder, partition) = partition();
    fs::write(partition.join("notes"), "precious").unwrap();
    assert_eq!(record(&partition).remove().unwrap(), Removal::Kept { left: vec![partition.join("notes")] });
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
    assert_eq!(restricted, Restricted { files: 1, is_all: false });
    assert!(matches!(inventory.remove().unwrap(), Removal::Kept { .. }));
    assert!(!partition.join("abc").join(HASH).exists());
    assert_eq!(fs::read_to_string(other.join("1400000000.00000.data")).unwrap(), "unconfirmed");

    let mut inventory = record(&partition);
    assert_eq!(inventory.restrict(|_, _| true), Restricted { files: 1, is_all: true });
    assert_eq!(inventory.remove().unwrap(), Removal::Gone);
}

#[test]
fn a_partition_that_is_a_symbolic_link_is_refused() {
    let (folder, partition) = partition();
    let link = folder.path().join("objects/8");
    std::os::unix::fs::symlink(&partition, &link).unwrap();
    let refused = Inventory::record(&link).unwrap_err().to_string();
    assert!(refused.starts_with(&format!("cannot open {}", link.display())), "{refused}");
    assert!(partition.join("abc").exists());
}

#[test]
fn a_tree_deeper_than_objects_are_is_left_alone() {
    let (_folder, partition) = partition();
    let deep = partition.join("abc").join(["d"; 10].join("/"));
    fs::create_dir_all(&deep).unwrap();
    assert!(matches!(Inventory::record(&partition), Err(RemovalError::TooDeep { .. })));
    assert!(deep.exists());
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
    for suffix in ["abd", "abe"] {
        fs::create_dir_all(partition.join(suffix).join(HASH)).unwrap();
        fs::write(partition.join(suffix).join(HASH).join("1400000000.00000.data"), "old").unwrap();
    }
    let pauses = Cell::new(0);
    let meddle = || {
        drop(PathLock::acquire(&partition, None, Duration::ZERO).expect("nobody holds the lock"));
        pauses.set(pauses.get() + 1);
        if pauses.get() == 2 {
            claim(&partition);
        }
    };
    assert_eq!(record(&partition).remove_with_pauses(Duration::ZERO, meddle).unwrap(), Removal::Claimed);
    let left = ["abc", "abd", "abe"].map(|suffix| usize::from(partition.join(suffix).exists()));
    assert_eq!((pauses.get(), left.iter().sum::<usize>()), (2, 2), "one was removed before the claim");
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
        let foretold = inventory.foretell();
        kept.push(foretold != Removal::Gone);
        assert_eq!(inventory.remove().unwrap() != Removal::Gone, foretold != Removal::Gone);
    }
    assert_eq!(kept, [false, false, true, true, true]);
}
