//! What a pass came to, in full: how much of what there is was looked at, what was done, and what went wrong, for each
//! device here and for each peer.
//!
//! These are plain counts. Jobs count for themselves and are added up with [`PassReport::merge`]; what is made of them
//! stands elsewhere: lines for the log ([`PassReport::lines`]), JSON, a page ([`super::html`]), metrics
//! ([`super::metrics`]). Nothing here knows of passes, so that every form can be tested on counts that were made up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// So many of the slowest partitions are kept.
pub const SLOWEST: usize = 10;

/// Why something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The peer could not be reached, or was left alone because of that.
    Unreachable,
    /// It was reached, but did not answer in time.
    Timeout,
    /// It answered that the device is not mounted there.
    Unmounted,
    /// It answered with another status, or with what cannot be understood.
    BadAnswer,
    /// Its rsync daemon serves as many as it may.
    Busy,
    /// Its disk is full.
    Full,
    /// The push failed for another reason.
    Push,
    /// Not all that was pushed had arrived.
    Verify,
    /// A local device is not there, or could not be read or written.
    Local,
    /// No sign of life for too long.
    Stuck,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 10] = [
        Self::Unreachable,
        Self::Timeout,
        Self::Unmounted,
        Self::BadAnswer,
        Self::Busy,
        Self::Full,
        Self::Push,
        Self::Verify,
        Self::Local,
        Self::Stuck,
    ];

    /// Its name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Unmounted => "unmounted",
            Self::BadAnswer => "bad_answer",
            Self::Busy => "busy",
            Self::Full => "full",
            Self::Push => "push",
            Self::Verify => "verify",
            Self::Local => "local",
            Self::Stuck => "stuck",
        }
    }

    /// What people read.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "no answer in time",
            Self::Unmounted => "not mounted there",
            Self::BadAnswer => "bad answer",
            Self::Busy => "busy",
            Self::Full => "disk full",
            Self::Push => "push failed",
            Self::Verify => "not arrived",
            Self::Local => "local disk",
            Self::Stuck => "stuck",
        }
    }
}

/// Counts of partitions, on a device or towards a peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Partitions that were begun; towards a peer, that it was to be asked about.
    pub attempted: u64,
    /// Those of them in which nothing differed.
    pub in_sync: u64,
    /// Those of which something was pushed, and arrived.
    pub pushed: u64,
    /// Hand-offs that were removed once they had arrived.
    pub removed: u64,
    /// Failures, by cause; a partition may have one for each peer.
    pub failed: BTreeMap<Cause, u64>,
    /// What was sent.
    pub bytes: u64,
    /// What workers spent on it, in seconds.
    pub seconds: f64,
}

impl Counts {
    /// All failures.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Counts one more failure.
    pub fn fail(&mut self, cause: Cause) {
        *self.failed.entry(cause).or_default() += 1;
    }

    /// Adds others.
    pub fn merge(&mut self, other: &Self) {
        self.attempted += other.attempted;
        self.in_sync += other.in_sync;
        self.pushed += other.pushed;
        self.removed += other.removed;
        self.bytes += other.bytes;
        self.seconds += other.seconds;
        for (&cause, count) in &other.failed {
            *self.failed.entry(cause).or_default() += count;
        }
    }
}

/// A local device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceReport {
    /// Partitions that were found on it.
    pub found: u64,
    #[serde(flatten)]
    pub counts: Counts,
    /// Why not all of them were attempted, if so.
    pub left: Option<String>,
}

/// A partition that took long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlowPartition {
    /// The local device.
    pub device: String,
    /// Like `objects-1`.
    pub datadir: String,
    pub partition: u32,
    pub seconds: f64,
}

/// What happened in a part of the pass's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moment {
    /// When it ended, in seconds since the pass began.
    pub at: f64,
    pub attempted: u64,
    pub failures: u64,
    pub bytes: u64,
}

/// How a pass ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every partition that was found had its turn.
    #[default]
    Complete,
    /// Not every one; why, in a few words each.
    Incomplete(Vec<String>),
}

/// A pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PassReport {
    pub host: String,
    /// Of this program.
    pub version: String,
    /// As Unix time.
    pub began: f64,
    /// In seconds.
    pub took: f64,
    pub ending: Ending,
    /// By the names of local devices.
    pub devices: BTreeMap<String, DeviceReport>,
    /// By address and device, as in the log.
    pub peers: BTreeMap<String, Counts>,
    /// The slowest first.
    pub slowest: Vec<SlowPartition>,
    /// In order.
    pub timeline: Vec<Moment>,
}

impl PassReport {
    /// All devices together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.devices.values().for_each(|device| total.merge(&device.counts));
        total
    }

    /// Partitions that were found on all devices.
    pub fn found(&self) -> u64 {
        self.devices.values().map(|device| device.found).sum()
    }

    /// How much of what was found was attempted, from 0 to 1.
    pub fn coverage(&self) -> f64 {
        match self.found() {
            0 => 1.0,
            found => (self.total().attempted as f64 / found as f64).min(1.0),
        }
    }

    /// Adds what other workers did in the same pass.
    pub fn merge(&mut self, other: Self) {
        for (name, device) in other.devices {
            let own = self.devices.entry(name).or_default();
            own.found += device.found;
            own.counts.merge(&device.counts);
            own.left = own.left.take().or(device.left);
        }
        for (name, counts) in other.peers {
            self.peers.entry(name).or_default().merge(&counts);
        }
        other.slowest.into_iter().for_each(|partition| self.note_slow(partition));
        self.timeline.extend(other.timeline);
        self.timeline.sort_by(|a, b| a.at.total_cmp(&b.at));
        if let Ending::Incomplete(reasons) = other.ending {
            match &mut self.ending {
                Ending::Incomplete(own) => own.extend(reasons),
                complete => *complete = Ending::Incomplete(reasons),
            }
        }
    }

    /// Keeps the partition if it is one of the slowest.
    pub fn note_slow(&mut self, partition: SlowPartition) {
        let place = self.slowest.partition_point(|other| other.seconds >= partition.seconds);
        if place < SLOWEST {
            self.slowest.insert(place, partition);
            self.slowest.truncate(SLOWEST);
        }
    }

    /// The exit code of `--strict`: 4 if the pass is not complete, else 3 if anything failed, else 0.
    pub fn strict_exit_code(&self) -> u8 {
        match self.ending {
            Ending::Incomplete(_) => 4,
            Ending::Complete if self.total().failures() > 0 => 3,
            Ending::Complete => 0,
        }
    }

    /// A few lines for the log.
    pub fn lines(&self) -> Vec<String> {
        let total = self.total();
        let ending = match &self.ending {
            Ending::Complete => "complete".to_owned(),
            Ending::Incomplete(reasons) => format!("incomplete ({})", reasons.join("; ")),
        };
        let mut lines = vec![format!(
            "Pass {ending}: {} of {} partitions ({:.1}%) in {}; {} in sync, {} pushed ({}), {} hand-offs removed, {} \
             failures",
            total.attempted,
            self.found(),
            self.coverage() * 100.0,
            duration(self.took),
            total.in_sync,
            total.pushed,
            bytes(total.bytes),
            total.removed,
            total.failures()
        )];
        let failing_peers = self.peers.iter().filter(|(_, counts)| counts.failures() > 0);
        lines.extend(failing_peers.map(|(peer, counts)| format!("Failures with {peer}: {}", causes(counts))));
        let left = self.devices.iter().filter_map(|(name, device)| Some((name, device, device.left.as_ref()?)));
        lines.extend(left.map(|(name, device, reason)| {
            let remaining = device.found.saturating_sub(device.counts.attempted);
            format!("Left on {name}: {remaining} of {} partitions: {reason}", device.found)
        }));
        lines
    }

    /// The report for programs.
    pub fn json(&self) -> String {
        // Maps with names, numbers and texts: nothing in it can fail.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// The failures of a device or peer by cause, the most frequent first.
pub(super) fn causes(counts: &Counts) -> String {
    let mut causes: Vec<_> = counts.failed.iter().filter(|(_, count)| **count > 0).collect();
    causes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    causes.iter().map(|(cause, count)| format!("{count} {}", cause.text())).collect::<Vec<_>>().join(", ")
}

/// A number of bytes as people read it.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut number = bytes as f64 / 1024.0;
    let mut unit = 0;
    while number >= 1023.95 && unit < UNITS.len() - 1 {
        number /= 1024.0;
        unit += 1;
    }
    format!("{number:.1} {}", UNITS[unit])
}

/// A number of seconds as people read it.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..10 => format!("{:.1}s", seconds.max(0.0)),
        10..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h {:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d {:02}h", whole / 86_400, whole / 3600 % 24),
    }
}

#[cfg(test)]
pub(crate) mod example {
    use super::*;

    fn counts(attempted: u64, in_sync: u64, pushed: u64, failed: &[(Cause, u64)], bytes: u64) -> Counts {
        let failed = failed.iter().copied().collect();
        Counts { attempted, in_sync, pushed, failed, bytes, seconds: attempted as f64 * 0.25, ..Counts::default() }
    }

    /// A pass with something of everything.
    pub fn report() -> PassReport {
        let mut report = PassReport {
            host: "node-1".into(),
            version: "0.1.0".into(),
            began: 1_800_000_000.0,
            took: 754.0,
            ending: Ending::Incomplete(vec!["device sdc does not answer".into()]),
            ..PassReport::default()
        };
        let device = |found, counts, left: Option<&str>| DeviceReport { found, counts, left: left.map(str::to_owned) };
        let mut sda = counts(1200, 1100, 90, &[(Cause::Unreachable, 14)], 3 << 30);
        sda.removed = 12;
        report.devices.insert("sda".into(), device(1200, sda, None));
        report.devices.insert("sdb".into(), device(1180, counts(1180, 1180, 0, &[], 0), None));
        let stuck = counts(300, 240, 50, &[(Cause::Stuck, 1), (Cause::Push, 4), (Cause::Full, 5)], 700 << 20);
        report.devices.insert("sdc".into(), device(1220, stuck, Some("no sign of life for 1800s")));
        report.peers.insert("10.0.0.2:6200/sda".into(), counts(900, 880, 20, &[], 1 << 30));
        report.peers.insert("10.0.0.2:6200/sdb".into(), counts(880, 800, 75, &[(Cause::Full, 5)], 2 << 30));
        report
            .peers
            .insert("10.0.0.3:6200/sda".into(), counts(900, 840, 45, &[(Cause::Unreachable, 14), (Cause::Push, 4)], 5));
        for (partition, seconds) in [(17, 93.0), (401, 12.5), (88, 61.0)] {
            let (device, datadir) = ("sdc".into(), "objects-1".into());
            report.note_slow(SlowPartition { device, datadir, partition, seconds });
        }
        report.timeline = (1..=25_u32)
            .map(|n| Moment {
                at: f64::from(n) * 30.0,
                attempted: if n < 20 { 130 } else { 42 },
                failures: if n == 12 { 14 } else { 0 },
                bytes: u64::from(n % 7) << 27,
            })
            .collect();
        report
    }
}

#[cfg(test)]
mod tests {
    use super::example::report;
    use super::*;

    #[test]
    fn the_log_gets_the_sum_who_failed_and_what_is_left() {
        assert_eq!(
            report().lines(),
            [
                "Pass incomplete (device sdc does not answer): 2680 of 3600 partitions (74.4%) in 12m 34s; 2520 in sync, \
                 140 pushed (3.7 GiB), 12 hand-offs removed, 24 failures",
                "Failures with 10.0.0.2:6200/sdb: 5 disk full",
                "Failures with 10.0.0.3:6200/sda: 14 unreachable, 4 push failed",
                "Left on sdc: 920 of 1220 partitions: no sign of life for 1800s",
            ]
        );
        let empty = PassReport::default();
        assert_eq!(
            empty.lines(),
            [
                "Pass complete: 0 of 0 partitions (100.0%) in 0.0s; 0 in sync, 0 pushed (0 B), 0 hand-offs removed, 0 failures"
            ]
        );
    }

    #[test]
    fn strict_tells_an_incomplete_pass_from_one_with_failures() {
        let mut report = report();
        assert_eq!(report.strict_exit_code(), 4);
        report.ending = Ending::Complete;
        assert_eq!(report.strict_exit_code(), 3);
        report.devices.values_mut().for_each(|device| device.counts.failed.clear());
        assert_eq!(report.strict_exit_code(), 0);
    }

    #[test]
    fn reports_of_several_workers_add_up() {
        let mut sum = PassReport::default();
        sum.merge(report());
        sum.merge(report());
        assert_eq!(sum.found(), 2 * 3600);
        assert_eq!(sum.total().failed[&Cause::Unreachable], 28);
        assert_eq!(sum.peers["10.0.0.3:6200/sda"].attempted, 1800);
        assert_eq!(
            sum.slowest.iter().map(|slow| slow.seconds).collect::<Vec<_>>(),
            [93.0, 93.0, 61.0, 61.0, 12.5, 12.5]
        );
        assert!(sum.timeline.is_sorted_by(|a, b| a.at <= b.at));
        assert!(matches!(&sum.ending, Ending::Incomplete(reasons) if reasons.len() == 2));
    }

    #[test]
    fn only_the_slowest_partitions_are_kept_in_order() {
        let mut report = PassReport::default();
        for partition in 0..100 {
            let seconds = f64::from((partition * 37) % 100);
            report.note_slow(SlowPartition { device: "sda".into(), datadir: "objects".into(), partition, seconds });
        }
        let kept: Vec<_> = report.slowest.iter().map(|slow| slow.seconds).collect();
        assert_eq!(kept, (90..100).rev().map(f64::from).collect::<Vec<_>>());
    }

    #[test]
    fn json_comes_back_as_it_was_and_names_causes() {
        let json = report().json();
        assert_eq!(serde_json::from_str::<PassReport>(&json).unwrap(), report());
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.name());
        }
        assert!(json.contains("\"unreachable\": 14"), "{json}");
    }

    #[test]
    fn numbers_are_easy_to_read() {
        let texts = [0, 1023, 1024, 1 << 20, (1 << 20) - 1, 3 << 40].map(bytes);
        assert_eq!(texts, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.0 MiB", "3.0 TiB"]);
        let texts = [-1.0, 0.04, 9.96, 59.9, 60.0, 3725.0, 200_000.0].map(duration);
        assert_eq!(texts, ["0.0s", "0.0s", "10.0s", "59s", "1m 00s", "1h 02m", "2d 07h"]);
    }
}
