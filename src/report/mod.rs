//! What others see of us: log lines, metrics, the recon cache. Fed, never asked.

pub(crate) mod counts;
pub(crate) mod files;
pub mod html;
pub mod lines;
pub(crate) mod metrics;
pub mod pass_report;
pub(crate) mod progress;
pub mod recon;
pub mod stats;
pub(crate) mod status;
pub(crate) mod timeline;
pub(crate) mod units;
