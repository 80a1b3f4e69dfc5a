//! Which lane gets the next job, and which of its queues: the rules, without the state.
//!
//! The lane with the fewest jobs at work comes next, so that a slow device does not hold up the others. With
//! `drain_full_first` a device here that is more than [`ALMOST_FULL`] full, and has hand-offs to get rid of, comes first: it
//! gets [`DRAINED`] jobs for each one that another lane gets, and its hand-offs have their turn before what belongs there.
//! A lane that has not been listed yet comes as early, for it may be such a one.
//!
//! On a lane what is in danger comes before all else: the partition with the fewest known copies; among equals hand-offs;
//! and among those what has not been whole for longest. The rest, of which the last pass found all copies or nothing is
//! known yet, is mixed: were hand-offs to come first there too, a rebalance would keep a device from finding out for days
//! what its primaries lack. What is in danger has queues of its own, one for each rank, in which neighbours have targets in
//! common as in the others (`history.rs`); so it is pushed in lists that are as long.

use std::cmp::Reverse;

use crate::job::copies::Rank;

/// A device that is fuller than this, in per cent, is drained first.
pub(crate) const ALMOST_FULL: f64 = 90.0;
/// So many jobs are at work on a lane that is drained for one on another.
const DRAINED: usize = 3;

/// How early a lane comes that has so many jobs at work: the lowest comes next.
pub(super) fn turn(in_flight: usize, comes_first: bool) -> (usize, bool) {
    let waits = if comes_first { in_flight } else { in_flight * DRAINED + DRAINED - 1 };
    (waits, !comes_first)
}

/// Among how many workers the work of a lane is shared out, if that many are at work on so many lanes.
pub(super) fn share(concurrency: usize, busy: usize, comes_first: bool) -> usize {
    let even = concurrency.div_ceil(busy.max(1));
    if comes_first { even.max(DRAINED.min(concurrency)) } else { even }
}

/// How early a queue comes on its lane: the lowest comes next, and those that are equal are mixed.
pub(super) fn place(rank: Option<Rank>, reverts: bool, is_drained: bool) -> (u16, bool, Reverse<u8>) {
    match rank {
        Some(Rank { copies, age }) => (copies, !reverts, Reverse(age)),
        None => (u16::MAX, is_drained && !reverts, Reverse(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which lanes get so many permits, one after the other, if those that come first are at the beginning.
    fn permits(count: usize, lanes: usize, first: usize) -> Vec<usize> {
        let mut in_flight = vec![0; lanes];
        for _ in 0..count {
            let next = (0..lanes).min_by_key(|&lane| turn(in_flight[lane], lane < first)).unwrap();
            in_flight[next] += 1;
        }
        in_flight
    }

    #[test]
    fn the_lane_with_the_fewest_at_work_comes_next() {
        assert_eq!(permits(8, 3, 0), [3, 3, 2]);
        assert_eq!(permits(8, 3, 3), [3, 3, 2], "all are equal");
    }

    #[test]
    fn a_lane_that_is_drained_gets_three_permits_for_one_of_the_others_and_the_first_ones() {
        assert_eq!(permits(1, 3, 1), [1, 0, 0]);
        assert_eq!(permits(3, 3, 1), [3, 0, 0]);
        assert_eq!(permits(5, 3, 1), [3, 1, 1]);
        assert_eq!(permits(10, 3, 1), [6, 2, 2]);
        assert_eq!(permits(8, 3, 2), [4, 3, 1], "two are drained");
        assert_eq!((share(8, 8, false), share(8, 8, true), share(2, 8, true), share(8, 1, true)), (1, 3, 2, 8));
    }

    #[test]
    fn hand_offs_come_first_where_a_lane_is_drained_and_are_mixed_elsewhere() {
        assert!(place(None, true, true) < place(None, false, true));
        assert_eq!(place(None, true, false), place(None, false, false));
    }

    #[test]
    fn the_fewest_copies_come_first_then_hand_offs_then_what_was_whole_longest_ago() {
        let rank = |copies, age| Some(Rank { copies, age });
        let order = [
            (rank(1, 0), true),
            (rank(1, 9), false),
            (rank(1, 2), false),
            (rank(2, u8::MAX), true),
            (rank(2, 1), true),
            (rank(2, u8::MAX), false),
            (None, true),
        ];
        for is_drained in [false, true] {
            assert!(order.is_sorted_by(|a, b| place(a.0, a.1, is_drained) < place(b.0, b.1, is_drained)));
        }
    }
}
