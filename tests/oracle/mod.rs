//! Formats and algorithms held against the reference, with generated inputs.

mod config;
mod hashing;
mod peer;
mod pickles;
mod recon;
mod report;
mod ring_local;
mod rings;
mod ssync;
mod ssync_talk;
mod statsd;
