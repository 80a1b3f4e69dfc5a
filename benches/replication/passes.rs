//! Passes that push nothing: over an empty device, over one that is in sync, and over one without hashes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Plan;
use crate::peers::StaticPeers;
use crate::report::{Bound, Case, Figure};
use crate::stage::{Stage, datadir};
use crate::support::cluster::{Lease, Spec};
use crate::tree::{Shape, forget_hashes};

const POWER: u32 = 10;

/// Start, one pass over one empty device, exit.
pub fn idle(plan: Plan) -> Vec<Case> {
    let cluster = Spec::nodes(3).silent(&[0, 1, 2]).lease();
    let stage = Stage::new(&cluster).expect("attempted", 0_u32);
    let costs = stage.compare(plan.usual(), || {}, || {});
    let case = Case::new("idle", costs);
    vec![case.bound(Figure::Cpu, Bound::Seconds(0.008)).bound(Figure::Memory, Bound::None)]
}

/// Peers have the same hashes.
pub fn in_sync(plan: Plan) -> Vec<Case> {
    let scene = Scene::new(Shape::usual(1024));
    let case = |concurrency: usize| {
        let costs = scene.stage(concurrency).compare(plan.usual(), || {}, || {});
        let case = Case::new(&format!("in sync, concurrency {concurrency}"), costs).per(scene.shape.partitions);
        case.bound(Figure::Cpu, Bound::Share(18.0)).bound(Figure::Wall, Bound::Share(8.0))
    };
    vec![case(1), case(8)]
}

/// Peers have the same hashes, but here they are not known.
pub fn cold(plan: Plan) -> Vec<Case> {
    let scene = Scene::new(Shape::usual(1024));
    let datadir = datadir(&scene.cluster);
    let case = |concurrency: usize| {
        let stage = scene.stage(concurrency).expect("suffix_hash", scene.shape.partitions * scene.shape.suffixes);
        let costs = stage.compare(plan.usual(), || forget_hashes(&datadir), || {});
        Case::new(&format!("cold, concurrency {concurrency}"), costs).per(scene.shape.partitions)
    };
    let found = find(plan, &datadir);
    plan.let_the_disk_forget();
    let alone = case(1).bound(Figure::Cpu, Bound::Share(8.0));
    let alone = alone.bound(Figure::Wall, Bound::Times(6.0, "`find -type f`".to_owned(), found));
    vec![alone, case(8).bound(Figure::Cpu, Bound::Share(8.0)).bound(Figure::Wall, Bound::None)]
}

/// The median of the seconds that `find -type f` takes over a tree that is in the cache, as it is for the runs.
fn find(plan: Plan, tree: &Path) -> f64 {
    let mut seconds: Vec<f64> = (0..plan.usual().ours.max(3))
        .map(|_| {
            let started = Instant::now();
            let mut find = Command::new("find");
            let status = find.arg(tree).args(["-type", "f"]).stdout(Stdio::null()).status();
            assert!(status.is_ok_and(|status| status.success()), "find fails");
            started.elapsed().as_secs_f64()
        })
        .collect();
    crate::report::median(&mut seconds)
}

/// A node whose one device has objects, and two peers that have the same.
struct Scene {
    cluster: Lease,
    shape: Shape,
    _peers: StaticPeers,
}

impl Scene {
    fn new(shape: Shape) -> Self {
        let cluster = Spec::nodes(3).part_power(POWER).silent(&[0, 1, 2]).lease();
        let datadir = datadir(&cluster);
        shape.build(&datadir, POWER);
        let peers = StaticPeers::in_sync_with(&cluster, &datadir);
        Self { cluster, shape, _peers: peers }
    }

    fn stage(&self, concurrency: usize) -> Stage<'_> {
        let stage = Stage::new(&self.cluster).set("concurrency", concurrency);
        stage.expect("attempted", self.shape.partitions).expect("hashmatch", 2 * self.shape.partitions)
    }
}
