//! The rings of a run: how the first ones look, and how the next ones differ, as after a rebalance.
//!
//! A rebalance moves one replica of a partition at most, as Swift's ring builder does within `min_part_hours`; so with
//! three replicas two of a partition's primaries are the same in the old ring and in the new one. With one replica none
//! is: a node that has the old ring and one that has the new ring both take the partition for the other's.

use fastrand::Rng;

/// A policy of the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub index: u32,
    pub replicas: usize,
    pub part_power: u32,
}

impl Policy {
    /// How many partitions it has.
    pub fn partitions(&self) -> u32 {
        1 << self.part_power
    }

    /// How many devices must have taken an operation for it to be acknowledged.
    pub fn quorum(&self) -> usize {
        self.replicas / 2 + 1
    }
}

/// The policies of the cluster. That with one replica forgives nothing: there is no second copy to hide a loss.
pub const POLICIES: [Policy; 2] =
    [Policy { index: 0, replicas: 3, part_power: 5 }, Policy { index: 1, replicas: 1, part_power: 4 }];

/// Which devices hold what, for all policies: rows of device ids, by policy, replica and partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rings([Vec<Vec<u32>>; POLICIES.len()]);

/// How many partitions go to a node at which something is about to happen.
const MOVED_TO_ONE: usize = 4;
/// How many of a hundred partitions a rebalance moves.
const MOVED: u32 = 30;

impl Rings {
    /// The rings that the cluster begins with. `nodes[id]` is the node of a device.
    pub fn first(nodes: &[usize], rng: &mut Rng) -> Self {
        Self(POLICIES.map(|policy| {
            let mut rows = vec![Vec::new(); policy.replicas];
            for _ in 0..policy.partitions() {
                let mut chosen: Vec<u32> = Vec::new();
                for row in &mut rows {
                    let id = another(&chosen, nodes, rng);
                    chosen.push(id);
                    row.push(id);
                }
            }
            rows
        }))
    }

    /// The rings after a rebalance.
    pub fn rebalanced(&self, nodes: &[usize], rng: &mut Rng) -> Self {
        let mut next = self.clone();
        for (policy, rows) in POLICIES.iter().zip(&mut next.0) {
            for part in 0..policy.partitions() as usize {
                if rng.u32(0..100) < MOVED {
                    let chosen: Vec<u32> = rows.iter().map(|row| row[part]).collect();
                    let moved = rng.usize(..rows.len());
                    rows[moved][part] = another(&chosen, nodes, rng);
                }
            }
        }
        next
    }

    /// The same rings, in which some of the partitions that have one home have theirs on one of these devices.
    pub fn with_some_at(mut self, disks: &[u32], rng: &mut Rng) -> Self {
        for (policy, rows) in POLICIES.iter().zip(&mut self.0).filter(|(policy, _)| policy.replicas == 1) {
            for _ in 0..MOVED_TO_ONE {
                let part = rng.u32(..policy.partitions()) as usize;
                rows[0][part] = rng.choice(disks.iter().copied()).expect("a node has devices");
            }
        }
        self
    }

    /// The rows of a policy's ring file.
    pub fn rows(&self, policy: usize) -> &[Vec<u32>] {
        &self.0[policy]
    }

    /// The ids of the devices that a partition belongs on.
    pub fn primaries(&self, policy: usize, part: u32) -> impl Iterator<Item = u32> {
        self.0[policy].iter().map(move |row| row[part as usize])
    }

    /// Whether a partition belongs on a device.
    pub fn is_home(&self, policy: usize, part: u32, disk: u32) -> bool {
        self.primaries(policy, part).any(|id| id == disk)
    }
}

/// A device of a node that has none of the chosen ones.
fn another(chosen: &[u32], nodes: &[usize], rng: &mut Rng) -> u32 {
    let taken = |id: usize| chosen.iter().any(|&other| nodes[other as usize] == nodes[id]);
    let free: Vec<usize> = (0..nodes.len()).filter(|&id| !taken(id)).collect();
    let id = free[rng.usize(..free.len())];
    u32::try_from(id).expect("few devices")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [usize; 8] = [0, 0, 1, 1, 2, 2, 3, 3];

    #[test]
    fn a_rebalance_moves_one_replica_of_some_partitions_to_other_nodes() {
        let mut rng = Rng::with_seed(7);
        let first = Rings::first(&NODES, &mut rng);
        let next = first.rebalanced(&NODES, &mut rng);
        for (place, policy) in POLICIES.iter().enumerate() {
            let homes = |rings: &Rings, part| rings.primaries(place, part).collect::<Vec<_>>();
            let moved = |part| homes(&first, part).iter().zip(homes(&next, part)).filter(|(a, b)| **a != *b).count();
            assert!((0..policy.partitions()).all(|part| moved(part) <= 1));
            assert!((0..policy.partitions()).any(|part| moved(part) == 1));
            for part in 0..policy.partitions() {
                let mut nodes: Vec<usize> = homes(&next, part).iter().map(|&id| NODES[id as usize]).collect();
                nodes.sort_unstable();
                nodes.dedup();
                assert_eq!(nodes.len(), policy.replicas, "replicas of {part} share a node");
            }
        }
        assert_eq!(first, Rings::first(&NODES, &mut Rng::with_seed(7)));
    }
}
