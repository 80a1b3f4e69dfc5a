//! Disks and children that hang: each costs its own share, is named in the log, and is used again when it comes back.

use std::path::PathBuf;

use super::{is_everywhere, partitions_of, put_in};
use crate::support::cluster::{Disk, Lease, Spec};
use crate::support::guard::{PATIENCE, until};
use crate::support::hang::Hang;
use crate::support::object::Object;
use crate::support::peer::{Reply, StubPeer};
use crate::support::replicator::{Pass, Running, Which};
use crate::support::rsync::FakeRsync;

/// A cluster whose first node has three devices, each with an object that belongs on the others too.
struct Disks {
    cluster: Lease,
    objects: Vec<(Disk, Object)>,
}

impl Disks {
    fn new() -> Self {
        let cluster = Spec::nodes(3).devices(3).lease();
        let stored = |disk: &Disk| (disk.clone(), put_in(&cluster, disk, partitions_of(&cluster, disk)[0]));
        let objects = cluster.disks_of(0).map(stored).collect();
        Self { cluster, objects }
    }

    /// A pass that looks soon whether anything moves. Not too soon: other tests use the machine's processors too.
    fn pass(&self) -> Pass<'_> {
        self.cluster.pass(Which::Ours, 0).set("lockup_timeout", 3)
    }

    fn daemon(&self) -> Pass<'_> {
        self.pass().forever().set("interval", "0.2")
    }

    /// The partition that the second device has.
    fn partition(&self) -> PathBuf {
        let (disk, object) = &self.objects[1];
        disk.partition(0, object.partition)
    }

    #[track_caller]
    fn wait_for(&self, which: &[usize], running: &Running) {
        let arrived = || which.iter().all(|&place| is_everywhere(&self.cluster, &self.objects[place].1));
        assert!(until(PATIENCE * 2, arrived), "{which:?} did not arrive:\n{}", running.console());
    }

    #[track_caller]
    fn assert_only_the_second_is_missing(&self) {
        let arrived: Vec<_> = self.objects.iter().map(|(_, object)| is_everywhere(&self.cluster, object)).collect();
        assert_eq!(arrived, [true, false, true]);
    }
}

/// The device hangs; the others get on, pass after pass; and it is back when it answers again.
fn hangs_and_comes_back(concurrency: usize, place: impl Fn(&Disks) -> PathBuf, doing: impl Fn(&Disks) -> String) {
    let disks = Disks::new();
    let hang = Hang::at(&place(&disks));
    let daemon = disks.daemon().set("concurrency", concurrency).start();
    daemon.wait_for(&format!("Lockup detected: device sdb{}", doing(&disks)));
    disks.wait_for(&[0, 2], &daemon);
    daemon.wait_for_passes(2);
    daemon.wait_for("evice sdb is left out: a job of an earlier pass has been ");
    disks.assert_only_the_second_is_missing();
    hang.end_for(&daemon);
    daemon.wait_for("Device sdb is back");
    disks.wait_for(&[1], &daemon);
}

#[test]
fn a_partition_that_hangs_with_one_permit() {
    let doing = |disks: &Disks| {
        format!(", partition {}: no progress for 3s while hashing suffixes", disks.objects[1].1.partition)
    };
    hangs_and_comes_back(1, Disks::partition, doing);
}

/// A job of 24 partitions hangs at one of them. The others have their turn in the same pass, and in later ones; a second
/// one that hangs closes the device, and it is opened again when one of the two comes back.
#[test]
fn one_partition_that_hangs_costs_only_itself_and_a_second_one_the_device() {
    let cluster = Spec::nodes(3).part_power(6).devices(2).lease();
    let disk = cluster.home(0, 0, 0);
    let partitions: Vec<_> = partitions_of(&cluster, &disk).into_iter().take(24).collect();
    let objects: Vec<_> = partitions.iter().map(|partition| put_in(&cluster, &disk, *partition)).collect();
    let first = Hang::at(&disk.partition(0, partitions[3]));
    let pass = cluster.pass(Which::Ours, 0).forever().set("lockup_timeout", 3).set("interval", "0.2");
    let daemon = pass.set("concurrency", 2).start();
    daemon.wait_for(&format!("device sda, partition {}: no progress for 3s while hashing suffixes", partitions[3]));
    daemon.wait_for(&format!("Device sda answers, so it is used again, except for partition {}", partitions[3]));
    let arrived = |left_out: &[usize]| {
        let mut others = objects.iter().enumerate().filter(|(place, _)| !left_out.contains(place));
        others.all(|(_, object)| is_everywhere(&cluster, object))
    };
    assert!(until(PATIENCE * 2, || arrived(&[3])), "{}", daemon.console());
    daemon.wait_for(&format!("left on sda: 1 of 24 partitions: hangs: partition {}, hashing suffixes", partitions[3]));
    daemon.wait_for("Device sda: 1 partitions were not replicated in this pass");
    daemon.wait_for(&format!("Partition {} of device sda is left out: a job of an earlier pass", partitions[3]));
    daemon.wait_for_passes(2);
    assert_eq!(daemon.count("Lockup detected"), 1, "{}", daemon.console());

    let threads = daemon.process().threads();
    let second = Hang::at_for(&disk.partition(0, partitions[9]), &daemon);
    daemon.wait_for(&format!("device sda, partition {}: no progress for 3s", partitions[9]));
    daemon.wait_for("Device sda is left out: a job of an earlier pass");
    daemon.wait_for_passes(3);
    assert_eq!(daemon.count("Lockup detected"), 2, "{}", daemon.console());
    assert!(daemon.process().threads() <= threads + 4, "each pass leaves a thread behind");
    first.end_for(&daemon);
    daemon.wait_for_passes(2);
    second.end_for(&daemon);
    daemon.wait_for("Device sda is back");
    assert!(until(PATIENCE * 2, || arrived(&[])), "{}", daemon.console());
}

#[test]
fn a_device_that_hangs_with_several_permits() {
    let doing = |_: &Disks| ": no progress for 3s while checking the drive".to_owned();
    hangs_and_comes_back(4, |disks| disks.objects[1].0.path.clone(), doing);
}

#[test]
fn a_device_that_cannot_be_listed_with_one_permit() {
    let doing = |_: &Disks| ": no progress for 3s while listing partitions".to_owned();
    hangs_and_comes_back(1, |disks| disks.objects[1].0.path.join("objects"), doing);
}

#[test]
fn a_single_pass_ends_though_a_worker_is_stuck() {
    let disks = Disks::new();
    let _hang = Hang::at(&disks.partition());
    let outcome = disks.pass().set("replicator_workers", 2).run();
    outcome.ended(0).says("Lockup detected: device sdb").says("Object replication complete (once).").says("Exited ");
    disks.assert_only_the_second_is_missing();
}

#[test]
fn the_only_device_hangs() {
    let cluster = Spec::nodes(3).lease();
    let object = put_in(&cluster, &cluster.home(0, 0, 0), 0);
    let hang = Hang::at(&cluster.disks()[0].path);
    let pass = cluster.pass(Which::Ours, 0).forever().set("lockup_timeout", 2).set("interval", "0.2");
    let daemon = pass.start();
    daemon.wait_for("Device sda: its partitions were not listed in this pass");
    daemon.wait_for_passes(3);
    let threads = daemon.process().threads();
    daemon.wait_for_passes(3);
    assert!(daemon.process().threads() <= threads + 3, "each pass leaves a thread behind");
    assert_eq!(daemon.count("Lockup detected"), 1, "{}", daemon.console());
    hang.end_for(&daemon);
    daemon.wait_for("Device sda is back");
    assert!(until(PATIENCE, || is_everywhere(&cluster, &object)), "{}", daemon.console());
}

/// An rsync whose disk hangs cannot be killed. It is left to die when it can; the others go on.
#[test]
fn an_rsync_that_cannot_be_killed() {
    let disks = Disks::new();
    let (disk, object) = &disks.objects[1];
    let file = object.folder(disk).join(&object.files(disk)[0]);
    let hang = Hang::unkillable_at(&file);
    let daemon = disks.daemon().set("interval", 600).set("rsync_timeout", 2).start();
    daemon.wait_for("Killing long-running rsync after 2s: ['rsync', ");
    daemon.wait_for(" is still there 1s after it was killed");
    disks.wait_for(&[0, 2], &daemon);
    daemon.wait_for("Object replication complete. (");
    disks.assert_only_the_second_is_missing();
    let children = daemon.process().children();
    assert!(!children.is_empty() && children.iter().all(|child| child.is_alive()), "{children:?}");
    hang.end_for(&daemon);
    let reaped = until(PATIENCE, || daemon.process().children().is_empty());
    assert!(reaped, "left: {:?}", daemon.process().children());
}

/// Nothing moves while the whole process is paused, and nothing hangs either.
#[test]
fn a_pause_of_the_whole_process_is_no_lockup() {
    let cluster = Spec::nodes(3).silent(&[1, 2]).part_power(6).lease();
    let disk = cluster.home(0, 0, 0);
    (0..20).for_each(|part| super::fake_partition(&disk, part));
    let slow = |_: &_| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        Reply::nothing()
    };
    let _peers = [1, 2].map(|node| StubPeer::start(cluster.nodes[node].object_address(), slow));
    // A push that waits for its end, and takes longer than it may if the pause counts.
    let rsync = FakeRsync::doing("sleep 1");
    let pass = cluster.pass(Which::Ours, 0).forever().set("interval", 600).set("lockup_timeout", 2);
    let daemon = pass.set("rsync_batch", 1).set("rsync_timeout", 3).rsync(&rsync).start();
    assert!(until(PATIENCE, || !rsync.pushes().is_empty()), "{}", daemon.console());
    for _ in 0..2 {
        daemon.signal(rustix::process::Signal::STOP);
        std::thread::sleep(std::time::Duration::from_secs(6));
        daemon.signal(rustix::process::Signal::CONT);
        std::thread::sleep(std::time::Duration::from_millis(900));
    }
    std::thread::sleep(std::time::Duration::from_secs(3));
    let console = daemon.console();
    assert!(!console.contains("Lockup detected") && !console.contains("Killing long-running"), "{console}");
}

/// A peer that answers in time is no reason to set a device of this node aside.
#[test]
fn a_slow_peer_is_no_lockup() {
    let cluster = Spec::nodes(3).silent(&[1, 2]).lease();
    let disk = cluster.home(0, 0, 0);
    (0..2).for_each(|part| super::fake_partition(&disk, part));
    let slow = |_: &_| {
        std::thread::sleep(std::time::Duration::from_millis(3000));
        Reply::nothing()
    };
    let _peers = [1, 2].map(|node| StubPeer::start(cluster.nodes[node].object_address(), slow));
    let rsync = FakeRsync::doing("true");
    let outcome = cluster.pass(Which::Ours, 0).set("lockup_timeout", 1).set("http_timeout", 60).rsync(&rsync).run();
    outcome.ended(0).does_not_say("Lockup detected").says("Report: pass complete");
}
