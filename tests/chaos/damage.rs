//! What the harness does to files behind everybody's back, and how it is mended in the end.
//!
//! - *Wrong files of the right name.* rsync does not fsync, so a power loss leaves files that are empty, cut or without
//!   their metadata, and tools that copy files leave some with others' metadata. They stand at a device that is about to
//!   become the home of a partition and has nothing of it yet: whoever brings it finds the name taken. A file that is
//!   there is never overwritten, or the harness itself would lose what a replicator had made sure of.
//! - *Files that cannot be unlinked*, in hand-offs: immutable ones here, in life one inode with an error. Beside a
//!   tombstone an older version of the object is put, as an unlink that failed leaves it: should the tombstone go and
//!   the data stay, the object would be back one day.
//! - *Junk below a mount point*: objects that were deleted so long ago that nobody knows of it any more.
//!
//! A wrong file counts as the disk's own damage, which no replicator mends: it compares names. Swift's auditor finds it
//! when it opens it and moves it to quarantine; then a replicator brings a whole one. Opening every file in the end would
//! take longer than the run, so the harness looks for what is not whole itself, and asks the object server for those
//! objects (HEAD opens a file and holds it against its metadata, as the auditor does); only where that does not help, the
//! auditor itself goes over the device.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fastrand::Rng;

use super::census;
use super::locks::HeldLock;
use super::model::{Deed, Main, Moment, State};
use super::rings::{POLICIES, Rings};
use super::stock;
use super::whole;
use super::world::{Thing, World, lock};
use crate::support::cluster::{Disk, datadir};
use crate::support::object::{Object, ancient};

/// What is wrong with a file.
const HARMS: [&str; 4] = ["empty, no metadata", "cut", "no metadata", "other metadata"];
/// How many of a partition's objects get a wrong file; the others are to come home all the same.
const WRONG_PER_PARTITION: usize = 3;

/// Puts wrong files where partitions will belong by the next rings, and do not yet; how many there are.
pub fn plant_wrong_files(world: &World, now: &Rings, next: &Rings, rng: &mut Rng) -> usize {
    let mut planted = 0;
    for (place, policy) in POLICIES.iter().enumerate() {
        for part in 0..policy.partitions() {
            let new = next.primaries(place, part).find(|&id| !now.is_home(place, part, id));
            let Some(disk) = new.map(|id| world.disk(id)) else { continue };
            let mut things: Vec<&Thing> = world.things_in(place, part).collect();
            rng.shuffle(&mut things);
            let wrong = things.iter().filter(|thing| plant(world, disk, thing, rng).is_some());
            planted += wrong.take(WRONG_PER_PARTITION).count();
        }
    }
    planted
}

/// Puts a wrong file in an object's place on a device, unless there is something.
fn plant(world: &World, disk: &Disk, thing: &Thing, rng: &mut Rng) -> Option<()> {
    let at = lock(&thing.history).certain().main.filter(|(_, main)| *main == Main::Data)?.0;
    let folder = thing.object.folder(disk);
    if folder.exists() {
        return None;
    }
    let harm = rng.choice(HARMS).expect("there are some");
    // Made elsewhere and linked in: whatever comes to the place first stays there.
    let draft = disk.path.join("draft");
    let made = make_wrong(&draft, harm, thing, at);
    let linked = made.is_some()
        && fs::create_dir_all(&folder).is_ok()
        && fs::hard_link(draft.join("file"), folder.join(format!("{at}.data"))).is_ok();
    let _ = fs::remove_dir_all(&draft);
    linked.then(|| world.count(&format!("wrong file: {harm}")))
}

fn make_wrong(draft: &Path, harm: &str, thing: &Thing, at: Moment) -> Option<()> {
    let file = draft.join("file");
    let _ = fs::remove_dir_all(draft);
    fs::create_dir(draft).ok()?;
    match harm {
        "empty, no metadata" => fs::write(&file, "").ok(),
        "no metadata" => fs::write(&file, super::client::body(&thing.object.name, at)).ok(),
        "cut" => {
            stock::write_data(&file, &thing.object.name, at).ok()?;
            fs::File::options().write(true).open(&file).and_then(|file| file.set_len(3)).ok()
        }
        _ => {
            stock::write_data(&file, "AUTH_chaos/other/object", at).ok()?;
            fs::write(&file, super::client::body(&thing.object.name, at)).ok()
        }
    }
}

/// Files that cannot be unlinked until they are let go.
pub struct Stuck(Vec<(PathBuf, Option<State>)>);

/// When so many files are stuck at once it is enough.
const STUCK: usize = 8;

impl Stuck {
    /// Makes files of a node's hand-offs immutable.
    pub fn make(world: &World, node: usize) -> Option<Self> {
        let disks = world.disks.iter().filter(|disk| disk.node == node);
        let mut stuck = Vec::new();
        for disk in disks {
            for (place, policy) in POLICIES.iter().enumerate() {
                let strange = census::partitions(disk, policy.index).into_iter();
                for part in strange.filter(|&part| !world.is_home(place, part, disk)) {
                    if stuck.len() < STUCK {
                        stuck.extend(stick_some(world, disk, (place, part)));
                    }
                }
            }
        }
        (!stuck.is_empty()).then_some(Self(stuck))
    }

    /// Lets them go; what is to be said of folders in which what is newer went before what is older.
    pub fn release(self, world: &World) -> Vec<String> {
        let mut complaints = Vec::new();
        for (file, before) in self.0 {
            let folder = file.parent().expect("a file is in a folder");
            let now = census::state(folder);
            let tombstone = before.and_then(|state| state.main).filter(|(_, main)| *main == Main::Tombstone);
            if let (Some((at, _)), Some(State { main: Some((left, Main::Data)), .. })) = (tombstone, now)
                && left < at
            {
                complaints.push(format!("the tombstone of {at} went, and {} stayed", file.display()));
            }
            set_immutable(&file, false);
            world.count("files that could not be unlinked");
        }
        complaints
    }
}

/// Makes files of a hand-off immutable, unless a replicator is at work on it: what it does not know of yet it would
/// rightly leave, and a tombstone beside it might be gone already.
fn stick_some(world: &World, disk: &Disk, (policy, part): (usize, u32)) -> Vec<(PathBuf, Option<State>)> {
    let Some(_lock) = HeldLock::take(world, disk, POLICIES[policy].index, part) else { return Vec::new() };
    let file = |thing: &Thing| {
        let folder = thing.object.folder(disk);
        let file = data_beside_a_tombstone(thing, &folder).or_else(|| any_file(&folder))?;
        set_immutable(&file, true).then(|| (file, census::state(&folder)))
    };
    world.things_in(policy, part).filter_map(file).take(2).collect()
}

/// Writes an older version of an object beside its tombstone.
fn data_beside_a_tombstone(thing: &Thing, folder: &Path) -> Option<PathBuf> {
    let (deleted, _) = census::state(folder)?.main.filter(|(_, main)| *main == Main::Tombstone)?;
    let history = lock(&thing.history).clone();
    let put = history.events().iter().rev().find(|event| event.deed == Deed::Put && event.at < deleted)?;
    let file = folder.join(format!("{}.data", put.at));
    stock::write_data(&file, &thing.object.name, put.at).ok()?;
    Some(file)
}

fn any_file(folder: &Path) -> Option<PathBuf> {
    census::entries(folder).into_iter().find(|file| census::parse(&census::name(file)).is_some())
}

fn set_immutable(file: &Path, immutable: bool) -> bool {
    let mut chattr = Command::new("chattr");
    let flag = if immutable { "+i" } else { "-i" };
    chattr.arg(flag).arg(file).stderr(Stdio::null()).status().expect("chattr is installed").success()
}

/// Lets all files go that are still immutable: those of a device that was away when they should have been let go.
pub fn release_all(world: &World) {
    let paths = world.disks.iter().map(|disk| &disk.path);
    let mut chattr = Command::new("chattr");
    // What is not a file or folder of a disk's has no such attribute, and is none of this.
    chattr.args(["-R", "-f", "-i"]).args(paths).stderr(Stdio::null()).status().expect("chattr is installed");
}

/// Lays junk of a former life of a device below its mount point.
pub fn lay_junk(below: &Path) {
    for policy in POLICIES {
        let mut left: Vec<u32> = (0..policy.partitions()).collect();
        for number in 0.. {
            let object = Object::new(&format!("AUTH_junk/deleted/object-{number}"), policy.index, policy.part_power);
            let Some(place) = left.iter().position(|part| *part == object.partition) else { continue };
            left.swap_remove(place);
            let part = below.join(datadir(policy.index)).join(object.partition.to_string());
            let folder = part.join(object.suffix()).join(&object.hash);
            let at = Moment::parse(&ancient(0)).expect("a time");
            fs::create_dir_all(&folder).expect("the root disk has space");
            stock::write_data(&folder.join(format!("{at}.data")), &object.name, at).expect("the root disk has space");
            if left.is_empty() {
                break;
            }
        }
    }
}

/// The objects on a device of which something is there by name that is not whole.
pub fn not_whole<'a>(world: &'a World, disk: &Disk) -> Vec<&'a Thing> {
    let is_damaged = |thing: &&Thing| {
        let folder = thing.object.folder(disk);
        census::state(&folder) != whole::state(thing, &folder)
    };
    world.things.iter().filter(is_damaged).collect()
}
