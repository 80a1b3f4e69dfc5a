//! Pushing suffixes of several partitions to one node, whatever the method.

use log::error;

use super::watchdog::Step;
use super::work::Work;
use crate::names::{Partition, Suffix};
use crate::peer::node_string;
use crate::peer::rsync::{PartSuffixes, Push, PushError};
use crate::ring::Device;

/// What became of one partition's push to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The method says that all is there.
    Yes,
    /// It was tried and failed; the log has the reason.
    No,
    /// None of the suffixes was there any more, so nothing was tried (B8.2).
    Nothing,
    /// It could not even be tried; the log has the reason.
    Broken,
}

/// Pushes the parts to the node, in one go; the answer has one entry per part.
pub fn push(work: &Work<'_>, node: &Device, parts: &[PartSuffixes]) -> Vec<Pushed> {
    let Some(first) = parts.first() else { return Vec::new() };
    work.step(first.partition, Step::Pushing);
    let outcome = match with_push(work, node, parts, |push| work.tools.rsync.push(push, work.slot)) {
        Ok(()) => Pushed::Yes,
        Err(PushError::NothingToSend) => Pushed::Nothing,
        Err(failed) if failed.was_run() => Pushed::No,
        Err(broken) => {
            error!("Error syncing with node: {}: {broken}", node_string(node));
            Pushed::Broken
        }
    };
    vec![outcome; parts.len()]
}

/// Whether the node now has all that is in the parts' suffixes, as far as names tell. Where that cannot be found out it
/// has not.
pub fn has_arrived(work: &Work<'_>, node: &Device, part: &PartSuffixes) -> bool {
    work.step(part.partition, Step::Verifying);
    match with_push(work, node, std::slice::from_ref(part), |push| work.tools.rsync.missing(push, work.slot)) {
        Ok(false) => true,
        Ok(true) => {
            error!(
                "Not all of {} is on {} after the push: partition kept",
                work.dir(part.partition).path().display(),
                node_string(node)
            );
            false
        }
        // Nothing is left here, so nothing can be missing there.
        Err(PushError::NothingToSend) => true,
        Err(failed) => {
            error!(
                "Cannot verify the push of {} to {}: {failed}",
                work.dir(part.partition).path().display(),
                node_string(node)
            );
            false
        }
    }
}

fn with_push<T>(work: &Work<'_>, node: &Device, parts: &[PartSuffixes], run: impl FnOnce(&Push<'_>) -> T) -> T {
    let policy = work.view.policy.index;
    let datadir = work.tools.devices.join(work.disk).join(policy.datadir());
    let across_regions = work.region != Some(node.region);
    run(&Push { datadir: &datadir, policy, parts, to: node, across_regions })
}

/// Tells the node which suffixes of the partition were pushed, so that it hashes them anew (B7.5).
///
/// # Errors
/// No answer came.
pub fn tell(
    work: &Work<'_>,
    node: &Device,
    partition: Partition,
    suffixes: &[Suffix],
) -> Result<u16, crate::peer::replicate::ReplicateError> {
    work.step(partition, Step::Telling);
    work.tools.client.rehash(node, work.view.policy.index, partition, suffixes)
}
