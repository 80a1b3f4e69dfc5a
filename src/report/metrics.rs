//! Metrics for Prometheus, as text: a file that node_exporter's textfile collector reads, so that neither a daemon nor a
//! pass from cron needs an open port.
//!
//! Counters grow from pass to pass and from process to process: whoever begins reads back what the file says
//! ([`Metrics::parse`]). Everything is by device or peer, and every device is of one group of workers, so that groups
//! may add their passes in any order.

mod handoffs;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::counts::Counts;
use super::pass_report::{Ending, PassReport, coverage};
use crate::cause::Cause;
use crate::printable::printable;
use handoffs::Holdings;

/// What every name begins with.
const PREFIX: &str = "swift_object_replicator";

/// The sums of all passes, and the figures of each device's last one. The keys are the sample's name with its labels, as
/// it stands in the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Metrics {
    counters: BTreeMap<String, f64>,
    gauges: BTreeMap<String, f64>,
    /// What the devices hold, as their last passes found it; not read back, for that is known anew soon.
    holdings: Holdings,
}

/// A family of samples: its name without the prefix, its type, and what it is.
const FAMILIES: [(&str, &str, &str); 17] = [
    ("device_attempted_partitions_total", "counter", "Partitions of a local device that were begun."),
    (
        "device_failures_total",
        "counter",
        "Failures with partitions of a local device, by cause, and by the side that it is about.",
    ),
    ("device_in_sync_partitions_total", "counter", "Partitions of a local device in which nothing differed."),
    ("device_pushed_partitions_total", "counter", "Partitions of a local device of which something was pushed."),
    ("device_removed_handoffs_total", "counter", "Hand-offs that were removed from a local device."),
    ("device_sent_bytes_total", "counter", "Sizes of the files that were sent from a local device."),
    ("device_work_seconds_total", "counter", "Seconds that workers spent on a local device."),
    ("peer_attempted_partitions_total", "counter", "Partitions that a peer's device was asked about or sent."),
    ("peer_failures_total", "counter", "Failures with a peer's device, by cause."),
    ("peer_pushed_partitions_total", "counter", "Partitions of which something was pushed to a peer's device."),
    ("peer_sent_bytes_total", "counter", "Sizes of the files that were sent to a peer's device."),
    ("peer_work_seconds_total", "counter", "Seconds that workers spent with a peer's device."),
    ("passes_total", "counter", "Passes that have ended; groups of workers count each their own."),
    (COMPLETED, "gauge", "When the last pass ended that had its turn with every partition of a local device; 0: none."),
    (COVERAGE, "gauge", "Which part of a local device's partitions its last pass attempted."),
    (DURATION, "gauge", "How long the last pass over a local device took."),
    (OLDEST, "gauge", "The oldest of the devices' last completed passes; 0: a device has none."),
];

const COMPLETED: &str = "device_last_completed_pass_timestamp_seconds";
const COVERAGE: &str = "device_last_pass_coverage_ratio";
const DURATION: &str = "device_last_pass_duration_seconds";
const OLDEST: &str = "oldest_completed_pass_timestamp_seconds";

impl Metrics {
    /// Adds a pass that has ended.
    pub(crate) fn add(&mut self, report: &PassReport) {
        for (name, device) in &report.devices {
            let labels = format!("device={}", quoted(name));
            let counts = &device.counts;
            self.count("device_in_sync_partitions_total", &labels, counts.in_sync as f64);
            self.count("device_removed_handoffs_total", &labels, counts.removed as f64);
            self.count_all("device", &labels, counts, |cause| {
                let scope = if cause.is_local() { "local" } else { "peer" };
                format!(",scope={}", quoted(scope))
            });
            self.set(COVERAGE, &labels, coverage(counts.attempted, device.whole(report.handoffs_only)));
            self.set(DURATION, &labels, report.took);
            self.holdings.set(name, &device.holdings);
            match device.left {
                None if !report.handoffs_only => self.set(COMPLETED, &labels, report.ended()),
                _ => drop(self.gauges.entry(sample(COMPLETED, &labels)).or_default()),
            }
        }
        for (name, counts) in &report.peers {
            self.count_all("peer", &format!("peer={}", quoted(name)), counts, |_| String::new());
        }
        let result = match report.ending {
            Ending::Complete if report.handoffs_only => "handoffs_only",
            Ending::Complete => "complete",
            Ending::Incomplete(_) => "incomplete",
        };
        self.count("passes_total", &format!("result={}", quoted(result)), 1.0);
    }

    /// What is counted of devices and of peers.
    fn count_all(&mut self, whose: &str, labels: &str, counts: &Counts, more: impl Fn(Cause) -> String) {
        self.count(&format!("{whose}_attempted_partitions_total"), labels, counts.attempted as f64);
        self.count(&format!("{whose}_pushed_partitions_total"), labels, counts.pushed as f64);
        self.count(&format!("{whose}_sent_bytes_total"), labels, counts.bytes as f64);
        self.count(&format!("{whose}_work_seconds_total"), labels, counts.seconds);
        for cause in Cause::ALL {
            // A counter that appears with its first failure has no rate for it; but one for each peer and cause from the
            // beginning would be too many.
            if let Some(&count) = counts.failed.get(&cause) {
                let labels = format!("{labels},cause={}{}", quoted(cause.name()), more(cause));
                self.count(&format!("{whose}_failures_total"), &labels, count as f64);
            }
        }
    }

    /// Takes out the gauges of devices that are not local any more: nothing will ever change them.
    pub(crate) fn keep_devices(&mut self, local: &[String]) {
        let samples = |family| local.iter().map(move |device| sample(family, &format!("device={}", quoted(device))));
        let kept: Vec<_> = [COMPLETED, COVERAGE, DURATION].into_iter().flat_map(samples).collect();
        self.gauges.retain(|sample, _| kept.contains(sample));
        self.holdings.keep(local);
    }

    fn count(&mut self, family: &str, labels: &str, by: f64) {
        *self.counters.entry(sample(family, labels)).or_default() += by;
    }

    fn set(&mut self, family: &str, labels: &str, value: f64) {
        self.gauges.insert(sample(family, labels), value);
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (family, kind, help) in FAMILIES {
            let name = format!("{PREFIX}_{family}");
            let samples = if kind == "counter" { &self.counters } else { &self.gauges };
            let own = samples.iter().filter(|(sample, _)| family_of(sample) == name);
            let mut own: Vec<_> = own.map(|(sample, &value)| (sample.as_str(), value)).collect();
            own.extend((family == OLDEST).then(|| self.oldest()).flatten().map(|oldest| (name.as_str(), oldest)));
            if own.is_empty() {
                continue;
            }
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (sample, value) in own {
                let _ = writeln!(text, "{sample} {value}");
            }
        }
        self.holdings.write(&mut text);
        text
    }

    fn oldest(&self) -> Option<f64> {
        let name = format!("{PREFIX}_{COMPLETED}");
        let completed = self.gauges.iter().filter(|(sample, _)| family_of(sample) == name);
        completed.map(|(_, &time)| time).min_by(f64::total_cmp)
    }

    /// What a file says that this program wrote; lines that mean nothing here are left out.
    pub(crate) fn parse(text: &str) -> Self {
        let mut metrics = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((sample, value)) = line.rsplit_once(' ') else { continue };
            let Some(value) = value.parse::<f64>().ok().filter(|value| value.is_finite()) else { continue };
            if !is_whole(sample) || lacks_scope(sample) {
                continue;
            }
            let family = family_of(sample).strip_prefix(PREFIX).and_then(|name| name.strip_prefix('_'));
            match FAMILIES.iter().find(|(name, ..)| Some(*name) == family) {
                Some((_, "counter", _)) => drop(metrics.counters.insert(sample.to_owned(), value)),
                Some((name, ..)) if *name != OLDEST => drop(metrics.gauges.insert(sample.to_owned(), value)),
                _ => {}
            }
        }
        metrics
    }
}

/// A sample's name with its labels.
fn sample(family: &str, labels: &str) -> String {
    format!("{PREFIX}_{family}{{{labels}}}")
}

/// Whether a sample was written before failures had a scope: with the new ones beside it, it would count twice.
fn lacks_scope(sample: &str) -> bool {
    family_of(sample).ends_with("_device_failures_total") && !sample.contains(",scope=\"")
}

fn family_of(sample: &str) -> &str {
    sample.split('{').next().unwrap_or(sample)
}

/// Whether a sample has the form that [`sample`] and [`quoted`] give it. One that is broken would make the collector refuse
/// the whole file, for ever.
fn is_whole(sample: &str) -> bool {
    let Some((_, labels)) = sample.split_once('{') else { return false };
    let Some(mut rest) = labels.strip_suffix('}') else { return false };
    loop {
        let Some((name, value)) = rest.split_once("=\"") else { return false };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return false;
        }
        match end_of_label(value).map(|end| &value[end + 1..]) {
            Some("") => return true,
            Some(more) if more.starts_with(',') => rest = &more[1..],
            _ => return false,
        }
    }
}

/// Where the quotation mark stands that ends a label's value.
fn end_of_label(value: &str) -> Option<usize> {
    let mut characters = value.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some(at),
            '\\' if !matches!(characters.next(), Some((_, '\\' | '"' | 'n'))) => return None,
            c if !matches!(printable(c.encode_utf8(&mut [0; 4])), Cow::Borrowed(_)) => return None,
            _ => {}
        }
    }
    None
}

/// A label's value with its quotes.
fn quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{}\"", printable(&escaped))
}

#[cfg(test)]
mod tests {
    use super::super::pass_report::example::report;
    use super::*;

    #[test]
    fn every_family_is_described_once_before_its_samples() {
        let mut metrics = Metrics::default();
        metrics.add(&report());
        let text = metrics.text();
        for (family, kind, _) in FAMILIES {
            let name = format!("{PREFIX}_{family}");
            assert_eq!(text.matches(&format!("# TYPE {name} {kind}\n")).count(), 1, "{name}\n{text}");
            let first = text.find(&format!("\n{name}")).unwrap_or_else(|| panic!("no sample of {name}\n{text}"));
            assert!(text.find(&format!("# HELP {name} ")).unwrap() < first, "{name}");
        }
        for line in [
            "device_failures_total{device=\"sdc\",cause=\"full\",scope=\"peer\"} 5",
            "peer_sent_bytes_total{peer=\"10.0.0.2:6200/sda\"} 1073741824",
            "device_last_completed_pass_timestamp_seconds{device=\"sda\"} 1800000754",
            "device_last_completed_pass_timestamp_seconds{device=\"sdc\"} 0",
            "oldest_completed_pass_timestamp_seconds 0",
        ] {
            assert!(text.contains(&format!("\nswift_object_replicator_{line}\n")), "{line}\n{text}");
        }
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
    }

    #[test]
    fn groups_add_their_own_devices_and_the_oldest_of_all_counts() {
        let (mut one, mut other) = (report(), report());
        one.devices.retain(|name, _| name == "sda");
        other.devices.retain(|name, _| name == "sdb");
        other.began += 5000.0;
        let mut metrics = Metrics::default();
        metrics.add(&other);
        assert!(metrics.text().contains("oldest_completed_pass_timestamp_seconds 1800005754\n"));
        metrics.add(&one);
        assert!(metrics.text().contains("oldest_completed_pass_timestamp_seconds 1800000754\n"));
        other.began += 5000.0;
        metrics.add(&other);
        let text = metrics.text();
        assert!(text.contains("_timestamp_seconds{device=\"sdb\"} 1800010754\n"), "{text}");
        assert!(text.contains("oldest_completed_pass_timestamp_seconds 1800000754\n"), "{text}");
    }

    #[test]
    fn a_device_that_is_gone_does_not_stay_the_oldest() {
        let mut metrics = Metrics::default();
        metrics.add(&report());
        metrics.keep_devices(&["sda".to_owned(), "sdb".to_owned()]);
        let text = metrics.text();
        assert!(text.contains("oldest_completed_pass_timestamp_seconds 1800000754\n"), "{text}");
        assert!(!text.contains("_ratio{device=\"sdc\"}") && text.contains("_total{device=\"sdc\"} 300\n"), "{text}");
    }

    #[test]
    fn a_file_of_others_or_junk_counts_for_nothing() {
        let text =
            "node_load1 0.5\nswift_object_replicator_bogus 1\n\u{0}\n{} {}\nswift_object_replicator_passes_total x";
        assert_eq!(Metrics::parse(text), Metrics::default());
    }

    #[test]
    fn samples_that_are_not_whole_count_for_nothing() {
        let name = "swift_object_replicator_device_sent_bytes_total";
        for labels in [
            "",
            "{",
            "{}",
            "{device=\"a\"",
            "{device=\"a}",
            "{device=\"a\"x}",
            "{device=\"a\\x\"}",
            "{device=\"\u{1b}\"}",
            "{=\"a\"}",
            "{Device=\"a\"}",
            "{device=\"a\",}",
            "{device=\"a\",cause=b}",
        ] {
            assert_eq!(Metrics::parse(&format!("{name}{labels} 5\n")), Metrics::default(), "{labels}");
        }
        for value in ["NaN", "inf", "-inf", "", "5 6"] {
            assert_eq!(Metrics::parse(&format!("{name}{{device=\"a\"}} {value}\n")), Metrics::default(), "{value}");
        }
        let mut odd = Metrics::default();
        odd.count(
            "device_failures_total",
            &format!("device={},cause=\"full\",scope=\"peer\"", quoted("a\\\"b\n {},=é\u{1b}")),
            5.0,
        );
        assert_eq!(Metrics::parse(&odd.text()), odd, "{}", odd.text());
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(quoted("sd\u{1b}[m\u{9b}"), "\"sd#033[m#302#233\"");
        assert_eq!(quoted("a\"b\\c\nd"), "\"a\\\"b\\\\c\\nd\"");
    }
}
