//! What the file of metrics says of passes between real servers.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use super::format::{assert_well_formed, samples};
use crate::support::cluster::{Cluster, Spec};
use crate::support::guard::{PATIENCE, until};
use crate::support::object::time;
use crate::support::replicator::Which;
use crate::support::rsync::FakeRsync;

/// An object in each of the first node's partitions, which is nowhere else; how many those are.
fn fill(cluster: &Cluster) -> u64 {
    let parts = cluster.partitions_at(0, 0);
    for &part in &parts {
        cluster.put(&cluster.home(0, part, 0), &cluster.object_in(0, part), &time(1), b"to be replicated");
    }
    parts.len() as u64
}

/// The sum of a family.
fn sum(samples: &BTreeMap<String, f64>, family: &str) -> f64 {
    let name = format!("swift_object_replicator_{family}");
    let own = samples.iter().filter(|(sample, _)| sample.split('{').next() == Some(&name));
    own.map(|(_, value)| value).sum()
}

fn read(cluster: &Cluster) -> String {
    fs::read_to_string(cluster.nodes[0].recon().join("node.prom")).unwrap_or_default()
}

#[test]
fn the_text_of_a_pass_is_well_formed_and_complete() {
    let cluster = Spec::nodes(3).devices(2).lease();
    let found = fill(&cluster) as f64;
    let rsync = FakeRsync::doing("case \"$*\" in *--version*) exec \"$rsync\" \"$@\";; esac\nexit 12");
    for peers in ["device", "node"] {
        let file = cluster.nodes[0].recon().join("node.prom");
        let pass = cluster.pass(Which::Ours, 0).rsync(&rsync).set("metrics_textfile", file.display());
        pass.set("metrics_peers", peers).run().ended(0);
        let samples = assert_well_formed(&read(&cluster));
        let passes = if peers == "device" { 1.0 } else { 2.0 };
        assert_eq!(sum(&samples, "device_attempted_partitions_total"), passes * found, "{samples:#?}");
        assert_eq!((sum(&samples, "device_found_partitions"), sum(&samples, "device_left_partitions")), (found, 0.0));
        assert_eq!((sum(&samples, "ring_readable"), sum(&samples, "build_info")), (1.0, 1.0), "{samples:#?}");
        assert!(sum(&samples, "device_failures_total") > 0.0, "{samples:#?}");
        let of_peers = samples.keys().filter_map(|sample| sample.split_once("peer=\"")?.1.split('"').next());
        let of_peers: std::collections::BTreeSet<_> = of_peers.collect();
        assert!(
            !of_peers.is_empty() && of_peers.iter().all(|peer| peer.contains('/') == (peers == "device")),
            "{of_peers:?}"
        );
    }
}

#[test]
fn a_daemon_that_is_ended_in_a_pass_leaves_what_it_counted_and_nothing_under_way() {
    let cluster = Spec::nodes(3).lease();
    fill(&cluster);
    let rsync = FakeRsync::doing("sleep 2\nexec \"$rsync\" \"$@\"");
    let file = cluster.nodes[0].recon().join("node.prom");
    let pass = cluster.pass(Which::Ours, 0).forever().rsync(&rsync).set("rsync_batch", 1);
    let mut daemon = pass.set("metrics_textfile", file.display()).start();
    let recon = cluster.nodes[0].recon().join("object-replicator.status");
    let is_under_way = || fs::read_to_string(&recon).is_ok_and(|status| status.contains("\"is_listed\":true"));
    assert!(until(PATIENCE, is_under_way), "{}", daemon.console());
    // Two partitions, and the time after which a pass writes again what it has counted.
    sleep(Duration::from_secs(10));
    let before = samples(&read(&cluster));
    assert_eq!(sum(&before, "ring_readable"), 1.0, "it is there from the beginning: {before:#?}");

    daemon.signal(Signal::TERM);
    assert!(until(PATIENCE, || daemon.ended()), "{}", daemon.console());
    let after = assert_well_formed(&read(&cluster));
    assert!(sum(&after, "device_attempted_partitions_total") > 0.0, "{after:#?}");
    assert_eq!((sum(&after, "device_running_pass_seconds"), sum(&after, "passes_total")), (0.0, 0.0), "{after:#?}");
    for (sample, value) in before.iter().filter(|(sample, _)| sample.contains("_total")) {
        assert!(after[sample] >= *value, "{sample}");
    }
}
