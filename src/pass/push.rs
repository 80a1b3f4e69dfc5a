//! Pushing suffixes of several partitions to one node.
//!
//! A single partition is pushed by one run of rsync, as the reference does it. A list that fails may have failed for one
//! of its partitions only (a suffix that vanished gives 23), so the same list is run once more, which costs names only,
//! then its halves, down to the one that cannot be pushed. A target that is down, full or not mounted would fail each of
//! those runs the same way, so then nothing is tried again. A daemon that has its full number of connections is asked
//! again after a while.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use log::{error, warn};

use super::tally::Tally;
use super::watchdog::Step;
use super::work::{Tools, Work};
use crate::format::object::ObjectHash;
use crate::names::{Partition, PolicyIndex, Suffix};
use crate::peer::node_string;
use crate::peer::replicate::ReplicateError;
use crate::peer::rsync::{Again, Lacking, PartSuffixes, Push, PushError, Verdict};
use crate::peer::ssync::{SsyncPush, Synced};
use crate::report::counts::Cause;
use crate::ring::Device;

/// What became of one partition's push to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The method says that all is there.
    Yes,
    /// It was tried and failed; the log has the reason.
    No(Cause),
    /// None of the suffixes was there any more, so nothing was tried (B8.2).
    Nothing,
    /// It could not even be tried; the log has the reason.
    Broken(Cause),
}

impl Pushed {
    /// Why it failed, if it did.
    pub fn cause(self) -> Option<Cause> {
        match self {
            Self::No(cause) | Self::Broken(cause) => Some(cause),
            Self::Yes | Self::Nothing => None,
        }
    }

    /// Whether the node is to be told. A failed push may have got through in part, so then it is told all the same (B7.5).
    pub fn is_news(self) -> bool {
        matches!(self, Self::Yes | Self::No(_))
    }
}

/// How often a daemon that has its full number of connections is asked again.
const TURNS: usize = 3;

/// For whom something is pushed; the log tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    Update,
    Revert,
}

/// Pushes the parts to the node; the answer has one entry per part. The tally gets what was sent.
pub fn push(work: &Work<'_>, errand: Errand, node: &Device, parts: &[PartSuffixes], tally: &mut Tally) -> Vec<Pushed> {
    if work.tools.ssync.is_some() {
        let pushed = |part| converse(work, node, part, None, false, tally).map_or_else(Pushed::No, |_| Pushed::Yes);
        return parts.iter().map(pushed).collect();
    }
    let run = Run { work, errand, node, sent: Cell::new(0) };
    let mut outcomes = Vec::with_capacity(parts.len());
    if !parts.is_empty() {
        run.push_or_halve(parts, parts.len() > 1, &mut outcomes);
        tally.sent(work.name_of(node), run.sent.get());
    }
    outcomes
}

/// Pushes to one node.
struct Run<'a> {
    work: &'a Work<'a>,
    errand: Errand,
    node: &'a Device,
    /// Bytes that have arrived.
    sent: Cell<u64>,
}

/// What one run of rsync came to.
enum Attempt {
    /// The same for all parts.
    Ended(Pushed),
    /// One for each part.
    Each(Vec<Pushed>),
    /// Some of it may be there, and one of the parts may be to blame.
    FailedForSome(Cause),
    /// The target has its hands full.
    Later,
}

impl Run<'_> {
    fn push_or_halve(&self, parts: &[PartSuffixes], again: bool, outcomes: &mut Vec<Pushed>) {
        match self.push_in_turn(parts) {
            Attempt::Ended(outcome) => outcomes.resize(outcomes.len() + parts.len(), outcome),
            Attempt::Each(each) => outcomes.extend(each),
            Attempt::Later => outcomes.resize(outcomes.len() + parts.len(), Pushed::No(Cause::Busy)),
            Attempt::FailedForSome(cause) if parts.len() == 1 => outcomes.push(Pushed::No(cause)),
            Attempt::FailedForSome(_) if again => self.push_or_halve(parts, false, outcomes),
            Attempt::FailedForSome(_) => {
                let (first, second) = parts.split_at(parts.len() / 2);
                self.push_or_halve(first, false, outcomes);
                self.push_or_halve(second, false, outcomes);
            }
        }
    }

    /// Pushes, and waits for a turn where the target has its hands full; once that was in vain, nothing else waits for
    /// the same target in this pass.
    fn push_in_turn(&self, parts: &[PartSuffixes]) -> Attempt {
        let (Run { work, node, .. }, busy) = (self, &self.work.pass.busy);
        for _ in 0..TURNS {
            match self.attempt(parts) {
                Attempt::Later if busy.contains(node) => return Attempt::Later,
                Attempt::Later => {}
                attempt => return attempt,
            }
            thread::sleep(Duration::from_millis(fastrand::u64(1_000..10_000)));
            work.step_with(node, parts[0].partition, Step::Pushing);
        }
        let last = self.attempt(parts);
        if matches!(last, Attempt::Later) {
            busy.insert(node);
        }
        last
    }

    fn attempt(&self, parts: &[PartSuffixes]) -> Attempt {
        let Run { work, node, .. } = self;
        let outages = work.tools.rsync.outages();
        // A node that cannot be told of a push is not pushed to.
        if work.pass.full.contains(node) {
            return Attempt::Ended(Pushed::Broken(Cause::Full));
        }
        if work.pass.closed.contains(node) {
            return Attempt::Ended(Pushed::Broken(Cause::Closed));
        }
        if work.tools.client.outages().is_resting(node) || !outages.may_ask(node) {
            return Attempt::Ended(Pushed::Broken(Cause::Unreachable));
        }
        work.step_with(node, parts[0].partition, Step::Pushing);
        let stream = work.tools.streams.open(node, work.slot);
        let outcome = with_push(work, node, parts, |push| work.tools.rsync.push(push, work.slot));
        drop(stream);
        let failed = match outcome {
            Ok(sent) => {
                outages.reached(node);
                self.sent.set(self.sent.get() + sent.bytes);
                return self.without_unseen(parts, sent.unseen.iter().map(|unseen| unseen.partition).collect());
            }
            Err(PushError::NothingToSend) => return Attempt::Ended(Pushed::Nothing),
            Err(failed) => failed,
        };
        match (failed.is_of_a_run(), self.errand) {
            (true, _) => {}
            (false, Errand::Update) => error!("Error syncing with node: {}: {failed}", node_string(node)),
            (false, Errand::Revert) => {
                error!("Error syncing handoff partition: {} to {}: {failed}", parts[0].partition, node_string(node));
            }
        }
        let verdict = failed.verdict();
        if verdict.is_outage() {
            outages.unreachable(node);
        } else if failed.is_of_a_run() && !matches!(failed, PushError::TimedOut { .. }) {
            outages.reached(node);
        }
        match failed {
            // Another attempt would take as long again.
            PushError::TimedOut { .. } => Attempt::Ended(Pushed::No(verdict.cause)),
            failed if failed.is_of_a_run() => self.judge(verdict),
            _ => Attempt::Ended(Pushed::Broken(verdict.cause)),
        }
    }

    /// What a good end means where some of it could not even be looked at.
    fn without_unseen(&self, parts: &[PartSuffixes], unseen: BTreeSet<Partition>) -> Attempt {
        if unseen.is_empty() {
            return Attempt::Ended(Pushed::Yes);
        }
        let outcome = |part: &PartSuffixes| match unseen.contains(&part.partition) {
            true => Pushed::No(Cause::Local),
            false => Pushed::Yes,
        };
        Attempt::Each(parts.iter().map(outcome).collect())
    }

    fn judge(&self, verdict: Verdict) -> Attempt {
        let Verdict { cause, again, .. } = verdict;
        if verdict.is_target_full() && self.work.pass.full.insert(self.node) {
            warn!("{} is full: nothing more is pushed to it in this pass", node_string(self.node));
        }
        if cause == Cause::Closed && self.work.pass.closed.insert(self.node) {
            warn!(
                "The rsync module of {} is closed: nothing more is pushed to it in this pass",
                node_string(self.node)
            );
        }
        match again {
            Again::Later => Attempt::Later,
            Again::No => Attempt::Ended(Pushed::No(cause)),
            Again::Divided => Attempt::FailedForSome(cause),
        }
    }
}

/// Pushes one partition's objects by SSYNC, or only asks whether the node has them. The tally gets what was sent.
///
/// With `with_marks` the objects that the node confirms come with what identifies their files.
///
/// # Errors
/// That failed, which is logged.
pub fn converse(
    work: &Work<'_>,
    node: &Device,
    part: &PartSuffixes,
    only: Option<&BTreeSet<ObjectHash>>,
    with_marks: bool,
    tally: &mut Tally,
) -> Result<Synced, Cause> {
    let sender = work.tools.ssync.as_ref().ok_or(Cause::Bug)?;
    work.step_with(node, part.partition, Step::Pushing);
    let _stream = work.tools.streams.open(node, work.slot);
    let dir = work.dir(part.partition);
    let push = SsyncPush { dir: &dir, suffixes: &part.suffixes, to: node, only, with_marks };
    let outcome = sender.sync(&push, work.slot);
    let quarantined = outcome.as_ref().map_or_else(|failed| failed.quarantined, |synced| synced.quarantined);
    for _ in 0..quarantined {
        work.tools.statsd.increment("quarantines");
    }
    let synced = outcome.map_err(|failed| failed.cause())?;
    tally.sent(work.name_of(node), synced.bytes);
    Ok(synced)
}

/// Whether the node now has all that is in the parts' suffixes, by size and metadata; the answer has one entry per part.
/// Where that cannot be found out it has not.
pub fn have_arrived(work: &Work<'_>, node: &Device, parts: &[&PartSuffixes]) -> Vec<bool> {
    let [first, ..] = parts else { return Vec::new() };
    work.step_with(node, first.partition, Step::Verifying);
    let list: Vec<_> = parts.iter().copied().cloned().collect();
    match with_push(work, node, &list, |push| work.tools.rsync.compare(push, work.slot)) {
        Ok(lacking) => {
            parts.iter().zip(lacking).map(|(part, lacking)| has_arrived(work, node, part, &lacking)).collect()
        }
        // One of them stands in the others' way.
        Err(failed) if parts.len() > 1 && failed.verdict().again == Again::Divided => {
            parts.iter().flat_map(|part| have_arrived(work, node, std::slice::from_ref(part))).collect()
        }
        Err(failed) => {
            for part in parts {
                let (dir, name) = (work.dir(part.partition), node_string(node));
                error!("Cannot verify the push of {} to {name}: {failed}", dir.path().display());
            }
            vec![false; parts.len()]
        }
    }
}

fn has_arrived(work: &Work<'_>, node: &Device, part: &PartSuffixes, lacking: &Lacking) -> bool {
    if lacking.is_nothing() {
        return true;
    }
    let dir = work.dir(part.partition);
    let (path, name) = (dir.path().display(), node_string(node));
    let Lacking { missing, wrong, examples } = lacking;
    let examples: Vec<_> = examples.iter().map(|example| example.display().to_string()).collect();
    error!(
        "Not all of {path} is on {name} after the push: {missing} files are missing there, {wrong} are something else \
         there: partition kept: {}",
        examples.join(", ")
    );
    false
}

fn with_push<T>(work: &Work<'_>, node: &Device, parts: &[PartSuffixes], run: impl FnOnce(&Push<'_>) -> T) -> T {
    let policy = work.view.policy.index;
    let datadir = work.tools.devices.join(work.disk).join(policy.datadir());
    let across_regions = work.region != Some(node.region);
    run(&Push { datadir: &datadir, policy, parts, to: node, across_regions, durable: false })
}

/// Tells the node which suffixes of the partition were pushed, so that it hashes them anew (B7.5). After SSYNC it knows.
///
/// # Errors
/// No answer came.
pub fn tell(
    tools: &Tools,
    policy: PolicyIndex,
    node: &Device,
    partition: Partition,
    suffixes: &[Suffix],
) -> Result<u16, ReplicateError> {
    match tools.ssync {
        Some(_) => Ok(200),
        None => tools.client.rehash(node, policy, partition, suffixes),
    }
}
