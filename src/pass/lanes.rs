//! What is left to do, one lane per local device, and which job comes next.
//!
//! A slow device must not hold up the others, so the next job comes from the lane with the fewest at work. A lane begins
//! with a job of its own that looks at the device and lists its partitions; until that has ended it has nothing else.
//!
//! A lane whose job is stuck is closed: nothing of it is begun, and nobody waits for it. If the job is known to hang at
//! one partition, it may be that alone which hangs: another job then looks whether the device answers. If it does, the
//! lane is opened again, without that partition. If another job hangs there, be it that one, the lane stays closed until
//! no more than one hangs. So a device never keeps more than a few threads.
//!
//! Of a lane whose device is paused nothing is begun either, but somebody wants it so: nothing has failed.

mod first;

use std::sync::{Arc, Weak};

use super::order::{self, ALMOST_FULL};
use crate::cause::Cause;
use crate::job::collect::Queue;
use crate::job::custody::Custody;
use crate::job::tally::Tally;
use crate::names::{Partition, PolicyIndex};
use crate::orders::pauses::Pause;
use crate::pass::watchdog::StuckJob;

/// What is left to do on one local device, and what was counted there.
pub(crate) struct Lane {
    pub disk: Arc<str>,
    /// Policies whose partitions have yet to be listed, by their places in the pass's list.
    unlisted: Vec<usize>,
    /// The lane's own job is at work.
    is_listing: bool,
    queues: Vec<Queue>,
    in_flight: usize,
    /// What batches that were begun have at hand, or had if they have ended.
    begun: Vec<Weak<Custody>>,
    /// The jobs that hang, until they come back.
    stuck: Vec<StuckJob>,
    /// A job looks whether the device answers.
    is_looking: bool,
    /// The device has answered since its first job hung.
    answers: bool,
    /// Whether its hand-offs come first, since the device is almost full.
    is_almost_full: bool,
    /// Why nothing of the lane is begun, if an operator has ordered that.
    pub paused: Option<Pause>,
    /// Partitions that were found.
    pub found: u64,
    /// Why not all of them could be found, if so.
    pub trouble: Option<String>,
    pub tally: Tally,
}

/// The next thing to do on a lane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look at the device and list its partitions of these policies, by their places in the pass's list.
    Collect { policies: Vec<usize> },
    /// Partitions of one policy, by its place in the pass's list.
    Batch { policy: usize, partitions: Vec<Partition> },
    /// Look whether the device answers, though a job hangs at a partition of this policy: at another partition.
    Look { policy: PolicyIndex, partition: Option<Partition> },
}

/// The most partitions of one batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    /// Of partitions that belong here.
    pub updates: usize,
    /// Of hand-offs: they are locked while their batch is at work.
    pub reverts: usize,
}

/// So many partitions are not shared out any further between workers.
const WORTH_A_RUN: usize = 8;

/// All lanes of a pass.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    /// Whether nothing that belongs here is begun before all hand-offs are done (B5.12); false once they are.
    handoffs_first: bool,
    /// Whether devices that are almost full are drained first (`drain_full_first`).
    drains: bool,
    /// Whether nothing that belongs here is begun at all.
    handoffs_only: bool,
    limits: BatchLimits,
    /// Jobs that may be at work at once, on all lanes.
    concurrency: usize,
    /// Where the search for the next lane begins, so that equals take turns.
    turn: usize,
}

impl Lanes {
    /// No lanes yet.
    pub(crate) fn new(handoffs_first: bool, limits: BatchLimits, concurrency: usize) -> Self {
        let (lanes, drains, handoffs_only) = (Vec::new(), false, false);
        Self { lanes, handoffs_first, drains, handoffs_only, limits, concurrency, turn: 0 }
    }

    /// The same, and if so, devices that are almost full are drained first.
    pub(crate) fn draining(self, drains: bool) -> Self {
        Self { drains, ..self }
    }

    /// From now on only hand-offs are begun; says how many other partitions were found and have no turn.
    pub(crate) fn leave_handoffs_only(&mut self) -> usize {
        self.handoffs_only = true;
        let mut left_out = 0;
        for lane in &mut self.lanes {
            let before = lane.waiting();
            lane.queues.retain(|queue| queue.reverts);
            let dropped = before - lane.waiting();
            lane.found = lane.found.saturating_sub(dropped as u64);
            left_out += dropped;
        }
        left_out
    }

    /// Whether only hand-offs are begun.
    pub(crate) fn is_handoffs_only(&self) -> bool {
        self.handoffs_only
    }

    /// Whether any hand-off was found on this device.
    pub(crate) fn has_handoffs(&self, disk: &str) -> bool {
        let own = self.lanes.iter().filter(|lane| &*lane.disk == disk);
        own.flat_map(|lane| &lane.tally.holdings).any(|holding| holding.handoffs > 0)
    }

    /// The device has partitions of this policy to be listed; it gets a lane if it has none.
    pub(crate) fn add(&mut self, disk: &str, policy: usize) {
        let number = self.lanes.iter().position(|lane| *lane.disk == *disk).unwrap_or_else(|| {
            self.lanes.push(Lane::new(Arc::from(disk)));
            self.lanes.len() - 1
        });
        self.lanes[number].unlisted.push(policy);
    }

    /// What a device holds of this policy is not known before it was listed, and is to be said so.
    pub(crate) fn expect(&mut self, disk: &str, policy: PolicyIndex) {
        for lane in self.lanes.iter_mut().filter(|lane| *lane.disk == *disk) {
            lane.tally.holding(policy);
        }
    }

    /// The lanes, by the numbers that [`Lanes::take_next`] gives.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter()
    }

    /// The lane with this number.
    pub(crate) fn get(&self, number: usize) -> &Lane {
        &self.lanes[number]
    }

    /// So many jobs may be at work at once from now on.
    pub(crate) fn set_concurrency(&mut self, concurrency: usize) {
        self.concurrency = concurrency;
    }

    /// Takes note of which devices are paused.
    pub(crate) fn pause(&mut self, pause_of: impl Fn(&str) -> Option<Pause>) {
        self.lanes.iter_mut().for_each(|lane| lane.paused = pause_of(&lane.disk));
    }

    /// Whether something is left that is paused.
    pub(crate) fn is_anything_paused(&self) -> bool {
        self.lanes.iter().any(Lane::is_held_up)
    }

    /// Whether something is left, and is paused, as is every other device: another pass could do no more than this one.
    pub(crate) fn is_all_paused(&self) -> bool {
        self.is_anything_paused() && self.lanes.iter().all(|lane| lane.paused.is_some())
    }

    /// Whether there is a job to be taken.
    pub(crate) fn has_next(&self) -> bool {
        let reverts_only = self.handoffs_first && self.handoffs_are_left();
        self.lanes.iter().any(|lane| lane.has_work(reverts_only))
    }

    /// Takes the next job: the lane's number and what to do. `None`: nothing is ready, though jobs at work may make more.
    pub(crate) fn take_next(&mut self) -> Option<(usize, Next)> {
        let reverts_only = self.handoffs_first && self.handoffs_are_left();
        self.handoffs_first = reverts_only;
        let number = (0..self.lanes.len())
            .map(|i| (self.turn + i) % self.lanes.len())
            .filter(|&number| self.lanes[number].has_work(reverts_only))
            .min_by_key(|&number| order::turn(self.lanes[number].in_flight, self.comes_first(number)))?;
        self.turn = number + 1;
        let busy = self.lanes.iter().filter(|lane| lane.has_work(reverts_only)).count();
        let share = order::share(self.concurrency, busy, self.comes_first(number));
        let lane = &mut self.lanes[number];
        let next = lane.take(reverts_only, self.limits, share)?;
        lane.in_flight += 1;
        Some((number, next))
    }

    /// Whether the lane is drained, or may be once it is listed.
    fn comes_first(&self, number: usize) -> bool {
        self.drains && (self.lanes[number].is_drained() || !self.lanes[number].unlisted.is_empty())
    }

    /// The device is so full, in per cent. Says whether it is drained for that.
    pub(crate) fn measured(&mut self, number: usize, used: f64) -> bool {
        self.lanes[number].is_almost_full = self.drains && used > ALMOST_FULL;
        self.lanes[number].is_almost_full
    }

    /// A job of the lane has ended, perhaps after it [hung](Lanes::close); if it was the lane's own, it found these queues.
    pub(crate) fn done(&mut self, number: usize, queues: Option<Vec<Queue>>, tally: Tally, was_stuck: bool) {
        let lane = &mut self.lanes[number];
        if let Some(mut queues) = queues {
            queues.retain(|queue| queue.reverts || !self.handoffs_only);
            lane.is_listing = false;
            lane.found += queues.iter().map(|queue| queue.partitions.len() as u64).sum::<u64>();
            lane.queues.extend(queues);
        }
        lane.in_flight -= usize::from(!was_stuck);
        lane.tally.merge(tally);
    }

    /// The look has come back, so the device answers.
    pub(crate) fn answered(&mut self, number: usize, was_stuck: bool) {
        let lane = &mut self.lanes[number];
        lane.in_flight -= usize::from(!was_stuck);
        (lane.is_looking, lane.answers) = (false, true);
    }

    /// Partitions that were taken from a job wait for another one.
    pub(crate) fn put_back(&mut self, number: usize, queue: Queue) {
        self.lanes[number].queues.push(queue);
    }

    /// So many partitions that were found are not to be begun.
    pub(crate) fn leave_out(&mut self, number: usize, partitions: usize) {
        self.lanes[number].found += partitions as u64;
    }

    /// Not everything on the lane can be found.
    pub(crate) fn has_trouble(&mut self, number: usize, trouble: String) {
        self.lanes[number].trouble = Some(trouble);
    }

    /// A job of the lane goes on, and has counted this.
    pub(crate) fn count_in(&mut self, number: usize, tally: Tally) {
        self.lanes[number].tally.merge(tally);
    }

    /// A job of the lane is stuck; says how many are by now.
    pub(crate) fn close(&mut self, number: usize, job: StuckJob) -> usize {
        let lane = &mut self.lanes[number];
        lane.in_flight -= 1;
        lane.hangs(job);
        lane.stuck.len()
    }

    /// A job of an earlier pass is still stuck on the lane. If it is the only one, the lane's own first job looks whether
    /// the device answers.
    pub(crate) fn inherit(&mut self, number: usize, job: StuckJob) {
        let lane = &mut self.lanes[number];
        lane.answers = lane.stuck.is_empty() && job.suspect().is_some();
        lane.hangs(job);
    }

    /// Takes note of stuck jobs that have come back; gives the devices on which none hangs any more.
    pub(crate) fn reopen(&mut self) -> Vec<Arc<str>> {
        let mut opened = Vec::new();
        for lane in self.lanes.iter_mut().filter(|lane| !lane.stuck.is_empty()) {
            lane.stuck.retain(StuckJob::is_at_work);
            if lane.stuck.is_empty() {
                lane.answers = false;
                opened.push(lane.disk.clone());
            }
        }
        opened
    }

    /// Whether hand-offs were to be done first and some are still here though all have had their turn, while other
    /// partitions wait (B5.12).
    pub(crate) fn handoffs_remain(&self) -> bool {
        let is_shut = |lane: &Lane| lane.is_closed() || lane.paused.is_some();
        let is_left = |lane: &Lane| lane.tally.handoffs_remaining > 0 || (is_shut(lane) && lane.may_have_handoffs());
        self.handoffs_first
            && !self.handoffs_are_left()
            && self.lanes.iter().any(is_left)
            && self.lanes.iter().any(|lane| lane.has_work(false))
    }

    /// Drops what has not been begun: of one policy on one device, which is gone, so that it has no partitions; of one
    /// policy; or all. Says how many partitions that were.
    pub(crate) fn drop_waiting(&mut self, policy: Option<usize>, disk: Option<&str>) -> usize {
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
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().filter(|lane| !lane.stuck.is_empty() || lane.is_waiting())
    }

    /// Whether hand-offs may still come up, or anything is at work, on a lane that is open, or may be soon.
    fn handoffs_are_left(&self) -> bool {
        let is_open = |lane: &Lane| lane.paused.is_none() && (!lane.is_closed() || lane.needs_look());
        let may_be_open = |lane: &&Lane| is_open(lane) || lane.in_flight > 0;
        let mut lanes = self.lanes.iter().filter(may_be_open);
        lanes.any(|lane| lane.needs_look() || lane.in_flight > 0 || lane.may_have_handoffs())
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
            begun: Vec::new(),
            stuck: Vec::new(),
            is_looking: false,
            answers: false,
            is_almost_full: false,
            paused: None,
            found: 0,
            trouble: None,
            tally: Tally::default(),
        }
    }

    /// Whether hand-offs wait on a device that is almost full.
    fn is_drained(&self) -> bool {
        self.is_almost_full && self.queues.iter().any(|queue| queue.reverts)
    }

    /// Whether nothing of the lane is begun since jobs are stuck.
    pub(crate) fn is_closed(&self) -> bool {
        self.stuck.len() > usize::from(self.answers)
    }

    /// Whether something is left and is not begun since the device is paused.
    pub(crate) fn is_held_up(&self) -> bool {
        self.paused.is_some() && self.is_waiting()
    }

    /// Whether something is left that could be begun if the lane were open.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting() > 0 || !self.unlisted.is_empty()
    }

    /// Partitions that were found and have not had their turn.
    pub(crate) fn left(&self) -> u64 {
        self.found.saturating_sub(self.tally.counts.attempted)
    }

    fn hangs(&mut self, job: StuckJob) {
        self.stuck.push(job);
        self.tally.counts.fail(Cause::Stuck);
    }

    /// Whether the only job that hangs does so at a partition, and it is not known whether the device does too.
    fn needs_look(&self) -> bool {
        let [job] = &self.stuck[..] else { return false };
        !self.answers && !self.is_looking && job.suspect().is_some()
    }

    /// What hangs.
    pub(crate) fn stuck(&self) -> &[StuckJob] {
        &self.stuck
    }

    /// Whether it is known what there is to do on the lane.
    pub(crate) fn is_listed(&self) -> bool {
        !self.is_listing && self.unlisted.is_empty()
    }

    /// What has not been begun.
    pub(crate) fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// Partitions that have not been begun.
    pub(crate) fn waiting(&self) -> usize {
        self.queues.iter().map(|queue| queue.partitions.len()).sum()
    }

    fn may_have_handoffs(&self) -> bool {
        self.is_listing || !self.unlisted.is_empty() || self.queues.iter().any(|queue| queue.reverts)
    }

    fn has_work(&self, reverts_only: bool) -> bool {
        if self.paused.is_some() {
            return false;
        }
        if self.needs_look() {
            return true;
        }
        if self.is_closed() || self.is_listing {
            return false;
        }
        !self.unlisted.is_empty() || self.queues.iter().any(|queue| queue.reverts || !reverts_only)
    }

    /// Takes the next job. Where the lane has several workers, its `share`, a batch is at most half of what each could
    /// get of the whole, so that they end at about the same time; but not so few that starting rsync costs more than
    /// what it sends.
    fn take(&mut self, reverts_only: bool, limits: BatchLimits, share: usize) -> Option<Next> {
        if self.needs_look() {
            self.is_looking = true;
            let (policy, suspect) = self.stuck.first().and_then(StuckJob::suspect)?;
            let others = self.queues.iter().flat_map(|queue| &queue.partitions);
            return Some(Next::Look { policy, partition: others.copied().find(|other| *other != suspect) });
        }
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

    /// One of the queues whose turn it is, the longer ones more often, so that all kinds of work are spread over the pass.
    fn pick(&self, reverts_only: bool) -> Option<usize> {
        let is_drained = self.is_drained();
        let place = |queue: &Queue| order::place(queue.rank, queue.reverts, is_drained);
        let may = |queue: &&Queue| queue.reverts || !reverts_only;
        let first = self.queues.iter().filter(may).map(place).min()?;
        let may = |queue: &&Queue| may(queue) && place(queue) == first;
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
mod tests;
