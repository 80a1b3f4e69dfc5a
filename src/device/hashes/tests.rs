use std::fs;
use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::device::invalidate::invalidate;
use rustix::io::Errno;

use crate::device::fixture::{age, logged};
use crate::device::listing::faults;
use crate::device::lock::PathLock;
use crate::format::hashes::RemoteHash;
use crate::format::pickle::{self, StoredHashes};
use crate::names::{Partition, PolicyIndex};

const WEEK: Duration = Duration::from_secs(7 * 86_400);

struct Tree {
    _root: tempfile::TempDir,
    dir: PartitionDir,
}

impl Tree {
    /// A partition with one object in each of these suffixes.
    fn new(suffixes: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = PartitionDir::new(root.path(), "sd1", PolicyIndex::new(0), Partition::new(7));
        let tree = Self { _root: root, dir };
        fs::create_dir_all(tree.dir.path()).unwrap();
        suffixes.iter().for_each(|suffix| tree.put(suffix, 1));
        tree
    }

    /// Adds a version of the suffix's only object.
    fn put(&self, suffix: &str, version: u32) {
        let object = self.dir.object_path(&format!("{suffix:0>32}")).unwrap();
        fs::create_dir_all(&object).unwrap();
        fs::write(object.join(format!("14000000{version:02}.00000.data")), "").unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn stored(&self) -> StoredHashes {
        pickle::decode_stored(&fs::read(self.file("hashes.pkl")).unwrap()).unwrap()
    }

    fn store(&self, hashes: &SuffixHashes) {
        let stored = StoredHashes { hashes: hashes.clone(), valid: true, updated: 12.5 };
        fs::write(self.file("hashes.pkl"), pickle::encode_stored(&stored)).unwrap();
    }

    fn invalidations(&self) -> String {
        fs::read_to_string(self.file("hashes.invalid")).unwrap()
    }

    fn ask(&self, listing: bool, recalculate: &[Suffix], heartbeat: &dyn Heartbeat) -> Hashed {
        get_hashes(&self.dir, &HashRequest { recalculate, listing, reclaim_age: WEEK }, heartbeat).unwrap()
    }

    fn get(&self) -> Hashed {
        self.ask(false, &[], &())
    }

    /// The files of the partition's folder.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap().map(Result::unwrap);
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        let mut names: Vec<_> = files.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn suffix(name: &str) -> Suffix {
    Suffix::from_name(name.as_bytes()).unwrap()
}

fn wrong(names: &[&str]) -> SuffixHashes {
    names.iter().map(|name| (suffix(name), Some([7; 16]))).collect()
}

/// Does something at the first beats.
struct AtBeats<'a> {
    left: Mutex<u32>,
    action: &'a (dyn Fn() + Sync),
}

impl Heartbeat for AtBeats<'_> {
    fn beat(&self) {
        let mut left = self.left.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            (self.action)();
        }
    }
}

#[test]
fn a_new_partition_is_hashed_whole_and_then_known() {
    let tree = Tree::new(&["abc", "def"]);
    let first = tree.get();
    assert_eq!((first.hashed, first.hashes.len()), (2, 2));
    assert!(first.hashes.iter().all(|(_, hash)| hash.is_some()));
    assert_eq!((tree.stored().hashes, tree.stored().valid), (first.hashes.clone(), true));
    assert_eq!(tree.files(), [".lock", "hashes.pkl"]);
    assert_eq!(tree.get(), Hashed { hashed: 0, ..first });
}

/// Everything in the tree: paths, inodes, times of change, sizes.
fn snapshot(folder: &Path) -> Vec<(PathBuf, u64, i64, i64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let meta = entry.metadata().unwrap();
        found.push((entry.path(), meta.ino(), meta.ctime(), meta.ctime_nsec(), meta.len()));
        if meta.is_dir() {
            found.extend(snapshot(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn imagined_changes_give_the_hashes_of_real_ones_and_change_nothing() {
    let tree = Tree::new(&["abc", "def", "012"]);
    tree.get();
    tree.put("abc", 2);
    fs::write(tree.dir.suffix_path(suffix("def")).join("stray"), "to quarantine").unwrap();
    let empty = tree.dir.suffix_path(suffix("345"));
    fs::create_dir(&empty).unwrap();
    age(&empty);
    invalidate(&tree.dir, &["abc", "def", "345"].map(suffix)).unwrap();
    let device = tree.dir.device_path().to_owned();
    let before = snapshot(&device);

    let request = HashRequest { recalculate: &[suffix("012")], listing: true, reclaim_age: WEEK };
    let imagining = tree.dir.clone().with_writes(crate::device::writes::Writes::Imagined);
    let imagined = get_hashes(&imagining, &request, &()).unwrap();
    invalidate(&imagining, &[suffix("012")]).unwrap();
    assert_eq!(snapshot(&device), before);

    let real = get_hashes(&tree.dir, &request, &()).unwrap();
    assert_eq!(imagined, real);
    assert_eq!((real.hashed, real.hashes.len()), (3, 3));
    assert!(!empty.exists() && device.join("quarantined/objects/stray").exists());
}

#[test]
fn what_is_known_is_neither_hashed_nor_locked_nor_written_again() {
    let tree = Tree::new(&["abc"]);
    tree.store(&wrong(&["abc"]));
    let before = fs::read(tree.file("hashes.pkl")).unwrap();
    assert_eq!(tree.get(), Hashed { hashes: wrong(&["abc"]), hashed: 0 });
    assert_eq!(tree.ask(true, &[], &()).hashed, 0, "a listing that finds nothing new");
    assert_eq!(fs::read(tree.file("hashes.pkl")).unwrap(), before);
    assert_eq!(tree.files(), ["hashes.pkl"]);
}

#[test]
fn a_listing_finds_new_suffixes_and_a_request_hashes_old_ones_again() {
    let tree = Tree::new(&["abc", "def"]);
    tree.store(&wrong(&["abc"]));
    let listed = tree.ask(true, &[], &());
    assert_eq!((listed.hashed, listed.hashes.len()), (1, 2));
    assert_eq!(listed.hashes.get(suffix("abc")), Some(&Some([7; 16])));
    let again = tree.ask(false, &[suffix("abc"), suffix("012")], &());
    assert_eq!((again.hashed, again.hashes.len()), (1, 2), "one that is not there is not in the answer");
    assert_ne!(again.hashes.get(suffix("abc")), Some(&Some([7; 16])));
    assert_eq!(tree.stored().hashes, again.hashes);
}

/// As a server of Swift's leaves it that began to hash before a partition was removed, and ended afterwards.
#[test]
fn a_listing_forgets_suffixes_that_are_not_there() {
    let tree = Tree::new(&["abc"]);
    tree.store(&wrong(&["abc", "def"]));
    assert_eq!(tree.get().hashes, wrong(&["abc", "def"]), "nobody looked");
    let listed = tree.ask(true, &[], &());
    assert_eq!(listed, Hashed { hashes: wrong(&["abc"]), hashed: 0 });
    assert_eq!(tree.stored().hashes, wrong(&["abc"]));
}

/// What a bad inode costs: its own suffix.
#[test]
fn what_cannot_be_read_in_one_suffix_stops_no_other() {
    for place in ["def", "00000000000000000000000000000def"] {
        for errno in [Errno::IO, Errno::UCLEAN, Errno::ACCESS, Errno::NODATA] {
            let tree = Tree::new(&["abc", "def", "012"]);
            let (hashed, lines) = logged(|| faults::with(place, errno, || tree.get()));
            let ok = ["abc", "012"].map(|name| hashed.hashes.get(suffix(name)).copied().flatten().is_some());
            assert_eq!(ok, [true, true], "{place} {errno}");
            assert!(lines.iter().any(|line| line.starts_with("ERROR ") && line.contains("/def")), "{lines:?}");
            let remote = ["abc", "012"].map(|name| (suffix(name), RemoteHash::Known([7; 16]))).into_iter().collect();
            let differing = hashed.hashes.differing(&remote);
            assert!(differing.contains(&suffix("abc")) && differing.contains(&suffix("012")), "{differing:?}");
            assert_eq!(tree.stored().hashes, hashed.hashes, "{place} {errno}");
        }
    }
}

/// The lock's file is a link, a folder, or cannot be opened: what is known is used, and nothing is written.
#[test]
fn a_broken_lock_does_not_keep_a_partition_from_being_hashed() {
    let ways: [fn(&Path); 3] = [
        |lock| std::os::unix::fs::symlink("nowhere", lock).unwrap(),
        |lock| fs::create_dir(lock).unwrap(),
        |lock| fs::write(lock, "").unwrap(),
    ];
    for (at, way) in ways.iter().enumerate() {
        let tree = Tree::new(&["abc", "def"]);
        tree.store(&wrong(&["abc", "def"]));
        way(&tree.file(".lock"));
        fs::write(tree.file("hashes.invalid"), "def\n").unwrap();
        let fault = if at == 2 { ".lock" } else { "none" };
        let (hashed, lines) = logged(|| faults::with(fault, Errno::IO, || tree.get()));
        assert_eq!(hashed.hashes.get(suffix("abc")), Some(&Some([7; 16])));
        assert_eq!((hashed.hashed, hashed.hashes == wrong(&["abc", "def"])), (1, false));
        assert_eq!((tree.invalidations(), tree.stored().hashes), ("def\n".to_owned(), wrong(&["abc", "def"])));
        assert!(lines.iter().any(|line| line.starts_with("ERROR Cannot consolidate")), "{lines:?}");
    }
}

#[test]
fn what_is_no_plain_file_in_the_place_of_hashes_is_not_followed() {
    for name in ["hashes.pkl", "hashes.invalid", ".lock"] {
        for leads_somewhere in [true, false] {
            let tree = Tree::new(&["abc"]);
            let lure = tree.dir.device_path().join("lure");
            if leads_somewhere {
                fs::write(&lure, "precious").unwrap();
            }
            std::os::unix::fs::symlink(&lure, tree.file(name)).unwrap();
            let _ = invalidate(&tree.dir, &[suffix("abc")]);
            assert_eq!(tree.get().hashed, 1, "it is hashed all the same");
            assert_eq!(fs::read_to_string(&lure).ok().as_deref(), leads_somewhere.then_some("precious"), "{name}");
        }
    }
}

#[test]
fn invalidations_are_taken_in_and_emptied() {
    let tree = Tree::new(&["abc", "def"]);
    tree.store(&wrong(&["abc", "def"]));
    invalidate(&tree.dir, &[suffix("def"), suffix("012")]).unwrap();
    assert_eq!(tree.invalidations(), "def\n012\n");
    let hashed = tree.get();
    assert_eq!((hashed.hashed, hashed.hashes.len()), (1, 2));
    assert_eq!(hashed.hashes.get(suffix("abc")), Some(&Some([7; 16])));
    assert_eq!((tree.invalidations(), tree.stored().hashes), (String::new(), hashed.hashes));
}

#[test]
fn damaged_invalidations_are_cleared_before_everything_is_hashed() {
    for damage in [&b"\xff\xfe\n"[..], b"ab\n", b"abcdef\n", b"\0\0\0\0"] {
        let tree = Tree::new(&["abc", "def"]);
        tree.store(&wrong(&["abc", "def"]));
        fs::write(tree.file("hashes.invalid"), damage).unwrap();
        // Whatever comes while the suffixes are hashed must find the file already empty, and stay in it.
        let seen = Mutex::new(Vec::new());
        let watch = || {
            seen.lock().unwrap().push((tree.invalidations(), tree.stored().valid));
            fs::write(tree.file("hashes.invalid"), "def\n").unwrap();
        };
        let hashed = tree.ask(false, &[], &AtBeats { left: Mutex::new(1), action: &watch });
        assert_eq!(*seen.lock().unwrap(), [(String::new(), false)]);
        assert_eq!((hashed.hashed, hashed.hashes == wrong(&["abc", "def"])), (2, false));
        assert_eq!(tree.invalidations(), "def\n");
    }
}

#[test]
fn an_invalidation_of_a_partition_that_nobody_knows_yet_is_not_lost_to_a_slow_hasher() {
    let tree = Tree::new(&["abc"]);
    // While one hashes, another process consolidates a change of what was just hashed, and sees no valid file.
    let meddle = || {
        tree.put("abc", 2);
        invalidate(&tree.dir, &[suffix("abc")]).unwrap();
        HashStore::open(&tree.dir).unwrap().load().unwrap();
    };
    let hashed = tree.ask(false, &[], &AtBeats { left: Mutex::new(1), action: &meddle });
    let fresh = Tree::new(&["abc"]);
    fresh.put("abc", 2);
    assert_eq!(hashed.hashes, fresh.get().hashes);
    assert_eq!(tree.stored().hashes, hashed.hashes);
}

#[test]
fn a_change_while_hashing_is_noticed_and_all_begins_again() {
    let tree = Tree::new(&["abc", "def"]);
    let meddle = || tree.store(&wrong(&["abc"]));
    let hashed = tree.ask(true, &[], &AtBeats { left: Mutex::new(1), action: &meddle });
    assert_eq!(hashed.hashes.get(suffix("abc")), Some(&Some([7; 16])), "what others wrote counts");
    assert_eq!((hashed.hashed, hashed.hashes.len()), (1, 2), "only the last try counts");
    assert_eq!(tree.stored().hashes, hashed.hashes);
}

#[test]
fn a_partition_that_always_changes_is_given_up_and_used() {
    let tree = Tree::new(&["abc"]);
    let version = Mutex::new(0);
    let meddle = || {
        *version.lock().unwrap() += 1;
        let stored =
            StoredHashes { hashes: SuffixHashes::new(), valid: false, updated: (*version.lock().unwrap()).into() };
        fs::write(tree.file("hashes.pkl"), pickle::encode_stored(&stored)).unwrap();
    };
    let hashed = tree.ask(false, &[], &AtBeats { left: Mutex::new(u32::MAX), action: &meddle });
    assert_eq!((hashed.hashed, hashed.hashes.len()), (1, 1));
    assert_eq!(*version.lock().unwrap(), TRIES as i32);
    assert!(!tree.stored().valid, "the result was not written");
}

#[test]
fn hashes_that_cannot_be_written_are_used_all_the_same() {
    let tree = Tree::new(&["abc"]);
    // A folder cannot be replaced by a file.
    fs::create_dir(tree.file("hashes.pkl")).unwrap();
    assert_eq!(tree.get().hashed, 1);
    assert_eq!(tree.files(), [".lock"], "the temporary file is gone");
}

#[test]
fn invalidations_stay_if_they_cannot_be_consolidated() {
    let tree = Tree::new(&["abc", "def"]);
    fs::create_dir(tree.file("hashes.pkl")).unwrap();
    invalidate(&tree.dir, &[suffix("def")]).unwrap();
    assert_eq!(tree.get().hashed, 2);
    assert_eq!(tree.invalidations(), "def\n");
}

#[test]
fn invalidations_that_cannot_be_read_cost_a_hashing_of_everything() {
    let tree = Tree::new(&["abc", "def"]);
    tree.store(&wrong(&["abc", "def"]));
    fs::create_dir(tree.file("hashes.invalid")).unwrap();
    let hashed = tree.get();
    assert_eq!((hashed.hashed, hashed.hashes == wrong(&["abc", "def"])), (2, false));
}

#[test]
fn foreign_and_broken_hashes_are_replaced() {
    for content in [&b""[..], b"junk", b"\x80\x02N.", b"\x80\x02}X\x03\0\0\0xyzNs.", b"\x80\x02}X\x05\0\0\0valid\x89s."]
    {
        let tree = Tree::new(&["abc"]);
        fs::write(tree.file("hashes.pkl"), content).unwrap();
        assert_eq!(tree.get().hashed, 1, "{}", content.escape_ascii());
        assert!(tree.stored().valid);
    }
}

#[test]
fn a_suffix_that_cannot_be_hashed_has_no_hash() {
    let tree = Tree::new(&["abc", "def"]);
    std::os::unix::fs::symlink("loop", tree.file("abc").join("loop")).unwrap();
    let hashed = tree.get();
    assert_eq!((hashed.hashed, hashed.hashes.get(suffix("abc"))), (1, Some(&None)));
    assert_eq!(tree.stored().hashes, hashed.hashes);
}

#[test]
fn suffixes_with_odd_names_are_hashed_if_they_hold_anything() {
    let tree = Tree::new(&["abc", "xyz"]);
    fs::create_dir(tree.file("123")).unwrap();
    age(&tree.file("123"));
    fs::write(tree.file("456"), "").unwrap();
    let hashed = tree.get();
    let names: Vec<_> = hashed.hashes.iter().map(|(suffix, _)| suffix.to_string()).collect();
    assert_eq!((hashed.hashed, names.len()), (2, 2));
    assert!(names.contains(&"abc".to_owned()) && names.contains(&"xyz".to_owned()));
    assert!(!tree.file("123").exists() && tree.file("456").exists());
    assert_eq!(tree.get().hashed, 2, "B6.12: with such a key in it the file is never valid");
}

#[test]
fn a_missing_partition_is_gone_and_stays_missing() {
    let tree = Tree::new(&[]);
    let gone = PartitionDir::new(Path::new("/nowhere"), "sd1", PolicyIndex::new(0), Partition::new(1));
    let request = HashRequest { recalculate: &[], listing: true, reclaim_age: WEEK };
    assert!(get_hashes(&gone, &request, &()).unwrap_err().is_gone());
    invalidate(&gone, &[suffix("abc")]).unwrap();
    fs::remove_dir_all(tree.dir.path()).unwrap();
    fs::write(tree.dir.path(), "").unwrap();
    let error = get_hashes(&tree.dir, &request, &()).unwrap_err();
    assert!(!error.is_gone(), "a file is something else: {error}");
}

#[test]
fn a_partition_that_goes_while_it_is_hashed_does_not_come_back() {
    let tree = Tree::new(&["abc"]);
    let remove = || fs::remove_dir_all(tree.dir.path()).unwrap();
    let request = HashRequest { recalculate: &[], listing: true, reclaim_age: WEEK };
    let error = get_hashes(&tree.dir, &request, &AtBeats { left: Mutex::new(1), action: &remove }).unwrap_err();
    assert!(error.is_gone(), "{error}");
    assert!(!tree.dir.path().exists());
}

#[test]
fn the_lock_is_not_held_while_hashing() {
    let tree = Tree::new(&["abc"]);
    let take = || drop(PathLock::acquire(tree.dir.path(), None, Duration::ZERO).expect("nobody holds the lock"));
    tree.ask(true, &[], &AtBeats { left: Mutex::new(1), action: &take });
}
