//! The log (B12.1-B12.3).

use std::sync::Arc;

#[doc(hidden)]
pub use ::log as facade;

use crate::config::settings::LogSettings;

/// The target that makes a record a NOTICE.
pub const NOTICE: &str = "swift_object_replicator::notice";
/// The target that makes a record CRITICAL.
pub const CRITICAL: &str = "swift_object_replicator::critical";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the logger was set up before")]
pub struct InitError(#[from] ::log::SetLoggerError);

/// Logs at NOTICE: between INFO and WARNING, shown when INFO is.
#[macro_export]
macro_rules! notice {
    ($($message:tt)+) => {
        $crate::report::log::facade::info!(target: $crate::report::log::NOTICE, $($message)+)
    };
}

/// Logs at CRITICAL, above ERROR.
#[macro_export]
macro_rules! critical {
    ($($message:tt)+) => {
        $crate::report::log::facade::error!(target: $crate::report::log::CRITICAL, $($message)+)
    };
}

/// Logs at ERROR what the reference logs without its logger, and so in another shape (B1.15).
#[macro_export]
macro_rules! root_error {
    ($($message:tt)+) => {
        $crate::report::log::facade::error!("STDERR: ERROR:root:{}", format_args!($($message)+))
    };
}

/// Makes this the process's log.
pub fn init(_settings: &LogSettings, _verbose: bool) -> Result<(), InitError> {
    todo!()
}

/// From now on every line of this thread begins with the prefix, like `[worker 1/2 pid=7] ` (B5.21).
pub fn set_thread_prefix(_prefix: impl Into<Arc<str>>) {
    todo!()
}

/// This thread's prefix, to be set in a thread that works for this one.
pub fn thread_prefix() -> Arc<str> {
    todo!()
}
