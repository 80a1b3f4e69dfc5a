//! A drop-in replacement for OpenStack Swift's object replicator.
//!
//! Data goes one way: settings and rings make jobs, jobs wait in lanes (one per local device), workers of a fixed pool
//! take them, look at the local tree ([`device`]) and talk to other nodes ([`peer`]), and count what they did; the
//! counts are reported ([`report`]). Nothing below [`pass`] knows of passes.
//!
//! References like *B6.9* in the documentation are numbers of facts about the behaviour of Swift's own replicator; the
//! list stands in `docs/behaviour.md`.

pub mod cause;
pub mod check;
pub mod child;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod device;
pub mod dry_run;
pub mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod job;
pub mod log;
pub mod names;
pub mod pass;
pub mod peer;
pub mod printable;
pub mod pulse;
pub mod python;
pub mod regular;
pub mod report;
pub mod resolver;
pub mod ring;
pub mod status;
pub mod sys;
pub mod user;
pub mod vitals;
