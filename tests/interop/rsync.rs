//! rsync that misbehaves: a failure of its target, a line that says why, and nothing is lost.

use crate::support::cluster::{Lease, Spec};
use crate::support::object::{Object, time};
use crate::support::replicator::{Outcome, Pass, Which};
use crate::support::rsync::FakeRsync;

both! {
    an_rsync_that_fails_on_some_files,
    an_rsync_whose_files_vanish,
    an_rsync_that_is_killed,
    an_rsync_that_hangs,
    an_rsync_that_hangs_behind_a_closed_output,
    an_rsync_that_is_not_there,
    a_daemon_that_does_not_run,
    a_daemon_without_the_module,
    a_module_that_cannot_be_made_from_its_template,
    an_update_tells_the_peer_even_after_a_failed_push,
    transfers_are_logged_or_not,
    a_long_error_line_is_cut,
}

/// An object at home and one far from home, both on the first node; neither may be lost.
struct Stored {
    cluster: Lease,
    home: Object,
    away: Object,
}

impl Stored {
    fn new() -> Self {
        let cluster = Spec::nodes(4).lease();
        let (part, disk) = cluster.misplaced_at(0, 0);
        let home = cluster.object_in(0, cluster.partitions_at(0, 0)[0]);
        let away = cluster.object_in(0, part);
        cluster.put(&cluster.home(0, home.partition, 0), &home, &time(1), b"at home");
        cluster.put(&disk, &away, &time(1), b"away");
        Self { cluster, home, away }
    }

    fn pass(&self, which: Which) -> Pass<'_> {
        self.cluster.pass(which, 0).plainly()
    }

    /// Every push failed: two of the update, three of the hand-off, and both objects are where they were.
    fn assert_all_failed(&self, outcome: &Outcome) {
        outcome.ended(0).counts(&[("attempted", 2), ("rsync", 5), ("success", 0), ("failure", 5), ("remove", 0)]);
        self.assert_kept();
    }

    fn assert_kept(&self) {
        let disk = &self.cluster.disks()[0];
        assert_eq!(self.cluster.get(disk, &self.home).body, b"at home");
        assert_eq!(self.cluster.get(disk, &self.away).body, b"away");
    }
}

fn failing(which: Which, shell: &str, lines: &[&str]) {
    let stored = Stored::new();
    let outcome = stored.pass(which).rsync(&FakeRsync::doing(shell)).run();
    for line in lines {
        assert_eq!(outcome.count(line), 5, "{line:?}: {}", outcome.all());
    }
    stored.assert_all_failed(&outcome);
}

fn an_rsync_that_fails_on_some_files(which: Which) {
    let said = "rsync: [sender] read errors mapping: Input/output error (5)";
    let shell = format!("echo '{said}' >&2; exit 23");
    failing(which, &shell, &[said, "Bad rsync return code: 23 <- ['rsync', '--recursive', "]);
}

fn an_rsync_whose_files_vanish(which: Which) {
    failing(which, "exit 24", &["Bad rsync return code: 24 <- ['rsync', '--recursive', "]);
}

fn an_rsync_that_is_killed(which: Which) {
    failing(which, "kill -KILL $$", &["Bad rsync return code: -9 <- ['rsync', '--recursive', "]);
}

fn hanging(which: Which, shell: &str) {
    let stored = Stored::new();
    let outcome = stored.pass(which).set("rsync_timeout", 1).rsync(&FakeRsync::doing(shell)).run();
    assert_eq!(outcome.count("Killing long-running rsync after 1s: ['rsync', "), 5, "{}", outcome.all());
    stored.assert_all_failed(&outcome);
}

fn an_rsync_that_hangs(which: Which) {
    hanging(which, "exec sleep 600");
}

fn an_rsync_that_hangs_behind_a_closed_output(which: Which) {
    hanging(which, "exec sleep 600 >/dev/null 2>&1");
}

fn an_rsync_that_is_not_there(which: Which) {
    let stored = Stored::new();
    let outcome = stored.pass(which).path("/nonexistent").run();
    outcome.ended(0).counts(&[("attempted", 2), ("remove", 0)]);
    let node = stored.cluster.peers(0, stored.home.partition, 0)[0].node_string();
    outcome.says(&format!("Error syncing with node: {node}"));
    if which == Which::Ours {
        outcome.counts(&[("success", 0), ("failure", 5)]);
    }
    stored.assert_kept();
}

fn a_daemon_that_does_not_run(which: Which) {
    let mut stored = Stored::new();
    stored.cluster.nodes.iter_mut().for_each(|node| node.stop_rsync_daemon());
    let outcome = stored.pass(which).run();
    outcome.says("Bad rsync return code: 10 <- ['rsync', ").says("Connection refused");
    stored.assert_all_failed(&outcome);
}

fn a_daemon_without_the_module(which: Which) {
    let stored = Stored::new();
    let outcome = stored.pass(which).set("rsync_module", "{replication_ip}::nothing_{device}/").run();
    outcome.says("@ERROR: Unknown module 'nothing_sda'").says("Bad rsync return code: 5 <- ['rsync', ");
    stored.assert_all_failed(&outcome);
}

fn a_module_that_cannot_be_made_from_its_template(which: Which) {
    let stored = Stored::new();
    let outcome = stored.pass(which).set("rsync_module", "{replication_ip}::{bogus}").run();
    outcome.ended(0).says("Cannot interpolate rsync_module, invalid variable: 'bogus'");
    outcome.counts(&[("attempted", 2), ("remove", 0)]);
    stored.assert_kept();
}

fn an_update_tells_the_peer_even_after_a_failed_push(which: Which) {
    let cluster = Spec::nodes(4).lease();
    let part = cluster.partitions_at(0, 0)[0];
    let object = cluster.object_in(0, part);
    cluster.put(&cluster.home(0, part, 0), &object, &time(1), b"x");
    for peer in cluster.peers(0, part, 0) {
        std::fs::create_dir(peer.partition(0, part)).expect("the device is writable");
    }
    cluster.pass(which, 0).rsync(&FakeRsync::doing("exit 23")).run().ended(0).counts(&[("failure", 2)]);
    for peer in cluster.peers(0, part, 0) {
        let invalid = std::fs::read_to_string(peer.partition(0, part).join("hashes.invalid")).expect("it was told");
        assert_eq!(invalid.lines().collect::<Vec<_>>(), [object.suffix()]);
    }
}

fn transfers_are_logged_or_not(which: Which) {
    for (setting, logged) in [("yes", true), ("no", false)] {
        let stored = Stored::new();
        let pass = stored.pass(which).set("log_rsync_transfers", setting).set("log_level", "DEBUG");
        let outcome = pass.run();
        let name = format!("{}.data", time(1));
        let sent = outcome.messages().filter(|line| line.starts_with("<f") && line.contains(&name)).count();
        assert_eq!(sent, if logged { 5 } else { 0 }, "{}", outcome.all());
        outcome.does_not_say("cd+++++");
        let made = outcome.count("Successful rsync of ");
        assert_eq!(made, 5, "{}", outcome.all());
    }
}

fn a_long_error_line_is_cut(which: Which) {
    let stored = Stored::new();
    let pass = stored.pass(which).set("rsync_error_log_line_length", 30);
    let outcome = pass.rsync(&FakeRsync::doing("exit 23")).run();
    let cut = outcome.messages().filter(|line| *line == "Bad rsync return code: 23 <- [").count();
    assert_eq!(cut, 5, "{}", outcome.all());
}

#[test]
fn a_daemon_that_is_busy_for_a_moment_is_asked_again() {
    let cluster = Spec::nodes(4).replicas(2.0).lease();
    let part = cluster.partitions_at(0, 0)[0];
    let object = cluster.object_in(0, part);
    cluster.put(&cluster.home(0, part, 0), &object, &time(1), b"x");
    let was_busy = tempfile::tempdir().expect("a folder");
    let busy = "@ERROR: max connections (1) reached -- try again later";
    let shell = format!("mkdir '{}/once' 2>/dev/null && {{ echo '{busy}'; exit 5; }}", was_busy.path().display());
    let rsync = FakeRsync::doing(&format!("{shell}\nexec \"$rsync\" \"$@\""));
    let outcome = cluster.pass(Which::Ours, 0).rsync(&rsync).run();
    outcome.clean().says(busy).counts(&[("rsync", 1), ("success", 1), ("failure", 0)]);
    assert_eq!(rsync.pushes().len(), 2, "{}", outcome.all());
    cluster.assert_everywhere(&object, b"x");
}
