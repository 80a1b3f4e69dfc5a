//! The process's share of the processors and disks: `nice_priority`, `ionice_class`, `ionice_priority` (B1.21).
//!
//! It is set before any thread starts, for on Linux it is each thread's own and inherited. What cannot be set is logged,
//! and no reason to stop.

use log::{debug, error};

use crate::config::settings::Settings;
use crate::sys;

/// Sets what the settings ask for.
pub(super) fn apply(settings: &Settings) {
    if let Some(priority) = settings.nice_priority {
        // The kernel holds it at its own limits, -20 and 19.
        let clamped = priority.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        match rustix::process::setpriority_process(None, clamped) {
            Ok(()) => debug!("set nice priority to {priority}"),
            Err(error) => error!("Unable to modify nice priority: {error}"),
        }
    }
    if let Some((class, priority)) = settings.ionice {
        let class = class as i64;
        match sys::set_io_priority(class << 13 | priority) {
            Ok(()) => debug!("set ionice class {class} priority {priority}"),
            Err(error) => error!("Unable to modify ionice priority: {error}"),
        }
    }
}
