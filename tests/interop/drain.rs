//! `drain_full_first`: real devices that are almost full get rid of their hand-offs before anything else is done.

use std::fs;

use crate::support::cluster::Spec;
use crate::support::object::time;
use crate::support::replicator::Which;

/// Every device has this size, in megabytes.
const SIZE: usize = 8;

#[test]
fn the_hand_offs_of_an_almost_full_device_go_before_those_of_another() {
    let cluster = Spec::nodes(4).devices(2).in_memory(SIZE as u32).lease();
    let disks: Vec<_> = cluster.disks_of(0).cloned().collect();
    let mut misplaced = Vec::new();
    for disk in &disks {
        let strange = (0..cluster.partition_count(0)).filter(|part| !cluster.primaries(0, *part).contains(disk));
        for part in strange.take(4) {
            cluster.put(disk, &cluster.object_in(0, part), &time(1), b"far from home");
            misplaced.push((disk, part));
        }
    }
    // The one that is listed last.
    let full = &disks[1];
    fs::write(full.path.join("ballast"), vec![0; SIZE * 15 / 16 * (1 << 20) + (1 << 19)])
        .expect("there is room for it");
    let pass = cluster.pass(Which::Ours, 0).set("drain_full_first", "yes").set("rsync_batch", 1);
    let outcome = pass.run();
    outcome.clean().says(&format!("Device {} is 9", full.name)).says("% full: it goes first, and there its hand-offs");
    let removed: Vec<_> = outcome.messages().filter(|line| line.starts_with("Removing partition: ")).collect();
    assert_eq!(removed.len(), misplaced.len(), "{}", outcome.all());
    let of_full = full.path.display().to_string();
    assert!(removed[..4].iter().all(|line| line.contains(&of_full)), "{removed:?}");
    assert!(misplaced.iter().all(|(disk, part)| !disk.partition(0, *part).exists()));
}
