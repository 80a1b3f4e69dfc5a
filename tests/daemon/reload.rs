//! SIGHUP: the jobs at hand end, and passes go on with the configuration as it is then (the reference dies, B1.10).

use std::fs;
use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;

use super::{is_everywhere, partitions_of, put_everywhere_on, put_in};
use crate::support::cluster::Spec;
use crate::support::daemon::{assert_gone, with_search_path};
use crate::support::guard::{PATIENCE, until};
use crate::support::hang::Hang;
use crate::support::replicator::{Running, Which};
use crate::support::rsync::FakeRsync;
use crate::support::syslog::Syslog;

const IN_FORCE: &str = "): the configuration is read again; it is in force once the jobs at hand are done";
const REFUSED: &str = "): the configuration stays as it was: ";
const ENDED_EARLY: &str = "Object replication pass ended early, for the new configuration. (";

fn reload(daemon: &Running) {
    daemon.signal(Signal::HUP);
}

#[test]
fn the_push_at_hand_ends_and_what_is_left_goes_by_the_new_configuration() {
    let cluster = Spec::nodes(3).lease();
    let objects = put_everywhere_on(&cluster, &cluster.disks()[0]);
    let gate = tempfile::tempdir().expect("a folder");
    let wait = format!("while [ ! -e '{}/open' ]; do sleep 0.05; done", gate.path().display());
    let rsync = FakeRsync::doing(&format!("{wait}\nexec \"$rsync\" \"$@\""));
    let pass = cluster.pass(Which::Ours, 0).forever().set("interval", "0.1").set("rsync_batch", 1);
    let mut daemon = pass.set("rsync_bwlimit", 111_111).rsync(&rsync).start();
    assert!(until(PATIENCE, || !rsync.pushes().is_empty()), "{}", daemon.console());

    daemon.set(&cluster.nodes[0], "rsync_bwlimit", 222_222);
    daemon.set(&cluster.nodes[0], "concurrency", 4);
    reload(&daemon);
    daemon.wait_for(IN_FORCE);
    assert_eq!((rsync.pushes().len(), daemon.count(ENDED_EARLY)), (1, 0), "{}", daemon.console());
    fs::write(gate.path().join("open"), "").expect("our own folder");

    daemon.wait_for(ENDED_EARLY);
    let arrived = until(PATIENCE, || objects.iter().all(|object| is_everywhere(&cluster, object)));
    assert!(arrived, "{}", daemon.console());
    let limits = |limit: u32| {
        let is_it = |run: &&Vec<String>| run.contains(&format!("--bwlimit={limit}"));
        rsync.pushes().iter().filter(is_it).count()
    };
    // The job at hand pushes its partition to both of the other nodes.
    assert_eq!((limits(111_111), limits(222_222)), (2, 2 * (objects.len() - 1)), "{}", daemon.console());
    assert_eq!(daemon.count("Bad rsync return code"), 0, "{}", daemon.console());
    daemon.wait_for_passes(2);
}

#[test]
fn a_configuration_that_cannot_be_used_changes_nothing() {
    let cluster = Spec::nodes(3).lease();
    let mut daemon = cluster.pass(Which::Ours, 0).forever().set("interval", "0.1").start();
    daemon.wait_for_passes(1);
    daemon.set(&cluster.nodes[0], "concurrency", "many");
    reload(&daemon);
    daemon.wait_for(REFUSED);
    let console = daemon.console();
    let line = console.lines().find(|line| line.contains(REFUSED)).expect("it was just there");
    assert!(line.contains("concurrency = \"many\": must be an integer of at least 1"), "{line}");
    daemon.wait_for_passes(2);
    assert_eq!(daemon.count(ENDED_EARLY), 0, "{}", daemon.console());

    daemon.set(&cluster.nodes[0], "concurrency", 2);
    daemon.set(&cluster.nodes[0], "swift_dir", "/nonexistent");
    reload(&daemon);
    daemon.wait_for_times(REFUSED, 2);
    daemon.set(&cluster.nodes[0], "swift_dir", "/etc/swift");
    reload(&daemon);
    daemon.wait_for(IN_FORCE);
    daemon.wait_for_passes(1);
}

#[test]
fn groups_come_and_go() {
    let cluster = Spec::nodes(3).devices(2).lease();
    let mut daemon = cluster.pass(Which::Ours, 0).forever().set("interval", 600).start();
    daemon.wait_for("Object replication complete. (");
    daemon.set(&cluster.nodes[0], "replicator_workers", 2);
    reload(&daemon);
    for group in ["[worker 1/2 ", "[worker 2/2 "] {
        daemon.wait_for(group);
    }
    daemon.wait_for_times("Object replication complete. (", 3);
    let objects: Vec<_> = cluster.disks_of(0).flat_map(|disk| put_everywhere_on(&cluster, disk)).collect();
    daemon.set(&cluster.nodes[0], "replicator_workers", 0);
    reload(&daemon);
    let arrived = until(PATIENCE, || objects.iter().all(|object| is_everywhere(&cluster, object)));
    assert!(arrived, "{}", daemon.console());
    let threads = daemon.process().threads();
    assert!(threads < 12, "{threads} threads: some of the groups are left");
}

#[test]
fn a_device_that_hangs_is_still_known_to_do_so() {
    let cluster = Spec::nodes(3).devices(2).lease();
    let disks: Vec<_> = cluster.disks_of(0).cloned().collect();
    let stored: Vec<_> = disks.iter().map(|disk| put_in(&cluster, disk, partitions_of(&cluster, disk)[0])).collect();
    let hang = Hang::at(&disks[1].partition(0, stored[1].partition));
    let pass = cluster.pass(Which::Ours, 0).forever().set("lockup_timeout", 3).set("interval", "0.2");
    let mut daemon = pass.start();
    daemon.wait_for("Lockup detected: device sdb");
    for workers in [2, 0] {
        let left_out = daemon.count("evice sdb is left out: a job of an earlier pass has been ");
        daemon.set(&cluster.nodes[0], "replicator_workers", workers);
        reload(&daemon);
        daemon.wait_for_times(IN_FORCE, if workers == 2 { 1 } else { 2 });
        daemon.wait_for_times("evice sdb is left out: a job of an earlier pass has been ", left_out + 3);
    }
    hang.end_for(&daemon);
    daemon.wait_for("Device sdb is back");
    assert!(until(PATIENCE, || is_everywhere(&cluster, &stored[1])), "{}", daemon.console());
    assert_eq!(daemon.count("Lockup detected"), 1, "{}", daemon.console());
    assert_eq!(daemon.count("Device sdb is back"), 1, "{}", daemon.console());
}

#[test]
fn the_log_goes_where_and_says_what_the_new_configuration_says() {
    let cluster = Spec::nodes(3).lease();
    let mut daemon = cluster.pass(Which::Ours, 0).forever().set("interval", "0.2").start();
    daemon.wait_for_passes(1);
    assert_eq!(daemon.count("Replication sleeping for "), 0, "that is said at DEBUG only");
    let syslog = Syslog::start();
    daemon.set(&cluster.nodes[0], "log_address", syslog.path().display());
    daemon.set(&cluster.nodes[0], "log_level", "DEBUG");
    daemon.set(&cluster.nodes[0], "log_name", "renamed");
    daemon.set(&cluster.nodes[0], "nice_priority", 7);
    reload(&daemon);
    daemon.wait_for("nice_priority has changed, which takes effect only with a restart");
    daemon.wait_for_times("renamed: Replication sleeping for 0.2 seconds.", 2);
    drop(daemon);
    let lines = syslog.stop();
    assert!(lines.iter().any(|line| line.text.starts_with("renamed: Object replication complete. (")), "{lines:?}");
}

#[test]
fn many_in_a_row_are_as_good_as_one() {
    let cluster = Spec::nodes(3).devices(2).lease();
    let daemon = cluster.pass(Which::Ours, 0).forever().set("replicator_workers", 2).set("interval", "0.1").start();
    daemon.wait_for_passes(1);
    for _ in 0..200 {
        reload(&daemon);
    }
    daemon.wait_for(IN_FORCE);
    daemon.wait_for_passes(3);
    let object = put_in(&cluster, &cluster.home(0, 0, 0), 0);
    assert!(until(PATIENCE, || is_everywhere(&cluster, &object)), "{}", daemon.console());
    let process = daemon.process();
    daemon.signal(Signal::TERM);
    assert_gone(&[process]);
}

#[test]
fn a_single_pass_is_ended_as_any_command_is() {
    let cluster = Spec::nodes(3).lease();
    put_in(&cluster, &cluster.home(0, 0, 0), 0);
    let gate = tempfile::tempdir().expect("a folder");
    let rsync = FakeRsync::doing(&format!("while [ ! -e '{}/open' ]; do sleep 0.05; done", gate.path().display()));
    let pass = cluster.pass(Which::Ours, 0).rsync(&rsync).start();
    assert!(until(PATIENCE, || !rsync.pushes().is_empty()), "{}", pass.console());
    reload(&pass);
    let outcome = pass.finish();
    fs::write(gate.path().join("open"), "").expect("our own folder");
    assert!(until(PATIENCE, || with_search_path(rsync.folder()).is_empty()), "the stand-in has not seen the gate open");
    assert_eq!(outcome.status.signal(), Some(Signal::HUP.as_raw()), "{}", outcome.all());
}
