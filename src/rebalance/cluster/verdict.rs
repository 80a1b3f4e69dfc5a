//! What follows for all nodes together: push the next ring, wait, or it cannot be told.
//!
//! The next ring may be pushed only if everything is known to be done. So one node that does not answer is enough for "it
//! cannot be told", whatever is known of the others: what it lacks may be what the next ring would move away.

use serde::Serialize;

use super::judge::{Judged, Program, State};
use crate::report::units::duration;

/// So many nodes are named in the verdict's line.
const NAMED: usize = 3;

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Push,
    Wait,
    Unknown,
}

impl Verdict {
    pub(super) const fn exit_code(self) -> u8 {
        match self {
            Self::Push => 0,
            Self::Wait => 1,
            Self::Unknown => 2,
        }
    }
}

/// All nodes together.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub verdict: Verdict,
    pub exit_code: u8,
    /// The verdict in a line.
    pub line: String,
    pub nodes_with_other_rings: Vec<String>,
    /// As far as they are known.
    pub handoffs_left: u64,
    /// Nodes of which they are not.
    pub handoffs_unknown_on: Vec<String>,
    /// Until the last node is done; `None`: that cannot be told.
    pub seconds_left: Option<f64>,
    pub fullest_disk: Option<FullestDisk>,
    /// The node whose last complete pass took longest.
    pub slowest_node: Option<SlowestNode>,
    /// Twice the slowest complete pass, in hours, for the builder; `None`: no complete pass is known.
    pub min_part_hours: Option<u64>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct FullestDisk {
    pub node: String,
    pub device: String,
    /// From 0 to 1.
    pub used: f64,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct SlowestNode {
    pub node: String,
    pub seconds: f64,
}

impl Summary {
    /// The summary of these nodes; `unreadable` are lines about rings that cannot be read here, and `raised` about those
    /// whose part power is being raised.
    pub(super) fn new(nodes: &[Judged], unreadable: &[String], raised: &[String]) -> Self {
        let unknown: Vec<_> = nodes.iter().filter(|node| matches!(node.state, State::Unknown(_))).collect();
        let waiting: Vec<_> = nodes.iter().filter(|node| matches!(node.state, State::Wait(_))).collect();
        let verdict = match (&unknown[..], unreadable, &waiting[..], raised) {
            ([], [], [], []) if !nodes.is_empty() => Verdict::Push,
            ([], [], ..) if !nodes.is_empty() => Verdict::Wait,
            _ => Verdict::Unknown,
        };
        let times: Option<Vec<_>> = nodes.iter().map(|node| node.seconds_left).collect();
        let seconds_left =
            times.map(|times| times.into_iter().fold(0.0, f64::max)).filter(|_| verdict != Verdict::Unknown);
        let slowest_node = slowest(nodes);
        let line = match verdict {
            Verdict::Push => push(nodes),
            Verdict::Wait if waiting.is_empty() => format!("WAIT: {}", raised.join("; ")),
            Verdict::Wait => wait(&waiting, raised, seconds_left),
            Verdict::Unknown => cannot_tell(&unknown, unreadable),
        };
        Self {
            verdict,
            exit_code: verdict.exit_code(),
            line,
            nodes_with_other_rings: names(nodes, |node| node.same_rings == Some(false)),
            handoffs_left: nodes.iter().filter_map(|node| node.handoffs_left).fold(0, u64::saturating_add),
            handoffs_unknown_on: names(nodes, |node| node.handoffs_left.is_none()),
            seconds_left,
            fullest_disk: fullest(nodes),
            min_part_hours: slowest_node.as_ref().map(|slowest| min_part_hours(slowest.seconds)),
            slowest_node,
        }
    }
}

fn names(nodes: &[Judged], is_wanted: impl Fn(&Judged) -> bool) -> Vec<String> {
    nodes.iter().filter(|node| is_wanted(node)).map(|node| node.node.clone()).collect()
}

fn fullest(nodes: &[Judged]) -> Option<FullestDisk> {
    let disks = nodes.iter().filter_map(|node| Some((node, node.fullest_disk.as_ref()?)));
    let (node, (device, used)) = disks.max_by(|a, b| a.1.1.total_cmp(&b.1.1))?;
    Some(FullestDisk { node: node.node.clone(), device: device.clone(), used: *used })
}

fn slowest(nodes: &[Judged]) -> Option<SlowestNode> {
    let passes = nodes.iter().filter_map(|node| Some((node, node.complete_pass_seconds?)));
    let (node, seconds) = passes.max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(SlowestNode { node: node.node.clone(), seconds })
}

/// Whole hours, since builders know no others, and at least one.
fn min_part_hours(seconds: f64) -> u64 {
    ((2.0 * seconds / 3600.0).ceil() as u64).max(1)
}

fn push(nodes: &[Judged]) -> String {
    let other = nodes.iter().filter(|node| node.program == Program::Other).count();
    let failures = nodes.iter().filter_map(|node| node.failures).fold(0, u64::saturating_add);
    let mut line =
        "PUSH the next ring: every node has this one, has made a complete pass with it, and has no hand-offs left"
            .to_owned();
    if other > 0 {
        line += &format!(
            " (hand-offs are unknown on {other} nodes that do not run this program; a pass without failures since the ring \
             was written counts for them)"
        );
    }
    if failures > 0 {
        line += &format!("; the last passes had {failures} failures, so look at their reports first");
    }
    line
}

fn wait(waiting: &[&Judged], raised: &[String], seconds_left: Option<f64>) -> String {
    let reason = |node: &&Judged| match &node.state {
        State::Wait(why) => format!("{} ({})", node.node, why.join("; ")),
        _ => node.node.clone(),
    };
    let time =
        seconds_left.map_or_else(|| "how long cannot be told".to_owned(), |left| format!("about {}", duration(left)));
    let raised = raised.iter().fold(String::new(), |text, line| format!("{text}; {line}"));
    format!("WAIT, {time}: for {}{raised}", some_of(waiting, reason))
}

fn cannot_tell(unknown: &[&Judged], unreadable: &[String]) -> String {
    let reason = |node: &&Judged| match &node.state {
        State::Unknown(why) => format!("{} ({})", node.node, why.join("; ")),
        _ => node.node.clone(),
    };
    match (unknown, unreadable) {
        ([], []) => "CANNOT TELL: no ring has a device".to_owned(),
        ([], unreadable) => format!("CANNOT TELL: {}", unreadable.join("; ")),
        (unknown, unreadable) => {
            let rings = unreadable.iter().fold(String::new(), |text, line| format!("{text}; {line}"));
            format!("CANNOT TELL: nothing sure is known of {}{rings}", some_of(unknown, reason))
        }
    }
}

fn some_of(nodes: &[&Judged], reason: impl Fn(&&Judged) -> String) -> String {
    let mut named: Vec<_> = nodes.iter().take(NAMED).map(reason).collect();
    if nodes.len() > NAMED {
        named.push(format!("and {} more nodes", nodes.len() - NAMED));
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, state: State) -> Judged {
        let seconds_left = (state == State::Done).then_some(0.0);
        Judged { node: name.to_owned(), state, handoffs_left: Some(0), seconds_left, ..Judged::default() }
    }

    fn wait(name: &str, seconds_left: Option<f64>) -> Judged {
        Judged { seconds_left, ..node(name, State::Wait(vec!["2 hand-offs left".to_owned()])) }
    }

    fn verdict(nodes: &[Judged], unreadable: &[&str], raised: &[&str]) -> (u8, String) {
        let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let summary = Summary::new(nodes, &owned(unreadable), &owned(raised));
        (summary.exit_code, summary.line)
    }

    #[test]
    fn only_if_every_node_is_known_to_be_done_the_next_ring_may_be_pushed() {
        let done = || node("a", State::Done);
        assert_eq!(verdict(&[done(), done()], &[], &[]).0, 0);
        let unknown = || node("b", State::Unknown(vec!["refused".to_owned()]));
        let expected = "CANNOT TELL: nothing sure is known of b (refused)";
        assert_eq!(verdict(&[done(), unknown()], &[], &[]), (2, expected.to_owned()));
        assert_eq!(verdict(&[wait("c", None), unknown()], &[], &[]).0, 2, "what is not known may be worse");
        let expected = "WAIT, about 1m 40s: for c (2 hand-offs left)";
        assert_eq!(verdict(&[done(), wait("c", Some(100.0))], &[], &[]), (1, expected.to_owned()));
        let expected = "WAIT, how long cannot be told: for c (2 hand-offs left), d (2 hand-offs left)";
        assert_eq!(verdict(&[wait("c", None), wait("d", Some(1.0))], &[], &[]), (1, expected.to_owned()));
        assert_eq!(verdict(&[done()], &["no ring"], &[]), (2, "CANNOT TELL: no ring".to_owned()));
        assert_eq!(verdict(&[done()], &[], &["raised"]), (1, "WAIT: raised".to_owned()));
        assert_eq!(verdict(&[], &[], &[]).0, 2, "of no nodes nothing is known");
    }

    #[test]
    fn not_all_of_many_nodes_are_named() {
        let nodes: Vec<_> = (0..20).map(|n| wait(&n.to_string(), None)).collect();
        let line = verdict(&nodes, &[], &[]).1;
        assert!(line.ends_with("2 (2 hand-offs left), and 17 more nodes"), "{line}");
    }

    #[test]
    fn the_fullest_disk_and_the_slowest_pass_are_found_and_hours_are_rounded_up() {
        let mut nodes = [node("a", State::Done), node("b", State::Done)];
        assert_eq!(Summary::new(&nodes, &[], &[]).min_part_hours, None);
        (nodes[0].fullest_disk, nodes[1].fullest_disk) = (Some(("sda".into(), 0.5)), Some(("sdb".into(), 0.9)));
        (nodes[0].complete_pass_seconds, nodes[1].complete_pass_seconds) = (Some(5401.0), Some(60.0));
        let summary = Summary::new(&nodes, &[], &[]);
        let disk = FullestDisk { node: "b".into(), device: "sdb".into(), used: 0.9 };
        assert_eq!(summary.fullest_disk, Some(disk));
        assert_eq!(summary.slowest_node, Some(SlowestNode { node: "a".into(), seconds: 5401.0 }));
        assert_eq!(summary.min_part_hours, Some(4));
        assert_eq!(min_part_hours(1.0), 1);
    }
}
