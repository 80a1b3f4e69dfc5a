//! What operators order of a daemon, and what a rebalance makes of it.

use std::process::{Command, Output};

use super::ask;
use super::only::{is_anywhere_else, misplaced_and_at_home};
use crate::support::cluster::{Cluster, Spec};
use crate::support::guard::{PATIENCE, until};
use crate::support::replicator::{Running, Which};

fn order(cluster: &Cluster, words: &[&str]) -> Output {
    let conf = cluster.nodes[0].runs().join("orders.conf");
    std::fs::write(&conf, cluster.nodes[0].conf(&[])).expect("the cluster's folder is writable");
    let output = Command::new(Which::Ours.program()).arg(&conf).args(words).output().expect("it starts");
    assert!(output.status.success(), "{words:?}: {output:?}");
    output
}

/// A daemon that has ended a pass, and takes orders.
fn daemon(cluster: &Cluster, options: &[(&str, &str)]) -> Running {
    let pass = cluster.pass(Which::Ours, 0).forever().set("interval", "0.3");
    let daemon = options.iter().fold(pass, |pass, (key, value)| pass.set(key, value)).start();
    daemon.wait_for("Report: pass ");
    assert!(until(PATIENCE, || cluster.nodes[0].recon().join("object-replicator.sock").exists()));
    daemon
}

#[test]
fn what_is_ordered_to_go_first_goes_though_only_hand_offs_have_their_turn() {
    let cluster = Spec::nodes(4).lease();
    let (_, home) = misplaced_and_at_home(&cluster);
    let daemon = daemon(&cluster, &[("handoffs_only", "yes")]);
    assert!(!is_anywhere_else(&cluster, home));
    order(&cluster, &["--first", "-p", &home.to_string(), "--wait"]);
    assert!(is_anywhere_else(&cluster, home), "{}", daemon.console());
    ask(&cluster, 0, &["--cluster"]).ended(1).says("wait: its last pass was over hand-offs only");
}

#[test]
fn a_pass_of_which_something_is_paused_is_not_taken_for_a_whole_one() {
    let cluster = Spec::nodes(3).devices(2).replicas(1.0).lease();
    (1..3).for_each(|node| drop(cluster.replicate(Which::Ours, node)));
    let daemon = daemon(&cluster, &[]);
    ask(&cluster, 0, &["--cluster"]).ended(0).says("\nPUSH the next ring");
    order(&cluster, &["--pause", "-d", "sdb"]);
    daemon.wait_for("Report: pass incomplete (paused: sdb)");
    let is_awaited = || ask(&cluster, 0, &["--cluster"]).code == Some(1);
    assert!(until(PATIENCE, is_awaited), "{}", ask(&cluster, 0, &["--cluster"]).text);
    ask(&cluster, 0, &["--cluster"]).says("wait: its last pass was not complete").says("\nWAIT");
    order(&cluster, &["--resume"]);
    assert!(until(PATIENCE, || ask(&cluster, 0, &["--cluster"]).code == Some(0)), "{}", daemon.console());
}
