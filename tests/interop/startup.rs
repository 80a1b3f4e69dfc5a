//! What a pass needs before it can begin.

use std::fs;

use serde_json::json;

use crate::support::cluster::{Cluster, Spec};
use crate::support::lab;
use crate::support::object::time;
use crate::support::replicator::{Outcome, Which};

both! {
    without_its_only_ring_it_does_not_start,
    with_half_a_ring_it_does_not_start,
    with_a_ring_of_the_first_format_it_does_not_start,
    without_swift_conf_it_does_not_start,
    without_a_salt_it_does_not_start,
    in_a_foreign_ring_it_finds_nothing_to_do,
    with_other_devices_wanted_it_finds_nothing_to_do,
}

fn cluster() -> crate::support::cluster::Lease {
    let cluster = Spec::nodes(4).lease();
    let object = cluster.object_in(0, cluster.partitions_at(0, 0)[0]);
    cluster.put(&cluster.home(0, object.partition, 0), &object, &time(1), b"x");
    cluster
}

/// It ends with 1, and ours says on the console what it could not use.
#[track_caller]
fn refuses(which: Which, cluster: &Cluster, culprit: &str) {
    let outcome = cluster.replicate(which, 0);
    outcome.ended(1);
    if which == Which::Ours {
        let said = outcome.console.join("\n") + &outcome.stdout;
        assert!(said.contains(culprit), "{culprit:?} is not named:\n{}", outcome.all());
    }
}

fn without_its_only_ring_it_does_not_start(which: Which) {
    let cluster = cluster();
    fs::remove_file(cluster.ring(0)).expect("the cluster's own");
    refuses(which, &cluster, "object.ring.gz");
}

fn with_half_a_ring_it_does_not_start(which: Which) {
    let cluster = cluster();
    let ring = fs::read(cluster.ring(0)).expect("the cluster's own");
    fs::write(cluster.ring(0), &ring[..ring.len() / 2]).expect("the cluster's own");
    refuses(which, &cluster, "object.ring.gz");
}

fn with_a_ring_of_the_first_format_it_does_not_start(which: Which) {
    let cluster = cluster();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, b"\x80\x02}q\x00(X\x04\0\0\0devsq\x01]u.").expect("memory");
    fs::write(cluster.ring(0), gzip.finish().expect("memory")).expect("the cluster's own");
    refuses(which, &cluster, "swift-ring-builder");
}

fn without_swift_conf_it_does_not_start(which: Which) {
    let cluster = cluster();
    fs::remove_file(cluster.etc().join("swift.conf")).expect("the cluster's own");
    refuses(which, &cluster, "swift.conf");
}

fn without_a_salt_it_does_not_start(which: Which) {
    let cluster = cluster();
    fs::write(cluster.etc().join("swift.conf"), "[swift-hash]\n").expect("the cluster's own");
    refuses(which, &cluster, "swift_hash_path_suffix");
}

#[track_caller]
fn finds_nothing(outcome: &Outcome, cluster: &Cluster) {
    let ip = cluster.nodes[0].address;
    outcome.ended(0).says("Nothing replicated for ").says(&format!(
        "Can't find itself in policy with index 0 with ips {ip} and with port 6200 in ring file, not replicating"
    ));
}

fn in_a_foreign_ring_it_finds_nothing_to_do(which: Which) {
    let cluster = cluster();
    let mut devices = cluster.ring_devices();
    for device in &mut devices {
        device["ip"] = json!(cluster.spare_address());
        device["replication_ip"] = json!(cluster.spare_address());
    }
    lab::assign_ring(&cluster.ring(0), 1, cluster.part_power(0), &cluster.rows(0), &devices);
    let outcome = cluster.replicate(which, 0);
    finds_nothing(&outcome, &cluster);
    outcome.counts(&[("attempted", 0), ("failure", 0)]);
}

fn with_other_devices_wanted_it_finds_nothing_to_do(which: Which) {
    let cluster = cluster();
    finds_nothing(&cluster.pass(which, 0).words(&["--devices=sdz"]).run(), &cluster);
}
