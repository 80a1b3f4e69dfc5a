//! Why a pickle cannot be read any further.

/// Why a pickle cannot be read any further. What that says of the whole, its reader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::format) enum PickleFault {
    /// The bytes end before an instruction or its argument does.
    Ended,
    /// A line does not end within its limit.
    LongLine,
    /// An instruction that does not fit what came before, or an argument that does not fit its instruction.
    Malformed(&'static str),
    /// Beyond a limit. Python has none, so it is no proof that the pickle is damaged.
    TooMany(&'static str),
}
