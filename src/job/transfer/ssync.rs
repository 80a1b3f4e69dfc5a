//! Transfer by SSYNC: the objects of one partition after the other; the node's object server confirms them.

use std::collections::BTreeSet;

use log::error;

use super::proof;
use crate::cause::Cause;
use crate::format::object::ObjectHash;
use crate::heartbeat::Heartbeat as _;
use crate::job::outcome::{Arrival, Delivery, HandedOver, Pushed, Unsynced};
use crate::job::slot::Step;
use crate::job::targets::{TURNS, Way, wait_for_a_turn};
use crate::job::work::{Offer, Transfer, Work};
use crate::peer::node_string;
use crate::peer::rsync::PartSuffixes;
use crate::peer::ssync::{Sender, SsyncError, SsyncPush, Synced};
use crate::ring::Device;

/// This way.
pub(crate) struct BySsync {
    sender: Sender,
}

impl BySsync {
    /// With this sender.
    pub(crate) fn new(sender: Sender) -> Self {
        Self { sender }
    }
}

impl Transfer for BySsync {
    /// A conversation is about one partition, and there is nothing to be gained by holding the locks of others meanwhile.
    fn takes_lists(&self) -> bool {
        false
    }

    fn leaves_out_irregular(&self) -> bool {
        false
    }

    /// After a conversation the node knows.
    fn is_to_be_told(&self) -> bool {
        false
    }

    fn update(&self, work: &mut Work<'_>, node: &Device, parts: &[PartSuffixes]) -> Vec<Pushed> {
        // The server of the node writes to disk before it confirms.
        let yes = Pushed::Yes(Arrival::Written);
        let mut pushed = |part| {
            self.converse(work, node, part, Purpose::Update).map_or_else(|unsynced| Pushed::No(unsynced.cause), |_| yes)
        };
        parts.iter().map(&mut pushed).collect()
    }

    fn hand_over(&self, work: &mut Work<'_>, node: &Device, offers: &[Offer<'_>]) -> HandedOver {
        let mut delivery =
            |offer: &Offer<'_>| match self.converse(work, node, &offer.part, Purpose::Removal { only: offer.only }) {
                Ok(synced) => Delivery::Confirmed { is_unread: synced.kept.unsent > 0, candidates: synced.candidates },
                Err(unsynced) => Delivery::Refused(unsynced),
            };
        HandedOver::Each(offers.iter().map(&mut delivery).collect())
    }

    fn is_served(&self, work: &Work<'_>, node: &Device, part: &PartSuffixes) -> bool {
        proof::is_served(work, node, part, proof::Known::Confirmed)
    }
}

/// What objects are pushed for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// To have them there too.
    Update,
    /// To have them there instead. What the node confirms comes with what identifies its files.
    Removal {
        /// Only ask whether it has these.
        only: Option<&'a BTreeSet<ObjectHash>>,
    },
}

impl BySsync {
    /// Pushes the partition's objects. The tally gets what was sent.
    ///
    /// A node that is too busy is asked again a few times. One that cannot be reached, or falls silent, is not asked
    /// again in this job: each attempt would take as long, and locks are held meanwhile.
    ///
    /// # Errors
    /// [`Unsynced`] if a conversation was not finished, or the node refused objects. It has the objects that the node
    /// has confirmed nevertheless.
    fn converse(
        &self,
        work: &mut Work<'_>,
        node: &Device,
        part: &PartSuffixes,
        purpose: Purpose<'_>,
    ) -> Result<Synced, Unsynced> {
        // What was read of the device before this look came from it.
        if !work.has_drive() {
            return Err(Unsynced::not_begun(Cause::Local));
        }
        if let Some(cause) = work.given_up(node) {
            return Err(Unsynced::not_begun(cause));
        }
        let outcome = self.in_turn(work, node, part, purpose);
        work.slot.pushes(1, 0);
        let (quarantined, bytes, unsent) = match &outcome {
            Ok(synced) => (synced.quarantined, synced.bytes, synced.kept.unsent),
            Err(failed) => (failed.quarantined, failed.bytes, 0),
        };
        for _ in 0..quarantined {
            work.tools.statsd.increment("quarantines", "quarantines", work.labels());
        }
        work.tally.sent(work.name_of(node), bytes);
        if unsent > 0 {
            work.tally.counts.fail(Cause::Local);
        }
        outcome.map_err(|failed| {
            let (cause, is_about_objects) = (failed.cause(), failed.is_about_objects());
            if matches!(cause, Cause::Unreachable | Cause::Timeout) {
                work.give_up(node, cause);
            }
            Unsynced { cause, confirmed: failed.confirmed, is_about_objects }
        })
    }

    /// Talks to the node, and waits for a turn where it is too busy; once that was in vain, nothing else waits for the
    /// same device in this pass.
    fn in_turn(
        &self,
        work: &Work<'_>,
        node: &Device,
        part: &PartSuffixes,
        purpose: Purpose<'_>,
    ) -> Result<Synced, SsyncError> {
        let busy = &work.pass.busy;
        for _ in 0..TURNS {
            match self.talk(work, node, part, purpose) {
                Err(failed) if failed.is_busy() && !busy.contains(node) => {}
                outcome => return said(node, part, outcome),
            }
            wait_for_a_turn();
        }
        let last = self.talk(work, node, part, purpose);
        if last.as_ref().is_err_and(SsyncError::is_busy) {
            busy.insert(node);
        }
        said(node, part, last)
    }

    fn talk(
        &self,
        work: &Work<'_>,
        node: &Device,
        part: &PartSuffixes,
        purpose: Purpose<'_>,
    ) -> Result<Synced, SsyncError> {
        work.step_with(node, part.partition, Step::Pushing);
        let _stream = work.tools.streams.open(node, Way::Ssync, work.slot);
        let dir = work.dir(part.partition);
        let (only, with_marks) = match purpose {
            Purpose::Update => (None, false),
            Purpose::Removal { only } => (only, true),
        };
        self.sender.sync(
            &SsyncPush { dir: &dir, drive: Some(work.drive()), suffixes: &part.suffixes, to: node, only, with_marks },
            work.slot,
        )
    }
}

/// Logs a failure that the sender does not log, because the job might have asked again.
fn said(node: &Device, part: &PartSuffixes, outcome: Result<Synced, SsyncError>) -> Result<Synced, SsyncError> {
    if let Err(failed) = &outcome
        && failed.is_busy()
    {
        error!("{}/{} {failed}", node_string(node), part.partition);
    }
    outcome
}
