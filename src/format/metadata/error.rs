//! Why bytes are no metadata.

use crate::format::opcodes::fault::PickleFault;

/// Why bytes are no metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// No bytes at all. The text is the reference's (B14.8).
    #[error("Ran out of input")]
    Empty,
    /// The bytes end before the pickle does.
    #[error("pickle data was truncated")]
    Truncated,
    /// A byte that is no opcode.
    #[error("invalid load key, '\\x{0:02x}'.")]
    NotAnOpcode(u8),
    /// It asks for a function or class that the reference forbids too.
    #[error("global '{0}' is forbidden")]
    Global(String),
    /// Opcodes or arguments that do not fit each other.
    #[error("malformed pickle: {0}")]
    Malformed(&'static str),
    /// A pickle that the reference may be able to read, of something that no version of Swift stores.
    #[error("pickle holds {0}, which no metadata does")]
    Foreign(&'static str),
}

impl MetadataError {
    /// Whether the reference cannot read it either, so that the file is damaged beyond doubt.
    pub fn is_corrupt(&self) -> bool {
        !matches!(self, Self::Foreign(_))
    }
}

impl From<PickleFault> for MetadataError {
    fn from(fault: PickleFault) -> Self {
        match fault {
            PickleFault::Ended => Self::Truncated,
            PickleFault::LongLine => Self::Foreign("a name without end"),
            PickleFault::Malformed(what) => Self::Malformed(what),
            PickleFault::TooMany(what) => Self::Foreign(what),
        }
    }
}
