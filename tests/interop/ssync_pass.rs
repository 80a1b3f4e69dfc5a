//! Passes that push by SSYNC: what belongs here is compared as ever, and a hand-off loses what every target confirmed.

use std::fs;

use crate::support::cluster::{Cluster, Disk, Spec};
use crate::support::object::{Object, ancient, time};
use crate::support::replicator::{Outcome, Which};

both! {
    data_and_tombstones_reach_every_primary,
    a_hand_off_is_moved_home_and_removed,
    a_hand_off_stays_when_a_target_is_down,
}

fn replicate(cluster: &Cluster, which: Which, node: usize) -> Outcome {
    // No rsync daemon is needed, nor an rsync.
    cluster.pass(which, node).set("sync_method", "ssync").set("rsync_module", "127.0.0.1::nobody").run()
}

fn data_and_tombstones_reach_every_primary(which: Which) {
    let cluster = Spec::nodes(3).lease();
    let (kept, deleted) = (cluster.object_in(0, 3), cluster.object_in(0, 5));
    cluster.put(&cluster.home(0, 3, 0), &kept, &time(1), b"by SSYNC");
    cluster.put_everywhere(&deleted, &time(1), b"to be deleted");
    cluster.delete(&cluster.home(0, 5, 0), &deleted, &time(2));
    let outcome = replicate(&cluster, which, 0);
    outcome.clean().counts(&[("attempted", 2), ("rsync", 4), ("success", 4), ("suffix_sync", 4)]);
    cluster.assert_everywhere(&kept, b"by SSYNC");
    for disk in cluster.primaries(0, 5) {
        assert_eq!(cluster.get(&disk, &deleted).status, 404, "{disk:?}");
    }
}

fn a_hand_off_is_moved_home_and_removed(which: Which) {
    let cluster = Spec::nodes(4).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    let objects: Vec<_> = (0..3).map(|_| cluster.object_in(0, part)).collect();
    objects.iter().for_each(|object| cluster.put(&disk, object, &time(1), b"far from home"));
    let outcome = replicate(&cluster, which, 0);
    outcome.clean().counts(&[("attempted", 1), ("remove", 1), ("rsync", 3), ("success", 3), ("failure", 0)]);
    outcome.says(&format!("Removing partition: {}", disk.partition(0, part).display()));
    cluster.assert_gone(&disk, 0, part);
    objects.iter().for_each(|object| cluster.assert_everywhere(object, b"far from home"));
}

/// One that was made in time and is due to go: object servers themselves do not keep one that comes late.
fn put_old_tombstone(cluster: &Cluster, disk: &Disk, object: &Object) {
    cluster.delete(disk, object, &time(1));
    let folder = object.folder(disk);
    fs::rename(folder.join(&object.files(disk)[0]), folder.join(format!("{}.ts", ancient(1)))).expect("it is there");
    fs::remove_file(disk.partition(0, object.partition).join("hashes.invalid")).expect("it is there");
}

/// The reference takes three passes for it.
#[test]
fn a_hand_off_with_an_old_tombstone_goes_in_one_pass() {
    let cluster = Spec::nodes(4).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    let (object, old) = (cluster.object_in(0, part), cluster.object_in(0, part));
    cluster.put(&disk, &object, &time(1), b"far from home");
    put_old_tombstone(&cluster, &disk, &old);
    assert_ne!(object.suffix(), old.suffix());
    replicate(&cluster, Which::Ours, 0).clean().says("Removing 1 objects");
    cluster.assert_gone(&disk, 0, part);
    cluster.assert_everywhere(&object, b"far from home");
}

/// What is not removed after all says nothing any more of a suffix that went since all in it was old.
#[test]
fn of_a_hand_off_that_stays_the_hash_of_what_was_old_is_forgotten() {
    let cluster = Spec::nodes(4).silent(&[2]).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    let (object, old) = (cluster.object_in(0, part), cluster.object_in(0, part));
    cluster.put(&disk, &object, &time(1), b"far from home");
    put_old_tombstone(&cluster, &disk, &old);
    replicate(&cluster, Which::Ours, 0).ended(0).counts(&[("remove", 0), ("failure", 1)]);
    let invalid = fs::read_to_string(disk.partition(0, part).join("hashes.invalid")).expect("it was written");
    assert!(invalid.lines().any(|suffix| suffix == old.suffix()), "{invalid:?}");
    assert!(!disk.partition(0, part).join(old.suffix()).exists());
}

/// A PUT that failed leaves a folder without an object; while that is new, hashing leaves it where it is.
#[test]
fn a_hand_off_with_a_new_and_empty_folder_goes_in_one_pass() {
    let cluster = Spec::nodes(4).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    let (object, failed) = (cluster.object_in(0, part), cluster.object_in(0, part));
    cluster.put(&disk, &object, &time(1), b"far from home");
    fs::create_dir_all(failed.folder(&disk)).unwrap();
    replicate(&cluster, Which::Ours, 0).clean().says("Removing partition: ");
    cluster.assert_gone(&disk, 0, part);
    cluster.assert_everywhere(&object, b"far from home");
}

fn a_hand_off_stays_when_a_target_is_down(which: Which) {
    let cluster = Spec::nodes(4).silent(&[2]).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    let object = cluster.object_in(0, part);
    cluster.put(&disk, &object, &time(1), b"far from home");
    replicate(&cluster, which, 0).ended(0).counts(&[("remove", 0), ("success", 2), ("failure", 1)]);
    assert_eq!(cluster.get(&disk, &object).body, b"far from home");
}

/// A node of a far region is asked only after its neighbour got everything, so the hand-off waits for the neighbours.
/// (The reference needs a third pass for the empty partition, B10.9.)
#[test]
fn a_hand_off_goes_once_every_node_of_a_far_region_has_it() {
    let cluster = Spec::nodes(5).replicas(4.0).regions(&[1, 1, 2, 2, 1]).lease();
    let (part, disk) = cluster.misplaced_at(0, 4);
    let object = cluster.object_in(0, part);
    cluster.put(&disk, &object, &time(1), b"far and wide");
    replicate(&cluster, Which::Ours, 4).clean().says("Removing 0 objects");
    assert_eq!(cluster.get(&disk, &object).body, b"far and wide");
    for node in 2..4 {
        replicate(&cluster, Which::Ours, node).clean();
    }
    replicate(&cluster, Which::Ours, 4).clean().says("Removing partition: ");
    cluster.assert_gone(&disk, 0, part);
    cluster.assert_everywhere(&object, b"far and wide");
}

/// With `handoffs_first` nobody updates a neighbour while any hand-off is left, so to wait for that would be to wait for
/// ever: where two nodes have a hand-off each that the other's region has to pass on, neither would go.
#[test]
fn with_handoffs_first_every_node_of_a_far_region_is_given_the_hand_off() {
    let cluster = Spec::nodes(5).replicas(4.0).regions(&[1, 1, 2, 2, 1]).lease();
    let (part, disk) = cluster.misplaced_at(0, 4);
    let object = cluster.object_in(0, part);
    cluster.put(&disk, &object, &time(1), b"far and wide");
    let pass = cluster.pass(Which::Ours, 4).set("sync_method", "ssync").set("handoffs_first", "yes");
    pass.run().clean().counts(&[("remove", 1), ("rsync", 4), ("success", 4)]).says("Removing partition: ");
    cluster.assert_gone(&disk, 0, part);
    cluster.assert_everywhere(&object, b"far and wide");
}

/// What cannot be read cannot be sent, so nobody can have confirmed it. (The reference removes it, B9.14.)
#[test]
fn an_object_that_cannot_be_read_stays_on_the_hand_off() {
    let cluster = Spec::nodes(4).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    let (good, bad) = (cluster.object_in(0, part), cluster.object_in(0, part));
    for object in [&good, &bad] {
        cluster.put(&disk, object, &time(1), b"far from home");
    }
    let file = bad.folder(&disk).join(&bad.files(&disk)[0]);
    xattr::set(&file, "user.swift.metadata", b"no pickle").expect("the file system has attributes");
    replicate(&cluster, Which::Ours, 0).ended(0);
    cluster.assert_everywhere(&good, b"far from home");
    let quarantine = disk.path.join("quarantined");
    let is_kept = file.exists() || fs::read_dir(&quarantine).is_ok_and(|mut entries| entries.next().is_some());
    assert!(is_kept, "neither at its place nor in quarantine");
}

/// Nobody would ever be able to move it on, so with `handoffs_first` the primaries would never be updated again.
#[test]
fn an_object_that_cannot_be_read_holds_up_no_primary_where_hand_offs_go_first() {
    let cluster = Spec::nodes(4).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    let (good, bad) = (cluster.object_in(0, part), cluster.object_in(0, part));
    let primary = cluster.object_in(0, cluster.partitions_at(0, 0)[0]);
    for object in [&good, &bad] {
        cluster.put(&disk, object, &time(1), b"far from home");
    }
    // Its metadata have another object's name.
    let [from, to] = [&good, &bad].map(|object| object.folder(&disk).join(&object.files(&disk)[0]));
    for name in xattr::list(&from).expect("the file system has attributes") {
        let value = xattr::get(&from, &name).expect("it is readable").expect("it is there");
        xattr::set(&to, &name, &value).expect("it can be replaced");
    }
    cluster.put(&cluster.home(0, primary.partition, 0), &primary, &time(1), b"lacking elsewhere");
    let pass = cluster.pass(Which::Ours, 0).set("sync_method", "ssync").set("handoffs_first", "yes");
    pass.set("rsync_module", "127.0.0.1::nobody").run().ended(0).says("Not sent: ");
    cluster.assert_everywhere(&good, b"far from home");
    cluster.assert_everywhere(&primary, b"lacking elsewhere");
    assert!(good.files(&disk).is_empty() && bad.files(&disk).len() == 1);
}

/// What a target cannot look at costs that suffix: all else goes home, and no primary waits for it.
#[test]
fn a_file_in_the_place_of_a_targets_suffix_keeps_that_suffix_of_a_hand_off_only() {
    let cluster = Spec::nodes(4).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    let objects: Vec<_> = (0..6).map(|_| cluster.object_in(0, part)).collect();
    objects.iter().for_each(|object| cluster.put(&disk, object, &time(1), b"far from home"));
    let target = &cluster.primaries(0, part)[1];
    let place = target.partition(0, part).join(objects[2].suffix());
    fs::create_dir_all(target.partition(0, part)).expect("the device is writable");
    fs::write(&place, "no folder").expect("the device is writable");
    let primary = cluster.object_in(0, cluster.partitions_at(0, 0)[0]);
    cluster.put(&cluster.home(0, primary.partition, 0), &primary, &time(1), b"lacking elsewhere");
    let pass = cluster.pass(Which::Ours, 0).set("sync_method", "ssync").set("handoffs_first", "yes");
    pass.set("rsync_module", "127.0.0.1::nobody").run().ended(0).says(&format!("/{part}/{} ", objects[2].suffix()));
    let (bad, healthy): (Vec<_>, Vec<_>) = objects.iter().partition(|object| object.suffix() == objects[2].suffix());
    for object in healthy {
        cluster.assert_everywhere(object, b"far from home");
        assert!(object.files(&disk).is_empty());
    }
    assert!(bad.iter().all(|object| cluster.get(&disk, object).body == b"far from home"));
    cluster.assert_everywhere(&primary, b"lacking elsewhere");
}
