//! What a job works with: the tools of all jobs, the batch, and what is known of the pass.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::error;

use super::custody::Custody;
use super::fullness::Fullness;
use super::outcome::{HandedOver, Pushed};
use super::patience::Patience;
use super::slot::{Slot, Step};
use super::tally::Tally;
use super::targets::{Room, Streams, Targets};
use super::view::PolicyView;
use crate::cause::Cause;
use crate::clock;
use crate::config::settings::HandoffSettings;
use crate::device::drive::Drive;
use crate::device::layout::PartitionDir;
use crate::device::removal::{Inventory, Removal, RemovalError};
use crate::device::writes::Writes;
use crate::format::object::{ObjectHash, Salts};
use crate::log::statsd::{Labels, Statsd};
use crate::names::Partition;
use crate::orders::Orders;
use crate::peer::replicate::Client;
use crate::peer::rsync::{PartSuffixes, Rsync};
use crate::report::holding::Holding;
use crate::ring::Device;

/// Stack of a worker's thread, in bytes. Stacks count against the data limit that swift-init sets (B1.19).
pub(crate) const STACK: usize = 512 * 1024;

/// What every worker needs, the same for all jobs of a pass.
pub(crate) struct Tools {
    pub transfer: Box<dyn Transfer>,
    /// Whether what a pass changes on the local devices is changed.
    pub writes: Writes,
    pub client: Client,
    pub rsync: Rsync,
    /// What operators have ordered.
    pub orders: Arc<Orders>,
    /// Pushes under way, by target.
    pub streams: Streams,
    /// What peers' devices have free.
    pub fullness: Fullness,
    pub statsd: Statsd,
    pub devices: PathBuf,
    pub mount_check: bool,
    pub reclaim_age: Duration,
    pub handoffs: HandoffSettings,
    /// What is hashed along with the names of objects.
    pub salts: Salts,
    /// Partitions that one rsync may push (`rsync_batch`).
    pub rsync_batch: usize,
}

/// A way in which partitions go to other nodes.
///
/// A pass has one, chosen at its start. Its jobs do not know which: so a dry run goes the same way as a real pass.
pub(crate) trait Transfer: Send + Sync {
    /// Whether several hand-offs go to a node in one list, with the locks of all of them held meanwhile.
    fn takes_lists(&self) -> bool;

    /// Whether links, pipes and the like are left out of what a node is given.
    fn leaves_out_irregular(&self) -> bool;

    /// Whether a node has to be told what it was given, so that it hashes that anew (B7.5).
    fn is_to_be_told(&self) -> bool;

    /// Gives the node what it lacks of partitions that belong here, too; the answer has one entry per part.
    fn update(&self, work: &mut Work<'_>, node: &Device, parts: &[PartSuffixes]) -> Vec<Pushed>;

    /// Gives the node hand-offs, and finds out whether it has them then: whole, and where its object server looks.
    fn hand_over(&self, work: &mut Work<'_>, node: &Device, offers: &[Offer<'_>]) -> HandedOver;

    /// Whether the node's object server still has the part of a hand-off.
    fn is_served(&self, work: &Work<'_>, node: &Device, part: &PartSuffixes) -> bool;

    /// Takes note of what became of a partition that was to be removed.
    fn removed(&self, _work: &Work<'_>, _partition: Partition, _removal: &Removal) {}
}

/// A hand-off that a node is given.
pub(crate) struct Offer<'a> {
    pub part: PartSuffixes,
    /// Only ask whether the node has these objects (SSYNC).
    pub only: Option<&'a BTreeSet<ObjectHash>>,
}

/// Partitions of one policy on one local device.
pub(crate) struct Batch {
    pub view: Arc<PolicyView>,
    pub disk: Arc<str>,
    pub partitions: Vec<Partition>,
    pub pass: Arc<Pass>,
    /// Which of the partitions are still the job's own.
    pub custody: Arc<Custody>,
    /// How long the job goes on waiting for devices that are too busy.
    pub patience: Patience,
}

impl Batch {
    /// A batch of these partitions.
    pub(crate) fn new(view: Arc<PolicyView>, disk: Arc<str>, partitions: Vec<Partition>, pass: Arc<Pass>) -> Self {
        let custody = Arc::new(Custody::new(view.policy.index, partitions.clone()));
        Self { view, disk, partitions, pass, custody, patience: Patience::default() }
    }
}

/// What the jobs of one pass have in common.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    /// The pass's place in the cycle of ten after which every partition has been listed (B6.10).
    pub cycle: u32,
    /// Devices of peers that had no space left; nothing more is pushed to them.
    pub full: Targets,
    /// Devices of peers that had no space for the last that came there.
    pub room: Room,
    /// Devices of peers whose rsync daemon had its full number of connections all the time.
    pub busy: Targets,
    /// Devices of peers whose rsync module was closed by the operator.
    pub closed: Targets,
    /// Devices of peers whose rsync daemon refuses dry runs.
    pub refusing: Targets,
    /// Devices of peers whose rsync daemon does not list files.
    pub veiled: Targets,
}

/// A batch at work: what its steps have in common.
pub(crate) struct Work<'a> {
    pub tools: &'a Tools,
    pub pass: &'a Pass,
    pub view: &'a PolicyView,
    pub disk: &'a str,
    /// The region of the local device, in this policy's ring.
    pub region: Option<i64>,
    pub slot: &'a Slot,
    /// The local device, as it was when the job began.
    drive: Drive,
    /// Whether it was found to be gone.
    is_drive_lost: Cell<bool>,
    /// Whether it was found to be paused.
    is_cut_short: Cell<bool>,
    /// Nodes that this job asks for nothing more, by their ids.
    given_up: HashMap<u32, Cause>,
    /// How long this job goes on waiting for devices that are too busy.
    pub patience: &'a Patience,
    /// Which of the partitions are still this job's own.
    pub custody: &'a Custody,
    /// What was counted, and not handed over yet.
    pub tally: Tally,
    /// Takes what was counted so far, for those who follow a long job.
    outlet: &'a dyn Fn(Tally),
    last_handed_over: Instant,
}

impl<'a> Work<'a> {
    /// The batch on its device, with a worker's slot and a way out for its counts.
    pub(crate) fn new(
        batch: &'a Batch,
        tools: &'a Tools,
        drive: Drive,
        slot: &'a Slot,
        outlet: &'a dyn Fn(Tally),
    ) -> Self {
        let (view, disk) = (&*batch.view, &*batch.disk);
        Self {
            tools,
            pass: &batch.pass,
            view,
            disk,
            region: view.region_of(disk),
            slot,
            custody: &batch.custody,
            drive,
            is_drive_lost: Cell::new(false),
            is_cut_short: Cell::new(false),
            given_up: HashMap::new(),
            patience: &batch.patience,
            tally: Tally::default(),
            outlet,
            last_handed_over: Instant::now(),
        }
    }

    /// Looks whether the device is still the one that was checked when the job began. What was read of it before a yes
    /// came from it; after a no nothing of this job may be trusted, pushed or removed any more. The first no is logged.
    pub(crate) fn has_drive(&self) -> bool {
        if self.is_drive_lost.get() {
            return false;
        }
        let looked = self.drive.look();
        if let Err(lost) = &looked {
            error!("{lost}: what is left of this job is not done");
            self.is_drive_lost.set(true);
        }
        looked.is_ok()
    }

    /// Whether the device was there at the last look.
    pub(crate) fn had_drive(&self) -> bool {
        !self.is_drive_lost.get()
    }

    /// The device that was checked when the job began.
    pub(crate) fn drive(&self) -> &Drive {
        &self.drive
    }

    /// Whether nothing more is to be begun on the local device. Then the job ends, and another one does what it leaves:
    /// also if the pause is over by the next look, for steps of this one may have been left out by then.
    pub(crate) fn is_paused(&self) -> bool {
        if self.is_cut_short.get() {
            return true;
        }
        let is_paused = self.tools.orders.pause_of_device(self.disk, clock::now().as_secs_f64()).is_some();
        if is_paused {
            self.is_cut_short.set(true);
            self.custody.cut_short();
        }
        is_paused
    }

    /// Whether nothing is to be begun with the node. Then the pass cannot be complete, but nothing has failed.
    pub(crate) fn is_peer_paused(&mut self, node: &Device) -> bool {
        let pause = self.tools.orders.pause_of_peer(&node.address(), clock::now().as_secs_f64());
        self.tally.paused.extend(pause.as_ref().map(|pause| pause.what.to_string()));
        pause.is_some()
    }

    /// Why the node is asked for nothing more in this job, if so.
    pub(crate) fn given_up(&self, node: &Device) -> Option<Cause> {
        self.given_up.get(&node.id).copied()
    }

    /// The node did not answer, so this job asks it for nothing more.
    pub(crate) fn give_up(&mut self, node: &Device, cause: Cause) {
        self.given_up.insert(node.id, cause);
    }

    /// Whether nothing may be pushed to the node's device, since it has too little free. Its node may be asked for that.
    pub(crate) fn is_full(&self, node: &Device) -> bool {
        self.pass.full.contains(node)
            || !self.tools.client.outages().is_resting(node) && self.tools.fullness.is_full(node, self.slot)
    }

    /// The partition's folder on the local device.
    pub(crate) fn dir(&self, partition: Partition) -> PartitionDir {
        let dir = PartitionDir::new(&self.tools.devices, self.disk, self.view.policy.index, partition);
        dir.with_writes(self.tools.writes)
    }

    /// Removes what was recorded of a partition; in a dry run, says what would come of that.
    ///
    /// # Errors
    /// Those of [`Inventory::remove`], or of [`Inventory::predict`] in a dry run; then at least a part of the partition
    /// is still there.
    pub(crate) fn remove(&self, partition: Partition, inventory: Inventory) -> Result<Removal, RemovalError> {
        let removal = match self.tools.writes {
            Writes::Made => inventory.remove()?,
            Writes::Imagined => inventory.predict()?,
        };
        self.tools.transfer.removed(self, partition, &removal);
        Ok(removal)
    }

    /// Hands over what was counted so far, from time to time.
    pub(crate) fn hand_over(&mut self) {
        if self.last_handed_over.elapsed() >= HAND_OVER {
            self.hand_over_now();
        }
    }

    /// Hands over what was counted so far: what comes next may take long.
    pub(crate) fn hand_over_now(&mut self) {
        (self.outlet)(std::mem::take(&mut self.tally));
        self.slot.handed_over();
        self.last_handed_over = Instant::now();
    }

    /// A partition has had its turn: only now it counts.
    pub(crate) fn count_done(&mut self, partition: Partition) {
        self.tally.stats.attempted += 1;
        self.tally.counts.attempted += 1;
        self.custody.done(partition);
        self.slot.counted();
    }

    /// Notes that a partition took so long that others should not have to wait for it (it goes alone in the next pass).
    pub(crate) fn note_time(&mut self, partition: Partition, took: Duration) {
        let slow = (self.view.policy.index, partition);
        self.tally.slowest.note((took, slow.0, slow.1));
        if took >= SLOW {
            self.tally.suspect(slow.0, slow.1);
        }
    }

    /// What the local device holds of this policy.
    pub(crate) fn holding(&mut self) -> &mut Holding {
        self.tally.holding(self.view.policy.index)
    }

    /// A hand-off has had its turn.
    pub(crate) fn end_hand_off(&mut self, partition: Partition, spent: Duration) {
        self.count_done(partition);
        self.note_time(partition, spent);
        self.tally.took(spent);
        self.tools.statsd.timing("partition.delete.timing", "partition_delete_timing", self.labels(), spent);
    }

    /// What metrics with labels are about.
    pub(crate) fn labels(&self) -> Labels<'_> {
        Labels { device: self.disk, policy: self.view.policy.index.number() }
    }

    /// What the node is called in reports.
    pub(crate) fn name_of(&self, node: &Device) -> Arc<str> {
        self.view.name_of(node)
    }

    /// Says what is done next.
    pub(crate) fn step(&self, partition: Partition, step: Step) {
        self.slot.step(Some(partition), step, None);
    }

    /// Says what is done next with a node.
    pub(crate) fn step_with(&self, node: &Device, partition: Partition, step: Step) {
        self.slot.step(Some(partition), step, Some(self.name_of(node)));
    }
}

/// How often a job hands over what it counted.
const HAND_OVER: Duration = Duration::from_secs(1);

/// What a partition may take before it goes alone in the next pass.
const SLOW: Duration = Duration::from_secs(60);
