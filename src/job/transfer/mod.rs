//! The ways in which partitions go to other nodes.

pub mod dry_run;
pub mod effects;
pub mod proof;
pub mod rsync;
pub mod ssync;
