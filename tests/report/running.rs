//! What is told of a replicator while it runs: SIGUSR1, the status file, `--status`.

use std::fs;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cluster::{Cluster, Spec};
use crate::support::guard::{PATIENCE, until};
use crate::support::hang::Hang;
use crate::support::object::time;
use crate::support::replicator::Which;
use crate::support::rsync::FakeRsync;

fn status_file(cluster: &Cluster) -> Value {
    let text = fs::read_to_string(cluster.nodes[0].recon().join("object-replicator.status")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// What `--status` prints, and its exit code.
fn status(cluster: &Cluster) -> (String, Option<i32>) {
    let conf = cluster.nodes[0].runs().join("status.conf");
    fs::write(&conf, cluster.nodes[0].conf(&[])).expect("the cluster's folder is writable");
    let output = Command::new(Which::Ours.program()).arg(&conf).arg("--status").output().expect("it starts");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

fn put(cluster: &Cluster, part: u32) {
    cluster.put(&cluster.home(0, part, 0), &cluster.object_in(0, part), &time(1), b"to be replicated");
}

#[test]
fn a_push_that_takes_long_is_seen_by_signal_and_by_file() {
    let cluster = Spec::nodes(3).lease();
    let part = cluster.partitions_at(0, 0)[0];
    put(&cluster, part);
    let gate = tempfile::tempdir().expect("a folder");
    let rsync = FakeRsync::doing(&format!(
        "while [ ! -e '{}/open' ]; do sleep 0.1; done\nexec \"$rsync\" \"$@\"",
        gate.path().display()
    ));
    let daemon = cluster.pass(Which::Ours, 0).forever().set("interval", "0.2").rsync(&rsync).start();
    let is_pushing = || status_file(&cluster)["passes"][0]["workers"][0]["step"] == "pushing";
    assert!(until(PATIENCE, is_pushing), "{}\n{}", status_file(&cluster), daemon.console());
    let (table, code) = status(&cluster);
    assert!(code == Some(0) && table.contains(" is well, as of "), "{code:?} {table}");
    assert!(table.contains(&format!("  device sda, partition {part}: pushing (127.")), "{table}");

    daemon.signal(Signal::USR1);
    daemon.wait_for(&format!("Status: device sda, partition {part}: pushing (127."));
    daemon.wait_for("Status: 0 of 1 partitions done so far, 0 failures since ");
    fs::write(gate.path().join("open"), "").expect("our own folder");
    daemon.wait_for_passes(2);
    let last = || status_file(&cluster)["last"][0]["devices"]["sda"]["in_sync"] == 1;
    assert!(until(PATIENCE, last), "{}", status_file(&cluster));
}

#[test]
fn a_device_that_hangs_makes_the_daemon_look_stuck_and_a_killed_one_is_gone() {
    let cluster = Spec::nodes(3).devices(2).lease();
    let disk = cluster.disks()[1].clone();
    let part = (0..cluster.partition_count(0)).find(|&part| cluster.primaries(0, part).contains(&disk));
    let part = part.expect("every device has some");
    cluster.put(&disk, &cluster.object_in(0, part), &time(1), b"to be replicated");
    let hang = Hang::at(&disk.partition(0, part));
    let daemon = cluster.pass(Which::Ours, 0).forever().set("lockup_timeout", 3).set("interval", "0.2").start();
    daemon.wait_for("Lockup detected: device sdb");
    let looks_stuck = || status(&cluster).1 == Some(1);
    assert!(until(PATIENCE, looks_stuck), "{:?}\n{}", status(&cluster), daemon.console());
    let (table, _) = status(&cluster);
    let complaint = format!("looks stuck:\n  hangs: device sdb, partition {part}: hashing suffixes for ");
    assert!(table.contains(&complaint), "{table}");

    daemon.signal(Signal::USR1);
    daemon.wait_for("Status: hangs: device sdb, partition ");
    daemon.signal(Signal::KILL);
    let is_gone = until(PATIENCE, || status(&cluster).1 == Some(2));
    drop(hang);
    assert!(is_gone, "{:?}", status(&cluster));
}
