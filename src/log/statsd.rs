//! Metrics for statsd, as the reference sends them (B12.11, B12.12): one UDP datagram each, sent without waiting for
//! anything.
//!
//! With `statsd_label_mode` each goes out a second time, with labels, in the forms in which the reference's object server
//! sends its own: a name that says what is counted, and device and policy beside it. (The reference's replicator has none.)
//!
//! The crate cadence would do for counters, but it knows only whole milliseconds, adds the sample rate without leaving
//! out the datagrams, and resolves the host once; the rest of a client is the `format!` below.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::udp::{Preference, UdpTarget};
use crate::config::settings::{LabelMode, StatsdLabels, StatsdSettings};
use crate::locks::lock;
use crate::python::{self, errno_text};

/// Errors are logged no more often than this: they tend to come with each metric.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// What the name of every metric with labels begins with.
const LABELLED: &str = "swift_object_replicator_";

/// What a metric is about, for those with labels.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// The local device.
    pub device: &'a str,
    /// The policy's index.
    pub policy: u32,
}

/// Sends metrics to statsd; costs nothing where none is configured.
pub struct Statsd(Option<Client>);

struct Client {
    settings: StatsdSettings,
    target: UdpTarget,
    /// What every name without labels begins with.
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
            Some(host) if !host.is_empty() && (settings.emit_legacy || settings.labels.is_some()) => {
                Self(Some(Client::new(host, settings, log_name)))
            }
            _ => Self(None),
        }
    }

    /// Counts one. The name without labels is best handed over as `format_args!`, which is not formatted without need;
    /// `labelled` is the other one, without what all begin with.
    pub fn increment(&self, name: impl fmt::Display, labelled: &str, labels: Labels<'_>) {
        self.update(name, labelled, labels, 1);
    }

    /// Counts several.
    pub fn update(&self, name: impl fmt::Display, labelled: &str, labels: Labels<'_>, by: i64) {
        self.send(name, labelled, labels, format_args!("{by}|c"));
    }

    /// Tells how long something took.
    pub fn timing(&self, name: impl fmt::Display, labelled: &str, labels: Labels<'_>, took: Duration) {
        if self.0.is_some() {
            let milliseconds = python::repr_float(python::round(took.as_secs_f64() * 1000.0, 4));
            self.send(name, labelled, labels, format_args!("{milliseconds}|ms"));
        }
    }

    /// Sends a metric by both of its names, as far as they are wanted.
    fn send(&self, name: impl fmt::Display, labelled: &str, labels: Labels<'_>, value: fmt::Arguments<'_>) {
        let Some(client) = &self.0 else { return };
        if client.settings.emit_legacy && client.is_lucky() {
            client.send(&format!("{}{name}:{value}{}", client.prefix, client.suffix));
        }
        if let Some(form) = &client.settings.labels
            && client.is_lucky()
        {
            client.send(&line(form, labelled, labels, value, &client.suffix));
        }
    }
}

/// A metric with its labels, in the order of their names, as the reference writes them.
fn line(form: &StatsdLabels, name: &str, labels: Labels<'_>, value: fmt::Arguments<'_>, suffix: &str) -> String {
    let own = [("device", plain(labels.device)), ("policy", labels.policy.to_string())];
    let users = form.users.iter().map(|(key, value)| (key.as_str(), value.clone()));
    let mut labels: Vec<_> = own.into_iter().chain(users).collect();
    labels.sort();
    let joined = |before: &str, between: &str, equals: &str| {
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}{equals}{value}")).collect();
        format!("{before}{}", labels.join(between))
    };
    match form.mode {
        LabelMode::Librato => format!("{LABELLED}{name}{}:{value}{suffix}", joined("#", ",", "=")),
        LabelMode::Influxdb => format!("{LABELLED}{name}{}:{value}{suffix}", joined(",", ",", "=")),
        LabelMode::Graphite => format!("{LABELLED}{name}{}:{value}{suffix}", joined(";", ";", "=")),
        LabelMode::Dogstatsd => format!("{LABELLED}{name}:{value}{suffix}{}", joined("|#", ",", ":")),
    }
}

/// A label's value without what would end it, or the datagram's line.
fn plain(value: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_.-".contains(c);
    value.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
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

    /// Whether a metric is among the share that is sent (`statsd_default_sample_rate`).
    fn is_lucky(&self) -> bool {
        !(self.sample_rate < 1.0 && fastrand::f64() >= self.sample_rate)
    }

    fn send(&self, line: &str) {
        if let Err(error) = self.target.send(line.as_bytes())
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
            labels: None,
        }
    }

    const SDA: Labels<'_> = Labels { device: "sda", policy: 1 };

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
            statsd.increment(Unformatted, "x", SDA);
            statsd.update(Unformatted, "x", SDA, 7);
            statsd.timing(Unformatted, "x", SDA, Duration::ZERO);
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
            statsd.increment("metric", "x", SDA);
            let mut buffer = [0; 100];
            if let Ok(length) = receiver.recv(&mut buffer) {
                assert_eq!(&buffer[..length], b"name.metric:1|c|@0.25");
                taken += 1;
            }
        }
        assert!((200..300).contains(&taken), "{taken}");
    }

    #[test]
    fn each_metric_goes_out_by_both_names_or_by_the_one_that_is_wanted() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_nonblocking(true).unwrap();
        let plain = settings(Some("127.0.0.1"), receiver.local_addr().unwrap().port());
        let users = vec![("user_site".to_owned(), "b.1".to_owned())];
        let labels = Some(StatsdLabels { mode: LabelMode::Graphite, users });
        let both = StatsdSettings { labels, metric_prefix: "pre".to_owned(), ..plain };
        let labelled = StatsdSettings { emit_legacy: false, ..both.clone() };
        let old = "pre.name.partition.count.sda:2|c";
        let new = "swift_object_replicator_partitions;device=sda;policy=1;user_site=b.1:2|c";
        for (settings, expected) in [(both, &[old, new][..]), (labelled, &[new])] {
            Statsd::new(&settings, "name").update(format_args!("partition.count.{}", SDA.device), "partitions", SDA, 2);
            let mut sent = Vec::new();
            let mut buffer = [0; 200];
            while let Ok(length) = receiver.recv(&mut buffer) {
                sent.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
            }
            assert_eq!(sent, expected);
        }
    }

    #[test]
    fn a_device_of_any_name_keeps_to_its_label() {
        assert_eq!(plain("d1.x-y_z"), "d1.x-y_z");
        assert_eq!(plain("a,b|c;d#e:f=g h\n"), "a_b_c_d_e_f_g_h_");
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
