//! How many copies of partitions are known, as the last comparison or push found them.
//!
//! A copy is known if it is the one here, or on a device that answered with the same hashes or confirmed a push. Of a
//! partition that is whole nothing is kept but that it counts: only what was *lacking* is named, so a pass over what is in
//! sync costs no more than adding to a number.

use crate::names::{Partition, PolicyIndex};

/// A partition that was not found whole, and not made whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lacking {
    pub policy: PolicyIndex,
    pub partition: Partition,
    /// How many copies are known, where those are fewer than there should be; `None`: it is as before, or cannot be told.
    pub copies: Option<u16>,
}

/// What jobs found out about copies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copies {
    /// How many partitions there are of which so many copies are known: none, one, and so on.
    counts: Vec<u64>,
    pub lacking: Vec<Lacking>,
}

impl Copies {
    /// Of one more partition so many copies are known.
    pub(crate) fn count(&mut self, copies: usize) {
        if self.counts.len() <= copies {
            self.counts.resize(copies + 1, 0);
        }
        self.counts[copies] += 1;
    }

    /// A partition lacks something.
    pub(crate) fn lacks(&mut self, policy: PolicyIndex, partition: Partition, copies: Option<usize>) {
        let copies = copies.map(|copies| u16::try_from(copies).unwrap_or(u16::MAX));
        self.lacking.push(Lacking { policy, partition, copies });
    }

    /// Adds what another job found out.
    pub(crate) fn merge(&mut self, other: Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(other.counts).for_each(|(own, more)| *own += more);
        self.lacking.extend(other.lacking);
    }

    /// The numbers of copies, each with how many partitions have it.
    pub(crate) fn by_number(&self) -> impl Iterator<Item = (u64, u64)> {
        (0..).zip(self.counts.iter().copied()).filter(|(_, partitions)| *partitions > 0)
    }

    /// Partitions of which only the copy here is known.
    pub(crate) fn single(&self) -> impl Iterator<Item = &Lacking> {
        self.lacking.iter().filter(|lacking| lacking.copies == Some(1))
    }
}

/// How much in danger a partition is; see `pass/order.rs` for what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rank {
    /// Known copies.
    pub copies: u16,
    /// How long ago its last success was, roughly: 0 for less than an hour, and one more each time that doubles.
    pub age: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_jobs_found_adds_up() {
        let (policy, partition) = (PolicyIndex::new(1), Partition::new(7));
        let mut sum = Copies::default();
        sum.count(3);
        let mut other = Copies::default();
        other.count(1);
        other.count(4);
        other.lacks(policy, partition, Some(1));
        other.lacks(policy, Partition::new(8), Some(2));
        other.lacks(policy, Partition::new(9), None);
        sum.merge(other);
        sum.count(3);
        assert_eq!(sum.by_number().collect::<Vec<_>>(), [(1, 1), (3, 2), (4, 1)]);
        assert_eq!(sum.single().collect::<Vec<_>>(), [&Lacking { policy, partition, copies: Some(1) }]);
    }
}
