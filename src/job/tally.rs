//! What one job counted. Each job has a tally of its own and hands it over at the end, so no lock is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::copies::Copies;
use crate::cause::Cause;
use crate::names::{Partition, PolicyIndex};
use crate::report::counts::Counts;
use crate::report::holding::{self, Holding};
use crate::report::pass_report::SLOWEST;
use crate::report::stats::ReplicationStats;
use crate::ring::Device;

/// Counts of one job, or of several added up.
///
/// `stats` are what the recon cache gets, counted as the reference counts (it takes a folder that is no partition for a
/// failure of every node). `counts` and `peers` are for the pass's own report, which says what happened.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub stats: ReplicationStats,
    /// What happened on the local device.
    pub counts: Counts,
    /// What happened with peers, by [`PolicyView::name_of`](super::view::PolicyView::name_of).
    pub peers: BTreeMap<Arc<str>, Counts>,
    pub slowest: Slowest,
    /// Seconds per partition, of attempted ones.
    pub partition_times: Vec<f64>,
    /// Hand-offs that were tried and are still here (B5.12).
    pub handoffs_remaining: u64,
    /// What the local device holds, by policy.
    pub holdings: Vec<Holding>,
    /// How many copies of partitions are known.
    pub copies: Copies,
    /// What was left out since it is paused, as in `peer 10.0.0.7`.
    pub paused: BTreeSet<String>,
    /// Partitions that took long for themselves; in the next pass each is a job of its own.
    pub slow: Vec<(PolicyIndex, Partition)>,
}

impl Tally {
    /// Counts the nodes as failed, each by its replication address and device (B11.11).
    pub(crate) fn fail<'r>(&mut self, nodes: impl IntoIterator<Item = &'r Device>) {
        nodes.into_iter().for_each(|node| self.stats.add_failure(&node.replication_ip, &node.device));
    }

    /// What happened with this peer.
    pub(crate) fn peer(&mut self, name: Arc<str>) -> &mut Counts {
        self.peers.entry(name).or_default()
    }

    /// Something failed with this peer.
    pub(crate) fn peer_failed(&mut self, name: Arc<str>, cause: Cause) {
        self.counts.fail(cause);
        self.peer(name).fail(cause);
    }

    /// What the local device holds of this policy.
    pub(crate) fn holding(&mut self, policy: PolicyIndex) -> &mut Holding {
        holding::of(&mut self.holdings, policy.number())
    }

    /// A push of this partition stood still: in the next pass it goes alone.
    pub(crate) fn suspect(&mut self, policy: PolicyIndex, partition: Partition) {
        if !self.slow.contains(&(policy, partition)) {
            self.slow.push((policy, partition));
        }
    }

    /// Something was sent to this peer.
    pub(crate) fn sent(&mut self, name: Arc<str>, bytes: u64) {
        self.counts.bytes += bytes;
        self.peer(name).bytes += bytes;
    }

    /// Adds another job's tally.
    pub(crate) fn merge(&mut self, other: Self) {
        self.stats.merge(&other.stats);
        self.counts.merge(&other.counts);
        for (name, counts) in other.peers {
            self.peer(name).merge(&counts);
        }
        other.slowest.0.into_iter().for_each(|slow| self.slowest.note(slow));
        self.partition_times.extend(other.partition_times);
        self.handoffs_remaining += other.handoffs_remaining;
        holding::merge(&mut self.holdings, &other.holdings);
        self.copies.merge(other.copies);
        self.slow.extend(other.slow);
        self.paused.extend(other.paused);
    }

    /// Notes how long a partition took.
    pub(crate) fn took(&mut self, time: Duration) {
        self.partition_times.push(time.as_secs_f64());
        self.counts.seconds += time.as_secs_f64();
    }
}

/// The slowest partitions, the slowest first.
#[derive(Debug, Default)]
pub(crate) struct Slowest(Vec<(Duration, PolicyIndex, Partition)>);

impl Slowest {
    /// Keeps the partition if it is one of the slowest.
    pub(crate) fn note(&mut self, slow: (Duration, PolicyIndex, Partition)) {
        let place = self.0.partition_point(|other| other.0 >= slow.0);
        if place < SLOWEST {
            self.0.truncate(SLOWEST - 1);
            self.0.insert(place, slow);
        }
    }

    /// The partitions with what they took.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Duration, PolicyIndex, Partition)> {
        self.0.iter()
    }
}

/// Nodes as the counters tell them apart: by replication address and device name, so that two ports of one address
/// with the same device name are one (B11.11).
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeSet<'r> {
    nodes: Vec<&'r Device>,
}

impl<'r> NodeSet<'r> {
    /// Adds a node; false if it was there.
    pub(crate) fn insert(&mut self, node: &'r Device) -> bool {
        let new = !self.contains(node);
        if new {
            self.nodes.push(node);
        }
        new
    }

    /// Whether the node, or one that counts as the same, is in the set.
    pub(crate) fn contains(&self, node: &Device) -> bool {
        self.nodes.iter().any(|other| other.device == node.device && other.replication_ip == node.replication_ip)
    }

    /// Whether it is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many nodes of this set are not in the other.
    pub(crate) fn len_without(&self, other: &NodeSet<'_>) -> usize {
        self.nodes.iter().filter(|node| !other.contains(node)).count()
    }

    /// The nodes in the order in which they came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'r Device> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(seconds: u64, partition: u32) -> (Duration, PolicyIndex, Partition) {
        (Duration::from_secs(seconds), PolicyIndex::new(0), Partition::new(partition))
    }

    #[test]
    fn what_jobs_counted_adds_up_by_peer_and_the_slowest_are_kept() {
        let mut sum = Tally::default();
        for job in 0..20_u32 {
            let mut tally = Tally::default();
            tally.sent("a".into(), 10);
            tally.peer_failed("b".into(), Cause::Push);
            tally.slowest.note(slow(u64::from(job * 7 % 20), job));
            sum.merge(tally);
        }
        assert_eq!((sum.counts.bytes, sum.counts.failures()), (200, 20));
        assert_eq!((sum.peers["a"].bytes, sum.peers["b"].failed[&Cause::Push]), (200, 20));
        let kept: Vec<_> = sum.slowest.iter().map(|(time, ..)| time.as_secs()).collect();
        assert_eq!(kept, (10..20).rev().collect::<Vec<_>>());
    }
}
