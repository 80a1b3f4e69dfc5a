//! Pushes suffixes with rsync (B8).
//!
//! A push is one run of the rsync program: what is there of the suffixes is listed, rsync is started with the arguments
//! that the reference gives it (`args`), its output is read as it comes (`output`), and it is waited for, but not
//! for ever (`run`). Then the reference's lines are logged, at its levels; those of
//! a failure after which the same is tried in another way, at INFO (`retry`). What a bad end means stands in one table
//! (`exit`), and what a target lacks is asked in a dry run (`compare`).
//!
//! Several partitions go in one run, which spares each of them a process and several slow round trips. What names them
//! there goes through a list on standard input, and the time limit begins anew with each partition, once: in all they get
//! what the reference gives them in runs of their own. Everything else is as in a run for one.

mod args;
mod client;
mod compare;
mod environment;
mod error;
mod exit;
mod fsync;
mod lines;
mod output;
mod probe;
mod push;
mod retry;
mod scope;
mod trial;
mod written;

pub use self::client::{Rsync, Sent};
pub use self::compare::Lacking;
pub use self::error::PushError;
pub(crate) use self::exit::is_unknown_module;
pub use self::exit::{Again, Fault, Reached, Verdict};
pub use self::probe::{Place, Probe};
pub use self::push::{PartSuffixes, Present, Push, SentOf, Unseen};
pub use self::retry::{Retry, Untold};
pub use self::trial::{Trial, TrialError, Version};

#[cfg(test)]
mod tests;
