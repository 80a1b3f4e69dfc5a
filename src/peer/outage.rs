//! Peers that cannot be reached, and devices that do not answer, are skipped for a while.
//!
//! There are three kinds of trouble, and each belongs to as little as it can:
//!
//! - *No connection* is the node's: a dead one costs every request to it the time to connect, and every push half a
//!   minute. After three in a row nothing is asked of the node for 30 s.
//! - *No answer*, or a broken one, over a connection that came about is the device's that was asked for: one disk that
//!   hangs must not keep the node's other disks from being served. After three in a row nothing is asked of that device
//!   for 30 s, or for four times as long as a request may take if that is longer.
//! - *Come again later* (status 503 or 529) is an answer, and of a device that is well. It is asked again after 1 s, then
//!   2, 4, and at last 60 s, as long as it says so. It is over once it has not said so for a minute: a device that is
//!   near its limit says so now and then, which is no news each time.
//!
//! After a rest one request is let through, and what becomes of that decides how it goes on. (If nothing was asked after
//! all, for a reason of this side's, the next one is let through.) Such an attempt at a silent device may hold a worker for
//! all the time that a request may take. So a device that stays silent takes at most a fifth of one worker; and the silent
//! devices of one node take turns, so that a server that hangs with all its disks takes half of one. Once one of them
//! answers again, the others are asked at once.
//!
//! What is skipped has failed for whoever wanted it; the log gets one line when a node or a device goes, and one when it
//! is back. What is remembered is bounded by the devices of the rings; trouble of a day ago is forgotten, for what it was
//! about may be in no ring any more.
//!
//! A node has several services, of which one may be dead while another works. So whoever talks to a service has its own
//! [`Outages`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{authority, node_string};
use crate::locks::lock;
use crate::ring::Device;

/// How many failures in a row it takes.
const FAILURES: u32 = 3;
/// For how long a node is skipped, and a device at least.
const REST: Duration = Duration::from_secs(30);
/// A silent device is skipped for so many times what an attempt may take.
const REST_PER_ATTEMPT: u32 = 4;
/// An attempt at another silent device of the node begins after so many times what an attempt may take.
const TURN_PER_ATTEMPT: u32 = 2;
/// How long a device that is too busy is left in peace: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// For how long it must have had time for everybody before it is said to be well again.
const CALM: Duration = Duration::from_secs(60);
/// Trouble that nobody met with for so long is forgotten.
const MEMORY: Duration = Duration::from_secs(24 * 3600);

/// At which peers a service cannot be reached or does not answer; to be shared by all threads.
#[derive(Debug)]
pub struct Outages {
    /// What stands before the peer in the log.
    service: &'static str,
    rest: Duration,
    /// How long one request may take.
    patience: Duration,
    /// How many nodes have some trouble, so that nobody need lock anything while none has.
    count: AtomicUsize,
    nodes: Mutex<HashMap<String, Node>>,
}

/// Whether something may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    Granted,
    /// The node could not be reached before: it is skipped for now.
    Unreachable,
    /// The device did not answer before: it is skipped for now.
    Silent,
    /// The device is too busy, and asked to be asked later.
    Later,
}

/// The trouble of a node and of its devices.
#[derive(Debug)]
struct Node {
    no_connection: Trouble,
    /// By name.
    devices: HashMap<String, Silent>,
    /// When the next attempt at one of its silent devices may begin.
    next_turn: Option<Instant>,
    /// When it was last in trouble.
    last: Instant,
}

#[derive(Debug, Default)]
struct Silent {
    no_answer: Trouble,
    pause: Option<Pause>,
}

/// Something that failed some times in a row.
#[derive(Debug, Default)]
struct Trouble {
    failures: u32,
    /// Until when it is skipped, if it failed often enough.
    rests_until: Option<Instant>,
}

/// A device that is too busy.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    length: Duration,
}

impl Default for Outages {
    fn default() -> Self {
        Self::of("")
    }
}

impl Outages {
    /// No outages yet of a service, which the log calls by these words before the peer's address.
    pub fn of(service: &'static str) -> Self {
        Self { service, rest: REST, patience: Duration::ZERO, count: AtomicUsize::new(0), nodes: Mutex::default() }
    }

    /// The same of a service that a single request may keep waiting for so long.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Whether the device, or its node, is skipped just now. Unlike [`may_ask`](Self::may_ask) this is no promise to ask,
    /// and one that only wants to be asked later is not skipped.
    pub fn is_resting(&self, to: &Device) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let now = Instant::now();
        self.nodes().get(&authority(to)).is_some_and(|node| node.is_resting(&to.device, now))
    }

    /// Whether anything may be asked of the device now.
    ///
    /// After a rest only the first one who asks this gets a yes, and all others are kept off until it is known what became
    /// of that. So whoever got a yes tells: [`reached`](Self::reached), [`unreachable`](Self::unreachable),
    /// [`unanswered`](Self::unanswered), [`busy`](Self::busy) or [`not_asked`](Self::not_asked).
    pub fn may_ask(&self, to: &Device) -> bool {
        self.permission(to) == Permission::Granted
    }

    /// The same, with the reason if it may not be asked.
    pub fn permission(&self, to: &Device) -> Permission {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Permission::Granted;
        }
        let (now, mut nodes) = (Instant::now(), self.nodes());
        let Some(node) = nodes.get_mut(&authority(to)) else { return Permission::Granted };
        if node.no_connection.is_resting(now) {
            return Permission::Unreachable;
        }
        if node.is_resting(&to.device, now) {
            return Permission::Silent;
        }
        let silent = node.devices.get_mut(&to.device);
        if silent.as_ref().and_then(|silent| silent.pause).is_some_and(|pause| now < pause.until) {
            return Permission::Later;
        }
        // From here on it is a yes, and the others' turn is put off.
        if let Some(rests_until) = &mut node.no_connection.rests_until {
            *rests_until = now + self.rest;
        }
        if let Some(rests_until) = silent.and_then(|silent| silent.no_answer.rests_until.as_mut()) {
            *rests_until = now + self.patience.max(self.rest);
            node.next_turn = Some(now + self.patience * TURN_PER_ATTEMPT);
        }
        Permission::Granted
    }

    /// How long the device, which is too busy, is not to be asked; `None` if it may be asked as far as that goes.
    pub fn wait_for(&self, to: &Device) -> Option<Duration> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let pause = self.nodes().get(&authority(to))?.devices.get(&to.device)?.pause?;
        Some(pause.until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Notes that the device answered, whatever it said.
    pub fn reached(&self, to: &Device) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let (mut nodes, peer) = (self.nodes(), authority(to));
        let Some(node) = nodes.get_mut(&peer) else { return };
        let was_away = node.no_connection.end();
        let Answered { was_silent, has_time_again } = node.answered(&to.device, Instant::now());
        let is_well = node.devices.is_empty();
        if is_well {
            nodes.remove(&peer);
        }
        self.count.store(nodes.len(), Ordering::Relaxed);
        drop(nodes);
        let service = self.service;
        if was_away {
            log::info!("{service}{peer} is reached again");
        }
        if was_silent {
            log::info!("{service}{} answers again", node_string(to));
        }
        if has_time_again {
            log::info!("{service}{} is no longer too busy", node_string(to));
        }
    }

    /// Notes that no connection to the device's node came about.
    pub fn unreachable(&self, to: &Device) {
        let (now, mut nodes) = (Instant::now(), self.nodes());
        let goes = self.node(&mut nodes, to, now).no_connection.fail(now + self.rest);
        drop(nodes);
        if goes {
            let (service, rest) = (self.service, self.rest.as_secs());
            log::error!("{service}{} cannot be reached: skipped; retried every {rest}s", authority(to));
        }
    }

    /// Notes that a connection came about, and over it no answer in time, or none that can be understood.
    pub fn unanswered(&self, to: &Device) {
        let (now, mut nodes) = (Instant::now(), self.nodes());
        let rest = self.rest.max(self.patience * REST_PER_ATTEMPT);
        let node = self.node(&mut nodes, to, now);
        let was_away = node.no_connection.end();
        let goes = node.devices.entry(to.device.clone()).or_default().no_answer.fail(now + rest);
        drop(nodes);
        let (service, rest) = (self.service, rest.as_secs());
        if was_away {
            log::info!("{service}{} is reached again", authority(to));
        }
        if goes {
            log::error!("{service}{} does not answer: skipped; retried every {rest}s", node_string(to));
        }
    }

    /// Notes that the device is too busy (`status`), and how long to wait as it says itself, if it does.
    pub fn busy(&self, to: &Device, status: u16, wait: Option<Duration>) {
        let (now, mut nodes) = (Instant::now(), self.nodes());
        let node = self.node(&mut nodes, to, now);
        let was_away = node.no_connection.end();
        let silent = node.devices.entry(to.device.clone()).or_default();
        let was_silent = silent.no_answer.end();
        let begins = silent.pause.is_none();
        silent.pause = Some(Pause::after(silent.pause, now, wait));
        if was_silent {
            node.wake(now);
        }
        drop(nodes);
        let (service, node) = (self.service, node_string(to));
        if was_away {
            log::info!("{service}{} is reached again", authority(to));
        }
        if was_silent {
            log::info!("{service}{node} answers again");
        }
        if begins {
            log::warn!("{service}{node} is too busy (status {status}): asked again later");
        }
    }

    /// Notes that whoever [may ask](Self::may_ask) did not, or learned nothing, for a reason of this side's. That says
    /// nothing of the node, so nothing is forgotten; but the next one may ask, and need not wait for another rest to end.
    pub fn not_asked(&self, to: &Device) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let (now, mut nodes) = (Instant::now(), self.nodes());
        let Some(node) = nodes.get_mut(&authority(to)) else { return };
        node.no_connection.end_rest(now);
        if let Some(silent) = node.devices.get_mut(&to.device).filter(|silent| silent.no_answer.rests_until.is_some()) {
            silent.no_answer.end_rest(now);
            node.next_turn = None;
        }
    }

    /// The device's node, which is in trouble now if it was not before.
    fn node<'n>(&self, nodes: &'n mut HashMap<String, Node>, to: &Device, now: Instant) -> &'n mut Node {
        let peer = authority(to);
        if !nodes.contains_key(&peer) {
            nodes.retain(|_, node| now.duration_since(node.last) < MEMORY);
            nodes.insert(peer.clone(), Node::new(now));
            self.count.store(nodes.len(), Ordering::Relaxed);
        }
        let node = nodes.get_mut(&peer).expect("it was put there if it was not");
        node.last = now;
        node
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<String, Node>> {
        // Nothing in here leaves the map half changed.
        lock(&self.nodes)
    }
}

/// What an answer has ended.
#[derive(Default)]
struct Answered {
    was_silent: bool,
    has_time_again: bool,
}

impl Node {
    fn new(now: Instant) -> Self {
        Self { no_connection: Trouble::default(), devices: HashMap::new(), next_turn: None, last: now }
    }

    fn is_resting(&self, device: &str, now: Instant) -> bool {
        if self.no_connection.is_resting(now) {
            return true;
        }
        let Some(silent) = self.devices.get(device) else { return false };
        // A silent device whose rest is over waits for its turn.
        silent.no_answer.is_resting(now)
            || silent.no_answer.rests_until.is_some() && self.next_turn.is_some_and(|turn| now < turn)
    }

    /// Notes that a device answered.
    fn answered(&mut self, device: &str, now: Instant) -> Answered {
        let Some(silent) = self.devices.get_mut(device) else { return Answered::default() };
        let was_silent = silent.no_answer.end();
        let has_time_again = silent.pause.is_some_and(|pause| pause.until + CALM <= now);
        if has_time_again || silent.pause.is_none() {
            self.devices.remove(device);
        } else if let Some(pause) = silent.pause.as_mut().filter(|pause| pause.until <= now) {
            // An answer within the pause is to a question from before it.
            pause.length = Duration::ZERO;
        }
        if was_silent {
            self.wake(now);
        }
        Answered { was_silent, has_time_again }
    }

    /// One of its silent devices answers, and the others may do so too: each is asked once, now.
    fn wake(&mut self, now: Instant) {
        self.next_turn = None;
        for silent in self.devices.values_mut() {
            silent.no_answer.end_rest(now);
        }
    }
}

impl Trouble {
    fn is_resting(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|end| now < end)
    }

    /// Notes another failure, and rests from now on if they are enough; whether it has only now begun to.
    fn fail(&mut self, until: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let goes = self.failures >= FAILURES && self.rests_until.is_none();
        if self.failures >= FAILURES {
            self.rests_until = Some(until);
        }
        goes
    }

    /// If it rests, that is over now: one may ask.
    fn end_rest(&mut self, now: Instant) {
        self.rests_until = self.rests_until.map(|until| until.min(now));
    }

    /// All is well again; whether it had come to a rest.
    fn end(&mut self) -> bool {
        std::mem::take(self).rests_until.is_some()
    }
}

impl Pause {
    /// The next pause, twice as long as the former if nothing was answered between them. Several threads may have been told
    /// at the same time; that is one.
    fn after(former: Option<Self>, now: Instant, wait: Option<Duration>) -> Self {
        let length = match former {
            Some(former) if now < former.until => former.length,
            Some(former) => (former.length * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        let length = length.max(wait.unwrap_or_default().min(LONGEST_PAUSE));
        let until = now + length;
        Self { until: former.map_or(until, |former| former.until.max(until)), length }
    }
}

#[cfg(test)]
mod tests;
