//! Clients: they do what a proxy does for its users. Each has objects of its own, so that the operations on an object
//! come one after the other; which ones, and in what order, follows from the seed.
//!
//! An operation goes to the primaries of the object, by the ring of some node. Now and then one of them is left out, as
//! if it had not been reached, or a hand-off gets it instead. Where a device does not take it, a hand-off is asked.
//!
//! When a device is gone or full, the operation ends with fewer devices, and may not be acknowledged. What that means
//! is said in [`super::model`].

use std::io::ErrorKind;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use ureq::Agent;
use ureq::http::Request;

use super::model::{Deed, Event, Fate, Moment};
use super::rings::POLICIES;
use super::world::{Clock, Thing, World, lock};
use crate::support::cluster::Disk;
use crate::support::node::OBJECT_PORT;

/// What is known of one device after an operation was sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Took,
    MayHaveTaken,
    DidNot,
}

/// One client.
pub struct Client<'a> {
    world: &'a World,
    clock: &'a Clock,
    agent: Agent,
    rng: Rng,
    things: Vec<&'a Thing>,
    /// Whether it changes metadata too.
    posts: bool,
}

impl<'a> Client<'a> {
    /// A client with every `count`th object, beginning with the one at `place`.
    pub fn new(world: &'a World, clock: &'a Clock, place: usize, count: usize, rng: Rng) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(3)))
            .timeout_global(Some(Duration::from_secs(10)))
            .max_idle_connections(0)
            .build()
            .into();
        let things = world.things.iter().skip(place).step_by(count).collect();
        Self { world, clock, agent, rng, things, posts: true }
    }

    /// Without changes of metadata. An object server looks whether there is data, and a moment later stores the metadata,
    /// be the data still there or moved home. SSYNC cannot send metadata by itself, so it would stay where it is.
    pub fn without_posts(self) -> Self {
        Self { posts: false, ..self }
    }

    /// Does one thing after the other until it is told to stop.
    pub fn work(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let thing = self.things[self.rng.usize(..self.things.len())];
            let deed = match self.rng.u32(0..10) {
                0..5 => Deed::Put,
                5..8 if self.posts => Deed::Post,
                5..8 => Deed::Put,
                _ => Deed::Delete,
            };
            let (targets, spares) = self.targets(thing);
            self.perform(thing, deed, &targets, &spares);
            // Or the passes would starve: servers, clients and replicators share the machine.
            std::thread::sleep(Duration::from_millis(self.rng.u64(5..40)));
        }
    }

    fn primaries(&mut self, thing: &Thing) -> Vec<&'a Disk> {
        let node = self.rng.usize(..self.world.disks.last().expect("there are disks").node + 1);
        let rings = self.world.rings(node);
        rings.primaries(thing.policy, thing.object.partition).map(|id| self.world.disk(id)).collect()
    }

    /// The devices that get an operation, and those that are asked where one of them does not take it.
    fn targets(&mut self, thing: &Thing) -> (Vec<&'a Disk>, Vec<&'a Disk>) {
        let mut targets = self.primaries(thing);
        let mut spares: Vec<&Disk> =
            self.world.disks.iter().filter(|disk| targets.iter().all(|target| target.id != disk.id)).collect();
        self.rng.shuffle(&mut targets);
        self.rng.shuffle(&mut spares);
        match self.rng.u32(0..10) {
            0..4 if targets.len() > 1 => drop(targets.pop()),
            4 => targets[0] = spares.pop().expect("more devices than replicas"),
            _ => {}
        }
        spares.truncate(2);
        (targets, spares)
    }

    fn perform(&mut self, thing: &Thing, deed: Deed, targets: &[&Disk], spares: &[&Disk]) {
        let at = self.clock.tick();
        let mut spares = spares.iter();
        let (mut took, mut may_have) = (0, 0);
        for target in targets {
            let mut answer = self.ask(thing, deed, at, target);
            // A proxy does not send metadata where the object may not be.
            if answer != Answer::Took
                && deed != Deed::Post
                && let Some(spare) = spares.next()
            {
                may_have += usize::from(answer == Answer::MayHaveTaken);
                answer = self.ask(thing, deed, at, spare);
            }
            took += usize::from(answer == Answer::Took);
            may_have += usize::from(answer == Answer::MayHaveTaken);
        }
        let acknowledged = took >= POLICIES[thing.policy].quorum();
        self.world.count(&format!("{deed:?} {}", if acknowledged { "acknowledged" } else { "not acknowledged" }));
        if took + may_have > 0 {
            let fate = if took > 0 { Fate::Certain } else { Fate::Possible };
            lock(&thing.history).push(Event { at, deed, fate });
        }
    }

    fn ask(&self, thing: &Thing, deed: Deed, at: Moment, disk: &Disk) -> Answer {
        let _gate = self.world.gates[disk.id as usize].read().unwrap_or_else(PoisonError::into_inner);
        let object = &thing.object;
        let uri = format!("http://{}:{OBJECT_PORT}/{}/{}/{}", disk.address, disk.name, object.partition, object.name);
        let request = Request::builder()
            .uri(uri)
            .header("X-Backend-Storage-Policy-Index", object.policy)
            .header("X-Timestamp", at.to_string());
        let response = match deed {
            Deed::Put => {
                let request = request.method("PUT").header("Content-Type", "text/plain");
                self.agent.run(request.body(&body(&object.name, at)[..]).expect("a valid request"))
            }
            Deed::Post => {
                let request = request.method("POST").header("X-Object-Meta-Time", at.to_string());
                self.agent.run(request.body(&b""[..]).expect("a valid request"))
            }
            Deed::Delete => self.agent.run(request.method("DELETE").body(&b""[..]).expect("a valid request")),
        };
        match response {
            Ok(response) => judge(deed, response.status().as_u16()),
            Err(ureq::Error::Io(error)) if error.kind() == ErrorKind::ConnectionRefused => Answer::DidNot,
            Err(_) => Answer::MayHaveTaken,
        }
    }
}

fn judge(deed: Deed, status: u16) -> Answer {
    match (deed, status) {
        (_, 200..300) | (Deed::Delete, 404) => Answer::Took,
        (_, 400..500) => Answer::DidNot,
        _ => Answer::MayHaveTaken,
    }
}

/// What an operation stores: mostly a little, now and then enough to be cut off in the middle.
pub fn body(name: &str, at: Moment) -> Vec<u8> {
    let length = match Rng::with_seed(at.0).u32(0..40) {
        0 => 100_000,
        short => short as usize * 30,
    };
    let line = format!("{name} at {at}\n");
    line.bytes().cycle().take(line.len() + length).collect()
}
