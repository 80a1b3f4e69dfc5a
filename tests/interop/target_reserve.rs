//! `target_reserve`: what real recon middleware says of real file systems, and what becomes of a push then.

use std::fs;
use std::path::PathBuf;

use crate::support::cluster::{Disk, Lease, Spec};
use crate::support::object::{Object, time};
use crate::support::peer::{Reply, StubPeer};
use crate::support::replicator::{Outcome, Pass, Which};
use crate::support::rsync::FakeRsync;

/// Every device has this size, in megabytes.
const SIZE: u32 = 8;

/// A partition with objects on a device of the first node that they do not belong on, and a target that is nearly full.
struct Nearly {
    cluster: Lease,
    part: u32,
    disk: Disk,
    objects: Vec<Object>,
    full: Disk,
    ballast: PathBuf,
}

impl Nearly {
    fn full() -> Self {
        let cluster = Spec::nodes(4).in_memory(SIZE).lease();
        let (part, disk) = cluster.misplaced_at(0, 0);
        let objects: Vec<_> = (0..3).map(|_| cluster.object_in(0, part)).collect();
        objects.iter().for_each(|object| cluster.put(&disk, object, &time(1), b"far from home"));
        let full = cluster.primaries(0, part)[1].clone();
        let ballast = full.path.join("ballast");
        fs::write(&ballast, vec![0; (SIZE as usize - 2) << 20]).expect("there is room for it");
        Self { cluster, part, disk, objects, full, ballast }
    }

    /// A pass that leaves half of each target free.
    fn pass(&self, method: &str) -> Pass<'_> {
        self.cluster.pass(Which::Ours, 0).set("sync_method", method).set("target_reserve", "50%")
    }

    fn warning(&self) -> String {
        format!(
            "{} has 25.0% free (2.0 MiB of 8.0 MiB), not more than target_reserve = 50%: nothing is pushed to it until it has more than 51% free",
            self.full.node_string()
        )
    }

    /// Nothing came to the target, and nothing is gone from here.
    #[track_caller]
    fn assert_stays(&self, outcome: &Outcome) {
        let report = format!("Report: failures with {}: 1 disk full", self.full.node_string());
        outcome.ended(0).says(&report).counts(&[("attempted", 1), ("remove", 0), ("success", 2), ("failure", 1)]);
        assert_eq!(outcome.count(&self.warning()), 1, "{}", outcome.all());
        assert_eq!(outcome.counter_of_failures(&self.full), 1);
        assert!(!self.full.partition(0, self.part).exists(), "{}", outcome.all());
        for object in &self.objects {
            assert_eq!(self.cluster.get(&self.disk, object).body, b"far from home", "{object:?}");
            for other in self.cluster.primaries(0, self.part).iter().filter(|disk| **disk != self.full) {
                assert_eq!(self.cluster.get(other, object).body, b"far from home", "{object:?} at {other:?}");
            }
        }
    }

    #[track_caller]
    fn assert_moved(&self) {
        self.cluster.assert_gone(&self.disk, 0, self.part);
        self.objects.iter().for_each(|object| self.cluster.assert_everywhere(object, b"far from home"));
    }
}

#[test]
fn a_hand_off_stays_while_a_target_has_no_more_than_the_reserve_and_goes_when_it_has() {
    let nearly = Nearly::full();
    nearly.assert_stays(&nearly.pass("rsync").run());
    fs::remove_file(&nearly.ballast).expect("it is ours");
    nearly.pass("rsync").run().clean();
    nearly.assert_moved();
}

#[test]
fn by_ssync_the_object_server_keeps_its_own_reserve() {
    let nearly = Nearly::full();
    nearly.pass("ssync").run().clean().does_not_say("target_reserve");
    nearly.assert_moved();
}

#[test]
fn with_handoff_delete_too_a_hand_off_with_a_full_target_stays() {
    let nearly = Nearly::full();
    let outcome = nearly.pass("rsync").set("handoff_delete", 2).run();
    nearly.assert_stays(&outcome);
    let path = nearly.disk.partition(0, nearly.part);
    outcome.says(&format!("Partition {} is kept: {} is full", path.display(), nearly.full.node_string()));
}

#[test]
fn what_belongs_here_is_not_pushed_to_a_full_device_and_the_node_is_asked_once() {
    let cluster = Spec::nodes(3).in_memory(SIZE).lease();
    let objects: Vec<_> = (0..8).map(|part| cluster.object_in(0, part)).collect();
    let home = cluster.home(0, 0, 0);
    objects.iter().for_each(|object| cluster.put(&home, object, &time(1), b"data"));
    let (full, other) = (&cluster.disks()[1], &cluster.disks()[2]);
    fs::write(full.path.join("ballast"), vec![0; (SIZE as usize - 2) << 20]).expect("there is room for it");
    let rsync = FakeRsync::recording();
    let pass = cluster.pass(Which::Ours, 0).set("target_reserve", 4 << 20).set("rsync_batch", 1).set("concurrency", 4);
    let outcome = pass.rsync(&rsync).run();
    outcome.ended(0).counts(&[("attempted", 8), ("success", 8), ("failure", 8)]);
    outcome.says(&format!("Report: failures with {}: 8 disk full", full.node_string()));
    assert_eq!(outcome.count("not more than target_reserve = 4194304"), 1, "{}", outcome.all());
    assert_eq!(rsync.pushes().len(), 8, "one for each partition, to the other node");
    assert!(objects.iter().all(|object| object.files(full).is_empty() && !object.files(other).is_empty()));
    for (node, asked) in [(1, 1), (2, 1)] {
        let log = fs::read_to_string(cluster.nodes[node].object_log()).expect("the server has a log");
        assert!(log.matches("GET /recon/diskusage").count() <= asked, "{log}");
    }
}

#[test]
fn a_dry_run_predicts_that_a_hand_off_with_a_full_target_stays() {
    let nearly = Nearly::full();
    let outcome = nearly.pass("rsync").words(&["--dry-run"]).run();
    let warned = outcome.console.iter().filter(|line| line.contains(&nearly.warning())).count();
    assert_eq!(warned, 1, "{}", outcome.all());
    assert!(outcome.stdout.contains("kept here") && !outcome.stdout.contains(&nearly.full.node_string()));
}

/// It answers what Swift's object server answers that has no recon in its pipeline.
#[test]
fn a_node_without_recon_is_pushed_to_as_if_nobody_had_asked() {
    let mut nearly = Nearly::full();
    nearly.cluster.nodes[nearly.full.node].stop_object_server();
    let stub = StubPeer::start(nearly.cluster.nodes[nearly.full.node].object_address(), |request| {
        match request.path().starts_with("/recon/") {
            true => Reply::Status(400, b"Invalid path".to_vec()),
            false => Reply::nothing(),
        }
    });
    let outcome = nearly.pass("rsync").run();
    outcome.does_not_say("target_reserve");
    assert!(nearly.objects.iter().all(|object| !object.files(&nearly.full).is_empty()), "{}", outcome.all());
    let asked = stub.requests().iter().filter(|request| request.line == "GET /recon/diskusage HTTP/1.0").count();
    assert_eq!(asked, 1);
}

#[test]
fn with_no_reserve_no_node_is_asked() {
    let nearly = Nearly::full();
    nearly.pass("rsync").set("target_reserve", 0).run().clean();
    nearly.assert_moved();
    let nearly = Nearly::full();
    nearly.cluster.pass(Which::Ours, 0).run().clean();
    nearly.assert_moved();
}
