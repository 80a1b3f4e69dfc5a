//! What became of what was pushed to a node.

use crate::cause::Cause;
use crate::names::Partition;
use crate::peer::ssync::Candidates;

/// What became of one partition's push to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The method says that all is there.
    Yes(Arrival),
    /// It was tried and failed; the log has the reason.
    No(Cause),
    /// None of the suffixes was there any more, so nothing was tried (B8.2).
    Nothing,
    /// It could not even be tried; the log has the reason.
    Broken(Cause),
    /// The list does not move: each of its partitions has to go alone.
    Slow {
        /// The one that seems to be to blame.
        suspect: Option<Partition>,
    },
}

/// Whether the node has on its disk what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It was told to write it there before it said so.
    Written,
    /// It had all of it before, and has it on its disk if that is long ago.
    Earlier,
    /// Some of it came just now, and its kernel writes it when it gets to it.
    JustNow,
}

impl Pushed {
    /// Whether it arrived, as far as the method can say.
    pub(crate) fn is_yes(self) -> bool {
        matches!(self, Self::Yes(_))
    }

    /// Why it failed, if it did.
    pub(crate) fn cause(self) -> Option<Cause> {
        match self {
            Self::No(cause) | Self::Broken(cause) => Some(cause),
            Self::Slow { .. } => Some(Cause::Timeout),
            Self::Yes(_) | Self::Nothing => None,
        }
    }

    /// Whether the node is to be told. A failed push may have got through in part, so then it is told all the same (B7.5).
    pub(crate) fn is_news(self) -> bool {
        matches!(self, Self::Yes(_) | Self::No(_))
    }

    /// Where the list does not move: which partition seems to be to blame.
    pub(crate) fn suspect_of_slow(self) -> Option<Option<Partition>> {
        match self {
            Self::Slow { suspect } => Some(suspect),
            _ => None,
        }
    }
}

/// A conversation that failed, which is logged.
pub(crate) struct Unsynced {
    pub cause: Cause,
    /// What the node has confirmed to have all the same.
    pub confirmed: Candidates,
    /// Whether all that went wrong is about single objects: the node refused them, or they cannot be read here.
    pub is_about_objects: bool,
}

impl Unsynced {
    pub(crate) fn not_begun(cause: Cause) -> Self {
        Self { cause, confirmed: Candidates::default(), is_about_objects: false }
    }
}

/// What came of giving hand-offs to a node.
pub(crate) enum HandedOver {
    /// One for each of them.
    Each(Vec<Delivery>),
    /// It takes so long that their locks cannot be held meanwhile: each has to be done alone.
    TakesLong {
        /// The partition that seems to be to blame.
        suspect: Option<Partition>,
    },
}

/// What came of giving one hand-off to a node.
pub(crate) enum Delivery {
    /// The node has all of it; that is proven.
    Held(Arrival),
    /// The node has confirmed to have it, object by object. Its object server writes to disk before it confirms.
    Confirmed {
        candidates: Candidates,
        /// Whether some of it cannot be read here, so that it was not sent.
        is_unread: bool,
    },
    /// The node does not have all of it, or that cannot be told. (No cause: nothing was left of it to be given.)
    Failed(Option<Cause>),
    /// The node has not confirmed all of it, but may have confirmed some.
    Refused(Unsynced),
}
