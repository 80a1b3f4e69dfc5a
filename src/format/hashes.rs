//! The hashes of a partition's suffixes, as `hashes.pkl` and REPLICATE answers carry them.

use crate::names::Suffix;

/// An MD5 digest: the hash of one suffix (B6.13).
pub type Digest = [u8; 16];

/// The suffixes of a local partition with their hashes, in the order in which they were learned.
///
/// `None` stands for a suffix that must be hashed again, or could not be (B6.11).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SuffixHashes {
    entries: Vec<(Suffix, Option<Digest>)>,
}

/// What a peer said of one suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteHash {
    /// The peer could not hash it, or has yet to.
    Unknown,
    /// The hash.
    Known(Digest),
    /// Something that no suffix hashes to; it differs from everything.
    Junk,
}

/// A peer's answer to REPLICATE: its suffixes with their hashes (B7.3).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteHashes {
    entries: Vec<(Suffix, RemoteHash)>,
}
