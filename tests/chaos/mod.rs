//! Nothing is lost, whatever happens: replicators that run while everything around them fails.
//!
//! A run has four parts.
//! 1. A cluster is stocked with objects, and the replicators make passes.
//! 2. Clients go on storing, changing and deleting ([`client`]), while faults happen ([`plan`], [`faults`]). Every removal
//!    of a hand-off is checked when it happens ([`removals`]).
//! 3. The clients leave, everything is mended ([`damage`] says what is left to Swift's auditor), and the replicators make
//!    passes until there is nothing left to do.
//! 4. What is there is compared with what clients were told ([`model`], [`verdict`]).
//!
//! What clients do and which faults happen follows from a seed, which is printed; what meets what also depends on how
//! fast the machine is. `make chaos MINUTES=5 SEED=7` makes a longer run, or one with a certain seed, and
//! `WITHOUT='power loss,locks'` leaves out the faults whose kinds have these words,
//! `BATCH=1` one with a certain `rsync_batch`, `SYNC=ssync` one in which objects are pushed by SSYNC, `SYNC=mixed` one in which every other node does so.

pub mod census;
mod client;
mod cluster;
mod damage;
pub mod devices;
mod ending;
mod faults;
mod images;
mod locks;
mod log;
pub mod model;
mod plan;
mod processes;
pub mod proxy;
mod reboot;
mod removals;
mod replicator;
mod rings;
mod rsync;
pub mod stock;
mod verdict;
pub mod whole;
pub mod world;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use self::client::Client;
use self::cluster::{Cluster, IMAGES, NODES, Order};
use self::faults::Faults;
use self::world::Clock;
use crate::support::seed::Seed;

/// How many clients there are.
const CLIENTS: usize = 3;

/// What a run is made with, from the environment.
struct Settings {
    seed: u64,
    /// How long faults go on.
    length: Duration,
    /// How many partitions the replicators may push with one rsync; `None`: as the seed has it.
    batch: Option<u32>,
    /// By which methods the nodes push, in turn.
    methods: &'static [&'static str],
    /// Whether one node's devices are images, which can lose power and be damaged: in long runs, and now and then.
    images: bool,
    /// Kinds of faults that are left out, to look for what the others do.
    without: Vec<String>,
}

impl Settings {
    fn from_environment() -> Self {
        let number = |name: &str| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
            Some(value.parse::<f64>().unwrap_or_else(|e| panic!("{name}={value}: {e}")))
        };
        let seed = number("CHAOS_SEED").map_or_else(|| Seed::of_this_run().value() % 1_000_000, |seed| seed as u64);
        let length = Duration::from_secs_f64(number("CHAOS_MINUTES").unwrap_or(0.7) * 60.0);
        let batch = number("CHAOS_BATCH").map(|batch| batch as u32);
        let methods = match std::env::var("CHAOS_SYNC").unwrap_or_default().as_str() {
            "" | "rsync" => &["rsync"][..],
            "ssync" => &["ssync"],
            "mixed" => &["rsync", "ssync"],
            other => panic!("CHAOS_SYNC={other}: rsync, ssync or mixed"),
        };
        let without = std::env::var("CHAOS_WITHOUT").unwrap_or_default();
        let without = without.split(',').filter(|kind| !kind.is_empty()).map(str::to_owned).collect();
        let images = length >= Duration::from_secs(60) || seed.is_multiple_of(4);
        Self { seed, length, batch, methods, images, without }
    }

    /// Options of the replicators that change how they go about their work.
    fn options(&self, rng: &mut Rng) -> Vec<(&'static str, String)> {
        let batch = if rng.bool() { 128 } else { 1 };
        vec![
            ("rsync_batch", self.batch.unwrap_or(batch).to_string()),
            ("concurrency", rng.u32(1..=3).to_string()),
            ("replicator_workers", rng.u32(0..=2).to_string()),
            ("handoffs_first", (rng.u32(0..4) == 0).to_string()),
        ]
    }
}

#[test]
fn nothing_is_lost_whatever_happens() {
    run(&Settings::from_environment());
}

/// A run in which all nodes push by SSYNC, or every other one, as the seed has it.
#[test]
fn nothing_is_lost_by_ssync_either() {
    let mut settings = Settings::from_environment();
    settings.methods = if settings.seed.is_multiple_of(2) { &["ssync"] } else { &["rsync", "ssync"] };
    run(&settings);
}

fn run(settings: &Settings) {
    let Settings { seed, length, methods, .. } = *settings;
    let begun = Instant::now();
    let kept = Seed::given_by("CHAOS_SEED", seed);
    let mut rng = kept.rng();
    let options = settings.options(&mut rng.fork());
    tell(&format!("seed {seed}, {} s of faults, {methods:?}, {options:?}", length.as_secs()));
    let order = Order { objects: [1500, 500], methods, options: &options, images: settings.images };
    let Some(mut cluster) = Cluster::start(&order, &mut rng) else {
        tell("left out: a tmpfs keeps no user xattrs here (Linux before 6.6)");
        return;
    };
    let (world, clock) = (Arc::clone(&cluster.world), Clock::start());
    let mut clients: Vec<_> =
        (0..CLIENTS).map(|place| Client::new(&world, &clock, place, CLIENTS, rng.fork())).collect();
    if methods.contains(&"ssync") {
        clients = clients.into_iter().map(Client::without_posts).collect();
    }
    let images: &[u32] = if cluster.images_node().is_some() { &IMAGES } else { &[] };
    let scale = plan::Scale { nodes: NODES, disks: world.disks.len() as u32, length, images };
    let mut plan = plan::draw(scale, &mut rng.fork());
    plan.iter_mut().for_each(|step| step.fault.tame(&settings.without));
    plan.retain(|step| !settings.without.iter().any(|kind| step.fault.kind().contains(kind.as_str())));

    stock::store(&world, &clock, &mut rng);
    cluster.sync_images();
    cluster.start_replicators();
    let idle = ending::Idle::of(&cluster);
    tell(&format!(
        "{} objects are stored, the first passes over after {} s",
        world.things.len(),
        begun.elapsed().as_secs()
    ));

    let mut faults = Faults::new(&mut cluster, rng);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        clients.iter_mut().for_each(|client| drop(scope.spawn(|| client.work(&stop))));
        let _stop = AtEnd(|| stop.store(true, Ordering::Relaxed));
        faults.run(&plan);
    });
    faults.heal();
    tell(&format!("the faults are over after {} s", begun.elapsed().as_secs()));

    idle.look_for_leaks(&cluster);
    ending::stop_daemons(&cluster);
    verdict::audit(&cluster);
    ending::come_to_rest(&cluster);
    verdict::check(&cluster);
    ending::check_that_enough_happened(&cluster);
    tell(&ending::figures(&cluster, begun.elapsed()));
    let findings = world.findings();
    assert!(findings.is_empty(), "seed {seed}: {}", ending::told(&cluster, &findings));
}

/// Does something when it goes, also when a thread fails.
struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Says something now, whether the test will fail or not: the seed must be known whatever happens.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "chaos: {text}");
}
