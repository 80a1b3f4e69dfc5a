//! Bounded codecs of what others write: pickles, timestamps. Nothing in here touches a disk or a socket.

pub mod hashes;
pub mod md5;
pub mod metadata;
pub mod object;
mod opcodes;
pub mod pickle;
pub mod timestamp;
