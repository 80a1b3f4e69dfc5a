//! Regions: far away copies are sent once, and squeezed if the operator likes.

use crate::support::cluster::{Disk, Spec};
use crate::support::object::time;
use crate::support::replicator::Which;
use crate::support::rsync::FakeRsync;

both! {
    one_push_goes_to_a_remote_region,
    a_region_that_has_it_all_is_asked_everywhere,
    only_pushes_to_another_region_are_compressed,
    a_hand_off_goes_to_every_primary_of_every_region,
}

/// Two nodes here, two far away, a copy on each.
fn cluster() -> Spec {
    Spec::nodes(4).replicas(4.0).regions(&[1, 1, 2, 2])
}

/// The devices that a run pushed to.
fn targets<'a>(pushes: &[Vec<String>], disks: &'a [Disk]) -> Vec<&'a Disk> {
    let target = |push: &Vec<String>| {
        let module = push.last().expect("arguments").split("::").next().expect("an address").to_owned();
        disks.iter().find(|disk| disk.address.to_string() == module).expect("a device of the cluster")
    };
    pushes.iter().map(target).collect()
}

fn one_push_goes_to_a_remote_region(which: Which) {
    let cluster = cluster().lease();
    let object = cluster.object_in(0, 3);
    cluster.put(&cluster.home(0, 3, 0), &object, &time(1), b"far and wide");
    let rsync = FakeRsync::recording();
    let outcome = cluster.pass(which, 0).rsync(&rsync).run();
    outcome.clean().counts(&[("rsync", 2), ("success", 3), ("failure", 0), ("suffix_sync", 2)]);
    let pushes = rsync.pushes();
    let mut regions: Vec<u32> = targets(&pushes, cluster.disks()).iter().map(|disk| disk.region).collect();
    regions.sort_unstable();
    assert_eq!(regions, [1, 2], "{pushes:?}");
    // The region's other node gets its copy from its neighbour.
    for node in 2..4 {
        cluster.replicate(which, node).clean();
    }
    cluster.assert_everywhere(&object, b"far and wide");
}

fn a_region_that_has_it_all_is_asked_everywhere(which: Which) {
    let cluster = cluster().lease();
    cluster.put_everywhere(&cluster.object_in(0, 3), &time(1), b"far and wide");
    cluster.replicate(which, 0).clean().counts(&[("hashmatch", 3), ("rsync", 0), ("success", 3)]);
}

fn only_pushes_to_another_region_are_compressed(which: Which) {
    let cluster = cluster().lease();
    cluster.put(&cluster.home(0, 3, 0), &cluster.object_in(0, 3), &time(1), b"far and wide");
    let rsync = FakeRsync::recording();
    cluster.pass(which, 0).set("rsync_compress", "yes").rsync(&rsync).run().clean();
    let pushes = rsync.pushes();
    assert_eq!(pushes.len(), 2);
    for (push, target) in pushes.iter().zip(targets(&pushes, cluster.disks())) {
        assert_eq!(push.contains(&"--compress".to_owned()), target.region == 2, "{push:?}");
    }
}

fn a_hand_off_goes_to_every_primary_of_every_region(which: Which) {
    let cluster = Spec::nodes(5).replicas(4.0).regions(&[1, 1, 2, 2, 2]).lease();
    let (part, disk) = cluster.misplaced_at(0, 2);
    let object = cluster.object_in(0, part);
    cluster.put(&disk, &object, &time(1), b"on its way");
    cluster.replicate(which, 2).clean().counts(&[("rsync", 4), ("remove", 1), ("success", 4)]);
    cluster.assert_gone(&disk, 0, part);
    cluster.assert_everywhere(&object, b"on its way");
}
