//! A partition that belongs here, on its way through the rounds: hashed, compared node by node, and in the end counted.

use std::time::{Duration, Instant};

use log::error;

use crate::cause::Cause;
use crate::device::hashes::{HashError, HashRequest, get_hashes};
use crate::device::layout::PartitionDir;
use crate::format::hashes::SuffixHashes;
use crate::job::outcome::Pushed;
use crate::job::slot::Step;
use crate::job::tally::NodeSet;
use crate::job::work::Work;
use crate::names::{Partition, Suffix};
use crate::peer::node_string;
use crate::peer::replicate::ReplicateError;
use crate::ring::Device;

/// Every how many passes a partition is listed even if its hashes seem complete (B6.10).
pub(crate) const LISTING_CYCLE: u32 = 10;

/// A partition on its way through the rounds.
pub(super) struct Candidate<'r> {
    pub(super) partition: Partition,
    dir: PartitionDir,
    /// Time that this partition took, without that of others in the list.
    pub(super) spent: Duration,
    local: SuffixHashes,
    /// The primaries in random order, then the hand-offs.
    nodes: Box<dyn Iterator<Item = &'r Device> + 'r>,
    attempts_left: usize,
    /// How many copies there should be.
    wanted_copies: usize,
    /// Those that are known: the one here, and those of nodes that had the same or confirmed a push.
    copies: usize,
    /// Whether anything was compared.
    is_compared: bool,
    targets: NodeSet<'r>,
    failures: NodeSet<'r>,
    /// Nodes that are paused: neither a success nor a failure.
    left_out: NodeSet<'r>,
    /// Regions that have got this partition in this pass.
    synced_regions: Vec<i64>,
    /// What is to be pushed at the end of this round.
    pub(super) due: Vec<(&'r Device, Vec<Suffix>)>,
    /// Nodes of a remote region to which a push is due: left out or asked once its outcome is known.
    waiting: Vec<&'r Device>,
    /// Nodes that are too busy: asked again later.
    pub(super) later: Vec<&'r Device>,
    ran_out: bool,
    /// Something was pushed, and arrived.
    has_pushed: bool,
    /// Pushes of this round that have not ended.
    pub(super) under_way: usize,
    is_finished: bool,
    /// Something of it cannot be hashed here.
    is_unreadable: bool,
}

/// What a node's answer means for a partition.
enum Comparison {
    Same,
    Differs(Vec<Suffix>),
}

/// Why a node could not be compared with.
enum NotCompared {
    Peer(ReplicateError),
    Local(HashError),
}

impl<'r> Candidate<'r> {
    /// Hashes what has to be hashed. `None` after a failure, which is logged and counted.
    pub(super) fn hash(work: &mut Work<'r>, partition: Partition, mut others: Vec<&'r Device>) -> Option<Self> {
        let started = Instant::now();
        let dir = work.dir(partition);
        work.tools.statsd.increment(
            format_args!("partition.update.count.{}", work.disk),
            "partition_update_count",
            work.labels(),
        );
        fastrand::shuffle(&mut others);
        let listing = (partition.number() + work.pass.cycle).is_multiple_of(LISTING_CYCLE);
        let mut candidate = Self {
            partition,
            dir,
            spent: Duration::ZERO,
            local: SuffixHashes::default(),
            attempts_left: others.len(),
            wanted_copies: others.len() + 1,
            copies: 1,
            is_compared: false,
            nodes: Box::new(others.into_iter().chain(work.view.ring.handoffs(partition))),
            targets: NodeSet::default(),
            failures: NodeSet::default(),
            left_out: NodeSet::default(),
            synced_regions: Vec::new(),
            due: Vec::new(),
            waiting: Vec::new(),
            later: Vec::new(),
            ran_out: false,
            has_pushed: false,
            under_way: 0,
            is_finished: false,
            is_unreadable: false,
        };
        let hashed = candidate.rehash(work, &[], listing);
        candidate.spent = started.elapsed();
        match hashed {
            Ok(hashed) => {
                work.tally.stats.suffix_hash += hashed;
                Some(candidate)
            }
            Err(error) => {
                // One that went away since it was listed has nothing to be compared.
                if !error.is_gone() {
                    work.tally.copies.lacks(work.view.policy.index, partition, None);
                    error!("Error syncing partition: {error}");
                    work.tally.counts.fail(Cause::Local);
                    candidate.is_unreadable = true;
                }
                candidate.end(work);
                None
            }
        }
    }

    /// Brings the local hashes up to date; says how many suffixes were hashed.
    fn rehash(&mut self, work: &Work<'_>, recalculate: &[Suffix], listing: bool) -> Result<u64, HashError> {
        work.step(self.partition, Step::Hashing);
        let request = HashRequest { recalculate, listing, reclaim_age: work.tools.reclaim_age };
        let found = get_hashes(&self.dir, &request, work.slot)?;
        work.tools.statsd.update("suffix.hashes", "suffix_hashes", work.labels(), found.hashed as i64);
        self.local = found.hashes;
        Ok(found.hashed)
    }

    /// Asks nodes, until this partition needs no more or has to wait for a push. It ends with a look at the device: true if
    /// that is still there.
    pub(super) fn compare(&mut self, work: &mut Work<'r>) -> bool {
        if !work.custody.begin(self.partition) {
            return false;
        }
        let begun = Instant::now();
        self.is_compared = true;
        let mut resumed = std::mem::take(&mut self.waiting).into_iter().chain(std::mem::take(&mut self.later));
        while let Some(node) = resumed.next().or_else(|| self.next_node()) {
            if self.synced_regions.contains(&node.region) {
                continue;
            }
            if work.is_peer_paused(node) {
                self.left_out.insert(node);
                continue;
            }
            if work.region != Some(node.region) && self.due.iter().any(|(other, _)| other.region == node.region) {
                self.waiting.push(node);
                continue;
            }
            let asked = Instant::now();
            let comparison = self.compare_with(work, node);
            if matches!(&comparison, Err(NotCompared::Peer(error)) if error.is_later()) {
                self.later.push(node);
                continue;
            }
            let peer = work.tally.peer(work.name_of(node));
            peer.attempted += 1;
            peer.seconds += asked.elapsed().as_secs_f64();
            match comparison {
                Ok(Comparison::Same) => {
                    peer.in_sync += 1;
                    self.copies += 1;
                    work.tally.stats.hashmatch += 1;
                }
                Ok(Comparison::Differs(suffixes)) => self.due.push((node, suffixes)),
                Err(NotCompared::Peer(error)) => self.node_failed(work, node, &error),
                Err(NotCompared::Local(error)) => {
                    self.failures.insert(node);
                    work.tally.counts.fail(Cause::Local);
                    error!("Error syncing with node: {}: {error}", node_string(node));
                }
            }
        }
        let is_there = work.has_drive();
        if !is_there {
            self.distrust(work);
        }
        self.spent += begun.elapsed();
        is_there
    }

    /// The device is gone. What was read here since the last look at it may be of what lies below its mount point: nothing
    /// of it is pushed, and it counts as failed.
    fn distrust(&mut self, work: &mut Work<'r>) {
        work.tally.counts.fail(Cause::Local);
        let untold: Vec<_> = self
            .due
            .drain(..)
            .map(|(node, _)| node)
            .chain(self.waiting.drain(..))
            .chain(self.later.drain(..))
            .collect();
        untold.into_iter().chain(self.targets.iter().collect::<Vec<_>>()).for_each(|node| {
            self.failures.insert(node);
        });
    }

    /// Counts the nodes that are too busy all the time as failed.
    pub(super) fn give_up_waiting(&mut self, work: &mut Work<'r>) {
        for node in self.later.drain(..) {
            self.failures.insert(node);
            work.tally.peer(work.name_of(node)).attempted += 1;
            work.tally.peer_failed(work.name_of(node), Cause::RateLimited);
        }
    }

    /// Whether there is nothing left to push or to wait for.
    pub(super) fn is_settled(&self) -> bool {
        self.due.is_empty() && self.waiting.is_empty() && self.later.is_empty()
    }

    fn next_node(&mut self) -> Option<&'r Device> {
        if self.attempts_left == 0 || self.ran_out {
            return None;
        }
        let Some(node) = self.nodes.next() else {
            self.ran_out = true;
            return None;
        };
        self.attempts_left -= 1;
        self.targets.insert(node);
        Some(node)
    }

    fn compare_with(&mut self, work: &Work<'_>, node: &Device) -> Result<Comparison, NotCompared> {
        work.step_with(node, self.partition, Step::Asking);
        let policy = work.view.policy.index;
        let remote = work.tools.client.hashes(node, policy, self.partition).map_err(NotCompared::Peer)?;
        let differing = self.local.differing(&remote);
        if differing.is_empty() {
            return Ok(Comparison::Same);
        }
        self.rehash(work, &differing, false).map_err(NotCompared::Local)?;
        let differing = self.local.differing(&remote);
        Ok(if differing.is_empty() { Comparison::Same } else { Comparison::Differs(differing) })
    }

    /// Counts the node as failed. An unmounted one is made up for by one more node, a hand-off at last, unless the
    /// copies that can still be made are as many as `handoff_delete` asks for (B11.4).
    fn node_failed(&mut self, work: &mut Work<'_>, node: &'r Device, error: &ReplicateError) {
        self.failures.insert(node);
        work.tally.peer_failed(work.name_of(node), error.cause());
        if let Some(line) = line_about(error, node) {
            error!("{line}");
        }
        if matches!(error, ReplicateError::Unmounted) {
            let enough = work.tools.handoffs.delete;
            let hoped_for = 1 + self.targets.len_without(&self.failures) + self.attempts_left;
            if enough == 0 || hoped_for < enough {
                self.attempts_left += 1;
            }
        }
    }

    /// The node is paused, so what was to be pushed to it is not.
    pub(super) fn leave_out(&mut self, node: &'r Device) {
        self.left_out.insert(node);
    }

    /// Notes the result of a push, and why the node could not be told about it, if that failed.
    pub(super) fn pushed(
        &mut self,
        work: &mut Work<'_>,
        node: &'r Device,
        suffixes: &[Suffix],
        outcome: Pushed,
        untold: Option<ReplicateError>,
    ) {
        if !outcome.is_yes() {
            self.failures.insert(node);
        }
        if let Some(cause) = outcome.cause() {
            work.tally.peer_failed(work.name_of(node), cause);
        }
        if matches!(outcome, Pushed::Broken(_)) {
            return;
        }
        if let Some(error) = untold {
            self.failures.insert(node);
            work.tally.peer_failed(work.name_of(node), error.cause());
            error!("Error syncing with node: {}: {error}", node_string(node));
            return;
        }
        if outcome.is_yes() {
            self.has_pushed = true;
            self.copies += 1;
            work.tally.peer(work.name_of(node)).pushed += 1;
        }
        if outcome.is_yes() && work.region != Some(node.region) {
            self.synced_regions.push(node.region);
        }
        work.tally.stats.suffix_sync += suffixes.len() as u64;
        work.tools.statsd.update("suffix.syncs", "suffix_syncs", work.labels(), suffixes.len() as i64);
    }

    /// Counts the partition, if no push of it is under way and nothing is left to be asked or waited for: those who follow
    /// the pass see it then, and not at the end of all pushes of its list.
    pub(super) fn finish_if_done(&mut self, work: &mut Work<'r>) {
        if self.under_way == 0 && self.is_settled() && !self.is_finished && work.custody.begin(self.partition) {
            self.compare(work);
            if self.is_settled() {
                self.finish(work);
            }
        }
    }

    /// Whether it is counted.
    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    pub(super) fn finish(&mut self, work: &mut Work<'_>) {
        if self.ran_out {
            error!(
                "Ran out of handoffs while replicating partition {} of policy {}",
                self.partition, work.view.policy.index
            );
        } else {
            work.tally.stats.suffix_count += self.local.len() as u64;
        }
        if self.has_pushed {
            work.tally.counts.pushed += 1;
        }
        // A suffix that cannot be hashed is not pushed by SSYNC, and nobody else may have found fault.
        if self.failures.is_empty() && self.local.iter().any(|(_, hash)| hash.is_none()) {
            work.tally.counts.fail(Cause::Local);
            self.is_unreadable = true;
        } else if self.failures.is_empty() && self.left_out.is_empty() && !self.has_pushed {
            work.tally.counts.in_sync += 1;
        }
        self.end(work);
    }

    /// Counts the copies that are known, and names the partition if anything is lacking. Without the device here nothing of
    /// it is known, and of nodes that are paused it cannot be told what they have.
    fn note_copies(&self, work: &mut Work<'_>) {
        if !self.is_compared {
            return;
        }
        let is_known = work.had_drive() && self.left_out.is_empty();
        let (policy, copies) = (work.view.policy.index, &mut work.tally.copies);
        if is_known {
            copies.count(self.copies);
        }
        if self.is_unreadable || !self.failures.is_empty() || !self.left_out.is_empty() {
            let fewer = is_known && self.copies < self.wanted_copies;
            copies.lacks(policy, self.partition, fewer.then_some(self.copies));
        }
    }

    fn end(&mut self, work: &mut Work<'_>) {
        self.is_finished = true;
        if !work.custody.is_own(self.partition) {
            return;
        }
        work.count_done(self.partition);
        self.note_copies(work);
        work.tally.counts.flawed += u64::from(self.is_unreadable || !self.failures.is_empty());
        let failed_or_left_out: NodeSet<'_> = self.failures.iter().chain(self.left_out.iter()).collect();
        work.tally.stats.success += self.targets.len_without(&failed_or_left_out) as u64;
        work.tally.fail(self.failures.iter());
        work.note_time(self.partition, self.spent);
        work.tally.took(self.spent);
        work.tools.statsd.timing("partition.update.timing", "partition_update_timing", work.labels(), self.spent);
    }
}

/// What the log says of a node that gave no hashes (B11.4, B11.5, B11.8).
fn line_about(error: &ReplicateError, node: &Device) -> Option<String> {
    let name = node_string(node);
    match error {
        error if error.is_put_off() => None,
        ReplicateError::Unmounted => Some(format!("{name} {error}")),
        ReplicateError::Status(_) => Some(format!("{error} from {name}")),
        error => Some(format!("Error syncing with node: {name}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_gave_no_hashes_has_a_line_that_tells_why_and_none_while_it_is_put_off_b11() {
        let node = Device { replication_ip: "::1".into(), replication_port: 6200, ..Device::sample() };
        let name = node_string(&node);
        let line = |error: ReplicateError| line_about(&error, &node);
        assert_eq!(line(ReplicateError::Unmounted), Some(format!("{name} responded as unmounted")));
        assert_eq!(line(ReplicateError::Status(500)), Some(format!("Invalid response 500 from {name}")));
        let closed = "RemoteDisconnected('Remote end closed connection without response')";
        assert_eq!(line(ReplicateError::Closed), Some(format!("Error syncing with node: {name}: {closed}")));
        let busy = ReplicateError::Busy { status: 503, retry_after: None };
        for put_off in [ReplicateError::LeftAlone, ReplicateError::Silent, ReplicateError::Later, busy] {
            assert_eq!(line(put_off), None);
        }
    }
}
