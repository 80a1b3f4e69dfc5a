//! The reports of whole passes: every figure is what really happened.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::cluster::{Cluster, Disk, Spec};
use crate::support::guard::Scratch;
use crate::support::object::{Object, time};
use crate::support::replicator::{Outcome, Pass, Which};

const BODY: &[u8] = &[b'x'; 1000];

/// A pass with its report.
struct Reported {
    outcome: Outcome,
    report: Value,
}

fn run(pass: Pass<'_>, words: &[&str]) -> Reported {
    let scratch = Scratch::new("report");
    let path = scratch.path().join("report.json");
    let outcome = pass.words(&["--report", path.to_str().expect("a plain path")]).words(words).run();
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{error}: {}", outcome.all()));
    Reported { report: serde_json::from_str(&text).expect("JSON"), outcome }
}

impl Reported {
    #[track_caller]
    fn device(&self, name: &str, expected: &[(&str, u64)]) -> &Self {
        self.assert(&self.report["devices"][name], name, expected)
    }

    #[track_caller]
    fn peer(&self, disk: &Disk, expected: &[(&str, u64)]) -> &Self {
        self.assert(&self.report["peers"][disk.node_string()], &disk.node_string(), expected)
    }

    #[track_caller]
    fn assert(&self, counts: &Value, whose: &str, expected: &[(&str, u64)]) -> &Self {
        let actual: Vec<_> = expected.iter().map(|&(name, _)| (name, counts[name].as_u64().unwrap_or(0))).collect();
        assert_eq!(actual, expected, "{whose} in {:#}\n{}", self.report, self.outcome.all());
        self
    }
}

fn put(cluster: &Cluster, disk: &Disk, part: u32) -> Object {
    let object = cluster.object_in(0, part);
    cluster.put(disk, &object, &time(1), BODY);
    object
}

/// An object in each of the node's partitions, and how many those are.
fn fill(cluster: &Cluster, node: usize) -> u64 {
    let parts = cluster.partitions_at(0, node);
    parts.iter().for_each(|&part| drop(put(cluster, &cluster.home(0, part, node), part)));
    parts.len() as u64
}

#[test]
fn what_is_pushed_and_what_is_in_sync_is_told_by_device_and_peer() {
    let cluster = Spec::nodes(3).lease();
    let found = fill(&cluster, 0);
    let here = cluster.disks()[0].clone();
    let size = found * BODY.len() as u64;

    let first = run(cluster.pass(Which::Ours, 0), &["--strict"]);
    first.outcome.clean();
    first.device(&here.name, &[("found", found), ("attempted", found), ("pushed", found), ("in_sync", 0)]);
    first.device(&here.name, &[("bytes", 2 * size), ("removed", 0)]);
    for disk in &cluster.disks()[1..] {
        first.peer(disk, &[("attempted", found), ("in_sync", 0), ("pushed", found), ("bytes", size)]);
    }
    assert_eq!(
        (&first.report["ending"], &first.report["devices"][&here.name]["failed"]),
        (&"complete".into(), &Value::Object(Default::default()))
    );
    let slowest = first.report["slowest"].as_array().expect("a list");
    assert!(slowest.len() == 10 && slowest[0]["datadir"] == "objects", "{slowest:?}");
    let timeline = first.report["timeline"].as_array().expect("a list");
    assert_eq!(timeline.iter().filter_map(|part| part["attempted"].as_u64()).sum::<u64>(), found);

    let second = run(cluster.pass(Which::Ours, 0), &["--strict"]);
    second.device(&here.name, &[("attempted", found), ("pushed", 0), ("in_sync", found), ("bytes", 0)]);
    second.peer(&cluster.disks()[1], &[("attempted", found), ("in_sync", found), ("pushed", 0)]);
    second.outcome.says(&format!("Report: pass complete: {found} of {found} partitions (100.0%) in "));
    second.outcome.says(&format!("; {found} in sync, 0 pushed (0 B), 0 hand-offs removed, 0 failures"));
}

#[test]
fn a_hand_off_that_went_home_is_told_with_what_it_took_there() {
    for method in ["rsync", "ssync"] {
        let cluster = Spec::nodes(4).lease();
        let (part, disk) = cluster.misplaced_at(0, 0);
        put(&cluster, &disk, part);
        let pass = run(cluster.pass(Which::Ours, 0).set("sync_method", method), &["--strict"]);
        pass.outcome.clean();
        let size = BODY.len() as u64;
        pass.device(&disk.name, &[("found", 1), ("attempted", 1), ("removed", 1), ("pushed", 1), ("bytes", 3 * size)]);
        for primary in cluster.primaries(0, part) {
            pass.peer(&primary, &[("attempted", 1), ("pushed", 1), ("bytes", size)]);
        }
    }
}

#[test]
fn a_dead_peer_is_named_with_the_cause_and_strict_says_that_something_failed() {
    let mut cluster = Spec::nodes(3).lease();
    let found = fill(&cluster, 0);
    cluster.nodes[2].stop_object_server();
    cluster.nodes[2].stop_rsync_daemon();
    let dead = cluster.disks()[2].clone();
    let pass = run(cluster.pass(Which::Ours, 0), &["--strict"]);
    pass.outcome.ended(3);
    pass.assert(&pass.report["peers"][dead.node_string()]["failed"], "the dead", &[("unreachable", found)]);
    pass.assert(&pass.report["devices"]["sda"]["failed"], "the device", &[("unreachable", found)]);
    pass.peer(&cluster.disks()[1], &[("attempted", found), ("pushed", found)]);
    pass.outcome.says(&format!("Report: failures with {}: {found} unreachable", dead.node_string()));
}

#[test]
fn hand_offs_that_stay_with_hand_offs_first_make_a_pass_incomplete() {
    let cluster = Spec::nodes(4).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    put(&cluster, &disk, part);
    let found = 1 + fill(&cluster, 0);
    let refusing = cluster.primaries(0, part)[0].node;
    cluster.nodes[refusing].configure_rsync_module("read only = yes");
    let pass = run(cluster.pass(Which::Ours, 0).set("handoffs_first", "yes"), &["--strict"]);
    pass.outcome.ended(4).says("Report: pass incomplete (hand-offs are left, which were to be done first): 1 of ");
    pass.device(&disk.name, &[("found", found), ("attempted", 1)]);
    assert_eq!(pass.report["devices"][&disk.name]["left"], "not attempted");
    pass.assert(&pass.report["peers"][cluster.primaries(0, part)[0].node_string()]["failed"], "it", &[("refused", 1)]);
}

#[test]
fn groups_make_one_report_and_one_file_of_metrics() {
    let cluster = Spec::nodes(3).devices(2).lease();
    let found = fill(&cluster, 0);
    let metrics: PathBuf = cluster.nodes[0].recon().join("node.prom");
    let pass = cluster.pass(Which::Ours, 0).set("replicator_workers", 2).set("metrics_textfile", metrics.display());
    let pass = run(pass, &[]);
    pass.outcome.clean();
    let devices = pass.report["devices"].as_object().expect("devices");
    assert_eq!(devices.keys().collect::<Vec<_>>(), ["sda", "sdb"]);
    let attempted: u64 = devices.values().filter_map(|device| device["attempted"].as_u64()).sum();
    assert_eq!(attempted, found);

    let text = fs::read_to_string(&metrics).expect("metrics");
    let samples = |family: &str| -> Vec<f64> {
        let name = format!("swift_object_replicator_{family}");
        let lines = text.lines().filter(|line| line.starts_with(&name));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect()
    };
    assert_eq!(samples("device_attempted_partitions_total").iter().sum::<f64>(), attempted as f64, "{text}");
    assert_eq!(samples("passes_total"), [2.0, 0.0, 0.0], "{text}");
    let completed = samples("device_last_completed_pass_timestamp_seconds");
    let oldest = completed.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!((completed.len(), samples("oldest_completed_pass_timestamp_seconds")), (2, vec![oldest]), "{text}");
}
