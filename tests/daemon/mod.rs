//! A replicator that runs for long: how it ends, what it does while disks, peers, rings and syslog come and go, and that
//! each bad one costs its own share only.

mod danger;
mod ends;
mod first;
mod groups;
mod hangs;
mod input;
mod orders;
mod passes;
mod peers;
mod reload;
mod reports;
mod rings;
mod swift_init;
mod watchdog;

use std::fs;

use crate::support::cluster::{Cluster, Disk};
use crate::support::object::{Object, time};

/// An object of a partition, on this device only.
fn put_in(cluster: &Cluster, disk: &Disk, part: u32) -> Object {
    let object = cluster.object_in(0, part);
    cluster.put(disk, &object, &time(1), b"to be replicated");
    object
}

/// An object in every partition that belongs on this device, on it only.
fn put_everywhere_on(cluster: &Cluster, disk: &Disk) -> Vec<Object> {
    partitions_of(cluster, disk).into_iter().map(|part| put_in(cluster, disk, part)).collect()
}

fn partitions_of(cluster: &Cluster, disk: &Disk) -> Vec<u32> {
    (0..cluster.partition_count(0)).filter(|&part| cluster.primaries(0, part).contains(disk)).collect()
}

/// Makes a partition with one small file in it, as an object server would leave it, but that nobody will read.
fn fake_partition(disk: &Disk, part: u32) {
    let hash = format!("{part:0>29}abc");
    let folder = disk.partition(0, part).join("abc").join(hash);
    fs::create_dir_all(&folder).expect("the device is writable");
    fs::write(folder.join(format!("{}.data", time(1))), b"x").expect("the device is writable");
}

/// Whether every primary on another node has a file of the object. (The first node's own disk may hang just now.)
fn is_everywhere(cluster: &Cluster, object: &Object) -> bool {
    cluster.peers(object.policy, object.partition, 0).iter().all(|disk| !object.files(disk).is_empty())
}
