//! This node, as a table for people.

use super::local::{Node, RingState, Row, Source};
use crate::printable::printable;
use crate::report::units::{duration, utc};

/// What is said where nothing is known.
const UNKNOWN: &str = "unknown";

/// The table.
pub(super) fn render(node: &Node, now: f64) -> String {
    let mut lines = vec![head(node, now)];
    lines.extend(node.process.iter().flat_map(|process| &process.stuck).map(|line| format!("It looks stuck: {line}")));
    lines.extend(node.process.iter().flat_map(|process| &process.troubles).map(|line| format!("It runs, but: {line}")));
    let ring = |ring: &RingState| {
        let RingState { policy, policy_name, changed, .. } = ring;
        format!("The ring of policy {policy} ({policy_name}) is of {}.", utc(*changed))
    };
    lines.extend(node.rings.iter().map(ring));
    lines.push(String::new());
    let width = node.devices.iter().map(|row| printable(&row.device).chars().count()).max().unwrap_or(0).max(6);
    lines.push(format!(
        "{:<width$} {:>6} {:>10} {:>10} {:>9} {:>6} {:>9} {:>10}  KNOWN FROM",
        "DEVICE", "POLICY", "PARTITIONS", "PRIMARIES", "HAND-OFFS", "STUCK", "PER HOUR", "TIME LEFT"
    ));
    for row in &node.devices {
        lines.push(line(row, width));
        lines.extend((!row.causes.is_empty()).then(|| format!("{:<width$}        stuck: {}", "", row.causes)));
    }
    lines.extend(node.unreadable_rings.iter().map(|line| format!("Nothing is known of {line}")));
    lines.push(String::new());
    lines.push(sum(node));
    lines.iter().map(|line| printable(line.trim_end()).into_owned() + "\n").collect()
}

fn head(node: &Node, now: f64) -> String {
    match &node.process {
        Some(process) => {
            let what = if process.daemon { "the daemon" } else { "a single pass" };
            format!("By {what}, process {}, as of {} ago.", process.pid, duration(now - process.written))
        }
        None => match &node.process_unknown {
            Some(why) => format!("Whether a replicator runs is not known ({why}): the devices' folders are listed."),
            None => "No replicator runs with this configuration: the devices' folders are listed.".to_owned(),
        },
    }
}

fn line(row: &Row, width: usize) -> String {
    let name = printable(&row.device);
    let Some(source) = row.known_from else {
        let trouble = row.trouble.as_deref().unwrap_or(UNKNOWN);
        return format!("{name:<width$} {:>6} {UNKNOWN}: {trouble}", row.policy);
    };
    let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let stuck = row.handoffs_stuck.as_ref().map(|stuck| stuck.values().fold(0, |sum: u64, n| sum.saturating_add(*n)));
    let rate = row.handoffs_per_hour.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
    let left = row.seconds_left.map_or_else(|| UNKNOWN.to_owned(), duration);
    let source = match source {
        Source::RunningPass => "the pass that is under way".to_owned(),
        Source::LastPass => format!("the pass that ended {}", row.as_of.map_or_else(String::new, utc)),
        Source::Listing => "a listing now".to_owned(),
    };
    format!(
        "{name:<width$} {:>6} {:>10} {:>10} {:>9} {:>6} {rate:>9} {left:>10}  {source}",
        row.policy,
        number(row.partitions),
        number(row.primaries),
        number(row.handoffs_left),
        number(stuck)
    )
}

fn sum(node: &Node) -> String {
    let total = &node.total;
    if let Some(why) = &node.nothing_here {
        return format!("Nothing is known of hand-offs here: {why}.");
    }
    let stuck = match total.handoffs_stuck {
        0 => String::new(),
        stuck => format!(", {stuck} of them stuck"),
    };
    let unknown = match total.unknown_devices {
        0 if node.unreadable_rings.is_empty() => String::new(),
        0 => ", where it is known".to_owned(),
        count => format!(", and what is on {count} of {} devices is unknown", node.devices.len()),
    };
    let time = match total.seconds_left {
        Some(_) if total.handoffs_left == 0 => String::new(),
        left => format!("; time left: {}", left.map_or_else(|| UNKNOWN.to_owned(), duration)),
    };
    format!("In all: {} hand-offs are left on this node{stuck}{unknown}{time}.", total.handoffs_left)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::local::{Process, Total};
    use super::*;

    fn row(device: &str) -> Row {
        Row {
            device: device.to_owned(),
            policy: 0,
            policy_name: "gold".to_owned(),
            trouble: Some(format!("/srv/node/{device} is not mounted")),
            ..Row::default()
        }
    }

    #[test]
    fn a_node_without_devices_has_nothing_left_as_far_as_nobody_knows() {
        let node = Node {
            process: None,
            process_unknown: Some("status cannot be read".into()),
            rings: Vec::new(),
            devices: Vec::new(),
            unreadable_rings: Vec::new(),
            nothing_here: Some("no device of the rings belongs to this machine".into()),
            total: Total::default(),
        };
        let text = render(&node, 0.0);
        assert!(
            text.starts_with("Whether a replicator runs is not known (status cannot be read): the devices' "),
            "{text}"
        );
        assert!(
            text.ends_with("\nNothing is known of hand-offs here: no device of the rings belongs to this machine.\n")
        );
        assert!(!node.is_known() && !text.contains("0 hand-offs"), "{text}");
    }

    #[test]
    fn a_device_that_is_not_known_is_said_to_be_so() {
        let moving = Row {
            known_from: Some(Source::RunningPass),
            trouble: None,
            partitions: Some(1200),
            primaries: Some(1180),
            handoffs_left: Some(20),
            handoffs_stuck: Some(BTreeMap::from([("full".to_owned(), 5)])),
            handoffs_per_hour: Some(720.4),
            seconds_left: Some(100.0),
            causes: "5 disk full".to_owned(),
            ..row("sda")
        };
        let node = Node {
            process: Some(Process { pid: 77, daemon: true, written: 997.0, stuck: Vec::new(), troubles: Vec::new() }),
            process_unknown: None,
            rings: vec![RingState { policy: 0, policy_name: "gold".into(), md5: "a".into(), changed: 0.0 }],
            devices: vec![moving, row("sdb")],
            unreadable_rings: Vec::new(),
            nothing_here: None,
            total: Total { handoffs_left: 20, handoffs_stuck: 5, seconds_left: None, unknown_devices: 1 },
        };
        let expected = "\
By the daemon, process 77, as of 3.0s ago.
The ring of policy 0 (gold) is of 1970-01-01 00:00:00 UTC.

DEVICE POLICY PARTITIONS  PRIMARIES HAND-OFFS  STUCK  PER HOUR  TIME LEFT  KNOWN FROM
sda         0       1200       1180        20      5       720     1m 40s  the pass that is under way
              stuck: 5 disk full
sdb         0 unknown: /srv/node/sdb is not mounted

In all: 20 hand-offs are left on this node, 5 of them stuck, and what is on 1 of 2 devices is unknown; time left: unknown.
";
        assert_eq!(render(&node, 1000.0), expected);
    }
}
