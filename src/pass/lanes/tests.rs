//! Tests of the lanes.

use super::*;
use crate::job::copies::Rank;
use crate::job::custody::Custody;
use crate::job::slot::{Slot, Step};

fn queue(policy: usize, reverts: bool, numbers: std::ops::Range<u32>) -> Queue {
    Queue::new(policy, reverts, false, numbers.map(Partition::new).collect())
}

fn lanes(disks: &[&str], handoffs_first: bool) -> Lanes {
    let mut lanes = Lanes::new(handoffs_first, BatchLimits { updates: 1, reverts: 1 }, 1);
    disks.iter().for_each(|disk| lanes.add(disk, 0));
    lanes
}

/// Lanes of which each is at its first job.
fn listing(disks: &[&str], handoffs_first: bool) -> Lanes {
    let mut lanes = lanes(disks, handoffs_first);
    disks.iter().for_each(|_| drop(lanes.take_next()));
    lanes
}

/// A lane of which these queues are known, and one batch is at work.
fn at_work(handoffs_first: bool, queues: Vec<Queue>) -> Lanes {
    let mut lanes = listing(&["sda"], handoffs_first);
    open(&mut lanes, 0, queues);
    lanes.take_next();
    lanes
}

/// Lets the lane's first job be taken and end with these queues.
fn open(lanes: &mut Lanes, number: usize, queues: Vec<Queue>) {
    lanes.done(number, Some(queues), Tally::default(), false);
}

#[test]
fn a_lane_begins_with_its_own_first_job_and_waits_for_it() {
    let mut lanes = lanes(&["sda"], false);
    assert_eq!(lanes.take_next(), Some((0, Next::Collect { policies: vec![0] })));
    assert_eq!(lanes.take_next(), None);
    open(&mut lanes, 0, vec![queue(0, false, 0..1)]);
    assert_eq!(lanes.take_next(), Some((0, Next::Batch { policy: 0, partitions: vec![Partition::new(0)] })));
    assert_eq!(lanes.take_next(), None);
}

#[test]
fn the_lane_with_the_fewest_at_work_comes_next() {
    let mut lanes = listing(&["sda", "sdb"], false);
    open(&mut lanes, 0, vec![queue(0, false, 0..100)]);
    let first: Vec<_> = (0..3).map(|_| lanes.take_next().unwrap().0).collect();
    assert_eq!(first, [0, 0, 0], "the other has nothing ready");
    open(&mut lanes, 1, vec![queue(0, false, 0..100)]);
    let next: Vec<_> = (0..3).map(|_| lanes.take_next().unwrap().0).collect();
    assert_eq!(next, [1, 1, 1], "it catches up");
}

#[test]
fn every_partition_comes_once() {
    let mut lanes = listing(&["sda"], false);
    open(&mut lanes, 0, vec![queue(0, false, 0..50), queue(1, true, 0..70)]);
    let mut seen = Vec::new();
    while let Some((_, Next::Batch { policy, partitions })) = lanes.take_next() {
        seen.extend(partitions.into_iter().map(|partition| (policy, partition.number())));
    }
    seen.sort_unstable();
    let all: Vec<_> = (0..50).map(|p| (0, p)).chain((0..70).map(|p| (1, p))).collect();
    assert_eq!(seen, all);
}

#[test]
fn every_partition_comes_once_in_whatever_runs_of_neighbours() {
    for (all, count) in [(1, 1), (7, 1), (7, 3), (7, 7), (7, 9), (100, 8)] {
        let mut left: Vec<_> = (0..all).map(Partition::new).collect();
        let mut taken = Vec::new();
        while !left.is_empty() {
            let some = take_neighbours(&mut left, count);
            assert!((1..=count).contains(&some.len()));
            taken.extend(some.iter().map(|partition| partition.number()));
        }
        taken.sort_unstable();
        assert_eq!(taken, (0..all).collect::<Vec<_>>(), "{count} at a time");
    }
}

#[test]
fn batches_are_as_large_as_they_may_be_and_give_every_worker_something() {
    let mut lanes = Lanes::new(false, BatchLimits { updates: 100, reverts: 10 }, 4);
    lanes.add("sda", 0);
    lanes.take_next();
    lanes.lanes[0].is_listing = false;
    let mut sizes_of = |partitions| {
        lanes.lanes[0].queues = vec![queue(0, false, 0..partitions)];
        let next = || match lanes.take_next() {
            Some((_, Next::Batch { partitions, .. })) => Some(partitions.len()),
            _ => None,
        };
        std::iter::from_fn(next).collect::<Vec<_>>()
    };
    assert_eq!(sizes_of(1000), [100; 10]);
    assert_eq!(sizes_of(400), [50; 8]);
    assert_eq!(sizes_of(16), [WORTH_A_RUN; 2]);
    assert_eq!(sizes_of(3), [3]);

    lanes.lanes[0].queues = vec![queue(0, true, 0..1000)];
    assert!(matches!(lanes.take_next(), Some((_, Next::Batch { partitions, .. })) if partitions.len() == 10));
    lanes.lanes[0].queues = vec![Queue::new(0, false, true, (0..1000).map(Partition::new).collect())];
    assert!(matches!(lanes.take_next(), Some((_, Next::Batch { partitions, .. })) if partitions.len() == 1));
}

#[test]
fn with_handoffs_first_nothing_else_begins_while_one_is_at_work_on_any_lane() {
    let mut lanes = listing(&["sda", "sdb"], true);
    open(&mut lanes, 0, vec![queue(0, false, 0..2)]);
    assert_eq!(lanes.take_next(), None, "the other lane may still find hand-offs");
    open(&mut lanes, 1, vec![queue(0, true, 7..8)]);
    assert_eq!(lanes.take_next().map(|(number, _)| number), Some(1));
    assert_eq!(lanes.take_next(), None, "the hand-off is at work");
    lanes.done(1, None, Tally::default(), false);
    assert!(!lanes.handoffs_remain());
    assert_eq!(lanes.take_next().map(|(number, _)| number), Some(0));
}

#[test]
fn a_handoff_that_stays_keeps_the_rest_from_being_begun() {
    let mut lanes = at_work(true, vec![queue(0, false, 0..2), queue(0, true, 7..8)]);
    lanes.done(0, None, Tally { handoffs_remaining: 1, ..Tally::default() }, false);
    assert!(lanes.handoffs_remain());
    assert_eq!(lanes.drop_waiting(None, None), 2);
    assert_eq!(lanes.take_next(), None);
    assert!(!lanes.handoffs_remain());
}

/// A slot that is at a job, and what the watchdog would say of it.
fn stuck_job() -> (Arc<Slot>, StuckJob) {
    let slot = Arc::new(Slot::default());
    slot.begin(0, &Arc::from("sda"), None);
    let job = StuckJob::new(slot.clone()).unwrap();
    (slot, job)
}

#[test]
fn a_closed_lane_has_no_work_until_its_job_comes_back() {
    let mut lanes = at_work(false, vec![queue(0, false, 0..3)]);
    let (slot, job) = stuck_job();
    assert_eq!(lanes.close(0, job), 1);
    assert_eq!(lanes.take_next(), None);
    assert_eq!(lanes.unfinished().map(Lane::waiting).collect::<Vec<_>>(), [2]);
    assert!(lanes.reopen().is_empty());
    slot.end();
    assert_eq!(lanes.reopen().len(), 1);
    assert!(lanes.take_next().is_some());
}

#[test]
fn handoffs_on_a_closed_lane_are_not_waited_for_and_count_as_remaining() {
    let mut lanes = listing(&["sda", "sdb"], true);
    open(&mut lanes, 1, vec![queue(0, false, 0..3)]);
    assert!(!lanes.handoffs_remain(), "the first lane may come to its end");
    let (_slot, job) = stuck_job();
    lanes.close(0, job);
    assert!(lanes.handoffs_remain());
}

#[test]
fn what_is_left_of_a_policy_can_be_dropped_on_one_device_or_on_all() {
    let mut lanes = listing(&["sda", "sdb"], false);
    for number in 0..2 {
        open(&mut lanes, number, vec![queue(0, false, 0..3), queue(1, false, 0..5)]);
    }
    assert_eq!(lanes.drop_waiting(Some(1), Some("sdb")), 5);
    assert_eq!(lanes.drop_waiting(Some(0), None), 6);
    assert_eq!(lanes.unfinished().map(Lane::waiting).collect::<Vec<_>>(), [5]);
}

/// A job that hangs at the first of these partitions, and its slot.
fn stuck_at(partitions: std::ops::Range<u32>) -> (Arc<Slot>, StuckJob) {
    let partitions: Vec<_> = partitions.map(Partition::new).collect();
    let suspect = partitions.first().copied();
    let custody = Custody::new(PolicyIndex::new(0), partitions);
    let slot = Arc::new(Slot::default());
    slot.begin(0, &Arc::from("sda"), Some(Arc::new(custody)));
    slot.step(suspect, Step::Hashing, None);
    let job = StuckJob::new(slot.clone()).unwrap();
    (slot, job)
}

#[test]
fn a_lane_with_one_partition_that_hangs_is_opened_again_once_the_device_has_answered() {
    let mut lanes = at_work(false, vec![queue(0, false, 0..3)]);
    let (_slot, job) = stuck_at(7..8);
    lanes.close(0, job);
    assert!(lanes.get(0).is_closed() && lanes.has_next());
    let Some((0, Next::Look { partition: Some(_), .. })) = lanes.take_next() else { panic!("one looks") };
    assert_eq!(lanes.take_next(), None, "nothing else is begun before the answer");
    lanes.answered(0, false);
    assert!(!lanes.get(0).is_closed() && matches!(lanes.take_next(), Some((0, Next::Batch { .. }))));
    assert_eq!(lanes.unfinished().count(), 1, "something hangs");
}

#[test]
fn a_second_job_that_hangs_closes_the_lane_until_one_is_back() {
    let mut lanes = at_work(false, vec![queue(0, false, 0..3)]);
    let (_first, job) = stuck_at(7..8);
    lanes.close(0, job);
    lanes.take_next();
    lanes.answered(0, false);
    lanes.take_next();
    let (second, job) = stuck_at(9..10);
    assert_eq!(lanes.close(0, job), 2);
    assert!(lanes.get(0).is_closed() && !lanes.has_next());
    second.end();
    assert!(lanes.reopen().is_empty(), "the first one still hangs");
    lanes.done(0, None, Tally::default(), true);
    assert!(!lanes.get(0).is_closed() && lanes.has_next());
}

#[test]
fn a_look_that_hangs_keeps_the_lane_closed() {
    let mut lanes = at_work(false, vec![queue(0, false, 0..3)]);
    let (_slot, job) = stuck_at(7..8);
    lanes.close(0, job);
    lanes.take_next();
    let (_look, job) = stuck_job();
    lanes.close(0, job);
    assert!(lanes.get(0).is_closed() && !lanes.has_next());
}

#[test]
fn what_hung_in_an_earlier_pass_at_one_partition_does_not_close_the_lane_and_two_such_do() {
    let mut lanes = lanes(&["sda"], false);
    let ((_first, first), (_second, second)) = (stuck_at(7..8), stuck_at(9..10));
    lanes.inherit(0, first);
    assert!(!lanes.get(0).is_closed());
    assert_eq!(lanes.take_next(), Some((0, Next::Collect { policies: vec![0] })));
    lanes.inherit(0, second);
    assert!(lanes.get(0).is_closed());
}

#[test]
fn with_handoffs_first_a_lane_that_may_be_opened_again_is_waited_for() {
    let mut lanes = listing(&["sda", "sdb"], true);
    open(&mut lanes, 0, vec![queue(0, true, 0..2)]);
    open(&mut lanes, 1, vec![queue(0, false, 0..3)]);
    lanes.take_next();
    let (_slot, job) = stuck_at(7..8);
    lanes.close(0, job);
    let Some((0, Next::Look { .. })) = lanes.take_next() else { panic!("one looks") };
    assert_eq!(lanes.take_next(), None, "the hand-offs of the first may still have their turn");
    lanes.answered(0, false);
    assert!(matches!(lanes.take_next(), Some((0, Next::Batch { .. }))));
    lanes.done(0, None, Tally::default(), false);
    assert!(matches!(lanes.take_next(), Some((1, Next::Batch { .. }))), "what hangs is not waited for");
}

#[test]
fn what_is_in_danger_comes_first_and_the_rest_is_mixed() {
    let ranked = |copies, age, reverts, numbers: std::ops::Range<u32>| Queue {
        rank: Some(Rank { copies, age }),
        ..queue(0, reverts, numbers)
    };
    let queues = vec![
        queue(0, true, 200..300),
        ranked(2, 9, true, 20..30),
        ranked(1, 0, false, 10..20),
        queue(0, false, 300..400),
        ranked(1, 0, true, 0..10),
    ];
    let mut lanes = listing(&["sda"], false);
    open(&mut lanes, 0, queues);
    let next = || match lanes.take_next() {
        Some((_, Next::Batch { partitions, .. })) => Some(partitions[0].number()),
        _ => None,
    };
    let order: Vec<_> = std::iter::from_fn(next).collect();
    let tens: Vec<_> = order[..30].iter().map(|number| number / 10).collect();
    assert_eq!(tens, [[0; 10], [1; 10], [2; 10]].concat(), "{order:?}");
    assert_eq!(order.len(), 230);
    assert!(!order[30..].is_sorted_by_key(|number| *number < 300), "hand-offs and others come mixed: {order:?}");
}

#[test]
fn with_handoffs_first_what_is_in_danger_waits_too_unless_it_is_a_hand_off() {
    let ranked = Queue { rank: Some(Rank { copies: 1, age: 0 }), ..queue(0, false, 0..2) };
    let mut lanes = listing(&["sda"], true);
    open(&mut lanes, 0, vec![ranked, queue(0, true, 7..8)]);
    assert!(matches!(lanes.take_next(), Some((0, Next::Batch { partitions, .. })) if partitions[0].number() == 7));
    lanes.done(0, None, Tally::default(), false);
    assert!(matches!(lanes.take_next(), Some((0, Next::Batch { .. }))));
}

/// Two lanes, of which the first is almost full and has these queues.
fn almost_full(drains: bool, concurrency: usize, queues: Vec<Queue>) -> Lanes {
    let limits = BatchLimits { updates: 1, reverts: 1 };
    let mut lanes = Lanes::new(false, limits, concurrency).draining(drains);
    ["sda", "sdb"].iter().for_each(|disk| lanes.add(disk, 0));
    (0..2).for_each(|_| drop(lanes.take_next()));
    assert_eq!(lanes.measured(0, 90.1), drains);
    assert!(!lanes.measured(1, 90.0));
    open(&mut lanes, 0, queues);
    open(&mut lanes, 1, vec![queue(0, false, 0..100), queue(0, true, 100..200)]);
    lanes
}

fn next_kinds(lanes: &mut Lanes, count: usize) -> Vec<(usize, bool)> {
    let mut next = || match lanes.take_next() {
        Some((number, Next::Batch { partitions, .. })) => (number, partitions[0].number() >= 100),
        other => panic!("a batch: {other:?}"),
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn an_almost_full_device_is_drained_first_and_its_hand_offs_before_all_else() {
    let queues = || vec![queue(0, false, 0..100), queue(0, true, 100..106)];
    let mut lanes = almost_full(true, 4, queues());
    let kinds = next_kinds(&mut lanes, 8);
    let drained = kinds.iter().filter(|(number, _)| *number == 0).count();
    assert_eq!((drained, &kinds[..3]), (6, &[(0, true); 3][..]), "{kinds:?}");
    assert!(kinds.iter().all(|(number, reverts)| *number == 1 || *reverts), "{kinds:?}");
    let rest = next_kinds(&mut lanes, 4);
    assert!(rest.iter().all(|(number, _)| *number == 1), "with its hand-offs gone it has no precedence: {rest:?}");
}

#[test]
fn without_the_option_an_almost_full_device_is_like_the_others() {
    let mut lanes = almost_full(false, 4, vec![queue(0, false, 0..100), queue(0, true, 100..200)]);
    let kinds = next_kinds(&mut lanes, 60);
    assert_eq!(kinds.iter().filter(|(number, _)| *number == 0).count(), 30);
    assert!(kinds.contains(&(0, false)), "{kinds:?}");
}

#[test]
fn a_lane_that_is_not_listed_yet_does_not_wait_for_one_that_is_drained() {
    let mut lanes = lanes(&["sda"], false).draining(true);
    lanes.take_next();
    lanes.measured(0, 95.0);
    open(&mut lanes, 0, vec![queue(0, true, 0..100)]);
    assert!(matches!(lanes.take_next(), Some((0, Next::Batch { .. }))));
    lanes.add("sdb", 0);
    assert!(matches!(lanes.take_next(), Some((1, Next::Collect { .. }))), "it may be almost full, too");
}

#[test]
fn with_hand_offs_only_nothing_else_is_begun_whenever_it_was_found() {
    let mut lanes = listing(&["sda", "sdb"], false);
    open(&mut lanes, 0, vec![queue(0, false, 0..7), queue(0, true, 10..12)]);
    assert_eq!(lanes.leave_handoffs_only(), 7);
    open(&mut lanes, 1, vec![queue(0, false, 20..29), queue(0, true, 30..31)]);
    let found: Vec<_> = lanes.iter().map(|lane| lane.found).collect();
    assert_eq!((found, lanes.is_handoffs_only()), (vec![2, 1], true));
    let mut begun = 0;
    while let Some((number, Next::Batch { partitions, .. })) = lanes.take_next() {
        assert!(partitions.iter().all(|partition| [10, 11, 30].contains(&partition.number())), "{partitions:?}");
        begun += partitions.len();
        lanes.done(number, None, Tally::default(), false);
    }
    assert_eq!(begun, 3);
}

fn pause(disk: &str) -> Option<Pause> {
    let what = crate::orders::pauses::Subject::Device(disk.to_owned());
    Some(Pause { what, order: crate::orders::Order::default() })
}

#[test]
fn of_a_paused_lane_nothing_is_taken_and_it_goes_on_where_it_was() {
    let mut lanes = listing(&["sda", "sdb"], false);
    (0..2).for_each(|number| open(&mut lanes, number, vec![queue(0, false, 0..2)]));
    lanes.pause(|disk| pause(disk).filter(|_| disk == "sdb"));
    assert!(lanes.is_anything_paused() && !lanes.is_all_paused());
    let taken: Vec<_> = std::iter::from_fn(|| lanes.take_next()).map(|(number, _)| number).collect();
    assert_eq!(taken, [0, 0]);
    lanes.pause(pause);
    assert!(lanes.is_all_paused() && !lanes.has_next());
    lanes.pause(|_| None);
    assert!(!lanes.is_anything_paused());
    assert_eq!(std::iter::from_fn(|| lanes.take_next()).count(), 2);
}

#[test]
fn a_paused_lane_does_not_keep_the_hand_offs_of_others_from_being_all_that_is_waited_for() {
    let mut lanes = listing(&["sda", "sdb"], true);
    open(&mut lanes, 0, vec![queue(0, false, 0..1)]);
    open(&mut lanes, 1, vec![queue(0, true, 0..1)]);
    lanes.pause(|disk| pause(disk).filter(|_| disk == "sdb"));
    assert!(lanes.handoffs_remain(), "they are left, and nobody is at work on them");
    lanes.pause(|_| None);
    assert!(!lanes.handoffs_remain());
}

#[test]
fn a_partition_that_goes_first_leaves_its_queue_and_is_found_once() {
    let mut lanes = listing(&["sda"], false);
    open(&mut lanes, 0, vec![queue(0, true, 0..1), queue(0, false, 1..4)]);
    assert!(lanes.take_first(0, 0, Partition::new(2)));
    assert!(lanes.take_first(0, 0, Partition::new(0)), "a hand-off as well");
    assert!(!lanes.take_first(0, 1, Partition::new(3)), "it is of another policy");
    assert_eq!((lanes.get(0).found, lanes.get(0).in_flight), (5, 3));
    let mut left = Vec::new();
    while let Some((0, Next::Batch { partitions, .. })) = lanes.take_next() {
        left.extend(partitions.iter().map(|partition| partition.number()));
    }
    left.sort_unstable();
    assert_eq!(left, [1, 3]);
    assert!(!lanes.take_first(0, 0, Partition::new(1)), "it had its turn");
    assert_eq!(lanes.get(0).found, 6, "so it is one more");
}

#[test]
fn a_partition_is_at_work_as_long_as_a_job_may_come_to_it() {
    let mut lanes = listing(&["sda"], false);
    let at_work = |lanes: &Lanes, number| lanes.get(0).is_at_work(PolicyIndex::new(0), Partition::new(number));
    let custody = Arc::new(Custody::new(PolicyIndex::new(0), (0..3).map(Partition::new).collect()));
    lanes.begun(0, &custody);
    custody.done(Partition::new(0));
    assert!(!at_work(&lanes, 0) && at_work(&lanes, 1) && !at_work(&lanes, 3));
    drop(custody);
    assert!(!at_work(&lanes, 1));
    let (slot, job) = stuck_at(5..7);
    lanes.inherit(0, job);
    assert!(at_work(&lanes, 5) && lanes.get(0).is_stuck_at(PolicyIndex::new(0), Partition::new(5)));
    slot.end();
    assert!(!at_work(&lanes, 5), "the job that hung has come back");
}

#[test]
fn nothing_goes_first_before_a_lane_is_listed_or_while_it_is_closed() {
    let mut lanes = lanes(&["sda"], false);
    assert!(!lanes.get(0).may_begin_first());
    lanes.take_next();
    assert!(!lanes.get(0).may_begin_first());
    open(&mut lanes, 0, Vec::new());
    assert!(lanes.get(0).may_begin_first());
    let (slot, job) = stuck_job();
    lanes.inherit(0, job);
    assert!(!lanes.get(0).may_begin_first());
    slot.end();
    lanes.reopen();
    assert!(lanes.get(0).may_begin_first());
}
