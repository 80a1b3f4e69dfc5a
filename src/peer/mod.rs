//! How to talk to another node: ask for its hashes, push to it. Knows nothing of local devices but paths.

pub mod module;
pub mod reaper;
pub mod replicate;
pub mod rsync;
pub mod ssync;
