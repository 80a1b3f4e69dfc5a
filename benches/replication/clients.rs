//! Clients that read from the disks of a node whose replicator is at work: how long they wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::launch::Cost;
use crate::peers::StaticPeers;
use crate::report::{Bound, Case, Figure};
use crate::stage::{Stage, datadir};
use crate::support::cluster::{Lease, Spec};
use crate::support::object::{Object, time};
use crate::support::replicator::Which;
use crate::tree::{Shape, forget_hashes};

const POWER: u32 = 10;
const OBJECTS: u32 = 200;
/// From the end of one request to the next.
const PAUSE: Duration = Duration::from_millis(2);
/// Passes are repeated until there are so many requests.
const ENOUGH: usize = 500;

/// GETs through the object server while every suffix is being hashed.
pub fn measure(plan: Plan) -> Vec<Case> {
    let scene = Scene::new();
    let mut alone = Vec::new();
    scene.get_until(&AtomicBool::new(false), ENOUGH, &mut alone);
    let (mut reference, mut ours) = (Vec::new(), Vec::new());
    let enough = if plan.quick { ENOUGH / 2 } else { ENOUGH };
    while reference.len() < enough {
        scene.get_during_pass(Which::Reference, &mut reference);
    }
    while ours.len() < enough {
        scene.get_during_pass(Which::Ours, &mut ours);
    }
    let case = |name: &str, share: f64| {
        let at = |latencies: &[f64]| vec![cost(quantile(latencies, share))];
        let case = Case::new(&format!("GET during a cold pass, {name}"), (at(&reference), at(&ours)));
        case.bound(Figure::Wall, Bound::Beside("without a pass".to_owned(), quantile(&alone, share)))
    };
    vec![case("median", 0.5), case("99 of 100 within", 0.99)]
}

/// The latency that this share of the requests stays below.
fn quantile(latencies: &[f64], share: f64) -> f64 {
    let mut sorted = latencies.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn cost(latency: f64) -> Cost {
    Cost { wall: latency, cpu: 0.0, memory: 0.0 }
}

/// A node with an object server, and peers that have the same.
struct Scene {
    cluster: Lease,
    objects: Vec<Object>,
    _peers: StaticPeers,
}

impl Scene {
    fn new() -> Self {
        let cluster = Spec::nodes(3).part_power(POWER).silent(&[1, 2]).lease();
        Shape::usual(1 << POWER).build(&datadir(&cluster), POWER);
        let object = |n| {
            let object = Object::new(&format!("AUTH_bench/read/{n}"), 0, POWER);
            cluster.put(&cluster.home(0, object.partition, 0), &object, &time(n), &[b'.'; 4096]);
            object
        };
        let objects = (0..OBJECTS).map(object).collect();
        let peers = StaticPeers::in_sync_with(&cluster, &datadir(&cluster));
        Self { cluster, objects, _peers: peers }
    }

    fn get_during_pass(&self, which: Which, latencies: &mut Vec<f64>) {
        forget_hashes(&datadir(&self.cluster));
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| self.get_until(&ended, usize::MAX, latencies));
            Stage::new(&self.cluster).expect("attempted", 1_u32 << POWER).run(which);
            ended.store(true, Ordering::Relaxed);
        });
    }

    /// Reads one object after the other, and notes how long each took.
    fn get_until(&self, ended: &AtomicBool, most: usize, latencies: &mut Vec<f64>) {
        for object in self.objects.iter().cycle().take(most) {
            if ended.load(Ordering::Relaxed) {
                return;
            }
            let started = Instant::now();
            let answer = self.cluster.get(&self.cluster.disks()[0], object);
            latencies.push(started.elapsed().as_secs_f64());
            assert_eq!(answer.status, 200, "{object:?}");
            thread::sleep(PAUSE);
        }
    }
}
