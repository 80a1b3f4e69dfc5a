//! A real Swift cluster on loopback: object servers, rsync daemons, rings.
//!
//! Every node has an address of its own (`127.x.y.N`), so that the usual ports and the usual `rsync_module` do. A
//! cluster costs a second or two to start, so tests borrow one from a pool ([`Spec::lease`]): a test has it for itself
//! and finds it empty; what it stopped, mounted or overwrote is mended before the next one gets it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::guard::{Scratch, must, need_etc_swift};
use super::lab::{self, Primaries, RingOrder};
use super::node::{Node, NodeSpec, OBJECT_PORT, device_name};

/// What is hashed with the names of objects, as `swift.conf` says it.
pub const HASH_PREFIX: &str = "before";
/// See [`HASH_PREFIX`].
pub const HASH_SUFFIX: &str = "after";

/// A storage policy and its ring.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySpec {
    pub index: u32,
    pub replicas: f64,
    pub part_power: u32,
}

/// What a cluster is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub nodes: Vec<NodeSpec>,
    pub policies: Vec<PolicySpec>,
    /// The format of the ring files: 1 or 2.
    pub ring_version: u8,
}

impl Spec {
    /// So many nodes of one region, each a zone of its own with one device; one policy with three replicas.
    pub fn nodes(count: usize) -> Self {
        let node = NodeSpec { region: 1, zone: 1, devices: 1, serving: true, memory: None, removable: false };
        let zoned = |place| NodeSpec { zone: u32::try_from(place).expect("few nodes") + 1, ..node.clone() };
        let policies = vec![PolicySpec { index: 0, replicas: 3.0, part_power: 4 }];
        Self { nodes: (0..count).map(zoned).collect(), policies, ring_version: 1 }
    }

    /// With so many devices per node.
    pub fn devices(mut self, count: usize) -> Self {
        self.nodes.iter_mut().for_each(|node| node.devices = count);
        self
    }

    /// With so many replicas in every policy.
    pub fn replicas(mut self, replicas: f64) -> Self {
        self.policies.iter_mut().for_each(|policy| policy.replicas = replicas);
        self
    }

    /// With 2^`power` partitions in every policy.
    pub fn part_power(mut self, power: u32) -> Self {
        self.policies.iter_mut().for_each(|policy| policy.part_power = power);
        self
    }

    /// With the nodes in these regions.
    pub fn regions(mut self, regions: &[u32]) -> Self {
        self.nodes.iter_mut().zip(regions).for_each(|(node, region)| node.region = *region);
        self
    }

    /// With one more policy, like the first.
    pub fn policy(mut self, index: u32) -> Self {
        self.policies.push(PolicySpec { index, ..self.policies[0].clone() });
        self
    }

    /// With nothing running on these nodes.
    pub fn silent(mut self, nodes: &[usize]) -> Self {
        nodes.iter().for_each(|&node| self.nodes[node].serving = false);
        self
    }

    /// With devices of one megabyte on this node.
    pub fn tiny(mut self, node: usize) -> Self {
        self.nodes[node].memory = Some(1);
        self
    }

    /// With every device in memory, with room for so many megabytes.
    pub fn in_memory(mut self, megabytes: u32) -> Self {
        self.nodes.iter_mut().for_each(|node| node.memory = Some(megabytes));
        self
    }

    /// With ring files of this format.
    pub fn ring_version(mut self, version: u8) -> Self {
        self.ring_version = version;
        self
    }

    /// A cluster like this, for the caller alone and empty: one that an earlier test gave back, or a new one.
    pub fn lease(&self) -> Lease {
        let idle = {
            let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            let found = pool.iter().position(|cluster| cluster.spec == *self);
            found.map(|place| pool.remove(place))
        };
        let cluster = match idle {
            Some(mut cluster) => {
                cluster.mend();
                cluster
            }
            None => Cluster::start(self.clone()),
        };
        Lease { cluster: Some(cluster) }
    }
}

/// Clusters that wait for their next user, the longest waiting first.
static POOL: Mutex<Vec<Cluster>> = Mutex::new(Vec::new());
/// More idle clusters than this are not kept: their servers' memory adds up.
const MOST_IDLE: usize = 8;

/// A cluster borrowed from the pool.
pub struct Lease {
    cluster: Option<Cluster>,
}

impl Deref for Lease {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster.as_ref().expect("only dropping takes it")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("only dropping takes it")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(cluster) = self.cluster.take() else { return };
        if std::thread::panicking() {
            return;
        }
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        pool.push(cluster);
        let surplus = pool.len().saturating_sub(MOST_IDLE);
        let retired: Vec<Cluster> = pool.drain(..surplus).collect();
        drop(pool);
        drop(retired);
    }
}

/// A device of a cluster's rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its id in every ring.
    pub id: u32,
    /// Its node's place in the cluster.
    pub node: usize,
    pub region: u32,
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// Its node's address.
    pub address: Ipv4Addr,
}

impl Disk {
    /// The folder of a partition on it.
    pub fn partition(&self, policy: u32, partition: u32) -> PathBuf {
        self.path.join(datadir(policy)).join(partition.to_string())
    }

    /// How Swift's log lines name it: `ip:port/device`.
    pub fn node_string(&self) -> String {
        format!("{}:{OBJECT_PORT}/{}", self.address, self.name)
    }
}

/// A policy's name for something that has a plain name in policy 0.
fn of_policy(base: &str, policy: u32) -> String {
    if policy == 0 { base.to_owned() } else { format!("{base}-{policy}") }
}

/// The folder of a device that holds a policy's partitions.
pub fn datadir(policy: u32) -> String {
    of_policy("objects", policy)
}

/// A running cluster.
pub struct Cluster {
    pub nodes: Vec<Node>,
    spec: Spec,
    disks: Vec<Disk>,
    /// By place in `spec.policies`.
    primaries: Vec<Primaries>,
    network: Network,
    /// Last, so that it is removed when the servers are gone.
    scratch: Scratch,
}

impl Cluster {
    fn start(spec: Spec) -> Self {
        need_etc_swift();
        let (network, scratch) = (Network::claim(), Scratch::new("c"));
        let etc = scratch.path().join("etc");
        fs::create_dir(&etc).expect("the cluster's folder is writable");
        let nodes = spec
            .nodes
            .iter()
            .enumerate()
            .map(|(n, node)| Node::new(scratch.path().join(format!("n{n}")), network.host(n), node.clone(), &etc))
            .collect::<Vec<_>>();
        let disks = disks(&nodes);
        let mut cluster = Self { nodes, spec, disks, primaries: Vec::new(), network, scratch };
        cluster.mend();
        cluster
    }

    /// Brings the cluster into the state that a test may expect.
    fn mend(&mut self) {
        fs::write(self.etc().join("swift.conf"), self.swift_conf()).expect("the cluster's folder is writable");
        // Servers read the rings when they start, or look for them later; swift.conf must be there before.
        self.nodes.iter_mut().filter(|node| node.spec.serving).for_each(Node::start);
        self.primaries = self.spec.policies.iter().map(|policy| self.build_ring(policy, false)).collect();
        for node in &self.nodes {
            empty(&node.recon());
            empty(&node.runs());
            for device in node.device_paths() {
                fs::create_dir_all(&device).expect("the node's folder is writable");
                empty(&device);
                for policy in &self.spec.policies {
                    fs::create_dir(device.join(datadir(policy.index))).expect("the device is writable");
                }
            }
        }
        self.nodes.iter().for_each(Node::wait);
    }

    /// The folder that stands for `/etc/swift`.
    pub fn etc(&self) -> PathBuf {
        self.scratch.path().join("etc")
    }

    /// A policy's ring file.
    pub fn ring(&self, policy: u32) -> PathBuf {
        self.etc().join(format!("{}.ring.gz", of_policy("object", policy)))
    }

    /// Every device, by id.
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// The devices of one node.
    pub fn disks_of(&self, node: usize) -> impl Iterator<Item = &Disk> {
        self.disks.iter().filter(move |disk| disk.node == node)
    }

    /// How many partitions a policy has.
    pub fn partition_count(&self, policy: u32) -> u32 {
        1 << self.policy(policy).1.part_power
    }

    /// The devices that a partition belongs on, in the ring's order.
    pub fn primaries(&self, policy: u32, partition: u32) -> Vec<Disk> {
        let ids = &self.primaries[self.policy(policy).0][partition as usize];
        ids.iter().map(|&id| self.disks[id as usize].clone()).collect()
    }

    /// The device of a node that a partition belongs on.
    pub fn home(&self, policy: u32, partition: u32, node: usize) -> Disk {
        let mut primaries = self.primaries(policy, partition).into_iter();
        primaries.find(|disk| disk.node == node).expect("the partition belongs on the node")
    }

    /// The devices of other nodes that a partition belongs on, in the ring's order.
    pub fn peers(&self, policy: u32, partition: u32, node: usize) -> Vec<Disk> {
        self.primaries(policy, partition).into_iter().filter(|disk| disk.node != node).collect()
    }

    /// The other devices, in the order in which they would be asked.
    pub fn handoffs(&self, policy: u32, partition: u32) -> Vec<Disk> {
        let ids = lab::handoffs(&self.ring(policy), partition);
        ids.iter().map(|&id| self.disks[id as usize].clone()).collect()
    }

    /// The partitions that belong on some device of a node.
    pub fn partitions_at(&self, policy: u32, node: usize) -> Vec<u32> {
        let at_home = |part: &u32| self.primaries(policy, *part).iter().any(|disk| disk.node == node);
        (0..self.partition_count(policy)).filter(at_home).collect()
    }

    /// A partition with a device of the node that it does not belong on.
    pub fn misplaced_at(&self, policy: u32, node: usize) -> (u32, Disk) {
        let strange = |part: u32| {
            let primaries = self.primaries(policy, part);
            self.disks_of(node).find(|disk| !primaries.contains(disk)).map(|disk| (part, disk.clone()))
        };
        (0..self.partition_count(policy)).find_map(strange).expect("a device that is no primary of something")
    }

    /// A policy's place and description.
    fn policy(&self, index: u32) -> (usize, &PolicySpec) {
        let found = self.spec.policies.iter().enumerate().find(|(_, policy)| policy.index == index);
        found.expect("a policy of the cluster")
    }

    /// How many bits of a hash make the partition.
    pub fn part_power(&self, policy: u32) -> u32 {
        self.policy(policy).1.part_power
    }

    /// An address of the cluster where nobody lives.
    pub fn spare_address(&self) -> Ipv4Addr {
        self.network.host(200)
    }

    /// The devices as Swift's rings describe them.
    pub fn ring_devices(&self) -> Vec<Value> {
        let describe = |disk: &Disk| {
            json!({
                "id": disk.id, "region": disk.region, "zone": self.nodes[disk.node].spec.zone, "weight": 100,
                "ip": disk.address, "port": OBJECT_PORT, "replication_ip": disk.address,
                "replication_port": OBJECT_PORT, "device": disk.name, "meta": "",
            })
        };
        self.disks.iter().map(describe).collect()
    }

    fn build_ring(&self, policy: &PolicySpec, next_part_power: bool) -> Primaries {
        lab::build_ring(&RingOrder {
            path: &self.ring(policy.index),
            version: self.spec.ring_version,
            part_power: policy.part_power,
            replicas: policy.replicas,
            devices: &self.ring_devices(),
            seed: u64::from(policy.index),
            next_part_power,
        })
    }

    /// Writes a policy's ring anew, saying that its part power is about to grow.
    pub fn announce_next_part_power(&mut self, policy: u32) {
        self.build_ring(self.policy(policy).1, true);
    }

    /// Writes a policy's ring anew with these rows of device ids.
    pub fn assign_ring(&mut self, policy: u32, rows: &[Vec<u32>]) {
        let (place, &PolicySpec { part_power, .. }) = self.policy(policy);
        let path = self.ring(policy);
        self.primaries[place] = lab::assign_ring(&path, self.spec.ring_version, part_power, rows, &self.ring_devices());
    }

    /// The rows of a policy's ring; a fractional last row is shorter.
    pub fn rows(&self, policy: u32) -> Vec<Vec<u32>> {
        let primaries = &self.primaries[self.policy(policy).0];
        let count = primaries.iter().map(Vec::len).max().expect("partitions");
        (0..count).map(|row| primaries.iter().filter_map(|ids| ids.get(row).copied()).collect()).collect()
    }

    fn swift_conf(&self) -> String {
        let head =
            format!("[swift-hash]\nswift_hash_path_prefix = {HASH_PREFIX}\nswift_hash_path_suffix = {HASH_SUFFIX}\n");
        self.spec.policies.iter().fold(head, |conf, &PolicySpec { index, .. }| {
            let default = if index == 0 { "default = yes\n" } else { "" };
            format!("{conf}[storage-policy:{index}]\nname = policy-{index}\n{default}")
        })
    }
}

/// The devices of nodes, with the ids that they have in every ring.
pub fn disks(nodes: &[Node]) -> Vec<Disk> {
    let places =
        nodes.iter().enumerate().flat_map(|(n, node)| (0..node.spec.devices).map(move |place| (n, node, place)));
    places
        .zip(0..)
        .map(|((n, node, place), id)| {
            let name = device_name(place);
            let path = node.devices().join(&name);
            Disk { id, node: n, region: node.spec.region, name, path, address: node.address }
        })
        .collect()
}

/// Removes what is in a folder, but not what is mounted there.
fn empty(folder: &Path) {
    let mut find = Command::new("find");
    must(find.arg(folder).args(["-mindepth", "1", "-delete"]));
}

/// A range of loopback addresses that no other cluster of this machine uses.
pub struct Network {
    second: u8,
    third: u8,
    /// Listens where every other cluster with the same range would like to.
    _claim: TcpListener,
}

impl Network {
    /// Finds one.
    pub fn claim() -> Self {
        loop {
            let (second, third) = (fastrand::u8(16..=250), fastrand::u8(..));
            if let Ok(claim) = TcpListener::bind((Ipv4Addr::new(127, second, third, 254), OBJECT_PORT)) {
                return Self { second, third, _claim: claim };
            }
        }
    }

    /// The address of a node by its place.
    pub fn host(&self, place: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, self.second, self.third, u8::try_from(place).expect("few nodes") + 1)
    }
}
