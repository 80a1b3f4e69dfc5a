//! Why bytes are no pickle of suffix hashes.

use crate::format::opcodes::fault::PickleFault;

/// Why bytes are no pickle of suffix hashes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// Longer than any partition's hashes can be.
    #[error("a pickle of {0} bytes is too long")]
    TooLong(usize),
    /// The bytes end before the pickle does.
    #[error("pickle ends early")]
    Truncated,
    /// An opcode that no dict of hashes needs.
    #[error("pickle has opcode {0:#04x}, which no dict of hashes needs")]
    Opcode(u8),
    /// It asks for a function or class; only an attack or another format does.
    #[error("global '{0}' is forbidden")]
    Global(String),
    /// An opcode that does not fit what came before, or an argument that does not fit its opcode.
    #[error("malformed pickle: {0}")]
    Malformed(&'static str),
    /// A pickle of something else.
    #[error("not a pickled dict")]
    NotADict,
}

impl From<PickleFault> for PickleError {
    fn from(fault: PickleFault) -> Self {
        match fault {
            PickleFault::Ended | PickleFault::LongLine => Self::Truncated,
            PickleFault::Malformed(what) | PickleFault::TooMany(what) => Self::Malformed(what),
        }
    }
}
