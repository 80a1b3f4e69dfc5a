//! What a pass came to, in full: how much of what there is was looked at, what was done, and what went wrong, for each
//! device here and for each peer.
//!
//! These are plain figures. A pass makes them; reports of groups that worked side by side are put together with
//! [`PassReport::merge`]; what is made of them stands elsewhere: a page ([`super::html`]), metrics
//! (`metrics`). Nothing here uses `pass`, so that every form can be tested on figures that were made up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::copies::SingleCopies;
use super::counts::Counts;
use super::holding::{self, Holding};
use super::timeline::Moment;
use super::units::{bytes, duration};
use crate::printable::{printable, printable_json};

/// So many of the slowest partitions are kept.
pub const SLOWEST: usize = 10;
/// The exit code of `--strict` for a pass that is not complete.
pub const INCOMPLETE: u8 = 4;
/// The exit code of `--strict` for one in which anything failed.
pub(crate) const FAILED: u8 = 3;
/// So many peers with failures, and so many devices on which partitions are left, get a line of the log each.
const LINES: usize = 10;
/// So many reasons why a pass is not complete stand in its line.
const REASONS: usize = 5;
/// What every line of the log begins with.
const MARK: &str = "Report: ";

/// A local device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceReport {
    /// Partitions that were found on it.
    pub found: u64,
    #[serde(flatten)]
    pub counts: Counts,
    /// Why not all of its partitions were found or attempted, if so.
    pub left: Option<String>,
    /// What it holds, by policy.
    pub holdings: Vec<Holding>,
    /// How many of its partitions had so many known copies when the pass was at them.
    pub copies: BTreeMap<u64, u64>,
    /// None of its partitions has been whole last before this, as Unix time; where one never was since the process began,
    /// this is when that was.
    pub oldest_success: Option<f64>,
}

impl DeviceReport {
    /// All partitions that are there, be it that only hand-offs had their turn.
    pub(crate) fn whole(&self, handoffs_only: bool) -> u64 {
        let held = self.holdings.iter().fold(0, |sum: u64, holding| sum.saturating_add(holding.partitions));
        if handoffs_only { held.max(self.found) } else { self.found }
    }
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
    /// Only hand-offs had their turn: the other partitions are not among those that were found.
    pub handoffs_only: bool,
    /// By the names of local devices.
    pub devices: BTreeMap<String, DeviceReport>,
    /// By address and device, as in the log.
    pub peers: BTreeMap<String, Counts>,
    /// Partitions of which only the copy here is known.
    pub single_copies: SingleCopies,
    /// The slowest first.
    pub slowest: Vec<SlowPartition>,
    /// In order.
    pub timeline: Vec<Moment>,
    /// What operators had ordered, and which limits were not the configuration's, when it ended; in a line each.
    pub orders: Vec<String>,
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
        self.devices.values().fold(0, |sum, device| sum.saturating_add(device.found))
    }

    /// Whether something failed, and nothing else came of the pass.
    pub(crate) fn nothing_succeeded(&self) -> bool {
        let total = self.total();
        total.failures() > 0 && total.in_sync == 0 && total.pushed == 0 && total.removed == 0
    }

    /// Whether the pass is not complete though all that was found was attempted: then there is more that was not found.
    pub(crate) fn is_all_of_what_was_found(&self) -> bool {
        let is_incomplete = matches!(self.ending, Ending::Incomplete(_));
        is_incomplete && self.found() > 0 && self.total().attempted >= self.found()
    }

    /// How much of what was found was attempted, from 0 to 1.
    pub fn coverage(&self) -> f64 {
        coverage(self.total().attempted, self.found())
    }

    /// When it ended, as Unix time.
    pub fn ended(&self) -> f64 {
        self.began + self.took
    }

    /// Adds the report of another group that worked at about the same time.
    pub fn merge(&mut self, mut other: Self) {
        let (began, ended) = (self.began.min(other.began), self.ended().max(other.ended()));
        for (timeline, offset) in [(&mut self.timeline, self.began), (&mut other.timeline, other.began)] {
            timeline.iter_mut().for_each(|moment| moment.at += offset - began);
        }
        (self.began, self.took) = (began, ended - began);
        self.handoffs_only |= other.handoffs_only;
        for (name, device) in other.devices {
            let own = self.devices.entry(name).or_default();
            own.found = own.found.saturating_add(device.found);
            own.counts.merge(&device.counts);
            own.left = own.left.take().or(device.left);
            holding::merge(&mut own.holdings, &device.holdings);
            for (copies, partitions) in device.copies {
                let sum = own.copies.entry(copies).or_default();
                *sum = sum.saturating_add(partitions);
            }
            own.oldest_success = [own.oldest_success, device.oldest_success].into_iter().flatten().reduce(f64::min);
        }
        self.single_copies.merge(other.single_copies);
        for (name, counts) in other.peers {
            self.peers.entry(name).or_default().merge(&counts);
        }
        other.slowest.into_iter().for_each(|partition| self.note_slow(partition));
        let new: Vec<_> = other.orders.into_iter().filter(|line| !self.orders.contains(line)).collect();
        self.orders.extend(new);
        self.timeline.extend(other.timeline);
        self.timeline.sort_by(|a, b| a.at.total_cmp(&b.at));
        if let Ending::Incomplete(reasons) = other.ending {
            self.add_reasons(reasons);
        }
    }

    /// The pass is not complete for these reasons, if there are any; each counts once.
    pub fn add_reasons(&mut self, reasons: Vec<String>) {
        if reasons.is_empty() {
            return;
        }
        if self.ending == Ending::Complete {
            self.ending = Ending::Incomplete(Vec::new());
        }
        if let Ending::Incomplete(own) = &mut self.ending {
            let new: Vec<_> = reasons.into_iter().filter(|reason| !own.contains(reason)).collect();
            own.extend(new);
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
            Ending::Incomplete(_) => INCOMPLETE,
            Ending::Complete if self.total().failures() > 0 => FAILED,
            Ending::Complete => 0,
        }
    }

    /// A few lines for the log and for terminals.
    pub fn lines(&self) -> Vec<String> {
        let total = self.total();
        let ending = match &self.ending {
            Ending::Complete if self.handoffs_only => "over hand-offs only".to_owned(),
            Ending::Complete => "complete".to_owned(),
            Ending::Incomplete(reasons) => format!("incomplete ({})", in_short(reasons)),
        };
        let what = if self.handoffs_only { "hand-offs" } else { "partitions" };
        let mut lines = vec![format!(
            "{MARK}pass {ending}: {} of {} {what}{} in {}; {} in sync, {} pushed ({}), {} hand-offs removed, {} \
             failures",
            total.attempted,
            self.found(),
            self.percent(),
            duration(self.took),
            total.in_sync,
            total.pushed,
            bytes(total.bytes),
            total.removed,
            total.failures()
        )];
        let holdings = self.devices.values().map(|device| device.holdings.as_slice());
        lines.extend(holding::lines(holdings).iter().map(|line| format!("{MARK}{line}")));
        lines.extend(self.single_copies.line().map(|line| format!("{MARK}{line}")));
        let mut local: Vec<_> = self.devices.iter().filter(|(_, device)| device.counts.local_failures() > 0).collect();
        local.sort_by_key(|(_, device)| std::cmp::Reverse(device.counts.local_failures()));
        some_of(
            local.into_iter().map(|(name, device)| format!("failures on {name}: {}", device.counts.local_causes())),
            "devices with failures",
            &mut lines,
        );
        let mut failing: Vec<_> = self.peers.iter().filter(|(_, counts)| counts.failures() > 0).collect();
        failing.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.failures()));
        let failing = failing.into_iter().map(|(peer, counts)| format!("failures with {peer}: {}", counts.causes()));
        some_of(failing, "peers with failures", &mut lines);
        let left = self.devices.iter().filter_map(|(name, device)| Some((name, device, device.left.as_ref()?)));
        let mut left: Vec<_> = left.collect();
        let remaining = |device: &DeviceReport| device.found.saturating_sub(device.counts.attempted);
        // Of those of which nothing is known, nobody can say how much is left: they come first.
        left.sort_by_key(|(_, device, _)| std::cmp::Reverse((device.found == 0, remaining(device))));
        let left = left.into_iter().map(|(name, device, reason)| {
            let remaining = remaining(device);
            match device.found {
                0 => format!("left on {name}: {reason}"),
                found => format!("left on {name}: {remaining} of {found} partitions: {reason}"),
            }
        });
        some_of(left, "devices on which partitions are left", &mut lines);
        some_of(self.orders.iter().map(|order| format!("in force: {order}")), "orders", &mut lines);
        lines.iter().map(|line| printable(line).into_owned()).collect()
    }

    /// How much of what was found was attempted, for people. Where all of it was, but not all was found, a hundred per cent
    /// would say that nothing is left.
    fn percent(&self) -> String {
        match self.found() {
            0 => String::new(),
            _ if self.is_all_of_what_was_found() => " that were found".to_owned(),
            _ => format!(" ({:.1}%)", self.coverage() * 100.0),
        }
    }

    /// The report for programs.
    pub fn json(&self) -> String {
        // Maps with names, numbers and texts: nothing in it can fail.
        printable_json(serde_json::to_string_pretty(self).unwrap_or_default() + "\n")
    }
}

/// The first reasons, and how many more there are.
fn in_short(reasons: &[String]) -> String {
    let shown = reasons[..reasons.len().min(REASONS)].join("; ");
    match reasons.len().checked_sub(REASONS).filter(|more| *more > 0) {
        Some(more) => format!("{shown}; and {more} more reasons"),
        None => shown,
    }
}

/// The first lines, and how many more there are.
fn some_of(mut all: impl Iterator<Item = String>, what: &str, lines: &mut Vec<String>) {
    lines.extend(all.by_ref().take(LINES).map(|line| format!("{MARK}{line}")));
    let more = all.count();
    if more > 0 {
        lines.push(format!("{MARK}and {more} more {what}"));
    }
}

/// How much of so many partitions was attempted, from 0 to 1.
pub fn coverage(attempted: u64, found: u64) -> f64 {
    if found == 0 { 1.0 } else { (attempted as f64 / found as f64).min(1.0) }
}

#[cfg(test)]
pub(crate) mod example {
    use super::*;
    use crate::cause::Cause;

    fn counts(attempted: u64, in_sync: u64, pushed: u64, failed: &[(Cause, u64)], bytes: u64) -> Counts {
        let failed = failed.iter().copied().collect();
        Counts { attempted, in_sync, pushed, failed, bytes, seconds: attempted as f64 * 0.25, ..Counts::default() }
    }

    /// A pass with something of everything.
    pub(crate) fn report() -> PassReport {
        let mut report = PassReport {
            host: "node-1".into(),
            version: "0.1.0".into(),
            began: 1_800_000_000.0,
            took: 754.0,
            ending: Ending::Incomplete(vec!["device sdc does not answer".into()]),
            ..PassReport::default()
        };
        let device = |found, counts, left: Option<&str>| {
            let left = left.map(str::to_owned);
            DeviceReport { found, counts, left, ..DeviceReport::default() }
        };
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
        let sdb = report.devices.get_mut("sdb").expect("it was just added");
        (sdb.copies, sdb.oldest_success) = (BTreeMap::from([(1, 2), (3, 1178)]), Some(1_799_990_000.0));
        for (partition, seconds) in [(17, 93.0), (401, 12.5), (88, 61.0)] {
            let (device, datadir) = ("sdc".into(), "objects-1".into());
            report.note_slow(SlowPartition { device, datadir, partition, seconds });
        }
        for moment in 1..=25_u64 {
            let attempted = if moment < 20 { 130 } else { 42 };
            let failures = u64::from(moment > 20);
            let succeeded = attempted - failures;
            report.timeline.push(Moment { at: moment as f64 * 30.0, attempted, succeeded, failures, bytes: 150 << 20 });
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::super::copies::SinglePartition;
    use super::example::report;
    use super::*;
    use crate::cause::Cause;

    #[test]
    fn the_log_gets_the_sum_who_failed_and_what_is_left() {
        assert_eq!(
            report().lines(),
            [
                "Report: pass incomplete (device sdc does not answer): 2680 of 3600 partitions (74.4%) in 12m 34s; 2520 \
                 in sync, 140 pushed (3.7 GiB), 12 hand-offs removed, 24 failures",
                "Report: failures on sdc: 1 stuck",
                "Report: failures with 10.0.0.3:6200/sda: 14 unreachable, 4 push failed",
                "Report: failures with 10.0.0.2:6200/sdb: 5 disk full",
                "Report: left on sdc: 920 of 1220 partitions: no sign of life for 1800s",
            ]
        );
        let mut endangered = report();
        let single = SinglePartition { device: "sdb".into(), datadir: "objects".into(), partition: 12 };
        endangered.single_copies.note(single);
        assert_eq!(endangered.lines()[1], "Report: only the copy here is known of 1 partition: sdb/objects/12");
        let empty = PassReport::default();
        assert_eq!(
            empty.lines(),
            ["Report: pass complete: 0 of 0 partitions in 0.0s; 0 in sync, 0 pushed (0 B), 0 hand-offs \
                 removed, 0 failures"]
        );
    }

    #[test]
    fn a_cluster_that_is_down_does_not_flood_the_log() {
        let mut report = report();
        for peer in 0..500 {
            report.peers.entry(format!("10.1.{peer}.1:6200/sda")).or_default().fail(Cause::Unreachable);
        }
        let lines = report.lines();
        assert_eq!(lines.len(), 1 + 1 + LINES + 1 + 1, "{lines:?}");
        assert_eq!(lines[1 + 1 + LINES], "Report: and 492 more peers with failures");
    }

    #[test]
    fn sixty_devices_of_which_each_has_its_trouble_are_some_lines_the_worst_first() {
        let mut report = PassReport { ending: Ending::Complete, ..report() };
        for number in 0..60_u64 {
            let mut device =
                DeviceReport { found: 1000, left: Some("not attempted".into()), ..DeviceReport::default() };
            device.counts.attempted = 100 + number;
            device.counts.fail_times(Cause::Local, number);
            report.devices.insert(format!("d{number:02}"), device);
        }
        report
            .devices
            .insert("e".into(), DeviceReport { left: Some("hangs: listing".into()), ..DeviceReport::default() });
        report.add_reasons((0..60).map(|number| format!("d{number:02} hangs")).collect());
        let lines = report.lines();
        assert!(lines.len() <= 1 + 3 * (LINES + 1), "{lines:#?}");
        assert!(
            lines[0].contains("(d00 hangs; d01 hangs; d02 hangs; d03 hangs; d04 hangs; and 55 more reasons): "),
            "{}",
            lines[0]
        );
        assert_eq!(lines[1], "Report: failures on d59: 59 local disk");
        assert_eq!(lines[LINES + 1], "Report: and 50 more devices with failures");
        let left: Vec<_> = lines.iter().filter(|line| line.contains("left on ")).take(2).collect();
        let expected = ["left on e: hangs: listing", "left on sdc: 920 of 1220 partitions: no sign of life for 1800s"];
        assert_eq!(left, expected.map(|line| format!("{MARK}{line}")).iter().collect::<Vec<_>>());
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
    fn a_pass_that_did_not_find_everything_does_not_say_a_hundred_per_cent() {
        let mut report = report();
        for device in report.devices.values_mut() {
            device.counts.attempted = device.found;
        }
        let line = report.lines().swap_remove(0);
        assert!(line.contains("3600 of 3600 partitions that were found in "), "{line}");
        report.ending = Ending::Complete;
        assert!(report.lines()[0].contains("3600 of 3600 partitions (100.0%) in "), "{:?}", report.lines());
    }

    #[test]
    fn reports_of_groups_add_up_and_share_a_clock() {
        let (mut sum, mut later) = (report(), report());
        later.began += 100.0;
        sum.merge(later);
        assert_eq!((sum.began, sum.took), (1_800_000_000.0, 854.0));
        assert_eq!(sum.found(), 2 * 3600);
        assert_eq!(sum.total().failed[&Cause::Unreachable], 28);
        assert_eq!(sum.peers["10.0.0.3:6200/sda"].attempted, 1800);
        assert_eq!(sum.devices["sdb"].copies, BTreeMap::from([(1, 4), (3, 2356)]));
        assert_eq!(sum.devices["sdb"].oldest_success, Some(1_799_990_000.0));
        let slowest: Vec<_> = sum.slowest.iter().map(|slow| slow.seconds).collect();
        assert_eq!(slowest, [93.0, 93.0, 61.0, 61.0, 12.5, 12.5]);
        assert!(sum.timeline.is_sorted_by(|a, b| a.at <= b.at));
        assert_eq!((sum.timeline[0].at, sum.timeline[49].at), (30.0, 850.0));
        assert!(
            matches!(&sum.ending, Ending::Incomplete(reasons) if reasons.len() == 1),
            "the same reason counts once"
        );
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
        assert!(json.contains("\"unreachable\": 14"), "{json}");
    }
}
