//! Every removal of a hand-off, checked when it happens.
//!
//! A replicator says `Removing partition: PATH` before the first unlink. Who reads that line has two questions:
//! 1. *Is anything lost?* What clients know of the partition's objects must be on some device, whichever.
//! 2. *Was it right?* Every primary, by the ring of the node that removes, must have what the hand-off had, or newer.
//!
//! The replicator goes on meanwhile, so what the hand-off had is known from before: a patrol looks at all hand-offs
//! several times a second, and once more before a node gets new rings (which make hand-offs of primaries). What the
//! patrol saw was there when the replicator recorded the partition, or it came later, and then it must still be there
//! when the removal is over. So whatever is in doubt is looked at again some seconds later.
//!
//! Between what a replicator makes sure of and its removal, a node with other rings may move on what it was given. So a
//! primary whose own node has just removed the partition is not asked (that removal was checked too), and any of the
//! rings that the node had until a moment ago may justify a removal. The first question is asked all the same.
//!
//! A copy is one that could be served: bytes and metadata are looked at ([`super::whole`]). Where a primary's medium has
//! lost what was not written yet, or was damaged, after the replicator made sure of it, the second question is not asked
//! of it; the first is: what one device lost must be on another.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::census::{self, Copies};
use super::model::State;
use super::rings::{POLICIES, Rings};
use super::whole;
use super::world::{World, lock};
use crate::support::cluster::{Disk, datadir};
use crate::support::guard::{PATIENCE, until};

/// A partition on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub disk: u32,
    /// The place of the policy in [`POLICIES`].
    pub policy: usize,
    pub part: u32,
}

/// A removal as a replicator tells it.
#[derive(Clone, Copy, Debug)]
struct Removal {
    place: Place,
    at: Instant,
}

/// How long ago a node may have had the rings that a removal goes by, or removed what another one gave it.
const LATELY: Duration = Duration::from_secs(60);
/// After this time a removal is over, and whatever else was going on is seen.
const OVER: Duration = Duration::from_secs(6);
/// How often something that seems lost is looked for: it may be on its way from one device to another.
const LOOKS: usize = 4;
/// A removal that is younger is going on, or over by so little that no disk has written what led to it.
const JUST_NOW: Duration = Duration::from_millis(400);
/// The pause between two rounds of the patrol.
const PATROL: Duration = Duration::from_millis(250);

/// Watches removals until the run is over.
pub struct Watch {
    world: Arc<World>,
    /// What hand-offs were seen to hold.
    seen: Mutex<HashMap<Place, Copies>>,
    removals: Mutex<HashMap<Place, Vec<Instant>>>,
    news: Sender<Removal>,
    checked: Mutex<u64>,
}

impl Watch {
    /// Begins to watch.
    pub fn start(world: &Arc<World>) -> Arc<Self> {
        let (news, told) = channel();
        let watch = Arc::new(Self {
            world: Arc::clone(world),
            seen: Mutex::default(),
            removals: Mutex::default(),
            news,
            checked: Mutex::default(),
        });
        let (patrol, checker) = (Arc::clone(&watch), Arc::clone(&watch));
        thread::spawn(move || {
            while !patrol.world.is_over.load(Ordering::Relaxed) {
                patrol.look_at_hand_offs();
                thread::sleep(PATROL);
            }
        });
        thread::spawn(move || checker.check_all(&told));
        watch
    }

    /// Takes in a line of the log of a node's replicator; whether it tells of a removal.
    pub fn line(&self, node: usize, text: &str) -> bool {
        let Some(place) = text.strip_prefix("Removing partition: ").and_then(|path| self.place(node, path)) else {
            return false;
        };
        let removal = Removal { place, at: Instant::now() };
        lock(&self.removals).entry(place).or_default().push(removal.at);
        self.news.send(removal).expect("the checker outlives the replicators");
        true
    }

    /// How many removals were checked, once there is none left to check.
    pub fn checked(&self) -> u64 {
        let told = || lock(&self.removals).values().map(Vec::len).sum::<usize>() as u64;
        let done = until(PATIENCE, || *lock(&self.checked) == told());
        assert!(done, "{} removals were told, {} checked", told(), lock(&self.checked));
        told()
    }

    /// `.../devices/<device>/<datadir>/<partition>` of a node.
    fn place(&self, node: usize, path: &str) -> Option<Place> {
        let mut words = path.rsplit('/');
        let part = words.next()?.parse().ok()?;
        let (folder, device) = (words.next()?, words.next()?);
        let policy = POLICIES.iter().position(|policy| datadir(policy.index) == folder)?;
        let disk = self.world.disks.iter().find(|disk| disk.node == node && disk.name == device)?.id;
        Some(Place { disk, policy, part })
    }

    /// Notes what is in partitions that do not belong where they are.
    fn look_at_hand_offs(&self) {
        for disk in &self.world.disks {
            let rings = self.world.rings(disk.node);
            self.look_at(disk, |place| !rings.is_home(place.policy, place.part, disk.id));
        }
    }

    /// Notes what is in the partitions of a node that do not belong where they are by the rings that it will have.
    pub fn look_before(&self, node: usize, next: &Rings) {
        for disk in self.world.disks.iter().filter(|disk| disk.node == node) {
            self.look_at(disk, |place| !next.is_home(place.policy, place.part, disk.id));
        }
    }

    fn look_at(&self, disk: &Disk, wanted: impl Fn(Place) -> bool) {
        for (place, policy) in POLICIES.iter().enumerate() {
            for part in census::partitions(disk, policy.index) {
                let place = Place { disk: disk.id, policy: place, part };
                if wanted(place) {
                    let (begun, copies) = (Instant::now(), self.copies(place));
                    // What is seen before a removal is over need not be there at the next one.
                    let removals = lock(&self.removals);
                    if removals.get(&place).and_then(|all| all.last()).is_none_or(|last| *last + OVER < begun) {
                        lock(&self.seen).insert(place, copies);
                    }
                }
            }
        }
    }

    fn copies(&self, place: Place) -> Copies {
        census::copies(&self.world, self.world.disk(place.disk), POLICIES[place.policy].index, place.part)
    }

    /// What every device has of the partition, by id.
    fn everywhere(&self, place: Place) -> Vec<Copies> {
        self.world.disks.iter().map(|disk| self.copies(Place { disk: disk.id, ..place })).collect()
    }

    fn check_all(&self, told: &Receiver<Removal>) {
        let mut doubts: Vec<Doubt> = Vec::new();
        while !self.world.is_over.load(Ordering::Relaxed) {
            match told.recv_timeout(Duration::from_millis(200)) {
                Ok(removal) => doubts.extend(self.check(removal)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let (due, later): (Vec<_>, _) = doubts.into_iter().partition(|doubt| doubt.removal.at.elapsed() > OVER);
            doubts = later;
            for doubt in due {
                self.settle(&doubt);
                *lock(&self.checked) += 1;
            }
        }
    }

    /// Whether a partition that belongs on a node alone has just been removed elsewhere.
    pub fn has_just_moved_to(&self, node: usize) -> bool {
        let moved = |place: &Place| {
            let rings = self.world.rings(node);
            let homes: Vec<usize> =
                rings.primaries(place.policy, place.part).map(|id| self.world.disk(id).node).collect();
            homes == [node] && self.world.disk(place.disk).node != node
        };
        let just = |all: &Vec<Instant>| all.last().is_some_and(|last| last.elapsed() < JUST_NOW);
        lock(&self.removals).iter().any(|(place, all)| just(all) && moved(place))
    }

    /// Asks both questions; what is left in doubt.
    fn check(&self, removal: Removal) -> Option<Doubt> {
        let _media = self.world.media.read().unwrap_or_else(PoisonError::into_inner);
        let mut held = lock(&self.seen).remove(&removal.place).unwrap_or_default();
        census::merge(&mut held, self.copies(removal.place));
        let doubt = (0..LOOKS).map(|_| self.doubt(removal, &held)).find(|doubt| doubt.is_nothing());
        if doubt.is_some() {
            *lock(&self.checked) += 1;
            return None;
        }
        let mut doubt = self.doubt(removal, &held);
        for missing in &mut doubt.wrong {
            missing.seen = self.describe(removal, missing);
        }
        Some(doubt)
    }

    /// What a primary has in the place of what it has not, so that a finding can be understood.
    fn describe(&self, removal: Removal, missing: &Missing) -> String {
        let after = removal.at.elapsed();
        let disk = self.world.disk(missing.primary);
        let Some(thing) = self.world.thing(&missing.hash) else { return "an unknown object".to_owned() };
        let file = |path: &Path| {
            let size =
                fs::metadata(path).map_or_else(|e| e.to_string(), |metadata| format!("{} bytes", metadata.len()));
            let name = census::name(path);
            let is_whole =
                census::parse(&name).is_some_and(|(at, deed)| whole::is_whole(&thing.object.name, path, at, deed));
            format!("{name} ({size}, {})", if is_whole { "whole" } else { "not whole" })
        };
        let folder = thing.object.folder(disk);
        let files: Vec<_> = census::entries(&folder).iter().map(|path| file(path)).collect();
        let quarantined: Vec<_> = census::files_below(&disk.path.join("quarantined"))
            .iter()
            .filter(|path| path.to_string_lossy().contains(&missing.hash))
            .map(|path| file(path))
            .collect();
        let is_there = fs::read_dir(&folder).map_or_else(|e| e.to_string(), |_| "there".to_owned());
        format!("{after:?} after it: its folder is {is_there}, with {files:?}; in quarantine: {quarantined:?}")
    }

    fn doubt(&self, removal: Removal, held: &Copies) -> Doubt {
        // In this order: what is known already must be somewhere.
        let known: Vec<_> = self.known(removal.place).collect();
        let everywhere = self.everywhere(removal.place);
        let mut together = Copies::new();
        everywhere.iter().for_each(|copies| census::merge(&mut together, copies.clone()));
        let lost = known.into_iter().filter(|(hash, state)| !covers(&together, hash, state)).collect();
        let Place { disk, policy, part } = removal.place;
        let mut rings = self.world.rings_lately(self.world.disk(disk).node, LATELY);
        rings.retain(|rings| !rings.is_home(policy, part, disk));
        let missing = rings.iter().map(|rings| self.missing(removal.place, rings, held, &everywhere));
        // Without a ring that sends it elsewhere, nothing can be where it should be.
        let nothing_elsewhere = || held.iter().map(|(hash, &state)| Missing::new(hash, state, disk));
        let wrong = missing.min_by_key(Vec::len).unwrap_or_else(|| nothing_elsewhere().collect());
        Doubt { removal, lost, wrong }
    }

    /// What clients know of a partition's objects.
    fn known(&self, place: Place) -> impl Iterator<Item = (String, State)> {
        let things = self.world.things_in(place.policy, place.part);
        things.map(|thing| (thing.object.hash.clone(), lock(&thing.history).certain()))
    }

    /// What a hand-off held and some primary has not.
    fn missing(&self, place: Place, rings: &Rings, held: &Copies, everywhere: &[Copies]) -> Vec<Missing> {
        let primaries = rings.primaries(place.policy, place.part);
        let asked = primaries.filter(|&disk| !self.has_just_removed(Place { disk, ..place }));
        let held: Vec<_> = held.iter().filter(|(hash, state)| !self.is_outdated(hash, state)).collect();
        asked
            .flat_map(|disk| {
                let lacking = held.iter().filter(|(hash, state)| !covers(&everywhere[disk as usize], hash, state));
                let lacking = lacking.map(|(hash, state)| Missing::new(hash, **state, disk));
                lacking.collect::<Vec<_>>()
            })
            .collect()
    }

    /// Whether clients were told that something newer is stored. A server removes the old version where the new one comes
    /// under its name, whole or not; that the new one is somewhere, the first question asks.
    fn is_outdated(&self, hash: &str, state: &State) -> bool {
        let certain = self.world.thing(hash).map(|thing| lock(&thing.history).certain());
        certain.is_some_and(|certain| certain.main.map(|(at, _)| at) > state.main.map(|(at, _)| at))
    }

    fn has_just_removed(&self, place: Place) -> bool {
        let removals = lock(&self.removals);
        removals.get(&place).and_then(|all| all.last()).is_some_and(|last| last.elapsed() < LATELY)
    }

    /// Looks again at what was in doubt, now that the removal is over.
    fn settle(&self, doubt: &Doubt) {
        let _media = self.world.media.read().unwrap_or_else(PoisonError::into_inner);
        let Removal { place, at } = doubt.removal;
        let removed_again = lock(&self.removals)[&place].iter().any(|other| *other > at);
        let remains = self.copies(place);
        let held: Copies = doubt.wrong.iter().map(|missing| (missing.hash.clone(), missing.state)).collect();
        let now = self.doubt(doubt.removal, &held);
        let disk = self.world.disk(place.disk).node_string();
        let name = format!("partition {} of policy {} on {disk}", place.part, POLICIES[place.policy].index);
        for (hash, state) in doubt.lost.iter().filter(|lost| now.lost.contains(lost)) {
            self.world.found(format!("lost: {hash} {state:?} is nowhere after the removal of {name}"));
        }
        for Missing { hash, state, primary, seen } in &doubt.wrong {
            // Metadata may come for data that then goes: so the hand-off and the primary have it only together.
            let came_later = remains.get(hash).is_some_and(|left| {
                let mut together = self.copies(Place { disk: *primary, ..place });
                together.entry(hash.clone()).or_default().merge(left);
                covers(&together, hash, state)
            });
            let is_checked_again = removed_again && !now.wrong.iter().any(|missing| missing.hash == *hash);
            let is_excused = *primary != place.disk && self.has_just_removed(Place { disk: *primary, ..place });
            let has_suffered = at.checked_sub(LATELY).is_some_and(|from| self.world.has_suffered_since(*primary, from));
            if !came_later && !is_checked_again && !is_excused && !has_suffered {
                let primary = self.world.disk(*primary).node_string();
                self.world.found(format!(
                    "removed too early: {name} held {hash} {state:?}, which {primary} had not ({seen})"
                ));
            }
        }
    }
}

fn covers(copies: &Copies, hash: &str, state: &State) -> bool {
    copies.get(hash).copied().unwrap_or_default().covers(state)
}

/// What a hand-off held and a primary had not.
#[derive(Clone, Debug)]
struct Missing {
    hash: String,
    state: State,
    /// The device's id.
    primary: u32,
    /// What the device has instead, in words.
    seen: String,
}

impl Missing {
    fn new(hash: &str, state: State, primary: u32) -> Self {
        Self { hash: hash.to_owned(), state, primary, seen: String::new() }
    }
}

/// A removal that cannot be called right yet.
#[derive(Debug)]
struct Doubt {
    removal: Removal,
    /// What clients know of, and no device has.
    lost: Vec<(String, State)>,
    wrong: Vec<Missing>,
}

impl Doubt {
    fn is_nothing(&self) -> bool {
        self.lost.is_empty() && self.wrong.is_empty()
    }
}
