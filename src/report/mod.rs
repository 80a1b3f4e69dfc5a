//! What others see of passes: figures and their forms, the recon cache, metrics, the status. Some of it is read back: what
//! an earlier process left, and what `--status` shows.

pub(crate) mod copies;
pub(crate) mod counts;
pub(crate) mod files;
pub mod holding;
pub mod html;
pub mod lines;
pub(crate) mod metrics;
pub(crate) mod orders;
pub mod pass_report;
pub(crate) mod progress;
pub mod rebalance;
pub mod recon;
pub(crate) mod rings;
pub mod stats;
pub(crate) mod status;
pub(crate) mod timeline;
pub(crate) mod units;
