//! A rebalance from its beginning to its end, by what the program offers operators alone: a fourth node is added, the ring
//! is pushed, and the hand-offs are watched, held back, put first and let go until the next ring may be pushed.

use std::process::Command;
use std::time::Duration;

use super::{Said, ask};
use crate::support::cluster::{Cluster, Spec};
use crate::support::guard::{until, with_etc};
use crate::support::object::{Object, time};
use crate::support::replicator::{Running, Which};

/// How long four daemons may take on a busy machine.
const LONG: Duration = Duration::from_secs(120);
const BODY: &[u8] = b"to be moved";

/// Gives the daemon of a node an order, or asks it.
fn order(cluster: &Cluster, node: usize, words: &[&str]) -> Said {
    let node = &cluster.nodes[node];
    let conf = node.runs().join("orders.conf");
    std::fs::write(&conf, node.conf(&[])).expect("the cluster's folder is writable");
    let mut command: Command = with_etc(node.etc(), &Which::Ours.program());
    let output = command.arg(&conf).args(words).output().expect("unshare is installed");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    println!("node {}$ {}\n{text}", node.address, words.join(" "));
    Said { text, code: output.status.code() }
}

/// Asks all nodes, from the first, until the verdict has this exit code.
#[track_caller]
fn wait_for_verdict(cluster: &Cluster, code: i32) -> Said {
    let mut said = ask(cluster, 0, &["--cluster"]);
    until(LONG, || {
        said = ask(cluster, 0, &["--cluster"]);
        said.code == Some(code)
    });
    println!("node {}$ --rebalance --cluster\n{}", cluster.nodes[0].address, said.text);
    said.ended(code);
    said
}

fn daemon(cluster: &Cluster, node: usize) -> Running {
    cluster.pass(Which::Ours, node).forever().set("interval", "0.5").start()
}

/// The rows of a ring of three replicas on the first three nodes, or where the fourth has its share of each.
fn rows(partitions: u32, with_the_fourth: bool) -> Vec<Vec<u32>> {
    let row = |row: u32| (0..partitions).map(move |part| if with_the_fourth && part % 4 == row { 3 } else { row });
    (0..3).map(|number| row(number).collect()).collect()
}

/// Whether an object is on each of its primaries, and on no other device.
fn is_home(cluster: &Cluster, object: &Object) -> bool {
    let primaries = cluster.primaries(0, object.partition);
    cluster.disks().iter().all(|disk| primaries.contains(disk) != object.files(disk).is_empty())
}

#[test]
fn a_rebalance_on_four_nodes_is_driven_from_its_beginning_to_its_end() {
    let mut cluster = Spec::nodes(4).lease();
    let partitions = cluster.partition_count(0);
    cluster.assign_ring(0, &rows(partitions, false));
    let objects: Vec<Object> = (0..partitions).map(|part| cluster.object_in(0, part)).collect();
    objects.iter().for_each(|object| cluster.put_everywhere(object, &time(1), BODY));
    let _daemons: Vec<Running> = (0..4).map(|node| daemon(&cluster, node)).collect();
    wait_for_verdict(&cluster, 0).says("\nPUSH the next ring");

    // The first node is to take it easy during the day, and to begin only when somebody looks.
    order(&cluster, 0, &["--set", "concurrency=1", "rsync_bwlimit=20000", "--for", "8h"]).ended(0);
    order(&cluster, 0, &["--set"]).ended(0).says("concurrency").says("20000");
    order(&cluster, 0, &["--pause", "-d", "sda", "--reason", "new ring at nine"]).ended(0);
    let old_ring = cluster.nodes[0].runs().join("1700000000.object.ring.gz");
    std::fs::copy(cluster.ring(0), &old_ring).expect("the cluster's folder is writable");

    cluster.assign_ring(0, &rows(partitions, true));
    let moved: Vec<&Object> = objects.iter().filter(|object| object.partition % 4 == 0).collect();
    let others: Vec<&Object> = objects.iter().filter(|object| object.partition % 4 != 0).collect();
    assert!(until(LONG, || others.iter().all(|object| is_home(&cluster, object))), "the other nodes move theirs");
    let said = wait_for_verdict(&cluster, 1);
    said.says(&cluster.nodes[0].address.to_string());
    let left = format!("{} hand-offs", moved.len());
    order(&cluster, 0, &["--rebalance"]).ended(0).says("a listing now").says(&left);
    order(&cluster, 0, &["--status"]).ended(0).says("new ring at nine");
    assert!(moved.iter().all(|object| !object.files(&cluster.disks()[0]).is_empty()), "what is paused stays");

    // One partition is wanted at once, then all that the ring has moved.
    let wanted = moved[0].partition.to_string();
    order(&cluster, 0, &["--first", "-p", &wanted, "--reason", "its owner calls"]).ended(0).says("1 ");
    order(&cluster, 0, &["--status"]).says("its owner calls");
    let old_ring = old_ring.to_str().expect("UTF-8").to_owned();
    order(&cluster, 0, &["--first", "--moved", &old_ring]).ended(0);
    order(&cluster, 0, &["--resume", "-d", "sda"]).ended(0);
    order(&cluster, 0, &["--set", "concurrency=default", "rsync_bwlimit=default"]).ended(0);

    wait_for_verdict(&cluster, 0).says("\nPUSH the next ring");
    objects.iter().for_each(|object| {
        assert!(is_home(&cluster, object), "{object:?}");
        cluster.assert_everywhere(object, BODY);
    });
    order(&cluster, 0, &["--rebalance"]).ended(0).says("In all: 0 hand-offs are left on this node.");
}
