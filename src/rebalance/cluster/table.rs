//! All nodes, as a table for people; the verdict comes last, where it is seen.

use super::judge::{Judged, Program, State};
use super::verdict::Summary;
use crate::printable::printable;
use crate::report::units::{duration, utc};

/// The table.
pub(super) fn render(nodes: &[Judged], summary: &Summary) -> String {
    let width = nodes.iter().map(|node| printable(&node.node).chars().count()).max().unwrap_or(0).max(4);
    let mut lines = vec![format!(
        "{:<width$} {:<5} {:>9} {:>6} {:>10} {:>8}  {:<23}  STATE",
        "NODE", "RINGS", "HAND-OFFS", "STUCK", "LAST PASS", "FAILURES", "ENDED"
    )];
    lines.extend(nodes.iter().map(|node| line(node, width)));
    lines.push(String::new());
    if let Some(disk) = &summary.fullest_disk {
        lines.push(format!("Fullest disk: {} of {}, {:.1}% used", disk.device, disk.node, disk.used * 100.0));
    }
    lines.push(match (&summary.slowest_node, summary.min_part_hours) {
        (Some(slowest), Some(hours)) => format!(
            "Slowest node: {}, whose last complete pass took {}: min_part_hours should be at least {hours}",
            slowest.node,
            duration(slowest.seconds)
        ),
        _ => "No complete pass is known, so nothing can be said of min_part_hours".to_owned(),
    });
    lines.push(summary.line.clone());
    lines.iter().map(|line| printable(line.trim_end()).into_owned() + "\n").collect()
}

fn line(node: &Judged, width: usize) -> String {
    let rings = match node.same_rings {
        Some(true) => "same",
        Some(false) => "OTHER",
        None => "?",
    };
    let number = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
    let took = node.last_pass_seconds.map_or_else(|| "?".to_owned(), duration);
    let ended = node.last_pass_ended.map_or_else(|| "?".to_owned(), utc);
    let (mut state, unknown) = match &node.state {
        State::Done => ("done".to_owned(), false),
        State::Wait(why) => (format!("wait: {}", why.join("; ")), false),
        State::Unknown(why) => (format!("unknown: {}", why.join("; ")), true),
    };
    if node.program == Program::Other && !unknown {
        state += " (hand-offs unknown there)";
    }
    if let (State::Wait(_), Some(left)) = (&node.state, node.seconds_left) {
        state += &format!(", about {}", duration(left));
    }
    format!(
        "{:<width$} {rings:<5} {:>9} {:>6} {took:>10} {:>8}  {ended:<23}  {state}",
        printable(&node.node),
        number(node.handoffs_left),
        number(node.handoffs_stuck),
        number(node.failures)
    )
}
