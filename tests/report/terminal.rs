//! A single pass that somebody started on a terminal.

use crate::support::cluster::{Cluster, Lease, Spec};
use crate::support::object::time;
use crate::support::replicator::Which;

fn filled() -> (Lease, usize) {
    let cluster = Spec::nodes(3).lease();
    let parts = cluster.partitions_at(0, 0);
    for &part in &parts {
        put(&cluster, part);
    }
    (cluster, parts.len())
}

fn put(cluster: &Cluster, part: u32) {
    cluster.put(&cluster.home(0, part, 0), &cluster.object_in(0, part), &time(1), b"to be replicated");
}

#[test]
fn a_bar_shows_how_far_each_device_is_and_the_report_stays_below_it() {
    for columns in [20, 100] {
        let (cluster, count) = filled();
        let outcome = cluster.pass(Which::Ours, 0).on_terminal(columns).run();
        outcome.clean();
        let done = format!("100%  {count}/{count}");
        let bars: Vec<_> = outcome.stdout.split(['\r', '\n']).map(str::trim_end).collect();
        let last = bars.iter().rposition(|line| line.ends_with(&done));
        let last = last.unwrap_or_else(|| panic!("{:?} is not in {:?}", done, outcome.stdout));
        assert!(bars[last].contains("sda"), "{:?}", outcome.stdout);
        assert_eq!(bars[last].contains("[===="), columns == 100, "{:?}", outcome.stdout);
        let report = format!("Report: pass complete: {count} of {count} partitions (100.0%) in ");
        assert!(bars[last..].iter().any(|line| line.starts_with(&report)), "{:?}", outcome.stdout);
        assert_eq!(outcome.count(&report), 1, "{}", outcome.all());
    }
}

#[test]
fn without_a_terminal_nothing_is_said_and_with_a_log_on_it_no_bar_gets_in_between() {
    let (cluster, _) = filled();
    let outcome = cluster.pass(Which::Ours, 0).run();
    assert!(outcome.stdout.is_empty(), "{:?}", outcome.stdout);
    assert!(outcome.console.iter().all(|line| line.starts_with("object-replicator: ")), "{:?}", outcome.console);

    let outcome = cluster.pass(Which::Ours, 0).on_terminal(80).words(&["-v"]).run();
    assert!(outcome.stdout.contains("object-replicator: Report: pass complete"), "{:?}", outcome.stdout);
    assert!(!outcome.stdout.contains('\u{1b}'), "{:?}", outcome.stdout);
}
