//! One hand-off, and what its primaries said of it: `take` locks and records it, `may_go` and `decide` remove or keep
//! it.

mod decide;
mod irregular;
mod lock;
mod may_go;
mod take;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use self::lock::Lock;
use super::outcome::{Arrival, Delivery, Unsynced};
use super::tally::NodeSet;
use super::work::{Offer, Work};
use crate::cause::Cause;
use crate::config::settings::HandoffsOnly;
use crate::device::layout::PartitionDir;
use crate::device::removal::Inventory;
use crate::format::object::ObjectHash;
use crate::names::{Partition, Suffix};
use crate::peer::rsync::PartSuffixes;
use crate::peer::ssync::Candidates;
use crate::ring::Device;

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
    /// The first cause for which it stays here, if anything failed.
    cause: Option<Cause>,
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

impl<'r> HandOff<'r> {
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
    /// each other's updates would keep their hand-offs for ever; nor with `handoffs_only`. So then each node is given all.
    fn only_asked_for(&self, work: &Work<'_>, node: &Device) -> Option<&BTreeSet<ObjectHash>> {
        let handoffs = &work.tools.handoffs;
        let passes_on = !handoffs.first && handoffs.only == HandoffsOnly::No;
        self.remote.get(&node.region).filter(|_| passes_on)
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
        self.cause = self.cause.or(cause);
        if let Some(cause) = cause {
            work.tally.peer_failed(work.name_of(node), cause);
        }
    }
}
