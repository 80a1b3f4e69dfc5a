//! Partitions that do not belong here: push them to all their primaries, verify, then remove them (B10).
//!
//! This is the one place where data is removed, so each step says what it leaves safe:
//! 1. The partition's `.lock-replication` is taken, so that no SSYNC comes in and no other node pushes the same
//!    partition back and forth; it is held until the partition's own decision. A busy one is left for the next pass.
//!    Hand-offs that go as a list are let go if that takes long, and then done one by one, from this step on.
//! 2. Every file is recorded. What cannot be seen is counted; the rest is pushed, but nothing is removed.
//! 3. Every primary gets all suffixes. It has them only if rsync ended well, *and* the node answered 200 when told what it
//!    got, *and* it is proven that what is there is whole, and is where its object server looks ([`super::proof`]). With
//!    SSYNC it has what it confirms, object by object.
//! 4. Enough holders have it on their disks: their rsync was told to (`handoff_fsync`), or it was pushed minutes ago and
//!    is still whole now.
//! 5. If every primary (or `handoff_delete` of them) has it, and the device is still the one that was recorded, and the
//!    primaries' servers, asked once more, still have it, and the ring file is still the one that named these primaries,
//!    and nobody told this node in the meantime that it has the partition, the recorded files are unlinked, and only
//!    those ([`crate::device::removal`]). Nodes whose rings differ may each push to the other; the order of telling,
//!    making sure and looking whether one was told keeps them from both removing what they have.
//!
//! What can happen between two steps:
//! - *A file arrives between 2 and 5*: it is not in the record, so it stays, and with it the partition.
//! - *The device is unmounted*: whatever was read since the last look at it is not acted on; the next look ends the job.
//! - *The power fails at a target*: before 4 nothing is removed; after it the target's disk has files and names.
//! - *Another node removes its copy between the last question and the first unlink*: if it runs this program it was told of
//!   this push, and keeps it. If it runs Swift's own, both may remove: the last question narrows that to milliseconds.
//! - *The ring changes between the look at its file and the first unlink*: the copies then are where the ring wanted them
//!   a moment ago, and every node that holds one knows how to move it on.

use std::time::{Duration, Instant};

use log::error;

use super::custody::LOCKS_HELD;
use super::hand_off::{HandOff, Misplaced};
use super::outcome::{Arrival, Errand, Pushed};
use super::slot::Step;
use super::transfer::ssync::{Purpose, converse};
use super::work::Work;
use crate::cause::Cause;
use crate::names::Partition;
use crate::peer::node_string;
use crate::peer::rsync::PartSuffixes;
use crate::ring::Device;

/// How long the locks of a list of hand-offs are waited for, in all (B10.2).
const LOCK_WAIT: Duration = Duration::from_millis(200);

/// Reverts the partitions. SSYNC goes one by one, since a conversation is about one partition, and there is nothing to be
/// gained by holding the locks of others meanwhile.
pub fn revert<'r>(work: &mut Work<'r>, partitions: Vec<Misplaced<'r>>) {
    let at_once = if work.tools.ssync.is_some() { 1 } else { partitions.len().max(1) };
    let mut partitions = partitions.into_iter().peekable();
    while partitions.peek().is_some() {
        revert_list(work, partitions.by_ref().take(at_once).collect());
    }
}

fn revert_list<'r>(work: &mut Work<'r>, partitions: Vec<Misplaced<'r>>) {
    let deadline = Instant::now() + LOCK_WAIT;
    let mut handoffs: Vec<_> =
        partitions.into_iter().filter_map(|misplaced| HandOff::take(work, misplaced, deadline)).collect();
    // What could not be read when it was recorded cannot be pushed either: such a partition must not spoil the list.
    let damaged: Vec<_> = handoffs.extract_if(.., |handoff| handoff.is_damaged()).collect();
    match push_everywhere(work, &mut handoffs) {
        Pushing::Done => {
            handoffs.into_iter().for_each(|handoff| handoff.decide(work));
            for handoff in damaged {
                push_alone(work, handoff);
            }
        }
        Pushing::TakesLong { suspect } => {
            // All locks go before the first is taken again, and what may be to blame comes last.
            let mut alone: Vec<_> = handoffs.into_iter().chain(damaged).map(HandOff::let_go).collect();
            alone.sort_by_key(|(partition, _)| Some(*partition) == suspect);
            alone.into_iter().for_each(|misplaced| revert_alone(work, misplaced));
        }
    }
}

/// Whether a list of hand-offs can be pushed to all targets in the time for which their locks may be held.
enum Pushing {
    Done,
    /// It cannot: each has to be done alone.
    TakesLong {
        /// The partition that seems to be to blame.
        suspect: Option<Partition>,
    },
}

fn push_everywhere<'r>(work: &mut Work<'r>, handoffs: &mut [HandOff<'r>]) -> Pushing {
    let begun = Instant::now();
    for node in targets(handoffs) {
        if work.custody.is_revoked() {
            break;
        }
        if handoffs.len() > 1 && begun.elapsed() > LOCKS_HELD {
            return Pushing::TakesLong { suspect: None };
        }
        match work.tools.ssync {
            Some(_) => send_to_node(work, handoffs, node),
            None => {
                if let Some(Slow { suspect }) = push_to_node(work, handoffs, node) {
                    return Pushing::TakesLong { suspect };
                }
            }
        }
        work.hand_over();
    }
    Pushing::Done
}

/// Does all of a partition that was let go: what has arrived costs names only.
fn revert_alone<'r>(work: &mut Work<'r>, misplaced: Misplaced<'r>) {
    if !work.custody.begin(misplaced.0) {
        return;
    }
    let deadline = Instant::now() + LOCK_WAIT;
    if let Some(handoff) = HandOff::hold(work, misplaced, deadline) {
        push_alone(work, handoff);
    }
    work.hand_over();
}

fn push_alone<'r>(work: &mut Work<'r>, handoff: HandOff<'r>) {
    let mut alone = [handoff];
    push_everywhere(work, &mut alone);
    let [handoff] = alone;
    handoff.decide(work);
}

/// The nodes that any of the hand-offs goes to, in the order in which they come up.
fn targets<'r>(handoffs: &[HandOff<'r>]) -> Vec<&'r Device> {
    let mut nodes: Vec<&Device> = Vec::new();
    for handoff in handoffs.iter().filter(|handoff| !handoff.suffixes.is_empty()) {
        for primary in &handoff.primaries {
            if !nodes.iter().any(|node| node.id == primary.id) {
                nodes.push(primary);
            }
        }
    }
    nodes
}

/// Gives the node all objects that are for it, by SSYNC. One that does not answer is not asked again in this job.
fn send_to_node<'r>(work: &mut Work<'r>, handoffs: &mut [HandOff<'r>], node: &'r Device) {
    for handoff in handoffs.iter_mut().filter(|handoff| handoff.is_for(node)) {
        let begun = Instant::now();
        work.tally.stats.rsync += 1;
        let purpose = Purpose::Removal { only: handoff.only_asked_for(work, node) };
        let synced = converse(work, node, &handoff.part(), purpose);
        let peer = work.tally.peer(work.name_of(node));
        peer.attempted += 1;
        peer.seconds += begun.elapsed().as_secs_f64();
        match synced {
            Ok(synced) => {
                peer.pushed += 1;
                if synced.kept.unsent > 0 {
                    handoff.has_unreadable();
                }
                handoff.confirmed_by(work, node, synced.candidates);
            }
            Err(unsynced) => {
                handoff.failed(work, node, Some(unsynced.cause));
                handoff.refused_by(work, node, unsynced);
            }
        }
        handoff.spent += begun.elapsed();
        work.hand_over();
    }
}

/// A list that does not move.
struct Slow {
    suspect: Option<Partition>,
}

/// Gives the node all that is for it. It holds a hand-off only after all that step 3 asks for.
fn push_to_node<'r>(work: &mut Work<'r>, handoffs: &mut [HandOff<'r>], node: &'r Device) -> Option<Slow> {
    let mut going: Vec<_> = handoffs.iter_mut().filter(|handoff| handoff.is_for(node)).collect();
    let parts: Vec<_> = going.iter().map(|handoff| handoff.part()).collect();
    work.tally.stats.rsync += parts.len() as u64;
    let begun = Instant::now();
    let pushed = work.tools.effects.push(work, Errand::Revert, node, &parts);
    if let Some(suspect) = pushed.iter().find_map(|pushed| pushed.suspect_of_slow()) {
        // It is pushed again, and counted then.
        work.tally.stats.rsync -= parts.len() as u64;
        return Some(Slow { suspect });
    }
    let told: Vec<_> = parts.iter().zip(&pushed).map(|(part, pushed)| tell(work, node, part, pushed)).collect();
    let to_be_there: Vec<_> = parts.iter().zip(&told).filter(|(_, told)| told.is_ok()).map(|(part, _)| part).collect();
    let mut proven = work.tools.effects.prove(work, node, &to_be_there, begun).into_iter();
    let spent = begun.elapsed();
    let peer = work.tally.peer(work.name_of(node));
    peer.attempted += parts.len() as u64;
    peer.seconds += spent.as_secs_f64();
    for (handoff, told) in going.iter_mut().zip(told) {
        handoff.spent += spent / parts.len().max(1) as u32;
        match told {
            Ok(arrival) if proven.next() == Some(true) => {
                handoff.held_by(node, arrival);
                work.tally.peer(work.name_of(node)).pushed += 1;
            }
            Ok(_) => handoff.failed(work, node, Some(Cause::Verify)),
            Err(cause) => handoff.failed(work, node, cause),
        }
    }
    None
}

/// Tells the node what it got of a partition; only an answer of 200 lets it go on. Gives whether the node has it on
/// its disk.
fn tell(work: &Work<'_>, node: &Device, part: &PartSuffixes, pushed: &Pushed) -> Result<Arrival, Option<Cause>> {
    let Pushed::Yes(arrival) = *pushed else { return Err(pushed.cause()) };
    work.step_with(node, part.partition, Step::Telling);
    match work.tools.effects.tell(work.tools, work.view.policy.index, node, part.partition, &part.suffixes) {
        Ok(200) => Ok(arrival),
        Ok(status) => {
            error!("Invalid response {status} from {}", node_string(node));
            Err(Some(Cause::BadAnswer))
        }
        Err(error) => {
            error!("Error syncing handoff partition: {error}");
            Err(Some(error.cause()))
        }
    }
}
