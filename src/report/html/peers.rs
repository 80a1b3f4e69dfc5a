//! The peers on the page: a line for each node, which opens to its disks. Those with most failures come first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::counts::Counts;
use super::super::units::bytes;
use super::rows::{Cell, bar, escape, failures, heading, name as named, pushed, table};

/// More nodes than this are not listed, nor more disks in all.
const MAX_NODES: usize = 200;
const MAX_DISKS: usize = 3_000;
/// If no more nodes than this have failures, they are opened from the beginning.
const FEW: usize = 3;

/// A node, and what happened with its disks.
#[derive(Default)]
struct Node<'a> {
    sum: Counts,
    disks: Vec<(&'a str, &'a Counts)>,
}

/// The nodes of these disks, whose names are like `10.0.0.2:6200/sda`.
pub(super) fn peers(page: &mut String, peers: &BTreeMap<String, Counts>) {
    if peers.is_empty() {
        return;
    }
    let mut nodes: BTreeMap<&str, Node<'_>> = BTreeMap::new();
    for (name, counts) in peers {
        let node = nodes.entry(host_of(name)).or_default();
        node.sum.merge(counts);
        node.disks.push((name, counts));
    }
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort_by_key(|(_, node)| Reverse(node.sum.failures()));
    let failing = nodes.iter().filter(|(_, node)| node.sum.failures() > 0).count();
    heading(page, "Peers", &format!("{} nodes, {failing} of them with failures, those first", nodes.len()));
    let (mut room, mut shown) = (MAX_DISKS, 0);
    for (name, node) in nodes.iter().take(MAX_NODES) {
        write_node(page, name, node, failing <= FEW, room);
        room = room.saturating_sub(node.disks.len());
        shown += 1;
    }
    if shown < nodes.len() {
        let _ = write!(page, "<p class=\"faint\">and {} more nodes</p>", nodes.len() - shown);
    }
}

fn write_node(page: &mut String, name: &str, node: &Node<'_>, may_be_open: bool, room: usize) {
    let Node { sum, disks } = node;
    let bad = disks.iter().filter(|(_, counts)| counts.failures() > 0).count();
    let open = if bad > 0 && may_be_open { " open" } else { "" };
    let _ = write!(
        page,
        "<details{open}><summary><b>{}</b> {} disks, {} partitions, {} pushed ({})",
        escape(name),
        disks.len(),
        sum.attempted,
        sum.pushed,
        bytes(sum.bytes)
    );
    if bad > 0 {
        let _ = write!(page, ", {}", failures(&format!("failures with {bad} of them: {}", sum.causes())));
    }
    let _ = write!(page, "{}</summary>", bar(sum.attempted, sum));
    let mut disks = disks.clone();
    disks.sort_by_key(|(_, counts)| Reverse(counts.failures()));
    let shown = disks.len().min(room);
    table(page, disks[..shown].iter().map(|(name, counts)| row(name, counts)));
    if shown < disks.len() {
        let _ = write!(page, "<p class=\"faint\">and {} more disks</p>", disks.len() - shown);
    }
    page.push_str("</details>");
}

fn row(name: &str, counts: &Counts) -> Vec<Cell<'static>> {
    let failed = if counts.failures() == 0 { "0".to_owned() } else { failures(&counts.causes()) };
    vec![
        ("Disk", named(name)),
        ("Partitions", counts.attempted.to_string()),
        ("", bar(counts.attempted, counts)),
        ("Pushed", pushed(counts)),
        ("Failures", failed),
    ]
}

/// The address in the name of a peer's disk: a node may have a port for each of its disks.
fn host_of(peer: &str) -> &str {
    let node = peer.split_once('/').map_or(peer, |(node, _)| node);
    node.rsplit_once(':').map_or(node, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Cause;

    #[test]
    fn a_node_is_an_address_whatever_its_ports() {
        let hosts = ["10.0.0.2:6200/sda", "10.0.0.2:6201/sdb", "[fe80::1]:6200/sda", "odd"].map(host_of);
        assert_eq!(hosts, ["10.0.0.2", "10.0.0.2", "[fe80::1]", "odd"]);
    }

    fn cluster(nodes: u32, disks: u32) -> BTreeMap<String, Counts> {
        let names = (0..nodes).flat_map(|node| (0..disks).map(move |disk| format!("10.0.{node}.1:6200/d{disk}")));
        names.map(|name| (name, Counts { attempted: 10, in_sync: 10, ..Counts::default() })).collect()
    }

    #[test]
    fn twelve_hundred_disks_are_sixty_lines_the_worst_first_and_all_are_there() {
        let mut all = cluster(60, 20);
        all.get_mut("10.0.41.1:6200/d7").unwrap().fail_times(Cause::Full, 10);
        all.get_mut("10.0.3.1:6200/d9").unwrap().fail_times(Cause::Push, 4);
        let mut page = String::new();
        peers(&mut page, &all);
        assert_eq!((page.matches("<summary>").count(), page.matches("<details open>").count()), (60, 2));
        assert_eq!(page.matches("<td title=\"Disk\">").count(), 1200);
        let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}"));
        assert!(
            place("<b>10.0.41.1</b>") < place("<b>10.0.3.1</b>") && place("<b>10.0.3.1</b>") < place("<b>10.0.0.1</b>")
        );
        assert!(place("10.0.41.1:6200/d7") < place("10.0.41.1:6200/d0"), "the worst disk comes first");
        assert!(page.contains("60 nodes, 2 of them with failures") && page.len() < 1 << 20, "{}", page.len());
    }

    #[test]
    fn more_than_anybody_reads_are_counted() {
        let mut page = String::new();
        peers(&mut page, &cluster(210, 20));
        assert!(page.contains("and 10 more nodes") && page.contains("and 20 more disks"));
        assert_eq!(page.matches("<td title=\"Disk\">").count(), MAX_DISKS);
    }
}
