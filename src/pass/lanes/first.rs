//! What the lanes know of partitions that go first: such a partition leaves its queue, and nobody else is at it.

use std::sync::{Arc, Weak};

use super::{Lane, Lanes};
use crate::job::custody::Custody;
use crate::names::{Partition, PolicyIndex};

impl Lanes {
    /// A batch of the lane is about to be begun.
    pub(crate) fn begun(&mut self, number: usize, custody: &Arc<Custody>) {
        let lane = &mut self.lanes[number];
        lane.begun.retain(|begun| begun.strong_count() > 0);
        lane.begun.push(Arc::downgrade(custody));
    }

    /// Takes a partition of a policy, by its place in the pass's list, to be a job of its own. If it waits on the lane it is
    /// taken out of there; else it was not found, or has had its turn, and counts as one more that was found. Says whether
    /// it waited.
    pub(crate) fn take_first(&mut self, number: usize, policy: usize, partition: Partition) -> bool {
        let lane = &mut self.lanes[number];
        lane.in_flight += 1;
        for queue in lane.queues.iter_mut().filter(|queue| queue.policy == policy) {
            if let Some(place) = queue.partitions.iter().position(|waiting| *waiting == partition) {
                queue.partitions.remove(place);
                lane.queues.retain(|queue| !queue.partitions.is_empty());
                return true;
            }
        }
        lane.found += 1;
        false
    }
}

impl Lane {
    /// Whether a partition that goes first may be begun: it is known what there is, nothing hangs, and nothing is paused.
    pub(crate) fn may_begin_first(&self) -> bool {
        self.is_listed() && !self.is_closed() && self.paused.is_none()
    }

    /// Whether a job of this pass may be at the partition, or come to it.
    pub(crate) fn is_begun(&self, policy: PolicyIndex, partition: Partition) -> bool {
        self.begun.iter().filter_map(Weak::upgrade).any(|custody| custody.holds(policy, partition))
    }

    /// Whether a job may be at the partition, or come to it: of this pass, or one that hangs since an earlier one.
    pub(crate) fn is_at_work(&self, policy: PolicyIndex, partition: Partition) -> bool {
        self.is_begun(policy, partition) || self.is_stuck_at(policy, partition)
    }

    /// Whether a job that hangs has the partition.
    pub(crate) fn is_stuck_at(&self, policy: PolicyIndex, partition: Partition) -> bool {
        let mut hanging = self.stuck.iter().filter(|job| job.is_at_work());
        hanging.any(|job| job.custody.as_ref().is_some_and(|custody| custody.holds(policy, partition)))
    }
}
