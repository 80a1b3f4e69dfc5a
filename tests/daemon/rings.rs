//! Rings that change while a pass runs, or are broken while the daemon does (B5.4, B5.14).

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::{is_everywhere, partitions_of, put_everywhere_on, put_in};
use crate::support::cluster::{Cluster, Lease, Spec};
use crate::support::guard::{PATIENCE, until};
use crate::support::lab;
use crate::support::object::Object;
use crate::support::replicator::{Pass, Running, Which};
use crate::support::rsync::FakeRsync;

/// Writes the ring again: the same assignment, these devices.
fn push_ring(cluster: &Cluster, devices: &[Value]) {
    lab::assign_ring(&cluster.ring(0), 1, cluster.part_power(0), &cluster.rows(0), devices);
}

/// The ring's devices, with the second of the first node somewhere else.
fn without_sdb(cluster: &Cluster) -> Vec<Value> {
    let mut devices = cluster.ring_devices();
    devices[1]["ip"] = json!(cluster.spare_address());
    devices[1]["replication_ip"] = json!(cluster.spare_address());
    devices
}

/// A pass with small jobs (the more may run at a time, the smaller each is), which looks for new rings all the time.
fn attentive(cluster: &Cluster) -> Pass<'_> {
    let pass = cluster.pass(Which::Ours, 0).set("concurrency", 8).set("rsync_batch", 1);
    pass.set("ring_check_interval", "0.05")
}

/// A push takes so long that what is told now is known before the second job of any worker begins.
fn slow_rsync() -> FakeRsync {
    FakeRsync::doing("sleep 1; exec \"$rsync\" \"$@\"")
}

/// Waits until the first push has begun.
#[track_caller]
fn wait_for_a_push(rsync: &FakeRsync, running: &Running) {
    assert!(until(PATIENCE, || !rsync.runs().is_empty()), "nothing is pushed:\n{}", running.console());
}

#[test]
fn a_ring_that_is_pushed_all_the_time_leaves_each_partition_its_one_turn() {
    let cluster = Spec::nodes(3).lease();
    let objects = put_everywhere_on(&cluster, &cluster.home(0, 0, 0));
    let slow = slow_rsync();
    let mut pass = attentive(&cluster).set("stats_interval", 1).rsync(&slow).start();
    while !pass.ended() {
        push_ring(&cluster, &cluster.ring_devices());
        std::thread::sleep(Duration::from_millis(200));
    }
    let outcome = pass.finish();
    let parts = i64::try_from(objects.len()).expect("few partitions");
    outcome.clean().counts(&[("attempted", parts), ("success", 2 * parts), ("failure", 0)]);
    assert!(outcome.count("Ring change detected in policy 'policy-0'") > 2, "{}", outcome.all());
    for object in &objects {
        let pushes = outcome.count(&format!("/sda/objects/{}/... to ", object.partition));
        assert_eq!(pushes, 2, "partition {}\n{}", object.partition, outcome.all());
        cluster.assert_everywhere(object, b"to be replicated");
    }
    assert_tells_what_is_left(&outcome.console, parts);
}

/// Before its end the pass said how far it was and when it would be over (B12.7, B12.8).
#[track_caller]
fn assert_tells_what_is_left(lines: &[String], parts: i64) {
    let on_the_way = |line: &&String| {
        let progress = line.strip_prefix("object-replicator: ").and_then(|line| line.split_once('/'));
        let done =
            progress.and_then(|(done, rest)| rest.starts_with(&format!("{parts} (")).then(|| done.parse().ok())?);
        done.is_some_and(|done: i64| done < parts) && line.ends_with(" remaining)") && line.contains("/sec, ")
    };
    assert!(lines.iter().any(|line| on_the_way(&line)), "{lines:?}");
}

/// A node with two devices, each with all it should have, and a pass that is slow.
fn two_devices() -> (Lease, [Vec<Object>; 2], FakeRsync) {
    let cluster = Spec::nodes(3).devices(2).lease();
    let disks: Vec<_> = cluster.disks_of(0).cloned().collect();
    let objects = [0, 1].map(|place| put_everywhere_on(&cluster, &disks[place]));
    (cluster, objects, slow_rsync())
}

fn all_everywhere(cluster: &Cluster, objects: &[Object]) -> bool {
    objects.iter().all(|object| is_everywhere(cluster, object))
}

#[test]
fn a_device_that_comes_in_mid_pass_is_done_in_that_pass() {
    assert_comes_in_time(0);
}

#[test]
fn a_device_that_comes_in_mid_pass_joins_a_group_at_once() {
    assert_comes_in_time(1);
}

#[track_caller]
fn assert_comes_in_time(workers: usize) {
    let (cluster, objects, slow) = two_devices();
    push_ring(&cluster, &without_sdb(&cluster));
    let pass = attentive(&cluster).set("replicator_workers", workers).rsync(&slow).start();
    wait_for_a_push(&slow, &pass);
    push_ring(&cluster, &cluster.ring_devices());
    pass.wait_for("going on with the new ring; devices here that came: sdb, went: none");
    pass.finish().ended(0);
    assert!(objects.iter().all(|objects| all_everywhere(&cluster, objects)));
}

#[test]
fn a_device_that_goes_in_mid_pass_is_left_alone_from_then_on() {
    let (cluster, objects, slow) = two_devices();
    let pass = attentive(&cluster).rsync(&slow).start();
    wait_for_a_push(&slow, &pass);
    push_ring(&cluster, &without_sdb(&cluster));
    pass.wait_for("going on with the new ring; devices here that came: none, went: sdb");
    let outcome = pass.finish();
    let parts = i64::try_from(objects[0].len() + objects[1].len()).expect("few partitions");
    assert!(outcome.ended(0).counter("attempted") < parts, "{}", outcome.all());
    assert!(all_everywhere(&cluster, &objects[0]) && !all_everywhere(&cluster, &objects[1]), "{}", outcome.all());
}

#[test]
fn a_part_power_that_begins_to_grow_mid_pass_ends_its_policy_until_it_is_over() {
    let mut cluster = Spec::nodes(3).lease();
    let objects = put_everywhere_on(&cluster, &cluster.home(0, 0, 0));
    let rows = cluster.rows(0);
    let slow = slow_rsync();
    let daemon = attentive(&cluster).forever().set("interval", "0.2").rsync(&slow).start();
    wait_for_a_push(&slow, &daemon);
    cluster.announce_next_part_power(0);
    daemon.wait_for("The part power of policy 'policy-0' is being changed: what is left of it in this pass is skipped");
    daemon.wait_for("next_part_power set in policy 'policy-0'. Skipping");
    assert!(!all_everywhere(&cluster, &objects), "the pass was over too soon for this test");
    cluster.assign_ring(0, &rows);
    assert!(until(PATIENCE, || all_everywhere(&cluster, &objects)), "{}", daemon.console());
}

/// A daemon with a hand-off that it cannot remove for want of a ring; `breaking` breaks the ring's file.
fn with_a_broken_ring(breaking: impl Fn(&Cluster)) -> (Lease, Running, Object, Vec<u8>) {
    let cluster = Spec::nodes(4).lease();
    let ring = fs::read(cluster.ring(0)).expect("the cluster's own");
    let daemon = attentive(&cluster).forever().set("interval", "0.1").start();
    daemon.wait_for_passes(1);
    breaking(&cluster);
    daemon.wait_for("Policy 'policy-0' goes on with the ring that it had, and removes no hand-off: ");
    let (part, disk) = cluster.misplaced_at(0, 0);
    let object = put_in(&cluster, &disk, part);
    assert!(until(PATIENCE, || is_everywhere(&cluster, &object)), "{}", daemon.console());
    daemon.wait_for_passes(5);
    assert_eq!(object.files(&disk).len(), 1, "a hand-off was removed without a ring:\n{}", daemon.console());
    assert_eq!(daemon.count(" goes on with the ring that it had"), 1, "{}", daemon.console());
    (cluster, daemon, object, ring)
}

#[test]
fn with_a_broken_ring_the_old_one_is_good_for_everything_but_removing() {
    let (cluster, daemon, object, ring) = with_a_broken_ring(|cluster| {
        fs::write(cluster.ring(0), b"junk").expect("the cluster's own");
    });
    fs::remove_file(cluster.ring(0)).expect("the cluster's own");
    daemon.wait_for_times(" goes on with the ring that it had", 2);
    fs::write(cluster.ring(0), ring).expect("the cluster's own");
    daemon.wait_for("The ring of policy 'policy-0' can be read again");
    let disk = &cluster.disks()[0];
    let gone = until(PATIENCE, || !disk.partition(0, object.partition).exists());
    assert!(gone, "the hand-off stays:\n{}", daemon.console());
}

#[test]
fn a_ring_that_vanishes_is_told_of_once() {
    let (cluster, daemon, ..) = with_a_broken_ring(|cluster| {
        fs::remove_file(cluster.ring(0)).expect("the cluster's own");
    });
    let parts = partitions_of(&cluster, &cluster.disks()[0]);
    let object = put_in(&cluster, &cluster.disks()[0], parts[0]);
    assert!(until(PATIENCE, || is_everywhere(&cluster, &object)), "{}", daemon.console());
}
