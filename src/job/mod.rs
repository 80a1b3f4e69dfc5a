//! One job: a batch of partitions of one local device, from the check of the device to the tally of what was done.
//!
//! The device is checked once more (B5.13), then `update` handles the partitions that belong here by the ring, and
//! `revert` those that do not.

pub(crate) mod choice;
pub(crate) mod collect;
pub(crate) mod copies;
pub(crate) mod custody;
pub(crate) mod drive_lost;
pub(crate) mod fullness;
mod hand_off;
mod notify;
pub(crate) mod outcome;
pub(crate) mod patience;
mod revert;
pub(crate) mod scope;
pub(crate) mod slot;
pub(crate) mod tally;
pub(crate) mod targets;
pub(crate) mod transfer;
pub(crate) mod update;
pub(crate) mod view;
pub(crate) mod work;

use log::{error, warn};

use self::slot::{Slot, Step};
use self::tally::Tally;
use self::view::Placement;
use self::work::{Batch, Tools, Work};
use crate::cause::Cause;
use crate::device::drive::Drive;
use crate::device::removal::{Inventory, Removal};
use crate::names::Partition;

/// Does a batch. What it counts comes back at the end, and through `outlet` before.
pub(crate) fn run(batch: &Batch, tools: &Tools, slot: &Slot, outlet: &dyn Fn(Tally)) -> Tally {
    let view = &*batch.view;

    slot.step(None, Step::CheckingDrive, None);
    let drive = match Drive::check(&tools.devices, &batch.disk, tools.mount_check) {
        Ok(drive) => drive,
        Err(unusable) => {
            warn!("{unusable}");
            let mut tally = Tally::default();
            for &partition in &batch.partitions {
                drive_lost::fail_for_drive(view, &batch.disk, partition, &mut tally);
            }
            return tally;
        }
    };
    let mut work = Work::new(batch, tools, drive, slot, outlet);
    let (mut updates, mut reverts) = (Vec::new(), Vec::new());
    for &partition in &batch.partitions {
        match view.placement(&batch.disk, partition) {
            Ok(Placement::Here { others }) => updates.push((partition, others)),
            Ok(Placement::Elsewhere { primaries }) => reverts.push((partition, primaries)),
            Ok(Placement::Nowhere) => {
                keep_stray(&mut work, partition);
                work.custody.done(partition);
            }
            Err(hole) => {
                work.tally.counts.attempted += 1;
                work.custody.done(partition);
                work.tally.counts.flawed += 1;
                work.tally.counts.fail(Cause::Ring);
                work.tally.copies.lacks(view.policy.index, partition, None);
                error!("Partition {} is left alone: {hole}", work.dir(partition).path().display());
                work.tally.fail(view.local_devices().filter(|device| device.device == *batch.disk).take(1));
            }
        }
    }
    if !reverts.is_empty() {
        revert::revert(&mut work, reverts);
    }
    if !updates.is_empty() {
        update::update(&mut work, updates);
    }
    work.tally
}

/// A partition that the ring does not have was left by another ring, and cannot be copied anywhere. Nothing is removed
/// but an empty one (B5.17).
fn keep_stray(work: &mut Work<'_>, partition: Partition) {
    let dir = work.dir(partition);
    let path = dir.path().display();
    if !work.custody.begin(partition) {
        return;
    }
    work.tally.counts.attempted += 1;
    let removal = match Inventory::record(dir.path()) {
        Ok(Some(inventory)) if inventory.is_empty() => work.remove(partition, inventory),
        Ok(None) => return,
        Ok(Some(_)) => {
            error!(
                "Partition {path} is kept: its number is beyond the {} partitions of the ring {}, so no node can take it",
                work.view.ring.partition_count(),
                work.view.ring.path.display()
            );
            work.tally.fail(work.view.local_devices().filter(|device| device.device == work.disk).take(1));
            work.tally.counts.flawed += 1;
            work.tally.counts.fail(Cause::Ring);
            return;
        }
        Err(error) => Err(error),
    };
    match removal {
        Ok(Removal::Gone | Removal::Kept { only_foreign: true, .. }) => {}
        Ok(Removal::Kept { .. } | Removal::Claimed) => work.tally.handoffs_remaining += 1,
        Err(error) => {
            error!("Partition {path} beyond the ring is kept: {error}");
            work.tally.counts.flawed += 1;
            work.tally.counts.fail(Cause::Local);
        }
    }
}
