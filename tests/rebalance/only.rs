//! Passes over hand-offs only.

use std::fs;

use serde_json::{Value, json};

use super::ask;
use crate::support::cluster::{Cluster, Disk, Spec};
use crate::support::object::{Object, time};
use crate::support::replicator::Which;

fn put(cluster: &Cluster, disk: &Disk, part: u32) -> Object {
    let object = cluster.object_in(0, part);
    cluster.put(disk, &object, &time(1), b"to be replicated");
    object
}

/// An object where it does not belong, on the first node, and one where it does, and nowhere else.
pub(super) fn misplaced_and_at_home(cluster: &Cluster) -> (u32, u32) {
    let (part, disk) = cluster.misplaced_at(0, 0);
    put(cluster, &disk, part);
    let home = cluster.partitions_at(0, 0)[0];
    put(cluster, &cluster.home(0, home, 0), home);
    (part, home)
}

pub(super) fn is_anywhere_else(cluster: &Cluster, part: u32) -> bool {
    cluster.peers(0, part, 0).iter().any(|disk| disk.partition(0, part).exists())
}

#[test]
fn only_hand_offs_have_their_turn_and_nobody_takes_that_for_a_whole_pass() {
    let cluster = Spec::nodes(4).lease();
    let (part, home) = misplaced_and_at_home(&cluster);
    let metrics = cluster.nodes[0].runs().join("m.prom");
    let pass = cluster.pass(Which::Ours, 0).set("handoffs_only", "yes").set("metrics_textfile", metrics.display());
    let outcome = pass.words(&["--strict"]).run();
    outcome.ended(0);
    outcome.says("handoffs_only = yes: partitions that belong here are neither compared nor updated");
    outcome.says("Report: pass over hand-offs only: 1 of 1 hand-offs (100.0%) in ");
    outcome.says(
        "No hand-off is left on these devices, and handoffs_only = yes keeps everything else from being replicated",
    );
    assert!(cluster.peers(0, part, 0).iter().all(|disk| disk.partition(0, part).exists()));
    assert!(!cluster.disks()[0].partition(0, part).exists() && !is_anywhere_else(&cluster, home));

    let told = cluster.recon(0, "replication/object");
    assert!(told["object_replication_last"].is_null() && told["replication_time"].is_null(), "{told}");
    let rebalance = &told["replication_stats"]["rebalance"];
    assert_eq!((&rebalance["handoffs_only"], &rebalance["complete"]), (&json!(true), &json!(false)));
    let holding = &rebalance["devices"]["sda"][0];
    assert_eq!((&holding["partitions"], &holding["primaries"], &holding["gone"]), (&json!(2), &json!(1), &json!(1)));
    ask(&cluster, 0, &["--cluster"]).ended(1).says("wait: its last pass was over hand-offs only");
    let metrics = fs::read_to_string(metrics).unwrap();
    for line in
        ["device_last_completed_pass_timestamp_seconds{device=\"sda\"} 0", "passes_total{result=\"handoffs_only\"} 1"]
    {
        assert!(metrics.contains(&format!("_{line}\n")), "{line} in {metrics}");
    }
    cluster.replicate(Which::Ours, 0).clean();
    assert!(is_anywhere_else(&cluster, home));
    let told = cluster.recon(0, "replication/object");
    assert_eq!(
        (told["object_replication_last"].is_null(), &told["replication_stats"]["rebalance"]["complete"]),
        (false, &json!(true))
    );
}

/// Fills a device but for a twentieth.
fn fill(disk: &Disk, megabytes: usize) {
    fs::write(disk.path.join("junk"), vec![1; megabytes * 950_000]).expect("there is room");
}

#[test]
fn a_disk_that_is_nearly_full_gets_rid_of_its_hand_offs_before_anything_else() {
    let cluster = Spec::nodes(4).in_memory(4).lease();
    let (part, home) = misplaced_and_at_home(&cluster);
    fill(&cluster.disks()[0], 4);
    let pass = cluster.pass(Which::Ours, 0).set("handoffs_only", "auto").set("interval", "0.2");
    let daemon = pass.forever().start();
    daemon.wait_for(" % full: this pass is over hand-offs only, until none is left (handoffs_only = auto)");
    daemon.wait_for("No hand-off is left on these devices: the next pass is over everything");
    daemon.wait_for("Report: pass complete: 1 of 1 partitions (100.0%) in ");
    assert!(!cluster.disks()[0].partition(0, part).exists() && is_anywhere_else(&cluster, home));
    assert_eq!(daemon.count("this pass is over hand-offs only"), 1, "there is no hand-off any more");
}

#[test]
fn hand_offs_that_cannot_go_do_not_keep_everything_else_from_being_compared() {
    let mut cluster = Spec::nodes(4).in_memory(4).lease();
    let (part, home) = misplaced_and_at_home(&cluster);
    let away = cluster.primaries(0, part).into_iter().map(|disk| disk.node).max().expect("primaries");
    cluster.nodes[away].stop_object_server();
    cluster.nodes[away].stop_rsync_daemon();
    fill(&cluster.disks()[0], 4);
    let pass = cluster.pass(Which::Ours, 0).set("handoffs_only", "auto").set("interval", "0.2");
    let daemon = pass.forever().start();
    daemon.wait_for("Report: pass over hand-offs only: 1 of 1 hand-offs (100.0%) in ");
    daemon.wait_for("Report: pass complete: 2 of 2 partitions (100.0%) in ");
    assert!(cluster.disks()[0].partition(0, part).exists() && is_anywhere_else(&cluster, home));
    let status = fs::read_to_string(cluster.nodes[0].recon().join("object-replicator.status")).unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert!(status["last"][0]["handoffs_only"].is_boolean(), "{status}");
}
