//! Helpers of the integration tests, the demo and the benchmarks.
#![allow(dead_code)] // each of its users takes a part of it

pub mod oracle;
