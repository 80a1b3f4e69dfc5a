//! A worker of a pass: takes jobs from the queue, and answers what became of them.
//!
//! A panic in a job costs the job: it is logged, and counts as failed for its targets.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::{Receiver, Sender};
use log::error;

use super::collect::{self, Collect, Collected};
use super::job;
use super::tally::Tally;
use super::watchdog::{Slot, StuckJob};
use super::work::{Batch, Tools};
use crate::report::counts::Cause;

/// What a worker does.
pub enum Job {
    Collect(Collect),
    Batch(Batch),
}

/// A job, and the number of its lane.
pub struct Task {
    pub lane: usize,
    pub job: Job,
}

/// What the thread of the pass is told.
pub enum Event {
    /// A job has ended.
    Done {
        worker: usize,
        lane: usize,
        /// What the lane's own job found.
        collected: Option<Collected>,
        tally: Tally,
    },
    /// A job goes on, and has counted this so far.
    Progress { lane: usize, tally: Tally },
    /// A job does not move.
    Stuck { worker: usize, job: StuckJob },
}

/// A worker's life: does what comes until nothing can come any more.
pub fn drain(queue: &Receiver<Task>, events: &Sender<Event>, tools: &Tools, worker: usize, slot: &Slot) {
    for Task { lane, job: task } in queue {
        let (disk, batch) = match &task {
            Job::Collect(collect) => (&collect.disk, None),
            Job::Batch(batch) => (&batch.disk, Some(batch)),
        };
        slot.begin(lane, disk);
        // With the pass gone there is nobody to tell.
        let outlet = |tally| drop(events.send(Event::Progress { lane, tally }));
        let outcome = catch_unwind(AssertUnwindSafe(|| match &task {
            Job::Collect(collect) => {
                let (collected, tally) = collect::run(collect, tools, slot);
                (Some(collected), tally)
            }
            Job::Batch(batch) => (None, job::run(batch, tools, slot, &outlet)),
        }));
        let (collected, tally) = outcome.unwrap_or_else(|_| after_panic(disk, batch));
        slot.end();
        if events.send(Event::Done { worker, lane, collected, tally }).is_err() {
            return;
        }
    }
}

/// What a job that panicked is taken to have done: nothing, with all its targets failed. The panic itself is in the log.
fn after_panic(disk: &str, batch: Option<&Batch>) -> (Option<Collected>, Tally) {
    let mut tally = Tally::default();
    let Some(batch) = batch else {
        error!("Listing the partitions of device {disk} broke off, which is a bug");
        return (Some(Collected::default()), tally);
    };
    let numbers: Vec<_> = batch.partitions.iter().map(ToString::to_string).collect();
    error!("Replicating partition {} of device {disk} broke off, which is a bug", numbers.join(", "));
    for &partition in &batch.partitions {
        tally.stats.attempted += 1;
        tally.counts.attempted += 1;
        tally.counts.fail(Cause::Bug);
        job::fail_all_targets(&batch.view, disk, partition, &mut tally);
    }
    (None, tally)
}
