//! What a job does that lasts: changes on the local device, pushes, what peers are told, the removal of a hand-off.
//!
//! A pass has one kind of effects, chosen at its start, and its jobs do not know which: so a dry run (`rehearsal`) goes
//! the same way as a real pass, and cannot come to differ from it.

use std::time::{Duration, Instant};

use super::proof;
use super::rsync;
use crate::device::layout::PartitionDir;
use crate::device::lock::{LockError, PathLock};
use crate::device::removal::{Inventory, Removal, RemovalError};
use crate::device::writes::Writes;
use crate::job::outcome::{Errand, Pushed};
use crate::job::work::{Effects, Tools, Work};
use crate::names::{Partition, PolicyIndex, Suffix};
use crate::peer::replicate::ReplicateError;
use crate::peer::rsync::PartSuffixes;
use crate::ring::Device;

/// Those of a real pass.
pub struct Real;

impl Effects for Real {
    fn writes(&self) -> Writes {
        Writes::Made
    }

    fn lock(&self, dir: &PartitionDir, wait: Duration) -> Result<Option<PathLock>, LockError> {
        PathLock::acquire(dir.path(), Some("replication"), wait).map(Some)
    }

    fn push(&self, work: &mut Work<'_>, errand: Errand, node: &Device, parts: &[PartSuffixes]) -> Vec<Pushed> {
        rsync::push(work, errand, node, parts)
    }

    fn tell(
        &self,
        tools: &Tools,
        policy: PolicyIndex,
        node: &Device,
        partition: Partition,
        suffixes: &[Suffix],
    ) -> Result<u16, ReplicateError> {
        rsync::tell(tools, policy, node, partition, suffixes)
    }

    fn prove(&self, work: &Work<'_>, node: &Device, parts: &[&PartSuffixes], begun: Instant) -> Vec<bool> {
        proof::prove(work, node, parts, begun)
    }

    fn is_served(&self, work: &Work<'_>, node: &Device, part: &PartSuffixes) -> bool {
        proof::is_served(work, node, part)
    }

    fn remove(&self, _: &Work<'_>, _: Partition, inventory: Inventory) -> Result<Removal, RemovalError> {
        inventory.remove()
    }
}
