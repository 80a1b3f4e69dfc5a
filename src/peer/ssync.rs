//! Pushes objects without rsync: the SSYNC sender (B9).
//!
//! One [`Sender`] serves all threads. For each push it connects to the node's object server and goes through the phases
//! of one conversation, each a function here:
//!
//! 1. *offer*: every object of the suffixes, with the times of its parts;
//! 2. *read what is wanted*: the receiver compares, and lists what it lacks;
//! 3. *send what is wanted*: a PUT, POST or DELETE for each, and the data;
//! 4. *read the outcome*: only now is it known that all of it arrived.
//!
//! The bytes are made in `codec` and taken apart in `answer`; `wire` moves them. Of what was offered only the hashes are
//! kept, and data pass through one buffer, which files are read into and the socket is fed from. Small messages wait in
//! it for others, but not for long: the receiver has a time limit of its own.
//!
//! What ends a conversation because of one object does not keep its neighbours from being sent: `rounds` holds another one.
//! A suffix that the receiver cannot look at does not either: `halves` finds out which it is.
//!
//! An object that cannot be read, or turns out to be damaged before anything of it was sent, costs that object and not
//! the conversation. It is never among the [`Candidates`]. (To the reference it is: it would be removed from a hand-off.)

pub mod answer;
pub mod codec;
mod conversation;
mod failure;
mod halves;
mod kept;
mod offers;
mod outbox;
mod pace;
mod rounds;
mod suspects;
mod talk;
mod updates;
pub mod verdict;
mod wire;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::failure::{Failure, Limits};
use self::halves::{BrokenOff, Halves};
pub use self::kept::{Kept, KeptEntry, Why};
use self::offers::Reached;
pub use self::offers::{Candidate, Candidates};
use self::rounds::{Rounds, log_failure};
use self::suspects::Suspects;
use self::verdict::Verdict;
use super::outage::Outages;
use crate::cause::Cause;
use crate::device::drive::Drive;
use crate::device::layout::PartitionDir;
use crate::format::object::{ObjectHash, Salts};
use crate::names::Suffix;
use crate::pulse::Pulse;
use crate::ring::Device;

/// How to push.
#[derive(Clone, Debug)]
pub struct SsyncOptions {
    /// To connect and send the request's head (`conn_timeout`).
    pub conn_timeout: Duration,
    /// To receive the answer's head, and to send any one message (`node_timeout`).
    pub node_timeout: Duration,
    /// To receive a line of the answer (`http_timeout`).
    pub http_timeout: Duration,
    /// The longest line of the answer that is read (`network_chunk_size`).
    pub network_chunk_size: usize,
    /// How many bytes of data go into a message (`disk_chunk_size`), within reason.
    pub disk_chunk_size: usize,
    /// How long tombstones are kept (`reclaim_age`).
    pub reclaim_age: Duration,
    /// What is hashed along with the names of objects.
    pub salts: Salts,
}

/// What goes where.
#[derive(Clone, Copy)]
pub struct SsyncPush<'a> {
    /// The partition.
    pub dir: &'a PartitionDir,
    /// The device that it is on, if that may go meanwhile: nothing is sent of what is in its place then.
    pub drive: Option<&'a Drive>,
    /// What of it is pushed.
    pub suffixes: &'a [Suffix],
    /// The target.
    pub to: &'a Device,
    /// Only ask whether the target has these objects, and send nothing (B9.7).
    pub only: Option<&'a BTreeSet<ObjectHash>>,
    /// Whether the candidates come with what identifies their files, so that these can be removed: for hand-offs. Then
    /// the suffixes are cleaned before anything is offered (B6.18), which an update has done when it hashed them (B11.7).
    pub with_marks: bool,
}

/// What a push came to.
#[derive(Debug, Default)]
pub struct Synced {
    /// The objects that the target has confirmed to have.
    pub candidates: Candidates,
    /// How many objects were offered.
    pub available: usize,
    /// How many of them the target wanted.
    pub wanted: usize,
    /// How many entries of the suffixes were no objects, or could not be looked at, so that they were not offered.
    pub others: usize,
    /// How many objects went to quarantine (the metric `quarantines`).
    pub quarantined: u64,
    /// How many bytes of objects' data were sent.
    pub bytes: u64,
    /// What it has not confirmed, so that it stays.
    pub kept: Kept,
}

/// A push that failed, and what of it is certain all the same. The log has the line already, unless the target is busy or
/// left alone.
#[derive(Debug, thiserror::Error)]
#[error("{failure}")]
pub struct SsyncError {
    failure: Box<Failure>,
    /// The objects that the target has confirmed to have, for it did not want them. None if it did not come to that. They
    /// may be removed as those of a push that went well.
    pub confirmed: Candidates,
    /// What it has not confirmed, so that it stays, as far as that is known.
    pub kept: Kept,
    /// How many objects went to quarantine all the same.
    pub quarantined: u64,
    /// How many bytes of objects' data were sent.
    pub bytes: u64,
    reached: Reached,
    is_about_objects: bool,
}

impl From<Failure> for SsyncError {
    fn from(failure: Failure) -> Self {
        let (confirmed, kept) = (Candidates::default(), Kept::default());
        let (reached, failure) = (Reached::Nothing, Box::new(failure));
        Self { failure, confirmed, kept, quarantined: 0, bytes: 0, reached, is_about_objects: false }
    }
}

impl SsyncError {
    /// What a report calls it.
    pub fn cause(&self) -> Cause {
        self.failure.cause()
    }

    /// Whether the target has its hands full: as many conversations as it takes, or another one about this partition. It
    /// may be asked again in a few seconds. Whoever does not ask again has to log the error.
    pub fn is_busy(&self) -> bool {
        self.failure.verdict() == Some(Verdict::Busy)
    }

    /// How many updates the target refused, and how many it took, if it looked at all of them and that is all that went
    /// wrong. It says no more than that: whether its disk is full is for its log only.
    pub fn refused(&self) -> Option<(u64, u64)> {
        match self.failure.verdict()? {
            Verdict::Refused { refused, done } => Some((refused, done)),
            _ => None,
        }
    }

    /// Whether all that went wrong is about single objects: the target refused them, or they cannot be read here, or it
    /// cannot look at their suffix; and all others are confirmed.
    pub fn is_about_objects(&self) -> bool {
        self.is_about_objects
    }

    /// Whether the target broke off before it had compared anything: it could not look at something of its own.
    fn is_blind(&self) -> bool {
        self.reached == Reached::Nothing && matches!(self.failure.verdict(), Some(Verdict::BrokeOff { .. }))
    }
}

/// Pushes objects; to be shared by all threads.
#[derive(Clone, Debug)]
pub struct Sender {
    options: SsyncOptions,
    limits: Limits,
    outages: Arc<Outages>,
    suspects: Arc<Suspects>,
    broken_off: Arc<BrokenOff>,
}

impl Sender {
    /// A sender.
    pub fn new(options: SsyncOptions) -> Self {
        let limits = Limits { conn: options.conn_timeout, node: options.node_timeout, http: options.http_timeout };
        let (outages, suspects) = (Arc::new(Outages::of("SSYNC of ")), Arc::default());
        Self { options, limits, outages, suspects, broken_off: Arc::default() }
    }

    /// Which receivers do not answer; whoever pushes need not ask here.
    pub fn outages(&self) -> &Outages {
        &self.outages
    }

    /// After so long at most a push is over that comes to nothing: to a receiver that does not answer, or that takes the
    /// request and then says nothing of use. One that gets on takes as long as there is something to send.
    pub fn longest_silence(&self) -> Duration {
        let Limits { conn, node, http } = self.limits;
        conn.saturating_add(node).saturating_add(http)
    }

    /// Pushes the objects of some suffixes, or asks which of them the target has.
    ///
    /// # Errors
    /// If a conversation did not come to its end, or the target refused anything. What it has confirmed all the same is
    /// in the error. The reason is logged here, in one line: an error, or of a busy receiver, which may be asked again,
    /// only a note; and one more for each suffix that turns out to be to blame. Nothing is logged of one that is left
    /// alone.
    pub fn sync(&self, push: &SsyncPush<'_>, pulse: &dyn Pulse) -> Result<Synced, SsyncError> {
        if push.suffixes.is_empty() {
            return Ok(Synced::default());
        }
        if !self.outages.may_ask(push.to) {
            return Err(SsyncError::from(Failure::LeftAlone));
        }
        let outcome = Rounds::new(self, push).go_through(pulse);
        if let Err(failed) = &outcome {
            log_failure(push, failed);
        }
        self.broken_off.note(push.to, &outcome);
        match outcome {
            Err(failed) if failed.is_blind() && push.suffixes.len() > 1 => {
                Err(Halves::new(self, push, failed).go_through(pulse))
            }
            outcome => outcome,
        }
    }
}

impl SsyncPush<'_> {
    /// Where an object is.
    fn object_path(&self, hash: ObjectHash) -> PathBuf {
        self.dir.suffix_path(hash.suffix()).join(hash.to_string())
    }
}

#[cfg(test)]
mod tests;
