//! `--dry-run`: what a pass would do, without doing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::cluster::{Cluster, Disk, Lease, Spec};
use crate::support::object::time;
use crate::support::replicator::{Outcome, Which};

/// All that is to be seen of an entry but when it was last read.
#[derive(Debug, PartialEq)]
struct Entry {
    inode: u64,
    mode: u32,
    links: u64,
    owner: (u32, u32),
    modified: (i64, i64),
    changed: (i64, i64),
    content: Option<Vec<u8>>,
    attributes: BTreeMap<String, Vec<u8>>,
}

/// Every entry below a folder.
fn snapshot(folder: &Path, into: &mut BTreeMap<PathBuf, Entry>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a folder").path();
        let meta = fs::symlink_metadata(&path).expect("nothing changes here");
        let names = xattr::list(&path).expect("a file system with attributes");
        let attribute = |name: std::ffi::OsString| {
            let value = xattr::get(&path, &name).expect("an attribute").unwrap_or_default();
            (name.to_string_lossy().into_owned(), value)
        };
        let seen = Entry {
            inode: meta.ino(),
            mode: meta.mode(),
            links: meta.nlink(),
            owner: (meta.uid(), meta.gid()),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            content: meta.is_file().then(|| fs::read(&path).expect("a file")),
            attributes: names.map(attribute).collect(),
        };
        into.insert(path.clone(), seen);
        if meta.is_dir() {
            snapshot(&path, into);
        }
    }
}

/// Every entry of all nodes' devices, and of the folder of figures.
fn whole(cluster: &Cluster) -> BTreeMap<PathBuf, Entry> {
    let mut all = BTreeMap::new();
    for node in &cluster.nodes {
        snapshot(&node.devices(), &mut all);
        snapshot(&node.recon(), &mut all);
    }
    all
}

#[track_caller]
fn assert_same(before: &BTreeMap<PathBuf, Entry>, after: &BTreeMap<PathBuf, Entry>) {
    let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differ: Vec<_> = paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).collect();
    assert!(differ.is_empty(), "changed: {differ:#?}");
}

fn dry_run(cluster: &Cluster) -> (Outcome, Value) {
    let outcome = cluster.pass(Which::Ours, 0).words(&["--dry-run", "--json"]).run();
    let report = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("no JSON:\n{}", outcome.all()));
    (outcome, report)
}

fn array<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    value[name].as_array().unwrap_or_else(|| panic!("no {name} in {value:#}"))
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name} in {value:#}"))
}

/// Device, policy and partition here, and the node to which it is pushed.
type Push = (String, u64, u64, String);

fn push(device: &Value, push: &Value) -> Push {
    let text = |value: &Value, name: &str| value[name].as_str().expect("a name").to_owned();
    (text(device, "device"), number(push, "policy"), number(push, "partition"), text(push, "to"))
}

fn planned(report: &Value) -> BTreeSet<Push> {
    let mut pushes = BTreeSet::new();
    for device in array(report, "devices") {
        pushes.extend(array(device, "updates").iter().map(|update| push(device, update)));
        for handoff in array(device, "handoffs") {
            pushes.extend(array(handoff, "pushes").iter().map(|update| push(device, update)));
        }
    }
    pushes
}

/// What was pushed, by the lines of the log: `Successful rsync of <devices>/sda/objects/7/... to <ip>::object/sda/objects/7`.
fn pushed(outcome: &Outcome) -> BTreeSet<Push> {
    let parse = |line: &str| {
        let (from, rest) = line.strip_prefix("Successful rsync of ")?.split_once("/... to ")?;
        let (ip, target) = rest.split_once("::object/")?;
        let mut from = from.rsplit('/');
        let partition = from.next()?.parse().ok()?;
        let policy = from.next()?.strip_prefix("objects")?.trim_start_matches('-').parse().unwrap_or(0);
        let to = format!("{ip}:6200/{}", target.split('/').next()?);
        Some((from.next()?.to_owned(), policy, partition, to))
    };
    outcome.messages().filter_map(parse).collect()
}

/// A first node with something of everything that a pass changes.
struct Messy {
    cluster: Lease,
    /// What a pass removes, if all goes well.
    goes: Vec<PathBuf>,
    /// What it makes.
    comes: PathBuf,
    /// A hand-off that it keeps.
    stays: PathBuf,
}

impl Messy {
    fn new() -> Self {
        let cluster = Spec::nodes(4).devices(2).policy(1).lease();
        for policy in [0, 1] {
            for (nth, part) in cluster.partitions_at(policy, 0).into_iter().enumerate() {
                let home = cluster.home(policy, part, 0);
                let (everywhere, here) = (cluster.object_in(policy, part), cluster.object_in(policy, part));
                cluster.put_everywhere(&everywhere, &time(1), b"known to all");
                match nth % 4 {
                    0 => cluster.put(&home, &here, &time(2), b"new here"),
                    1 => cluster.put(&home, &everywhere, &time(3), b"newer here"),
                    2 => cluster.delete(&home, &everywhere, &time(3)),
                    _ => {}
                }
            }
        }
        let mut misplaced = Self::misplaced(&cluster);
        let mut next = || misplaced.pop().expect("enough partitions");
        let mut goes = vec![Self::handoff(&cluster, next()), Self::tmp(&cluster), Self::file(&cluster)];
        let (part, disk) = next();
        let known = cluster.object_in(0, part);
        cluster.put(&disk, &known, &time(1), b"known to all");
        cluster.put_everywhere(&known, &time(1), b"known to all");
        goes.push(disk.partition(0, part));
        let (part, disk) = next();
        let empty = disk.partition(0, part);
        fs::create_dir(&empty).expect("the devices are ours");
        goes.push(empty);
        let stays = Self::handoff(&cluster, next());
        fs::write(stays.join("not Swift's"), "precious").expect("the devices are ours");
        goes.push(Self::obsolete(&cluster));
        let comes = Self::stray(&cluster);
        Self { cluster, goes, comes, stays }
    }

    /// Partitions that do not belong on the first node, and are not there.
    fn misplaced(cluster: &Cluster) -> Vec<(u32, Disk)> {
        let disk = &cluster.disks()[0];
        let is_elsewhere = |part: &u32| !cluster.primaries(0, *part).iter().any(|home| home.node == 0);
        (0..cluster.partition_count(0)).filter(is_elsewhere).map(|part| (part, disk.clone())).collect()
    }

    fn handoff(cluster: &Cluster, (part, disk): (u32, Disk)) -> PathBuf {
        for nth in 0..2 {
            cluster.put(&disk, &cluster.object_in(0, part), &time(nth), b"far from home");
        }
        disk.partition(0, part)
    }

    /// What a crashed writer left long ago.
    fn tmp(cluster: &Cluster) -> PathBuf {
        let path = cluster.disks()[0].path.join("tmp/crashed");
        fs::create_dir_all(path.parent().expect("a folder")).expect("the devices are ours");
        let file = File::create(&path).expect("the devices are ours");
        file.set_modified(SystemTime::now() - Duration::from_secs(30 * 86_400)).expect("a time");
        path
    }

    /// A file in a partition's place.
    fn file(cluster: &Cluster) -> PathBuf {
        let path = cluster.disks()[1].partition(0, 7777);
        fs::write(&path, "").expect("the devices are ours");
        path
    }

    /// A version that a newer one has made obsolete, in a suffix that is hashed anew.
    fn obsolete(cluster: &Cluster) -> PathBuf {
        let part = cluster.partitions_at(0, 0)[3];
        let home = cluster.home(0, part, 0);
        let object = cluster.object_in(0, part);
        cluster.put_everywhere(&object, &time(9), b"the newest");
        let path = object.folder(&home).join(format!("{}.data", time(5)));
        fs::write(&path, "obsolete").expect("the devices are ours");
        path
    }

    /// A file in an object's place goes to quarantine.
    fn stray(cluster: &Cluster) -> PathBuf {
        let part = cluster.partitions_at(0, 0)[3];
        let home = cluster.home(0, part, 0);
        let object = cluster.object_in(0, part);
        cluster.put_everywhere(&object, &time(1), b"beside the stray");
        let folder = object.folder(&home);
        fs::write(folder.with_file_name("stray"), "").expect("the devices are ours");
        home.path.join("quarantined/objects/stray")
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert!(self.goes.iter().chain([&self.stays]).all(|path| path.exists()));
        assert!(!self.comes.exists());
    }
}

/// Bytes of objects on all nodes but the first.
fn bytes_at_peers(cluster: &Cluster) -> u64 {
    let all = whole(cluster);
    let own = cluster.nodes[0].devices();
    let is_object =
        |path: &Path| path.extension().is_some_and(|kind| ["data", "meta", "ts"].iter().any(|k| kind == *k));
    let objects = all.iter().filter(|(path, _)| !path.starts_with(&own) && is_object(path));
    objects.map(|(_, entry)| entry.content.as_ref().map_or(0, Vec::len) as u64).sum()
}

#[test]
fn nothing_changes_anywhere_and_the_next_pass_does_what_was_foretold() {
    let messy = Messy::new();
    let cluster = &messy.cluster;
    // Peers that are asked bring their own record of hashes up to date, whoever asks.
    dry_run(cluster);
    let before = whole(cluster);
    let (outcome, report) = dry_run(cluster);
    assert_same(&before, &whole(cluster));
    messy.assert_untouched();
    outcome.ended(0);
    assert!(outcome.recon.is_none() && outcome.syslog.is_empty(), "{}", outcome.all());
    assert!(outcome.console.iter().all(|line| line.contains(": [dry run] ")), "{}", outcome.all());
    assert_eq!(report["complete"], true, "{report:#}");

    let bytes = bytes_at_peers(cluster);
    // A push of what is there already is told at DEBUG only.
    let real = cluster.pass(Which::Ours, 0).set("log_level", "DEBUG").run();
    assert_eq!(pushed(&real), planned(&report), "{}\n{report:#}", real.all());
    let sum = |name: &str| array(&report, "devices").iter().map(|device| number(device, name)).sum::<u64>();
    let updates = array(&report, "devices").iter().flat_map(|device| array(device, "updates"));
    let suffixes: u64 = updates.map(|update| number(update, "suffixes")).sum();
    real.counts(&[("attempted", sum("partitions") as i64), ("suffix_sync", suffixes as i64), ("failure", 0)]);

    assert!(messy.goes.iter().all(|path| !path.exists()), "{:?}", messy.goes);
    assert!(messy.comes.exists(), "{:?}", messy.comes);
    for device in array(&report, "devices") {
        for handoff in array(device, "handoffs") {
            let path = cluster.nodes[0].devices().join(device["device"].as_str().expect("a name"));
            let path = path.join("objects").join(number(handoff, "partition").to_string());
            assert_eq!(path.exists(), handoff["removed"] == false, "{}", path.display());
        }
    }
    assert!(messy.stays.exists());
    let (arrived, at_most) = (bytes_at_peers(cluster) - bytes, planned_bytes(&report));
    assert!(arrived <= at_most && at_most <= 2 * arrived + 100, "{arrived} arrived, at most {at_most} were foretold");

    let (outcome, report) = dry_run(cluster);
    outcome.ended(0);
    assert!(planned(&report).is_empty(), "{report:#}");
    let left: Vec<_> = array(&report, "devices").iter().flat_map(|device| array(device, "handoffs")).collect();
    let [kept] = left[..] else { panic!("{report:#}") };
    assert!(messy.stays.ends_with(number(kept, "partition").to_string()) && kept["removed"] == false, "{report:#}");
}

fn planned_bytes(report: &Value) -> u64 {
    let mut bytes = 0;
    for device in array(report, "devices") {
        bytes += array(device, "updates").iter().map(|push| number(push, "bytes")).sum::<u64>();
        let pushes = array(device, "handoffs").iter().flat_map(|handoff| array(handoff, "pushes"));
        bytes += pushes.map(|push| number(push, "bytes")).sum::<u64>();
    }
    bytes
}

#[test]
fn a_table_says_it_to_people() {
    let cluster = Spec::nodes(4).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    cluster.put(&disk, &cluster.object_in(0, part), &time(1), &[0; 5000]);
    let at_home = cluster.partitions_at(0, 0)[0];
    cluster.put(&cluster.home(0, at_home, 0), &cluster.object_in(0, at_home), &time(1), b"x");
    let outcome = cluster.pass(Which::Ours, 0).words(&["--dry-run"]).run();
    outcome.ended(0);
    let says = |text: &str| assert!(outcome.stdout.contains(text), "no {text:?}:\n{}", outcome.stdout);
    says("Nothing was written, pushed or removed.");
    says("sda: 2 partitions looked at, 1 out of sync, 1 hand-off\n");
    let primaries: Vec<_> = cluster.primaries(0, part).iter().map(Disk::node_string).collect();
    says(&format!("hand-off, policy 0, partition {part}: to "));
    assert!(primaries.iter().all(|node| outcome.stdout.contains(&format!("{node}  hand-off"))), "{}", outcome.stdout);
    says("In all: 5 suffixes in 2 partitions to push, at most 14.7 KiB; 1 hand-off to remove.");
}

#[test]
fn what_cannot_be_asked_is_named_and_its_hand_off_kept() {
    let mut cluster = Spec::nodes(4).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    cluster.put(&disk, &cluster.object_in(0, part), &time(1), b"far from home");
    let target = cluster.primaries(0, part)[1].clone();
    cluster.nodes[target.node].stop_object_server();
    dry_run(&cluster);
    let before = whole(&cluster);
    let (outcome, report) = dry_run(&cluster);
    assert_same(&before, &whole(&cluster));
    outcome.ended(1);
    let device = &array(&report, "devices")[0];
    let [handoff] = &array(device, "handoffs")[..] else { panic!("{report:#}") };
    assert_eq!((&handoff["removed"], array(handoff, "pushes").len()), (&Value::Bool(false), 2), "{report:#}");
    let failed = format!("{}/{}", target.address, target.name);
    assert_eq!(array(device, "failures")[0]["node"], failed, "{report:#}");
}

#[test]
fn ssync_is_foretold_too() {
    let cluster = Spec::nodes(4).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    cluster.put(&disk, &cluster.object_in(0, part), &time(1), b"far from home");
    let run = || cluster.pass(Which::Ours, 0).set("sync_method", "ssync").words(&["--dry-run", "--json"]).run();
    run();
    let before = whole(&cluster);
    let outcome = run();
    assert_same(&before, &whole(&cluster));
    outcome.ended(0);
    let report: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(planned(&report).len(), 3, "{report:#}");
    cluster.pass(Which::Ours, 0).set("sync_method", "ssync").run().clean();
    cluster.assert_gone(&disk, 0, part);
}
