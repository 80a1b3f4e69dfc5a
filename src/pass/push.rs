//! Pushing suffixes of several partitions to one node.
//!
//! A single partition is pushed by one run of rsync, as the reference does it. A list that fails may have failed for one
//! of its partitions only (a suffix that vanished gives 23), so the same list is run once more, which costs names only,
//! then its halves, down to the one that cannot be pushed. A target that is down, full or not mounted would fail each of
//! those runs the same way, so then nothing is tried again. A daemon that has its full number of connections is asked
//! again after a while.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use log::{error, warn};

use super::watchdog::Step;
use super::work::Work;
use crate::names::{Partition, Suffix};
use crate::peer::node_string;
use crate::peer::replicate::ReplicateError;
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

/// Devices of peers that had no space left; nothing more is pushed to them in this pass.
#[derive(Debug, Default)]
pub struct FullTargets(Mutex<HashSet<(String, u16, String)>>);

impl FullTargets {
    fn key(node: &Device) -> (String, u16, String) {
        (node.replication_ip.clone(), node.replication_port, node.device.clone())
    }

    fn contains(&self, node: &Device) -> bool {
        let full = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !full.is_empty() && full.contains(&Self::key(node))
    }

    fn insert(&self, node: &Device) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(Self::key(node))
    }
}

/// How often a daemon that has its full number of connections is asked again.
const TURNS: usize = 3;

/// Pushes the parts to the node; the answer has one entry per part.
pub fn push(work: &Work<'_>, node: &Device, parts: &[PartSuffixes]) -> Vec<Pushed> {
    let mut outcomes = Vec::with_capacity(parts.len());
    if !parts.is_empty() {
        push_or_halve(work, node, parts, parts.len() > 1, &mut outcomes);
    }
    outcomes
}

fn push_or_halve(work: &Work<'_>, node: &Device, parts: &[PartSuffixes], again: bool, outcomes: &mut Vec<Pushed>) {
    match push_waiting_for_a_turn(work, node, parts) {
        Attempt::Ended(outcome) => outcomes.resize(outcomes.len() + parts.len(), outcome),
        Attempt::FailedForSome if again => push_or_halve(work, node, parts, false, outcomes),
        Attempt::FailedForSome if parts.len() == 1 => outcomes.push(Pushed::No),
        Attempt::FailedForSome => {
            let (first, second) = parts.split_at(parts.len() / 2);
            push_or_halve(work, node, first, false, outcomes);
            push_or_halve(work, node, second, false, outcomes);
        }
    }
}

/// What one run of rsync came to.
enum Attempt {
    /// The same for all parts.
    Ended(Pushed),
    /// Some of it may be there, and one of the parts may be to blame.
    FailedForSome,
}

fn push_waiting_for_a_turn(work: &Work<'_>, node: &Device, parts: &[PartSuffixes]) -> Attempt {
    for _ in 0..TURNS {
        match attempt(work, node, parts) {
            Err(busy) if busy.is_max_connections() => thread::sleep(Duration::from_millis(fastrand::u64(1_000..10_000))),
            outcome => return judge(work, node, outcome),
        }
    }
    judge(work, node, attempt(work, node, parts))
}

fn attempt(work: &Work<'_>, node: &Device, parts: &[PartSuffixes]) -> Result<(), PushError> {
    work.step(parts[0].partition, Step::Pushing);
    if work.pass.full.contains(node) || !work.tools.health.allows(node) {
        return Err(PushError::NotTried);
    }
    with_push(work, node, parts, |push| work.tools.rsync.push(push, work.slot))
}

fn judge(work: &Work<'_>, node: &Device, outcome: Result<(), PushError>) -> Attempt {
    let failed = match outcome {
        Ok(()) => {
            work.note_contact(node, false);
            return Attempt::Ended(Pushed::Yes);
        }
        Err(PushError::NothingToSend) => return Attempt::Ended(Pushed::Nothing),
        Err(PushError::NotTried) => return Attempt::Ended(Pushed::Broken),
        Err(failed) => failed,
    };
    if !failed.was_run() {
        error!("Error syncing with node: {}: {failed}", node_string(node));
        return Attempt::Ended(Pushed::Broken);
    }
    work.note_contact(node, failed.is_unreachable());
    if failed.is_no_space() && work.pass.full.insert(node) {
        warn!("{} is full: nothing more is pushed to it in this pass", node_string(node));
    }
    match failed.is_targets_fault() {
        true => Attempt::Ended(Pushed::No),
        false => Attempt::FailedForSome,
    }
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
) -> Result<u16, ReplicateError> {
    work.step(partition, Step::Telling);
    let answer = work.tools.client.rehash(node, work.view.policy.index, partition, suffixes);
    work.note_contact(node, answer.as_ref().is_err_and(ReplicateError::is_unreachable));
    answer
}
