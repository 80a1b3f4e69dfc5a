//! The same pass twice: the reference's replicator on one copy of a cluster's state, ours on another. Afterwards all
//! devices of all nodes hold the same, the same was pushed, and the same was said and counted.
//!
//! The state is made at random: objects with short histories that only some of their devices know, hashes that are
//! missing, old or junk, and strays. What a pass does at random (the order of partitions and peers, which partitions it
//! lists) must not show, so there is one region, one local device per partition, and whatever only a listing finds
//! stands in a partition without hashes.

use std::fs;
use std::path::Path;

use fastrand::Rng;

use crate::support::cluster::{Cluster, Disk, Spec};
use crate::support::guard::Scratch;
use crate::support::object::{Object, ancient, time};
use crate::support::replicator::{Outcome, Pass, Which};
use crate::support::rsync::FakeRsync;
use crate::support::seed::Seed;
use crate::support::tree::{Tree, age, copy, restore};

/// One region, and no partition on two devices of a node.
fn cluster() -> Spec {
    Spec::nodes(4).devices(2)
}

#[test]
fn in_a_healthy_cluster() {
    let (reference, ours) = both_traces(&cluster(), |pass| pass.plainly(), |_| {});
    assert_same(&reference, &ours);
}

#[test]
fn with_a_fractional_ring_of_the_second_format() {
    let spec = cluster().replicas(2.4).ring_version(2);
    let (reference, ours) = both_traces(&spec, |pass| pass.plainly(), |_| {});
    assert_same(&reference, &ours);
}

#[test]
fn with_many_jobs_at_once() {
    let (reference, ours) = both_traces(&cluster(), |pass| pass.plainly().set("concurrency", 4), |_| {});
    assert_same(&reference, &ours);
}

#[test]
fn with_a_peer_that_takes_no_pushes() {
    let (reference, ours) = both_traces(&cluster(), |pass| pass.plainly(), refuse_pushes);
    assert_same(&reference, &ours);
}

#[test]
fn with_a_peer_that_takes_no_pushes_and_hand_offs_that_need_only_two() {
    let (reference, ours) = both_traces(&cluster(), |pass| pass.plainly().set("handoff_delete", 2), refuse_pushes);
    assert_same(&reference, &ours);
}

#[test]
fn with_everything_that_ours_does_by_itself() {
    // Many partitions share an rsync, and hand-offs are checked: other runs, other lines, the same result.
    // The targets of hand-offs are asked for their hashes, which makes them clean up; so they are asked after both.
    let (reference, ours) = both_traces_after(&cluster(), |pass| pass, |_| {}, ask_for_all_hashes);
    assert_same_trees(&reference, &ours);
    assert_eq!(reference.counters, ours.counters, "what was counted");
}

#[test]
fn with_a_dead_peer() {
    let (reference, ours) = both_traces(
        &cluster(),
        |pass| pass.plainly(),
        |cluster| {
            cluster.nodes[2].stop_object_server();
            cluster.nodes[2].stop_rsync_daemon();
        },
    );
    assert_same_trees(&reference, &ours);
    // Ours leaves a dead peer alone after a few tries, so it tries and says less; what failed is the same.
    for counter in ["attempted", "success", "failure", "failure_nodes", "remove", "hashmatch"] {
        assert_eq!(reference.counters[counter], ours.counters[counter], "{counter}");
    }
}

/// Has every node hash all that it has.
fn ask_for_all_hashes(cluster: &Cluster) {
    for disk in cluster.disks() {
        for part in (0..cluster.partition_count(0)).filter(|part| disk.partition(0, *part).is_dir()) {
            cluster.hashes(disk, 0, part);
        }
    }
}

/// One node's rsync daemon answers, but takes nothing.
fn refuse_pushes(cluster: &mut Cluster) {
    cluster.nodes[1].configure_rsync_module("read only = yes");
}

fn assert_same(reference: &Trace, ours: &Trace) {
    assert_same_trees(reference, ours);
    assert_eq!(reference.pushes, ours.pushes, "what was pushed");
    assert_eq!(reference.counters, ours.counters, "what was counted");
    assert_eq!(reference.lines, ours.lines, "what was said");
}

fn assert_same_trees(reference: &Trace, ours: &Trace) {
    for (n, (left, right)) in reference.trees.iter().zip(&ours.trees).enumerate() {
        let differences = left.differences(right);
        assert!(differences.is_empty(), "node {n} is not the same after the reference and after ours:\n{differences}");
    }
    let stored: usize = reference.trees.iter().map(|tree| tree.entries().len()).sum();
    assert!(!reference.pushes.is_empty() && stored > 100, "there was next to nothing to do");
}

/// Everything that a pass left and said.
#[derive(Debug, PartialEq)]
struct Trace {
    /// What the state was made from, for whoever finds a difference.
    seed: Seed,
    /// By node.
    trees: Vec<Tree>,
    pushes: Vec<Vec<String>>,
    counters: serde_json::Value,
    lines: Vec<String>,
}

/// The reference's trace, and ours, of the same state; the seed stands in a failing test's output.
fn both_traces(
    spec: &Spec,
    configure: impl Fn(Pass<'_>) -> Pass<'_>,
    break_something: impl Fn(&mut Cluster),
) -> (Trace, Trace) {
    both_traces_after(spec, configure, break_something, |_| {})
}

/// The same, with something that is done after each pass before it is looked at what it left.
fn both_traces_after(
    spec: &Spec,
    configure: impl Fn(Pass<'_>) -> Pass<'_>,
    break_something: impl Fn(&mut Cluster),
    settle: impl Fn(&Cluster),
) -> (Trace, Trace) {
    let seed = Seed::of_this_run();
    let mut cluster = spec.lease();
    populate(&cluster, &mut seed.rng());
    let copies = Scratch::new("same");
    for (n, node) in cluster.nodes.iter().enumerate() {
        copy(&node.devices(), &copies.path().join(n.to_string()));
    }
    break_something(&mut cluster);
    let reference = trace(&cluster, configure(cluster.pass(Which::Reference, 0)), &settle);
    for (n, node) in cluster.nodes.iter().enumerate() {
        restore(&copies.path().join(n.to_string()), &node.devices());
    }
    (reference, trace(&cluster, configure(cluster.pass(Which::Ours, 0)), &settle))
}

fn trace(cluster: &Cluster, pass: Pass<'_>, settle: &impl Fn(&Cluster)) -> Trace {
    let rsync = FakeRsync::recording();
    let outcome = pass.rsync(&rsync).run();
    outcome.ended(0);
    settle(cluster);
    let mut pushes = rsync.pushes();
    for push in &mut pushes {
        // Suffixes come in the order of a folder, which a copy need not have kept.
        push.sort();
    }
    pushes.sort();
    let mut counters = outcome.recon.as_ref().expect("recon was written")["replication_stats"].clone();
    // What only ours tells.
    counters.as_object_mut().expect("figures").remove("rebalance");
    let trees = cluster.nodes.iter().map(|node| Tree::of(&node.devices())).collect();
    Trace { seed: Seed::of_this_run(), trees, pushes, counters, lines: lines(&outcome) }
}

/// The lines with their severity, sorted, without what no two runs have in common.
fn lines(outcome: &Outcome) -> Vec<String> {
    let common = outcome.syslog.iter().filter(|line| !line.is_ours_only());
    let mut lines: Vec<_> = common.map(|line| format!("{} {}", line.severity(), without_times(&line.text))).collect();
    lines.sort();
    lines
}

/// Replaces durations, rates and process ids, and the mark that the reference's root logger leaves (B1.15).
fn without_times(line: &str) -> String {
    let line = line.replacen("STDERR: ERROR:root:", "", 1);
    let words = line.split(' ').map(|word| {
        let number = word.trim_matches(|c| matches!(c, '(' | ')' | ',' | 's'));
        let rate = word.starts_with('(') && word.ends_with("/sec,");
        let fraction = number.contains('.') && number.parse::<f64>().is_ok();
        if rate || fraction { "#" } else { word }
    });
    let text = words.collect::<Vec<_>>().join(" ");
    let pid = |start: &str| text.starts_with(&format!("object-replicator: {start} ")).then(|| start.to_owned());
    pid("Starting").or_else(|| pid("Exited")).unwrap_or(text)
}

/// Makes the state: objects in every partition, then hashes, then strays.
fn populate(cluster: &Cluster, rng: &mut Rng) {
    for part in 0..cluster.partition_count(0) {
        let primaries = cluster.primaries(0, part);
        let mut holders = primaries.clone();
        let at_home = primaries.iter().find(|disk| disk.node == 0);
        let here = at_home.unwrap_or(&cluster.disks()[0]);
        if at_home.is_none() && rng.bool() {
            holders.push(here.clone());
        }
        for _ in 0..rng.usize(1..4) {
            write_history(cluster, rng, &cluster.object_in(0, part), &holders);
        }
        for disk in &holders {
            if disk.partition(0, part).is_dir() {
                settle_hashes(cluster, rng, disk, part);
            }
        }
        let path = here.partition(0, part);
        // A tombstone that went at once leaves its folder, which ours would not touch while it is new.
        if path.is_dir() {
            age(&path);
        }
        if at_home.is_some() && path.is_dir() && rng.bool() {
            add_strays(rng, &path);
        }
    }
}

/// Stores, changes and deletes an object; each step reaches only some of its devices.
fn write_history(cluster: &Cluster, rng: &mut Rng, object: &Object, holders: &[Disk]) {
    for step in 0..rng.u32(1..5) {
        let mut reached = holders.to_vec();
        rng.shuffle(&mut reached);
        reached.truncate(rng.usize(1..=holders.len()));
        let (what, body) = (rng.u32(0..10), [b'a' + u8::try_from(step).expect("few steps"); 17]);
        for disk in &reached {
            let exists = || object.files(disk).last().is_some_and(|name| !name.ends_with(".ts"));
            match what {
                0..5 => cluster.put(disk, object, &time(step), &body),
                5..7 if exists() => cluster.post(disk, object, &time(step), &[("X-Object-Meta-Step", "taken")]),
                7..9 => cluster.delete(disk, object, &time(step)),
                // A tombstone that nobody needs to remember any more.
                9 if step == 0 => cluster.delete(disk, object, &ancient(step)),
                _ => {}
            }
        }
    }
}

/// Has the partition's hashes computed, or spoils them, or leaves them as they are.
fn settle_hashes(cluster: &Cluster, rng: &mut Rng, disk: &Disk, part: u32) {
    let pickle = disk.partition(0, part).join("hashes.pkl");
    match rng.u32(0..4) {
        0 => fs::write(&pickle, b"junk").expect("the device is writable"),
        1 => drop(cluster.hashes(disk, 0, part)),
        2 => {
            cluster.hashes(disk, 0, part);
            let object = cluster.object_in(0, part);
            cluster.put(disk, &object, &time(100), b"since the hashes were computed");
        }
        _ => {}
    }
}

/// Adds what no object server would leave, to a partition that has no hashes then.
fn add_strays(rng: &mut Rng, partition: &Path) {
    let _ = fs::remove_file(partition.join("hashes.pkl"));
    let hash_dirs: Vec<_> = fs::read_dir(partition)
        .expect("a partition")
        .filter_map(|suffix| fs::read_dir(suffix.expect("a partition").path()).ok())
        .flatten()
        .map(|folder| folder.expect("a suffix").path())
        .collect();
    for folder in hash_dirs {
        match rng.u32(0..4) {
            0 => fs::write(folder.join("notes"), b"to self").expect("the device is writable"),
            1 => fs::write(folder.join(".1700000000.00000.data.Ab12Cd"), b"half").expect("the device is writable"),
            _ => {}
        }
    }
    match rng.u32(0..5) {
        0 => {
            fs::create_dir_all(partition.join("eee")).expect("the device is writable");
            age(partition);
        }
        1 => fs::write(partition.join("fff"), b"no folder").expect("the device is writable"),
        2 => fs::create_dir_all(partition.join("longer")).expect("the device is writable"),
        3 => {
            // It goes into quarantine under its name, so no two may have the same.
            let suffix = partition.join("ddd");
            fs::create_dir_all(&suffix).expect("the device is writable");
            let name = partition.file_name().expect("a partition has a name").to_string_lossy();
            fs::write(suffix.join(format!("{name:0>29}ddd")), b"").expect("the device is writable");
        }
        _ => {}
    }
}
