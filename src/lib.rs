//! A drop-in replacement for OpenStack Swift's object replicator.
//!
//! Data goes one way: settings and rings make jobs, jobs wait in lanes (one per local device), workers of a fixed pool
//! take them, look at the local tree ([`device`]) and talk to other nodes ([`peer`]), and count what they did; the
//! counts are reported ([`report`]).
//!
//! References like *B6.9* in the documentation are numbers of facts about the behaviour of Swift's own replicator; the
//! list stands in `docs/behaviour.md`.

#![warn(unreachable_pub)]

pub(crate) mod bounded;
pub mod cause;
pub mod check;
pub(crate) mod child;
pub mod cli;
pub(crate) mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod device;
pub mod dry_run;
pub mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod heartbeat;
pub(crate) mod heartbeats;
pub(crate) mod job;
pub(crate) mod locks;
pub mod log;
pub mod names;
pub(crate) mod orders;
pub(crate) mod pass;
pub mod peer;
pub(crate) mod printable;
pub mod python;
pub(crate) mod regular;
pub mod report;
pub(crate) mod resolver;
pub mod ring;
pub mod status;
#[expect(unsafe_code, reason = "system calls that neither std nor rustix has; nothing else may be unsafe")]
pub mod sys;
pub(crate) mod user;
