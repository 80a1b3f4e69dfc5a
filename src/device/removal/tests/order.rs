//! In which order the files of an object go, and what keeps which of them.

use super::*;
use crate::device::listing::faults;
use std::path::{Path, PathBuf};

/// A partition with one object of these files.
fn object(files: &[&str]) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let (folder, partition) = partition();
    let object = partition.join("abc").join(HASH);
    fs::remove_file(object.join("1400000000.00000.data")).unwrap();
    files.iter().for_each(|file| fs::write(object.join(file), "").unwrap());
    (folder, partition, object)
}

fn left(object: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(object) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What is left when the unlink of a file fails.
fn left_without(files: &[&str], failing: &str) -> Vec<String> {
    let (_folder, partition, object) = object(files);
    let inventory = record(&partition);
    let removed = faults::with(&format!("unlink {failing}"), Errno::IO, || inventory.remove());
    let error = removed.unwrap_err().to_string();
    assert_eq!(error, format!("cannot unlink {}: Input/output error (os error 5)", object.join(failing).display()));
    left(&object)
}

const OLD_DATA: &str = "1400000000.00000.data";
const DATA: &str = "1400000001.00000.data";
const TOMBSTONE: &str = "1400000002.00000.ts";
const META: &str = "1400000003.00000.meta";

#[test]
fn a_tombstone_stays_while_the_data_that_it_ended_cannot_go() {
    assert_eq!(left_without(&[OLD_DATA, TOMBSTONE], OLD_DATA), [OLD_DATA, TOMBSTONE]);
    assert_eq!(left_without(&[OLD_DATA, DATA, TOMBSTONE, META], DATA), [DATA, TOMBSTONE, META]);
    assert_eq!(left_without(&[OLD_DATA, DATA, TOMBSTONE, META], OLD_DATA), [OLD_DATA, DATA, TOMBSTONE, META]);
}

#[test]
fn metadata_go_before_the_tombstone_and_after_the_data() {
    assert_eq!(left_without(&[DATA, META], META), [META]);
    assert_eq!(left_without(&[TOMBSTONE, META], META), [TOMBSTONE, META]);
    assert_eq!(left_without(&[TOMBSTONE, META], TOMBSTONE), [TOMBSTONE]);
}

#[test]
fn the_order_holds_for_what_was_confirmed_one_by_one() {
    let (_folder, partition, object) = object(&[DATA, TOMBSTONE]);
    let mut inventory = record(&partition);
    inventory.restrict(|_, _| true);
    let removed = faults::with(&format!("unlink {DATA}"), Errno::IO, || inventory.remove());
    assert!(removed.is_err());
    assert_eq!(left(&object), [DATA, TOMBSTONE]);
}

#[test]
fn a_tombstone_stays_while_there_is_data_that_was_not_recorded_or_not_confirmed() {
    for arrived in [OLD_DATA, ".1400000000.00000.data.Ab12Cd"] {
        let (_folder, partition, object) = object(&[TOMBSTONE]);
        let inventory = record(&partition);
        fs::write(object.join(arrived), "").unwrap();
        assert!(matches!(inventory.remove().unwrap(), Removal::Kept { only_foreign: false, .. }));
        assert!(object.join(TOMBSTONE).exists(), "{arrived}");
    }
    let (_folder, partition, object) = object(&[OLD_DATA, TOMBSTONE]);
    let mut inventory = record(&partition);
    inventory.restrict(|_, (name, _)| name.to_bytes() == TOMBSTONE.as_bytes());
    inventory.remove().unwrap();
    assert_eq!(left(&object), [OLD_DATA, TOMBSTONE]);
}

#[test]
fn data_that_were_replaced_keep_what_comes_after_them() {
    let (_folder, partition, object) = object(&[OLD_DATA, TOMBSTONE]);
    let inventory = record(&partition);
    fs::write(partition.join("tmpnew.tmp"), "new").unwrap();
    fs::rename(partition.join("tmpnew.tmp"), object.join(OLD_DATA)).unwrap();
    assert!(matches!(inventory.remove().unwrap(), Removal::Kept { only_foreign: false, .. }));
    assert_eq!(left(&object), [OLD_DATA, TOMBSTONE]);
}

/// A client's POST that was not recorded says something of the data: alone nobody could be sent it.
#[test]
fn metadata_that_arrive_keep_their_object() {
    let (_folder, partition, object) = object(&[DATA]);
    let inventory = record(&partition);
    fs::write(object.join(META), "").unwrap();
    assert!(matches!(inventory.remove().unwrap(), Removal::Kept { only_foreign: false, .. }));
    assert_eq!(left(&object), [DATA, META]);
}

#[test]
fn a_file_that_cannot_go_does_not_keep_other_objects() {
    let (_folder, partition, object) = object(&[DATA]);
    for other in ["abc/0", "def/1"] {
        fs::create_dir_all(partition.join(other)).unwrap();
        fs::write(partition.join(other).join("1400000009.00000.data"), "").unwrap();
    }
    let inventory = record(&partition);
    assert!(faults::with(&format!("unlink {DATA}"), Errno::IO, || inventory.remove()).is_err());
    assert_eq!((left(&partition.join("abc")), partition.join("def").exists()), (vec![HASH.to_owned()], false));
    assert_eq!(left(&object), [DATA]);
}

#[test]
fn where_one_unlink_after_the_other_fails_no_more_are_tried() {
    let (_folder, partition, _) = object(&[]);
    let objects: Vec<_> = (0..30).map(|number| partition.join(format!("def/{number}"))).collect();
    for object in &objects {
        fs::create_dir_all(object).unwrap();
        fs::write(object.join(DATA), "").unwrap();
    }
    let inventory = record(&partition);
    let error = faults::with(&format!("unlink {DATA}"), Errno::IO, || inventory.remove()).unwrap_err().to_string();
    assert!(error.ends_with("Input/output error (os error 5); 9 more could not be removed"), "{error}");
    assert!(objects.iter().all(|object| object.join(DATA).exists()));
}

/// Metadata alone are no object: with SSYNC nobody can be asked to have them.
#[test]
fn metadata_alone_keep_nothing_else_and_are_named() {
    let (_folder, partition, object) = object(&[META]);
    let other = partition.join("def/1");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join(DATA), "").unwrap();
    let mut inventory = record(&partition);
    let restricted = inventory.restrict(|_, (name, _)| name.to_bytes() == DATA.as_bytes());
    assert_eq!(*restricted, Restricted { files: 1, is_all: false, left: 0, example: None });
    assert_eq!(inventory.remove().unwrap(), Removal::Kept { left: vec![object.join(META)], only_foreign: true });
    assert!(!partition.join("def").exists() && object.join(META).exists());
}
