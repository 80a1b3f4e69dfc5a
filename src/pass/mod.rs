//! One replication pass.

pub mod jobs;
pub mod revert;
pub mod schedule;
pub mod stats;
pub mod update;
pub mod watchdog;
