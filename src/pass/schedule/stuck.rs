//! What a pass does about jobs that hang.
//!
//! The watchdog reports such a job once. Its lane is closed, and its permit goes to the others, for which a spare thread
//! is started: at most [`MOST_SPARES`] per lane, so that a device that hangs as a whole does not take a thread for each
//! job that was at work there.
//!
//! Where it is known at which partition the job hangs, all others that it has not done are taken from it and wait for
//! another job, and another one looks whether the device answers (see [`crate::pass::lanes`]). The suspect counts as
//! failed, and is left out, also by later passes, until the job comes back. Then the partitions that only that job
//! could still do are handed out again.

use std::sync::Arc;

use log::{error, info, warn};

use super::Schedule;
use crate::cause::Cause;
use crate::job::collect::Queue;
use crate::job::drive_lost::fail_all_targets;
use crate::job::slot::Doing;
use crate::job::tally::Tally;
use crate::job::view::{Placement, PolicyView};
use crate::names::{Partition, PolicyIndex};
use crate::pass::watchdog::StuckJob;

/// How many permits one lane's stuck jobs give back.
const MOST_SPARES: usize = 2;

/// A job of this pass that hangs.
pub(super) struct Stuck {
    /// Whether its permit was given to the others.
    pub(super) given_back: bool,
    job: StuckJob,
}

impl Stuck {
    /// Whether what the job had not done was taken from it.
    pub(super) fn was_revoked(&self) -> bool {
        self.job.custody.as_ref().is_some_and(|custody| custody.is_revoked())
    }
}

impl Schedule<'_> {
    /// Permits that stuck jobs gave back.
    pub(super) fn given_back(&self) -> usize {
        self.stuck.values().filter(|stuck| stuck.given_back).count()
    }

    /// Takes in what hung in earlier passes.
    pub(super) fn inherit_stuck(&mut self, stuck: Vec<StuckJob>) {
        for job in stuck {
            let Doing { disk, step, since, .. } = &job.doing;
            let lane = self.lanes.iter().position(|lane| lane.disk == *disk);
            match lane {
                _ if !job.is_at_work() => info!("Device {disk} is back"),
                None => self.elsewhere.push(job),
                Some(lane) => {
                    let seconds = since.elapsed().as_secs();
                    let what = match job.suspect() {
                        Some((_, partition)) if self.lanes.get(lane).stuck().is_empty() => {
                            format!("Partition {partition} of device {disk}")
                        }
                        _ => format!("Device {disk}"),
                    };
                    warn!("{what} is left out: a job of an earlier pass has been {step} for {seconds}s");
                    self.lanes.inherit(lane, job);
                }
            }
        }
    }

    /// Names a stuck job, and goes on without it.
    pub(super) fn close_lane(&mut self, worker: usize, job: StuckJob) {
        if !job.is_at_work() {
            return;
        }
        let lane = job.doing.lane;
        let is_known = self.stuck.contains_key(&worker);
        let is_first = self.lanes.get(lane).stuck().is_empty() || is_known;
        self.tell_lockup(&job, is_first);
        let rest = job.take_rest();
        if let Some((policy, _)) = job.suspect() {
            self.put_back(lane, policy, rest);
        }
        if is_known {
            // It moved, and hangs again.
            return;
        }
        self.count_suspect(lane, &job);
        let given_back = self.lanes.close(lane, job.clone()) <= MOST_SPARES;
        self.at_work -= usize::from(given_back);
        self.stuck.insert(worker, Stuck { given_back, job });
    }

    fn tell_lockup(&self, job: &StuckJob, is_first: bool) {
        let doing = &job.doing;
        let partition = doing.partition.map_or_else(String::new, |partition| format!(", partition {partition}"));
        let left_out = match job.suspect() {
            Some(_) if is_first => {
                "the partition is left out until this job comes back, and so is the device, unless it answers"
            }
            _ => "the device is left out until this job comes back",
        };
        let (limit, step) = (self.limits.of(doing.step), doing.step);
        error!("Lockup detected: device {}{partition}: no progress for {limit:?} while {step}; {left_out}", doing.disk);
    }

    /// A worker's job has come back, perhaps after it hung.
    pub(super) fn come_back(&mut self, worker: usize) -> Option<Stuck> {
        let stuck = self.stuck.remove(&worker);
        if !stuck.as_ref().is_some_and(|stuck| stuck.given_back) {
            self.at_work -= 1;
        }
        stuck
    }

    /// What is still a job's own that hung and has come back, and was not done, waits for its turn again.
    pub(super) fn put_back_own(&mut self, lane: usize, stuck: &Stuck) {
        if let Some(custody) = stuck.job.custody.as_ref().filter(|custody| custody.is_revoked()) {
            let own = custody.not_done().into_iter().filter(|partition| custody.is_own(*partition)).collect();
            self.put_back(lane, custody.policy(), own);
        }
    }

    /// Partitions wait for another job.
    pub(super) fn put_back(&mut self, lane: usize, policy: PolicyIndex, partitions: Vec<Partition>) {
        let Some((place, view)) = self.view_of(policy) else { return };
        let disk = &*self.lanes.get(lane).disk;
        let belongs_elsewhere =
            |partition: &Partition| matches!(view.placement(disk, *partition), Ok(Placement::Elsewhere { .. }));
        let (reverts, updates): (Vec<_>, Vec<_>) = partitions.into_iter().partition(belongs_elsewhere);
        for (reverts, partitions) in [(true, reverts), (false, updates)] {
            if !partitions.is_empty() {
                self.lanes.put_back(lane, Queue::new(place, reverts, false, partitions));
            }
        }
    }

    /// The partitions that jobs hang at are not begun.
    pub(super) fn leave_out_suspects(&mut self, lane: usize, queues: &mut Vec<Queue>) {
        for job in &self.lanes.get(lane).stuck().to_vec() {
            let is_own = self.stuck.values().any(|own| own.job.is_same(job));
            let Some((policy, partition)) = job.suspect() else { continue };
            let Some((place, _)) = self.view_of(policy) else { continue };
            let mut left_out = 0;
            for queue in queues.iter_mut().filter(|queue| queue.policy == place) {
                let before = queue.partitions.len();
                queue.partitions.retain(|other| *other != partition);
                left_out += before - queue.partitions.len();
            }
            if left_out > 0 {
                self.lanes.leave_out(lane, left_out);
            }
            if left_out > 0 && !is_own {
                self.count_suspect(lane, job);
            }
        }
        queues.retain(|queue| !queue.partitions.is_empty());
    }

    /// The partition that a job hangs at counts as failed; hand-offs among those that it may hang at count as remaining.
    fn count_suspect(&mut self, lane: usize, job: &StuckJob) {
        let mut tally = Tally::default();
        let disk = self.lanes.get(lane).disk.clone();
        let suspect = job.suspect().map(|(_, partition)| vec![partition]);
        if let Some(custody) = &job.custody
            && let Some((_, view)) = self.view_of(custody.policy())
        {
            let is_suspect = suspect.is_some();
            for partition in suspect.unwrap_or_else(|| custody.not_done()) {
                if is_suspect {
                    fail_all_targets(&view, &disk, partition, Cause::Stuck, &mut tally);
                }
                let is_handoff = matches!(view.placement(&disk, partition), Ok(Placement::Elsewhere { .. }));
                tally.handoffs_remaining += u64::from(is_handoff);
            }
        }
        self.lanes.count_in(lane, tally);
    }

    pub(super) fn view_of(&self, policy: PolicyIndex) -> Option<(usize, Arc<PolicyView>)> {
        let mut views = self.views.iter().enumerate().filter_map(|(place, view)| Some((place, view.clone()?)));
        views.find(|(_, view)| view.policy.index == policy)
    }

    /// Says whether a device that was looked at is used again.
    pub(super) fn tell_answer(&self, lane: usize) {
        let lane = self.lanes.get(lane);
        if let (false, Some((_, partition))) = (lane.is_closed(), lane.stuck().first().and_then(StuckJob::suspect)) {
            warn!("Device {} answers, so it is used again, except for partition {partition}", lane.disk);
        }
    }

    /// Takes note of stuck jobs that have come back.
    pub(super) fn reopen_lanes(&mut self) {
        for disk in self.lanes.reopen() {
            info!("Device {disk} is back");
        }
    }
}
