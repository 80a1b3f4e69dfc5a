//! What is left to do, one lane per local device, and which job comes next.
//!
//! A slow device must not hold up the others, so the next job comes from the lane with the fewest at work. A lane begins
//! with a job of its own that looks at the device and lists its partitions; until that has ended it has nothing else.
//! A lane whose job is stuck is closed: nothing of it is begun, and nobody waits for it, until that job has come back.

use std::sync::Arc;

use super::collect::Queue;
use super::tally::Tally;
use super::watchdog::StuckJob;
use crate::names::Partition;
use crate::report::counts::Cause;

/// What is left to do on one local device, and what was counted there.
pub struct Lane {
    pub disk: Arc<str>,
    /// Policies whose partitions have yet to be listed, by their places in the pass's list.
    unlisted: Vec<usize>,
    /// The lane's own job is at work.
    is_listing: bool,
    queues: Vec<Queue>,
    in_flight: usize,
    /// The jobs that closed the lane, until they come back.
    stuck: Vec<StuckJob>,
    /// Partitions that were found.
    pub found: u64,
    /// Why not all of them could be found, if so.
    pub trouble: Option<String>,
    pub tally: Tally,
}

/// The next thing to do on a lane.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Look at the device and list its partitions of these policies, by their places in the pass's list.
    Collect { policies: Vec<usize> },
    /// Partitions of one policy, by its place in the pass's list.
    Batch { policy: usize, partitions: Vec<Partition> },
}

/// The most partitions of one batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Of partitions that belong here.
    pub updates: usize,
    /// Of hand-offs: they are locked while their batch is at work.
    pub reverts: usize,
}

/// So many partitions are not shared out any further between workers.
const WORTH_A_RUN: usize = 8;

/// All lanes of a pass.
pub struct Lanes {
    lanes: Vec<Lane>,
    /// Whether nothing that belongs here is begun before all hand-offs are done (B5.12); false once they are.
    handoffs_first: bool,
    limits: BatchLimits,
    /// Jobs that may be at work at once, on all lanes.
    concurrency: usize,
    /// Where the search for the next lane begins, so that equals take turns.
    turn: usize,
}

impl Lanes {
    /// No lanes yet.
    pub fn new(handoffs_first: bool, limits: BatchLimits, concurrency: usize) -> Self {
        Self { lanes: Vec::new(), handoffs_first, limits, concurrency, turn: 0 }
    }

    /// The device has partitions of this policy to be listed; it gets a lane if it has none.
    pub fn add(&mut self, disk: &str, policy: usize) {
        let number = self.lanes.iter().position(|lane| *lane.disk == *disk).unwrap_or_else(|| {
            self.lanes.push(Lane::new(Arc::from(disk)));
            self.lanes.len() - 1
        });
        self.lanes[number].unlisted.push(policy);
    }

    /// The lanes, by the numbers that [`Lanes::take_next`] gives.
    pub fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter()
    }

    /// The lane with this number.
    pub fn get(&self, number: usize) -> &Lane {
        &self.lanes[number]
    }

    /// How many lanes there are.
    pub fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Takes the next job: the lane's number and what to do. `None`: nothing is ready, though jobs at work may make more.
    pub fn take_next(&mut self) -> Option<(usize, Next)> {
        let reverts_only = self.handoffs_first && self.handoffs_are_left();
        self.handoffs_first = reverts_only;
        let number = (0..self.lanes.len())
            .map(|i| (self.turn + i) % self.lanes.len())
            .filter(|&number| self.lanes[number].has_work(reverts_only))
            .min_by_key(|&number| self.lanes[number].in_flight)?;
        self.turn = number + 1;
        let busy = self.lanes.iter().filter(|lane| lane.has_work(reverts_only)).count();
        let share = self.concurrency.div_ceil(busy);
        let lane = &mut self.lanes[number];
        let next = lane.take(reverts_only, self.limits, share)?;
        lane.in_flight += 1;
        Some((number, next))
    }

    /// A job of the lane has ended; if it was the lane's own, it found these queues.
    pub fn done(&mut self, number: usize, queues: Option<Vec<Queue>>, tally: Tally) {
        let lane = &mut self.lanes[number];
        if let Some(queues) = queues {
            lane.is_listing = false;
            lane.found += queues.iter().map(|queue| queue.partitions.len() as u64).sum::<u64>();
            lane.queues.extend(queues);
        }
        lane.in_flight -= 1;
        lane.tally.merge(tally);
    }

    /// Not everything on the lane can be found.
    pub fn has_trouble(&mut self, number: usize, trouble: String) {
        self.lanes[number].trouble = Some(trouble);
    }

    /// A job of the lane goes on, and has counted this.
    pub fn count_in(&mut self, number: usize, tally: Tally) {
        self.lanes[number].tally.merge(tally);
    }

    /// A job of the lane is stuck: the lane is closed until it comes back. Says whether the lane was open before.
    pub fn close(&mut self, number: usize, job: StuckJob) -> bool {
        let lane = &mut self.lanes[number];
        lane.stuck.push(job);
        lane.tally.counts.fail(Cause::Stuck);
        lane.stuck.len() == 1
    }

    /// Opens the lanes whose stuck jobs have come back; gives their devices.
    pub fn reopen(&mut self) -> Vec<Arc<str>> {
        let mut opened = Vec::new();
        for lane in self.lanes.iter_mut().filter(|lane| !lane.stuck.is_empty()) {
            lane.stuck.retain(StuckJob::is_at_work);
            if lane.stuck.is_empty() {
                opened.push(lane.disk.clone());
            }
        }
        opened
    }

    /// Whether hand-offs were to be done first and some are still here though all have had their turn, while other
    /// partitions wait (B5.12).
    pub fn handoffs_remain(&self) -> bool {
        let is_left = |lane: &Lane| lane.tally.handoffs_remaining > 0 || (lane.is_closed() && lane.may_have_handoffs());
        self.handoffs_first
            && !self.handoffs_are_left()
            && self.lanes.iter().any(is_left)
            && self.lanes.iter().any(|lane| lane.has_work(false))
    }

    /// Drops what has not been begun: of one policy on one device, which is gone, so that it has no partitions; of one
    /// policy; or all. Says how many partitions that were.
    pub fn drop_waiting(&mut self, policy: Option<usize>, disk: Option<&str>) -> usize {
        let mut all_dropped = 0;
        for lane in self.lanes.iter_mut().filter(|lane| disk.is_none_or(|disk| disk == &*lane.disk)) {
            lane.unlisted.retain(|unlisted| policy.is_some_and(|policy| policy != *unlisted));
            let before = lane.waiting();
            lane.queues.retain(|queue| policy.is_some_and(|policy| policy != queue.policy));
            let dropped = before - lane.waiting();
            if disk.is_some() {
                lane.found = lane.found.saturating_sub(dropped as u64);
            }
            all_dropped += dropped;
        }
        all_dropped
    }

    /// Lanes on which something has not been begun or is stuck.
    pub fn unfinished(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().filter(|lane| lane.is_closed() || lane.waiting() > 0 || !lane.unlisted.is_empty())
    }

    /// Whether hand-offs may still come up, or anything is at work, on a lane that is open.
    fn handoffs_are_left(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.is_closed() && (lane.in_flight > 0 || lane.may_have_handoffs()))
    }
}

impl Lane {
    fn new(disk: Arc<str>) -> Self {
        Self {
            disk,
            unlisted: Vec::new(),
            is_listing: false,
            queues: Vec::new(),
            in_flight: 0,
            stuck: Vec::new(),
            found: 0,
            trouble: None,
            tally: Tally::default(),
        }
    }

    /// Whether a job of the lane is stuck.
    pub fn is_closed(&self) -> bool {
        !self.stuck.is_empty()
    }

    /// What closed the lane.
    pub fn stuck(&self) -> &[StuckJob] {
        &self.stuck
    }

    /// Whether it is known what there is to do on the lane.
    pub fn is_listed(&self) -> bool {
        !self.is_listing && self.unlisted.is_empty()
    }

    /// What has not been begun.
    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// Partitions that have not been begun.
    pub fn waiting(&self) -> usize {
        self.queues.iter().map(|queue| queue.partitions.len()).sum()
    }

    fn may_have_handoffs(&self) -> bool {
        self.is_listing || !self.unlisted.is_empty() || self.queues.iter().any(|queue| queue.reverts)
    }

    fn has_work(&self, reverts_only: bool) -> bool {
        if self.is_closed() || self.is_listing {
            return false;
        }
        !self.unlisted.is_empty() || self.queues.iter().any(|queue| queue.reverts || !reverts_only)
    }

    /// Takes the next job. Where the lane has several workers, its `share`, a batch is at most half of what each could
    /// get of the whole, so that they end at about the same time; but not so few that starting rsync costs more than
    /// what it sends.
    fn take(&mut self, reverts_only: bool, limits: BatchLimits, share: usize) -> Option<Next> {
        if !self.unlisted.is_empty() {
            self.is_listing = true;
            return Some(Next::Collect { policies: std::mem::take(&mut self.unlisted) });
        }
        let place = self.pick(reverts_only)?;
        let queue = &mut self.queues[place];
        let limit = match queue {
            Queue { alone: true, .. } => 1,
            Queue { reverts: true, .. } => limits.reverts,
            Queue { .. } => limits.updates,
        };
        let fair = if share > 1 { queue.whole.div_ceil(2 * share).max(WORTH_A_RUN) } else { queue.whole };
        let partitions = take_neighbours(&mut queue.partitions, fair.clamp(1, limit));
        let policy = queue.policy;
        if queue.partitions.is_empty() {
            self.queues.swap_remove(place);
        }
        Some(Next::Batch { policy, partitions })
    }

    /// One of the queues, the longer ones more often, so that all kinds of work are spread over the pass.
    fn pick(&self, reverts_only: bool) -> Option<usize> {
        let may = |queue: &&Queue| queue.reverts || !reverts_only;
        let total: usize = self.queues.iter().filter(may).map(|queue| queue.partitions.len()).sum();
        if total == 0 {
            return None;
        }
        let mut ticket = fastrand::usize(..total);
        self.queues.iter().position(|queue| {
            if !may(&queue) {
                return false;
            }
            let hit = ticket < queue.partitions.len();
            ticket = ticket.saturating_sub(queue.partitions.len());
            hit
        })
    }
}

/// Takes so many neighbours out of the list, from anywhere in it, or fewer from its end; the end fills the gap. Workers
/// so get different neighbourhoods, and not all the same target at a time.
fn take_neighbours(partitions: &mut Vec<Partition>, count: usize) -> Vec<Partition> {
    let all = partitions.len();
    let start = fastrand::usize(..all.div_ceil(count).max(1)) * count;
    let end = all.min(start + count);
    let taken = partitions[start..end].to_vec();
    partitions.copy_within(all - taken.len().min(all - end).., start);
    partitions.truncate(all - taken.len());
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pass::watchdog::Slot;

    fn queue(policy: usize, reverts: bool, numbers: std::ops::Range<u32>) -> Queue {
        Queue::new(policy, reverts, false, numbers.map(Partition::new).collect())
    }

    fn lanes(disks: &[&str], handoffs_first: bool) -> Lanes {
        let mut lanes = Lanes::new(handoffs_first, BatchLimits { updates: 1, reverts: 1 }, 1);
        disks.iter().for_each(|disk| lanes.add(disk, 0));
        lanes
    }

    /// Lets the lane's first job be taken and end with these queues.
    fn open(lanes: &mut Lanes, number: usize, queues: Vec<Queue>) {
        lanes.done(number, Some(queues), Tally::default());
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
        let mut lanes = lanes(&["sda", "sdb"], false);
        for _ in 0..2 {
            lanes.take_next();
        }
        open(&mut lanes, 0, vec![queue(0, false, 0..100)]);
        let first: Vec<_> = (0..3).map(|_| lanes.take_next().unwrap().0).collect();
        assert_eq!(first, [0, 0, 0], "the other has nothing ready");
        open(&mut lanes, 1, vec![queue(0, false, 0..100)]);
        let next: Vec<_> = (0..3).map(|_| lanes.take_next().unwrap().0).collect();
        assert_eq!(next, [1, 1, 1], "it catches up");
    }

    #[test]
    fn every_partition_comes_once() {
        let mut lanes = lanes(&["sda"], false);
        lanes.take_next();
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
        let mut lanes = lanes(&["sda", "sdb"], true);
        for _ in 0..2 {
            lanes.take_next();
        }
        open(&mut lanes, 0, vec![queue(0, false, 0..2)]);
        assert_eq!(lanes.take_next(), None, "the other lane may still find hand-offs");
        open(&mut lanes, 1, vec![queue(0, true, 7..8)]);
        assert_eq!(lanes.take_next().map(|(number, _)| number), Some(1));
        assert_eq!(lanes.take_next(), None, "the hand-off is at work");
        lanes.done(1, None, Tally::default());
        assert!(!lanes.handoffs_remain());
        assert_eq!(lanes.take_next().map(|(number, _)| number), Some(0));
    }

    #[test]
    fn a_handoff_that_stays_keeps_the_rest_from_being_begun() {
        let mut lanes = lanes(&["sda"], true);
        lanes.take_next();
        open(&mut lanes, 0, vec![queue(0, false, 0..2), queue(0, true, 7..8)]);
        lanes.take_next();
        lanes.done(0, None, Tally { handoffs_remaining: 1, ..Tally::default() });
        assert!(lanes.handoffs_remain());
        assert_eq!(lanes.drop_waiting(None, None), 2);
        assert_eq!(lanes.take_next(), None);
        assert!(!lanes.handoffs_remain());
    }
    /// A slot that is at a job, and what the watchdog would say of it.
    fn stuck_job() -> (Arc<Slot>, StuckJob) {
        let slot = Arc::new(Slot::default());
        slot.begin(0, &Arc::from("sda"));
        let job = StuckJob::new(slot.clone()).unwrap();
        (slot, job)
    }

    #[test]
    fn a_closed_lane_has_no_work_until_its_job_comes_back() {
        let mut lanes = lanes(&["sda"], false);
        lanes.take_next();
        open(&mut lanes, 0, vec![queue(0, false, 0..3)]);
        lanes.take_next();
        let (slot, job) = stuck_job();
        assert!(lanes.close(0, job));
        assert_eq!(lanes.take_next(), None);
        assert_eq!(lanes.unfinished().map(Lane::waiting).collect::<Vec<_>>(), [2]);
        assert!(lanes.reopen().is_empty());
        slot.end();
        assert_eq!(lanes.reopen().len(), 1);
        assert!(lanes.take_next().is_some());
    }

    #[test]
    fn handoffs_on_a_closed_lane_are_not_waited_for_and_count_as_remaining() {
        let mut lanes = lanes(&["sda", "sdb"], true);
        for _ in 0..2 {
            lanes.take_next();
        }
        open(&mut lanes, 1, vec![queue(0, false, 0..3)]);
        assert!(!lanes.handoffs_remain(), "the first lane may come to its end");
        let (_slot, job) = stuck_job();
        lanes.close(0, job);
        assert!(lanes.handoffs_remain());
    }

    #[test]
    fn what_is_left_of_a_policy_can_be_dropped_on_one_device_or_on_all() {
        let mut lanes = lanes(&["sda", "sdb"], false);
        for number in 0..2 {
            lanes.take_next();
            open(&mut lanes, number, vec![queue(0, false, 0..3), queue(1, false, 0..5)]);
        }
        assert_eq!(lanes.drop_waiting(Some(1), Some("sdb")), 5);
        assert_eq!(lanes.drop_waiting(Some(0), None), 6);
        assert_eq!(lanes.unfinished().map(Lane::waiting).collect::<Vec<_>>(), [5]);
    }
}
