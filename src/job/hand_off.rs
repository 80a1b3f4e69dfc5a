//! One hand-off: taken, recorded, and in the end removed or kept.

mod irregular;
mod lock;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::time::{Duration, Instant};

use log::{error, info, warn};

use self::lock::Lock;
use super::outcome::{Arrival, Delivery, Unsynced};
use super::slot::Step;
use super::tally::NodeSet;
use super::work::{Offer, Work};
use crate::cause::Cause;
use crate::config::settings::HandoffFsync;
use crate::device::invalidate;
use crate::device::layout::PartitionDir;
use crate::device::lock::LockError;
use crate::device::push_note;
use crate::device::removal::{Inventory, Removal, RemovalError};
use crate::format::object::ObjectHash;
use crate::names::{Partition, Suffix};
use crate::peer::node_string;
use crate::peer::rsync::PartSuffixes;
use crate::peer::ssync::Candidates;
use crate::ring::Device;

/// How long a removal waits after a push that the target was not told to write to its disk at once. Kernels write after
/// 30 s what is not asked for, and file systems put names on the disk every 5 to 30 s.
const UNTIL_WRITTEN: Duration = Duration::from_secs(120);

/// A partition with its primaries.
pub(super) type Misplaced<'r> = (Partition, Vec<&'r Device>);

/// A hand-off partition that is locked and recorded.
pub(super) struct HandOff<'r> {
    pub(super) partition: Partition,
    dir: PartitionDir,
    /// Time that this partition took, without that of others in the list.
    pub(super) spent: Duration,
    /// Held until this value goes.
    lock: Lock<'r>,
    inventory: Inventory,
    pub(super) suffixes: Vec<Suffix>,
    pub(super) primaries: Vec<&'r Device>,
    /// Primaries that have all of it.
    holders: Vec<Holder<'r>>,
    failures: NodeSet<'r>,
    /// Whether anything else failed than that a node refused single objects (SSYNC), or they cannot be read here.
    is_failed: bool,
    /// Whether something here cannot be read, so that it was not sent.
    is_unreadable: bool,
    /// Whether anything of its suffixes is no regular file, so that rsync does not push it.
    is_irregular: bool,
    /// With SSYNC: whether a node did not take all of it.
    is_refused: bool,
    /// With SSYNC: whether what is old in it was removed, as is done before it is offered.
    is_tidied: bool,
    /// With SSYNC: the objects that every holder has confirmed to have, once there is one.
    confirmed: Option<Candidates>,
    /// With SSYNC: what went to one node of a remote region; its other nodes are only asked whether they have it (B10.4).
    remote: HashMap<i64, BTreeSet<ObjectHash>>,
}

/// A primary that has all of a hand-off.
struct Holder<'r> {
    node: &'r Device,
    /// Whether its disk has it.
    arrival: Arrival,
}

/// Why a hand-off was not begun.
enum NotTaken {
    Busy,
    Vanished,
    Failed(String),
}

impl<'r> HandOff<'r> {
    /// Locks and records the partition. `None` if that cannot be; it is logged and counted then.
    pub(super) fn take(work: &mut Work<'r>, misplaced: Misplaced<'r>, deadline: Instant) -> Option<Self> {
        if !work.custody.begin(misplaced.0) {
            return None;
        }
        work.tools.statsd.increment(format_args!("partition.delete.count.{}", work.disk));
        Self::hold(work, misplaced, deadline)
    }

    /// Locks and records the partition.
    pub(super) fn hold(work: &mut Work<'r>, (partition, primaries): Misplaced<'r>, deadline: Instant) -> Option<Self> {
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
        Self::not_taken(work, partition, &primaries, not_taken);
        work.end_hand_off(partition, begun.elapsed());
        None
    }

    fn not_taken(work: &mut Work<'_>, partition: Partition, primaries: &[&'r Device], not_taken: NotTaken) {
        match not_taken {
            NotTaken::Vanished => {}
            NotTaken::Busy => {
                info!(
                    "Unable to lock handoff partition {partition} for replication on device {} policy {}",
                    work.disk, work.view.policy.index
                );
                work.tools.statsd.increment("partition.lock-failure.count");
                work.tally.handoffs_remaining += 1;
            }
            NotTaken::Failed(reason) => {
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
            work.tally.counts.fail(Cause::Local);
            self.is_unreadable = true;
        }
    }

    /// What keeps the partition here whatever its targets say is named and counted; the rest is pushed all the same.
    fn note_what_stays(&mut self, work: &mut Work<'_>) {
        self.lock.say_what_is_in_the_way(&self.dir);
        if self.lock.is_barred() {
            work.tally.counts.fail(Cause::Local);
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
                work.tally.counts.fail(Cause::Local);
            }
        }
    }

    /// Whether something in it could not be looked at.
    pub(super) fn is_damaged(&self) -> bool {
        !self.inventory.unseen().is_empty()
    }

    /// What is pushed.
    fn part(&self) -> PartSuffixes {
        PartSuffixes { partition: self.partition, suffixes: self.suffixes.clone() }
    }

    /// Lets go of the partition, for it to be done alone.
    pub(super) fn let_go(self) -> Misplaced<'r> {
        (self.partition, self.primaries)
    }

    /// Whether anything of it goes to the node.
    pub(super) fn is_for(&self, node: &Device) -> bool {
        !self.suffixes.is_empty() && self.primaries.iter().any(|primary| primary.id == node.id)
    }

    /// What the node is given.
    pub(super) fn offer(&self, work: &Work<'_>, node: &Device) -> Offer<'_> {
        Offer { part: self.part(), only: self.only_asked_for(work, node) }
    }

    /// With SSYNC: the objects that the node is merely asked for, since another node of its region has got them and will
    /// pass them on. With `handoffs_first` it would not, for as long as hand-offs are left anywhere: nodes that wait for
    /// each other's updates would keep their hand-offs for ever. So then each node is given all.
    fn only_asked_for(&self, work: &Work<'_>, node: &Device) -> Option<&BTreeSet<ObjectHash>> {
        self.remote.get(&node.region).filter(|_| !work.tools.handoffs.first)
    }

    /// Takes note of what came of giving it to a node.
    pub(super) fn delivered(&mut self, work: &mut Work<'_>, node: &'r Device, delivery: Delivery) {
        match delivery {
            Delivery::Held(arrival) => {
                self.holders.push(Holder { node, arrival });
                work.tally.peer(work.name_of(node)).pushed += 1;
            }
            Delivery::Confirmed { candidates, is_unread } => {
                self.is_unreadable |= is_unread;
                self.confirmed_by(work, node, candidates);
                work.tally.peer(work.name_of(node)).pushed += 1;
            }
            Delivery::Failed(cause) => {
                // What was left out is missing there, as was to be.
                let is_unread = cause == Some(Cause::Local) || self.is_irregular && cause == Some(Cause::Verify);
                self.is_unreadable |= is_unread;
                self.is_failed |= !is_unread;
                self.failed(work, node, cause);
            }
            Delivery::Refused(unsynced) => {
                self.failed(work, node, Some(unsynced.cause));
                self.refused_by(work, node, unsynced);
            }
        }
    }

    /// With SSYNC: takes note of what a node has confirmed to have.
    fn confirmed_by(&mut self, work: &Work<'_>, node: &'r Device, candidates: Candidates) {
        self.is_tidied = true;
        self.holders.push(Holder { node, arrival: Arrival::Written });
        if work.region != Some(node.region) {
            self.remote.insert(node.region, candidates.hashes());
        }
        match &mut self.confirmed {
            Some(confirmed) => confirmed.retain_common(&candidates),
            None => self.confirmed = Some(candidates),
        }
    }

    /// With SSYNC: the node has not taken all of it, but may have confirmed some.
    fn refused_by(&mut self, work: &Work<'_>, node: &'r Device, unsynced: Unsynced) {
        (self.is_tidied, self.is_refused) = (true, true);
        self.is_failed |= !unsynced.is_about_objects;
        if !unsynced.confirmed.is_empty() {
            self.confirmed_by(work, node, unsynced.confirmed);
        }
    }

    /// The node does not have all of it, for whatever cause.
    fn failed(&mut self, work: &mut Work<'_>, node: &'r Device, cause: Option<Cause>) {
        self.failures.insert(node);
        if let Some(cause) = cause {
            work.tally.peer_failed(work.name_of(node), cause);
        }
    }

    /// Removes the partition if enough of its primaries have it, or if there is nothing in it.
    pub(super) fn decide(self, work: &mut Work<'_>) {
        if work.custody.is_revoked() || !work.custody.begin(self.partition) {
            return;
        }
        let pushed_enough = !self.primaries.is_empty() && self.holders.len() >= self.enough(work);
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
        let was_pushed = !self.holders.is_empty();
        // What a target refuses in every pass, or cannot be read or locked in any, nobody need wait for: the log and the
        // counts tell.
        let nobody_waits = (self.is_refused || self.stays_whatever_happens()) && !self.is_failed;
        let outcome = match may_go {
            false => Outcome::Kept,
            true => self.remove(work).unwrap_or_else(|error| {
                error!("Error syncing handoff partition: {error}");
                work.tally.counts.fail(Cause::Local);
                failures = targets.clone();
                Outcome::Kept
            }),
        };
        work.tally.counts.removed += u64::from(outcome == Outcome::Gone);
        work.tally.counts.pushed += u64::from(was_pushed);
        work.tally.stats.success += targets.len_without(&failures) as u64;
        work.tally.fail(failures.iter());
        work.tally.handoffs_remaining += u64::from(outcome == Outcome::Kept && !nobody_waits);
        work.end_hand_off(partition, spent + begun.elapsed());
    }

    /// Whether something here keeps it in this pass and in every other, until somebody mends it.
    fn stays_whatever_happens(&self) -> bool {
        self.is_unreadable || self.is_irregular || self.lock.is_barred()
    }

    /// How many primaries must have it.
    fn enough(&self, work: &Work<'_>) -> usize {
        match work.tools.handoffs.delete {
            0 => self.primaries.len(),
            some => some.min(self.primaries.len()),
        }
    }

    /// Everything that must hold besides the number of holders. The question that costs most comes last, right before
    /// the removal.
    fn may_go(&self, work: &Work<'_>) -> bool {
        work.has_drive()
            && (!self.is_damaged() || self.confirmed.is_some())
            && !self.is_irregular
            && self.lock.is_held(&self.dir)
            && self.is_durable(work)
            && self.is_still_served(work)
            && self.ring_is_current(work)
    }

    /// Whether enough holders have it on disk, by what was asked of them, or by now.
    fn is_durable(&self, work: &Work<'_>) -> bool {
        let count = |arrival: Arrival| self.holders.iter().filter(|holder| holder.arrival == arrival).count();
        let (enough, written) = (self.enough(work), count(Arrival::Written));
        if self.suffixes.is_empty() || work.tools.handoffs.fsync == HandoffFsync::No || written >= enough {
            return true;
        }
        let path = self.dir.path();
        let waiting = self.holders.iter().find(|holder| holder.arrival != Arrival::Written);
        let waiting = waiting.map(|holder| node_string(holder.node));
        let (shown, waiting) = (path.display(), waiting.unwrap_or_default());
        if work.tools.handoffs.fsync == HandoffFsync::Yes {
            error!("Partition {shown} is kept: rsync at {waiting} or here knows no --fsync, and handoff_fsync = yes");
            return false;
        }
        let names: Vec<_> = self.holders.iter().map(|holder| node_string(holder.node)).collect();
        let what = self.inventory.fingerprint(names.iter().map(String::as_str));
        match push_note::age(path, &what) {
            Some(age) if age >= UNTIL_WRITTEN && written + count(Arrival::Earlier) >= enough => return true,
            Some(_) if count(Arrival::JustNow) == 0 => {}
            _ => {
                if let Err(errno) = push_note::write(path, &what) {
                    error!("Cannot note at {shown} when it was pushed: {}", io::Error::from(errno));
                }
            }
        }
        info!(
            "Partition {shown} is kept for a later pass, at least {}s after this push: rsync at {waiting} or here knows \
             no --fsync",
            UNTIL_WRITTEN.as_secs()
        );
        false
    }

    /// Asks the holders once more, right before the removal. A node of another ring that runs Swift's own replicator may
    /// have taken this node for the partition's home, and removed what it was counted on to hold.
    fn is_still_served(&self, work: &Work<'_>) -> bool {
        let mut part = self.part();
        if let Some(confirmed) = &self.confirmed {
            // Of other suffixes nothing goes.
            let confirmed: BTreeSet<_> = confirmed.hashes().into_iter().map(ObjectHash::suffix).collect();
            part.suffixes.retain(|suffix| confirmed.contains(suffix));
        }
        if part.suffixes.is_empty() {
            return true;
        }
        let serves = |holder: &&Holder<'_>| work.tools.transfer.is_served(work, holder.node, &part);
        self.holders.iter().filter(serves).count() >= self.enough(work)
    }

    /// Whether the ring that named the primaries is still the one in force. Else the partition may belong here by now.
    fn ring_is_current(&self, work: &Work<'_>) -> bool {
        let (path, ring) = (self.dir.path().display(), work.view.ring.path.display());
        match work.view.is_current() {
            Ok(true) => return true,
            Ok(false) => info!("Partition {path} is kept: {ring} changed meanwhile"),
            Err(error) => warn!("Partition {path} is kept: cannot look at {ring}: {error}"),
        }
        false
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
