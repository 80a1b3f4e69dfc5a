//! What others see of us: log lines, metrics, the recon cache. Fed, never asked.

pub mod counts;
pub mod files;
pub mod html;
pub mod lines;
pub mod metrics;
pub mod pass_report;
pub mod progress;
pub mod recon;
pub mod stats;
pub mod status;
pub mod timeline;
pub mod units;
