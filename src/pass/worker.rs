//! A worker of a pass: takes jobs from the queue, and answers what became of them.
//!
//! A panic in a job costs the job: it is logged, and counts as failed for its targets.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use log::error;

use crate::cause::Cause;
use crate::device::mount::check_drive;
use crate::job;
use crate::job::collect::{self, Collect, Collected};
use crate::job::drive_lost::fail_all_targets;
use crate::job::slot::{Slot, Step};
use crate::job::tally::Tally;
use crate::job::work::{Batch, Tools};
use crate::names::{Partition, PolicyIndex};
use crate::orders::first::Ticket;
use crate::pass::watchdog::StuckJob;
use crate::report::counts::Counts;

/// What a worker does.
pub(crate) enum Job {
    Collect(Collect),
    Batch(Batch),
    Look(Look),
}

/// Looks whether a device answers, though a job hangs at one of its partitions.
pub(crate) struct Look {
    pub disk: Arc<str>,
    /// The name of a folder of partitions.
    pub datadir: PathBuf,
    /// Another partition than that.
    pub partition: Option<Partition>,
}

/// A job, and the number of its lane.
pub(crate) struct Task {
    pub lane: usize,
    pub job: Job,
    /// If its partition goes first.
    pub first: Option<Ticket>,
}

/// What workers tell the thread of the pass.
pub(crate) enum Event {
    /// A job has ended.
    Done {
        worker: usize,
        lane: usize,
        /// What the lane's own job found.
        collected: Option<Collected>,
        /// What it left since its device is paused.
        left: Option<(PolicyIndex, Vec<Partition>)>,
        tally: Tally,
    },
    /// A job goes on, and has counted this so far.
    Progress { lane: usize, tally: Tally },
    /// The device has answered.
    Answered { worker: usize, lane: usize },
    /// A job does not move.
    Stuck { worker: usize, job: StuckJob },
}

/// A worker's life: does what comes until nothing can come any more.
pub(crate) fn drain(queue: &Receiver<Task>, events: &Sender<Event>, tools: &Tools, worker: usize, slot: &Slot) {
    for Task { lane, job, first } in queue {
        let (disk, custody) = match &job {
            Job::Collect(collect) => (&collect.disk, None),
            Job::Batch(batch) => (&batch.disk, Some(batch.custody.clone())),
            Job::Look(look) => (&look.disk, None),
        };
        slot.begin(lane, disk, custody);
        let outcome_of_first = RefCell::new(Outcome::default());
        let outlet = |tally| {
            outcome_of_first.borrow_mut().add(&tally);
            // With the pass gone there is nobody to tell.
            drop(events.send(Event::Progress { lane, tally }));
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| match &job {
            Job::Collect(collect) => {
                let (collected, tally) = collect::run(collect, tools, slot);
                Event::Done { worker, lane, collected: Some(collected), left: None, tally }
            }
            Job::Batch(batch) => {
                let tally = job::run(batch, tools, slot, &outlet);
                let left = Some((batch.custody.policy(), batch.custody.cut_off()));
                Event::Done { worker, lane, collected: None, left, tally }
            }
            Job::Look(look) => {
                look.run(tools, slot);
                Event::Answered { worker, lane }
            }
        }));
        let event = outcome.unwrap_or_else(|_| after_panic(worker, lane, &job));
        slot.end();
        if let (Some(first), Event::Done { tally, .. }) = (first, &event) {
            outcome_of_first.borrow_mut().add(tally);
            // The pass is told after it, for it may take the next one then.
            first.end(outcome_of_first.into_inner().judge());
        }
        if events.send(event).is_err() {
            return;
        }
    }
}

/// What became of a partition that goes first, by what its job counted.
#[derive(Default)]
struct Outcome {
    counts: Counts,
    handoffs_remaining: u64,
    paused: BTreeSet<String>,
}

impl Outcome {
    fn add(&mut self, tally: &Tally) {
        self.counts.merge(&tally.counts);
        self.handoffs_remaining += tally.handoffs_remaining;
        self.paused.extend(tally.paused.iter().cloned());
    }

    /// Whether it has succeeded, or why it has not. One that is not there any more has nothing to fail at.
    fn judge(self) -> Result<(), String> {
        match self {
            Self { counts, .. } if counts.failures() > 0 => Err(counts.causes_by_side()),
            Self { paused, .. } if !paused.is_empty() => {
                Err(format!("paused: {}", paused.into_iter().collect::<Vec<_>>().join(", ")))
            }
            Self { handoffs_remaining: 1.., .. } => Err("the hand-off is still here".to_owned()),
            Self { counts: Counts { attempted: 0, .. }, .. } => Err("it had no turn".to_owned()),
            _ => Ok(()),
        }
    }
}

impl Look {
    /// Comes back if the device answers, whatever it says.
    fn run(&self, tools: &Tools, slot: &Slot) {
        slot.step(self.partition, Step::Looking, None);
        let Ok(device) = check_drive(&tools.devices, &self.disk, tools.mount_check) else { return };
        let datadir = device.join(&self.datadir);
        let _ = fs::read_dir(&datadir).map(|mut entries| entries.next());
        if let Some(partition) = self.partition {
            let _ = fs::read_dir(datadir.join(partition.to_string())).map(Iterator::count);
        }
    }
}

/// What a job that panicked is taken to have done: nothing, with all its targets failed. The panic itself is in the log.
fn after_panic(worker: usize, lane: usize, job: &Job) -> Event {
    match job {
        Job::Collect(collect) => {
            error!("Listing the partitions of device {} broke off, which is a bug", collect.disk);
            let trouble = Some("listing its partitions broke off, which is a bug".to_owned());
            let collected = Collected { trouble, ..Collected::default() };
            Event::Done { worker, lane, collected: Some(collected), left: None, tally: Tally::default() }
        }
        Job::Batch(batch) => Event::Done { worker, lane, collected: None, left: None, tally: broken_off(batch) },
        Job::Look(_) => Event::Answered { worker, lane },
    }
}

fn broken_off(batch: &Batch) -> Tally {
    let mut tally = Tally::default();
    let left: Vec<_> = batch.custody.not_done().into_iter().filter(|p| batch.custody.is_own(*p)).collect();
    let numbers: Vec<_> = left.iter().map(ToString::to_string).collect();
    error!("Replicating partition {} of device {} broke off, which is a bug", numbers.join(", "), batch.disk);
    for partition in left {
        tally.stats.attempted += 1;
        tally.counts.attempted += 1;
        tally.counts.flawed += 1;
        tally.counts.fail(Cause::Bug);
        tally.copies.lacks(batch.view.policy.index, partition, None);
        fail_all_targets(&batch.view, &batch.disk, partition, Cause::Bug, &mut tally);
    }
    tally
}
