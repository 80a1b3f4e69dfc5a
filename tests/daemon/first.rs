//! What goes before all else: `--first`, and what a new ring has moved.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::{is_everywhere, partitions_of, put_everywhere_on, put_in};
use crate::support::cluster::{Cluster, Lease, Spec};
use crate::support::guard::{PATIENCE, until};
use crate::support::hang::Hang;
use crate::support::lab;
use crate::support::object::Object;
use crate::support::replicator::{Outcome, Pass, Running, Which};
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

/// Tells the daemon of the first node; the exit code, and what is said.
fn tell(cluster: &Cluster, words: &[&str]) -> (i32, String) {
    let conf = cluster.nodes[0].runs().join("first.conf");
    fs::write(&conf, cluster.nodes[0].conf(&[])).expect("the cluster's folder is writable");
    let output = Command::new(Which::Ours.program()).arg(&conf).args(words).output().expect("it starts");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status.code().expect("it is not killed"), said)
}

fn tell_first(cluster: &Cluster, words: &[&str]) -> (i32, String) {
    tell(cluster, &[&["--first"], words].concat())
}

/// A daemon that takes orders.
fn start(cluster: &Cluster, pass: Pass<'_>) -> Running {
    let daemon = pass.forever().start();
    let socket = cluster.nodes[0].recon().join("object-replicator.sock");
    assert!(until(PATIENCE, || socket.exists()), "{}", daemon.console());
    daemon
}

#[test]
fn a_daemon_does_these_before_what_has_waited_longer_and_each_once() {
    let (cluster, objects) = four_nodes();
    let slow = FakeRsync::doing("sleep 1; exec \"$rsync\" \"$@\"");
    let pass = cluster.pass(Which::Ours, 0).set("rsync_batch", 1).set("concurrency", 1).set("interval", 600);
    let daemon = start(&cluster, pass.rsync(&slow));
    assert!(until(PATIENCE, || !slow.runs().is_empty()), "{}", daemon.console());
    let is_begun = |object: &Object| cluster.disks().iter().skip(1).any(|disk| !object.files(disk).is_empty());
    let waiting: Vec<_> = objects.iter().filter(|object| !is_begun(object)).cloned().collect();
    let numbers = format!("{},{}", waiting[0].partition, waiting[1].partition);
    let (code, said) = tell_first(&cluster, &["-p", &numbers, "--wait", "--reason", "a new disk"]);
    assert_eq!((code, said.lines().last()), (0, Some("2 of 2 done, 0 failed")), "{said}\n{}", daemon.console());
    assert!(said.starts_with("2 of the 2 partitions are here and go first: sda 2\n"), "{said}");
    assert!(waiting[..2].iter().all(|object| is_everywhere(&cluster, object)), "{}", daemon.console());
    assert!(!waiting[2..].iter().all(|object| is_everywhere(&cluster, object)), "{}", daemon.console());
    daemon.wait_for(&format!("Orders: first: partitions {numbers}, by root: a new disk"));
    // One that was at work when it was told of, or had just been done, is done once more, and counts as one more.
    let is_complete =
        |more: usize| daemon.count(&format!("pass complete: {0} of {0} partitions (100.0%)", objects.len() + more)) > 0;
    assert!(until(PATIENCE * 2, || (0..=2).any(is_complete)), "{}", daemon.console());
    for object in &objects {
        let pushes = daemon.count(&format!("/sda/objects/{}/... to ", object.partition));
        assert!(pushes <= 2, "partition {} was pushed {pushes} times\n{}", object.partition, daemon.console());
    }
}

#[test]
fn what_fails_is_tried_in_each_pass_listed_and_outlives_a_reload() {
    let (cluster, objects) = four_nodes();
    let broken = tempfile::tempdir().expect("a folder");
    let sign = broken.path().join("broken");
    fs::write(&sign, "").expect("our own folder");
    let rsync = FakeRsync::doing(&format!("[ ! -e '{}' ] || exit 10\nexec \"$rsync\" \"$@\"", sign.display()));
    let daemon = start(&cluster, cluster.pass(Which::Ours, 0).set("interval", "0.5").rsync(&rsync));
    let number = objects[0].partition.to_string();
    let (code, said) = tell_first(&cluster, &["-p", &number, "--wait"]);
    assert!(code == 3 && said.contains("0 of 1 done, 1 failed\n"), "{code}: {said}");
    daemon.signal(Signal::HUP);
    daemon.wait_for("it is in force once the jobs at hand are done");
    daemon.wait_for_passes(2);
    let (_, status) = tell(&cluster, &["--status"]);
    let listed = |status: &str| status.contains(&format!("Orders: first: partitions {number}, by root since "));
    assert!(listed(&status) && status.contains("1 of 1 left"), "{status}");
    assert!(status.contains(&format!("again in each pass: sda/{number} (")), "{status}");
    fs::remove_file(&sign).expect("it is ours");
    assert!(until(PATIENCE, || is_everywhere(&cluster, &objects[0])), "{}", daemon.console());
    let is_gone = || !listed(&tell(&cluster, &["--status"]).1);
    assert!(until(PATIENCE, is_gone), "{}", tell(&cluster, &["--status"]).1);
}

#[test]
fn a_daemon_that_rests_begins_at_once_and_removes_the_hand_offs_among_them() {
    let (mut cluster, objects) = four_nodes();
    let folder = tempfile::tempdir().expect("a folder");
    let before = keep_ring(&cluster, folder.path());
    let daemon = start(&cluster, cluster.pass(Which::Ours, 0).set("interval", 3600));
    daemon.wait_for("Object replication complete. (");
    move_three(&mut cluster, &objects);
    let before = before.to_str().expect("UTF-8");
    let (code, said) = tell_first(&cluster, &["--moved", before, "--wait"]);
    assert_eq!(code, 0, "{said}\n{}", daemon.console());
    assert_eq!(said, "3 partitions have moved; those here go first: sda 3\n3 of 3 done, 0 failed\n");
    assert!(objects[..3].iter().all(|object| is_everywhere(&cluster, object)), "{}", daemon.console());
    let is_here = |object: &Object| cluster.disks()[0].partition(0, object.partition).exists();
    assert_eq!([0, 1, 2].map(|place| is_here(&objects[place])), [true, true, false], "{}", daemon.console());

    let (code, said) = tell_first(&cluster, &["-p", "70000"]);
    assert!(code == 4 && said.contains("Nothing matches --partitions 70000: "), "{code}: {said}");
    for words in [["--moved", "/etc/hostname"], ["--to", "192.0.2.77"]] {
        let (code, said) = tell_first(&cluster, &words);
        assert!(code == 1 && said.lines().count() == 1, "{words:?}: {code}: {said}");
    }
    drop(daemon);
    let (code, said) = tell_first(&cluster, &["-p", "1", "--wait", "--once"]);
    assert!(said.starts_with("No daemon runs with this configuration: a single pass"), "{code}: {said}");
}

#[test]
fn a_device_that_hangs_is_told_of_and_keeps_the_others_from_nothing() {
    let cluster = Spec::nodes(3).devices(2).lease();
    let disks: Vec<_> = cluster.disks_of(0).cloned().collect();
    let stored: Vec<_> = disks.iter().map(|disk| put_in(&cluster, disk, partitions_of(&cluster, disk)[0])).collect();
    let hang = Hang::at(&disks[1].partition(0, stored[1].partition));
    let daemon = start(&cluster, cluster.pass(Which::Ours, 0).set("lockup_timeout", 3).set("interval", "0.5"));
    daemon.wait_for("Lockup detected: device sdb");
    let numbers = stored.iter().map(|object| object.partition.to_string()).collect::<Vec<_>>();
    let (code, said) = tell_first(&cluster, &["-d", "sdb", "-p", &numbers[1], "--wait"]);
    assert!(code == 3 || code == 4, "{code}: {said}");
    assert!(said.contains("sdb"), "it is not told which device hangs: {said}");
    let (code, said) = tell_first(&cluster, &["-d", "sda", "-p", &numbers[0], "--wait"]);
    assert_eq!(code, 0, "{said}\n{}", daemon.console());
    hang.end_for(&daemon);
    daemon.wait_for("Device sdb is back");
    assert!(until(PATIENCE, || is_everywhere(&cluster, &stored[1])), "{}", daemon.console());
}
