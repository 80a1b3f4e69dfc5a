//! The pickles of suffix hashes.

use crate::format::hashes::{RemoteHashes, SuffixHashes};

/// What `hashes.pkl` says.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredHashes {
    /// The suffixes.
    pub hashes: SuffixHashes,
    /// Whether the list of suffixes can be trusted.
    pub valid: bool,
    /// When this was written, as Unix time; -1 if it does not say.
    pub updated: f64,
}

/// Why bytes are no pickle of suffix hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// The top of it is no dict.
    #[error("not a pickled dict")]
    NotADict,
}

/// Reads `hashes.pkl` (B6.4).
pub fn decode_stored(_bytes: &[u8]) -> Result<StoredHashes, PickleError> {
    todo!()
}

/// Writes `hashes.pkl`, byte for byte as Swift does (B6.2).
pub fn encode_stored(_stored: &StoredHashes) -> Vec<u8> {
    todo!()
}

/// Reads the body of an answer to REPLICATE (B7.3).
pub fn decode_remote(_bytes: &[u8]) -> Result<RemoteHashes, PickleError> {
    todo!()
}
