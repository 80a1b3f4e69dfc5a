//! What one job counted. Jobs count for themselves and hand their tally over at the end, so nothing is locked.

use std::time::Duration;

use crate::names::{Partition, PolicyIndex};
use crate::report::stats::ReplicationStats;
use crate::ring::Device;

/// Counts of one job, or of several added up.
#[derive(Debug, Default)]
pub struct Tally {
    pub stats: ReplicationStats,
    /// Seconds per partition, of attempted ones.
    pub partition_times: Vec<f64>,
    /// Hand-offs that were tried and are still here (B5.12).
    pub handoffs_remaining: u64,
    /// Partitions that took long for themselves; in the next pass each is a job of its own.
    pub slow: Vec<(PolicyIndex, Partition)>,
}

impl Tally {
    /// Counts the nodes as failed, each by its replication address and device (B11.11).
    pub fn fail<'r>(&mut self, nodes: impl IntoIterator<Item = &'r Device>) {
        nodes.into_iter().for_each(|node| self.stats.add_failure(&node.replication_ip, &node.device));
    }

    /// Adds another job's tally.
    pub fn merge(&mut self, other: Self) {
        self.stats.merge(&other.stats);
        self.partition_times.extend(other.partition_times);
        self.handoffs_remaining += other.handoffs_remaining;
        self.slow.extend(other.slow);
    }

    /// Notes how long a partition took.
    pub fn took(&mut self, time: Duration) {
        self.partition_times.push(time.as_secs_f64());
    }
}

/// Nodes as the counters tell them apart: by replication address and device name, so that two ports of one address
/// with the same device name are one (B11.11).
#[derive(Clone, Debug, Default)]
pub struct NodeSet<'r> {
    nodes: Vec<&'r Device>,
}

impl<'r> NodeSet<'r> {
    /// Adds a node; false if it was there.
    pub fn insert(&mut self, node: &'r Device) -> bool {
        let new = !self.contains(node);
        if new {
            self.nodes.push(node);
        }
        new
    }

    /// Whether the node, or one that counts as the same, is in the set.
    pub fn contains(&self, node: &Device) -> bool {
        self.nodes.iter().any(|other| other.device == node.device && other.replication_ip == node.replication_ip)
    }

    /// How many nodes of this set are not in the other.
    pub fn len_without(&self, other: &NodeSet<'_>) -> usize {
        self.nodes.iter().filter(|node| !other.contains(node)).count()
    }

    /// The nodes in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &'r Device> {
        self.nodes.iter().copied()
    }
}

impl<'r> FromIterator<&'r Device> for NodeSet<'r> {
    fn from_iter<I: IntoIterator<Item = &'r Device>>(nodes: I) -> Self {
        let mut set = Self::default();
        nodes.into_iter().for_each(|node| {
            set.insert(node);
        });
        set
    }
}
