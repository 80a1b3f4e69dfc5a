//! Nodes with different rings: each takes the other for the home of a partition that both have. Only one may remove it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::cluster::{Disk, Lease, Spec};
use crate::support::guard::{PATIENCE, must, until};
use crate::support::object::{Object, time};
use crate::support::peer::{Reply, StubPeer};
use crate::support::replicator::{Outcome, Pass, Which};
use crate::support::rsync::FakeRsync;

/// Two nodes with one replica between them. Both have all of a partition; the ring of each says that it is the other's.
struct Crossed {
    cluster: Lease,
    objects: Vec<Object>,
    /// The devices, by node.
    disks: [Disk; 2],
    /// The folder of the ring that sends the partition to this node.
    rings: [TempDir; 2],
}

const PART: u32 = 3;

impl Crossed {
    fn new() -> Self {
        let mut cluster = Spec::nodes(2).replicas(1.0).lease();
        let disks = [0, 1].map(|node| cluster.disks_of(node).next().expect("a node has a device").clone());
        let rings = disks.each_ref().map(|home| {
            let folder = tempfile::tempdir().expect("a folder for a ring");
            let rows = vec![vec![home.id; cluster.partition_count(0) as usize]];
            cluster.assign_ring(0, &rows);
            must(Command::new("cp").arg(cluster.ring(0)).arg(folder.path()));
            folder
        });
        let objects: Vec<_> = (0..3).map(|_| cluster.object_in(0, PART)).collect();
        for (object, disk) in objects.iter().flat_map(|object| disks.iter().map(move |disk| (object, disk))) {
            cluster.put(disk, object, &time(1), b"twice");
        }
        Self { cluster, objects, disks, rings }
    }

    /// A pass of the node, which believes that the other one is the partition's home.
    fn pass(&self, node: usize) -> Pass<'_> {
        self.cluster.pass(Which::Ours, node).set("swift_dir", self.rings[1 - node].path().display())
    }

    /// A pass of the first node, with a whole pass of the second one at a certain moment.
    fn interleaved(&self, moment: &Moment) -> [Outcome; 2] {
        let first = self.pass(0).rsync(&moment.rsync).start();
        moment.wait_until_reached();
        let second = self.pass(1).run();
        moment.go_on();
        [first.finish(), second]
    }

    /// Fails unless each object is somewhere.
    #[track_caller]
    fn assert_nothing_is_lost(&self, outcomes: &[Outcome]) {
        for object in &self.objects {
            let holders = self.disks.iter().filter(|disk| !object.files(disk).is_empty()).count();
            let said: Vec<_> = outcomes.iter().map(Outcome::all).collect();
            assert!(holders > 0, "{object:?} is nowhere:\n{}", said.join("\n"));
        }
    }
}

/// A moment in the first node's pass, at which it waits.
struct Moment {
    rsync: FakeRsync,
    folder: TempDir,
}

impl Moment {
    /// After the first run of rsync that is dry, or is not.
    fn after_first(dry: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder for marks");
        let at = |name| Self::mark(folder.path(), name).display().to_string();
        let wait = format!("while [ ! -e '{}' ]; do sleep 0.02; done", at("over"));
        let shell = format!(
            "\"$rsync\" \"$@\"\ncode=$?\n[ $dry != {} ] || ! mkdir '{}' 2>/dev/null || {wait}\nexit $code",
            if dry { "yes" } else { "no" },
            at("reached")
        );
        Self { rsync: FakeRsync::doing(&shell), folder }
    }

    fn mark(folder: &Path, name: &str) -> PathBuf {
        folder.join(name)
    }

    fn wait_until_reached(&self) {
        let mark = Self::mark(self.folder.path(), "reached");
        assert!(until(PATIENCE, || mark.exists()), "the first node never came so far");
    }

    fn go_on(&self) {
        fs::write(Self::mark(self.folder.path(), "over"), "").expect("the folder is ours");
    }
}

#[test]
fn two_nodes_do_not_both_remove_what_each_made_sure_that_the_other_has() {
    let crossed = Crossed::new();
    let outcomes = crossed.interleaved(&Moment::after_first(true));
    crossed.assert_nothing_is_lost(&outcomes);
    outcomes[0].ended(0).says("is kept").counts(&[("rsync", 1)]);
    outcomes[1].clean().counts(&[("remove", 1)]);
}

#[test]
fn two_nodes_do_not_both_remove_what_each_has_pushed_to_the_other() {
    let crossed = Crossed::new();
    let outcomes = crossed.interleaved(&Moment::after_first(false));
    crossed.assert_nothing_is_lost(&outcomes);
    outcomes[0].ended(0).counts(&[("remove", 0)]);
}

#[test]
fn what_two_nodes_kept_from_each_other_goes_home_once_their_rings_agree() {
    let crossed = Crossed::new();
    crossed.interleaved(&Moment::after_first(true));
    crossed.pass(0).run().clean();
    crossed.cluster.assert_gone(&crossed.disks[0], 0, PART);
    for object in &crossed.objects {
        assert_eq!(crossed.cluster.get(&crossed.disks[1], object).body, b"twice");
    }
}

/// Or a node that is told afterwards may remove the partition unseen: when it is looked at it must know already that
/// somebody counts on it.
#[test]
fn a_target_is_told_of_a_push_before_it_is_looked_at() {
    let mut cluster = Spec::nodes(2).replicas(1.0).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    cluster.put(&disk, &cluster.object_in(0, part), &time(1), b"told");
    let hashes = cluster.hashes(&disk, 0, part);
    cluster.nodes[1].stop_object_server();
    let folder = tempfile::tempdir().expect("a folder for a mark");
    let looked = folder.path().join("looked");
    let rsync = FakeRsync::doing(&format!("[ $dry = no ] || touch '{}'\nexec \"$rsync\" \"$@\"", looked.display()));
    let there = cluster.primaries(0, part)[0].partition(0, part);
    let target = StubPeer::start(cluster.nodes[1].object_address(), move |request| {
        // It is told, looked at, and asked what it has: twice, for once more right before the removal.
        match (request.after_push(), looked.exists()) {
            (true, false) => Reply::Status(200, Vec::new()),
            (false, true) => {
                fs::write(there.join("hashes.pkl"), b"as a server does").expect("the partition was pushed");
                Reply::hashes(&hashes)
            }
            _ => Reply::Status(500, Vec::new()),
        }
    });
    let outcome = cluster.pass(Which::Ours, 0).rsync(&rsync).run();
    outcome.clean().counts(&[("remove", 1), ("failure", 0)]);
    // Pushed, compared, and seen that the server writes in the same folder.
    assert_eq!((target.requests().len(), rsync.runs().len()), (3, 3), "{}", outcome.all());
}
