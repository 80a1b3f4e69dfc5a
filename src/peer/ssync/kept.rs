//! What a target has not confirmed to have, so that it stays here: how much, and a few names of it for the log.

use std::fmt;
use std::path::PathBuf;

/// So many are named.
const MAX_NAMED: usize = 3;

/// What stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// How many objects and other entries of the suffixes.
    pub count: usize,
    /// How many of them could not be sent, for a reason that is to be looked for here.
    pub unsent: usize,
    /// The first few of them.
    pub examples: Vec<KeptEntry>,
}

/// Something that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptEntry {
    /// Where it is.
    pub path: PathBuf,
    /// Why it stays.
    pub why: Why,
}

/// Why something stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is no object, or could not be looked at, so it was not offered.
    NotOffered,
    /// It could not be sent, or changed meanwhile. The log has the reason.
    NotSent,
    /// The target has not confirmed to have it, though all of it was sent.
    Refused,
    /// The target lacks it, and nothing was to be sent.
    Lacking,
    /// The conversation ended before its turn came.
    NotReached,
    /// The target has it, but its files here may not go: something outdated is beside them, or they are behind a link.
    NotRemovable,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOffered => "no object, or not readable",
            Self::NotSent => "could not be sent",
            Self::Refused => "not confirmed by the target",
            Self::Lacking => "not at the target",
            Self::NotReached => "not sent yet",
            Self::NotRemovable => "outdated files beside it, or behind a link",
        })
    }
}

impl Kept {
    /// Adds some, of which a few are named.
    pub(super) fn add(&mut self, count: usize, paths: impl IntoIterator<Item = PathBuf>, why: Why) {
        self.count += count;
        self.unsent += if why == Why::NotSent { count } else { 0 };
        let room = MAX_NAMED.saturating_sub(self.examples.len());
        self.examples.extend(paths.into_iter().take(room).map(|path| KeptEntry { path, why }));
    }

    /// Adds what stays of other suffixes.
    pub(super) fn extend(&mut self, others: Self) {
        self.count += others.count;
        self.unsent += others.unsent;
        self.examples.extend(others.examples);
        self.examples.truncate(MAX_NAMED);
    }
}
