//! `swift.conf`: the salts of object hashes and the storage policies (B2.11-B2.18).

use crate::names::PolicyIndex;

/// How a policy keeps its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    Replication,
    ErasureCoding,
}

/// A storage policy (B2.14).
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub index: PolicyIndex,
    pub name: String,
    pub aliases: Vec<String>,
    pub kind: PolicyKind,
    pub is_default: bool,
    pub is_deprecated: bool,
}

/// What `swift.conf` says.
#[derive(Clone, Debug, PartialEq)]
pub struct SwiftConf {
    pub hash_path_prefix: Vec<u8>,
    pub hash_path_suffix: Vec<u8>,
    /// In the order of the file (B2.18).
    pub policies: Vec<Policy>,
}
