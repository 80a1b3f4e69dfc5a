//! Which devices of peers have so little free that nothing more is pushed to them (`target_reserve`).
//!
//! rsync knows no reserve: it would fill a disk to the last byte, though the object server there takes no client's object
//! any more once it is down to its own. (With SSYNC it is the object server that takes, or refuses, what is pushed, and it
//! takes deletions all the same.) So a node is asked what its devices have free, at its recon middleware, when
//! something is to be pushed to it, and not more than once a minute, however many jobs want to know. A node that does not
//! say is pushed to as if nobody had asked: its rsync tells when the disk is full.
//!
//! A device that is full takes pushes again once it has one per cent of its size more than the reserve, so that the first
//! file that is removed there does not open it for the next one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::config::value::Reserve;
use crate::heartbeat::Heartbeat;
use crate::locks::{lock, wait_timeout};
use crate::peer::diskusage::{Room, Rooms};
use crate::peer::{authority, node_string};
use crate::report::units::bytes;
use crate::ring::Device;

/// For how long what a node said is taken for what is so.
const MINUTE: Duration = Duration::from_secs(60);
/// An answer that is older than this says nothing any more: its node may be gone.
const OLD: Duration = Duration::from_secs(300);
/// A node that does not answer is asked half as often each time, down to once in so many minutes.
const SELDOM: u32 = 32;
/// The longest that anybody waits for the answer to somebody else's question.
const PATIENCE: Duration = Duration::from_secs(5);
/// A device that is full must have so many per cent of its size more than the reserve before it is pushed to again.
const MARGIN: f64 = 1.0;

/// Asks the node of a device; `None` if it does not say. It comes back within seconds, whatever the node does.
pub(crate) type Ask = Box<dyn Fn(&Device) -> Option<Rooms> + Send + Sync>;

/// How much of a device is free, in per cent.
fn percent(room: Room) -> f64 {
    room.free as f64 / room.size as f64 * 100.0
}

/// Whether a device with so much room is full; it was, or was not, when it was last asked.
///
/// Where the reserve is not above zero none ever is. Swift's object server refuses an object by the same rule, after which
/// nothing more than the reserve would be left.
fn is_full(reserve: Reserve, room: Room, was_full: bool) -> bool {
    if room.size == 0 {
        return false;
    }
    let margin = if was_full { MARGIN } else { 0.0 };
    match reserve {
        Reserve::Bytes(bytes) => room.free as f64 <= bytes as f64 + margin / 100.0 * room.size as f64,
        Reserve::Percent(reserved) => percent(room) <= reserved + margin,
    }
}

/// Whether the reserve keeps anything free.
fn is_any(reserve: Reserve) -> bool {
    match reserve {
        Reserve::Bytes(bytes) => bytes > 0,
        Reserve::Percent(percent) => percent > 0.0,
    }
}

/// What peers' devices have free, as far as it was asked; to be shared by all threads.
pub(crate) struct Fullness {
    reserve: Reserve,
    ask: Ask,
    /// By the address of the object server.
    nodes: Mutex<HashMap<(String, u16), Node>>,
    answered: Condvar,
}

#[derive(Default)]
struct Node {
    /// When it was last asked.
    asked: Option<Instant>,
    /// Whether an answer, or the end of the time for it, is still to come.
    is_asking: bool,
    /// In how many minutes it is to be asked again, if it did not answer.
    pause: u32,
    devices: HashMap<String, Known>,
}

struct Known {
    room: Room,
    is_full: bool,
    /// Whether the log has that it is full.
    is_told: bool,
}

impl fmt::Debug for Fullness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fullness").field("reserve", &self.reserve).finish_non_exhaustive()
    }
}

impl Fullness {
    /// Nothing is known yet.
    pub(crate) fn new(reserve: Reserve, ask: Ask) -> Self {
        Self { reserve, ask, nodes: Mutex::default(), answered: Condvar::new() }
    }

    /// Whether nothing may be pushed to the device, since it would then have less free than the reserve. Its node is asked
    /// if that was not done within the last minute; whoever waits for an answer is watched meanwhile.
    pub(crate) fn is_full(&self, to: &Device, heartbeat: &dyn Heartbeat) -> bool {
        self.is_full_at(to, heartbeat, Instant::now())
    }

    /// Whether the device was full when its node was last asked. Nobody is asked.
    pub(crate) fn was_full(&self, to: &Device) -> bool {
        let nodes = lock(&self.nodes);
        let is_recent = |node: &&Node| node.asked.is_some_and(|asked| asked.elapsed() < OLD);
        let node = nodes.get(&key(to)).filter(is_recent);
        node.and_then(|node| node.devices.get(&to.device)).is_some_and(|known| known.is_full)
    }

    fn is_full_at(&self, to: &Device, heartbeat: &dyn Heartbeat, now: Instant) -> bool {
        if !is_any(self.reserve) {
            return false;
        }
        let (mut nodes, key) = (lock(&self.nodes), key(to));
        let node = nodes.entry(key.clone()).or_default();
        let is_due = node.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= MINUTE * node.pause.max(1));
        if is_due {
            (node.asked, node.is_asking) = (Some(now), true);
            drop(nodes);
            heartbeat.beat();
            let said = (self.ask)(to);
            nodes = lock(&self.nodes);
            nodes.entry(key.clone()).or_default().take_in(self.reserve, &authority(to), said);
            self.answered.notify_all();
        }
        // With an older answer nobody need wait for the newer one, and on one that did not answer nobody waits again.
        let waits = |node: &Node| node.is_asking && node.devices.is_empty() && node.pause < 2;
        let patience = Instant::now() + PATIENCE;
        while nodes.get(&key).is_some_and(waits) && Instant::now() < patience {
            heartbeat.beat();
            nodes = wait_timeout(&self.answered, nodes, Duration::from_secs(1));
        }
        let known = nodes.get_mut(&key).and_then(|node| node.devices.get_mut(&to.device));
        known.is_some_and(|known| known.tell(self.reserve, to))
    }
}

fn key(to: &Device) -> (String, u16) {
    (to.ip.clone(), to.port)
}

impl Node {
    /// Takes in what was said; of a device of which nothing is said nothing is known any more.
    fn take_in(&mut self, reserve: Reserve, node: &str, said: Option<Rooms>) {
        self.is_asking = false;
        let mut before = std::mem::take(&mut self.devices);
        let known = |(name, room): (String, Room)| {
            let (was_full, is_told) = before.remove(&name).map_or((false, false), |k| (k.is_full, k.is_told));
            (name, Known { room, is_full: is_full(reserve, room, was_full), is_told })
        };
        self.pause = if said.is_some() { 1 } else { (self.pause.max(1) * 2).min(SELDOM) };
        self.devices = said.unwrap_or_default().into_iter().map(known).collect();
        before.into_iter().filter(|(_, known)| known.is_told).for_each(|(name, _)| {
            info!("{node}/{name} was full, and its node does not say any more what it has free: it is pushed to again");
        });
    }
}

impl Known {
    /// Whether the device is full, which the log gets when that begins, and when it is over.
    fn tell(&mut self, reserve: Reserve, to: &Device) -> bool {
        if self.is_full != self.is_told {
            let (name, Room { size, free }, percent) = (node_string(to), self.room, percent(self.room));
            let room = format!("{:.1}% free ({} of {})", percent, bytes(free), bytes(size));
            match self.is_full {
                true => warn!(
                    "{name} has {room}, not more than target_reserve = {}: nothing is pushed to it until it has more than \
                     {} free",
                    shown(reserve),
                    opened_above(reserve, size)
                ),
                false => info!("{name} has {room}: it is pushed to again"),
            }
            self.is_told = self.is_full;
        }
        self.is_full
    }
}

fn shown(reserve: Reserve) -> String {
    match reserve {
        Reserve::Bytes(bytes) => bytes.to_string(),
        Reserve::Percent(percent) => format!("{percent}%"),
    }
}

/// What a device of this size that is full must have more than, for people.
fn opened_above(reserve: Reserve, size: u64) -> String {
    match reserve {
        Reserve::Bytes(reserved) => {
            bytes(reserved.unsigned_abs().saturating_add((size as f64 * MARGIN / 100.0) as u64))
        }
        Reserve::Percent(percent) => format!("{}%", percent + MARGIN),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    fn room(free: u64) -> Room {
        Room { size: 1000, free }
    }

    #[test]
    fn a_device_is_full_by_the_rule_of_fallocate_reserve() {
        for (reserve, full, not_full) in
            [(Reserve::Percent(1.0), 10, 11), (Reserve::Bytes(10), 10, 11), (Reserve::Percent(0.55), 5, 6)]
        {
            assert!(is_full(reserve, room(full), false) && !is_full(reserve, room(not_full), false), "{reserve:?}");
        }
        assert!(is_full(Reserve::Percent(100.0), room(1000), false) && is_full(Reserve::Bytes(1), room(0), false));
        for none in [Reserve::Bytes(0), Reserve::Bytes(-1), Reserve::Percent(0.0), Reserve::Percent(f64::NAN)] {
            assert!(!is_any(none), "{none:?}");
        }
        assert!(!is_full(Reserve::Percent(1.0), Room { size: 0, free: 0 }, false), "it has no size to go by");
    }

    #[test]
    fn a_full_device_must_have_one_per_cent_more_before_it_is_pushed_to_again() {
        for reserve in [Reserve::Percent(1.0), Reserve::Bytes(10)] {
            assert!(is_full(reserve, room(20), true) && !is_full(reserve, room(21), true), "{reserve:?}");
            assert!(!is_full(reserve, room(11), false), "{reserve:?}");
        }
    }

    /// What a node says that is asked for the first, second... time; `None` after that. And how often it was asked.
    fn saying(answers: Vec<Option<u64>>) -> (Ask, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let ask = move |to: &Device| {
            let free = answers.get(count.fetch_add(1, Ordering::SeqCst)).copied().flatten()?;
            Some(HashMap::from([(to.device.clone(), room(free))]))
        };
        (Box::new(ask), asked)
    }

    #[test]
    fn a_node_is_asked_once_a_minute_and_opened_again_when_it_has_room() {
        let (ask, asked) = saying(vec![Some(10), Some(15), Some(30), None, Some(15)]);
        let (fullness, device, start) = (Fullness::new(Reserve::Percent(1.0), ask), Device::sample(), Instant::now());
        let at = |seconds| fullness.is_full_at(&device, &(), start + Duration::from_secs(seconds));
        assert!(at(0) && at(1) && at(59) && fullness.was_full(&device));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert!(at(60), "it has a little more than the reserve");
        assert!(!at(120) && !fullness.was_full(&device));
        assert!(!at(180) && !at(200), "it did not answer");
        assert!(!at(240) && asked.load(Ordering::SeqCst) == 4, "so it is asked less often");
        assert!(!at(300), "a little more than the reserve is enough for one that was not full");
        assert_eq!(asked.load(Ordering::SeqCst), 5);
    }

    #[test]
    fn a_node_that_does_not_say_is_pushed_to_and_not_asked_again_at_once() {
        let (ask, asked) = saying(Vec::new());
        let fullness = Fullness::new(Reserve::Percent(1.0), ask);
        assert!((0..5).all(|_| !fullness.is_full(&Device::sample(), &())));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_device_that_was_full_and_of_which_nothing_is_said_any_more_is_pushed_to() {
        let (ask, _) = saying(vec![Some(1), None]);
        let (fullness, device, start) = (Fullness::new(Reserve::Percent(1.0), ask), Device::sample(), Instant::now());
        assert!(fullness.is_full_at(&device, &(), start));
        assert!(!fullness.is_full_at(&device, &(), start + MINUTE) && !fullness.was_full(&device));
    }

    #[test]
    fn with_no_reserve_nobody_is_asked() {
        let (ask, asked) = saying(vec![Some(0)]);
        let fullness = Fullness::new(Reserve::Bytes(0), ask);
        assert!(!fullness.is_full(&Device::sample(), &()));
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn many_jobs_that_want_to_know_ask_one_question_and_all_get_the_answer() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let ask = move |to: &Device| {
            count.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(100));
            Some(HashMap::from([(to.device.clone(), room(0))]))
        };
        let fullness = Fullness::new(Reserve::Percent(1.0), Box::new(ask));
        thread::scope(|scope| {
            let jobs: Vec<_> = (0..8).map(|_| scope.spawn(|| fullness.is_full(&Device::sample(), &()))).collect();
            assert!(jobs.into_iter().all(|job| job.join().unwrap()));
        });
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn devices_and_nodes_are_told_apart() {
        let ask = |to: &Device| {
            let free = if to.port == 6200 { 0 } else { 500 };
            Some(HashMap::from([("sda".to_owned(), room(free)), ("sdb".to_owned(), room(500))]))
        };
        let fullness = Fullness::new(Reserve::Percent(1.0), Box::new(ask));
        let device = |port, name: &str| Device { port, device: name.to_owned(), ..Device::sample() };
        assert!(fullness.is_full(&device(6200, "sda"), &()));
        for open in [device(6200, "sdb"), device(6200, "sdc"), device(6201, "sda")] {
            assert!(!fullness.is_full(&open, &()), "{open:?}");
        }
    }
}
