//! One job: a batch of partitions of one local device, from the check before it to its tally.
//!
//! The drive is looked at once more (B5.13), then each partition goes where the ring says: [`update`](super::update) if
//! it belongs here, [`revert`](super::revert) if it does not.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, warn};

use super::push::Targets;
use super::revert;
use super::tally::Tally;
use super::update;
use super::view::{Placement, PolicyView};
use super::watchdog::{Slot, Step};
use crate::device::layout::PartitionDir;
use crate::device::mount::check_drive;
use crate::device::removal::{Inventory, Removal};
use crate::names::Partition;
use crate::peer::replicate::Client;
use crate::peer::rsync::Rsync;
use crate::report::statsd::Statsd;

/// What every worker needs, the same for all jobs of a pass.
pub struct Tools {
    pub client: Client,
    pub rsync: Rsync,
    pub statsd: Statsd,
    pub devices: PathBuf,
    pub mount_check: bool,
    pub reclaim_age: Duration,
    /// Successes that are enough to remove a hand-off; 0: every primary (B10.7).
    pub handoff_delete: usize,
    pub handoff_verify: bool,
    /// Partitions that one rsync may push (`rsync_batch`).
    pub rsync_batch: usize,
}

/// Partitions of one policy on one local device.
pub struct Batch {
    pub view: Arc<PolicyView>,
    pub disk: Arc<str>,
    pub partitions: Vec<Partition>,
    pub pass: Arc<Pass>,
}

/// What the jobs of one pass have in common.
#[derive(Debug, Default)]
pub struct Pass {
    /// The pass's place in the cycle of ten after which every partition has been listed (B6.10).
    pub cycle: u32,
    /// Devices of peers that had no space left; nothing more is pushed to them.
    pub full: Targets,
    /// Devices of peers whose rsync daemon had its full number of connections all the time.
    pub busy: Targets,
}

/// A batch at work: what its steps have in common.
pub struct Work<'a> {
    pub tools: &'a Tools,
    pub pass: &'a Pass,
    pub view: &'a PolicyView,
    pub disk: &'a str,
    /// The region of the local device, in this policy's ring.
    pub region: Option<i64>,
    pub slot: &'a Slot,
    /// Takes what was counted so far, for those who follow a long job.
    outlet: &'a dyn Fn(Tally),
    last_handed_over: Cell<Instant>,
}

impl Work<'_> {
    /// The partition's folder on the local device.
    pub fn dir(&self, partition: Partition) -> PartitionDir {
        PartitionDir::new(&self.tools.devices, self.disk, self.view.policy.index, partition)
    }

    /// Hands over what was counted so far, from time to time.
    pub fn hand_over(&self, tally: &mut Tally) {
        if self.last_handed_over.get().elapsed() >= HAND_OVER {
            (self.outlet)(std::mem::take(tally));
            self.last_handed_over.set(Instant::now());
        }
    }

    /// Notes that a partition took so long that others should not have to wait for it (it goes alone in the next pass).
    pub fn note_time(&self, partition: Partition, took: Duration, tally: &mut Tally) {
        let slow = (self.view.policy.index, partition);
        if took >= SLOW && !tally.slow.contains(&slow) {
            tally.slow.push(slow);
        }
    }

    /// Says what is done next.
    pub fn step(&self, partition: Partition, step: Step) {
        self.slot.step(Some(partition), step);
    }
}

/// How often a job hands over what it counted.
const HAND_OVER: Duration = Duration::from_secs(1);

/// What a partition may take before it goes alone in the next pass.
const SLOW: Duration = Duration::from_secs(60);

/// Does a batch. What it counts comes back at the end, and through `outlet` before.
pub fn run(batch: &Batch, tools: &Tools, slot: &Slot, outlet: &dyn Fn(Tally)) -> Tally {
    let view = &*batch.view;
    let region = view.region_of(&batch.disk);
    let last_handed_over = Cell::new(Instant::now());
    let work = Work { tools, pass: &batch.pass, view, disk: &batch.disk, region, slot, outlet, last_handed_over };
    let mut tally = Tally::default();

    slot.step(None, Step::CheckingDrive);
    if let Err(unusable) = check_drive(&tools.devices, &batch.disk, tools.mount_check) {
        warn!("{unusable}");
        batch.partitions.iter().for_each(|&partition| fail_all_targets(view, &batch.disk, partition, &mut tally));
        return tally;
    }
    let (mut updates, mut reverts) = (Vec::new(), Vec::new());
    for &partition in &batch.partitions {
        match view.placement(&batch.disk, partition) {
            Ok(Placement::Here { others }) => updates.push((partition, others)),
            Ok(Placement::Elsewhere { primaries }) => reverts.push((partition, primaries)),
            Ok(Placement::Nowhere) => keep_stray(&work, partition, &mut tally),
            Err(hole) => {
                error!("Partition {} is left alone: {hole}", work.dir(partition).path().display());
                tally.fail(view.local_devices().filter(|device| device.device == *batch.disk).take(1));
            }
        }
    }
    if !reverts.is_empty() {
        revert::revert(&work, reverts, &mut tally);
    }
    if !updates.is_empty() {
        update::update(&work, updates, &mut tally);
    }
    tally
}

/// Counts every node that the partition would have been compared with or pushed to as failed.
pub fn fail_all_targets(view: &PolicyView, disk: &str, partition: Partition, tally: &mut Tally) {
    if let Ok(Placement::Here { others: targets } | Placement::Elsewhere { primaries: targets }) =
        view.placement(disk, partition)
    {
        tally.fail(targets);
    }
}

/// A partition that the ring does not have was left by another ring, and cannot be copied anywhere. Nothing is removed
/// but an empty one (B5.17).
fn keep_stray(work: &Work<'_>, partition: Partition, tally: &mut Tally) {
    let dir = work.dir(partition);
    let path = dir.path().display();
    let removal = match Inventory::record(dir.path()) {
        Ok(Some(inventory)) if inventory.is_empty() => inventory.remove(),
        Ok(None) => return,
        Ok(Some(_)) => {
            error!(
                "Partition {path} is kept: its number is beyond the {} partitions of the ring {}, so no node can take it",
                work.view.ring.partition_count(),
                work.view.ring.path.display()
            );
            tally.fail(work.view.local_devices().filter(|device| device.device == work.disk).take(1));
            return;
        }
        Err(error) => Err(error),
    };
    match removal {
        Ok(Removal::Gone) => {}
        Ok(Removal::Kept { .. }) => tally.handoffs_remaining += 1,
        Err(error) => error!("Partition {path} beyond the ring is kept: {error}"),
    }
}
