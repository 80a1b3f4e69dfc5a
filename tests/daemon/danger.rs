//! What a daemon remembers of copies from one pass to the next.

use std::fs;

use super::{partitions_of, put_in};
use crate::support::cluster::Spec;
use crate::support::guard::{PATIENCE, until};
use crate::support::object::time;
use crate::support::replicator::Which;
use crate::support::rsync::FakeRsync;

/// A partition that no other node takes.
const DANGER: u32 = 9;

#[test]
fn a_partition_with_one_known_copy_is_named_and_comes_first_in_the_next_pass() {
    let cluster = Spec::nodes(3).lease();
    let disk = cluster.disks()[0].clone();
    let others: Vec<_> = partitions_of(&cluster, &disk).into_iter().filter(|part| *part != DANGER).collect();
    others.iter().for_each(|part| cluster.put_everywhere(&cluster.object_in(0, *part), &time(1), b"everywhere"));
    put_in(&cluster, &disk, DANGER);
    let rsync = FakeRsync::doing(&format!("case \"$*\" in *objects/{DANGER}) exit 23;; esac\nexec \"$rsync\" \"$@\""));
    let metrics = cluster.nodes[0].recon().join("metrics.prom");
    let pass = cluster.pass(Which::Ours, 0).forever().set("interval", 10).set("metrics_textfile", metrics.display());
    // One job at a time, for one partition, with the arguments that end with it.
    let daemon = pass.set("rsync_batch", 1).set("rsync_nodelay", "no").rsync(&rsync).start();
    let named = format!("Report: only the copy here is known of 1 partition: sda/objects/{DANGER}");
    daemon.wait_for(&named);

    others.iter().for_each(|part| drop(put_in(&cluster, &disk, *part)));
    daemon.wait_for_times("Successful rsync of ", 2 * others.len());
    let console = daemon.console();
    let (_, second) = console.split_once(&named).expect("it was said");
    let (failed, pushed) = (second.find("Bad rsync return code: 23"), second.find("Successful rsync of "));
    assert!(failed.is_some() && failed < pushed, "{second}");

    daemon.wait_for_times(&named, 2);
    // They are written after the log's lines.
    let text = || fs::read_to_string(&metrics).unwrap_or_default();
    let age = || {
        let text = text();
        let prefix = "swift_object_replicator_oldest_success_age_seconds{device=\"sda\"} ";
        text.lines().find_map(|line| line.strip_prefix(prefix)).and_then(|age| age.parse::<f64>().ok())
    };
    assert!(until(PATIENCE, || age().is_some_and(|age| age >= 10.0)), "{}", text());
    let text = text();
    for line in [
        "partitions_by_confirmed_copies{device=\"sda\",copies=\"1\"} 1".to_owned(),
        format!("partitions_by_confirmed_copies{{device=\"sda\",copies=\"3\"}} {}", others.len()),
    ] {
        assert!(text.contains(&format!("\nswift_object_replicator_{line}\n")), "{line}\n{text}");
    }
}
