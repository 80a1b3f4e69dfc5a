//! A push by SSYNC: what is offered to whom, and its result.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::failure::TalkError;
use super::kept::Kept;
use super::offers::{Candidates, Reached};
use super::verdict::Verdict;
use crate::cause::Cause;
use crate::device::drive::Drive;
use crate::device::layout::PartitionDir;
use crate::format::object::ObjectHash;
use crate::names::Suffix;
use crate::ring::Device;

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

/// The result of a push.
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
    pub(super) failure: Box<TalkError>,
    /// The objects that the target has confirmed to have, for it did not want them. None if the conversation ended
    /// before that. They may be removed as those of a push that went well.
    pub confirmed: Candidates,
    /// What it has not confirmed, so that it stays, as far as that is known.
    pub kept: Kept,
    /// How many objects went to quarantine all the same.
    pub quarantined: u64,
    /// How many bytes of objects' data were sent.
    pub bytes: u64,
    pub(super) reached: Reached,
    pub(super) is_about_objects: bool,
}

impl From<TalkError> for SsyncError {
    fn from(failure: TalkError) -> Self {
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

    /// Whether the target is too busy: as many conversations as it takes, or another one about this partition. It
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
    pub(super) fn is_blind(&self) -> bool {
        self.reached == Reached::Nothing && matches!(self.failure.verdict(), Some(Verdict::BrokeOff { .. }))
    }
}

impl SsyncPush<'_> {
    /// Where an object is.
    pub(super) fn object_path(&self, hash: ObjectHash) -> PathBuf {
        self.dir.suffix_path(hash.suffix()).join(hash.to_string())
    }
}
