//! How a hand-off is begun: it is locked and recorded, and what keeps it here in any case is said before it is pushed.

use std::collections::HashMap;
use std::io;
use std::time::Instant;

use log::{error, info};

use super::lock::{self, Lock};
use super::{HandOff, Misplaced, irregular};
use crate::cause::Cause;
use crate::device::layout::PartitionDir;
use crate::device::lock::LockError;
use crate::device::removal::Inventory;
use crate::job::slot::Step;
use crate::job::tally::NodeSet;
use crate::job::work::Work;
use crate::names::Partition;
use crate::ring::Device;

/// Why a hand-off was not begun.
enum NotTaken {
    Busy,
    Vanished,
    Failed(String),
}

impl<'r> HandOff<'r> {
    /// Locks and records the partition. `None` if that cannot be; it is logged and counted then.
    pub(in crate::job) fn take(work: &mut Work<'r>, misplaced: Misplaced<'r>, deadline: Instant) -> Option<Self> {
        if !work.custody.begin(misplaced.0) {
            return None;
        }
        work.tools.statsd.increment(
            format_args!("partition.delete.count.{}", work.disk),
            "partition_delete_count",
            work.labels(),
        );
        Self::hold(work, misplaced, deadline)
    }

    /// Locks and records the partition.
    pub(in crate::job) fn hold(
        work: &mut Work<'r>,
        (partition, primaries): Misplaced<'r>,
        deadline: Instant,
    ) -> Option<Self> {
        let begun = Instant::now();
        let not_taken = match Self::lock_and_record(work, partition, deadline) {
            Ok((dir, lock, inventory)) => {
                let suffixes = inventory.suffixes().collect();
                let mut handoff = Self {
                    partition,
                    dir,
                    spent: begun.elapsed(),
                    lock,
                    inventory,
                    suffixes,
                    primaries,
                    holders: Vec::new(),
                    failures: NodeSet::default(),
                    cause: None,
                    is_failed: false,
                    is_unreadable: false,
                    is_irregular: false,
                    is_refused: false,
                    is_tidied: false,
                    confirmed: None,
                    remote: HashMap::new(),
                };
                handoff.note_unseen(work);
                handoff.note_what_stays(work);
                return Some(handoff);
            }
            Err(not_taken) => not_taken,
        };
        let failures = work.tally.counts.failures();
        Self::not_taken(work, partition, &primaries, not_taken);
        work.tally.counts.flawed += u64::from(work.tally.counts.failures() > failures);
        work.end_hand_off(partition, begun.elapsed());
        None
    }

    fn not_taken(work: &mut Work<'_>, partition: Partition, primaries: &[&'r Device], not_taken: NotTaken) {
        if !matches!(not_taken, NotTaken::Vanished) {
            work.tally.copies.lacks(work.view.policy.index, partition, None);
        }
        match not_taken {
            NotTaken::Vanished => work.holding().gone += 1,
            NotTaken::Busy => {
                work.holding().stays(None);
                info!(
                    "Unable to lock handoff partition {partition} for replication on device {} policy {}",
                    work.disk, work.view.policy.index
                );
                work.tools.statsd.increment(
                    "partition.lock-failure.count",
                    "partition_lock_failure_count",
                    work.labels(),
                );
                work.tally.handoffs_remaining += 1;
            }
            NotTaken::Failed(reason) => {
                work.holding().stays(Some(Cause::Local));
                error!("Error syncing handoff partition: {reason}");
                work.tally.fail(primaries.iter().copied().collect::<NodeSet<'_>>().iter());
                work.tally.counts.fail(Cause::Local);
                work.tally.handoffs_remaining += 1;
            }
        }
    }

    fn lock_and_record(
        work: &Work<'r>,
        partition: Partition,
        deadline: Instant,
    ) -> Result<(PartitionDir, Lock<'r>, Inventory), NotTaken> {
        let dir = work.dir(partition);
        work.step(partition, Step::Locking);
        let wait = deadline.saturating_duration_since(Instant::now());
        let lock = match lock::take(&dir, wait) {
            Ok(lock) => Lock::Held { _lock: lock.map(|lock| work.custody.keep(partition, lock)) },
            Err(LockError::Timeout { .. }) => return Err(NotTaken::Busy),
            Err(LockError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(NotTaken::Vanished);
            }
            Err(error) => Lock::Without(error),
        };
        work.step(partition, Step::Recording);
        let recorded = Inventory::record(dir.path());
        // What was read of a device that went meanwhile is something else's.
        if !work.has_drive() {
            return Err(NotTaken::Failed(format!("{} is not there any more", dir.device_path().display())));
        }
        match recorded {
            Ok(Some(inventory)) => Ok((dir, lock, inventory)),
            Ok(None) => Err(NotTaken::Vanished),
            Err(error) => Err(NotTaken::Failed(error.to_string())),
        }
    }

    /// What could not be looked at is counted and named; the rest is pushed all the same.
    fn note_unseen(&mut self, work: &mut Work<'_>) {
        if let [first, others @ ..] = self.inventory.unseen() {
            let more = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
            error!(
                "Error syncing handoff partition: {first}{more}; what can be read is pushed, and nothing is removed"
            );
            self.fails_here(work);
            self.is_unreadable = true;
        }
    }

    /// What keeps the partition here whatever its targets say is named and counted; the rest is pushed all the same.
    fn note_what_stays(&mut self, work: &mut Work<'_>) {
        self.lock.say_what_is_in_the_way(&self.dir);
        if self.lock.is_barred() {
            self.fails_here(work);
        }
        if work.tools.transfer.leaves_out_irregular() {
            let partition = self.dir.path();
            let left_out = irregular::left_out(partition, &self.suffixes, self.inventory.foreign());
            let suffixes = irregular::suffixes_among(partition, &self.suffixes, &left_out);
            irregular::say(partition, &left_out);
            self.is_irregular = !left_out.is_empty();
            // No target is asked for what it is not given.
            self.suffixes.retain(|suffix| !suffixes.contains(suffix));
            if self.is_irregular {
                self.fails_here(work);
            }
        }
    }

    /// Something on this node is in the way.
    fn fails_here(&mut self, work: &mut Work<'_>) {
        work.tally.counts.fail(Cause::Local);
        self.cause = self.cause.or(Some(Cause::Local));
    }
}
