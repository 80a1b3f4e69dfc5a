//! Helpers of the integration tests, the demo and the benchmarks.
#![allow(dead_code)] // each of its users takes a part of it

pub mod cluster;
pub mod completions;
pub mod daemon;
pub mod faulty;
pub mod guard;
pub mod hang;
pub mod lab;
pub mod node;
pub mod object;
pub mod oracle;
pub mod peer;
pub mod promtool;
pub mod replicator;
pub mod rsync;
pub mod seed;
pub mod supervisor;
pub mod syslog;
pub mod tree;
