//! One pass after another: nothing is used up, nothing is forgotten, figures begin anew (B5.1, B5.18).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{fake_partition, put_in};
use crate::support::cluster::{Lease, Spec};
use crate::support::daemon::Process;
use crate::support::guard::{PATIENCE, until};
use crate::support::object::{Object, time};
use crate::support::replicator::{Running, Which};
use crate::support::rsync::FakeRsync;

/// What a process has of things that are easily left behind.
#[derive(Debug)]
struct Belongings {
    descriptors: usize,
    threads: usize,
    /// In kilobytes.
    memory: u64,
    children: Vec<Process>,
}

/// The least of each that is seen while some passes go by: what comes and goes was not left behind.
fn belongings(daemon: &Running) -> Belongings {
    let process = daemon.process();
    let most = usize::MAX;
    let mut least = Belongings { descriptors: most, threads: most, memory: u64::MAX, children: process.children() };
    for _ in 0..100 {
        least.descriptors = least.descriptors.min(process.descriptors());
        least.threads = least.threads.min(process.threads());
        least.memory = least.memory.min(process.status("VmRSS:"));
        std::thread::sleep(Duration::from_millis(10));
    }
    // A child that is there all the time was left behind.
    let now = process.children();
    least.children.retain(|child| now.contains(child));
    least
}

#[test]
fn three_hundred_passes_leave_nothing_behind() {
    // Two partitions to be compared, and a hand-off that cannot be pushed.
    let cluster = Spec::nodes(2).devices(2).replicas(2.0).part_power(1).lease();
    (0..2).for_each(|part| cluster.put_everywhere(&cluster.object_in(0, part), &time(1), b"everywhere"));
    let (part, disk) = cluster.misplaced_at(0, 0);
    put_in(&cluster, &disk, part);
    let rsync = FakeRsync::doing("exit 23");
    let pass = cluster.pass(Which::Ours, 0).forever().set("interval", 0).set("concurrency", 2).rsync(&rsync);
    let daemon = pass.set("log_level", "WARNING").start();
    let passes = || daemon.count("Bad rsync return code: 23");
    let per_pass = 2;
    assert!(until(4 * PATIENCE, || passes() > 30 * per_pass), "{}", daemon.console());
    let before = belongings(&daemon);
    assert!(until(4 * PATIENCE, || passes() > 330 * per_pass), "{}", daemon.console());
    let after = belongings(&daemon);
    assert!(after.descriptors <= before.descriptors + 5, "{before:?} {after:?}");
    assert!(after.threads <= before.threads + 3, "{before:?} {after:?}");
    assert!(after.memory <= before.memory + before.memory / 4 + 2048, "{before:?} {after:?}");
    assert!(after.children.is_empty(), "{after:?}");
}

#[test]
fn every_partition_is_listed_once_in_ten_passes() {
    const PARTITIONS: u32 = 16;
    let cluster = Spec::nodes(1).silent(&[0]).replicas(1.0).lease();
    (0..PARTITIONS).for_each(|part| fake_partition(&cluster.disks()[0], part));
    let daemon = cluster.pass(Which::Ours, 0).forever().set("interval", 0).set("log_level", "DEBUG").start();
    daemon.wait_for_times("Starting object replication pass.", 22);
    let console = daemon.console();
    // In the first pass everything is listed, for nothing is known yet.
    let passes = console.split("Starting object replication pass.").skip(2).take(20);
    let mut listed = BTreeMap::new();
    for line in passes.flat_map(str::lines).filter(|line| line.contains("Run listdir on ")) {
        let partition: u32 = line.rsplit('/').next().and_then(|name| name.parse().ok()).expect("a partition");
        *listed.entry(partition).or_insert(0) += 1;
    }
    let expected: BTreeMap<u32, i32> = (0..PARTITIONS).map(|part| (part, 2)).collect();
    assert_eq!(listed, expected, "{console}");
}

fn with_an_object() -> (Lease, Object) {
    let cluster = Spec::nodes(3).lease();
    let object = put_in(&cluster, &cluster.home(0, 0, 0), 0);
    (cluster, object)
}

#[test]
fn figures_begin_anew_with_each_pass() {
    let (cluster, object) = with_an_object();
    let pass = cluster.pass(Which::Ours, 0).forever().set("interval", "0.1").set("concurrency", 2);
    let daemon = pass.set("log_level", "DEBUG").start();
    daemon.wait_for("2 successes, 0 failures");
    daemon.wait_for_passes(3);
    daemon.wait_for("Replication sleeping for 0.1 seconds.");
    let recon = || cluster.recon(0, "replication/object");
    let stats = recon()["replication_stats"].clone();
    assert_eq!(
        (&stats["attempted"], &stats["rsync"], &stats["hashmatch"]),
        (&1.into(), &0.into(), &2.into()),
        "{stats}"
    );
    // What changes between two passes is found by the next.
    cluster.put(&cluster.home(0, 0, 0), &object, &time(2), b"newer");
    let is_there = || cluster.peers(0, 0, 0).iter().all(|peer| cluster.get(peer, &object).body == b"newer");
    assert!(until(Duration::from_secs(30), is_there), "{}", daemon.console());
    let last = |recon: serde_json::Value| recon["object_replication_last"].as_f64().expect("a time");
    let before = last(recon());
    assert!(until(Duration::from_secs(30), || last(recon()) > before), "recon stands still");
}
