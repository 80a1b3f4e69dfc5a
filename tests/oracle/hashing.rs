//! Hashing, held against the reference: timestamps, the choice among an object's files, whole partitions, locks, and
//! both at work on one partition.

mod trees;

use std::ffi::CString;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use swift_object_replicator::device::hashes::{HashRequest, Hashed, get_hashes};
use swift_object_replicator::device::invalidate::invalidate;
use swift_object_replicator::device::layout::PartitionDir;
use swift_object_replicator::device::lock::{LockError, PathLock};
use swift_object_replicator::device::mount::check_drive;
use swift_object_replicator::device::ondisk::{ObjectFile, choose};
use swift_object_replicator::format::hashes::{SuffixHashes, digest_to_hex};
use swift_object_replicator::format::timestamp::Timestamp;
use swift_object_replicator::heartbeat::Heartbeat;
use swift_object_replicator::names::{Partition, PolicyIndex, Suffix};

use self::trees::{Damage, Spec};
use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

const RECLAIM_AGE: Duration = Duration::from_secs(7 * 86_400);
const TREES: u64 = 250;

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn suffix(name: &str) -> Suffix {
    Suffix::from_name(name.as_bytes()).unwrap()
}

fn partition(devices: &Path) -> PartitionDir {
    PartitionDir::new(devices, "sd1", PolicyIndex::new(0), Partition::new(7))
}

fn as_json(hashes: &SuffixHashes) -> Value {
    let hex = |digest: &_| String::from_utf8(digest_to_hex(digest).to_vec()).unwrap();
    hashes
        .iter()
        .map(|(suffix, hash)| (suffix.to_string(), json!(hash.as_ref().map(hex))))
        .collect::<Map<_, _>>()
        .into()
}

fn question(devices: &Path, recalculate: &[Suffix], listing: bool) -> Value {
    let recalculate: Vec<_> = recalculate.iter().map(Suffix::as_str).collect();
    json!({"do": "get_hashes", "devices": devices, "device": "sd1", "partition": "7", "recalculate": recalculate,
           "listing": listing, "reclaim_age": RECLAIM_AGE.as_secs()})
}

fn ours(devices: &Path, recalculate: &[Suffix], listing: bool) -> Hashed {
    let request = HashRequest { recalculate, listing, reclaim_age: RECLAIM_AGE };
    get_hashes(&partition(devices), &request, &()).expect("the partition is there")
}

#[test]
fn partitions_are_hashed_and_cleaned_as_the_reference_does() {
    let mut oracle = Oracle::start("hashing.py");
    for seed in (0..TREES).map(Seed::fixed) {
        let spec = Spec::generate(&mut seed.rng(), now(), RECLAIM_AGE.as_secs());
        let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        spec.build(root.path(), &mut oracle, true);
        // What the reference drops or chokes on, here costs a hashing of everything: as if nothing were known.
        spec.build(other.path(), &mut oracle, spec.damage == Damage::None);
        let expected = oracle.ask(&question(other.path(), &spec.recalculate, spec.listing));
        let hashed = ours(root.path(), &spec.recalculate, spec.listing);
        let context = format!("{seed}: {spec:?}");
        assert_eq!(as_json(&hashed.hashes), expected["hashes"], "{context}");
        assert_eq!(hashed.hashed, expected["hashed"], "{context}");
        assert_eq!(trees::snapshot(root.path()), trees::snapshot(other.path()), "{context}");
        let stored = |devices: &Path, oracle: &mut Oracle| {
            oracle.ask(&json!({"do": "stored", "partition": partition(devices).path()}))
        };
        assert_eq!(stored(root.path(), &mut oracle), stored(other.path(), &mut oracle), "{context}");
        // And once more, as the next pass would: each on what the other left.
        let expected = oracle.ask(&question(root.path(), &[], true));
        let mut expected = expected["hashes"].as_object().expect("a dict").clone();
        // What is not there a listing forgets here.
        expected.retain(|suffix, _| partition(root.path()).path().join(suffix).symlink_metadata().is_ok());
        let hashed = ours(other.path(), &[], true);
        assert_eq!(as_json(&hashed.hashes), Value::from(expected), "second pass, {context}");
        assert_eq!(trees::snapshot(root.path()), trees::snapshot(other.path()), "second pass, {context}");
    }
}

#[test]
fn the_same_files_count_and_the_same_are_obsolete() {
    let mut oracle = Oracle::start("hashing.py");
    let seed = Seed::fixed(11);
    let mut rng = seed.rng();
    let lists: Vec<Vec<String>> = (0..3000)
        .map(|_| {
            let pool = trees::times(&mut rng, now(), RECLAIM_AGE.as_secs());
            let mut names: Vec<_> = (0..rng.usize(..9)).map(|_| trees::file_name(&mut rng, &pool)).collect();
            names.sort();
            names.dedup();
            names
        })
        .collect();
    let answers = oracle.ask(&json!({"do": "choose", "lists": lists}));
    for (names, answer) in lists.iter().zip(answers.as_array().unwrap_or_else(|| panic!("{answers}"))) {
        assert_eq!(chosen(names), *answer, "{names:?}");
    }
}

fn chosen(names: &[String]) -> Value {
    let names: Vec<CString> = names.iter().map(|name| CString::new(name.as_str()).unwrap()).collect();
    let choice = choose(names.iter().filter_map(|name| ObjectFile::parse(name)).collect());
    let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let listed = |files: &[ObjectFile]| {
        let mut names: Vec<_> = files.iter().map(|file| file.name.to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    json!({"data": text(choice.data), "meta": text(choice.meta), "content_type": text(choice.content_type),
           "tombstone": choice.tombstone.map(|file| file.name.to_str().unwrap()),
           "strays": listed(&choice.strays), "obsolete": listed(&choice.obsolete)})
}

#[test]
fn timestamps_are_read_as_the_reference_reads_them() {
    let mut oracle = Oracle::start("hashing.py");
    let seed = Seed::fixed(12);
    let mut rng = seed.rng();
    let texts: Vec<String> = (0..20_000).map(|_| trees::timestamp_text(&mut rng)).collect();
    let answers = oracle.ask(&json!({"do": "timestamps", "texts": texts}));
    let mut valid = 0;
    for (text, answer) in texts.iter().zip(answers.as_array().unwrap_or_else(|| panic!("{answers}"))) {
        let single = Timestamp::parse(text).ok().map(|time| time.to_string());
        let pair = Timestamp::parse_pair(text.as_bytes()).ok();
        let pair = pair.map(|(first, second)| [Some(first.to_string()), second.map(|second| second.to_string())]);
        valid += usize::from(single.is_some());
        assert_eq!(json!([single, pair]), *answer, "{text:?}");
    }
    assert!((2_000..18_000).contains(&valid), "the texts test nothing: {valid} are timestamps");
}

#[test]
fn drives_are_found_and_missed_as_the_reference_does() {
    let mut oracle = Oracle::start("hashing.py");
    let root = tempfile::tempdir().unwrap();
    for folder in ["plain", "marked", "a b", "d%41"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    fs::write(root.path().join("marked/.ismount"), "").unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    for (link, to) in [("link", "plain"), ("marked-link", "marked"), ("dangling", "nowhere"), ("to-file", "file")] {
        std::os::unix::fs::symlink(to, root.path().join(link)).unwrap();
    }
    let seed = Seed::fixed(13);
    let mut rng = seed.rng();
    let random = (0..500).map(|_| (0..rng.usize(1..6)).map(|_| rng.char(' '..'ÿ')).collect());
    let mut names: Vec<String> = random.filter(|name: &String| name != "." && name != "..").collect();
    names.extend(fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()));
    for (devices, mount_check) in [(root.path(), false), (root.path(), true), (Path::new("/"), true)] {
        names.push("proc".to_owned());
        let question = json!({"do": "check_drives", "devices": devices, "names": names, "mount_check": mount_check});
        let ours = names.iter().map(|name| match check_drive(devices, name, mount_check) {
            Ok(path) => path.display().to_string(),
            Err(error) => error.to_string(),
        });
        assert_eq!(oracle.ask(&question), json!(ours.collect::<Vec<_>>()), "{} {mount_check}", devices.display());
    }
}

#[test]
fn each_respects_the_others_locks() {
    let mut oracle = Oracle::start("hashing.py");
    let dir = tempfile::tempdir().unwrap();
    let short = Duration::from_millis(200);
    for name in [None, Some("replication")] {
        let mut ask = |what: &str| {
            oracle.ask(&json!({"do": what, "dir": dir.path(), "name": name, "timeout": short.as_secs_f64()}))
        };
        let held = PathLock::acquire(dir.path(), name, short).unwrap();
        assert_eq!(ask("lock"), json!(false), "we hold it");
        drop(held);
        assert_eq!(ask("lock"), json!(true));
        let error = PathLock::acquire(dir.path(), name, short).unwrap_err();
        assert!(matches!(error, LockError::Timeout { .. }), "the reference holds it: {error}");
        ask("unlock");
        PathLock::acquire(dir.path(), name, short).expect("nobody holds it");
    }
}

/// Leaves time between the hashing and the writing, in which others can change everything.
struct Slow;

impl Heartbeat for Slow {
    fn beat(&self) {
        thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn no_invalidation_is_lost_while_both_are_at_work() {
    const SUFFIXES: [&str; 3] = ["000", "abc", "fff"];
    const ROUNDS: u64 = 20;
    const WRITES: u64 = 12;
    let root = tempfile::tempdir().unwrap();
    let devices = root.path();
    fs::create_dir_all(partition(devices).path()).unwrap();
    let mut truth = Oracle::start("hashing.py");
    let mut theirs: Vec<_> = (0..2).map(|_| Oracle::start("hashing.py")).collect();
    for seed in (0..ROUNDS).map(Seed::fixed) {
        let (round, seed) = (seed.value(), &seed);
        let first = 1_500_000_000 + round * WRITES;
        thread::scope(|scope| {
            let storms = theirs.iter_mut().enumerate().map(|(at, oracle)| {
                let question = json!({"do": "storm", "devices": devices, "device": "sd1", "partition": "7",
                    "seed": round * 10 + at as u64, "first": first, "rounds": WRITES, "suffixes": SUFFIXES,
                    "stem": format!("{at:029}")});
                scope.spawn(move || oracle.ask(&question))
            });
            let storms: Vec<_> = storms.collect();
            let writer = scope.spawn(move || write_and_invalidate(devices, seed, first..first + WRITES, &SUFFIXES));
            let recalculate = SUFFIXES.map(suffix);
            let request = HashRequest { recalculate: &recalculate, listing: false, reclaim_age: RECLAIM_AGE };
            while storms.iter().any(|storm| !storm.is_finished()) || !writer.is_finished() {
                get_hashes(&partition(devices), &request, &Slow).expect("the partition is there");
            }
            for storm in storms {
                assert_eq!(storm.join().unwrap(), json!([]), "the reference failed");
            }
        });
        // Now all is quiet. What the last invalidations left must be true.
        let known = ours(devices, &[], false);
        fs::remove_file(partition(devices).path().join("hashes.pkl")).unwrap();
        let truth = truth.ask(&question(devices, &[], true));
        assert_eq!(as_json(&known.hashes), truth["hashes"], "{seed}");
    }
}

/// Writes versions of an object in each of some suffixes, and marks the suffixes as changed.
fn write_and_invalidate(devices: &Path, seed: &Seed, versions: Range<u64>, suffixes: &[&str]) {
    let mut rng = seed.rng();
    let dir = partition(devices);
    for version in versions {
        let name = suffixes[rng.usize(..suffixes.len())];
        let folder = dir.object_path(&format!("{:029}{name}", 9)).unwrap();
        fs::create_dir_all(&folder).unwrap();
        // Someone may just have removed the folder, since it was empty.
        if fs::write(folder.join(format!("{version:010}.00000.data")), "").is_ok() {
            invalidate(&dir, &[suffix(name)]).unwrap();
        }
    }
}
