//! Metrics for Prometheus, as text: a file that node_exporter's textfile collector reads, so that neither a daemon nor a
//! pass from cron needs an open port.
//!
//! Counters grow from pass to pass, so a daemon keeps the sums ([`Metrics`]); a pass from cron begins with what the file
//! said before, which [`Metrics::parse`] reads back.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::pass_report::{Cause, Counts, Ending, PassReport};

/// What every name begins with.
const PREFIX: &str = "swift_object_replicator";

/// The sums of all passes, and the figures of the last one. The keys are the sample's name with its labels, as it stands
/// in the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    counters: BTreeMap<String, f64>,
    gauges: BTreeMap<String, f64>,
}

/// A family of samples: its name without the prefix, its type, and what it is.
const FAMILIES: [(&str, &str, &str); 14] = [
    ("device_attempted_partitions_total", "counter", "Partitions of a local device that were begun."),
    ("device_bytes_total", "counter", "Bytes that were sent from a local device."),
    ("device_failures_total", "counter", "Failures with partitions of a local device, by cause."),
    ("device_in_sync_partitions_total", "counter", "Partitions of a local device in which nothing differed."),
    ("device_pushed_partitions_total", "counter", "Partitions of a local device of which something was pushed."),
    ("device_removed_handoffs_total", "counter", "Hand-offs that were removed from a local device."),
    ("device_seconds_total", "counter", "Seconds that workers spent on a local device."),
    ("passes_total", "counter", "Passes that have ended, complete or not."),
    ("peer_bytes_total", "counter", "Bytes that were sent to a peer's device."),
    ("peer_failures_total", "counter", "Failures with a peer's device, by cause."),
    ("peer_pushed_partitions_total", "counter", "Partitions of which something was pushed to a peer's device."),
    ("last_completed_pass_timestamp_seconds", "gauge", "When the last complete pass ended."),
    ("last_pass_coverage_ratio", "gauge", "Which part of the partitions the last pass attempted."),
    ("last_pass_duration_seconds", "gauge", "How long the last pass took."),
];

impl Metrics {
    /// Adds a pass that has ended.
    pub fn add(&mut self, report: &PassReport) {
        for (name, device) in &report.devices {
            let labels = format!("device={}", quoted(name));
            let counts = &device.counts;
            self.count("device_attempted_partitions_total", &labels, counts.attempted as f64);
            self.count("device_in_sync_partitions_total", &labels, counts.in_sync as f64);
            self.count("device_pushed_partitions_total", &labels, counts.pushed as f64);
            self.count("device_removed_handoffs_total", &labels, counts.removed as f64);
            self.count("device_bytes_total", &labels, counts.bytes as f64);
            self.count("device_seconds_total", &labels, counts.seconds);
            self.count_failures("device_failures_total", &labels, counts);
        }
        for (name, counts) in &report.peers {
            let labels = format!("peer={}", quoted(name));
            self.count("peer_pushed_partitions_total", &labels, counts.pushed as f64);
            self.count("peer_bytes_total", &labels, counts.bytes as f64);
            self.count_failures("peer_failures_total", &labels, counts);
        }
        let result = if report.ending == Ending::Complete { "complete" } else { "incomplete" };
        self.count("passes_total", &format!("result={}", quoted(result)), 1.0);
        self.set("last_pass_duration_seconds", report.took);
        self.set("last_pass_coverage_ratio", report.coverage());
        if report.ending == Ending::Complete {
            self.set("last_completed_pass_timestamp_seconds", report.began + report.took);
        }
    }

    fn count_failures(&mut self, family: &str, labels: &str, counts: &Counts) {
        for cause in Cause::ALL {
            let labels = format!("{labels},cause={}", quoted(cause.name()));
            // A counter that appears with its first failure has no rate for it; but one for each peer and cause from the
            // beginning would be too many.
            if let Some(&count) = counts.failed.get(&cause) {
                self.count(family, &labels, count as f64);
            }
        }
    }

    fn count(&mut self, family: &str, labels: &str, by: f64) {
        *self.counters.entry(format!("{PREFIX}_{family}{{{labels}}}")).or_default() += by;
    }

    fn set(&mut self, family: &str, value: f64) {
        self.gauges.insert(format!("{PREFIX}_{family}"), value);
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (family, kind, help) in FAMILIES {
            let name = format!("{PREFIX}_{family}");
            let samples = if kind == "counter" { &self.counters } else { &self.gauges };
            let own: Vec<_> = samples.iter().filter(|(sample, _)| family_of(sample) == name).collect();
            if own.is_empty() {
                continue;
            }
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (sample, value) in own {
                let _ = writeln!(text, "{sample} {value}");
            }
        }
        text
    }

    /// What a file says that this program wrote; lines that mean nothing here are left out.
    pub fn parse(text: &str) -> Self {
        let mut metrics = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((sample, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let family = family_of(sample).strip_prefix(PREFIX).and_then(|name| name.strip_prefix('_'));
            match FAMILIES.iter().find(|(name, ..)| Some(*name) == family) {
                Some((_, "counter", _)) => drop(metrics.counters.insert(sample.to_owned(), value)),
                Some(_) => drop(metrics.gauges.insert(sample.to_owned(), value)),
                None => {}
            }
        }
        metrics
    }
}

fn family_of(sample: &str) -> &str {
    sample.split('{').next().unwrap_or(sample)
}

/// A label's value with its quotes.
fn quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::super::pass_report::example::report;
    use super::*;

    #[test]
    fn every_family_is_described_once_before_its_samples() {
        let mut metrics = Metrics::default();
        let mut complete = report();
        complete.ending = Ending::Complete;
        metrics.add(&complete);
        let text = metrics.text();
        for (family, kind, _) in FAMILIES {
            let name = format!("{PREFIX}_{family}");
            assert_eq!(text.matches(&format!("# TYPE {name} {kind}\n")).count(), 1, "{name}\n{text}");
            let first = text.find(&format!("\n{name}")).unwrap_or_else(|| panic!("no sample of {name}\n{text}"));
            assert!(text.find(&format!("# HELP {name} ")).unwrap() < first, "{name}");
        }
        assert!(
            text.contains("\nswift_object_replicator_device_failures_total{device=\"sdc\",cause=\"full\"} 5\n"),
            "{text}"
        );
        assert!(
            text.contains("\nswift_object_replicator_last_completed_pass_timestamp_seconds 1800000754\n"),
            "{text}"
        );
    }

    #[test]
    fn counters_grow_over_passes_and_over_processes() {
        let mut metrics = Metrics::default();
        metrics.add(&report());
        let mut next = Metrics::parse(&metrics.text());
        assert_eq!(next, metrics);
        next.add(&report());
        let text = next.text();
        assert!(text.contains("_device_attempted_partitions_total{device=\"sda\"} 2400\n"), "{text}");
        assert!(text.contains("_passes_total{result=\"incomplete\"} 2\n"), "{text}");
        assert!(!text.contains("last_completed_pass"), "no pass was complete: {text}");
    }

    #[test]
    fn a_file_of_others_or_junk_counts_for_nothing() {
        let text =
            "node_load1 0.5\nswift_object_replicator_bogus 1\n\u{0}\n{} {}\nswift_object_replicator_passes_total x";
        assert_eq!(Metrics::parse(text), Metrics::default());
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(quoted("a\"b\\c\nd"), "\"a\\\"b\\\\c\\nd\"");
    }
}
