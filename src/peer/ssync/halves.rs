//! A suffix that a receiver cannot look at does not hold back the others.
//!
//! Swift's receiver opens its own copy of all that it is offered before it says a word of what it wants. At the first
//! thing that it cannot look at (there is a file in the place of a suffix's folder, or a sector cannot be read) it breaks
//! off, without saying which that is. Nothing would be pushed then, in this pass or any other. So the suffixes are offered
//! again by halves, and what of these is broken off by halves again, down to the single suffix. The larger parts come
//! first, so whatever ends this, most has arrived. Each part is a push like any other, whose candidates are as good; what
//! is not in any of them is not confirmed. And the push as a whole has failed, whatever comes of its parts.
//!
//! It must not cost much where it is in vain, for a receiver may break off everything (its partition cannot be opened):
//! - One push has [`MAX_PARTS`] parts at most. A single suffix among 4,096 takes 24.
//! - Once [`IN_VAIN`] conversations in a row with a device were broken off so, in whichever pushes, a push divides only
//!   once: that is two conversations more for each partition, until one gets further.
//!
//! The halves come in random order, so that what is not reached for these bounds has its turn in another pass.
//!
//! Only what the receiver says to be wrong with something of its own is divided. What is about the receiver as a whole (it
//! is busy, silent, or gone) ends this.

use std::collections::VecDeque;

use log::error;

use super::kept::Kept;
use super::offers::Candidates;
use super::push::{SsyncError, SsyncPush, Synced};
use super::rounds::{Rounds, log_failure};
use super::sender::Sender;
use super::verdict::Verdict;
use crate::heartbeat::Heartbeat;
use crate::names::Suffix;
use crate::peer::node_string;

/// In so many parts at most a push is tried.
const MAX_PARTS: usize = 200;
/// After so many conversations in a row that a device broke off before it had compared anything, little more is tried.
/// Sixteen bad suffixes that lie as badly as can be cause 32.
const IN_VAIN: usize = 40;
/// What is tried all the same.
const AT_LEAST: usize = 2;

/// A push that goes on in parts.
pub(super) struct Halves<'s> {
    sender: &'s Sender,
    push: &'s SsyncPush<'s>,
    /// The push in whole, which failed, and what has come of its parts.
    whole: SsyncError,
    /// Parts that are still to be tried, the largest first.
    waiting: VecDeque<&'s [Suffix]>,
    tried: usize,
    /// Suffixes that the receiver cannot look at.
    bad: usize,
}

impl<'s> Halves<'s> {
    pub(super) fn new(sender: &'s Sender, push: &'s SsyncPush<'s>, mut whole: SsyncError) -> Self {
        // What stays is found out anew.
        whole.kept = Default::default();
        Self { sender, push, whole, waiting: VecDeque::new(), tried: 0, bad: 0 }
    }

    pub(super) fn go_through(mut self, heartbeat: &dyn Heartbeat) -> SsyncError {
        self.divide(self.push.suffixes);
        // What a receiver refuses of every part is not about objects.
        let (mut is_about_objects, mut any_got_further) = (true, false);
        while !self.gives_up() {
            let Some(part) = self.waiting.pop_front() else { break };
            heartbeat.beat();
            self.tried += 1;
            let push = SsyncPush { suffixes: part, ..*self.push };
            let outcome = Rounds::after_another(self.sender, &push).go_through(heartbeat);
            self.sender.broken_off.note(push.to, &outcome);
            match outcome {
                Ok(synced) => self.add(synced.into()),
                Err(failed) if failed.is_blind() => {
                    self.broke_off(part, failed);
                    continue;
                }
                Err(failed) => {
                    log_failure(&push, &failed);
                    is_about_objects &= failed.is_about_objects();
                    if !self.failed(part, failed) {
                        break;
                    }
                }
            }
            any_got_further = true;
        }
        self.whole.is_about_objects = is_about_objects && any_got_further && self.waiting.is_empty();
        self.end()
    }

    fn divide(&mut self, part: &'s [Suffix]) {
        let (first, second) = part.split_at(part.len() / 2);
        let halves = if fastrand::bool() { [first, second] } else { [second, first] };
        self.waiting.extend(halves);
    }

    /// Whether enough was tried.
    fn gives_up(&self) -> bool {
        let in_vain = || self.sender.broken_off.in_a_row(self.push.to) >= IN_VAIN;
        self.tried >= MAX_PARTS || (self.tried >= AT_LEAST && in_vain())
    }

    /// The receiver cannot look at all of the part.
    fn broke_off(&mut self, part: &'s [Suffix], mut failed: SsyncError) {
        if let [suffix] = part {
            error!("{}/{}/{suffix} {failed}", node_string(self.push.to), self.push.dir.partition());
            self.bad += 1;
        } else {
            self.divide(part);
            failed.kept = Default::default();
        }
        self.add(failed.into());
    }

    /// The part failed in another way; false if the others would too.
    fn failed(&mut self, part: &'s [Suffix], failed: SsyncError) -> bool {
        let verdict = failed.failure.verdict();
        let is_its_own = matches!(verdict, Some(Verdict::Refused { .. } | Verdict::BrokeOff { .. }));
        let goes_on = is_its_own || failed.failure.is_one_objects();
        let is_busy = failed.is_busy();
        let SsyncError { failure, confirmed, kept, quarantined, bytes, .. } = failed;
        self.add(Part { confirmed, kept, quarantined, bytes });
        if !goes_on {
            self.waiting.push_front(part);
            // A receiver that is busy now is well, but for what it said of the whole.
            if !is_busy {
                self.whole.failure = failure;
            }
        }
        goes_on
    }

    fn add(&mut self, part: Part) {
        self.whole.confirmed.extend(part.confirmed);
        self.whole.kept.extend(part.kept);
        self.whole.quarantined += part.quarantined;
        self.whole.bytes += part.bytes;
    }

    fn end(self) -> SsyncError {
        let Self { push, whole, waiting, tried, bad, .. } = self;
        let left: usize = waiting.iter().map(|part| part.len()).sum();
        if left > 0 {
            error!(
                "{}/{} {left} of {} suffixes are left for another pass, after {tried} attempts with parts of them ({bad} \
                 single suffixes cannot be looked at there)",
                node_string(push.to),
                push.dir.partition(),
                push.suffixes.len()
            );
        }
        whole
    }
}

/// What came of a part, well or not.
struct Part {
    confirmed: Candidates,
    kept: Kept,
    quarantined: u64,
    bytes: u64,
}

impl From<Synced> for Part {
    fn from(synced: Synced) -> Self {
        let Synced { candidates: confirmed, kept, quarantined, bytes, .. } = synced;
        Self { confirmed, kept, quarantined, bytes }
    }
}

impl From<SsyncError> for Part {
    fn from(failed: SsyncError) -> Self {
        let SsyncError { confirmed, kept, quarantined, bytes, .. } = failed;
        Self { confirmed, kept, quarantined, bytes }
    }
}
