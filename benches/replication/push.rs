//! Passes that push: to two empty peers, to very many, and from where nothing belongs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::Plan;
use crate::peers::hash_all;
use crate::report::{Bound, Case, Figure, median};
use crate::stage::{Stage, datadir};
use crate::support::cluster::{Disk, Lease, Spec};
use crate::support::guard::must;
use crate::support::tree::restore;
use crate::tree::{self, Shape};

const POWER: u32 = 10;
/// Room for any of the trees.
const MEGABYTES: u32 = 2048;

/// To two empty peers, all devices in memory.
pub fn two_targets(plan: Plan) -> Vec<Case> {
    let scene = Scene::new(plan, Spec::nodes(3).part_power(POWER).in_memory(MEGABYTES).lease());
    let case = |concurrency, share| {
        let case = scene.case(plan, &format!("push to 2 targets, concurrency {concurrency}"), concurrency);
        case.bound(Figure::Wall, Bound::Share(share)).bound(Figure::Cpu, Bound::None)
    };
    vec![case(1, 40.0), case(16, 8.0)]
}

/// To two empty peers, all devices on the disk that has this folder, beside one rsync of the whole tree per target.
pub fn two_targets_on_disk(plan: Plan) -> Vec<Case> {
    let scene = Scene::new(plan, Spec::nodes(3).part_power(POWER).lease());
    let mut bare: Vec<f64> = (0..plan.slow().ours).map(|_| scene.bare_rsync()).collect();
    let bare = median(&mut bare);
    let case = scene.case(plan, "push to 2 targets on ext4, concurrency 1", 1);
    let limit = Bound::Times(1.5, "one rsync per target".to_owned(), bare);
    vec![case.bound(Figure::Wall, Bound::Share(15.0)).bound(Figure::Wall, limit)]
}

/// Each partition to two of 24 empty devices.
pub fn many_targets(plan: Plan) -> Vec<Case> {
    let mut spec = Spec::nodes(5).devices(6).part_power(POWER).in_memory(MEGABYTES);
    spec.nodes[0].devices = 1;
    let mut cluster = spec.lease();
    let mut random = fastrand::Rng::with_seed(1);
    let mut row = |devices: std::ops::Range<u32>| (0..1 << POWER).map(|_| random.u32(devices.clone())).collect();
    let rows: Vec<Vec<u32>> = vec![row(0..1), row(1..13), row(13..25)];
    cluster.assign_ring(0, &rows);
    let scene = Scene::new(plan, cluster);
    let case = |concurrency, share| {
        let case = scene.case(plan, &format!("push to 24 targets, concurrency {concurrency}"), concurrency);
        case.bound(Figure::Wall, Bound::Share(share)).bound(Figure::Cpu, Bound::None)
    };
    vec![case(1, 10.0), case(16, 4.0)]
}

/// Partitions that belong on three other nodes, all devices in memory.
pub fn handoffs(plan: Plan) -> Vec<Case> {
    let scene = Scene::misplaced(plan, Spec::nodes(4).part_power(POWER).in_memory(MEGABYTES).lease());
    let copy = scene.copy();
    let case = |concurrency: usize| {
        scene.moved_home(plan, &format!("hand-offs to 3 targets, concurrency {concurrency}"), concurrency, &copy)
    };
    let (alone, together) = (case(1), case(16));
    vec![
        alone.bound(Figure::Wall, Bound::Share(15.0)).bound(Figure::Cpu, Bound::None),
        together.bound(Figure::Wall, Bound::None).bound(Figure::Cpu, Bound::None),
    ]
}

/// The same, all devices on the disk that has this folder, which the targets write to before a hand-off goes.
pub fn handoffs_on_disk(plan: Plan) -> Vec<Case> {
    let scene = Scene::misplaced(plan, Spec::nodes(4).part_power(POWER).lease());
    let case = scene.moved_home(plan, "hand-offs to 3 targets on ext4, concurrency 1", 1, &scene.copy());
    vec![case.bound(Figure::Wall, Bound::None).bound(Figure::Cpu, Bound::None)]
}

/// A node with objects, and peers with none.
struct Scene {
    cluster: Lease,
    shape: Shape,
    /// Files that hold objects.
    files: usize,
}

impl Scene {
    fn new(plan: Plan, cluster: Lease) -> Self {
        Self::of(Shape::usual(if plan.quick { 128 } else { 1024 }), cluster)
    }

    fn of(shape: Shape, cluster: Lease) -> Self {
        let datadir = datadir(&cluster);
        shape.build(&datadir, POWER);
        hash_all(&datadir);
        Self { files: objects(&datadir), cluster, shape }
    }

    /// One whose partitions all belong on the three other nodes.
    fn misplaced(plan: Plan, mut cluster: Lease) -> Self {
        let rows: Vec<Vec<u32>> = (1..4).map(|device| vec![device; 1 << POWER]).collect();
        cluster.assign_ring(0, &rows);
        Self::of(Shape::usual(if plan.quick { 64 } else { 512 }), cluster)
    }

    /// Every partition of the node is pushed, checked and removed; they come from this copy.
    fn moved_home(&self, plan: Plan, name: &str, concurrency: usize, copy: &Path) -> Case {
        let (partitions, datadir) = (self.shape.partitions, datadir(&self.cluster));
        let stage = Stage::new(&self.cluster).set("concurrency", concurrency);
        let stage = stage.expect("attempted", partitions).expect("remove", partitions);
        let prepare = || {
            self.empty_targets();
            restore(copy, &datadir);
        };
        let costs = stage.compare(plan.slow(), prepare, || {
            self.check_targets();
            assert_eq!(fs::read_dir(&datadir).expect("the device is readable").count(), 0, "hand-offs are left");
        });
        Case::new(name, costs).per(partitions)
    }

    /// Every partition of the node to every other node that it belongs on.
    fn case(&self, plan: Plan, name: &str, concurrency: usize) -> Case {
        let partitions = self.shape.partitions;
        let stage = Stage::new(&self.cluster).set("concurrency", concurrency);
        let stage = stage.expect("attempted", partitions).expect("rsync", 2 * partitions);
        let costs = stage.compare(plan.slow(), || self.empty_targets(), || self.check_targets());
        Case::new(name, costs).per(partitions)
    }

    fn targets(&self) -> impl Iterator<Item = &Disk> {
        self.cluster.disks().iter().filter(|disk| disk.node != 0)
    }

    fn empty_targets(&self) {
        self.targets().for_each(|disk| tree::empty(&disk.path.join("objects")));
    }

    /// Fails unless every partition is on all the devices that it belongs on.
    fn check_targets(&self) {
        let copies = self.cluster.primaries(0, 0).iter().filter(|disk| disk.node != 0).count();
        let found: usize = self.targets().map(|disk| objects(&disk.path.join("objects"))).sum();
        assert_eq!(found, copies * self.files, "files are missing on the targets");
    }

    /// A copy of the tree, on the disk.
    fn copy(&self) -> PathBuf {
        let copy = self.cluster.etc().join("tree");
        let _ = fs::remove_dir_all(&copy);
        fs::create_dir(&copy).expect("the cluster's folder is writable");
        restore(&datadir(&self.cluster), &copy);
        copy
    }

    /// The seconds that one rsync of the whole tree to each target takes, one after the other.
    fn bare_rsync(&self) -> f64 {
        self.empty_targets();
        let started = Instant::now();
        for target in self.targets() {
            let mut rsync = Command::new("rsync");
            rsync.args(["--recursive", "--whole-file", "--xattrs", "--exclude=hashes.*", "--exclude=.lock"]);
            rsync.arg("--sockopts=TCP_NODELAY").arg(datadir(&self.cluster).join("."));
            must(rsync.arg(format!("{}::object/{}/objects/", target.address, target.name)));
        }
        let seconds = started.elapsed().as_secs_f64();
        self.check_targets();
        seconds
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // The cluster stays until the benchmark ends, and some have their devices in memory.
        self.cluster.disks().iter().for_each(|disk| tree::remove_what_is_aside(&disk.path));
    }
}

/// How many files of objects are in a datadir.
fn objects(datadir: &Path) -> usize {
    let mut find = Command::new("find");
    let found = find.arg(datadir).args(["-mindepth", "4", "-type", "f", "-printf", "x"]).output().expect("find runs");
    found.stdout.len()
}
