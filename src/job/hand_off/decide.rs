//! The end of a hand-off: removed, in whole or in part, or kept; and what that counts as.

use std::io;
use std::time::Instant;

use log::{error, info, warn};

use super::HandOff;
use crate::cause::Cause;
use crate::device::invalidate;
use crate::device::layout::PartitionDir;
use crate::device::removal::{Removal, RemovalError};
use crate::format::object::ObjectHash;
use crate::job::slot::Step;
use crate::job::tally::NodeSet;
use crate::job::work::Work;
use crate::names::{Partition, Suffix};

impl HandOff<'_> {
    /// Removes the partition if enough of its primaries have it, or if there is nothing in it.
    pub(in crate::job) fn decide(self, work: &mut Work<'_>) {
        if work.custody.is_revoked() || !work.custody.begin(self.partition) {
            return;
        }
        let primaries = self.primaries.iter().copied();
        let left_out: NodeSet<'_> = primaries.filter(|node| work.is_peer_paused(node)).collect();
        let pushed_enough =
            !self.primaries.is_empty() && left_out.is_empty() && self.holders.len() >= self.enough(work);
        let may_go = (pushed_enough || self.suffixes.is_empty()) && self.may_go(work);
        if pushed_enough && may_go {
            work.tally.stats.remove += 1;
        }
        if !may_go {
            self.forget_what_was_old(work);
        }

        let targets: NodeSet<'_> = self.primaries.iter().copied().collect();
        let mut failures = self.failures.clone();
        let (partition, spent, begun) = (self.partition, self.spent, Instant::now());
        let (known, targets_count) = (self.known_copies(), self.primaries.len());
        let is_flawed = self.stays_whatever_happens();
        let was_pushed = !self.holders.is_empty();
        // What a target refuses in every pass, or cannot be read or locked in any, nobody need wait for: the log and the
        // counts tell.
        let nobody_waits = (self.is_refused || self.stays_whatever_happens()) && !self.is_failed;
        let mut cause = self.cause;
        let outcome = match may_go {
            false => Outcome::Kept,
            true => self.remove(work).unwrap_or_else(|error| {
                error!("Error syncing handoff partition: {error}");
                work.tally.counts.fail(Cause::Local);
                cause = Some(Cause::Local);
                failures = targets.clone();
                Outcome::Kept
            }),
        };
        match outcome {
            Outcome::Gone => work.holding().gone += 1,
            Outcome::Kept => work.holding().stays(cause),
            Outcome::OnlyForeignLeft => work.holding().stays(Some(Cause::Local)),
        }
        if outcome != Outcome::Gone {
            // Of primaries that are paused it cannot be told what they have.
            let known = left_out.is_empty().then_some(known);
            note_copies(work, partition, known, targets_count);
        }
        work.tally.counts.flawed += u64::from(is_flawed || !failures.is_empty());
        work.tally.counts.removed += u64::from(outcome == Outcome::Gone);
        work.tally.counts.pushed += u64::from(was_pushed);
        let failed_or_left_out: NodeSet<'_> = failures.iter().chain(left_out.iter()).collect();
        work.tally.stats.success += targets.len_without(&failed_or_left_out) as u64;
        work.tally.fail(failures.iter());
        work.tally.handoffs_remaining += u64::from(outcome == Outcome::Kept && !nobody_waits);
        work.end_hand_off(partition, spent + begun.elapsed());
    }

    /// The copies that are known at its primaries.
    fn known_copies(&self) -> usize {
        self.holders.iter().filter(|holder| !self.failures.contains(holder.node)).count()
    }

    /// Whether something here keeps it in this pass and in every other, until somebody mends it.
    fn stays_whatever_happens(&self) -> bool {
        self.is_unreadable || self.is_irregular || self.lock.is_barred()
    }

    /// How many primaries must have it.
    pub(super) fn enough(&self, work: &Work<'_>) -> usize {
        match work.tools.handoffs.delete {
            0 => self.primaries.len(),
            some => some.min(self.primaries.len()),
        }
    }

    /// Removes what may go.
    fn remove(mut self, work: &Work<'_>) -> Result<Outcome, RemovalError> {
        let dir = self.dir.clone();
        let path = dir.path().display();
        work.step(self.partition, Step::Removing);
        if !self.restrict(dir.path().display()) {
            self.forget_what_was_old(work);
            return Ok(Outcome::Kept);
        }
        let outcome = match work.remove(self.partition, self.inventory)? {
            Removal::Gone => return Ok(Outcome::Gone),
            Removal::Claimed => {
                info!("Partition {path} is kept: somebody wrote or pushed to it meanwhile");
                Outcome::Kept
            }
            Removal::Kept { left, only_foreign } => {
                let example = left.first().map(|path| path.display().to_string()).unwrap_or_default();
                warn!("Partition {path} is kept: {} entries are left in it, {example} for one", left.len());
                if only_foreign { Outcome::OnlyForeignLeft } else { Outcome::Kept }
            }
        };
        Ok(outcome)
    }

    /// With SSYNC: leaves in the record only what every holder has confirmed to have. Says whether anything may go.
    fn restrict(&mut self, path: std::path::Display<'_>) -> bool {
        let Some(confirmed) = self.confirmed.take() else {
            info!("Removing partition: {path}");
            return true;
        };
        let restricted = self.inventory.restrict(|name, file| {
            let candidate = ObjectHash::from_name(name.to_bytes()).and_then(|hash| confirmed.get(hash));
            candidate.is_some_and(|candidate| candidate.marks.contains(file))
        });
        if let Some(example) = &restricted.example {
            let others = restricted.left.saturating_sub(1);
            warn!(
                "Partition {path} is kept: not every target has confirmed {} (and {others} more files)",
                example.display()
            );
        }
        match restricted.is_all {
            true => info!("Removing partition: {path}"),
            false => info!("Removing {} objects", confirmed.len()),
        }
        // What is left then is not an object's: the removal names it.
        restricted.is_all || restricted.files > 0 || restricted.left == 0
    }

    /// With SSYNC: suffixes that went since all in them was old are known of no longer (B9.6). As long as the partition
    /// itself was to go, that would have been taken for somebody's claim to it.
    fn forget_what_was_old(&self, work: &Work<'_>) {
        let is_gone = |suffix: &Suffix| {
            let found = self.dir.suffix_path(*suffix).symlink_metadata();
            found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        if self.is_tidied && work.has_drive() {
            let gone: Vec<_> = self.suffixes.iter().copied().filter(is_gone).collect();
            invalidate(&self.dir, &gone);
        }
    }
}

/// Counts the copies that are known of a hand-off that stays, if that can be told: at so many of its primaries, and the one
/// here. It lacks something as long as it stays.
fn note_copies(work: &mut Work<'_>, partition: Partition, at_primaries: Option<usize>, primaries: usize) {
    let policy = work.view.policy.index;
    at_primaries.iter().for_each(|at_primaries| work.tally.copies.count(at_primaries + 1));
    let fewer = at_primaries.filter(|at_primaries| *at_primaries < primaries);
    work.tally.copies.lacks(policy, partition, fewer.map(|at_primaries| at_primaries + 1));
}

/// What became of a hand-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Gone,
    Kept,
    /// All that Swift put there is gone; what is left nobody can move on, so nobody need wait for it.
    OnlyForeignLeft,
}

/// Has suffixes hashed anew.
fn invalidate(dir: &PartitionDir, suffixes: &[Suffix]) {
    if !suffixes.is_empty()
        && let Err(error) = invalidate::invalidate(dir, suffixes)
    {
        error!("Cannot invalidate the hashes of {}: {error}", dir.path().display());
    }
}
