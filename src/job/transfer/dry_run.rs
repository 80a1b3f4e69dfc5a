//! The transfer of a dry run: it changes nothing, and notes in a [`Plan`] what a real pass would do.
//!
//! Devices are read and peers are asked for their hashes, as in every pass. That is all: no lock file is made, nothing is
//! written, pushed or removed, and no peer is told of a push. (A peer that is asked brings its own record of hashes up to
//! date, as it does for every replicator that asks.)
//!
//! A push is taken to succeed. A real pass finds out by pushing a hand-off that a node is down or has it already; here the
//! node is asked for its hashes instead. How much would go over the wire is not known before: what the differing suffixes
//! hold is the most that it can be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use log::error;

use crate::cause::Cause;
use crate::device::extent::{self, SuffixSize};
use crate::device::hashes::{HashRequest, get_hashes};
use crate::device::layout::PartitionDir;
use crate::device::removal::Removal;
use crate::job::outcome::{Arrival, Delivery, HandedOver, Pushed};
use crate::job::slot::Step;
use crate::job::work::{Offer, Transfer, Work};
use crate::locks::lock;
use crate::names::{Partition, PolicyIndex, Suffix};
use crate::peer::node_string;
use crate::peer::replicate::ReplicateError;
use crate::peer::rsync::PartSuffixes;
use crate::ring::Device;

/// What a pass would do.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    devices: Mutex<BTreeMap<String, DevicePlan>>,
}

/// What a pass would do with what is on one local device.
#[derive(Clone, Debug, Default)]
pub(crate) struct DevicePlan {
    /// Of partitions that belong here.
    pub updates: Vec<PlannedPush>,
    pub handoffs: BTreeMap<(PolicyIndex, Partition), HandOffPlan>,
}

/// A push of suffixes of one partition to one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedPush {
    pub policy: PolicyIndex,
    pub partition: Partition,
    /// The node, as [`node_string`] names it.
    pub to: String,
    pub suffixes: usize,
    /// The most that would go over the wire.
    pub extent: SuffixSize,
}

/// What would become of a hand-off.
#[derive(Clone, Debug, Default)]
pub(crate) struct HandOffPlan {
    /// Where it would go; of what is there already, no suffixes.
    pub pushes: Vec<PlannedPush>,
    /// Whether nothing of it would be left here afterwards.
    pub is_removed: bool,
}

impl Plan {
    /// What was noted, by the names of the local devices.
    pub(crate) fn devices(&self) -> BTreeMap<String, DevicePlan> {
        lock(&self.devices).clone()
    }

    fn note(&self, disk: &str, note: impl FnOnce(&mut DevicePlan)) {
        let mut devices = lock(&self.devices);
        note(devices.entry(disk.to_owned()).or_default());
    }
}

/// Wraps another transfer, and notes what that would do.
pub(crate) struct DryRun {
    plan: Arc<Plan>,
    of: Box<dyn Transfer>,
}

impl DryRun {
    /// Notes in `plan` what `of` would do.
    pub(crate) fn new(plan: Arc<Plan>, of: Box<dyn Transfer>) -> Self {
        Self { plan, of }
    }

    fn hand_over_one(&self, work: &Work<'_>, node: &Device, part: &PartSuffixes) -> Delivery {
        if work.is_full(node) {
            return Delivery::Failed(Some(Cause::Full));
        }
        match lacking(work, node, part) {
            Ok(lacking) => {
                let (push, key) = (planned(work, node, part, &lacking), (work.view.policy.index, part.partition));
                self.plan.note(work.disk, |device| device.handoffs.entry(key).or_default().pushes.push(push));
                Delivery::Held(Arrival::Written)
            }
            Err(error) => {
                if !error.is_put_off() {
                    error!("Error syncing handoff partition: {} to {}: {error}", part.partition, node_string(node));
                }
                Delivery::Failed(Some(error.cause()))
            }
        }
    }
}

/// A push of these suffixes of a part.
fn planned(work: &Work<'_>, node: &Device, part: &PartSuffixes, suffixes: &[Suffix]) -> PlannedPush {
    let (policy, partition) = (work.view.policy.index, part.partition);
    let extent = measure(&work.dir(partition), suffixes);
    PlannedPush { policy, partition, to: node_string(node), suffixes: suffixes.len(), extent }
}

/// The suffixes of a hand-off that the node has not got as they are here.
fn lacking(work: &Work<'_>, node: &Device, part: &PartSuffixes) -> Result<Vec<Suffix>, ReplicateError> {
    work.step_with(node, part.partition, Step::Asking);
    let remote = work.tools.client.hashes(node, work.view.policy.index, part.partition)?;
    work.step(part.partition, Step::Hashing);
    let request = HashRequest { recalculate: &[], listing: true, reclaim_age: work.tools.reclaim_age };
    Ok(match get_hashes(&work.dir(part.partition), &request, work.slot) {
        Ok(local) => local.hashes.differing(&remote),
        // A push asks for no hashes, so it would not fail for that.
        Err(_) => part.suffixes.clone(),
    })
}

fn measure(dir: &PartitionDir, suffixes: &[Suffix]) -> SuffixSize {
    let mut all = SuffixSize::default();
    for suffix in suffixes {
        match extent::of_suffix(dir, *suffix) {
            Ok(extent) => all += extent,
            Err(error) => error!("Cannot look at {}: {error}", dir.suffix_path(*suffix).display()),
        }
    }
    all
}

impl Transfer for DryRun {
    fn takes_lists(&self) -> bool {
        self.of.takes_lists()
    }

    fn leaves_out_irregular(&self) -> bool {
        self.of.leaves_out_irregular()
    }

    fn is_to_be_told(&self) -> bool {
        false
    }

    fn update(&self, work: &mut Work<'_>, node: &Device, parts: &[PartSuffixes]) -> Vec<Pushed> {
        if work.is_full(node) {
            return vec![Pushed::Broken(Cause::Full); parts.len()];
        }
        for part in parts {
            let push = planned(work, node, part, &part.suffixes);
            self.plan.note(work.disk, |device| device.updates.push(push));
        }
        vec![Pushed::Yes(Arrival::Written); parts.len()]
    }

    fn hand_over(&self, work: &mut Work<'_>, node: &Device, offers: &[Offer<'_>]) -> HandedOver {
        HandedOver::Each(offers.iter().map(|offer| self.hand_over_one(work, node, &offer.part)).collect())
    }

    fn is_served(&self, _: &Work<'_>, _: &Device, _: &PartSuffixes) -> bool {
        true
    }

    fn removed(&self, work: &Work<'_>, partition: Partition, removal: &Removal) {
        let is_removed = *removal == Removal::Gone;
        let key = (work.view.policy.index, partition);
        self.plan.note(work.disk, |device| device.handoffs.entry(key).or_default().is_removed = is_removed);
    }
}
