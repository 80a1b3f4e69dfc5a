//! A node whose devices are images goes down and comes up: with what its disks had written, or with a disk that was
//! damaged meanwhile.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use fastrand::Rng;

use super::census;
use super::cluster::Cluster;
use super::images::Image;
use super::rings::POLICIES;
use super::whole;
use super::world::World;

/// The power fails: everything on the node is killed, and its devices come back with what had been written to them.
pub fn without_what_was_not_written(cluster: &mut Cluster, node: usize) {
    let disks: Vec<u32> = cluster.world.disks.iter().filter(|disk| disk.node == node).map(|disk| disk.id).collect();
    // Clients wait meanwhile: an operation that is cut off is tested by killing servers.
    let world = Arc::clone(&cluster.world);
    let gates = disks.iter().map(|&disk| world.gates[disk as usize].write().unwrap_or_else(PoisonError::into_inner));
    let gates: Vec<_> = gates.collect();
    let media = world.media.write().unwrap_or_else(PoisonError::into_inner);
    disks.iter().for_each(|&disk| world.note_suffering(disk));
    cluster.nodes[node].stop_object_server();
    cluster.nodes[node].stop_rsync_daemon();
    for &disk in &disks {
        let device = &cluster.devices[disk as usize];
        let image = device.image().expect("the node's devices are images");
        image.lose_power();
        device.tear_out();
        image.mount(device.medium());
        forget_hashes(&world, disk);
        device.mount();
    }
    drop((media, gates));
    cluster.nodes[node].start();
}

/// An object server notes in `hashes.invalid` that something was stored, after it was stored and without fsync, so after
/// a power loss hashes may be old, and stay so: Swift's own weakness, about which a replicator can do nothing. Without
/// the files all is hashed anew.
fn forget_hashes(world: &World, disk: u32) {
    let disk = world.disk(disk);
    for policy in POLICIES {
        for part in census::partitions(disk, policy.index) {
            for file in ["hashes.pkl", "hashes.invalid"] {
                let _ = fs::remove_file(disk.partition(policy.index, part).join(file));
            }
        }
    }
}

/// The node goes down in good order, something is done to the image of one of its devices, and it comes up again. What is
/// to be done is chosen when nobody is at work on the device any more. `None` if nothing is, or if it cannot be unmounted.
pub fn with_another_disk<C, T>(
    cluster: &mut Cluster,
    disk: u32,
    choose: impl FnOnce(&World) -> Option<C>,
    change: impl FnOnce(&Image, C) -> T,
) -> Option<T> {
    let world = Arc::clone(&cluster.world);
    let node = world.disk(disk).node;
    let gate = world.gates[disk as usize].write().unwrap_or_else(PoisonError::into_inner);
    let media = world.media.write().unwrap_or_else(PoisonError::into_inner);
    world.note_suffering(disk);
    cluster.nodes[node].stop_object_server();
    cluster.nodes[node].stop_rsync_daemon();
    let device = &cluster.devices[disk as usize];
    let changed = choose(&world).filter(|_| device.take_out()).and_then(|choice| {
        let image = device.image().expect("the node's devices are images");
        let changed = image.is_let_go().then(|| change(image, choice));
        image.mount(device.medium());
        changed
    });
    if !is_mounted(device.mount_point()) {
        device.mount();
    }
    drop((media, gate));
    cluster.nodes[node].start();
    changed
}

fn is_mounted(place: &Path) -> bool {
    let device = |place: &Path| fs::metadata(place).map(|meta| meta.dev()).ok();
    device(place) != place.parent().and_then(device)
}

/// The inode of an object's file, or of its folder, on a device; one of which there is a whole copy elsewhere, since the
/// harness promises that no object is only on one disk that cannot be read.
pub fn inode_to_damage(world: &World, disk: u32, folder: bool, rng: &mut Rng) -> Option<u64> {
    let device = world.disk(disk);
    let mut inodes: Vec<u64> = Vec::new();
    for thing in &world.things {
        let home = thing.object.folder(device);
        let Some(here) = whole::state(thing, &home).filter(|state| state.is_stored()) else { continue };
        let elsewhere = world.disks.iter().filter(|other| other.id != disk && other.node != device.node);
        let copies = elsewhere.filter_map(|other| whole::state(thing, &thing.object.folder(other)));
        if copies.filter(|state| state.covers(&here)).count() < 2 {
            continue;
        }
        let file = census::entries(&home).into_iter().find(|file| census::parse(&census::name(file)).is_some());
        let inode = if folder { fs::metadata(&home).ok() } else { file.and_then(|file| fs::metadata(file).ok()) };
        inodes.extend(inode.map(|meta| meta.ino()));
    }
    rng.choice(inodes)
}
