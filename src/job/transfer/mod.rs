//! The ways in which partitions go to other nodes ([`crate::job::work::Transfer`]).

pub(crate) mod dry_run;
mod proof;
mod push;
pub(crate) mod rsync;
pub(crate) mod ssync;
