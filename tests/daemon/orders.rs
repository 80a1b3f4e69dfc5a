//! Orders to a daemon that has work and peers: what is paused is done later, and never counts as done or as failed.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{is_everywhere, partitions_of, put_everywhere_on, put_in};
use crate::support::cluster::{Cluster, Disk, Spec};
use crate::support::guard::{PATIENCE, until};
use crate::support::object::Object;
use crate::support::replicator::{Pass, Running, Which};
use crate::support::rsync::FakeRsync;

/// Gives an order that is obeyed; what is said.
#[track_caller]
fn order(cluster: &Cluster, words: &[&str]) -> String {
    let conf = cluster.nodes[0].runs().join("orders.conf");
    fs::write(&conf, cluster.nodes[0].conf(&[])).expect("the cluster's folder is writable");
    let output = Command::new(Which::Ours.program()).arg(&conf).args(words).output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn status_file(cluster: &Cluster) -> Value {
    let text = fs::read_to_string(cluster.nodes[0].recon().join("object-replicator.status")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// A daemon that has ended its first pass, and takes orders.
fn start(cluster: &Cluster, pass: Pass<'_>) -> Running {
    let daemon = pass.forever().set("interval", "0.3").start();
    daemon.wait_for_passes(1);
    assert!(until(PATIENCE, || cluster.nodes[0].recon().join("object-replicator.sock").exists()));
    daemon
}

/// The steps that workers are at.
fn steps(cluster: &Cluster) -> Vec<String> {
    let status = status_file(cluster);
    let passes = status["passes"].as_array().cloned().unwrap_or_default();
    let workers = passes.iter().flat_map(|pass| pass["workers"].as_array().cloned().unwrap_or_default());
    workers.filter_map(|worker| worker["step"].as_str().map(str::to_owned)).collect()
}

/// An rsync that waits until the gate is open.
fn gated() -> (tempfile::TempDir, FakeRsync) {
    let gate = tempfile::tempdir().expect("a folder");
    let wait = format!("while [ ! -e '{}/open' ]; do sleep 0.1; done", gate.path().display());
    let rsync = FakeRsync::doing(&format!("{wait}\nexec \"$rsync\" \"$@\""));
    (gate, rsync)
}

/// An object in every partition of the first device, all of which one pass finds.
fn put_at_once(cluster: &Cluster) -> Vec<Object> {
    order(cluster, &["--pause"]);
    let objects = put_everywhere_on(cluster, &cluster.disks()[0].clone());
    order(cluster, &["--resume"]);
    objects
}

fn first_of(cluster: &Cluster, disk: &Disk) -> u32 {
    partitions_of(cluster, disk)[0]
}

#[test]
fn a_paused_device_is_left_the_others_go_on_and_no_pass_is_complete() {
    let cluster = Spec::nodes(3).devices(2).lease();
    let daemon = start(&cluster, cluster.pass(Which::Ours, 0));
    let [sda, sdb] = &cluster.disks_of(0).cloned().collect::<Vec<_>>()[..] else { panic!("two devices") };
    order(&cluster, &["--pause", "-d", "sdb", "--reason", "new disk"]);
    daemon.wait_for("Orders: device sdb is paused, by root");
    let waits = put_in(&cluster, sdb, first_of(&cluster, sdb));
    let goes = put_in(&cluster, sda, first_of(&cluster, sda));
    daemon.wait_for("Report: pass incomplete (paused: sdb): ");
    daemon.wait_for("Device sdb: what is left is paused");
    assert!(until(PATIENCE, || is_everywhere(&cluster, &goes)), "{}", daemon.console());
    daemon.wait_for_passes(2);
    assert!(cluster.peers(0, waits.partition, 0).iter().all(|peer| waits.files(peer).is_empty()));
    let console = daemon.console();
    let incomplete: Vec<_> = console.lines().filter(|line| line.contains("pass incomplete")).collect();
    assert!(incomplete.iter().all(|line| line.ends_with(" 0 failures")), "{incomplete:?}");
    let left = "Report: left on sdb: paused by root: new disk";
    assert!(console.contains(left) && !console.contains("WARNING"), "{console}");
    let left = &status_file(&cluster)["last"][0]["devices"]["sdb"]["left"];
    assert_eq!(left, "paused by root: new disk");
    order(&cluster, &["--resume", "-d", "sdb"]);
    assert!(until(PATIENCE, || is_everywhere(&cluster, &waits)), "{}", daemon.console());
    daemon.wait_for_passes(1);
    assert!(
        daemon.console().lines().rev().find(|line| line.contains("Report: pass")).unwrap().contains("pass complete")
    );
}

#[test]
fn a_paused_peer_gets_nothing_and_a_hand_off_for_it_stays_whatever_the_others_have() {
    for method in ["rsync", "ssync"] {
        let cluster = Spec::nodes(4).lease();
        let pass = cluster.pass(Which::Ours, 0).set("handoff_delete", 2).set("sync_method", method);
        let daemon = start(&cluster, pass);
        let (part, disk) = cluster.misplaced_at(0, 0);
        let paused = cluster.primaries(0, part)[0].clone();
        let name = paused.address.to_string();
        order(&cluster, &["--pause", "--to", &name]);
        let own = partitions_of(&cluster, &cluster.disks()[0]);
        let own = own.into_iter().find(|&part| cluster.primaries(0, part).contains(&paused)).expect("some are on both");
        let (object, hand_off) = (put_in(&cluster, &disk, own), put_in(&cluster, &disk, part));
        let others = |object: &Object| {
            let peers = cluster.peers(0, object.partition, 0).into_iter().filter(|peer| *peer != paused);
            peers.collect::<Vec<_>>()
        };
        for object in [&object, &hand_off] {
            let have_it = || others(object).iter().all(|peer| !object.files(peer).is_empty());
            assert!(until(PATIENCE, have_it), "{method}: {}", daemon.console());
        }
        daemon.wait_for(&format!("Report: pass incomplete (paused: peer {name}): "));
        daemon.wait_for_passes(2);
        for object in [&object, &hand_off] {
            assert_eq!((object.files(&paused).len(), object.files(&disk).len()), (0, 1), "{method}");
        }
        let console = daemon.console();
        let incomplete: Vec<_> = console.lines().filter(|line| line.contains("pass incomplete")).collect();
        assert!(incomplete.iter().all(|line| line.ends_with(" 0 failures")), "{method}: {incomplete:?}");
        let stats = cluster.recon(0, "replication/object")["replication_stats"].clone();
        assert_eq!(stats["failure"], 0, "{method}: {stats}");
        order(&cluster, &["--resume"]);
        let is_done = || is_everywhere(&cluster, &object) && is_everywhere(&cluster, &hand_off);
        assert!(until(PATIENCE, is_done), "{method}: {}", daemon.console());
        assert!(until(PATIENCE, || hand_off.files(&disk).is_empty()), "{method}: {}", daemon.console());
    }
}

#[test]
fn a_pause_lets_the_run_at_hand_end_and_the_pass_waits_and_goes_on_where_it_was() {
    let cluster = Spec::nodes(3).lease();
    let (gate, rsync) = gated();
    let daemon = start(&cluster, cluster.pass(Which::Ours, 0).rsync(&rsync));
    let objects = put_at_once(&cluster);
    assert!(objects.len() > 1);
    assert!(until(PATIENCE, || !rsync.runs().is_empty()), "{}", daemon.console());
    order(&cluster, &["--pause"]);
    let before = rsync.runs().len();
    fs::write(gate.path().join("open"), "").expect("our own folder");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(rsync.runs().len(), before, "{}", daemon.console());
    assert!(until(PATIENCE, || steps(&cluster).is_empty()), "{}", status_file(&cluster));
    assert_eq!(status_file(&cluster)["passes"].as_array().map(Vec::len), Some(1), "the pass waits");
    assert_eq!(rsync.runs().len(), before, "{}", daemon.console());
    assert!(!objects.iter().all(|object| is_everywhere(&cluster, object)));
    order(&cluster, &["--resume"]);
    let is_done = || objects.iter().all(|object| is_everywhere(&cluster, object));
    assert!(until(PATIENCE, is_done), "{}", daemon.console());
    daemon.wait_for("Report: pass complete");
    // Nobody was paused for long enough to look like a device that hangs.
    assert_eq!(daemon.count("Lockup"), 0);
}

#[test]
fn a_pass_that_waits_ends_at_once_for_a_new_configuration() {
    let cluster = Spec::nodes(3).lease();
    let (gate, rsync) = gated();
    let daemon = start(&cluster, cluster.pass(Which::Ours, 0).rsync(&rsync));
    let objects = put_at_once(&cluster);
    assert!(until(PATIENCE, || !rsync.runs().is_empty()), "{}", daemon.console());
    order(&cluster, &["--pause"]);
    fs::write(gate.path().join("open"), "").expect("our own folder");
    assert!(until(PATIENCE, || steps(&cluster).is_empty()));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for("Object replication pass ended early, for the new configuration.");
    daemon.wait_for_times("Starting object replicator in daemon mode.", 2);
    assert!(!objects.iter().all(|object| is_everywhere(&cluster, object)));
    order(&cluster, &["--resume"]);
    assert!(until(PATIENCE, || objects.iter().all(|object| is_everywhere(&cluster, object))), "{}", daemon.console());
}

#[test]
fn limits_take_effect_in_the_pass_that_is_under_way() {
    let cluster = Spec::nodes(3).part_power(4).lease();
    let (gate, rsync) = gated();
    let pass = cluster.pass(Which::Ours, 0).rsync(&rsync).set("concurrency", 1).set("rsync_batch", 1);
    let daemon = start(&cluster, pass);
    let objects = put_at_once(&cluster);
    assert!(objects.len() > 4);
    assert!(until(PATIENCE, || rsync.runs().len() == 1), "{}", daemon.console());
    order(&cluster, &["--set", "concurrency=3", "rsync_bwlimit=20000"]);
    assert!(until(PATIENCE, || rsync.runs().len() == 3), "{}", daemon.console());
    let has = |run: &[String], word: &str| run.iter().any(|other| other == word);
    let runs = rsync.runs();
    assert!(has(&runs[0], "--bwlimit=0"), "{runs:?}");
    assert!(runs[1..].iter().all(|run| has(run, "--bwlimit=20000")), "{runs:?}");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(rsync.runs().len(), 3, "no more than three at a time");
    order(&cluster, &["--set", "concurrency=default", "rsync_bwlimit=default"]);
    fs::write(gate.path().join("open"), "").expect("our own folder");
    assert!(
        until(PATIENCE * 2, || objects.iter().all(|object| is_everywhere(&cluster, object))),
        "{}",
        daemon.console()
    );
    let runs = rsync.runs();
    assert!(has(runs.last().expect("many"), "--bwlimit=0"), "{runs:?}");
}

#[test]
fn groups_are_paused_each_for_its_own_devices() {
    let cluster = Spec::nodes(3).devices(2).lease();
    let pass = cluster.pass(Which::Ours, 0).set("replicator_workers", 2);
    let daemon = start(&cluster, pass);
    order(&cluster, &["--pause", "-d", "sdb"]);
    let [sda, sdb] = &cluster.disks_of(0).cloned().collect::<Vec<_>>()[..] else { panic!("two devices") };
    let waits = put_in(&cluster, sdb, first_of(&cluster, sdb));
    let goes = put_in(&cluster, sda, first_of(&cluster, sda));
    assert!(until(PATIENCE, || is_everywhere(&cluster, &goes)), "{}", daemon.console());
    daemon.wait_for_passes(3);
    assert!(cluster.peers(0, waits.partition, 0).iter().all(|peer| waits.files(peer).is_empty()));
    order(&cluster, &["--resume"]);
    assert!(until(PATIENCE, || is_everywhere(&cluster, &waits)), "{}", daemon.console());
}

#[test]
fn what_a_paused_peer_has_is_not_told_and_nothing_is_taken_for_whole() {
    let cluster = Spec::nodes(3).lease();
    let daemon = start(&cluster, cluster.pass(Which::Ours, 0));
    let sda = cluster.disks()[0].clone();
    let copies = || status_file(&cluster)["last"][0]["devices"]["sda"]["copies"].clone();
    let peers: Vec<_> = cluster.disks()[1..].iter().map(|peer| peer.address.to_string()).collect();
    order(&cluster, &["--pause", "--to", &peers.join(",")]);
    let object = put_in(&cluster, &sda, first_of(&cluster, &sda));
    daemon.wait_for("Report: pass incomplete (paused: peer ");
    daemon.wait_for_passes(2);
    assert_eq!(copies(), serde_json::json!({}), "{}", status_file(&cluster));
    order(&cluster, &["--resume"]);
    assert!(until(PATIENCE, || is_everywhere(&cluster, &object)), "{}", daemon.console());
    assert!(until(PATIENCE, || copies() == serde_json::json!({"3": 1})), "{}", status_file(&cluster));
}
