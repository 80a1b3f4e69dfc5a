//! The ways in which partitions go to other nodes ([`crate::job::work::Transfer`]).

pub mod dry_run;
mod proof;
mod push;
pub mod rsync;
pub mod ssync;
