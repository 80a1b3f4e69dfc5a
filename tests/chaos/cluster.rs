//! The cluster of a run: real object servers and rsync daemons on nodes with removable devices, a front before each
//! object server, a replicator on each node, and rings that each node has for itself.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::devices::{self, Device, Medium};
use super::images::{self, Image};
use super::proxy::{Proxy, REPLICATION_PORT};
use super::removals::Watch;
use super::replicator::Replicators;
use super::rings::{POLICIES, Rings};
use super::rsync::NodeRsync;
use super::world::World;
use crate::support::cluster::{Disk, HASH_PREFIX, HASH_SUFFIX, Network, datadir, disks};
use crate::support::guard::{Scratch, must, need_etc_swift, until};
use crate::support::lab;
use crate::support::node::{Node, NodeSpec, OBJECT_PORT, RSYNC_PORT};

/// How many nodes there are; half of them in one region, half in another.
pub const NODES: usize = 4;
/// How many devices each has.
const DEVICES: usize = 2;

/// What runs, and what it runs on.
pub struct Cluster {
    pub world: Arc<World>,
    pub watch: Arc<Watch>,
    pub nodes: Vec<Node>,
    pub replicators: Vec<Replicators>,
    pub rsyncs: Vec<NodeRsync>,
    pub proxies: Vec<Proxy>,
    /// By id.
    pub devices: Vec<Device>,
    _network: Network,
    /// Last, so that it is removed when the servers are gone.
    scratch: Scratch,
}

/// What a cluster is made from.
pub struct Order<'a> {
    /// How many objects each policy has.
    pub objects: [usize; POLICIES.len()],
    /// Options of the replicators.
    pub options: &'a [(&'a str, String)],
    /// The `sync_method` of the first node, the second, and so on, over again if there are more nodes.
    pub methods: &'a [&'a str],
    /// Whether the devices of the last node are images, if that can be had here.
    pub images: bool,
}

/// The node whose devices may be images.
const IMAGES_NODE: usize = NODES - 1;
/// The ids of its devices.
pub const IMAGES: [u32; DEVICES] = [6, 7];

impl Cluster {
    /// Starts everything but the replicators. `None` if devices cannot be made here.
    pub fn start(order: &Order<'_>, rng: &mut fastrand::Rng) -> Option<Self> {
        need_etc_swift();
        let (network, scratch) = (Network::claim(), Scratch::new("x"));
        if !devices::are_possible(scratch.path()) {
            return None;
        }
        let mut nodes: Vec<Node> = (0..NODES).map(|place| new_node(&scratch, &network, place)).collect();
        let mut disks = disks(&nodes);
        let images = order.images && images::are_possible(scratch.path());
        let is_image = |disk: &Disk| images && disk.node == IMAGES_NODE;
        let devices: Vec<Device> = disks.iter().map(|disk| new_device(&scratch, disk, is_image(disk))).collect();
        for (disk, device) in disks.iter_mut().zip(&devices) {
            device.medium().clone_into(&mut disk.path);
        }
        let nodes_of_disks: Vec<usize> = disks.iter().map(|disk| disk.node).collect();
        let rings = Rings::first(&nodes_of_disks, rng);
        let world = Arc::new(World::new(disks, NODES, &order.objects, rings.clone()));
        let watch = Watch::start(&world);
        nodes.iter_mut().for_each(Node::start);
        nodes.iter().for_each(Node::wait);
        let replicators = nodes.iter().enumerate();
        let cluster = Self {
            replicators: replicators
                .map(|(n, node)| {
                    let method = ("sync_method", order.methods[n % order.methods.len()].to_owned());
                    Replicators::new(node, n, Arc::clone(&watch), &[order.options, &[method]].concat())
                })
                .collect(),
            rsyncs: (0..NODES).map(|n| NodeRsync::install(scratch.path().join(format!("rsync-{n}")))).collect(),
            proxies: nodes.iter().map(|node| Proxy::start(node.address)).collect(),
            world,
            watch,
            nodes,
            devices,
            _network: network,
            scratch,
        };
        (0..NODES).for_each(|node| cluster.write_rings(node, &rings));
        Some(cluster)
    }

    /// The node whose devices are images, if one's are.
    pub fn images_node(&self) -> Option<usize> {
        self.devices[IMAGES[0] as usize].image().map(|_| IMAGES_NODE)
    }

    /// Has images written what they have until now.
    pub fn sync_images(&self) {
        for device in self.devices.iter().filter(|device| device.image().is_some()) {
            must(Command::new("sync").arg("--file-system").arg(device.medium()));
        }
    }

    /// Starts the replicators that do not run.
    pub fn start_replicators(&self) {
        (0..NODES).for_each(|node| self.start_replicator(node));
    }

    /// Starts a node's replicator, if it does not run.
    pub fn start_replicator(&self, node: usize) {
        self.replicators[node].start(&self.nodes[node], &self.rsyncs[node]);
    }

    /// Gives a node new rings.
    pub fn install_rings(&self, node: usize, rings: &Arc<Rings>) {
        self.watch.look_before(node, rings);
        // Between the two a replicator may go by either.
        self.world.note_rings(node, rings);
        self.write_rings(node, rings);
    }

    /// Begins with new servers, as after a reboot. An object server can have come to a standstill by then: eventlet lets
    /// threads that log at the same time wait for each other for ever ("Cannot switch to a different thread").
    pub fn restart_servers(&mut self) {
        self.nodes.iter_mut().for_each(restart);
        self.await_servers();
    }

    /// Waits until all servers take requests. One that has only just been killed may still have its port when the next
    /// one wants it; then that is started again.
    fn await_servers(&mut self) {
        for node in &mut self.nodes {
            let addresses = [node.object_address(), (node.address, RSYNC_PORT).into()];
            let is_up = || addresses.iter().all(|address| TcpStream::connect(address).is_ok());
            if !until(Duration::from_secs(15), is_up) {
                self.world.count("servers started again");
                restart(node);
            }
            node.wait();
        }
    }

    fn write_rings(&self, node: usize, rings: &Rings) {
        for (place, policy) in POLICIES.iter().enumerate() {
            let name = if policy.index == 0 { "object".to_owned() } else { format!("object-{}", policy.index) };
            let path = self.nodes[node].etc().join(format!("{name}.ring.gz"));
            lab::assign_ring(&path, 1, policy.part_power, rings.rows(place), &self.ring_devices());
        }
    }

    fn ring_devices(&self) -> Vec<Value> {
        let describe = |disk: &Disk| {
            let spec = &self.nodes[disk.node].spec;
            json!({
                "id": disk.id, "region": spec.region, "zone": spec.zone, "weight": 100, "ip": disk.address,
                "port": OBJECT_PORT, "replication_ip": disk.address, "replication_port": REPLICATION_PORT,
                "device": disk.name, "meta": "",
            })
        };
        self.world.disks.iter().map(describe).collect()
    }

    /// The folder of everything, which the command lines of all its processes name.
    pub fn folder(&self) -> PathBuf {
        self.scratch.path().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.world.is_over.store(true, Ordering::Relaxed);
    }
}

/// Kills a node's servers and starts new ones.
fn restart(node: &mut Node) {
    node.stop_object_server();
    node.stop_rsync_daemon();
    node.start();
}

fn new_node(scratch: &Scratch, network: &Network, place: usize) -> Node {
    let etc = scratch.path().join(format!("etc-{place}"));
    fs::create_dir(&etc).expect("the cluster's folder is writable");
    fs::write(etc.join("swift.conf"), swift_conf()).expect("the cluster's folder is writable");
    let zone = u32::try_from(place).expect("few nodes") + 1;
    let region = if place < NODES / 2 { 1 } else { 2 };
    let spec = NodeSpec { region, zone, devices: DEVICES, serving: true, memory: None, removable: true };
    let node = Node::new(scratch.path().join(format!("n{place}")), network.host(place), spec, &etc);
    devices::share(&node.devices());
    devices::share(&scratch.path().join(format!("n{place}/media")));
    devices::look_below(&node.devices(), &scratch.path().join(format!("n{place}/below")));
    node
}

fn new_device(scratch: &Scratch, disk: &Disk, is_image: bool) -> Device {
    let folder = scratch.path().join(format!("n{}", disk.node));
    let [medium, below] = ["media", "below"].map(|part| folder.join(part).join(&disk.name));
    let kind =
        if is_image { Medium::Image(Image::make(folder.join(format!("{}.img", disk.name)))) } else { Medium::Memory };
    Device::make(disk.path.clone(), below, medium, kind, &POLICIES.map(|policy| datadir(policy.index)))
}

fn swift_conf() -> String {
    let head =
        format!("[swift-hash]\nswift_hash_path_prefix = {HASH_PREFIX}\nswift_hash_path_suffix = {HASH_SUFFIX}\n");
    POLICIES.iter().fold(head, |conf, policy| {
        let default = if policy.index == 0 { "default = yes\n" } else { "" };
        format!("{conf}[storage-policy:{0}]\nname = policy-{0}\n{default}", policy.index)
    })
}
