//! What a job does that lasts: changes on the local device, pushes, what peers are told, the removal of a hand-off.
//!
//! A pass has one kind of effects, chosen at its start, and its jobs do not know which: so a dry run (`rehearsal`) goes
//! the same way as a real pass, and cannot come to differ from it.

use std::time::{Duration, Instant};

use super::proof;
use super::rsync::{self, Errand, Pushed};
use crate::device::layout::PartitionDir;
use crate::device::lock::{LockError, PathLock};
use crate::device::removal::{Inventory, Removal, RemovalError};
use crate::device::writes::Writes;
use crate::job::tally::Tally;
use crate::job::work::{Tools, Work};
use crate::names::{Partition, PolicyIndex, Suffix};
use crate::peer::replicate::ReplicateError;
use crate::peer::rsync::PartSuffixes;
use crate::ring::Device;

/// What lasts of a job.
pub trait Effects: Send + Sync {
    /// Whether what hashing and tidying change on the local devices is changed.
    fn writes(&self) -> Writes;

    /// Takes a hand-off's `.lock-replication`, waiting for so long; `None` where nothing is locked.
    ///
    /// # Errors
    /// Somebody else holds it, or it cannot be used.
    fn lock(&self, dir: &PartitionDir, wait: Duration) -> Result<Option<PathLock>, LockError>;

    /// Pushes the parts to the node; the answer has one entry per part. The tally gets what was sent.
    fn push(
        &self,
        work: &Work<'_>,
        errand: Errand,
        node: &Device,
        parts: &[PartSuffixes],
        tally: &mut Tally,
    ) -> Vec<Pushed>;

    /// Tells the node which suffixes of the partition were pushed; the status of its answer.
    ///
    /// # Errors
    /// No answer came.
    fn tell(
        &self,
        tools: &Tools,
        policy: PolicyIndex,
        node: &Device,
        partition: Partition,
        suffixes: &[Suffix],
    ) -> Result<u16, ReplicateError>;

    /// Whether the node now has all that is in the parts' suffixes, whole and where its object server looks; the answer
    /// has one entry per part. The push began at `begun`.
    fn prove(&self, work: &Work<'_>, node: &Device, parts: &[&PartSuffixes], begun: Instant) -> Vec<bool>;

    /// Whether the node's object server still has the part.
    fn is_served(&self, work: &Work<'_>, node: &Device, part: &PartSuffixes) -> bool;

    /// Removes what was recorded of a partition.
    ///
    /// # Errors
    /// Something could not be removed; then the partition stays.
    fn remove(&self, work: &Work<'_>, partition: Partition, inventory: Inventory) -> Result<Removal, RemovalError>;
}

/// Those of a real pass.
pub struct Real;

impl Effects for Real {
    fn writes(&self) -> Writes {
        Writes::Made
    }

    fn lock(&self, dir: &PartitionDir, wait: Duration) -> Result<Option<PathLock>, LockError> {
        PathLock::acquire(dir.path(), Some("replication"), wait).map(Some)
    }

    fn push(
        &self,
        work: &Work<'_>,
        errand: Errand,
        node: &Device,
        parts: &[PartSuffixes],
        tally: &mut Tally,
    ) -> Vec<Pushed> {
        rsync::push(work, errand, node, parts, tally)
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
