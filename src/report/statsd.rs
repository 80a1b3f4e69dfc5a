//! Metrics for statsd, as the reference sends them (B12.11, B12.12): one UDP datagram each, thrown out and forgotten.
//!
//! The crate cadence would do for counters, but it knows only whole milliseconds, adds the sample rate without leaving out
//! the datagrams, and resolves the host once; what is left of a client then is the `format!` below.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::udp::{Preference, UdpTarget};
use super::{errno_text, python};
use crate::config::settings::StatsdSettings;

/// Errors are logged no more often than this: they tend to come with each metric.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Sends metrics to statsd; costs nothing where none is configured.
pub struct Statsd(Option<Client>);

struct Client {
    settings: StatsdSettings,
    target: UdpTarget,
    /// What every name begins with.
    prefix: String,
    /// The share of metrics that are sent; all of them from 1 on.
    sample_rate: f64,
    /// How every datagram ends: with the sample rate, if it is below 1.
    suffix: String,
    last_warning: Mutex<Option<Instant>>,
}

impl Statsd {
    /// A sender for these settings. `log_name` becomes part of each metric's name.
    pub fn new(settings: &StatsdSettings, log_name: &str) -> Self {
        match settings.host.as_deref() {
            Some(host) if !host.is_empty() && settings.emit_legacy => Self(Some(Client::new(host, settings, log_name))),
            _ => Self(None),
        }
    }

    /// Counts one. A name of several parts is best handed over as `format_args!`, which is not formatted without need.
    pub fn increment(&self, name: impl fmt::Display) {
        self.update(name, 1);
    }

    /// Counts several.
    pub fn update(&self, name: impl fmt::Display, by: i64) {
        if let Some(client) = self.sampled() {
            client.send(name, by, "c");
        }
    }

    /// Tells how long something took.
    pub fn timing(&self, name: impl fmt::Display, took: Duration) {
        if let Some(client) = self.sampled() {
            let milliseconds = python::round(took.as_secs_f64() * 1000.0, 4);
            client.send(name, python::repr_float(milliseconds), "ms");
        }
    }

    /// The client, if there is one and it is this metric's luck to be sent.
    fn sampled(&self) -> Option<&Client> {
        self.0.as_ref().filter(|client| !(client.sample_rate < 1.0 && fastrand::f64() >= client.sample_rate))
    }
}

impl Client {
    fn new(host: &str, settings: &StatsdSettings, log_name: &str) -> Self {
        let sample_rate = settings.default_sample_rate * settings.sample_rate_factor;
        let parts = [settings.metric_prefix.as_str(), log_name];
        Self {
            settings: settings.clone(),
            target: UdpTarget::new(host, settings.port, Preference::Version4),
            prefix: parts.iter().filter(|part| !part.is_empty()).map(|part| format!("{part}.")).collect(),
            sample_rate,
            suffix: if sample_rate < 1.0 { format!("|@{}", python::repr_float(sample_rate)) } else { String::new() },
            last_warning: Mutex::new(None),
        }
    }

    fn send(&self, name: impl fmt::Display, value: impl fmt::Display, kind: &str) {
        let datagram = format!("{}{name}:{value}|{kind}{}", self.prefix, self.suffix);
        if let Err(error) = self.target.send(datagram.as_bytes())
            && self.may_warn()
        {
            log::warn!("Error sending UDP message to {}: {}", self.target_repr(), errno_text(&error));
        }
    }

    fn may_warn(&self) -> bool {
        let mut last = self.last_warning.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL);
        if may {
            *last = Some(Instant::now());
        }
        may
    }

    /// The target as Python shows the tuple.
    fn target_repr(&self) -> String {
        let host = python::repr_str(self.settings.host.as_deref().unwrap_or_default());
        let version6 = self.target.address().filter(|address| address.is_ipv6());
        format!("({host}, {}{})", self.settings.port, if version6.is_some() { ", 0, 0" } else { "" })
    }
}
