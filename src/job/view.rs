//! One policy as the jobs of a pass see it: its ring at one moment, and which of its devices are ours.

use std::io;
use std::sync::{Arc, OnceLock};

use crate::config::policies::Policy;
use crate::names::Partition;
use crate::peer::node_string;
use crate::ring::local::Identity;
use crate::ring::lookup::LookupError;
use crate::ring::store::RingFile;
use crate::ring::{Device, Ring};

/// A policy with one state of its ring. Jobs keep the view that they were made from; new jobs get the newest.
pub(crate) struct PolicyView {
    pub policy: Policy,
    pub ring: Arc<Ring>,
    file: Arc<RingFile>,
    /// Ids of the ring's devices that are on this node, in the ring's order.
    local: Vec<u32>,
    /// The devices' names in reports, by id; made when they are first asked for.
    names: Vec<OnceLock<Arc<str>>>,
}

/// Where a partition belongs, seen from a device that holds it.
pub(crate) enum Placement<'r> {
    /// The device is one of the partition's primaries; these are the others.
    Here { others: Vec<&'r Device> },
    /// A hand-off: these are its primaries, at least one.
    Elsewhere { primaries: Vec<&'r Device> },
    /// The ring has no such partition: no copy can be made anywhere, so nothing may be removed (B5.17).
    Nowhere,
}

impl PolicyView {
    /// The policy with this ring, seen from the node with this identity.
    pub(crate) fn new(policy: Policy, file: Arc<RingFile>, ring: Arc<Ring>, identity: &Identity) -> Self {
        let local = identity.local_devices(&ring).map(|device| device.id).collect();
        let names = vec![OnceLock::new(); ring.devices.len()];
        Self { policy, ring, file, local, names }
    }

    /// The devices of the ring that are on this node, in the ring's order.
    pub(crate) fn local_devices(&self) -> impl Iterator<Item = &Device> {
        self.local.iter().filter_map(|&id| self.device(id))
    }

    /// Whether a local device of the ring has this name.
    pub(crate) fn has_disk(&self, disk: &str) -> bool {
        self.local_devices().any(|device| device.device == disk)
    }

    /// The ring's device with this id.
    pub(crate) fn device(&self, id: u32) -> Option<&Device> {
        self.ring.devices.get(id as usize)?.as_ref()
    }

    /// What a device of the ring is called in reports: [`node_string`].
    pub(crate) fn name_of(&self, device: &Device) -> Arc<str> {
        let name = || Arc::from(node_string(device));
        self.names.get(device.id as usize).map_or_else(name, |known| known.get_or_init(name).clone())
    }

    /// The region of a local device.
    pub(crate) fn region_of(&self, disk: &str) -> Option<i64> {
        self.local_devices().find(|device| device.device == disk).map(|device| device.region)
    }

    /// Where the partition belongs, seen from the local device of this name.
    ///
    /// # Errors
    /// [`LookupError`] if the ring gives a replica of the partition to no device, or to one that was removed.
    pub(crate) fn placement(&self, disk: &str, partition: Partition) -> Result<Placement<'_>, LookupError> {
        let mut primaries = self.ring.primaries(partition)?;
        if primaries.is_empty() {
            return Ok(Placement::Nowhere);
        }
        let all = primaries.len();
        primaries.retain(|device| !self.is_disk(device, disk));
        Ok(match primaries.len() < all {
            true => Placement::Here { others: primaries },
            false => Placement::Elsewhere { primaries },
        })
    }

    /// Whether the ring's device is the local one of this name, under whatever id: a partition must never be pushed to
    /// the very folder that it is then removed from.
    fn is_disk(&self, device: &Device, disk: &str) -> bool {
        device.device == disk && self.local.contains(&device.id)
    }

    /// Whether the ring file is still the one that this view was made from.
    ///
    /// # Errors
    /// The system's error if the state of the ring file cannot be read; `NotFound` if the file is gone.
    pub(crate) fn is_current(&self) -> io::Result<bool> {
        self.file.is_current(&self.ring)
    }
}
