//! Metrics for statsd, as the reference sends them (B12.11, B12.12): one UDP datagram each, sent without waiting for
//! anything.
//!
//! The crate cadence would do for counters, but it knows only whole milliseconds, adds the sample rate without leaving
//! out the datagrams, and resolves the host once; the rest of a client is the `format!` below.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::udp::{Preference, UdpTarget};
use crate::config::settings::StatsdSettings;
use crate::locks::lock;
use crate::python::{self, errno_text};

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

    /// The client, if there is one and this metric is among the share that is sent (`statsd_default_sample_rate`).
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
        let mut last = lock(&self.last_warning);
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

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn settings(host: Option<&str>, port: u16) -> StatsdSettings {
        StatsdSettings {
            host: host.map(str::to_owned),
            port,
            default_sample_rate: 1.0,
            sample_rate_factor: 1.0,
            metric_prefix: String::new(),
            emit_legacy: true,
        }
    }

    /// Fails if a metric's name is formatted.
    struct Unformatted;

    impl fmt::Display for Unformatted {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("formatted");
        }
    }

    #[test]
    fn without_a_host_or_with_all_turned_off_nothing_is_even_formatted() {
        let off = StatsdSettings { emit_legacy: false, ..settings(Some("127.0.0.1"), 9) };
        for settings in [settings(None, 9), settings(Some(""), 9), off] {
            let statsd = Statsd::new(&settings, "name");
            statsd.increment(Unformatted);
            statsd.update(Unformatted, 7);
            statsd.timing(Unformatted, Duration::ZERO);
        }
    }

    #[test]
    fn the_sample_rate_leaves_metrics_out_and_is_told() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = receiver.local_addr().unwrap().port();
        let sampled =
            StatsdSettings { default_sample_rate: 0.5, sample_rate_factor: 0.5, ..settings(Some("127.0.0.1"), port) };
        let statsd = Statsd::new(&sampled, "name");
        fastrand::seed(7);
        receiver.set_nonblocking(true).unwrap();
        let mut taken = 0;
        for _ in 0..1000 {
            statsd.increment("metric");
            let mut buffer = [0; 100];
            if let Ok(length) = receiver.recv(&mut buffer) {
                assert_eq!(&buffer[..length], b"name.metric:1|c|@0.25");
                taken += 1;
            }
        }
        assert!((200..300).contains(&taken), "{taken}");
    }

    #[test]
    fn a_tiny_sample_rate_is_told_in_pythons_form() {
        let tiny = StatsdSettings { sample_rate_factor: 1e-5, ..settings(Some("127.0.0.1"), 9) };
        assert_eq!(Client::new("127.0.0.1", &tiny, "name").suffix, "|@1e-05");
    }

    #[test]
    fn errors_are_told_with_pythons_target_and_seldom() {
        let client = |host: &str| Client::new(host, &settings(Some(host), 8125), "name");
        assert_eq!(client("127.0.0.1").target_repr(), "('127.0.0.1', 8125)");
        assert_eq!(client("::1").target_repr(), "('::1', 8125, 0, 0)");
        let failing = client("no-such-host.invalid");
        assert_eq!(failing.target_repr(), "('no-such-host.invalid', 8125)");
        assert_eq!((failing.may_warn(), failing.may_warn()), (true, false));
    }
}
