//! Finds the devices of a partition: its primaries, and the hand-offs that stand in for them.
//!
//! Hand-offs come in four phases: first devices of regions that no device so far is in, then of new zones, then of new
//! machines (ip addresses), then all that are left. Each phase walks the table from a partition that the partition's
//! number hashes to, and ends early once every region (zone, ip, device) with a partition has had its turn (B3.12).
//!
//! A device's region, zone, ip and the device itself are its *keys*, one per phase, each a number of its own in one
//! common numbering. Taking a device marks its keys from the current phase's on. So the phases are all alike: take a
//! device whose key is not marked. What came before is then excluded by itself, since its key is.

use std::collections::HashMap;
use std::iter::{Chain, StepBy};
use std::ops::Range;

use md5::{Digest, Md5};
use thiserror::Error;

use super::table::{Table, UNASSIGNED};
use super::{Device, Ring};
use crate::names::Partition;

/// Region, zone, ip, device.
const PHASES: usize = 4;
/// A ring with more partitions than this is walked in steps: a hand-off is found by at most this many.
const MAX_STEPS: u32 = 65_536;

/// A partition's devices are not known, since the ring is damaged at that place (B3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LookupError {
    #[error("the ring gives replica {replica} of partition {partition} to no device")]
    Unassigned { partition: Partition, replica: usize },
    #[error("the ring gives replica {replica} of partition {partition} to device {id}, which was removed")]
    Removed { partition: Partition, replica: usize, id: u32 },
}

impl Ring {
    /// The devices that should hold a partition, each once, in the order of the rows (B3.11).
    ///
    /// A partition beyond the ring has none.
    ///
    /// # Errors
    /// [`LookupError`] if a row of the table gives the partition to no device, or to one that was removed from the
    /// ring.
    pub fn primaries(&self, partition: Partition) -> Result<Vec<&Device>, LookupError> {
        let rows = self.table.rows();
        let mut primaries: Vec<&Device> = Vec::with_capacity(rows);
        for replica in 0..rows {
            let Some(id) = self.table.id(replica, partition.number()) else { continue };
            if id == UNASSIGNED {
                return Err(LookupError::Unassigned { partition, replica });
            }
            let device = self.device(id).ok_or(LookupError::Removed { partition, replica, id })?;
            if primaries.iter().all(|known| known.id != id) {
                primaries.push(device);
            }
        }
        Ok(primaries)
    }

    /// The devices that take a partition while primaries are away, in the order in which everybody tries them (B3.12).
    ///
    /// Devices without any partition are never among them. Nothing is computed before the first is asked for. What the
    /// table gives to no device or to a removed one is passed over.
    pub fn handoffs(&self, partition: Partition) -> Handoffs<'_> {
        Handoffs { ring: self, partition, search: None }
    }
}

/// The keys of a ring's devices, made once per ring.
#[derive(Debug)]
pub(super) struct Tiers {
    /// By device id: one key per phase. Holes have none.
    keys: Vec<Option<[u32; PHASES]>>,
    /// How many keys there are in all.
    key_count: u32,
    /// Per phase: how many keys belong to devices with a partition.
    assigned: [u32; PHASES],
}

impl Tiers {
    /// The keys of these devices, those with `assigned` having a partition.
    pub(super) fn new(devices: &[Option<Device>], assigned: &[bool]) -> Self {
        let mut key_count = 0;
        let mut next = || {
            key_count += 1;
            key_count - 1
        };
        let (mut regions, mut zones, mut ips) = (HashMap::new(), HashMap::new(), HashMap::new());
        let keys: Vec<_> = devices
            .iter()
            .map(|device| {
                let device = device.as_ref()?;
                let region = *regions.entry(device.region).or_insert_with(&mut next);
                let zone = *zones.entry((region, device.zone)).or_insert_with(&mut next);
                let ip = *ips.entry((zone, device.ip.as_str())).or_insert_with(&mut next);
                Some([region, zone, ip, next()])
            })
            .collect();
        let mut seen = Marks::new(key_count);
        for keys in keys.iter().zip(assigned).filter(|&(_, &assigned)| assigned).filter_map(|(keys, _)| keys.as_ref()) {
            seen.set(0, keys);
        }
        Self { keys, key_count, assigned: seen.counts }
    }
}

/// The keys that had their turn.
#[derive(Debug)]
struct Marks {
    bits: Vec<u64>,
    counts: [u32; PHASES],
}

impl Marks {
    fn new(key_count: u32) -> Self {
        Self { bits: vec![0; key_count.div_ceil(64) as usize], counts: [0; PHASES] }
    }

    fn contains(&self, key: u32) -> bool {
        self.bits[key as usize / 64] & (1 << (key % 64)) != 0
    }

    /// Marks a device's keys from this phase's on.
    fn set(&mut self, phase: usize, keys: &[u32; PHASES]) {
        for (&key, count) in keys.iter().zip(&mut self.counts).skip(phase) {
            let bits = &mut self.bits[key as usize / 64];
            let bit = 1 << (key % 64);
            *count += u32::from(*bits & bit == 0);
            *bits |= bit;
        }
    }
}

/// A partition's hand-offs, one after the other: see [`Ring::handoffs`].
#[derive(Debug)]
pub struct Handoffs<'r> {
    ring: &'r Ring,
    partition: Partition,
    search: Option<Search>,
}

impl<'r> Iterator for Handoffs<'r> {
    type Item = &'r Device;

    fn next(&mut self) -> Option<&'r Device> {
        let ring = self.ring;
        let search = self.search.get_or_insert_with(|| Search::new(ring, self.partition));
        ring.device(search.next(ring)?)
    }
}

#[derive(Debug)]
struct Search {
    phase: usize,
    marks: Marks,
    start: Walk,
    walk: Walk,
}

impl Search {
    fn new(ring: &Ring, partition: Partition) -> Self {
        let mut marks = Marks::new(ring.tiers.key_count);
        for id in (0..ring.table.rows()).filter_map(|row| ring.table.id(row, partition.number())) {
            if let Some(Some(keys)) = ring.tiers.keys.get(id as usize) {
                marks.set(0, keys);
            }
        }
        let start = Walk::new(&ring.table, ring.part_power, partition);
        Self { phase: 0, marks, walk: start.clone(), start }
    }

    /// The id of the next hand-off.
    fn next(&mut self, ring: &Ring) -> Option<u32> {
        while self.phase < PHASES {
            if self.marks.counts[self.phase] < ring.tiers.assigned[self.phase] {
                while let Some(id) = self.walk.next(&ring.table) {
                    if self.take(ring, id) {
                        return Some(id);
                    }
                }
            }
            self.phase += 1;
            self.walk.clone_from(&self.start);
        }
        None
    }

    fn take(&mut self, ring: &Ring, id: u32) -> bool {
        let Some(Some(keys)) = ring.tiers.keys.get(id as usize) else { return false };
        let is_new = !self.marks.contains(keys[self.phase]);
        if is_new {
            self.marks.set(self.phase, keys);
        }
        is_new
    }
}

/// The way through the table on which a partition's hand-offs are met: partition by partition, row by row.
#[derive(Clone, Debug)]
struct Walk {
    partitions: Chain<StepBy<Range<u32>>, StepBy<Range<u32>>>,
    partition: u32,
    /// The row that comes next, or as many as there are if the next partition does.
    row: usize,
}

impl Walk {
    /// Starts where the partition's number hashes to, steps to the table's end, and on from its beginning.
    fn new(table: &Table, part_power: u32, partition: Partition) -> Self {
        let count = table.partition_count();
        let hash = Md5::digest(partition.to_string());
        let hash = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        let start = hash.checked_shr(32 - part_power).unwrap_or(0).min(count);
        let step = (count / MAX_STEPS).max(1);
        // In steps of one this is 1: the walk passes over partition 0, and everybody does so.
        let again = step - (count - start) % step;
        let partitions = (start..count).step_by(step as usize).chain((again..start).step_by(step as usize));
        Self { partitions, partition: 0, row: table.rows() }
    }

    /// The next device id, which may be unassigned or of a removed device.
    fn next(&mut self, table: &Table) -> Option<u32> {
        loop {
            if self.row == table.rows() {
                self.partition = self.partitions.next()?;
                self.row = 0;
            }
            self.row += 1;
            if let Some(id) = table.id(self.row - 1, self.partition) {
                return Some(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::ring::testing::{EXAMPLE_V1, device, load, ring_1};

    fn primaries(ring: &Ring, partition: u32) -> Vec<u32> {
        ring.primaries(Partition::new(partition)).unwrap().iter().map(|device| device.id).collect()
    }

    fn handoffs(ring: &Ring, partition: u32) -> Vec<u32> {
        ring.handoffs(Partition::new(partition)).map(|device| device.id).collect()
    }

    #[test]
    fn the_worked_example_of_b3_13_gives_its_primaries_and_handoffs() {
        let ring = load(EXAMPLE_V1).unwrap();
        for (partition, expected_primaries, expected_handoffs) in [
            (0, vec![0, 3, 2], vec![4, 1]),
            (3, vec![4, 1, 2], vec![3, 0]),
            (8, vec![4, 1], vec![2, 3, 0]),
            (15, vec![1, 3], vec![2, 4, 0]),
        ] {
            assert_eq!(primaries(&ring, partition), expected_primaries, "of partition {partition}");
            assert_eq!(handoffs(&ring, partition), expected_handoffs, "of partition {partition}");
        }
    }

    #[test]
    fn a_partition_beyond_the_ring_has_no_primaries_and_every_device_is_a_handoff() {
        let ring = load(EXAMPLE_V1).unwrap();
        for partition in [16, 99, u32::MAX] {
            assert!(primaries(&ring, partition).is_empty());
            let mut all = handoffs(&ring, partition);
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn a_device_that_holds_two_replicas_is_named_once() {
        let devices = [device(0, 1, 1, "10.0.0.1"), device(1, 1, 1, "10.0.0.2")];
        let ring = load(&ring_1(&devices, 0, 3, &[1, 0, 1])).unwrap();
        assert_eq!(primaries(&ring, 0), [1, 0]);
    }

    #[test]
    fn a_hole_and_a_place_without_device_are_errors_for_primaries_and_passed_over_by_handoffs() {
        let devices =
            [device(0, 1, 1, "10.0.0.1"), Value::Null, device(2, 2, 1, "10.0.0.2"), device(3, 2, 1, "10.0.0.2")];
        let ring = load(&ring_1(&devices, 2, 2, &[0, 1, 2, 3, 3, 0, u16::MAX, 0])).unwrap();
        let [hole, without] = [1, 2].map(Partition::new);
        assert_eq!(ring.primaries(hole), Err(LookupError::Removed { partition: hole, replica: 0, id: 1 }));
        assert_eq!(ring.primaries(without), Err(LookupError::Unassigned { partition: without, replica: 1 }));
        for partition in 0..4 {
            let mut met = handoffs(&ring, partition);
            assert!(!met.contains(&1));
            met.dedup();
            assert!(met.len() <= 3);
        }
        assert_eq!(handoffs(&ring, 1).len(), 2, "all but device 0, which has the partition");
    }

    #[test]
    fn devices_without_partitions_are_no_handoffs_and_are_not_waited_for() {
        let devices = [device(0, 1, 1, "10.0.0.1"), device(1, 2, 1, "10.0.0.2"), device(2, 3, 1, "10.0.0.3")];
        let ring = load(&ring_1(&devices, 1, 1, &[0, 1])).unwrap();
        assert_eq!(ring.tiers.assigned, [2, 2, 2, 2]);
        assert!(!handoffs(&ring, 0).contains(&2));
    }
}
