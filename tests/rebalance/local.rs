//! One node, with and without a replicator that runs.

use std::fs;

use serde_json::{Value, json};

use super::ask;
use crate::support::cluster::{Cluster, Spec};
use crate::support::guard::{PATIENCE, until};
use crate::support::object::time;
use crate::support::replicator::Which;

fn put(cluster: &Cluster, part: u32) {
    cluster.put(&cluster.disks()[0], &cluster.object_in(0, part), &time(1), b"to be moved");
}

/// The row of a device.
fn row(told: &Value, device: &str) -> Value {
    let rows = told["devices"].as_array().expect("rows");
    rows.iter().find(|row| row["device"] == device).unwrap_or_else(|| panic!("no {device} in {told:#}")).clone()
}

#[test]
fn without_a_replicator_the_folders_are_listed_and_no_peer_is_asked() {
    let mut cluster = Spec::nodes(3).devices(2).replicas(1.0).lease();
    for node in [1, 2] {
        cluster.nodes[node].stop_object_server();
        cluster.nodes[node].stop_rsync_daemon();
    }
    for node in [1, 2] {
        put(&cluster, cluster.partitions_at(0, node)[0]);
    }
    fs::write(cluster.disks()[0].path.join("objects/77"), "no partition").unwrap();
    let said = ask(&cluster, 0, &[]);
    said.ended(0).says("No replicator runs with this configuration: the devices' folders are listed.");
    said.says("In all: 2 hand-offs are left on this node; time left: unknown.\n");
    let told = ask(&cluster, 0, &["--json"]).ended(0).json();
    let (sda, sdb) = (row(&told, "sda"), row(&told, "sdb"));
    assert_eq!((&sda["partitions"], &sda["primaries"], &sda["handoffs_left"]), (&json!(2), &json!(0), &json!(2)));
    assert_eq!((&sda["known_from"], &sda["handoffs_stuck"]), (&json!("listing"), &Value::Null));
    assert_eq!((&sdb["handoffs_left"], &sdb["seconds_left"]), (&json!(0), &json!(0.0)));
    assert!(cluster.disks()[0].path.join("objects/77").exists(), "nothing is changed");
}

#[test]
fn a_device_that_cannot_be_listed_is_said_to_be_unknown() {
    let cluster = Spec::nodes(2).devices(3).replicas(1.0).lease();
    let disks = cluster.disks();
    fs::remove_dir_all(&disks[1].path).unwrap();
    fs::remove_dir(disks[2].path.join("objects")).unwrap();
    std::os::unix::fs::symlink("objects", disks[2].path.join("objects")).unwrap();
    let said = ask(&cluster, 0, &[]);
    said.ended(2).says("sdb         0 unknown: ").says("sdb is not a directory\n").says("objects cannot be listed: ");
    said.says("and what is on 2 of 3 devices is unknown; time left: unknown.\n");
    let told = ask(&cluster, 0, &["--json"]).ended(2).json();
    assert_eq!((&row(&told, "sdb")["handoffs_left"], &told["total"]["unknown_devices"]), (&Value::Null, &json!(2)));
    assert_eq!(row(&told, "sda")["handoffs_left"], 0);
}

#[test]
fn a_daemon_tells_what_is_stuck_and_why_until_another_ring_is_pushed() {
    let mut cluster = Spec::nodes(3).replicas(1.0).lease();
    cluster.nodes[2].stop_object_server();
    cluster.nodes[2].stop_rsync_daemon();
    [1, 2].iter().for_each(|&node| put(&cluster, cluster.partitions_at(0, node)[0]));
    let pass = cluster.pass(Which::Ours, 0).forever().set("interval", 3600).set("ring_check_interval", 3600);
    let daemon = pass.start();
    daemon.wait_for("Report: hand-offs of policy 0: 1 of 2 left, 1 of them stuck (1 unreachable)");
    let told = || ask(&cluster, 0, &["--json"]).ended(0).json();
    let is_told = || row(&told(), "sda")["known_from"] == "last_pass";
    assert!(until(PATIENCE, is_told), "{:#}", told());
    let sda = row(&told(), "sda");
    assert_eq!((&sda["handoffs_left"], &sda["handoffs_stuck"]), (&json!(1), &json!({"unreachable": 1})));
    assert!(sda["seconds_left"].is_null() && sda["handoffs_per_hour"].as_f64() > Some(0.0), "{sda}");
    let said = ask(&cluster, 0, &[]);
    said.ended(0).says(&format!("By the daemon, process {}, as of ", daemon.id())).says("stuck: 1 unreachable\n");

    // Another ring: what the daemon knows is about the one before it.
    let other = cluster.partition_count(0) as usize;
    cluster.assign_ring(0, &[vec![1; other]]);
    let told = ask(&cluster, 0, &["--json"]).ended(0).json();
    let sda = row(&told, "sda");
    assert_eq!((&sda["known_from"], &sda["handoffs_left"]), (&json!("listing"), &json!(1)));
}

#[test]
fn a_machine_that_has_no_device_of_the_rings_is_not_said_to_be_done() {
    let mut cluster = Spec::nodes(2).replicas(1.0).lease();
    let elsewhere = std::net::Ipv4Addr::new(127, 255, 0, 9);
    let home = std::mem::replace(&mut cluster.nodes[0].address, elsewhere);
    ask(&cluster, 0, &[]).ended(2).says("no device of the rings belongs to this machine (addresses 127.255.0.9, port ");
    let told = ask(&cluster, 0, &["--json"]).ended(2).json();
    assert!(told["nothing_here"].is_string() && told["total"]["seconds_left"].is_null(), "{told:#}");
    // The next test is to find the node where it is.
    cluster.nodes[0].address = home;
}

#[test]
fn what_cannot_be_answered_at_all_is_json_too() {
    let cluster = Spec::nodes(2).replicas(1.0).lease();
    fs::write(cluster.ring(0), "no ring").unwrap();
    let said = ask(&cluster, 0, &["--json"]);
    assert!(
        said.ended(2).json()["error"].as_str().is_some_and(|error| error.contains("object.ring.gz")),
        "{}",
        said.text
    );
    ask(&cluster, 0, &[]).ended(2).says("object.ring.gz");
}
