//! What goes before all else: `--first`, and what a new ring has moved.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{is_everywhere, partitions_of, put_everywhere_on, put_in};
use crate::support::cluster::{Cluster, Lease, Spec};
use crate::support::guard::{PATIENCE, until};
use crate::support::lab;
use crate::support::object::Object;
use crate::support::replicator::{Outcome, Pass, Which};
use crate::support::rsync::FakeRsync;

/// A single pass over what goes first.
fn first<'a>(cluster: &'a Cluster, words: &[&str]) -> Pass<'a> {
    cluster.pass(Which::Ours, 0).forever().words(&[&["--first"], words].concat())
}

/// Four nodes, of which the first has an object in each of its partitions, that nobody else has.
fn four_nodes() -> (Lease, Vec<Object>) {
    let cluster = Spec::nodes(4).lease();
    let objects = put_everywhere_on(&cluster, &cluster.disks()[0]);
    assert!(objects.len() > 6, "too few partitions for these tests");
    (cluster, objects)
}

/// Keeps the ring as it is, under a name like that of a backup.
fn keep_ring(cluster: &Cluster, folder: &Path) -> PathBuf {
    let kept = folder.join("1700000000.object.ring.gz");
    fs::copy(cluster.ring(0), &kept).expect("our own folder");
    kept
}

/// Moves the first two of these partitions from another node to the one that did not have them, and the third from the
/// first node to that.
fn move_three(cluster: &mut Cluster, objects: &[Object]) {
    let mut rows = cluster.rows(0);
    for (place, object) in objects.iter().take(3).enumerate() {
        let part = object.partition as usize;
        let new = (0..4).find(|id| rows.iter().all(|row| row[part] != *id)).expect("three of four have it");
        let goes = |id: u32| (id == 0) == (place == 2);
        let row = rows.iter_mut().find(|row| goes(row[part])).expect("one of them");
        row[part] = new;
    }
    cluster.assign_ring(0, &rows);
}

#[track_caller]
fn assert_done_alone(cluster: &Cluster, outcome: &Outcome, done: &[Object], rest: &[Object]) {
    let parts = i64::try_from(done.len()).expect("few partitions");
    outcome.ended(0).says(&format!("pass complete: {parts} of {parts} partitions (100.0%)"));
    assert!(done.iter().all(|object| is_everywhere(cluster, object)), "{}", outcome.all());
    assert!(!rest.iter().any(|object| is_everywhere(cluster, object)), "{}", outcome.all());
}

#[test]
fn named_partitions_are_a_single_pass_over_them_alone_where_no_daemon_runs() {
    let (cluster, objects) = four_nodes();
    let numbers = format!("{},{}", objects[0].partition, objects[1].partition);
    let outcome = first(&cluster, &["-p", &numbers]).run();
    assert_done_alone(&cluster, &outcome, &objects[..2], &objects[2..]);
    let outcome = first(&cluster, &["-p", "70000"]).run();
    outcome.ended(4).says("Nothing matches --partitions 70000: the last partition is ");
}

#[test]
fn what_a_ring_has_moved_is_what_has_a_new_primary_elsewhere_or_belongs_elsewhere() {
    let (mut cluster, objects) = four_nodes();
    let folder = tempfile::tempdir().expect("a folder");
    let before = keep_ring(&cluster, folder.path());
    move_three(&mut cluster, &objects);
    let outcome = first(&cluster, &["--moved", before.to_str().expect("UTF-8")]).run();
    assert_done_alone(&cluster, &outcome, &objects[..3], &objects[3..]);
    let gone = !cluster.disks()[0].partition(0, objects[2].partition).exists();
    assert!(gone, "the hand-off among them is still here:\n{}", outcome.all());
    let kept = cluster.disks()[0].partition(0, objects[0].partition).exists();
    assert!(kept, "what belongs here is removed for nothing that is said of it first:\n{}", outcome.all());
}

#[test]
fn what_goes_to_a_device_goes_alone() {
    let (cluster, objects) = four_nodes();
    let disk = &cluster.disks()[1];
    let goes_there = |object: &&Object| cluster.primaries(0, object.partition).contains(disk);
    let (done, rest): (Vec<_>, Vec<_>) = objects.iter().partition(goes_there);
    let [done, rest] = [done, rest].map(|objects| objects.into_iter().cloned().collect::<Vec<_>>());
    assert!(!done.is_empty() && !rest.is_empty(), "the ring is too even for this test");
    let name = disk.node_string();
    let outcome = first(&cluster, &["--to", &name]).run();
    assert_done_alone(&cluster, &outcome, &done, &rest);
}

#[test]
fn what_cannot_be_meant_is_refused_in_one_line() {
    let (cluster, _) = four_nodes();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("object.ring.gz"), "junk").expect("our own folder");
    let devices = cluster.ring_devices();
    lab::assign_ring(&path("small.object.ring.gz"), 1, 1, &[vec![0, 1], vec![1, 2]], &devices);
    fs::copy(cluster.ring(0), path("object-1.ring.gz")).expect("our own folder");
    let moved = |name: &str| first(&cluster, &["--moved", path(name).to_str().expect("UTF-8")]).run();
    for (outcome, line) in [
        (moved("object.ring.gz"), "cannot load ring"),
        (moved("missing.object.ring.gz"), "No such file"),
        (moved("small.object.ring.gz"), "it has part power 1, and the ring in force"),
        (moved("object-1.ring.gz"), "there is no policy 1 that is replicated; those are 0"),
        (first(&cluster, &["--to", "192.0.2.77/sdz"]).run(), "no device of the rings is 192.0.2.77/sdz"),
    ] {
        let is_said = |said: &String| said.starts_with("option --first: ") && said.contains(line);
        assert!(outcome.ended(1).console.iter().any(is_said), "{line:?} is not said:\n{}", outcome.all());
    }
}

#[test]
fn what_a_new_ring_has_moved_goes_first_if_that_is_configured() {
    let (mut cluster, objects) = four_nodes();
    let slow = FakeRsync::doing("sleep 1; exec \"$rsync\" \"$@\"");
    let pass = cluster.pass(Which::Ours, 0).forever().set("moved_first", "yes").set("ring_check_interval", "0.05");
    let daemon = pass.set("rsync_batch", 1).set("concurrency", 1).set("interval", "0.2").rsync(&slow).start();
    assert!(until(PATIENCE, || !slow.runs().is_empty()), "{}", daemon.console());
    // What waits still when the ring comes: nothing of it is at work or done.
    let is_begun = |object: &Object| cluster.disks().iter().skip(1).any(|disk| !object.files(disk).is_empty());
    let (waiting, _): (Vec<_>, Vec<_>) = objects.iter().cloned().partition(|object| !is_begun(object));
    move_three(&mut cluster, &waiting);
    daemon.wait_for("The new ring of policy 0: 3 partitions have moved; those here go first: sda 3");
    let moved = &waiting[..3];
    let arrived = until(PATIENCE, || moved.iter().all(|object| is_everywhere(&cluster, object)));
    assert!(arrived, "{}", daemon.console());
    assert!(!waiting[3..].iter().all(|object| is_everywhere(&cluster, object)), "{}", daemon.console());
    assert!(until(PATIENCE, || objects.iter().all(|object| is_everywhere(&cluster, object))), "{}", daemon.console());
    let gone = || !cluster.disks()[0].partition(0, moved[2].partition).exists();
    assert!(until(Duration::from_secs(30), gone), "the hand-off stays:\n{}", daemon.console());
    let parts = partitions_of(&cluster, &cluster.disks()[0]);
    put_in(&cluster, &cluster.disks()[0], parts[0]);
    daemon.wait_for_passes(1);
}
