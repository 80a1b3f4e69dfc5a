//! Which partitions a new ring has moved, as far as the devices of one node are concerned.
//!
//! A partition of a device here is concerned if the new ring gives it to a device elsewhere that did not have it, which
//! needs a copy, or if it belonged to the device here and does not any more. The tables name devices by ids, which a ring
//! builder gives again once they are free. So devices are told apart by where their data lies instead: by address, port and
//! name.

use std::collections::{BTreeMap, HashMap};

use thiserror::Error;

use super::table::UNASSIGNED;
use super::{Device, Ring};
use crate::names::Partition;

/// Why a ring is not a former state of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum NotFormer {
    #[error("it has part power {old}, and the ring in force {new}: the numbers of its partitions mean others")]
    PartPower { old: u32, new: u32 },
    #[error("it has no device in common with the ring in force: it is of another policy or cluster")]
    Strangers,
    #[error(
        "of {shared} devices that the ring in force has too, only {same} have the same ids there: it is of another policy \
         or cluster"
    )]
    OtherIds { shared: usize, same: usize },
}

/// What a new ring has moved.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// By partition, a bit: whether it has a new primary.
    gained: Vec<u64>,
    count: u32,
    /// By the new ids of the devices here.
    here: BTreeMap<u32, Own>,
}

/// What is special about a device here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Own {
    /// Of these it is the only new primary, so nobody needs a copy of what it has of them.
    only_new: Vec<u32>,
    /// These belonged to it, and do not any more, and nobody has come in its place.
    lost: Vec<u32>,
}

impl Moved {
    /// Compares a ring with the one before it. `here` are the ids that the devices of this node have in the new one.
    ///
    /// # Errors
    /// [`NotFormer`] if the old ring cannot be a former state of the new one.
    pub(crate) fn between(old: &Ring, new: &Ring, here: &[u32]) -> Result<Self, NotFormer> {
        let former = FormerIds::of(old, new)?;
        let partitions = new.partition_count();
        let mut moved = Self { gained: vec![0; partitions.div_ceil(64) as usize], ..Self::default() };
        here.iter().for_each(|&id| drop(moved.here.insert(id, Own::default())));
        let (mut before, mut now, mut came) = (Vec::new(), Vec::new(), Vec::new());
        for partition in 0..partitions {
            fill(&mut before, old, partition, |id| former.in_new(id));
            fill(&mut now, new, partition, Some);
            came.clear();
            came.extend(now.iter().copied().filter(|id| !before.contains(id)));
            moved.note(partition, &came, before.iter().filter(|id| !now.contains(id)));
        }
        Ok(moved)
    }

    fn note<'i>(&mut self, partition: u32, came: &[u32], went: impl Iterator<Item = &'i u32>) {
        let mut has_moved = !came.is_empty();
        if has_moved {
            self.gained[partition as usize / 64] |= 1 << (partition % 64);
        }
        if let [only] = came
            && let Some(own) = self.here.get_mut(only)
        {
            own.only_new.push(partition);
        }
        for id in went.filter(|_| came.is_empty()) {
            has_moved = true;
            if let Some(own) = self.here.get_mut(id) {
                own.lost.push(partition);
            }
        }
        self.count += u32::from(has_moved);
    }

    /// How many partitions have another set of primaries.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Whether what a device here has of the partition is to go elsewhere, or does not belong there any more. The device
    /// has this id in the new ring.
    pub(crate) fn concerns(&self, id: u32, partition: Partition) -> bool {
        let Some(own) = self.here.get(&id) else { return false };
        let number = partition.number();
        let has = |list: &[u32]| list.binary_search(&number).is_ok();
        let word = self.gained.get(number as usize / 64).copied().unwrap_or_default();
        word & (1 << (number % 64)) != 0 && !has(&own.only_new) || has(&own.lost)
    }
}

/// The devices that have a partition, each once, by what `in_new` makes of their ids. Holes are passed over.
fn fill(ids: &mut Vec<u32>, ring: &Ring, partition: u32, in_new: impl Fn(u32) -> Option<u32>) {
    ids.clear();
    for id in (0..ring.table.rows()).filter_map(|row| ring.table.id(row, partition)) {
        if let Some(id) = Some(id).filter(|&id| id != UNASSIGNED && ring.device(id).is_some()).and_then(&in_new)
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
}

/// Which ids the devices of an old ring have in the new one.
struct FormerIds {
    /// By the old ids; those that are gone have numbers beyond the new ids.
    in_new: Vec<u32>,
}

impl FormerIds {
    fn of(old: &Ring, new: &Ring) -> Result<Self, NotFormer> {
        if old.part_power() != new.part_power() {
            return Err(NotFormer::PartPower { old: old.part_power(), new: new.part_power() });
        }
        // An operator may give a device another address of the two, but hardly both in one step.
        let by = |place: fn(&Device) -> (&str, u16, &str)| -> HashMap<_, _> {
            new.devices.iter().flatten().map(|device| (place(device), device.id)).collect()
        };
        let (by_clients, by_peers) = (by(place_for_clients), by(place_for_peers));
        let (mut shared, mut same, mut in_new) = (0, 0, Vec::with_capacity(old.devices.len()));
        for (old_id, device) in (0..).zip(&old.devices) {
            let found = device.as_ref().and_then(|device| {
                by_clients.get(&place_for_clients(device)).or_else(|| by_peers.get(&place_for_peers(device)))
            });
            shared += usize::from(found.is_some());
            same += usize::from(found == Some(&old_id));
            in_new.push(found.map_or(new.devices.len() as u32 + old_id, |id| *id));
        }
        match (shared, same) {
            (0, _) => Err(NotFormer::Strangers),
            (shared, same) if 2 * same < shared => Err(NotFormer::OtherIds { shared, same }),
            _ => Ok(Self { in_new }),
        }
    }

    fn in_new(&self, old_id: u32) -> Option<u32> {
        self.in_new.get(old_id as usize).copied()
    }
}

fn place_for_clients(device: &Device) -> (&str, u16, &str) {
    (&device.ip, device.port, &device.device)
}

fn place_for_peers(device: &Device) -> (&str, u16, &str) {
    (&device.replication_ip, device.replication_port, &device.device)
}

#[cfg(test)]
mod tests;
