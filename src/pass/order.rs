//! Which lane gets the next job, and which of its queues: the rules, without the state.
//!
//! The lane with the fewest jobs at work comes next, so that a slow device does not hold up the others. With
//! `drain_full_first` a device here that is more than [`ALMOST_FULL`] full, and has hand-offs to get rid of, comes first: it
//! gets [`DRAINED`] jobs for each one that another lane gets, and its hand-offs have their turn before what belongs there.
//! A lane that has not been listed yet comes as early, for it may be such a one.

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
pub(super) fn place(reverts: bool, is_drained: bool) -> bool {
    is_drained && !reverts
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
        assert!(place(true, true) < place(false, true));
        assert_eq!(place(true, false), place(false, false));
    }
}
