//! What is remembered of the partitions of a device from one pass to the next, in memory only: those that were not whole,
//! with how many copies of each are known and when it was whole last.
//!
//! Of all others it is enough to know when the last pass began that had its turn with every partition of the device: none
//! of them has been whole for longer ago than that. So a device on which all is well costs nothing.

use std::collections::HashMap;

use crate::job::collect::Queue;
use crate::job::copies::{Lacking, Rank};
use crate::names::{Partition, PolicyIndex};

/// What is remembered of a device. Times are Unix times.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct History {
    /// Since when anything is remembered.
    since: f64,
    /// When the last pass began that had its turn with every partition.
    complete: Option<f64>,
    lacking: HashMap<(PolicyIndex, Partition), Lack>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Lack {
    /// Known copies, where those are fewer than there should be.
    copies: Option<u16>,
    /// Not before when it was whole last, if that is known.
    whole: Option<f64>,
}

/// What a pass found on a device.
pub(super) struct Found<'a> {
    pub began: f64,
    pub lacking: &'a [Lacking],
    /// Whether every partition had its turn.
    pub is_complete: bool,
}

impl History {
    /// Nothing is known yet.
    pub(super) fn new(now: f64) -> Self {
        Self { since: now, complete: None, lacking: HashMap::new() }
    }

    /// Takes in what a pass found; `had_turn` says of which partitions it can be told.
    pub(super) fn take_in(&mut self, found: &Found<'_>, had_turn: impl Fn(PolicyIndex, Partition) -> bool) {
        let mut before = std::mem::take(&mut self.lacking);
        for lacking in found.lacking {
            let key = (lacking.policy, lacking.partition);
            let known = before.remove(&key).or_else(|| self.lacking.get(&key).copied());
            let (copies, whole) = known.map_or((None, self.complete), |known| (known.copies, known.whole));
            self.lacking.insert(key, Lack { copies: lacking.copies.or(copies), whole });
        }
        before.retain(|(policy, partition), _| !had_turn(*policy, *partition));
        self.lacking.extend(before);
        if found.is_complete {
            self.complete = Some(found.began);
        }
    }

    /// None of the device's partitions has been whole last before this time; where one never was, this is since when that
    /// is known.
    pub(super) fn oldest_success(&self) -> f64 {
        let times = self.lacking.values().map(|lack| lack.whole).chain([self.complete]);
        times.map(|time| time.unwrap_or(self.since)).fold(f64::INFINITY, f64::min)
    }

    /// How much in danger a partition is, if it is known to be.
    fn rank(&self, policy: PolicyIndex, partition: Partition, now: f64) -> Option<Rank> {
        let lack = self.lacking.get(&(policy, partition))?;
        let hours = lack.whole.map(|whole| ((now - whole).max(0.0) / 3600.0) as u64);
        let age = hours.map_or(u8::MAX, |hours| (u64::BITS - hours.leading_zeros()) as u8);
        Some(Rank { copies: lack.copies?, age })
    }

    /// Takes what is in danger out of a queue, into a queue for each rank. Neighbours stay neighbours.
    pub(super) fn divide(&self, queue: Queue, index: PolicyIndex, now: f64) -> Vec<Queue> {
        if self.lacking.is_empty() {
            return vec![queue];
        }
        let Queue { policy, reverts, alone, partitions, .. } = queue;
        let mut divided: Vec<(Option<Rank>, Vec<Partition>)> = Vec::new();
        for partition in partitions {
            let rank = self.rank(index, partition, now);
            match divided.iter_mut().find(|(other, _)| *other == rank) {
                Some((_, partitions)) => partitions.push(partition),
                None => divided.push((rank, vec![partition])),
            }
        }
        let queue = |(rank, partitions)| Queue { rank, ..Queue::new(policy, reverts, alone, partitions) };
        divided.into_iter().map(queue).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: f64 = 3600.0;

    fn key(partition: u32) -> (PolicyIndex, Partition) {
        (PolicyIndex::new(0), Partition::new(partition))
    }

    fn lacking(partition: u32, copies: Option<u16>) -> Lacking {
        let (policy, partition) = key(partition);
        Lacking { policy, partition, copies }
    }

    /// A history after passes that had their turn with every partition, an hour after one another, the first at 0.
    fn after(passes: &[&[Lacking]]) -> History {
        let mut history = History::new(-HOUR);
        for (hour, lacking) in passes.iter().enumerate() {
            history.take_in(&Found { began: hour as f64 * HOUR, lacking, is_complete: true }, |_, _| true);
        }
        history
    }

    fn rank(history: &History, partition: u32, hour: f64) -> Option<(u16, u8)> {
        let (policy, partition) = key(partition);
        history.rank(policy, partition, hour * HOUR).map(|rank| (rank.copies, rank.age))
    }

    #[test]
    fn what_lacks_copies_is_known_until_it_is_whole() {
        let history = after(&[&[], &[lacking(1, Some(2)), lacking(2, Some(1))], &[lacking(1, Some(1))]]);
        assert_eq!(
            (rank(&history, 1, 0.5), rank(&history, 2, 0.5), rank(&history, 3, 0.5)),
            (Some((1, 0)), None, None)
        );
        assert_eq!(
            (rank(&history, 1, 1.0), rank(&history, 1, 2.0), rank(&history, 1, 9.0)),
            (Some((1, 1)), Some((1, 2)), Some((1, 4)))
        );
        assert_eq!(history.oldest_success(), 0.0, "the first pass found it whole");
        assert_eq!(after(&[&[], &[lacking(1, Some(1))], &[]]).oldest_success(), 2.0 * HOUR);
    }

    #[test]
    fn what_was_never_whole_is_the_oldest() {
        let history = after(&[&[lacking(1, Some(2))], &[lacking(1, Some(2)), lacking(2, Some(2))]]);
        assert_eq!((rank(&history, 1, 2.0), rank(&history, 2, 2.0)), (Some((2, u8::MAX)), Some((2, 2))));
        assert_eq!(history.oldest_success(), -HOUR);
    }

    #[test]
    fn what_could_not_be_compared_is_no_success_and_as_much_in_danger_as_before() {
        let history = after(&[&[], &[lacking(1, Some(1)), lacking(2, None)], &[lacking(1, None), lacking(2, None)]]);
        assert_eq!((rank(&history, 1, 2.0), rank(&history, 2, 2.0)), (Some((1, 2)), None));
        assert_eq!(history.oldest_success(), 0.0);
    }

    #[test]
    fn what_had_no_turn_stays_as_it_was() {
        let mut history = after(&[&[], &[lacking(1, Some(1)), lacking(2, Some(1))]]);
        let found = Found { began: 5.0 * HOUR, lacking: &[], is_complete: false };
        history.take_in(&found, |_, partition| partition == Partition::new(1));
        assert_eq!((rank(&history, 1, 6.0), rank(&history, 2, 6.0)), (None, Some((1, 3))));
        assert_eq!((history.complete, history.oldest_success()), (Some(HOUR), 0.0));
    }

    #[test]
    fn a_queue_is_divided_by_rank_and_neighbours_stay_neighbours() {
        let history = after(&[
            &[lacking(5, Some(1))],
            &[5, 3, 8].map(|n| lacking(n, Some(1))),
            &[lacking(5, Some(1)), lacking(3, Some(1)), lacking(8, Some(1)), lacking(1, Some(2))],
        ]);
        let partitions = [9, 8, 7, 6, 5, 4, 3, 2, 1].map(Partition::new).to_vec();
        let divided = history.divide(Queue::new(7, false, true, partitions.clone()), PolicyIndex::new(0), 2.0 * HOUR);
        let seen: Vec<_> = divided
            .iter()
            .map(|queue| {
                (queue.rank.map(|rank| (rank.copies, rank.age)), queue.partitions.iter().map(|p| p.number()).collect())
            })
            .collect();
        let expected: [(_, Vec<u32>); 4] = [
            (None, vec![9, 7, 6, 4, 2]),
            (Some((1, 2)), vec![8, 3]),
            (Some((1, u8::MAX)), vec![5]),
            (Some((2, 1)), vec![1]),
        ];
        assert_eq!(seen, expected);
        assert!(divided.iter().all(|queue| queue.policy == 7 && queue.alone && queue.whole == queue.partitions.len()));
        let other_policy = history.divide(Queue::new(8, false, false, partitions), PolicyIndex::new(1), 0.0);
        assert_eq!(other_policy.len(), 1);
    }
}
