//! Partitions of which something cannot be looked at.

use super::*;
use crate::device::listing::faults;
use std::path::PathBuf;

const OTHER: &str = "00000000000000000000000000000def";
const FILE: &str = "1400000000.00000.data";

/// A partition with objects in two suffixes.
fn two_suffixes() -> (tempfile::TempDir, PathBuf) {
    let (folder, partition) = partition();
    fs::create_dir_all(partition.join("def").join(OTHER)).unwrap();
    fs::write(partition.join("def").join(OTHER).join(FILE), "old").unwrap();
    (folder, partition)
}

fn suffixes(inventory: &Inventory) -> Vec<String> {
    let mut names: Vec<_> = inventory.suffixes().map(|suffix| suffix.to_string()).collect();
    names.sort();
    names
}

#[test]
fn what_cannot_be_looked_at_forbids_the_removal_and_not_the_push() {
    for name in ["abc", HASH, FILE, "hashes.pkl", "hashes.invalid"] {
        for errno in [Errno::IO, Errno::UCLEAN, Errno::ACCESS] {
            let (_folder, partition) = two_suffixes();
            let inventory = faults::with(name, errno, || record(&partition));
            assert_eq!(suffixes(&inventory), ["abc", "def"], "{name}");
            let unseen = inventory.unseen()[0].to_string();
            assert!(unseen.contains(name) && unseen.contains(&std::io::Error::from(errno).to_string()), "{unseen}");
            assert_eq!(inventory.remove().unwrap_err().to_string(), unseen);
            assert!(["abc", "def"].iter().all(|suffix| partition.join(suffix).exists()), "{name}");
            assert!(faults::with(name, errno, || record(&partition)).predict().is_err());
        }
    }
}

#[test]
fn what_was_confirmed_one_by_one_goes_all_the_same() {
    for name in ["abc", HASH] {
        let (_folder, partition) = two_suffixes();
        let mut inventory = faults::with(name, Errno::IO, || record(&partition));
        let restricted = inventory.restrict(|name, _| name.to_bytes() == OTHER.as_bytes());
        assert_eq!(*restricted, Restricted { files: 1, is_all: false, left: 0, example: None });
        assert!(matches!(inventory.remove().unwrap(), Removal::Kept { only_foreign: false, .. }));
        assert!(partition.join("abc").join(HASH).join(FILE).exists() && !partition.join("def").exists(), "{name}");
    }
}

/// Without it nobody can tell who else counts on the partition.
#[test]
fn nothing_at_all_goes_if_claims_cannot_be_looked_at() {
    let (_folder, partition) = two_suffixes();
    let mut inventory = faults::with("hashes.pkl", Errno::IO, || record(&partition));
    inventory.restrict(|_, _| true);
    assert!(inventory.remove().unwrap_err().to_string().contains("hashes.pkl"));
    assert!(partition.join("def").join(OTHER).join(FILE).exists());
}

#[test]
fn a_folder_that_cannot_be_opened_any_more_keeps_itself_only() {
    let (_folder, partition) = two_suffixes();
    let inventory = record(&partition);
    let error = faults::with(HASH, Errno::IO, || inventory.remove()).unwrap_err().to_string();
    let path = partition.join("abc").join(HASH);
    assert_eq!(error, format!("cannot open {}: Input/output error (os error 5)", path.display()));
    assert!(path.join(FILE).exists() && !partition.join("def").exists());
}

#[test]
fn a_tree_deeper_than_objects_are_is_left_alone() {
    let (_folder, partition) = two_suffixes();
    let deep = partition.join("abc").join(["d"; 10].join("/"));
    fs::create_dir_all(&deep).unwrap();
    let inventory = record(&partition);
    assert!(matches!(inventory.unseen(), [RemovalError::TooDeep(_)]));
    assert!(inventory.remove().is_err());
    assert!(deep.exists());
}

#[test]
fn a_partition_that_cannot_be_listed_is_an_error() {
    let (_folder, partition) = two_suffixes();
    let path = partition.to_str().unwrap();
    let error = faults::with(path, Errno::IO, || Inventory::record(&partition)).unwrap_err().to_string();
    assert_eq!(error, format!("cannot open {path}: Input/output error (os error 5)"));
}
