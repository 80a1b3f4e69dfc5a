//! Partitions that do not belong here: push them to all their primaries, verify, then remove them (B10).
//!
//! This is the one place where data is removed, so each step says what it leaves safe:
//! 1. The partition's `.lock-replication` is taken, so that no SSYNC comes in and no other node pushes the same
//!    partition back and forth; it is held until the partition's own decision. A busy one is left for the next pass.
//!    Hand-offs that go as a list are let go if that takes long, and then done one by one, from this step on.
//! 2. Every file is recorded. What cannot be seen is counted; the rest is pushed, but nothing is removed.
//! 3. Every primary gets all suffixes. It has them only if rsync ended well, *and* the node answered 200 when told what it
//!    got, *and* it is proven that what is there is whole, and is where its object server looks (`job/transfer/proof.rs`). With
//!    SSYNC it has what it confirms, object by object.
//! 4. Enough holders have it on their disks: their rsync was told to (`handoff_fsync`), or it was pushed minutes ago and
//!    is still whole now.
//! 5. If every primary (or `handoff_delete` of them) has it, and the device is still the one that was recorded, and the
//!    primaries' servers, asked once more, still have it, and the ring file is still the one that named these primaries,
//!    and nobody told this node in the meantime that it has the partition, the recorded files are unlinked, and only
//!    those ([`crate::device::removal`]). Nodes whose rings differ may each push to the other; the order of telling,
//!    making sure and looking whether one was told keeps them from both removing what they have.
//!
//! A hand-off of which a primary is paused by an operator is given to the others and stays, however many have it.
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

use super::custody::LOCKS_HELD;
use super::hand_off::{HandOff, Misplaced};
use super::outcome::HandedOver;
use super::work::Work;
use crate::names::Partition;
use crate::ring::Device;

/// How long the locks of a list of hand-offs are waited for, in all (B10.2).
const LOCK_WAIT: Duration = Duration::from_millis(200);

/// Reverts the partitions.
pub(super) fn revert<'r>(work: &mut Work<'r>, partitions: Vec<Misplaced<'r>>) {
    let at_once = if work.tools.transfer.takes_lists() { partitions.len().max(1) } else { 1 };
    let mut partitions = partitions.into_iter().peekable();
    while partitions.peek().is_some() && !work.is_paused() {
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
            for handoff in handoffs {
                handoff.decide(work);
                work.hand_over();
            }
            for handoff in damaged {
                push_alone(work, handoff);
            }
        }
        Pushing::TakesLong { suspect } => {
            // All locks go before the first is taken again, and what may be to blame comes last.
            let mut alone: Vec<_> = handoffs.into_iter().chain(damaged).map(HandOff::let_go).collect();
            alone.sort_by_key(|(partition, _)| Some(*partition) == suspect);
            for misplaced in alone {
                if work.is_paused() {
                    return;
                }
                revert_alone(work, misplaced);
            }
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
    let (begun, nodes) = (Instant::now(), targets(handoffs));
    work.slot.divide(1, nodes.len());
    for node in nodes {
        if work.custody.is_revoked() {
            break;
        }
        if handoffs.len() > 1 && begun.elapsed() > LOCKS_HELD {
            return Pushing::TakesLong { suspect: None };
        }
        if work.is_peer_paused(node) {
            continue;
        }
        if let Some(Slow { suspect }) = give(work, handoffs, node) {
            return Pushing::TakesLong { suspect };
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

/// A list that does not move.
struct Slow {
    suspect: Option<Partition>,
}

/// Gives the node all that is for it. It holds a hand-off only after all that step 3 asks for.
fn give<'r>(work: &mut Work<'r>, handoffs: &mut [HandOff<'r>], node: &'r Device) -> Option<Slow> {
    let going: Vec<_> = handoffs.iter_mut().filter(|handoff| handoff.is_for(node)).collect();
    let offers: Vec<_> = going.iter().map(|handoff| handoff.offer(work, node)).collect();
    let count = offers.len();
    work.tally.stats.rsync += count as u64;
    let begun = Instant::now();
    let deliveries = match work.tools.transfer.hand_over(work, node, &offers) {
        HandedOver::Each(deliveries) => deliveries,
        HandedOver::TakesLong { suspect } => {
            // It is pushed again, and counted then.
            work.tally.stats.rsync -= count as u64;
            return Some(Slow { suspect });
        }
    };
    let spent = begun.elapsed();
    let peer = work.tally.peer(work.name_of(node));
    peer.attempted += count as u64;
    peer.seconds += spent.as_secs_f64();
    for (handoff, delivery) in going.into_iter().zip(deliveries) {
        handoff.spent += spent / count.max(1) as u32;
        handoff.delivered(work, node, delivery);
    }
    None
}
