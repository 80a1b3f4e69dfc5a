//! What must hold in the end, when everything runs again and the replicators have nothing left to do.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Request, Response};
use ureq::{Agent, Body};

use super::census;
use super::client::body;
use super::cluster::Cluster;
use super::damage;
use super::model::{Moment, State};
use super::processes;
use super::replicator::Replicators;
use super::rings::POLICIES;
use super::whole;
use super::world::{Thing, World, lock};
use crate::support::cluster::{Disk, datadir};
use crate::support::guard::until;
use crate::support::node::OBJECT_PORT;
use crate::support::tree;

/// How many objects are read through an object server too.
const SAMPLE: usize = 100;

/// Says all that is wrong.
pub fn check(cluster: &Cluster) {
    let world = &*cluster.world;
    for thing in &world.things {
        if let Err(complaint) = object(world, thing) {
            world.found(format!("{}: {complaint}", thing.object.name));
        }
    }
    let servers = Servers::new();
    let read = world.things.iter().step_by(world.things.len().div_ceil(SAMPLE));
    read.for_each(|thing| servers.check_object(world, thing));
    world.disks.iter().for_each(|disk| device(world, disk));
    for disk in &world.disks {
        for (place, policy) in POLICIES.iter().enumerate() {
            for part in census::partitions(disk, policy.index) {
                if world.is_home(place, part, disk) {
                    servers.check_hashes(world, disk, policy.index, part);
                }
            }
        }
    }
    cluster.replicators.iter().flat_map(Replicators::complaints).for_each(|complaint| world.found(complaint));
    let none_left = || processes::pushes(&cluster.folder()).is_empty();
    if !until(Duration::from_secs(20), none_left) {
        world.found(format!("rsyncs are left: {:?}", processes::pushes(&cluster.folder())));
    }
}

/// Every primary has what must be seen of the object, or what may be seen, and all have the same.
fn object(world: &World, thing: &Thing) -> Result<(), String> {
    let history = lock(&thing.history).clone();
    let primaries = primaries(world, thing);
    let states: Vec<State> = primaries
        .iter()
        .map(|disk| whole::state(thing, &thing.object.folder(disk)).unwrap_or_default().visible())
        .collect();
    let said = || {
        let places: Vec<_> = primaries.iter().map(|disk| disk.node_string()).collect();
        format!("{states:?} on {places:?}, after {:?}", history.events())
    };
    if states.iter().any(|state| !history.allows(state)) {
        return Err(format!("what clients were told is not what is there: {}", said()));
    }
    if states.iter().any(|state| *state != states[0]) {
        return Err(format!("the primaries do not agree: {}", said()));
    }
    let State { main: Some((at, _)), .. } = states[0] else { return Ok(()) };
    for disk in primaries.iter().filter(|_| states[0].is_stored()) {
        let file = thing.object.folder(disk).join(format!("{at}.data"));
        let content = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        if content != body(&thing.object.name, at) {
            return Err(format!("{} is damaged", file.display()));
        }
    }
    Ok(())
}

fn primaries<'a>(world: &'a World, thing: &Thing) -> Vec<&'a Disk> {
    let rings = world.rings(0);
    rings.primaries(thing.policy, thing.object.partition).map(|id| world.disk(id)).collect()
}

/// Nothing is on a device but what belongs there.
fn device(world: &World, disk: &Disk) {
    let folders: HashMap<PathBuf, &Thing> =
        world.things.iter().map(|thing| (thing.object.folder(disk), thing)).collect();
    for (place, policy) in POLICIES.iter().enumerate() {
        for part in census::partitions(disk, policy.index) {
            if !world.is_home(place, part, disk) {
                let folder = disk.partition(policy.index, part);
                world.found(format!("{} does not belong there: {:?}", folder.display(), census::files_below(&folder)));
            }
        }
    }
    for file in census::files_below(&disk.path) {
        if file.starts_with(disk.path.join("quarantined")) {
            continue;
        }
        let (name, folder) = (census::name(&file), file.parent().unwrap_or(Path::new("")).to_owned());
        let is_of_object = folders.get(&folder).is_some_and(|thing| is_known(thing, &name));
        let is_bookkeeping = is_partition(disk, &folder)
            && matches!(&*name, "hashes.pkl" | "hashes.invalid" | ".lock" | ".lock-replication");
        // Of the conversations by SSYNC with a device, of which there is a limit.
        let is_lock_of_device = folder == disk.path && name.starts_with(".lock");
        if !is_of_object && !is_bookkeeping && !is_lock_of_device {
            world.found(format!("{} should not be there", file.display()));
        }
    }
    quarantine(world, disk);
}

/// Nothing was put in quarantine that could have been served, but on a medium that could not be read everywhere.
fn quarantine(world: &World, disk: &Disk) {
    for kind in census::folders_in(&disk.path.join("quarantined")) {
        for folder in census::folders_in(&kind) {
            world.count("objects in quarantine");
            let thing = world.thing(&census::name(&folder));
            let is_whole = thing.is_some_and(|thing| census::state(&folder) == whole::state(thing, &folder));
            if is_whole && !world.has_ever_suffered(disk.id) {
                world.found(format!("{} is whole, and in quarantine", folder.display()));
            }
        }
    }
}

/// Has the object servers look at everything that is not whole, as Swift's auditor does: what they find so goes to
/// quarantine, and replicators can bring a whole copy ([`super::damage`]).
pub fn audit(cluster: &Cluster) {
    let world = &*cluster.world;
    let servers = Servers::new();
    for disk in &world.disks {
        for thing in damage::not_whole(world, disk) {
            world.count("not whole in the end");
            servers.open(disk, thing);
        }
        // A file with another object's metadata is refused by the server (403), and found by the auditor alone.
        if !damage::not_whole(world, disk).is_empty() {
            world.count("devices that Swift's auditor went over");
            cluster.nodes[disk.node].run_tool("swift-object-auditor", &["once", "-d", &disk.name]);
        }
    }
}

fn is_known(thing: &Thing, name: &str) -> bool {
    let parsed = census::parse(name);
    let history = lock(&thing.history);
    parsed.is_some_and(|(at, deed)| history.events().iter().any(|event| (event.at, event.deed) == (at, deed)))
}

fn is_partition(disk: &Disk, folder: &Path) -> bool {
    POLICIES.iter().any(|policy| folder.parent() == Some(&disk.path.join(datadir(policy.index))))
}

/// Removes what killed processes left half-written, as Swift's auditor does in time; how much it was.
pub fn sweep(world: &World) -> usize {
    let files = world.disks.iter().flat_map(|disk| census::files_below(&disk.path));
    let left: Vec<_> = files.filter(|file| census::is_temporary(&census::name(file))).collect();
    left.iter().for_each(|file| fs::remove_file(file).expect("the medium is writable"));
    left.len()
}

/// Asks object servers.
struct Servers(Agent);

impl Servers {
    fn new() -> Self {
        let config = Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true);
        Self(config.timeout_global(Some(Duration::from_secs(60))).build().into())
    }

    /// Asks until there is an answer: after a long run the servers have much to write back.
    fn ask(&self, request: &Request<()>) -> Response<Body> {
        const ATTEMPTS: usize = 4;
        let attempt = || self.0.run(request.clone());
        let answer = (1..ATTEMPTS).find_map(|_| attempt().ok()).map_or_else(attempt, Ok);
        answer.unwrap_or_else(|e| panic!("no answer to {request:?}: {e}"))
    }

    /// Has the server open an object, whatever it says of it.
    fn open(&self, disk: &Disk, thing: &Thing) {
        let object = &thing.object;
        let uri = format!("http://{}:{OBJECT_PORT}/{}/{}/{}", disk.address, disk.name, object.partition, object.name);
        let request = Request::builder().method("HEAD").uri(uri);
        let request = request.header("X-Backend-Storage-Policy-Index", object.policy);
        self.ask(&request.body(()).expect("a valid request"));
    }

    /// Every primary serves the object as it was stored.
    fn check_object(&self, world: &World, thing: &Thing) {
        for disk in primaries(world, thing) {
            let state = census::state(&thing.object.folder(disk)).unwrap_or_default();
            let uri = format!(
                "http://{}:{OBJECT_PORT}/{}/{}/{}",
                disk.address, disk.name, thing.object.partition, thing.object.name
            );
            let request = Request::builder().uri(uri).header("X-Backend-Storage-Policy-Index", thing.object.policy);
            let mut response = self.ask(&request.body(()).expect("a valid request"));
            let expected = state.main.filter(|_| state.is_stored());
            let meta = response.headers().get("x-object-meta-time").and_then(|time| Moment::parse(time.to_str().ok()?));
            let status = response.status().as_u16();
            let content = response.body_mut().read_to_vec().expect("the server sends all of it");
            let is_right = match expected {
                Some((at, _)) => status == 200 && content == body(&thing.object.name, at) && meta == state.meta,
                None => status == 404,
            };
            if !is_right {
                let name = disk.node_string();
                world.found(format!("{} has {state:?} of {}, and answers {status}, {meta:?}", name, thing.object.name));
            }
        }
    }

    /// The hashes that the partition keeps are those that the reference makes when it knows nothing.
    fn check_hashes(&self, world: &World, disk: &Disk, policy: u32, part: u32) {
        let folder = disk.partition(policy, part);
        let kept = self.hashes(disk, policy, part);
        for file in ["hashes.pkl", "hashes.invalid"] {
            let _ = fs::remove_file(folder.join(file));
        }
        let fresh = self.hashes(disk, policy, part);
        if kept != fresh {
            let differing: Vec<_> = kept.iter().filter(|(suffix, hash)| fresh.get(*suffix) != Some(hash)).collect();
            let unknown: Vec<_> = fresh.keys().filter(|suffix| !kept.contains_key(*suffix)).collect();
            world.found(format!("hashes of {} are not true: {differing:?}, unknown {unknown:?}", folder.display()));
        }
    }

    /// What `hashes.pkl` holds once the object server has taken in what is invalid.
    fn hashes(&self, disk: &Disk, policy: u32, part: u32) -> BTreeMap<String, Value> {
        let request = Request::builder()
            .method("REPLICATE")
            .uri(format!("http://{}:{OBJECT_PORT}/{}/{part}", disk.address, disk.name))
            .header("X-Backend-Storage-Policy-Index", policy)
            .header("Content-Length", "0");
        let response = self.ask(&request.body(()).expect("a valid request"));
        assert_eq!(response.status(), 200, "REPLICATE of {part} on {disk:?}");
        let stored = tree::hashes(&disk.partition(policy, part).join("hashes.pkl"));
        let Value::Object(stored) = stored else { return BTreeMap::from([("?".to_owned(), stored)]) };
        stored.into_iter().filter(|(key, _)| key != "valid").collect()
    }
}
