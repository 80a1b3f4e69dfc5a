//! The cluster of the cells: one node that replicates, and two that are its targets.
//!
//! The first node has two devices, and so have the others. A cell uses ten partitions, eight on the first device and two on
//! the second: those of the update belong there and on one device of another node, those of hand-offs belong on a device
//! of each of the other nodes. Where something is wrong with one partition, it is [`Flow::bad`]; where something is wrong
//! at the target, it is the first device of the second node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::cells::{Cell, Flow};
use crate::chaos::devices::{self, Device, Medium};
use crate::chaos::model::{Deed, Moment};
use crate::chaos::proxy::{Proxy, REPLICATION_PORT};
use crate::chaos::{census, stock, whole};
use crate::support::cluster::{Disk, HASH_PREFIX, HASH_SUFFIX, Network, disks};
use crate::support::guard::{Scratch, must, need_etc_swift};
use crate::support::lab;
use crate::support::node::{Node, NodeSpec, OBJECT_PORT};
use crate::support::object::{Object, time};

/// How many bits of a hash make the partition.
const PART_POWER: u32 = 5;
/// The node whose replicator runs.
pub const HERE: usize = 0;
/// The node at which something is wrong.
pub const TARGET: usize = 1;
/// The one at which nothing is.
const OTHER: usize = 2;

impl Flow {
    /// The partitions that a cell uses; the last two are on the second device.
    pub fn partitions(self) -> std::ops::Range<u32> {
        match self {
            Self::Update => 0..10,
            Self::Revert => 16..26,
        }
    }

    /// The partition with which something is wrong; it goes to the device with which something is wrong.
    pub fn bad(self) -> u32 {
        match self {
            Self::Update => 4,
            Self::Revert => 20,
        }
    }

    /// The place of the local device of a partition.
    fn device(self, part: u32) -> usize {
        usize::from(part >= self.partitions().end - 2)
    }
}

/// The cluster.
pub struct Lab {
    pub nodes: Vec<Node>,
    pub disks: Vec<Disk>,
    pub devices: Vec<Device>,
    /// The front of the second node.
    pub proxy: Proxy,
    /// An object for each partition.
    objects: Vec<Object>,
    _network: Network,
    /// Last, so that it is removed when the servers are gone.
    scratch: Scratch,
}

impl Lab {
    /// Starts the servers of the targets. `None` if devices cannot be made here.
    pub fn start() -> Option<Self> {
        need_etc_swift();
        let (network, scratch) = (Network::claim(), Scratch::new("m"));
        if !devices::are_possible(scratch.path()) {
            return None;
        }
        let etc = scratch.path().join("etc");
        let conf = format!(
            "[swift-hash]\nswift_hash_path_prefix = {HASH_PREFIX}\nswift_hash_path_suffix = {HASH_SUFFIX}\n\
             [storage-policy:0]\nname = policy-0\ndefault = yes\n"
        );
        fs::create_dir(&etc).and_then(|()| fs::write(etc.join("swift.conf"), conf)).expect("a new folder");
        let mut nodes: Vec<Node> = (0..3).map(|place| new_node(&scratch, &network, place, &etc)).collect();
        let disks = disks(&nodes);
        let devices = disks.iter().map(|disk| new_device(&scratch, disk)).collect();
        lab::assign_ring(&etc.join("object.ring.gz"), 1, PART_POWER, &rows(), &ring_devices(&disks));
        nodes[TARGET..].iter_mut().for_each(Node::start);
        nodes.iter().for_each(Node::wait);
        let proxy = Proxy::start(nodes[TARGET].address);
        Some(Self { proxy, nodes, disks, devices, objects: objects(), _network: network, scratch })
    }

    /// A folder beside those of the nodes.
    pub fn aside(&self) -> PathBuf {
        let folder = self.scratch.path().join("aside");
        fs::create_dir_all(&folder).expect("the cluster's folder is writable");
        folder
    }

    /// Empties every device, and stores a cell's objects on the first node.
    pub fn stock(&self, cell: &Cell) {
        for device in &self.devices {
            must(Command::new("find").arg(device.medium()).args(["-mindepth", "1", "-delete"]));
            for folder in ["objects", "tmp"] {
                fs::create_dir(device.medium().join(folder)).expect("the device is writable");
            }
        }
        must(Command::new("find").arg(self.aside()).args(["-mindepth", "1", "-delete"]));
        for part in cell.flow.partitions() {
            let file = self.file(part, self.home(cell, part));
            fs::create_dir_all(file.parent().expect("a file is in a folder")).expect("the device is writable");
            stock::write_data(&file, &self.objects[part as usize].name, moment()).expect("the device is writable");
        }
    }

    /// The local device that has a partition.
    pub fn home(&self, cell: &Cell, part: u32) -> &Disk {
        &self.disks[cell.flow.device(part)]
    }

    /// The devices of other nodes that a partition belongs on.
    pub fn targets(&self, part: u32) -> impl Iterator<Item = &Disk> {
        let rows = rows();
        rows.into_iter().map(move |row| &self.disks[row[part as usize] as usize]).filter(|disk| disk.node != HERE)
    }

    /// The file of a partition's object on a device.
    pub fn file(&self, part: u32, disk: &Disk) -> PathBuf {
        self.objects[part as usize].folder(disk).join(format!("{}.data", moment()))
    }

    /// Whether a device has a partition's object, whole.
    pub fn has(&self, part: u32, disk: &Disk) -> bool {
        let file = self.medium(&self.file(part, disk), disk);
        whole::is_whole(&self.objects[part as usize].name, &file, moment(), Deed::Put)
    }

    /// Whether the first node has a partition's object in quarantine, whole.
    pub fn has_in_quarantine(&self, part: u32) -> bool {
        let object = &self.objects[part as usize];
        let is_it = |file: &PathBuf| {
            file.to_string_lossy().contains(&object.hash) && whole::is_whole(&object.name, file, moment(), Deed::Put)
        };
        census::files_below(&self.devices[0].medium().join("quarantined")).iter().any(is_it)
    }

    /// Whether a device has something in quarantine.
    pub fn has_quarantine(&self, disk: usize) -> bool {
        self.devices[disk].medium().join("quarantined").exists()
    }

    /// The same file by the way of the medium, on which nothing is mounted.
    fn medium(&self, file: &Path, disk: &Disk) -> PathBuf {
        let below = file.strip_prefix(&disk.path).expect("a file of the device");
        self.devices[disk.id as usize].medium().join(below)
    }

    /// Begins with new servers at the target: who used a disk that hung may have come to a standstill.
    pub fn restart_target(&mut self) {
        let node = &mut self.nodes[TARGET];
        node.stop_object_server();
        node.stop_rsync_daemon();
        node.start();
        node.wait();
    }
}

fn moment() -> Moment {
    Moment::parse(&time(0)).expect("a time")
}

fn new_node(scratch: &Scratch, network: &Network, place: usize, etc: &Path) -> Node {
    let zone = u32::try_from(place).expect("few nodes") + 1;
    let spec = NodeSpec { region: 1, zone, devices: 2, serving: place != HERE, memory: None, removable: true };
    let node = Node::new(scratch.path().join(format!("n{place}")), network.host(place), spec, etc);
    devices::share(&node.devices());
    devices::look_below(&node.devices(), &scratch.path().join(format!("n{place}/below")));
    node
}

fn new_device(scratch: &Scratch, disk: &Disk) -> Device {
    let folder = scratch.path().join(format!("n{}", disk.node));
    let [medium, below] = ["media", "below"].map(|part| folder.join(part).join(&disk.name));
    Device::make(disk.path.clone(), below, medium, Medium::Memory, &["objects".to_owned()])
}

/// The two rows of the ring.
fn rows() -> Vec<Vec<u32>> {
    let device = |node: usize, place: u32| 2 * u32::try_from(node).expect("few nodes") + place;
    let row = |replica: usize| {
        (0..1 << PART_POWER).map(move |part| match (Flow::Update.partitions().contains(&part), replica) {
            (true, 0) => device(HERE, u32::from(part >= 8)),
            (true, _) => device(if part % 4 < 2 { TARGET } else { OTHER }, part % 2),
            (false, 0) => device(TARGET, part % 2),
            (false, _) => device(OTHER, part % 2),
        })
    };
    (0..2).map(|replica| row(replica).collect()).collect()
}

fn ring_devices(disks: &[Disk]) -> Vec<Value> {
    let describe = |disk: &Disk| {
        let port = if disk.node == TARGET { REPLICATION_PORT } else { OBJECT_PORT };
        json!({
            "id": disk.id, "region": 1, "zone": disk.node + 1, "weight": 100, "ip": disk.address, "port": OBJECT_PORT,
            "replication_ip": disk.address, "replication_port": port, "device": disk.name, "meta": "",
        })
    };
    disks.iter().map(describe).collect()
}

/// The first object that falls into each partition.
fn objects() -> Vec<Object> {
    let object = |number| Object::new(&format!("AUTH_matrix/c/object-{number}"), 0, PART_POWER);
    let first = |part: u32| (0..).map(object).find(|object| object.partition == part).expect("names go on");
    (0..1 << PART_POWER).map(first).collect()
}
