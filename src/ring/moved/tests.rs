//! Tests of what a new ring has moved, some of them against a naive computation.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::ring::testing::{device, load, ring_1};

/// A ring as a test writes it: the machine of each device, by id, and the ids of all rows.
#[derive(Clone, Debug)]
struct Sketch {
    machines: Vec<Option<u8>>,
    part_power: u32,
    ids: Vec<u16>,
}

impl Sketch {
    fn ring(&self) -> Ring {
        let devices: Vec<_> = self.machines.iter().enumerate().map(|(id, machine)| json(id as u32, *machine)).collect();
        let rows = (self.ids.len() as u64).div_ceil(1 << self.part_power);
        load(&ring_1(&devices, self.part_power, rows, &self.ids)).unwrap()
    }

    /// The machines that have a partition.
    fn holders(&self, partition: usize) -> BTreeSet<u8> {
        let ids = self.ids.iter().skip(partition).step_by(1 << self.part_power);
        ids.filter_map(|id| self.machines.get(usize::from(*id)).copied().flatten()).collect()
    }
}

/// A device of which only the machine matters.
fn json(id: u32, machine: Option<u8>) -> Value {
    let Some(machine) = machine else { return Value::Null };
    let mut device = device(id, 1, 1, &format!("10.0.0.{machine}"));
    device["device"] = "sda".into();
    device
}

/// As the head of the module says it, set by set.
fn is_concerned(old: &Sketch, new: &Sketch, machine: u8, partition: usize) -> bool {
    let (before, now) = (old.holders(partition), new.holders(partition));
    let came_elsewhere = now.difference(&before).any(|came| *came != machine);
    came_elsewhere || (before.contains(&machine) && !now.contains(&machine))
}

prop_compose! {
    /// Two rings of the same partitions, which share the first device at least.
    fn rings()(part_power in 0_u32..5, devices in 1_usize..7)(
        old in sketch(part_power, devices),
        new in sketch(part_power, devices),
    ) -> (Sketch, Sketch) {
        (old, new)
    }
}

/// A ring with holes in the table and in the list of devices, and a last row that may be short.
fn sketch(part_power: u32, devices: usize) -> impl Strategy<Value = Sketch> {
    let partitions = 1_usize << part_power;
    let id = prop_oneof![20 => 0..devices as u16, 1 => Just(u16::MAX)];
    let ids = prop::collection::vec(id, partitions..=3 * partitions);
    // Most devices stay what they are; some are replaced under their id, some are gone, and one may have moved.
    let machine = |id: usize| {
        let id = id as u8;
        prop_oneof![8 => Just(Some(id)), 1 => Just(Some(100 + id)), 1 => Just(None), 1 => Just(Some(id ^ 1))]
    };
    let machines: Vec<_> = (1..devices).map(machine).collect();
    (machines, ids).prop_map(move |(machines, ids)| {
        // No two ids may be one device.
        let mut seen = BTreeSet::from([0]);
        let machines = machines.into_iter().map(|machine| machine.filter(|machine| seen.insert(*machine)));
        Sketch { machines: [Some(0)].into_iter().chain(machines).collect(), part_power, ids }
    })
}

proptest! {
    #[test]
    fn what_is_concerned_is_what_a_naive_comparison_finds((old, new) in rings()) {
        let (old_ring, new_ring) = (old.ring(), new.ring());
        let here: Vec<_> = new_ring.devices.iter().flatten().map(|device| device.id).collect();
        let moved = match Moved::between(&old_ring, &new_ring, &here) {
            Ok(moved) => moved,
            Err(NotFormer::OtherIds { shared, same }) => {
                prop_assert!(2 * same < shared);
                return Ok(());
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let partitions = 1_usize << new.part_power;
        for (id, machine) in new.machines.iter().enumerate().filter_map(|(id, machine)| Some((id, (*machine)?))) {
            for partition in 0..partitions {
                let found = moved.concerns(id as u32, Partition::new(partition as u32));
                let expected = is_concerned(&old, &new, machine, partition);
                prop_assert_eq!(found, expected, "partition {} on machine {}", partition, machine);
            }
        }
        let changed = (0..partitions).filter(|&partition| old.holders(partition) != new.holders(partition)).count();
        prop_assert_eq!(moved.count() as usize, changed);
        prop_assert!(!moved.concerns(0, Partition::new(partitions as u32)), "there is no such partition");
    }

    #[test]
    fn only_the_devices_that_are_asked_about_are_concerned((old, new) in rings()) {
        let Ok(moved) = Moved::between(&old.ring(), &new.ring(), &[0]) else { return Ok(()) };
        for partition in 0..1 << new.part_power {
            prop_assert!(!moved.concerns(1, Partition::new(partition)));
        }
    }
}

fn sketch_of(machines: &[u8], part_power: u32, ids: &[u16]) -> Sketch {
    Sketch { machines: machines.iter().copied().map(Some).collect(), part_power, ids: ids.to_vec() }
}

#[test]
fn a_ring_that_is_no_former_state_is_refused_with_the_reason() {
    let new = sketch_of(&[1, 2, 3, 4], 1, &[0, 1, 2, 3]);
    let refused = |old: Sketch| Moved::between(&old.ring(), &new.ring(), &[0]).unwrap_err();
    assert_eq!(refused(sketch_of(&[1, 2], 2, &[0, 1, 0, 1])), NotFormer::PartPower { old: 2, new: 1 });
    assert_eq!(refused(sketch_of(&[8, 9], 1, &[0, 1])), NotFormer::Strangers);
    let other = refused(sketch_of(&[4, 3, 2, 1], 1, &[0, 1]));
    assert_eq!(other, NotFormer::OtherIds { shared: 4, same: 0 });
    assert!(other.to_string().starts_with("of 4 devices that the ring in force has too, only 0 have the same ids"));
    assert!(Moved::between(&new.ring(), &new.ring(), &[0]).is_ok_and(|moved| moved.count() == 0));
}

#[test]
fn a_device_that_gets_an_id_of_one_that_was_removed_is_another_device() {
    let old = sketch_of(&[1, 2, 3], 1, &[0, 1, 2, 2]);
    let new = sketch_of(&[1, 9, 3], 1, &[0, 1, 2, 2]);
    let moved = Moved::between(&old.ring(), &new.ring(), &[0, 2]).unwrap();
    assert_eq!(moved.count(), 1);
    assert!(
        !moved.concerns(0, Partition::new(0)) && moved.concerns(2, Partition::new(1)),
        "machine 9 lacks partition 1"
    );
    assert!(moved.concerns(0, Partition::new(1)), "a hand-off of what has moved is concerned too");
}

#[test]
fn a_device_that_got_another_replication_address_is_the_same_device() {
    let devices = [device(0, 1, 1, "10.0.0.1"), device(1, 1, 1, "10.0.0.2")];
    let mut changed = devices.clone();
    changed[1]["replication_ip"] = "10.9.0.2".into();
    let [old, new] = [devices, changed].map(|devices| load(&ring_1(&devices, 0, 2, &[0, 1])).unwrap());
    assert_eq!(Moved::between(&old, &new, &[0]).unwrap().count(), 0);
}
