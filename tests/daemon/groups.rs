//! Groups of devices (`replicator_workers`): each goes its own way, and their figures come together (B5.20-B5.22, B12.18).

use std::fs;

use serde_json::Value;

use super::{is_everywhere, put_everywhere_on};
use crate::support::cluster::{Cluster, Lease, Spec};
use crate::support::guard::{PATIENCE, until};
use crate::support::object::Object;
use crate::support::replicator::Which;
use crate::support::rsync::FakeRsync;

fn two_devices() -> (Lease, [Vec<Object>; 2]) {
    let cluster = Spec::nodes(3).devices(2).lease();
    let disks: Vec<_> = cluster.disks_of(0).cloned().collect();
    let objects = [0, 1].map(|place| put_everywhere_on(&cluster, &disks[place]));
    (cluster, objects)
}

fn recon(cluster: &Cluster) -> Value {
    let text = fs::read_to_string(cluster.nodes[0].recon().join("object.recon")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn attempted(figures: &Value) -> Option<u64> {
    figures["replication_stats"]["attempted"].as_u64()
}

fn count(objects: &[Object]) -> u64 {
    u64::try_from(objects.len()).expect("few objects")
}

#[test]
fn in_a_single_pass_each_group_has_its_prefix_and_all_figures_are_summed_up() {
    let (cluster, objects) = two_devices();
    let outcome = cluster.pass(Which::Ours, 0).set("replicator_workers", 9).run();
    outcome.clean();
    let pid = outcome.messages().find_map(|line| line.strip_prefix("Starting ")).expect("it says so").to_owned();
    for (group, objects) in (1..).zip(&objects) {
        let prefix = format!("[worker {group}/2 pid={pid}] ");
        outcome.says(&format!("{prefix}Running object replicator in script mode."));
        outcome.says(&format!("{prefix}{n}/{n} (100.00%) partitions replicated in ", n = objects.len()));
        outcome.says(&format!("{prefix}Object replication complete (once). (0."));
        assert!(objects.iter().all(|object| is_everywhere(&cluster, object)));
    }
    outcome.says(&format!("Finished {pid}")).says(&format!("Exited {pid}"));
    let recon = recon(&cluster);
    let disks = &recon["object_replication_per_disk"];
    assert_eq!(attempted(&disks["sda"]), Some(count(&objects[0])), "{recon}");
    assert_eq!(attempted(&disks["sdb"]), Some(count(&objects[1])), "{recon}");
    assert_eq!(attempted(&recon), Some(count(&objects[0]) + count(&objects[1])), "{recon}");
}

#[test]
fn a_single_pass_over_some_devices_leaves_no_figures() {
    let (cluster, objects) = two_devices();
    let pass = cluster.pass(Which::Ours, 0).set("replicator_workers", 2);
    let outcome = pass.words(&["--devices", "sdb,sdz"]).run();
    outcome.clean().says("[worker 1/1 pid=").does_not_say("[worker 2/");
    assert!(objects[1].iter().all(|object| is_everywhere(&cluster, object)));
    assert!(!objects[0].iter().any(|object| is_everywhere(&cluster, object)));
    assert!(outcome.recon.is_none_or(|recon| recon == serde_json::json!({})));
}

#[test]
fn a_slow_disk_does_not_delay_the_other_groups_next_pass() {
    let (cluster, objects) = two_devices();
    let gate = tempfile::tempdir().expect("a folder");
    let slow = cluster.nodes[0].devices().join("sda");
    let rsync = FakeRsync::doing(&format!(
        "case \"$PWD/ $*\" in *{}/*) while [ ! -e '{}/open' ]; do sleep 0.1; done;; esac\nexec \"$rsync\" \"$@\"",
        slow.display(),
        gate.path().display()
    ));
    let pass = cluster.pass(Which::Ours, 0).forever().set("replicator_workers", 2).set("interval", "0.1");
    let daemon = pass.set("stats_interval", 1).rsync(&rsync).start();
    daemon.wait_for_times("[worker 2/2 pid=", 20);
    let complete = |group: u32| {
        let console = daemon.console();
        let is_it = |line: &&str| line.contains(&format!("[worker {group}/2 ")) && line.contains("tion complete. (");
        console.lines().filter(is_it).count()
    };
    assert!(until(PATIENCE, || complete(2) >= 3), "{}", daemon.console());
    assert_eq!(complete(1), 0, "{}", daemon.console());
    assert!(objects[1].iter().all(|object| is_everywhere(&cluster, object)));
    let early = recon(&cluster);
    assert!(early["object_replication_per_disk"]["sdb"].is_object(), "{early}");
    // Half of the figures would pass for all of them.
    assert!(early["object_replication_per_disk"]["sda"].is_null() && early["replication_stats"].is_null(), "{early}");

    fs::write(gate.path().join("open"), "").expect("our own folder");
    let summed_up = until(PATIENCE, || attempted(&recon(&cluster)) == Some(count(&objects[0]) + count(&objects[1])));
    assert!(summed_up, "{}\n{}", recon(&cluster), daemon.console());
    assert!(until(PATIENCE, || objects[0].iter().all(|object| is_everywhere(&cluster, object))));
    assert!(complete(1) >= 1);
}

#[test]
fn a_device_that_leaves_the_ring_leaves_the_figures_too() {
    let (cluster, _) = two_devices();
    let pass = cluster.pass(Which::Ours, 0).forever().set("replicator_workers", 2).set("interval", "0.1");
    let daemon = pass.set("stats_interval", 0).set("ring_check_interval", "0.1").set("log_level", "WARNING").start();
    let disks = || recon(&cluster)["object_replication_per_disk"].as_object().map(|disks| disks.len());
    assert!(until(PATIENCE, || disks() == Some(2)), "{}", daemon.console());
    let mut devices = cluster.ring_devices();
    devices[1]["replication_ip"] = serde_json::json!(cluster.spare_address());
    crate::support::lab::assign_ring(&cluster.ring(0), 1, cluster.part_power(0), &cluster.rows(0), &devices);
    assert!(until(PATIENCE, || disks() == Some(1)), "{}\n{}", recon(&cluster), daemon.console());
    assert!(until(PATIENCE, || attempted(&recon(&cluster)).is_some()), "{}", recon(&cluster));
}
