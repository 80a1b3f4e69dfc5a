//! A device that goes in the middle of a job: what lies below its mount point is not its content.

use std::fs;

use crate::support::cluster::{Disk, Lease, Spec};
use crate::support::object::{Object, time};
use crate::support::replicator::{Outcome, Which};
use crate::support::rsync::FakeRsync;

/// When a device goes.
#[derive(Clone, Copy)]
enum Moment {
    Before,
    After,
}

/// A cluster in which the first node's device goes with the first push, and leaves a folder with an object that was
/// deleted long ago.
struct Going {
    cluster: Lease,
    disk: Disk,
    ghost: Object,
}

impl Going {
    /// Objects in these partitions of the device; the ghost is in the last of them.
    fn with(cluster: Lease, disk: Disk, parts: &[u32]) -> Self {
        for &part in parts {
            cluster.put(&disk, &cluster.object_in(0, part), &time(2), b"on the device");
        }
        let ghost = cluster.object_in(0, *parts.last().expect("there are partitions"));
        Self { cluster, disk, ghost }
    }

    /// A pass, at whose first push the device goes: before the program is there, or after it is done.
    fn pass(&self, moment: Moment, batch: usize) -> Outcome {
        let below = tempfile::tempdir_in(self.disk.path.parent().expect("devices are in a folder")).expect("room");
        let ghosts = Disk { path: below.path().join("sda"), ..self.disk.clone() };
        fs::create_dir_all(ghosts.path.join("objects")).expect("it is ours");
        self.cluster.put(&self.disk, &self.ghost, &time(1), b"deleted long ago");
        let folder = self.ghost.folder(&ghosts);
        fs::create_dir_all(folder.parent().expect("a suffix")).expect("it is ours");
        fs::rename(self.ghost.folder(&self.disk), &folder).expect("both are ours");
        if let Moment::Before = moment {
            self.cluster.put(&self.disk, &self.ghost, &time(2), b"on the device");
        }

        let (device, away) = (self.disk.path.display().to_string(), below.path().join("away"));
        let go = format!(
            "[ -e {away} ] || {{ mv {device} {away}; mv {ghosts} {device}; }}",
            away = away.display(),
            ghosts = ghosts.path.display()
        );
        let rsync = match moment {
            Moment::Before => FakeRsync::doing(&format!("{go}\nexec \"$rsync\" \"$@\"")),
            Moment::After => FakeRsync::followed_by(&go),
        };
        let outcome = self.cluster.pass(Which::Ours, 0).set("rsync_batch", batch).rsync(&rsync).run();
        fs::rename(&self.disk.path, &ghosts.path).expect("both are ours");
        fs::rename(&away, &self.disk.path).expect("both are ours");
        assert_eq!(rsync.pushes().len(), 1, "nothing is pushed after the device went");
        outcome
    }

    #[track_caller]
    fn assert_no_ghost(&self) {
        for disk in self.cluster.disks().iter().filter(|disk| disk.node != 0) {
            assert_eq!(self.cluster.get(disk, &self.ghost).status, 404, "{disk:?} has what was deleted");
        }
    }
}

#[test]
fn nothing_below_the_mount_point_of_a_primary_is_pushed() {
    let cluster = Spec::nodes(3).lease();
    let parts = cluster.partitions_at(0, 0);
    let disk = cluster.home(0, parts[0], 0);
    let going = Going::with(cluster, disk, &parts);
    let outcome = going.pass(Moment::After, 32);
    outcome.ended(0).says("was unmounted or replaced while it was worked on");
    assert!(outcome.counter("failure") > 0);
    going.assert_no_ghost();
}

#[test]
fn nothing_below_the_mount_point_of_a_hand_off_is_pushed_or_removed() {
    let cluster = Spec::nodes(4).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    let going = Going::with(cluster, disk, &[part]);
    let outcome = going.pass(Moment::After, 32);
    outcome.ended(0).says("was unmounted or replaced while it was worked on").counts(&[("remove", 0)]);
    going.assert_no_ghost();
    assert!(going.disk.partition(0, part).exists(), "the hand-off is still there");
}

#[test]
fn a_push_that_was_just_begun_when_the_device_goes_sends_what_is_on_the_device() {
    for batch in [1, 32] {
        let cluster = Spec::nodes(3).lease();
        let parts = cluster.partitions_at(0, 0);
        let disk = cluster.home(0, parts[0], 0);
        let going = Going::with(cluster, disk, &parts[..1]);
        going.pass(Moment::Before, batch).ended(0);
        let has = |disk: &Disk, name: &str| going.ghost.folder(disk).join(format!("{name}.data")).exists();
        let mut others = going.cluster.disks().iter().filter(|disk| disk.node != 0);
        assert!(others.clone().all(|disk| !has(disk, &time(1))), "what was deleted is back, {batch} in a run");
        assert!(others.any(|disk| has(disk, &time(2))), "nothing arrived, {batch} in a run");
    }
}
