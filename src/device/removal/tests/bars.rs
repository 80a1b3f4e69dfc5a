//! Nobody ends up with hashes of what is gone: servers that hash while a partition is removed.

use std::time::Duration as Time;

use super::*;
use crate::device::hash_store::HashStore;
use crate::device::hashes::{HashRequest, get_hashes};
use crate::device::layout::PartitionDir;
use crate::device::listing::faults;
use crate::heartbeat::Heartbeat;
use crate::names::Suffix;

const OTHER: &str = "00000000000000000000000000000def";
const REQUEST: HashRequest<'_> =
    HashRequest { recalculate: &[], listing: false, reclaim_age: Time::from_secs(7 * 86_400) };

/// A partition with an object in each of two suffixes, and without bookkeeping.
fn two_suffixes() -> (tempfile::TempDir, PartitionDir) {
    let (folder, path) = partition();
    for name in ["hashes.pkl", "hashes.invalid", ".lock", ".lock-replication", "tmpab12cd34.tmp"] {
        fs::remove_file(path.join(name)).unwrap();
    }
    fs::create_dir_all(path.join("def").join(OTHER)).unwrap();
    fs::write(path.join("def").join(OTHER).join("1400000000.00000.data"), "old").unwrap();
    (folder, PartitionDir::from_path(&path).unwrap())
}

/// Does something once, after the first suffix was hashed.
struct AtFirstBeat<F: Fn()>(std::sync::Mutex<bool>, F);

impl<F: Fn() + Sync> Heartbeat for AtFirstBeat<F> {
    fn beat(&self) {
        if !std::mem::replace(&mut *self.0.lock().unwrap(), true) {
            (self.1)();
        }
    }
}

/// The suffixes that are known with a hash, once what is invalid was taken in.
fn known(dir: &PartitionDir) -> Vec<String> {
    let stored = HashStore::open(dir).unwrap().load().unwrap().stored;
    let known = stored.hashes.iter().filter(|(_, hash)| stored.valid && hash.is_some());
    known.map(|(suffix, _)| suffix.to_string()).collect()
}

fn assert_nothing_stale(dir: &PartitionDir, context: &str) {
    for suffix in known(dir) {
        assert!(dir.path().join(&suffix).exists(), "{context}: {suffix} is gone, and has a hash");
    }
}

/// A server hashes a partition of which this is known, and while it does a removal fails half-way.
fn hash_while_removing(context: &str, before: impl Fn(&PartitionDir)) {
    let (_folder, dir) = two_suffixes();
    before(&dir);
    let remove = || {
        let inventory = record(dir.path());
        fs::write(dir.path().join("def").join(OTHER).join("1400000001.00000.data"), "arrived").unwrap();
        assert!(matches!(inventory.remove().unwrap(), Removal::Kept { .. }));
    };
    let _ = get_hashes(&dir, &REQUEST, &AtFirstBeat(false.into(), remove));
    assert!(!dir.path().join("abc").exists() && dir.path().join("def").exists(), "{context}");
    assert_nothing_stale(&dir, context);
}

fn known_and_forgotten(dir: &PartitionDir) {
    get_hashes(dir, &REQUEST, &()).unwrap();
    crate::device::invalidate::invalidate(dir, &["abc", "def"].map(|name| Suffix::from_name(name.as_bytes()).unwrap()))
        .unwrap();
}

#[test]
fn a_server_that_began_before_a_removal_that_fails_writes_no_hashes_of_what_went() {
    hash_while_removing("nothing was known", |_| {});
    hash_while_removing("all was known", known_and_forgotten);
    let empty = |dir: &PartitionDir| fs::write(dir.path().join("hashes.pkl"), "").unwrap();
    hash_while_removing("what was known is damaged", empty);
}

/// What the reference does: consolidate, hash, then compare and write under the lock, which nothing but content decides.
#[test]
fn a_file_that_comes_to_be_absent_again_is_no_way_to_write_what_is_gone() {
    let (_folder, dir) = two_suffixes();
    let store = HashStore::open(&dir).unwrap();
    let before = store.load().unwrap();
    assert!(!dir.path().join("hashes.pkl").exists());
    let stale: crate::format::hashes::SuffixHashes =
        ["abc", "def"].map(|name| (Suffix::from_name(name.as_bytes()).unwrap(), Some([7; 16]))).into_iter().collect();
    let inventory = record(dir.path());
    fs::write(dir.path().join("def").join(OTHER).join("1400000001.00000.data"), "arrived").unwrap();
    assert!(matches!(inventory.remove().unwrap(), Removal::Kept { .. }));
    assert!(!store.replace(&before, &stale).unwrap(), "its write fails");
    // Whoever wrote all the same, since he did not look, is corrected by what is invalid.
    let stored = pickle::StoredHashes { hashes: stale, valid: true, updated: 1.0 };
    fs::write(dir.path().join("hashes.pkl"), pickle::encode_stored(&stored)).unwrap();
    assert_eq!(known(&dir), Vec::<String>::new());
}

#[test]
fn a_server_that_comes_in_a_pause_stops_the_removal_and_keeps_no_hashes_of_what_went() {
    let (_folder, dir) = two_suffixes();
    let come = || drop(get_hashes(&dir, &REQUEST, &()).unwrap());
    assert_eq!(record(dir.path()).remove_with_pauses(Time::ZERO, &come).unwrap(), Removal::Claimed);
    assert_nothing_stale(&dir, "a pause");
}

/// Killed between any two unlinks: what the next one would have been fails, and so do all others.
#[test]
fn a_removal_that_ends_at_once_leaves_no_hashes_of_what_went() {
    let (_folder, dir) = two_suffixes();
    get_hashes(&dir, &REQUEST, &()).unwrap();
    let inventory = record(dir.path());
    // The lock is let go after the first file, and cannot be had again.
    let held = std::cell::RefCell::new(None);
    let keep = || {
        if !["abc", "def"].iter().all(|suffix| dir.path().join(suffix).join("0").exists()) {
            *held.borrow_mut() = PathLock::acquire(dir.path(), None, Time::ZERO).ok();
        }
    };
    assert!(matches!(inventory.remove_with_pauses(Time::ZERO, &keep), Err(RemovalError::Lock(_))));
    held.take();
    assert_nothing_stale(&dir, "killed");
}

#[test]
fn what_is_appended_by_the_removal_is_no_claim_and_hides_none() {
    let (_folder, dir) = two_suffixes();
    let inventory = record(dir.path());
    let appended = || {
        let said = fs::read_to_string(dir.path().join("hashes.invalid")).unwrap();
        assert!(said == "abc\ndef\n" || said == "def\nabc\n", "{said:?}");
    };
    assert_eq!(inventory.remove_with_pauses(Time::ZERO, &appended).unwrap(), Removal::Gone);

    let (_folder, dir) = two_suffixes();
    let inventory = record(dir.path());
    let claim = || {
        let file = fs::File::options().append(true).open(dir.path().join("hashes.invalid"));
        file.unwrap().write_all(b"abc\n").unwrap();
    };
    assert_eq!(inventory.remove_with_pauses(Time::ZERO, &claim).unwrap(), Removal::Claimed);
}

#[test]
fn nothing_is_removed_if_the_suffixes_cannot_be_named() {
    for name in ["hashes.invalid", "hashes.pkl"] {
        let (folder, dir) = two_suffixes();
        let lure = folder.path().join("lure");
        std::os::unix::fs::symlink(&lure, dir.path().join(name)).unwrap();
        let removed = record(dir.path()).remove();
        assert!(!lure.exists());
        if name == "hashes.invalid" {
            let error = removed.unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot write {}", dir.path().join(name).display())), "{error}");
            assert!(["abc", "def"].iter().all(|suffix| dir.path().join(suffix).exists()));
        }
    }
}

/// A disk without an inode for `hashes.invalid`: `hashes.pkl` makes room for it.
#[test]
fn a_partition_on_a_full_disk_can_be_removed() {
    let test = "device::removal::tests::bars::a_partition_on_a_full_disk_can_be_removed";
    crate::device::fixture::on_a_small_disk(test, |disk| {
        let partition = disk.join("7");
        let object = partition.join("abc").join(HASH);
        fs::create_dir_all(&object).unwrap();
        for file in [".lock", "hashes.pkl"] {
            fs::write(partition.join(file), "").unwrap();
        }
        fs::write(object.join("1400000000.00000.data"), "").unwrap();
        fs::write(disk.join("ballast"), "").expect("there is one inode left");
        assert!(fs::write(disk.join("more"), "").is_err(), "and no more");
        assert_eq!(record(&partition).remove().unwrap(), Removal::Gone);
    });
}

#[test]
fn a_partition_without_a_lock_on_a_full_disk_is_kept_and_that_is_said() {
    let (_folder, dir) = two_suffixes();
    let inventory = record(dir.path());
    let error = faults::with(".lock", Errno::NOSPC, || inventory.remove()).unwrap_err();
    assert!(matches!(&error, RemovalError::Lock(error) if error.is_no_room()), "{error}");
    assert!(["abc", "def"].iter().all(|suffix| dir.path().join(suffix).exists()));
}
