//! What must be proven before a hand-off is removed: that it is whole at its targets, on their disks, and where their
//! object servers look.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::cluster::{Cluster, Disk, Lease, Spec};
use crate::support::guard::must;
use crate::support::object::{Object, time};
use crate::support::replicator::{Outcome, Which};

const BODY: &[u8] = b"the only good copy";

/// A hand-off of one object on the first node, with a file of the same name at each of its targets.
struct Doubtful {
    cluster: Lease,
    disk: Disk,
    part: u32,
    object: Object,
}

impl Doubtful {
    fn new() -> Self {
        let cluster = Spec::nodes(4).lease();
        let (part, disk) = cluster.misplaced_at(0, 0);
        let object = cluster.object_in(0, part);
        cluster.put(&disk, &object, &time(1), BODY);
        Self { cluster, disk, part, object }
    }

    fn targets(&self) -> Vec<Disk> {
        self.cluster.primaries(0, self.part)
    }

    fn file(&self, disk: &Disk) -> PathBuf {
        self.object.folder(disk).join(format!("{}.data", time(1)))
    }

    /// Puts something else in the file's place at each target.
    fn spoil(&self, spoil: impl Fn(&Path, &Path)) {
        for target in self.targets() {
            let file = self.file(&target);
            fs::create_dir_all(file.parent().expect("a file is in a folder")).expect("the device is ours");
            spoil(&self.file(&self.disk), &file);
        }
    }

    fn pass(&self) -> Outcome {
        self.cluster.replicate(Which::Ours, 0)
    }

    /// As far as the note at the hand-off knows.
    fn let_two_minutes_go_by(&self) {
        let (partition, note) = (self.disk.partition(0, self.part), "user.swift-object-replicator.pushed");
        let mut noted = xattr::get(&partition, note).expect("the device is ours").expect("it was noted");
        let time = u64::from_le_bytes(*noted.first_chunk::<8>().expect("a time"));
        noted[..8].copy_from_slice(&(time - 121).to_le_bytes());
        xattr::set(&partition, note, &noted).expect("the device is ours");
    }

    #[track_caller]
    fn assert_kept(&self) {
        assert_eq!(self.cluster.get(&self.disk, &self.object).body, BODY, "the hand-off is gone");
    }

    #[track_caller]
    fn assert_moved(&self) {
        self.cluster.assert_gone(&self.disk, 0, self.part);
        self.cluster.assert_everywhere(&self.object, BODY);
    }

    /// What is wrong there is found out, and mended by the passes after it.
    #[track_caller]
    fn is_kept_until_it_is_mended(&self) {
        let first = self.pass();
        first.ended(0).counts(&[("remove", 0), ("failure", 3)]).says(&self.object.hash).says("is kept");
        self.assert_kept();
        self.pass().ended(0);
        self.assert_moved();
    }
}

#[test]
fn an_empty_file_of_the_right_name_is_not_the_object() {
    let doubtful = Doubtful::new();
    doubtful.spoil(|_, there| drop(File::create(there).expect("the device is ours")));
    doubtful.is_kept_until_it_is_mended();
}

#[test]
fn the_first_bytes_with_all_metadata_are_not_the_object() {
    let doubtful = Doubtful::new();
    doubtful.spoil(|here, there| {
        must(Command::new("cp").arg("-a").arg(here).arg(there));
        File::options().write(true).open(there).and_then(|file| file.set_len(3)).expect("the device is ours");
    });
    doubtful.is_kept_until_it_is_mended();
}

#[test]
fn all_bytes_without_metadata_are_not_the_object() {
    let doubtful = Doubtful::new();
    doubtful.spoil(|here, there| {
        fs::copy(here, there).expect("the device is ours");
    });
    doubtful.targets().iter().for_each(|target| remove_metadata(&doubtful.file(target)));
    doubtful.is_kept_until_it_is_mended();
}

/// The same name, time and length, and sound in itself; but not what is here.
#[test]
fn another_object_of_the_same_time_is_not_the_object() {
    let doubtful = Doubtful::new();
    let other: Vec<u8> = BODY.iter().rev().copied().collect();
    for target in doubtful.targets() {
        doubtful.cluster.put(&target, &doubtful.object, &time(1), &other);
    }
    for _ in 0..2 {
        let outcome = doubtful.pass();
        outcome.ended(0).counts(&[("remove", 0), ("failure", 3)]);
        outcome.says("has another object of the same time, with another ETag");
    }
    doubtful.assert_kept();
}

/// A server that opens a fifo waits for ever, and serves nobody meanwhile.
#[test]
fn a_server_is_not_asked_for_what_it_would_hang_over() {
    let doubtful = Doubtful::new();
    doubtful.spoil(|_, there| must(Command::new("mkfifo").arg(there)));
    for _ in 0..2 {
        let outcome = doubtful.pass();
        outcome.ended(0).counts(&[("remove", 0), ("failure", 3)]).says("in its place that is no file");
    }
    doubtful.assert_kept();
}

/// A file where one hand-off's folder should be, at one target, is nothing to the other hand-offs.
#[test]
fn what_stands_in_the_way_of_one_hand_off_keeps_no_other_one() {
    let doubtful = Doubtful::new();
    let cluster = &doubtful.cluster;
    let at_home = cluster.partitions_at(0, 0);
    let other = (0..cluster.partition_count(0)).find(|part| !at_home.contains(part) && *part != doubtful.part);
    let object = cluster.object_in(0, other.expect("another hand-off"));
    cluster.put(&doubtful.disk, &object, &time(1), b"far from home");
    drop(File::create(doubtful.targets()[1].partition(0, doubtful.part)).expect("the device is ours"));
    doubtful.pass().ended(0).counts(&[("remove", 1), ("failure", 1)]);
    doubtful.assert_kept();
    cluster.assert_gone(&doubtful.disk, 0, object.partition);
    cluster.assert_everywhere(&object, b"far from home");
}

fn remove_metadata(file: &Path) {
    let names: Vec<_> = xattr::list(file).expect("the device is ours").collect();
    names.iter().for_each(|name| xattr::remove(file, name).expect("the device is ours"));
}

#[test]
fn a_folder_in_the_files_place_is_not_the_object() {
    let doubtful = Doubtful::new();
    doubtful.spoil(|_, there| fs::create_dir(there).expect("the device is ours"));
    doubtful.pass().ended(0).counts(&[("remove", 0)]);
    doubtful.assert_kept();
}

/// What a newer Swift adds to the metadata of a file that it opens makes it no other object.
#[test]
fn the_same_object_with_a_checksum_more_is_the_object() {
    let doubtful = Doubtful::new();
    doubtful.spoil(|here, there| must(Command::new("cp").arg("-a").arg(here).arg(there)));
    xattr::remove(doubtful.file(&doubtful.disk), "user.swift.metadata_checksum").expect("the device is ours");
    doubtful.pass().ended(0);
    doubtful.assert_moved();
}

#[test]
fn a_newer_version_at_the_targets_is_as_good() {
    let doubtful = Doubtful::new();
    for target in doubtful.targets() {
        doubtful.cluster.put(&target, &doubtful.object, &time(2), b"newer");
    }
    doubtful.pass().ended(0);
    doubtful.cluster.assert_gone(&doubtful.disk, 0, doubtful.part);
    doubtful.cluster.assert_everywhere(&doubtful.object, b"newer");
}

/// Servers see what was mounted when they started.
fn restart(cluster: &mut Cluster, disk: &Disk) {
    let node = &mut cluster.nodes[disk.node];
    node.stop_object_server();
    node.stop_rsync_daemon();
    node.start();
    node.wait();
}

#[test]
fn file_systems_without_metadata_take_no_hand_off() {
    let mut doubtful = Doubtful::new();
    for target in doubtful.targets() {
        must(Command::new("mount").args(["-t", "ramfs", "ramfs"]).arg(&target.path));
        fs::create_dir(target.path.join("objects")).expect("the device is ours");
        restart(&mut doubtful.cluster, &target);
    }
    for _ in 0..2 {
        doubtful.pass().ended(0).counts(&[("remove", 0), ("failure", 3)]);
    }
    doubtful.assert_kept();
    for target in doubtful.targets() {
        must(Command::new("umount").arg(&target.path));
        restart(&mut doubtful.cluster, &target);
    }
}

/// A POST that came here and a DELETE that came there, before it: the object is deleted.
#[test]
fn an_object_that_is_deleted_at_the_targets_is_not_waited_for_whatever_was_posted_since() {
    let doubtful = Doubtful::new();
    doubtful.cluster.post(&doubtful.disk, &doubtful.object, &time(3), &[("Color", "red")]);
    for target in doubtful.targets() {
        doubtful.cluster.put(&target, &doubtful.object, &time(1), BODY);
        doubtful.cluster.delete(&target, &doubtful.object, &time(2));
    }
    doubtful.pass().ended(0);
    doubtful.cluster.assert_gone(&doubtful.disk, 0, doubtful.part);
    for target in doubtful.targets() {
        assert_eq!(doubtful.cluster.get(&target, &doubtful.object).status, 404, "it is back at {target:?}");
    }
}

/// The rsync daemons lead to other folders than the object servers'.
fn elsewhere(doubtful: &Doubtful) -> Vec<tempfile::TempDir> {
    let place = |target: &Disk| {
        let elsewhere = tempfile::tempdir_in(target.path.parent().expect("devices are in a folder")).expect("room");
        fs::create_dir_all(elsewhere.path().join("sda/objects")).expect("it is ours");
        let node = &doubtful.cluster.nodes[target.node];
        node.configure_rsync_module(&format!("path = {}\n", elsewhere.path().display()));
        elsewhere
    };
    doubtful.targets().iter().map(place).collect()
}

#[test]
fn what_arrives_elsewhere_than_the_object_server_looks_has_not_arrived() {
    let doubtful = Doubtful::new();
    let elsewhere = elsewhere(&doubtful);
    let outcome = doubtful.pass();
    outcome.ended(0).counts(&[("remove", 0), ("failure", 3)]).says("has nothing of suffix");
    doubtful.assert_kept();
    assert!(elsewhere.iter().all(|folder| folder.path().join("sda/objects").join(doubtful.part.to_string()).exists()));
}

/// Another object of the same suffix, at each target.
fn put_another_of_the_suffix(doubtful: &Doubtful) {
    let (mut other, mut tries) = (doubtful.cluster.object_in(0, doubtful.part), 0);
    while other.suffix() != doubtful.object.suffix() {
        other = doubtful.cluster.object_in(0, doubtful.part);
        tries += 1;
        assert!(tries < 1_000_000, "there is an object in every suffix");
    }
    for target in doubtful.targets() {
        doubtful.cluster.put(&target, &other, &time(2), b"another");
    }
}

/// Then the server has the suffix, but not the object.
#[test]
fn another_object_of_the_suffix_does_not_stand_for_it() {
    let doubtful = Doubtful::new();
    put_another_of_the_suffix(&doubtful);
    let _elsewhere = elsewhere(&doubtful);
    let outcome = doubtful.pass();
    outcome.ended(0).counts(&[("remove", 0), ("failure", 3)]).says("has no such object");
    doubtful.assert_kept();
}

/// The daemon's tree has the whole object, and the server has its name.
#[test]
fn what_is_whole_elsewhere_does_not_stand_for_what_is_damaged_where_the_object_server_looks() {
    let doubtful = Doubtful::new();
    doubtful.spoil(|_, there| drop(File::create(there).expect("the device is ours")));
    let _elsewhere = elsewhere(&doubtful);
    let outcome = doubtful.pass();
    outcome.ended(0).counts(&[("remove", 0), ("failure", 3)]).says("has not written hashes.pkl where its rsync module");
    doubtful.assert_kept();
}

/// Nothing can be seen through the module then, so the object server is asked for each object.
#[test]
fn a_module_that_is_write_only_costs_a_question_for_each_object() {
    let doubtful = Doubtful::new();
    for target in doubtful.targets() {
        doubtful.cluster.nodes[target.node].configure_rsync_module("write only = yes\n");
    }
    doubtful.pass().ended(0).says("does not list files").counts(&[("remove", 1), ("failure", 0)]);
    doubtful.assert_moved();
}

/// As in the sample configuration of some distributions.
#[test]
fn where_a_dry_run_is_refused_the_object_server_is_asked_for_each_object() {
    let doubtful = Doubtful::new();
    for target in doubtful.targets() {
        doubtful.cluster.nodes[target.node].configure_rsync_module("refuse options = checksum dry-run\n");
    }
    doubtful.pass().ended(0).says("refuses the dry run that handoff_verify asks for");
    doubtful.assert_moved();
}

#[test]
fn where_a_dry_run_is_refused_names_prove_nothing_either() {
    let doubtful = Doubtful::new();
    doubtful.spoil(|_, there| drop(File::create(there).expect("the device is ours")));
    for target in doubtful.targets() {
        doubtful.cluster.nodes[target.node].configure_rsync_module("refuse options = checksum dry-run\n");
    }
    doubtful.is_kept_until_it_is_mended();
}

#[test]
fn without_fsync_at_a_target_a_hand_off_goes_in_a_later_pass() {
    let doubtful = Doubtful::new();
    let one = doubtful.targets()[1].clone();
    doubtful.cluster.nodes[one.node].configure_rsync_module("refuse options = fsync\n");
    for _ in 0..2 {
        doubtful.pass().ended(0).counts(&[("remove", 0), ("failure", 0)]).says("is kept for a later pass");
        doubtful.assert_kept();
        doubtful.cluster.assert_everywhere(&doubtful.object, BODY);
    }
    doubtful.let_two_minutes_go_by();
    doubtful.pass().ended(0);
    doubtful.assert_moved();
}

/// A disk was changed meanwhile: what has just come to it is not on it yet.
#[test]
fn without_fsync_what_is_pushed_anew_is_waited_for_anew() {
    let doubtful = Doubtful::new();
    let one = doubtful.targets()[1].clone();
    doubtful.cluster.nodes[one.node].configure_rsync_module("refuse options = fsync\n");
    doubtful.pass().ended(0).says("is kept for a later pass");
    doubtful.let_two_minutes_go_by();
    fs::remove_dir_all(one.partition(0, doubtful.part)).expect("the device is ours");
    for _ in 0..2 {
        doubtful.pass().ended(0).counts(&[("remove", 0), ("failure", 0)]).says("is kept for a later pass");
        doubtful.assert_kept();
    }
    doubtful.let_two_minutes_go_by();
    doubtful.pass().ended(0);
    doubtful.assert_moved();
}

#[test]
fn handoff_fsync_can_be_insisted_on_or_done_without() {
    let doubtful = Doubtful::new();
    let one = doubtful.targets()[1].clone();
    doubtful.cluster.nodes[one.node].configure_rsync_module("refuse options = fsync\n");
    let with = |value: &str| doubtful.cluster.pass(Which::Ours, 0).set("handoff_fsync", value).run();
    with("yes").ended(0).counts(&[("remove", 0)]).says("does not support --fsync, and handoff_fsync = yes");
    doubtful.assert_kept();
    with("no").ended(0).counts(&[("remove", 1)]);
    doubtful.assert_moved();
}
