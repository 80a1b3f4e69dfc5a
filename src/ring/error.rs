//! Why a ring file is refused.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A ring file that was not loaded. The text names the file and the reason.
#[derive(Debug, Error)]
#[error("cannot load ring {}: {fault}", path.display())]
pub struct RingError {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub fault: Fault,
}

/// What is wrong with a ring file.
#[derive(Debug, Error)]
pub enum Fault {
    /// The system could not open or read it.
    #[error("{0}")]
    Io(io::Error),
    /// It is not gzip, its deflate stream is broken, or the checksum of the stream is another.
    #[error("its compressed data is damaged: {0}")]
    Damaged(io::Error),
    /// It ends too early.
    #[error("it is truncated: it ends within its {0}")]
    Truncated(&'static str),
    /// The format of Swift's first years, a pickled dictionary (B3.2).
    #[error(
        "it is a pickled ring (version 0), which Swift cannot read since 2.36 either; \
         write it anew with: swift-ring-builder {builder} write_ring"
    )]
    Pickled { builder: String },
    #[error("it is not a ring file: it starts with \"{}\"", .0.escape_ascii())]
    Magic(Vec<u8>),
    #[error("it has the unknown version {0}")]
    Version(u16),
    /// A number in it is larger than that of any ring that could be of use.
    #[error("it claims {claim} {what}, more than the {limit} that are read")]
    TooLarge { what: &'static str, claim: u64, limit: u64 },
    /// The JSON of a part of it is broken or does not describe what it should.
    #[error("its {part} cannot be understood: {reason}")]
    Json { part: &'static str, reason: serde_json::Error },
    #[error("its part_shift is {0}, more than 32")]
    PartShift(u32),
    #[error("its device ids have {0} bytes, neither 2 nor 4")]
    DeviceIdBytes(u32),
    #[error("its table ends in the middle of a device id")]
    SplitId,
    /// Only the last row of a ring may be short, and not the first (B3.4).
    #[error("its table has {found} entries, too few for {replicas} replicas of {partitions} partitions")]
    ShortTable { found: u64, replicas: u64, partitions: u64 },
    #[error("it goes on after its table")]
    Surplus,
    #[error("it assigns a partition to device {id}, but lists {devices} devices")]
    UnknownDevice { id: u32, devices: usize },
    /// The index of a version 2 ring is found by its distance from the end of the file, which only the original
    /// compression keeps (B3.7).
    #[error("its index is not where Swift writes it (was the file recompressed or cut off?)")]
    Recompressed,
    #[error("it has no section {0}")]
    NoSection(&'static str),
    #[error("its section {0} has another size than its index says")]
    SectionSize(&'static str),
    #[error("its section {section} has a checksum of the unknown kind {method:?}")]
    ChecksumMethod { section: &'static str, method: String },
    #[error("its section {section} has the checksum {found}, not {expected:?}")]
    Checksum { section: &'static str, found: String, expected: String },
}

impl Fault {
    /// The fault behind an error that came while a part of a compressed file was read.
    pub(super) fn reading(part: &'static str, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Truncated(part)
        } else if error.raw_os_error().is_some() {
            Self::Io(error)
        } else {
            Self::Damaged(error)
        }
    }
}
