//! The effects of a dry run: nothing lasts, and what would is noted in a [`Plan`].
//!
//! Devices are read and peers are asked for their hashes, as in every pass. That is all: no lock file is made, nothing is
//! written, pushed or removed, and no peer is told of a push. (A peer that is asked brings its own record of hashes up to
//! date, as it does for every replicator that asks.)
//!
//! A push is taken to succeed. A real pass finds out by pushing a hand-off that a node is down or has it already; here the
//! node is asked for its hashes instead. How much would go over the wire is not known before: what the differing suffixes
//! hold is the most that it can be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::error;

use crate::device::extent::{self, Extent};
use crate::device::hashes::{HashRequest, get_hashes};
use crate::device::layout::PartitionDir;
use crate::device::lock::{LockError, PathLock};
use crate::device::removal::{Inventory, Removal, RemovalError};
use crate::device::writes::Writes;
use crate::job::outcome::{Arrival, Errand, Pushed};
use crate::job::slot::Step;
use crate::job::work::{Effects, Tools, Work};
use crate::names::{Partition, PolicyIndex, Suffix};
use crate::peer::node_string;
use crate::peer::replicate::ReplicateError;
use crate::peer::rsync::PartSuffixes;
use crate::ring::Device;

/// What a pass would do.
#[derive(Debug, Default)]
pub struct Plan {
    devices: Mutex<BTreeMap<String, DevicePlan>>,
}

/// What a pass would do with what is on one local device.
#[derive(Clone, Debug, Default)]
pub struct DevicePlan {
    /// Of partitions that belong here.
    pub updates: Vec<PlannedPush>,
    pub handoffs: BTreeMap<(PolicyIndex, Partition), HandOffPlan>,
}

/// A push of suffixes of one partition to one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPush {
    pub policy: PolicyIndex,
    pub partition: Partition,
    /// The node, as [`node_string`] names it.
    pub to: String,
    pub suffixes: usize,
    /// The most that would go over the wire.
    pub extent: Extent,
}

/// What would become of a hand-off.
#[derive(Clone, Debug, Default)]
pub struct HandOffPlan {
    /// Where it would go; of what is there already, no suffixes.
    pub pushes: Vec<PlannedPush>,
    /// Whether nothing of it would be left here afterwards.
    pub is_removed: bool,
}

impl Plan {
    /// What was noted, by the names of the local devices.
    pub fn devices(&self) -> BTreeMap<String, DevicePlan> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, disk: &str, note: impl FnOnce(&mut DevicePlan)) {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        note(devices.entry(disk.to_owned()).or_default());
    }
}

/// Notes what would last.
pub struct Rehearsal {
    plan: Arc<Plan>,
}

impl Rehearsal {
    /// Notes it in this plan.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { plan }
    }

    fn push_part(&self, work: &Work<'_>, errand: Errand, node: &Device, part: &PartSuffixes) -> Pushed {
        let differing = match errand {
            Errand::Update => part.suffixes.clone(),
            Errand::Revert => match lacking(work, node, part) {
                Ok(lacking) => lacking,
                Err(error) => {
                    if !error.is_logged() {
                        error!("Error syncing handoff partition: {} to {}: {error}", part.partition, node_string(node));
                    }
                    return Pushed::No(error.cause());
                }
            },
        };
        let (policy, partition) = (work.view.policy.index, part.partition);
        let extent = measure(&work.dir(partition), &differing);
        let push = PlannedPush { policy, partition, to: node_string(node), suffixes: differing.len(), extent };
        self.plan.note(work.disk, |device| match errand {
            Errand::Update => device.updates.push(push),
            Errand::Revert => device.handoffs.entry((policy, partition)).or_default().pushes.push(push),
        });
        Pushed::Yes(Arrival::Written)
    }
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

fn measure(dir: &PartitionDir, suffixes: &[Suffix]) -> Extent {
    let mut all = Extent::default();
    for suffix in suffixes {
        match extent::of_suffix(dir, *suffix) {
            Ok(extent) => all += extent,
            Err(error) => error!("Cannot look at {}: {error}", dir.suffix_path(*suffix).display()),
        }
    }
    all
}

impl Effects for Rehearsal {
    fn writes(&self) -> Writes {
        Writes::Imagined
    }

    fn lock(&self, _: &PartitionDir, _: Duration) -> Result<Option<PathLock>, LockError> {
        Ok(None)
    }

    fn push(&self, work: &mut Work<'_>, errand: Errand, node: &Device, parts: &[PartSuffixes]) -> Vec<Pushed> {
        parts.iter().map(|part| self.push_part(work, errand, node, part)).collect()
    }

    fn tell(&self, _: &Tools, _: PolicyIndex, _: &Device, _: Partition, _: &[Suffix]) -> Result<u16, ReplicateError> {
        Ok(200)
    }

    fn prove(&self, _: &Work<'_>, _: &Device, parts: &[&PartSuffixes], _: Instant) -> Vec<bool> {
        vec![true; parts.len()]
    }

    fn is_served(&self, _: &Work<'_>, _: &Device, _: &PartSuffixes) -> bool {
        true
    }

    fn remove(&self, work: &Work<'_>, partition: Partition, inventory: Inventory) -> Result<Removal, RemovalError> {
        let removal = inventory.foretell()?;
        let is_removed = removal == Removal::Gone;
        let key = (work.view.policy.index, partition);
        self.plan.note(work.disk, |device| device.handoffs.entry(key).or_default().is_removed = is_removed);
        Ok(removal)
    }
}
