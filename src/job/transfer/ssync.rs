//! Pushing one partition's objects to one node by SSYNC.

use std::collections::BTreeSet;

use log::error;

use crate::cause::Cause;
use crate::format::object::ObjectHash;
use crate::job::outcome::Unsynced;
use crate::job::slot::Step;
use crate::job::targets::{TURNS, Way, wait_for_a_turn};
use crate::job::work::Work;
use crate::peer::node_string;
use crate::peer::rsync::PartSuffixes;
use crate::peer::ssync::{SsyncError, SsyncPush, Synced};
use crate::ring::Device;

/// What objects are pushed for.
#[derive(Clone, Copy)]
pub enum Purpose<'a> {
    /// To have them there too.
    Update,
    /// To have them there instead. What the node confirms comes with what identifies its files.
    Removal {
        /// Only ask whether it has these.
        only: Option<&'a BTreeSet<ObjectHash>>,
    },
}

/// Pushes the partition's objects. The tally gets what was sent.
///
/// A node that has its hands full is asked again a few times. One that cannot be reached, or falls silent, is not asked
/// again in this job: each attempt would take as long, and locks are held meanwhile.
///
/// # Errors
/// [`Unsynced`], with what was confirmed nonetheless.
pub fn converse(
    work: &mut Work<'_>,
    node: &Device,
    part: &PartSuffixes,
    purpose: Purpose<'_>,
) -> Result<Synced, Unsynced> {
    // What was read of the device before this look came from it.
    if !work.has_drive() {
        return Err(Unsynced::not_begun(Cause::Local));
    }
    if let Some(cause) = work.given_up(node) {
        return Err(Unsynced::not_begun(cause));
    }
    let outcome = in_turn(work, node, part, purpose);
    let (quarantined, bytes, unsent) = match &outcome {
        Ok(synced) => (synced.quarantined, synced.bytes, synced.kept.unsent),
        Err(failed) => (failed.quarantined, failed.bytes, 0),
    };
    for _ in 0..quarantined {
        work.tools.statsd.increment("quarantines");
    }
    work.tally.sent(work.name_of(node), bytes);
    if unsent > 0 {
        work.tally.counts.fail(Cause::Local);
    }
    outcome.map_err(|failed| {
        let (cause, is_about_objects) = (failed.cause(), failed.is_about_objects());
        if matches!(cause, Cause::Unreachable | Cause::Timeout) {
            work.give_up(node, cause);
        }
        Unsynced { cause, confirmed: failed.confirmed, is_about_objects }
    })
}

/// Talks to the node, and waits for a turn where it has its hands full; once that was in vain, nothing else waits for the
/// same device in this pass.
fn in_turn(work: &Work<'_>, node: &Device, part: &PartSuffixes, purpose: Purpose<'_>) -> Result<Synced, SsyncError> {
    let busy = &work.pass.busy;
    for _ in 0..TURNS {
        match talk(work, node, part, purpose) {
            Err(failed) if failed.is_busy() && !busy.contains(node) => {}
            outcome => return said(node, part, outcome),
        }
        wait_for_a_turn();
    }
    let last = talk(work, node, part, purpose);
    if last.as_ref().is_err_and(SsyncError::is_busy) {
        busy.insert(node);
    }
    said(node, part, last)
}

/// Logs what the sender leaves to whoever gives up.
fn said(node: &Device, part: &PartSuffixes, outcome: Result<Synced, SsyncError>) -> Result<Synced, SsyncError> {
    if let Err(failed) = &outcome
        && failed.is_busy()
    {
        error!("{}/{} {failed}", node_string(node), part.partition);
    }
    outcome
}

fn talk(work: &Work<'_>, node: &Device, part: &PartSuffixes, purpose: Purpose<'_>) -> Result<Synced, SsyncError> {
    let Some(sender) = &work.tools.ssync else { return Ok(Synced::default()) };
    work.step_with(node, part.partition, Step::Pushing);
    let _stream = work.tools.streams.open(node, Way::Ssync, work.slot);
    let dir = work.dir(part.partition);
    let (only, with_marks) = match purpose {
        Purpose::Update => (None, false),
        Purpose::Removal { only } => (only, true),
    };
    sender.sync(
        &SsyncPush { dir: &dir, drive: Some(work.drive()), suffixes: &part.suffixes, to: node, only, with_marks },
        work.slot,
    )
}
