//! Partitions that belong here: compare them with the other primaries, push what differs (B11).
//!
//! A list of partitions goes through rounds. In each, every partition asks its next nodes for their hashes and notes
//! what it has to push to whom; then all that goes to one node is pushed in one go. A partition is pushed to one node
//! of each remote region only, so after a push to a remote region the region's other nodes wait for the outcome: after
//! a success they are left out, after a failure they are asked in the next round. A list of one does what the reference
//! does, with the requests before the pushes.
//!
//! What differs is hashed again before it is pushed, for the hashes may be older than the files. Nothing is removed
//! here, so whatever goes wrong costs a repetition in the next pass. So does a pause of the device: a run of rsync that
//! is under way ends, and what was hashed and not pushed is left to another job.

mod candidate;
mod pushes;

use self::candidate::Candidate;
pub(crate) use self::candidate::LISTING_CYCLE;
use self::pushes::{due_pushes, push_all};
use super::drive_lost;
use super::work::Work;
use crate::names::Partition;
use crate::ring::Device;

/// Updates the partitions, each with the primaries other than this node.
pub(crate) fn update<'r>(work: &mut Work<'r>, partitions: Vec<(Partition, Vec<&'r Device>)>) {
    let mut candidates = Vec::new();
    // Whether a comparison looked at the device last, and it was there: before the next partition nobody need look again.
    let mut was_there = false;
    for (partition, others) in partitions {
        if work.is_paused() || !work.custody.begin(partition) {
            return;
        }
        if !was_there && !work.has_drive() {
            drive_lost::fail_for_drive(work.view, work.disk, partition, &mut work.tally);
            work.custody.done(partition);
            continue;
        }
        was_there = false;
        if let Some(mut candidate) = Candidate::hash(work, partition, others) {
            was_there = candidate.compare(work);
            match candidate.is_settled() {
                true => candidate.finish(work),
                false => candidates.push(candidate),
            }
        }
        work.hand_over();
    }
    while !candidates.is_empty() {
        let pushes = due_pushes(&mut candidates, work.tools.rsync_batch);
        push_all(work, &mut candidates, &pushes);
        if pushes.is_empty() {
            wait_for_a_turn(work, &mut candidates);
        }
        candidates.retain(|candidate| !candidate.is_finished());
        if work.custody.is_revoked() || work.is_paused() {
            return;
        }
        candidates.iter_mut().for_each(|candidate| {
            candidate.compare(work);
        });
        let (settled, rest): (Vec<_>, _) = candidates.into_iter().partition(Candidate::is_settled);
        settled.into_iter().for_each(|mut candidate| candidate.finish(work));
        candidates = rest;
    }
}

/// All that is left to do is to ask nodes that are too busy: waits until the first one may be asked. When the job's
/// patience is at its end they have failed.
fn wait_for_a_turn<'r>(work: &mut Work<'r>, candidates: &mut [Candidate<'r>]) {
    let waits = candidates.iter().flat_map(|candidate| &candidate.later).map(|node| work.tools.client.wait_for(node));
    let Some(first) = waits.map(Option::unwrap_or_default).min() else { return };
    if !work.patience.wait(first, work.slot) {
        candidates.iter_mut().for_each(|candidate| candidate.give_up_waiting(work));
    }
}
