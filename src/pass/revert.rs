//! Partitions that do not belong here: push them to all their primaries, verify, then remove them (B10).
//!
//! This is the one place where data is removed, so each step says what it leaves safe:
//! 1. The partition's `.lock-replication` is taken, so that no SSYNC comes in and no other node pushes the same
//!    partition back and forth; it is held until the partition's own decision. A busy one is left for the next pass.
//!    Hand-offs that go as a list are let go if that takes long, and then done one by one, from this step on.
//! 2. Every file is recorded. What cannot be seen ends the revert: it could not be known to have been pushed.
//! 3. Every primary gets all suffixes. It has them only if rsync ended well, *and* the node answered 200 when told what it
//!    got, *and* a dry run of the same push then finds nothing to send (`handoff_verify`). Nothing less counts. With SSYNC
//!    it has what it confirms, object by object.
//! 4. If every primary (or `handoff_delete` of them) has it, and the ring file is still the one that named these
//!    primaries, and nobody told this node in the meantime that it has the partition, the recorded files are unlinked,
//!    and only those ([`crate::device::removal`]). Nodes whose rings differ may each push to the other; the order of
//!    telling, making sure and looking whether one was told keeps them from both removing what they have.
//!
//! Between 3 and 4 a file may arrive: it is not in the record, so it stays, and with it the partition. The ring may
//! change between the look at its file and the first unlink: the copies then are where the ring wanted them a moment
//! ago, and every node that holds one knows how to move it on.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::time::{Duration, Instant};

use log::{error, info, warn};

use super::push::{self, Errand, Pushed};
use super::tally::{NodeSet, Tally};
use super::watchdog::Step;
use super::work::Work;
use crate::device::hashes;
use crate::device::layout::PartitionDir;
use crate::device::lock::{LockError, PathLock};
use crate::device::removal::{Inventory, Removal, RemovalError};
use crate::format::object::ObjectHash;
use crate::names::{Partition, Suffix};
use crate::peer::node_string;
use crate::peer::rsync::PartSuffixes;
use crate::peer::ssync::Candidates;
use crate::report::counts::Cause;
use crate::ring::Device;

/// How long the locks of a list of hand-offs are waited for, in all (B10.2).
const LOCK_WAIT: Duration = Duration::from_millis(200);

/// For how long a list of hand-offs is held before it is given up as a list: SSYNC to the partition waits meanwhile.
const LOCKS_HELD: Duration = Duration::from_secs(60);

/// A partition with its primaries.
type Misplaced<'r> = (Partition, Vec<&'r Device>);

/// Reverts the partitions.
pub fn revert(work: &Work<'_>, partitions: Vec<Misplaced<'_>>, tally: &mut Tally) {
    let deadline = Instant::now() + LOCK_WAIT;
    let mut handoffs: Vec<_> =
        partitions.into_iter().filter_map(|misplaced| HandOff::take(work, misplaced, deadline, tally)).collect();
    match push_everywhere(work, &mut handoffs, tally) {
        Pushing::Done => handoffs.into_iter().for_each(|handoff| handoff.decide(work, tally)),
        Pushing::TakesLong => handoffs.into_iter().for_each(|handoff| handoff.revert_alone(work, tally)),
    }
}

/// Whether a list of hand-offs can be pushed to all targets in the time for which their locks may be held.
enum Pushing {
    Done,
    /// It cannot: each has to be done alone.
    TakesLong,
}

fn push_everywhere<'r>(work: &Work<'r>, handoffs: &mut [HandOff<'r>], tally: &mut Tally) -> Pushing {
    let begun = Instant::now();
    for node in targets(handoffs) {
        if work.custody.is_revoked() {
            break;
        }
        if handoffs.len() > 1 && begun.elapsed() > LOCKS_HELD {
            return Pushing::TakesLong;
        }
        match work.tools.ssync {
            Some(_) => send_to_node(work, handoffs, node, tally),
            None => push_to_node(work, handoffs, node, tally),
        }
        work.hand_over(tally);
    }
    Pushing::Done
}

/// A hand-off partition that is locked and recorded.
struct HandOff<'r> {
    partition: Partition,
    dir: PartitionDir,
    /// Time that this partition took, without that of others in the list.
    spent: Duration,
    /// Held until this value goes.
    _lock: Option<PathLock>,
    inventory: Inventory,
    suffixes: Vec<Suffix>,
    primaries: Vec<&'r Device>,
    /// Primaries that have all of it.
    holders: usize,
    failures: NodeSet<'r>,
    /// With SSYNC: the objects that every holder has confirmed to have, once there is one.
    confirmed: Option<Candidates>,
    /// With SSYNC: what went to one node of a remote region; its other nodes are only asked whether they have it (B10.4).
    remote: HashMap<i64, BTreeSet<ObjectHash>>,
}

/// Why a hand-off was not begun.
enum NotTaken {
    Busy,
    Vanished,
    Failed(String),
}

impl<'r> HandOff<'r> {
    /// Locks and records the partition. `None` if that cannot be; it is logged and counted then.
    fn take(work: &Work<'r>, misplaced: Misplaced<'r>, deadline: Instant, tally: &mut Tally) -> Option<Self> {
        if !work.custody.begin(misplaced.0) {
            return None;
        }
        work.tools.statsd.increment(format_args!("partition.delete.count.{}", work.disk));
        Self::hold(work, misplaced, deadline, tally)
    }

    /// Locks and records the partition.
    fn hold(
        work: &Work<'r>,
        (partition, primaries): Misplaced<'r>,
        deadline: Instant,
        tally: &mut Tally,
    ) -> Option<Self> {
        let begun = Instant::now();
        let not_taken = match Self::lock_and_record(work, partition, deadline) {
            Ok((dir, lock, inventory)) => {
                let suffixes = inventory.suffixes().collect();
                let failures = NodeSet::default();
                return Some(Self {
                    partition,
                    dir,
                    spent: begun.elapsed(),
                    _lock: lock,
                    inventory,
                    suffixes,
                    primaries,
                    holders: 0,
                    failures,
                    confirmed: None,
                    remote: HashMap::new(),
                });
            }
            Err(not_taken) => not_taken,
        };
        match not_taken {
            NotTaken::Vanished => {}
            NotTaken::Busy => {
                info!(
                    "Unable to lock handoff partition {partition} for replication on device {} policy {}",
                    work.disk, work.view.policy.index
                );
                work.tools.statsd.increment("partition.lock-failure.count");
                tally.handoffs_remaining += 1;
            }
            NotTaken::Failed(reason) => {
                error!("Error syncing handoff partition: {reason}");
                tally.fail(primaries.into_iter().collect::<NodeSet<'_>>().iter());
                tally.counts.fail(Cause::Local);
                tally.handoffs_remaining += 1;
            }
        }
        end(work, partition, begun.elapsed(), tally);
        None
    }

    fn lock_and_record(
        work: &Work<'_>,
        partition: Partition,
        deadline: Instant,
    ) -> Result<(PartitionDir, Option<PathLock>, Inventory), NotTaken> {
        let dir = work.dir(partition);
        work.step(partition, Step::Locking);
        let wait = deadline.saturating_duration_since(Instant::now());
        let lock = match work.tools.effects.lock(&dir, wait) {
            Ok(lock) => lock,
            Err(LockError::Timeout { .. }) => return Err(NotTaken::Busy),
            Err(LockError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(NotTaken::Vanished);
            }
            Err(error) => return Err(NotTaken::Failed(error.to_string())),
        };
        work.step(partition, Step::Recording);
        match Inventory::record(dir.path()) {
            Ok(Some(inventory)) => Ok((dir, lock, inventory)),
            Ok(None) => Err(NotTaken::Vanished),
            Err(error) => Err(NotTaken::Failed(error.to_string())),
        }
    }

    /// Lets go of the partition, and does all of it again: what has arrived costs names only.
    fn revert_alone(self, work: &Work<'r>, tally: &mut Tally) {
        let Self { partition, primaries, .. } = self;
        drop(self._lock);
        if !work.custody.begin(partition) {
            return;
        }
        let deadline = Instant::now() + LOCK_WAIT;
        if let Some(handoff) = Self::hold(work, (partition, primaries), deadline, tally) {
            let mut alone = [handoff];
            push_everywhere(work, &mut alone, tally);
            let [handoff] = alone;
            handoff.decide(work, tally);
        }
        work.hand_over(tally);
    }

    fn is_for(&self, node: &Device) -> bool {
        !self.suffixes.is_empty() && self.primaries.iter().any(|primary| primary.id == node.id)
    }

    /// With SSYNC: the objects that the node is merely asked for, since another node of its region has got them and will
    /// pass them on. With `handoffs_first` it would not, for as long as hand-offs are left anywhere: nodes that wait for
    /// each other's updates would keep their hand-offs for ever. So then each node is given all.
    fn only_asked_for(&self, work: &Work<'_>, node: &Device) -> Option<&BTreeSet<ObjectHash>> {
        self.remote.get(&node.region).filter(|_| !work.tools.handoffs_first)
    }

    /// Takes note of what a node has confirmed to have.
    fn confirmed_by(&mut self, work: &Work<'_>, node: &Device, candidates: Candidates) {
        self.holders += 1;
        if work.region != Some(node.region) {
            self.remote.insert(node.region, candidates.hashes());
        }
        match &mut self.confirmed {
            Some(confirmed) => confirmed.retain_common(&candidates),
            None => self.confirmed = Some(candidates),
        }
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
        match restricted.is_all {
            true => info!("Removing partition: {path}"),
            false => info!("Removing {} objects", confirmed.len()),
        }
        restricted.is_all || restricted.files > 0
    }

    /// Tells the node what it got; only an answer of 200 says that it is there under its name.
    fn tell(&self, work: &Work<'_>, node: &Device) -> Result<(), Cause> {
        work.step_with(node, self.partition, Step::Telling);
        match work.tools.effects.tell(work.tools, work.view.policy.index, node, self.partition, &self.suffixes) {
            Ok(200) => Ok(()),
            Ok(status) => {
                error!("Invalid response {status} from {}", node_string(node));
                Err(Cause::BadAnswer)
            }
            Err(error) => {
                error!("Error syncing handoff partition: {error}");
                Err(error.cause())
            }
        }
    }

    /// The node does not have all of it, for whatever cause.
    fn failed(&mut self, work: &Work<'_>, node: &'r Device, cause: Option<Cause>, tally: &mut Tally) {
        self.failures.insert(node);
        if let Some(cause) = cause {
            tally.peer_failed(work.name_of(node), cause);
        }
    }

    /// Removes the partition if enough of its primaries have it, or if there is nothing in it.
    fn decide(self, work: &Work<'_>, tally: &mut Tally) {
        if work.custody.is_revoked() || !work.custody.begin(self.partition) {
            return;
        }
        let enough = match work.tools.handoff_delete {
            0 => self.primaries.len(),
            some => some.min(self.primaries.len()),
        };
        let pushed_enough = !self.primaries.is_empty() && self.holders >= enough;
        let nothing_in_it = self.suffixes.is_empty();

        let may_go = (pushed_enough || nothing_in_it) && self.ring_is_current(work);
        if pushed_enough && may_go {
            tally.stats.remove += 1;
        }

        if !may_go {
            self.forget_what_was_old(work);
        }

        let targets: NodeSet<'_> = self.primaries.iter().copied().collect();
        let mut failures = self.failures.clone();
        let (partition, holders, spent, begun) = (self.partition, self.holders, self.spent, Instant::now());
        let gone = may_go
            && self.remove(work).unwrap_or_else(|error| {
                error!("Error syncing handoff partition: {error}");
                tally.counts.fail(Cause::Local);
                failures = targets.clone();
                false
            });
        tally.counts.removed += u64::from(gone);
        tally.counts.pushed += u64::from(holders > 0);
        tally.stats.success += targets.len_without(&failures) as u64;
        tally.fail(failures.iter());
        tally.handoffs_remaining += u64::from(!gone);
        end(work, partition, spent + begun.elapsed(), tally);
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

    /// Whether the partition is gone now.
    fn remove(mut self, work: &Work<'_>) -> Result<bool, RemovalError> {
        let dir = self.dir.clone();
        let path = dir.path().display();
        work.step(self.partition, Step::Removing);
        if !self.restrict(dir.path().display()) {
            self.forget_what_was_old(work);
            return Ok(false);
        }
        match work.tools.effects.remove(work, self.partition, self.inventory)? {
            Removal::Gone => return Ok(true),
            Removal::Claimed => info!("Partition {path} is kept: somebody wrote or pushed to it meanwhile"),
            Removal::Kept { left, .. } => {
                let example = left.first().map(|path| path.display().to_string()).unwrap_or_default();
                warn!("Partition {path} is kept: {} entries are left in it, {example} for one", left.len());
            }
        }
        // An object server may have hashed the suffixes while they went.
        invalidate(&dir, &self.suffixes);
        Ok(false)
    }

    /// With SSYNC: suffixes that went since all in them was old are known of no longer (B9.6). As long as the partition
    /// itself was to go, that would have been taken for somebody's claim to it.
    fn forget_what_was_old(&self, work: &Work<'_>) {
        let is_gone = |suffix: &Suffix| {
            let found = self.dir.suffix_path(*suffix).symlink_metadata();
            found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        if work.tools.ssync.is_some() {
            let gone: Vec<_> = self.suffixes.iter().copied().filter(is_gone).collect();
            invalidate(&self.dir, &gone);
        }
    }
}

/// Has suffixes hashed anew.
fn invalidate(dir: &PartitionDir, suffixes: &[Suffix]) {
    if !suffixes.is_empty()
        && let Err(error) = hashes::invalidate(dir, suffixes)
    {
        error!("Cannot invalidate the hashes of {}: {error}", dir.path().display());
    }
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

/// Gives the node all objects that are for it, by SSYNC.
fn send_to_node<'r>(work: &Work<'r>, handoffs: &mut [HandOff<'r>], node: &'r Device, tally: &mut Tally) {
    for handoff in handoffs.iter_mut().filter(|handoff| handoff.is_for(node)) {
        let begun = Instant::now();
        tally.stats.rsync += 1;
        let part = PartSuffixes { partition: handoff.partition, suffixes: handoff.suffixes.clone() };
        let synced = push::converse(work, node, &part, handoff.only_asked_for(work, node), true, tally);
        let peer = tally.peer(work.name_of(node));
        peer.attempted += 1;
        peer.seconds += begun.elapsed().as_secs_f64();
        match synced {
            Ok(synced) => {
                peer.pushed += 1;
                handoff.confirmed_by(work, node, synced.candidates);
            }
            Err(cause) => handoff.failed(work, node, Some(cause), tally),
        }
        handoff.spent += begun.elapsed();
        work.hand_over(tally);
    }
}

/// Gives the node all that is for it. It holds a hand-off only after all that step 3 asks for.
fn push_to_node<'r>(work: &Work<'r>, handoffs: &mut [HandOff<'r>], node: &'r Device, tally: &mut Tally) {
    let mut going: Vec<_> = handoffs.iter_mut().filter(|handoff| handoff.is_for(node)).collect();
    let parts: Vec<_> = going
        .iter()
        .map(|handoff| PartSuffixes { partition: handoff.partition, suffixes: handoff.suffixes.clone() })
        .collect();
    tally.stats.rsync += parts.len() as u64;
    let begun = Instant::now();
    let pushed = work.tools.effects.push(work, Errand::Revert, node, &parts, tally);
    let tell = |(handoff, pushed): (&&mut HandOff<'_>, &Pushed)| match *pushed {
        Pushed::Yes => handoff.tell(work, node).map_err(Some),
        failed => Err(failed.cause()),
    };
    let told: Vec<_> = going.iter().zip(&pushed).map(tell).collect();
    let to_be_there: Vec<_> = parts.iter().zip(&told).filter(|(_, told)| told.is_ok()).map(|(part, _)| part).collect();
    let mut arrived = match work.tools.handoff_verify {
        true => work.tools.effects.have_arrived(work, node, &to_be_there).into_iter(),
        false => vec![true; to_be_there.len()].into_iter(),
    };
    let spent = begun.elapsed();
    let peer = tally.peer(work.name_of(node));
    peer.attempted += parts.len() as u64;
    peer.seconds += spent.as_secs_f64();
    for (handoff, told) in going.iter_mut().zip(told) {
        handoff.spent += spent / parts.len().max(1) as u32;
        match told {
            Ok(()) if arrived.next() == Some(true) => {
                handoff.holders += 1;
                tally.peer(work.name_of(node)).pushed += 1;
            }
            Ok(()) => handoff.failed(work, node, Some(Cause::Verify), tally),
            Err(cause) => handoff.failed(work, node, cause, tally),
        }
    }
}

fn end(work: &Work<'_>, partition: Partition, spent: Duration, tally: &mut Tally) {
    work.count_done(partition, tally);
    work.note_time(partition, spent, tally);
    tally.took(spent);
    work.tools.statsd.timing("partition.delete.timing", spent);
}
