//! Pushing suffixes of several partitions to one node.
//!
//! One run of rsync is given a list of partitions. What goes wrong in it may be the fault of one of them, and must then
//! cost that one only:
//! - *Some of it could not be sent* (code 23; a suffix that vanished gives that too): a dry run tells which partitions are
//!   there, whole; the others go one by one. Running the list again would prove nothing: it takes names for files.
//! - *There was no room for some of it*: that may be one object too large for what is left, of which the others need not
//!   know. Again the dry run tells what is there, and the rest goes one by one, in no particular order, so that two large
//!   ones do not keep the same others from their turn in every pass. A target counts as full once there was no room for two
//!   partitions in a row, with nothing that arrived in between.
//! - *It took too long*: what rsync was at is set aside, and the rest goes on as a list; after the second time one by one.
//!   What was set aside goes alone in the next pass. A list of hand-offs is given up as a list instead, for it holds locks.
//! - *The connection broke*, or rsync failed here: the same list once more, then its halves, down to the one that cannot
//!   be pushed.
//!
//! What is tried again is no ERROR yet: the log has that by the run that was the last one, or where nothing is tried after
//! all ([`Untold`]).
//!
//! A target that is down, full, closed or not mounted would fail each of those runs the same way, so then nothing is tried
//! again. A daemon that has its full number of connections is asked again after a while.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::AsFd;

use log::{error, warn};
use rustix::io::Errno;

use crate::cause::Cause;
use crate::config::settings::HandoffFsync;
use crate::device::drive;
use crate::job::custody::LOCKS_HELD;
use crate::job::outcome::{Arrival, Pushed};
use crate::job::slot::Step;
use crate::job::targets::{TURNS, Way, wait_for_a_turn};
use crate::job::work::Work;
use crate::names::Partition;
use crate::peer::node_string;
use crate::peer::outage::Outages;
use crate::peer::rsync::{Again, Lacking, PartSuffixes, Push, PushError, Retry, Sent, SentOf, Untold};
use crate::ring::Device;

/// After so many runs in which nothing moved any more a list goes one by one; and after so many single partitions in a row
/// that did not move, what is left of it is not tried.
const SLOW_RUNS: usize = 2;

/// For whom something is pushed; the log tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Update,
    Revert,
}

/// Pushes the parts to the node; the answer has one entry per part. The tally gets what was sent.
pub(super) fn push(work: &mut Work<'_>, reason: Reason, node: &Device, parts: &[PartSuffixes]) -> Vec<Pushed> {
    let mut outcomes = Vec::with_capacity(parts.len());
    if parts.is_empty() {
        return outcomes;
    }
    let (sent, sent_of, set_aside, untold) = Default::default();
    let run = Run { work, reason, node, sent, sent_of, set_aside, untold };
    run.push_list(parts, &mut outcomes);
    let Run { sent, sent_of, set_aside, .. } = run;
    work.tally.sent(work.name_of(node), sent.get());
    for partition in set_aside.into_inner() {
        work.tally.suspect(work.view.policy.index, partition);
    }
    for (part, outcome) in parts.iter().zip(&mut outcomes) {
        if *outcome == Pushed::Yes(Arrival::Earlier) && sent_of.contains(part.partition) {
            *outcome = Pushed::Yes(Arrival::JustNow);
        }
    }
    outcomes
}

/// Pushes to one node.
struct Run<'a> {
    work: &'a Work<'a>,
    reason: Reason,
    node: &'a Device,
    /// Bytes that have arrived.
    sent: Cell<u64>,
    /// What any files were sent of, by whatever run.
    sent_of: SentOf,
    /// Partitions at which a run stood still.
    set_aside: RefCell<Vec<Partition>>,
    /// What the last run said that failed and is to be tried again.
    untold: Untold,
}

/// The result of one run of rsync.
enum Attempt {
    /// The same for all parts but those that could not be looked at.
    Ended { outcome: Pushed, unseen: Vec<Partition> },
    /// Some of it may be there, and one of the parts may be to blame.
    FailedForSome(Cause),
    /// The target had no room for some of it.
    NoRoom,
    /// The connection broke, or rsync failed here.
    Broken(Cause),
    /// Nothing moved any more.
    Slow { suspect: Option<Partition> },
    /// The target is too busy.
    Later,
}

impl From<Pushed> for Attempt {
    fn from(outcome: Pushed) -> Self {
        Self::Ended { outcome, unseen: Vec::new() }
    }
}

impl Run<'_> {
    /// Pushes a list; adds an outcome for each of its parts.
    fn push_list(&self, parts: &[PartSuffixes], outcomes: &mut Vec<Pushed>) {
        let attempt = self.push_in_turn(parts);
        self.settle(parts, attempt, outcomes);
    }

    /// Makes what can be made of a run that ended so.
    fn settle(&self, parts: &[PartSuffixes], attempt: Attempt, outcomes: &mut Vec<Pushed>) {
        match (attempt, parts) {
            (Attempt::Ended { outcome, unseen }, _) => outcomes.extend(
                parts.iter().map(
                    |part| {
                        if unseen.contains(&part.partition) { Pushed::No(Cause::Local) } else { outcome }
                    },
                ),
            ),
            (Attempt::Later, _) => outcomes.extend(parts.iter().map(|_| Pushed::No(Cause::Busy))),
            (Attempt::FailedForSome(cause) | Attempt::Broken(cause), [_]) => outcomes.push(Pushed::No(cause)),
            (Attempt::Slow { .. }, [part]) => outcomes.push(self.set_aside(part.partition)),
            (Attempt::NoRoom, [part]) => outcomes.push(self.no_room_for(part.partition)),
            (Attempt::FailedForSome(_), _) => {
                self.push_one_by_one(parts, &self.what_has_arrived(parts), outcomes);
            }
            (Attempt::NoRoom, _) => self.push_what_has_room(parts, outcomes),
            (Attempt::Broken(_), _) => self.push_again(parts, outcomes),
            (Attempt::Slow { suspect }, _) if self.reason == Reason::Revert => {
                outcomes.extend(parts.iter().map(|_| Pushed::Slow { suspect }));
            }
            (Attempt::Slow { suspect }, _) => self.push_past_the_slow(parts, suspect, outcomes),
        }
    }

    /// After a run in which some of the list could not be sent: what is there now, whole, has arrived.
    fn what_has_arrived(&self, parts: &[PartSuffixes]) -> HashMap<Partition, Pushed> {
        let Run { work, node, .. } = self;
        work.step_with(node, parts[0].partition, Step::Verifying);
        // If that cannot be told, all of it goes one by one.
        let retry = Retry { busy: true, divided: true, suspect: true, refusal: true, untold: &Untold::default() };
        let compare = |push: &Push<'_>| work.tools.rsync.compare(&Push { retry: Some(retry), ..*push }, work.slot);
        let compared = with_push(work, node, parts, compare);
        // A run that could not send all has put on the disk what it sent, if it was to.
        let arrival = match self.is_durable() && work.tools.rsync.fsync_known(node) == Some(true) {
            true => Arrival::Written,
            false => Arrival::Earlier,
        };
        let compared = parts.iter().zip(compared.unwrap_or_default());
        let whole = compared.filter(|(_, lacking)| Lacking::is_nothing(lacking));
        whole.map(|(part, _)| (part.partition, Pushed::Yes(arrival))).collect()
    }

    /// After a run that found no room for some of the list: the rest, as far as there is room for it.
    fn push_what_has_room(&self, parts: &[PartSuffixes], outcomes: &mut Vec<Pushed>) {
        let mut known = self.what_has_arrived(parts);
        if known.keys().any(|arrived| self.sent_of.contains(*arrived)) {
            self.work.pass.room.was_found(self.node);
        }
        let mut rest: Vec<_> = parts.iter().filter(|part| !known.contains_key(&part.partition)).collect();
        fastrand::shuffle(&mut rest);
        // The only one that is not there is the one for which there was no room.
        if let [only] = rest[..] {
            self.untold.tell();
            known.insert(only.partition, self.no_room_for(only.partition));
        }
        for part in rest {
            if !known.contains_key(&part.partition) {
                let mut outcome = Vec::with_capacity(1);
                self.push_list(std::slice::from_ref(part), &mut outcome);
                known.extend(outcome.into_iter().map(|outcome| (part.partition, outcome)));
            }
        }
        self.push_one_by_one(parts, &known, outcomes);
    }

    /// The target had no room for this partition. If it had none for another one just before, it is full, and takes
    /// nothing more in this pass.
    fn no_room_for(&self, partition: Partition) -> Pushed {
        let Run { work, node, .. } = self;
        let (path, name) = (work.dir(partition), node_string(node));
        if !work.pass.room.was_lacking(node, (work.view.policy.index, partition)) {
            warn!("{name} has no room for {}: other partitions are pushed there", path.path().display());
        } else if work.pass.full.insert(node) {
            warn!("{name} is full: nothing more is pushed to it in this pass");
        }
        Pushed::No(Cause::Full)
    }

    /// After a run that broke: once more, since that may have been chance, then by halves.
    fn push_again(&self, parts: &[PartSuffixes], outcomes: &mut Vec<Pushed>) {
        match self.push_in_turn(parts) {
            Attempt::Broken(_) if parts.len() > 1 => {
                let (first, second) = parts.split_at(parts.len() / 2);
                self.push_again(first, outcomes);
                self.push_again(second, outcomes);
            }
            attempt => self.settle(parts, attempt, outcomes),
        }
    }

    /// After a run in which nothing moved any more: without what it stood still at; one by one where that is not known, or
    /// happened again.
    fn push_past_the_slow(&self, parts: &[PartSuffixes], suspect: Option<Partition>, outcomes: &mut Vec<Pushed>) {
        let mut known: HashMap<Partition, Pushed> = HashMap::new();
        let mut suspect = suspect;
        for _ in 1..SLOW_RUNS {
            let Some(slow) = suspect.take() else { break };
            known.insert(slow, self.set_aside(slow));
            let rest: Vec<_> = parts.iter().filter(|part| part.partition != slow).cloned().collect();
            let mut settled = Vec::new();
            match self.push_in_turn(&rest) {
                Attempt::Slow { suspect: next } => suspect = next,
                attempt => self.settle(&rest, attempt, &mut settled),
            }
            known.extend(rest.iter().map(|part| part.partition).zip(settled));
        }
        if let Some(slow) = suspect {
            known.insert(slow, self.set_aside(slow));
        }
        self.push_one_by_one(parts, &known, outcomes);
    }

    /// Pushes those of the parts of which it is not known yet what became of them.
    fn push_one_by_one(&self, parts: &[PartSuffixes], known: &HashMap<Partition, Pushed>, outcomes: &mut Vec<Pushed>) {
        for part in parts {
            match known.get(&part.partition) {
                Some(known) => outcomes.push(*known),
                None => self.push_list(std::slice::from_ref(part), outcomes),
            }
        }
    }

    /// Remembers a partition at which a run stood still: it goes alone in the next pass.
    fn set_aside(&self, slow: Partition) -> Pushed {
        let (path, node) = (self.work.dir(slow), node_string(self.node));
        error!(
            "Error syncing {} to {node}: nothing moved any more; it goes alone in the next pass",
            path.path().display()
        );
        self.set_aside.borrow_mut().push(slow);
        Pushed::No(Cause::Timeout)
    }

    /// Whether the node is to write what comes to its disk before the run ends.
    fn is_durable(&self) -> bool {
        self.reason == Reason::Revert && self.work.tools.handoffs.fsync != HandoffFsync::No
    }

    /// Pushes, and waits for a turn where the target is too busy; once that was in vain, nothing else waits for
    /// the same target in this pass.
    fn push_in_turn(&self, parts: &[PartSuffixes]) -> Attempt {
        let (Run { work, node, .. }, busy) = (self, &self.work.pass.busy);
        for _ in 0..TURNS {
            match self.attempt(parts, true) {
                Attempt::Later if busy.contains(node) => {
                    self.untold.tell();
                    return Attempt::Later;
                }
                Attempt::Later => {}
                attempt => return attempt,
            }
            wait_for_a_turn();
            work.step_with(node, parts[0].partition, Step::Pushing);
        }
        let last = self.attempt(parts, false);
        if matches!(last, Attempt::Later) {
            busy.insert(node);
        }
        last
    }

    /// Why the node is not pushed to just now, if so.
    fn closed(&self) -> Option<Cause> {
        let Run { work, node, reason, .. } = self;
        // Right before rsync starts there is another look at it (`with_push`).
        if !work.had_drive() {
            return Some(Cause::Local);
        }
        if work.is_full(node) {
            return Some(Cause::Full);
        }
        if work.pass.closed.contains(node) {
            return Some(Cause::Closed);
        }
        // A hand-off whose target cannot be told of it could not go. (An update's target has just answered.)
        let is_silent = *reason == Reason::Revert && work.tools.client.outages().is_resting(node);
        (is_silent || !work.tools.rsync.outages().may_ask(node)).then_some(Cause::Unreachable)
    }

    /// One run; if the target is too busy, perhaps not the last.
    fn attempt(&self, parts: &[PartSuffixes], is_asked_again: bool) -> Attempt {
        if let Some(cause) = self.closed() {
            self.untold.tell();
            return Pushed::Broken(cause).into();
        }
        let Run { work, node, .. } = self;
        work.step_with(node, parts[0].partition, Step::Pushing);
        work.slot.push_of(parts.len());
        let stream = work.tools.streams.open(node, Way::Rsync, work.slot);
        let outcome = with_push(work, node, parts, |push| {
            // Locks are held for a list of hand-offs, so it must move.
            let limit = (self.reason == Reason::Revert && parts.len() > 1).then_some(LOCKS_HELD);
            let (sent_of, retry) = (Some(&self.sent_of), Some(self.retry(parts, is_asked_again)));
            let push = Push { durable: self.is_durable(), limit, sent_of, retry, ..*push };
            work.tools.rsync.push(&push, work.slot)
        });
        drop(stream);
        note(work.tools.rsync.outages(), node, &outcome);
        match outcome {
            Ok(sent) => {
                self.sent.set(self.sent.get() + sent.bytes);
                if sent.bytes > 0 {
                    work.pass.room.was_found(node);
                }
                let outcome = Pushed::Yes(if sent.durable { Arrival::Written } else { Arrival::Earlier });
                Attempt::Ended { outcome, unseen: sent.unseen.iter().map(|unseen| unseen.partition).collect() }
            }
            Err(PushError::NothingToSend) => Pushed::Nothing.into(),
            Err(PushError::DeviceGone) => {
                self.untold.tell();
                Pushed::Broken(Cause::Local).into()
            }
            Err(failed) => self.failed(parts, &failed),
        }
    }

    /// What follows where the run fails. A list of hand-offs that stands still is given up as a list; of another one what
    /// seems to be to blame has failed.
    fn retry(&self, parts: &[PartSuffixes], busy: bool) -> Retry<'_> {
        let is_list = parts.len() > 1;
        let suspect = is_list && self.reason == Reason::Revert;
        Retry { busy, divided: is_list, suspect, refusal: false, untold: &self.untold }
    }

    /// Takes note of a run that did not end well.
    fn failed(&self, parts: &[PartSuffixes], failed: &PushError) -> Attempt {
        let Run { work, node, .. } = self;
        if !failed.is_of_a_run() {
            self.log(parts, failed);
        }
        let verdict = failed.verdict();
        if verdict.cause == Cause::Closed && work.pass.closed.insert(node) {
            warn!("{} takes no connections (max connections = -1): closed for this pass", node_string(node));
        }
        match verdict.again {
            Again::Later => Attempt::Later,
            _ if verdict.is_target_full() => Attempt::NoRoom,
            _ if verdict.cause == Cause::Timeout => Attempt::Slow { suspect: failed.suspect() },
            Again::No if failed.is_of_a_run() => Pushed::No(verdict.cause).into(),
            Again::No => Pushed::Broken(verdict.cause).into(),
            Again::Divided if failed.is_partial() => Attempt::FailedForSome(verdict.cause),
            Again::Divided => Attempt::Broken(verdict.cause),
        }
    }

    fn log(&self, parts: &[PartSuffixes], failed: &PushError) {
        let name = node_string(self.node);
        match self.reason {
            Reason::Update => error!("Error syncing with node: {name}: {failed}"),
            Reason::Revert => error!("Error syncing handoff partition: {} to {name}: {failed}", parts[0].partition),
        }
    }
}

/// Takes note of what a push says of the node's rsync daemon: what went wrong on this side says nothing.
fn note(outages: &Outages, node: &Device, outcome: &Result<Sent, PushError>) {
    let Err(failed) = outcome else { return outages.reached(node) };
    let verdict = failed.verdict();
    if verdict.is_outage() {
        outages.unreachable(node);
    } else if !failed.is_of_a_run() || failed.suspect().is_some() {
        outages.not_asked(node);
    } else if verdict.cause == Cause::Timeout {
        outages.unanswered(node);
    } else {
        outages.reached(node);
    }
}

/// A push from the batch's device, and from no other one that is in its place by then.
pub(super) fn with_push<T>(
    work: &Work<'_>,
    node: &Device,
    parts: &[PartSuffixes],
    run: impl FnOnce(&Push<'_>) -> Result<T, PushError>,
) -> Result<T, PushError> {
    let policy = work.view.policy.index;
    let datadir = work.tools.devices.join(work.disk).join(policy.datadir());
    let across_regions = work.region != Some(node.region);
    let held = drive::hold(&datadir);
    // What was opened before this look is the device's, whatever the path leads to while rsync is at work.
    if !work.has_drive() {
        return Err(PushError::DeviceGone);
    }
    let folder = match &held {
        Ok(folder) => folder.as_fd(),
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(PushError::NothingToSend),
        Err(errno) => return Err(PushError::Datadir { path: datadir, source: (*errno).into() }),
    };
    run(&Push { folder: Some(folder), ..Push::new(&datadir, policy, parts, node, across_regions) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::cause::Cause;
    use crate::peer::rsync::{Fault, Reached, Verdict};

    /// Failures of a push that are all this side's.
    fn failures_here() -> Vec<PushError> {
        let (path, source) = (Path::new("/srv/node/sda/objects").to_owned(), || Errno::IO.into());
        let stood_still = Reached { suspect: Some(Partition::new(1)), ..Reached::default() };
        vec![
            PushError::DeviceGone,
            PushError::NothingToSend,
            PushError::Unseen(Vec::new()),
            PushError::Datadir { path: path.clone(), source: source() },
            PushError::Start { program: path, source: source() },
            PushError::Watch(source()),
            PushError::TimedOut { limit: Duration::from_secs(1), reached: stood_still },
        ]
    }

    #[test]
    fn what_goes_wrong_on_this_side_brings_no_dead_node_back() {
        for failed in failures_here() {
            let (outages, node) = (Outages::default(), Device::sample());
            outages.unreachable(&node);
            outages.unreachable(&node);
            let outcome = Err(failed);
            note(&outages, &node, &outcome);
            outages.unreachable(&node);
            assert!(outages.is_resting(&node), "{outcome:?}");
        }
    }

    #[test]
    fn what_goes_wrong_on_this_side_does_not_keep_others_from_a_node_that_may_be_back() {
        for failed in failures_here() {
            let (outages, node) = (Outages::default(), Device::sample());
            (0..3).for_each(|_| outages.unreachable(&node));
            assert!(!outages.may_ask(&node));
            let outcome = Err(failed);
            note(&outages, &node, &outcome);
            assert!(outages.may_ask(&node), "{outcome:?}");
        }
    }

    #[test]
    fn what_the_node_itself_does_is_noted() {
        let verdict = |cause, fault| Verdict { cause, again: Again::No, fault };
        let ended = |code, cause, fault| Err(PushError::Failed { code, verdict: verdict(cause, fault) });
        let slow = || Err(PushError::TimedOut { limit: Duration::from_secs(1), reached: Reached::default() });
        let rests_after = |outcome: &dyn Fn() -> Result<Sent, PushError>| {
            let (outages, node) = (Outages::default(), Device::sample());
            (0..3).for_each(|_| note(&outages, &node, &outcome()));
            outages.is_resting(&node)
        };
        assert!(rests_after(&|| ended(10, Cause::Unreachable, Fault::Node)) && rests_after(&slow));
        let reached: [&dyn Fn() -> Result<Sent, PushError>; 4] = [
            &|| Ok(Sent::default()),
            &|| ended(5, Cause::Busy, Fault::Module),
            &|| ended(23, Cause::Local, Fault::Files),
            &|| Err(PushError::NoModule("::object".into())),
        ];
        for outcome in reached {
            let (outages, node) = (Outages::default(), Device::sample());
            (0..2).for_each(|_| outages.unreachable(&node));
            note(&outages, &node, &outcome());
            outages.unreachable(&node);
            assert!(!outages.is_resting(&node), "{:?}", outcome());
        }
    }
}
