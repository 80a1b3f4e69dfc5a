//! What others see of us: log lines, metrics, the recon cache. Fed, never asked.

pub mod log;
pub mod recon;
pub mod statsd;
pub mod syslog;
