//! What is told of hand-offs: in the log, the metrics, the recon cache and the report.

use std::fs;

use serde_json::json;

use crate::support::cluster::{Cluster, Disk, Spec};
use crate::support::guard::with_etc;
use crate::support::object::time;
use crate::support::oracle::venv;
use crate::support::replicator::Which;

/// Puts an object where it belongs only by the second or third choice.
fn misplace(cluster: &Cluster, disk: &Disk, part: u32) {
    cluster.put(disk, &cluster.object_in(0, part), &time(1), b"to be moved");
}

/// Partitions that do not belong on the first node: one that a node takes, and one that belongs on the third node.
fn misplaced(cluster: &Cluster) -> (u32, u32) {
    let at = |node: usize| cluster.partitions_at(0, node)[0];
    (at(1), at(2))
}

/// What `swift-recon` prints of replication.
fn swift_recon(cluster: &Cluster) -> String {
    let program = venv("swift-recon");
    let mut command = with_etc(&cluster.etc(), &program);
    let output = command.args(["object", "-r", "--md5"]).output().expect("unshare is installed");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn hand_offs_that_went_and_that_are_stuck_are_told_everywhere_with_the_cause() {
    for method in ["rsync", "ssync"] {
        let mut cluster = Spec::nodes(3).replicas(1.0).lease();
        let (goes, stays) = misplaced(&cluster);
        let disk = cluster.disks()[0].clone();
        [goes, stays].iter().for_each(|&part| misplace(&cluster, &disk, part));
        let at_home = cluster.partitions_at(0, 0)[0];
        misplace(&cluster, &disk, at_home);
        cluster.nodes[2].stop_object_server();
        cluster.nodes[2].stop_rsync_daemon();
        let metrics = cluster.nodes[0].runs().join("m.prom");
        let pass = cluster.pass(Which::Ours, 0).set("sync_method", method).set("metrics_textfile", metrics.display());
        let outcome = pass.run();
        outcome.says("Report: hand-offs of policy 0: 1 of 2 left, 1 of them stuck (1 unreachable)");
        let told = cluster.recon(0, "replication/object");
        let rebalance = &told["replication_stats"]["rebalance"];
        let holding = &rebalance["devices"]["sda"][0];
        for (key, value) in [("policy", 0), ("partitions", 3), ("primaries", 1), ("handoffs", 2), ("gone", 1)] {
            assert_eq!(holding[key], value, "{key} in {told:#}");
        }
        assert_eq!(holding["stuck"], json!({"unreachable": 1}));
        let rings = cluster.recon(0, "ringmd5");
        assert!(rings.as_object().unwrap().values().any(|md5| *md5 == holding["ring"]), "{rings} {holding}");
        assert_eq!((&rebalance["complete"], &rebalance["handoffs_only"]), (&json!(true), &json!(false)));
        assert_eq!(rebalance["ended"], told["object_replication_last"]);
        let metrics = fs::read_to_string(&metrics).unwrap();
        for line in [
            "device_handoffs_left{device=\"sda\",policy=\"0\"} 1",
            "device_handoffs_found{device=\"sda\",policy=\"0\"} 2",
            "device_handoffs_stuck{device=\"sda\",policy=\"0\",cause=\"unreachable\"} 1",
        ] {
            assert!(metrics.contains(&format!("\nswift_object_replicator_{line}\n")), "{line} in {metrics}");
        }
    }
}

#[test]
fn swifts_own_recon_goes_on_reading_what_is_told() {
    let cluster = Spec::nodes(2).replicas(1.0).lease();
    (0..2).for_each(|node| drop(cluster.replicate(Which::Ours, node)));
    let told = swift_recon(&cluster);
    for line in ["[replication_attempted] low: 0, high: 0, ", "no_result: 0, reported: 2", "2/2 hosts matched"] {
        assert!(told.contains(line), "{line} in {told}");
    }
}

#[test]
fn groups_of_workers_are_told_of_as_one_node() {
    let cluster = Spec::nodes(3).devices(2).replicas(1.0).lease();
    let elsewhere = cluster.partitions_at(0, 1)[0];
    let disk = cluster.disks()[0].clone();
    misplace(&cluster, &disk, elsewhere);
    let outcome = cluster.pass(Which::Ours, 0).set("replicator_workers", 2).run();
    let told = outcome.recon.as_ref().expect("recon was written")["replication_stats"]["rebalance"].clone();
    assert_eq!((&told["devices"]["sda"][0]["gone"], &told["devices"]["sdb"][0]["handoffs"]), (&json!(1), &json!(0)));
    assert_eq!(told["complete"], true);
}

#[test]
fn what_a_device_that_cannot_be_listed_holds_is_not_told_as_nothing() {
    let cluster = Spec::nodes(2).devices(2).replicas(1.0).lease();
    let disk = cluster.disks()[1].clone();
    let datadir = disk.path.join("objects");
    fs::remove_dir_all(&datadir).unwrap();
    fs::write(&datadir, "").unwrap();
    let metrics = cluster.nodes[0].runs().join("m.prom");
    let outcome = cluster.pass(Which::Ours, 0).set("metrics_textfile", metrics.display()).run();
    outcome.says("Report: hand-offs of policy 0: 0 of 0 left; 1 device is not listed, so what is on it is not known");
    let told = &outcome.recon.as_ref().expect("recon was written")["replication_stats"]["rebalance"];
    let holding = &told["devices"]["sdb"][0];
    assert!(holding["listed"] == 0.0 && holding["trouble"].as_str().unwrap().contains("Not a directory"), "{told}");
    assert_eq!(told["complete"], false);
    let metrics = fs::read_to_string(metrics).unwrap();
    assert!(metrics.contains("_handoffs_left{device=\"sda\",") && !metrics.contains("_handoffs_left{device=\"sdb\","));
}
