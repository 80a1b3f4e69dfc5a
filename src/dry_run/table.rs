//! The result of a dry run, as a table for people.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::prediction::{Device, DryRunReport, HandOff, Push};
use crate::printable::printable;
use crate::report::units::bytes;

/// So many hand-offs of a device are named one by one.
const NAMED: usize = 20;

/// A table per device.
pub(super) fn render(report: &DryRunReport) -> String {
    let mut out = "Nothing was written, pushed or removed. This is what a pass would do.\n".to_owned();
    report.devices.iter().for_each(|device| describe(device, &mut out));
    let removed = report.devices.iter().flat_map(|device| &device.handoffs).filter(|handoff| handoff.removed).count();
    let mut total = Sum::default();
    report.devices.iter().flat_map(all_pushes).for_each(|push| total.add(push));
    line(&mut out, "");
    line(
        &mut out,
        &format!(
            "In all: {} in {} to push, at most {}; {} to remove. Looked at in {:.1} s.",
            count(total.suffixes, "suffix", "suffixes"),
            count(total.partitions.len(), "partition", "partitions"),
            bytes(total.bytes),
            count(removed, "hand-off", "hand-offs"),
            report.seconds
        ),
    );
    if !report.complete {
        line(&mut out, "NOT COMPLETE: not every partition had its turn; the messages say why.");
    }
    out
}

fn describe(device: &Device, out: &mut String) {
    let differ: BTreeSet<_> = device.updates.iter().map(|push| (push.policy, push.partition)).collect();
    line(out, "");
    line(
        out,
        &format!(
            "{}: {} looked at, {} out of sync, {}",
            device.device,
            count(device.partitions, "partition", "partitions"),
            differ.len(),
            count(device.handoffs.len(), "hand-off", "hand-offs")
        ),
    );
    targets(device, out);
    for handoff in device.handoffs.iter().take(NAMED) {
        line(out, &format!("  {}", fate(handoff)));
    }
    if device.handoffs.len() > NAMED {
        line(out, &format!("  ... and {} hand-offs more, which --json names", device.handoffs.len() - NAMED));
    }
    for failure in &device.failures {
        line(out, &format!("  FAILED: {}, {}", failure.node, count(failure.times, "time", "times")));
    }
}

/// A line per target and purpose.
fn targets(device: &Device, out: &mut String) {
    let handed_off = device.handoffs.iter().flat_map(|handoff| &handoff.pushes);
    let purposes = [("update", device.updates.iter().collect::<Vec<_>>()), ("hand-off", handed_off.collect())];
    let mut rows: BTreeMap<(Cow<'_, str>, &str), Sum> = BTreeMap::new();
    for (purpose, pushes) in purposes {
        for push in pushes.into_iter().filter(|push| push.suffixes > 0) {
            rows.entry((printable(&push.to), purpose)).or_default().add(push);
        }
    }
    if rows.is_empty() {
        return;
    }
    let width = rows.keys().map(|(to, _)| to.len()).max().unwrap_or(0).max("push to".len());
    let row = |to: &str, purpose: &str, numbers: [&str; 4]| {
        let [partitions, suffixes, files, bytes] = numbers;
        format!("  {to:<width$}  {purpose:<8}  {partitions:>10}  {suffixes:>8}  {files:>8}  {bytes:>10}")
    };
    line(out, &row("push to", "for", ["partitions", "suffixes", "files", "at most"]));
    for ((to, purpose), sum) in rows {
        let numbers = [sum.partitions.len().to_string(), sum.suffixes.to_string(), sum.files.to_string()];
        let [partitions, suffixes, files] = &numbers;
        let size = bytes(sum.bytes);
        line(out, &row(&to, purpose, [partitions, suffixes, files, &size]));
    }
}

fn fate(handoff: &HandOff) -> String {
    let HandOff { policy, partition, pushes, removed } = handoff;
    let names = |wanted: fn(&&Push) -> bool| {
        let names: Vec<_> = pushes.iter().filter(wanted).map(|push| push.to.as_str()).collect();
        names.join(", ")
    };
    let (lacking, having) = (names(|push| push.suffixes > 0), names(|push| push.suffixes == 0));
    let mut text = format!("hand-off, policy {policy}, partition {partition}:");
    if !lacking.is_empty() {
        let _ = write!(text, " to {lacking};");
    }
    if !having.is_empty() {
        let _ = write!(text, " already on {having};");
    }
    if pushes.is_empty() && *removed {
        text.push_str(" empty;");
    }
    text.push_str(match (pushes.is_empty(), removed) {
        (false, true) => " then removed here",
        (true, true) => " removed here",
        (_, false) => " kept here",
    });
    text
}

/// Pushes added up.
#[derive(Default)]
struct Sum {
    partitions: BTreeSet<(u32, u32)>,
    suffixes: usize,
    files: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, push: &Push) {
        if push.suffixes > 0 {
            self.partitions.insert((push.policy, push.partition));
        }
        self.suffixes += push.suffixes;
        self.files += push.files;
        self.bytes += push.bytes;
    }
}

fn all_pushes(device: &Device) -> impl Iterator<Item = &Push> {
    device.updates.iter().chain(device.handoffs.iter().flat_map(|handoff| &handoff.pushes))
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Names in it are those that a ring or a disk has.
fn line(out: &mut String, line: &str) {
    out.push_str(&printable(line));
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::prediction::FailedNode;
    use super::*;

    fn push(to: &str, partition: u32, suffixes: usize) -> Push {
        let (files, bytes) = (suffixes as u64 * 2, suffixes as u64 * 1_000_000);
        Push { to: to.to_owned(), policy: 0, partition, suffixes, files, bytes }
    }

    fn handoff(partition: u32, pushes: Vec<Push>, removed: bool) -> HandOff {
        HandOff { policy: 0, partition, pushes, removed }
    }

    const A: &str = "10.0.0.1:6200/sda";
    const B: &str = "10.0.0.2:6200/sdb";

    #[test]
    fn pushes_are_added_up_and_hand_offs_named() {
        let device = Device {
            device: "sdc".to_owned(),
            partitions: 40,
            updates: vec![push(A, 1, 2), push(A, 2, 1), push(B, 1, 1)],
            handoffs: vec![
                handoff(7, vec![push(A, 7, 3), push(B, 7, 0)], true),
                handoff(8, vec![push(A, 8, 0)], false),
                handoff(9, vec![], true),
            ],
            failures: vec![FailedNode { node: "10.0.0.3/sdb".to_owned(), times: 1 }],
        };
        let text = render(&DryRunReport { complete: false, seconds: 1.25, devices: vec![device] });
        let expected = "\
Nothing was written, pushed or removed. This is what a pass would do.

sdc: 40 partitions looked at, 2 out of sync, 3 hand-offs
  push to            for       partitions  suffixes     files     at most
  10.0.0.1:6200/sda  hand-off           1         3         6     2.9 MiB
  10.0.0.1:6200/sda  update             2         3         6     2.9 MiB
  10.0.0.2:6200/sdb  update             1         1         2   976.6 KiB
  hand-off, policy 0, partition 7: to 10.0.0.1:6200/sda; already on 10.0.0.2:6200/sdb; then removed here
  hand-off, policy 0, partition 8: already on 10.0.0.1:6200/sda; kept here
  hand-off, policy 0, partition 9: empty; removed here
  FAILED: 10.0.0.3/sdb, 1 time

In all: 7 suffixes in 3 partitions to push, at most 6.7 MiB; 2 hand-offs to remove. Looked at in 1.2 s.
NOT COMPLETE: not every partition had its turn; the messages say why.
";
        assert_eq!(text, expected);
    }

    #[test]
    fn names_that_a_ring_has_forge_no_lines() {
        let evil = "10.0.0.1:6200/s\u{1b}[2Jd\nIn all: nothing".to_owned();
        let device = Device {
            device: evil.clone(),
            partitions: 1,
            updates: vec![push(&evil, 1, 2)],
            handoffs: vec![handoff(7, vec![push(&evil, 7, 3)], true)],
            failures: vec![FailedNode { node: evil, times: 1 }],
        };
        let text = render(&DryRunReport { complete: true, seconds: 0.0, devices: vec![device] });
        assert_eq!(text.matches("/s#033[2Jd#012In all").count(), 5, "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("In all: ")).count(), 1, "{text}");
    }

    #[test]
    fn of_many_hand_offs_only_some_are_named() {
        let handoffs = (0..50).map(|partition| handoff(partition, vec![], true)).collect();
        let device = Device { device: "sda".to_owned(), partitions: 50, updates: vec![], handoffs, failures: vec![] };
        let text = render(&DryRunReport { complete: true, seconds: 0.0, devices: vec![device] });
        assert_eq!(text.matches("hand-off, policy").count(), NAMED);
        assert!(text.contains("  ... and 30 hand-offs more, which --json names\n"), "{text}");
    }
}
