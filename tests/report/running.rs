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

/// Holds every push, after it has sent all, until the file `name` is in the folder.
fn held(folder: &std::path::Path, name: &str) -> String {
    let folder = folder.display();
    format!(
        "[ $dry = yes ] && exec \"$rsync\" \"$@\"
{name}
\"$rsync\" \"$@\"
code=$?
while [ ! -e '{folder}'/$gate ]; do sleep 0.1; done
exit $code"
    )
}

fn fill(cluster: &Cluster) -> u64 {
    let parts = cluster.partitions_at(0, 0);
    parts.iter().for_each(|&part| put(cluster, part));
    parts.len() as u64
}

#[test]
fn a_push_of_a_whole_batch_moves_bar_and_bytes_before_it_has_ended() {
    let cluster = Spec::nodes(3).lease();
    let found = fill(&cluster);
    let gate = tempfile::tempdir().expect("a folder");
    let rsync = FakeRsync::doing(&held(gate.path(), "gate=open"));
    let daemon = cluster.pass(Which::Ours, 0).forever().set("concurrency", 1).rsync(&rsync).start();
    let sent = b"to be replicated".len() as u64 * found;
    let moves = || status_file(&cluster)["passes"][0]["workers"][0]["begun"] == found;
    assert!(until(PATIENCE, moves), "{}\n{}", status_file(&cluster), daemon.console());
    let pass = status_file(&cluster)["passes"][0].clone();
    assert_eq!(
        (&pass["workers"][0]["partitions"], &pass["workers"][0]["bytes"]),
        (&found.into(), &sent.into()),
        "{pass}"
    );
    // Each has been sent to one of its two targets, and none is done.
    let device = &pass["devices"][0];
    assert_eq!(
        (&device["attempted"], &device["ahead"], &device["bytes"]),
        (&0.into(), &(found / 2).into(), &sent.into())
    );
    let (table, _) = status(&cluster);
    let line = format!("  device sda: pushing {found} partitions, {found} begun, {sent} B so far (127.");
    assert!(table.contains(&line) && table.contains(&format!(" 0/{found}   50.0% ")), "{table}");
    fs::write(gate.path().join("open"), "").expect("our own folder");
    daemon.wait_for_passes(2);
}

#[test]
fn a_partition_counts_once_it_is_with_all_its_targets_and_not_at_the_end_of_its_batch() {
    let cluster = Spec::nodes(3).lease();
    let found = fill(&cluster);
    let gate = tempfile::tempdir().expect("a folder");
    // The first two runs take four partitions to both of their targets. The node of a run is told of it during the next one,
    // so it is in the fourth that they are known to be done.
    let count = "gate=$(ls \"$(dirname \"$0\")\"/runs | wc -l)\n[ $gate -ge 4 ] || exec \"$rsync\" \"$@\"";
    let rsync = FakeRsync::doing(&held(gate.path(), count));
    let pass = cluster.pass(Which::Ours, 0).forever().set("concurrency", 1).set("rsync_batch", 4);
    let daemon = pass.rsync(&rsync).start();
    let device = || status_file(&cluster)["passes"][0]["devices"][0].clone();
    assert!(until(PATIENCE, || device()["attempted"] == 4), "of {found}: {}\n{}", device(), daemon.console());
    assert_eq!(rsync.pushes().len(), 4, "{}", daemon.console());
    for gates in 4..=2 * found {
        fs::write(gate.path().join(gates.to_string()), "").expect("our own folder");
    }
    daemon.wait_for_passes(1);
    daemon.wait_for(&format!("Report: pass complete: {found} of {found} partitions (100.0%)"));
}

#[test]
fn the_ring_in_force_is_shown_and_that_its_file_cannot_be_read_any_more() {
    let cluster = Spec::nodes(3).lease();
    put(&cluster, cluster.partitions_at(0, 0)[0]);
    let daemon = cluster.pass(Which::Ours, 0).forever().set("interval", "0.2").start();
    daemon.wait_for_passes(1);
    let ring = cluster.ring(0);
    let good = fs::read(&ring).expect("the ring is there");
    let sum = Command::new("md5sum").arg(&ring).output().expect("coreutils are there").stdout;
    let sum = String::from_utf8_lossy(&sum)[..32].to_owned();
    assert!(until(PATIENCE, || status_file(&cluster)["rings"][0]["md5"] == *sum), "{}", status_file(&cluster));
    let (table, code) = status(&cluster);
    assert!(code == Some(0) && table.contains("\nRings:\n  policy 0 (policy-0): "), "{table}");
    assert!(table.contains(", in force since 20") && table.contains(&format!(", MD5 {sum}, the file was ")), "{table}");

    fs::write(&ring, &good[..good.len() / 2]).expect("it is ours");
    assert!(until(PATIENCE, || status(&cluster).1 == Some(1)), "{:?}\n{}", status(&cluster), daemon.console());
    let (table, _) = status(&cluster);
    let said = " runs, but:\n  policy 0 (policy-0) goes on with the ring that it had, and removes no hand-off, since its \
                ring cannot be read for ";
    assert!(table.contains(said) && table.contains("the file COULD NOT BE READ "), "{table}");
    let json = status_file(&cluster);
    assert!(json["rings"][0]["trouble"].is_string() && json["rings"][0]["trouble_since"].is_number(), "{json}");
    assert_eq!(json["rings"][0]["md5"], *sum, "it is still in force");

    fs::write(&ring, &good).expect("it is ours");
    assert!(until(PATIENCE, || status(&cluster).1 == Some(0)), "{:?}\n{}", status(&cluster), daemon.console());
}

#[test]
fn a_pass_that_a_new_configuration_ends_early_is_shown_beside_the_one_before() {
    let cluster = Spec::nodes(3).lease();
    let gate = tempfile::tempdir().expect("a folder");
    let which = "case \" $* \" in *=111111\\ *) gate=old;; *) gate=new;; esac";
    let rsync = FakeRsync::doing(&held(gate.path(), which));
    let pass = cluster.pass(Which::Ours, 0).forever().set("interval", "0.5").set("rsync_batch", 1);
    let mut daemon = pass.set("concurrency", 1).set("rsync_bwlimit", 111_111).rsync(&rsync).start();
    daemon.wait_for_passes(1);
    fill(&cluster);
    assert!(until(PATIENCE, || !rsync.pushes().is_empty()), "{}", daemon.console());
    daemon.set(&cluster.nodes[0], "rsync_bwlimit", 222_222);
    daemon.signal(Signal::HUP);
    daemon.wait_for("it is in force once the jobs at hand are done");
    fs::write(gate.path().join("old"), "").expect("our own folder");
    daemon.wait_for("Object replication pass ended early, for the new configuration. (");

    let shown = || status_file(&cluster)["last"].as_array().map_or(0, Vec::len) == 2;
    assert!(until(PATIENCE, shown), "{}\n{}", status_file(&cluster), daemon.console());
    // The next pass is held in its first push, and what is written meanwhile has both still.
    let goes_on = || status_file(&cluster)["passes"][0]["workers"][0]["step"] == "pushing";
    assert!(until(PATIENCE, goes_on), "{}\n{}", status_file(&cluster), daemon.console());
    let last = status_file(&cluster)["last"].clone();
    assert_eq!(last[0]["ending"], "complete", "{last}");
    let early = &last[1]["ending"]["incomplete"][0];
    assert_eq!(early, "ended early, for a new configuration", "{last}");
    let (table, _) = status(&cluster);
    assert!(
        table.matches("\nA pass ended 20").count() == 2
            && table.contains("(ended early, for a new configuration): 1 of "),
        "{table}"
    );
    fs::write(gate.path().join("new"), "").expect("our own folder");
    let over = || status_file(&cluster)["last"].as_array().is_some_and(|last| last.len() == 1);
    assert!(until(PATIENCE, over), "{}\n{}", status_file(&cluster), daemon.console());
}
