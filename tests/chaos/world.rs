//! What all parts of a run share: the devices, the objects with what is known of them, the rings that nodes have, and
//! what was found.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::model::{History, Moment};
use super::rings::{POLICIES, Rings};
use crate::support::cluster::Disk;
use crate::support::object::Object;

/// An object with all that clients know of it.
pub struct Thing {
    /// The place of its policy in [`POLICIES`].
    pub policy: usize,
    pub object: Object,
    pub history: Mutex<History>,
}

/// The rings that a node has had, with the times since when.
type Succession = Vec<(Instant, Arc<Rings>)>;

/// What is shared.
pub struct World {
    /// By id; the paths are those of the media, which stay when a device is unmounted.
    pub disks: Vec<Disk>,
    pub things: Vec<Thing>,
    /// The places of things by the hashes of their names.
    by_hash: HashMap<String, usize>,
    /// Who looks at the media holds it for reading; it is held for writing while a medium is replaced, as after a power
    /// loss, so that nobody takes what is not there for a moment for lost.
    pub media: RwLock<()>,
    /// When a medium was last replaced, or damaged.
    suffered: Mutex<HashMap<u32, Instant>>,
    /// Per device: clients hold it for reading while they wait for an answer from the device; it is held for writing
    /// while the device is unmounted or mounted, so that no server stores anything between the two.
    pub gates: Vec<RwLock<()>>,
    /// By node.
    rings: Mutex<Vec<Succession>>,
    /// Whether the run is over: then nobody need watch it any more.
    pub is_over: AtomicBool,
    findings: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl World {
    /// A world in which every node has the same rings.
    pub fn new(disks: Vec<Disk>, nodes: usize, objects: &[usize; POLICIES.len()], rings: Rings) -> Self {
        let things = POLICIES.iter().enumerate().zip(objects).flat_map(|((place, policy), count)| {
            (0..*count).map(move |number| {
                let name = format!("AUTH_chaos/policy-{}/object-{number}", policy.index);
                let object = Object::new(&name, policy.index, policy.part_power);
                Thing { policy: place, object, history: Mutex::default() }
            })
        });
        let begin = (Instant::now(), Arc::new(rings));
        let things: Vec<Thing> = things.collect();
        let by_hash = things.iter().enumerate().map(|(place, thing)| (thing.object.hash.clone(), place));
        Self {
            by_hash: by_hash.collect(),
            things,
            media: RwLock::default(),
            suffered: Mutex::default(),
            gates: disks.iter().map(|_| RwLock::new(())).collect(),
            rings: Mutex::new(vec![vec![begin]; nodes]),
            disks,
            is_over: AtomicBool::default(),
            findings: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    /// The device with this id.
    pub fn disk(&self, id: u32) -> &Disk {
        &self.disks[id as usize]
    }

    /// The node of each device, by id.
    pub fn nodes_of_disks(&self) -> Vec<usize> {
        self.disks.iter().map(|disk| disk.node).collect()
    }

    /// The object whose name has this hash.
    pub fn thing(&self, hash: &str) -> Option<&Thing> {
        self.by_hash.get(hash).map(|&place| &self.things[place])
    }

    /// Takes note that a medium may have lost what it had, or cannot be read everywhere.
    pub fn note_suffering(&self, disk: u32) {
        lock(&self.suffered).insert(disk, Instant::now());
    }

    /// Whether a medium has suffered since a moment.
    pub fn has_suffered_since(&self, disk: u32, moment: Instant) -> bool {
        lock(&self.suffered).get(&disk).is_some_and(|at| *at >= moment)
    }

    /// Whether a medium has ever suffered.
    pub fn has_ever_suffered(&self, disk: u32) -> bool {
        lock(&self.suffered).contains_key(&disk)
    }

    /// The objects of a partition.
    pub fn things_in(&self, policy: usize, part: u32) -> impl Iterator<Item = &Thing> {
        self.things.iter().filter(move |thing| thing.policy == policy && thing.object.partition == part)
    }

    /// The rings that a node has now.
    pub fn rings(&self, node: usize) -> Arc<Rings> {
        let rings = lock(&self.rings);
        Arc::clone(&rings[node].last().expect("there is one from the beginning").1)
    }

    /// The rings that a node has, and those that it had until a moment ago.
    pub fn rings_lately(&self, node: usize, within: Duration) -> Vec<Arc<Rings>> {
        let rings = lock(&self.rings);
        let mut lately = Vec::new();
        for (since, rings) in rings[node].iter().rev() {
            lately.push(Arc::clone(rings));
            if since.elapsed() > within {
                break;
            }
        }
        lately
    }

    /// Takes note that a node got rings.
    pub fn note_rings(&self, node: usize, rings: &Arc<Rings>) {
        lock(&self.rings)[node].push((Instant::now(), Arc::clone(rings)));
    }

    /// Whether a partition belongs on a device, by what the device's node knows.
    pub fn is_home(&self, policy: usize, part: u32, disk: &Disk) -> bool {
        self.rings(disk.node).is_home(policy, part, disk.id)
    }

    /// Takes note of something that must not be.
    pub fn found(&self, what: String) {
        lock(&self.findings).push(what);
    }

    /// What was found until now.
    pub fn findings(&self) -> Vec<String> {
        lock(&self.findings).clone()
    }

    /// Counts something.
    pub fn count(&self, what: &str) {
        *lock(&self.counts).entry(what.to_owned()).or_default() += 1;
    }

    /// What was counted.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        lock(&self.counts).clone()
    }
}

/// Times for operations, each a millisecond after the last one. They begin yesterday, so that nothing is in the future,
/// nor old enough to be reclaimed.
pub struct Clock(Mutex<Moment>);

impl Clock {
    pub fn start() -> Self {
        const DAY: u64 = 86_400;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        Self(Mutex::new(Moment((now - DAY) * Moment::PER_SECOND)))
    }

    /// A time that is newer than all before.
    pub fn tick(&self) -> Moment {
        let mut now = lock(&self.0);
        now.0 += Moment::PER_SECOND / 1000;
        *now
    }
}

/// What a mutex holds; what a thread left that failed is still good enough to be reported.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
