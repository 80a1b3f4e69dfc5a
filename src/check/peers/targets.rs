//! Whom to ask what: every device of the rings, node by node.

use std::collections::{BTreeMap, HashMap};

use crate::check::rings::PolicyRing;
use crate::names::{Partition, PolicyIndex};
use crate::peer::authority;
use crate::ring::Device;

/// A device in a policy, with a partition that the ring gives it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub device: Device,
    pub policy: PolicyIndex,
    /// If there is one, one that a device of this machine has too, so that a pass would ask the same.
    pub partition: Partition,
}

impl Target {
    /// How findings name it.
    pub(super) fn name(&self) -> String {
        match self.policy.number() {
            0 => self.device.device.clone(),
            _ => format!("{}/{}", self.device.device, self.policy.datadir()),
        }
    }
}

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    /// Its address on the replication network.
    pub host: String,
    /// It is this machine.
    pub is_here: bool,
    /// Its object servers by their addresses: one, or one for each device.
    pub servers: BTreeMap<String, Vec<Target>>,
}

impl Node {
    /// Everything on it.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.servers.values().flatten()
    }
}

/// The nodes of the rings, with every device that holds partitions.
pub(super) fn nodes(rings: &[PolicyRing]) -> Vec<Node> {
    let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
    for ring in rings {
        let mut partitions = partitions(ring);
        for device in ring.ring.devices.iter().flatten() {
            let Some((partition, _)) = partitions.remove(&device.id) else { continue };
            let host = device.replication_ip.clone();
            let node =
                nodes.entry(host.clone()).or_insert_with(|| Node { host, is_here: false, servers: BTreeMap::new() });
            node.is_here |= ring.local.contains(&device.id);
            let target = Target { device: device.clone(), policy: ring.policy.index, partition };
            node.servers.entry(authority(device)).or_default().push(target);
        }
    }
    nodes.into_values().collect()
}

/// A partition of each device, and whether this machine has it, too.
fn partitions(PolicyRing { ring, local, .. }: &PolicyRing) -> HashMap<u32, (Partition, bool)> {
    let mut partitions: HashMap<u32, (Partition, bool)> = HashMap::new();
    for partition in (0..ring.partition_count()).map(Partition::new) {
        let primaries = ring.primaries(partition).unwrap_or_default();
        let is_shared = primaries.iter().any(|device| local.contains(&device.id));
        for device in primaries {
            let known = partitions.entry(device.id).or_insert((partition, is_shared));
            if is_shared && !known.1 {
                *known = (partition, true);
            }
        }
    }
    partitions
}
