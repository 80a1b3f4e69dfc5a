//! What is known of the devices that are pushed to.

use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::heartbeat::Heartbeat;
use crate::locks::{lock, wait_timeout};
use crate::names::{Partition, PolicyIndex};
use crate::ring::Device;

/// How often a daemon that has its full number of connections is asked again.
pub(crate) const TURNS: usize = 3;

/// A device of a peer, as the ring names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Target {
    ip: String,
    port: u16,
    device: String,
}

impl Target {
    fn of(node: &Device) -> Self {
        Self { ip: node.replication_ip.clone(), port: node.replication_port, device: node.device.clone() }
    }
}

/// Devices of peers that something was learned of in this pass.
#[derive(Debug, Default)]
pub(crate) struct Targets(Mutex<HashSet<Target>>);

impl Targets {
    /// Whether it was learned of this device.
    pub(crate) fn contains(&self, node: &Device) -> bool {
        let targets = lock(&self.0);
        !targets.is_empty() && targets.contains(&Target::of(node))
    }

    /// It was learned of this device; false if that was known.
    pub(crate) fn insert(&self, node: &Device) -> bool {
        lock(&self.0).insert(Target::of(node))
    }
}

/// Devices of peers that had no room for what they were given last, and for which partition that was.
#[derive(Debug, Default)]
pub(crate) struct Room(Mutex<HashMap<Target, (PolicyIndex, Partition)>>);

impl Room {
    /// There was none for this partition. Says whether there was none for another one before, with nothing that has
    /// arrived since: so it is not this one's size.
    pub(crate) fn was_lacking(&self, node: &Device, what: (PolicyIndex, Partition)) -> bool {
        let mut lacking = lock(&self.0);
        lacking.insert(Target::of(node), what).is_some_and(|before| before != what)
    }

    /// Something has arrived.
    pub(crate) fn was_found(&self, node: &Device) {
        let mut lacking = lock(&self.0);
        if !lacking.is_empty() {
            lacking.remove(&Target::of(node));
        }
    }
}

/// The most pushes to one device of a peer at a time: its disk serves clients too, and its rsync daemon other nodes.
const MAX_STREAMS: usize = 4;

/// The most conversations by SSYNC with one node at a time: an object server has no more than that of all nodes together
/// (`replication_concurrency`), and lets others wait for a turn, in which they hold a lock here.
const MAX_CONVERSATIONS: usize = 4;

/// How something is pushed, as far as it matters how often that may be done at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Rsync,
    Ssync,
}

/// Pushes that are under way.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Mutex<HashMap<Target, usize>>,
    closed_one: Condvar,
}

/// A push that is under way, until this goes.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    streams: &'a Streams,
    target: Target,
}

impl Streams {
    /// Waits until there are few enough pushes to this device for one more, and few enough conversations with its node.
    /// Whoever holds them is watched, so waiting here counts as moving.
    pub(crate) fn open(&self, node: &Device, way: Way, heartbeat: &dyn Heartbeat) -> Stream<'_> {
        let target = Target::of(node);
        let mut open = lock(&self.open);
        while !has_room(&open, &target, way) {
            heartbeat.beat();
            open = wait_timeout(&self.closed_one, open, Duration::from_secs(1));
        }
        *open.entry(target.clone()).or_default() += 1;
        Stream { streams: self, target }
    }
}

fn has_room(open: &HashMap<Target, usize>, target: &Target, way: Way) -> bool {
    let to_node = || {
        let same_node = |other: &&Target| other.ip == target.ip && other.port == target.port;
        open.iter().filter(|(other, _)| same_node(other)).map(|(_, count)| count).sum::<usize>()
    };
    let to_device = open.get(target).copied().unwrap_or_default();
    to_device < MAX_STREAMS && (way == Way::Rsync || to_node() < MAX_CONVERSATIONS)
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let mut open = lock(&self.streams.open);
        if let Some(count) = open.get_mut(&self.target) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.target);
            }
        }
        drop(open);
        self.streams.closed_one.notify_all();
    }
}

/// Waits a moment, another one for everybody.
pub(crate) fn wait_for_a_turn() {
    thread::sleep(Duration::from_millis(fastrand::u64(1_000..10_000)));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    fn node(ip: &str, device: &str) -> Device {
        Device { device: device.into(), replication_ip: ip.into(), ..Device::sample() }
    }

    #[test]
    fn devices_are_told_apart_by_address_and_name() {
        let targets = Targets::default();
        assert!(targets.insert(&node("10.0.0.1", "sda")));
        assert!(!targets.insert(&node("10.0.0.1", "sda")));
        assert!(targets.contains(&node("10.0.0.1", "sda")));
        assert!(!targets.contains(&node("10.0.0.1", "sdb")) && !targets.contains(&node("10.0.0.2", "sda")));
    }

    #[test]
    fn a_device_is_full_if_two_partitions_in_a_row_have_no_room_there() {
        let (room, sda, sdb) = (Room::default(), node("10.0.0.1", "sda"), node("10.0.0.1", "sdb"));
        let part = |number| (PolicyIndex::new(0), Partition::new(number));
        assert!(!room.was_lacking(&sda, part(1)));
        assert!(!room.was_lacking(&sda, part(1)), "the same one again");
        assert!(!room.was_lacking(&sdb, part(2)), "another device");
        room.was_found(&sda);
        assert!(!room.was_lacking(&sda, part(2)), "something arrived in between");
        assert!(room.was_lacking(&sda, part(3)));
        assert!(
            room.was_lacking(&sdb, (PolicyIndex::new(1), Partition::new(2))),
            "another policy's partition is another"
        );
    }

    /// The most that there ever were at a time of many pushes to these nodes.
    fn most_at_a_time(nodes: &[Device], way: Way) -> usize {
        let (streams, now, most) = (Streams::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for node in nodes.iter().cycle().take(4 * MAX_STREAMS) {
                let (streams, now, most) = (&streams, &now, &most);
                scope.spawn(move || {
                    let _stream = streams.open(node, way, &());
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(20));
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!(streams.open.into_inner().unwrap().is_empty());
        most.into_inner()
    }

    #[test]
    fn no_device_gets_more_than_a_few_pushes_at_a_time() {
        assert_eq!(most_at_a_time(&[node("10.0.0.1", "sda")], Way::Rsync), MAX_STREAMS);
    }

    #[test]
    fn no_node_gets_more_than_a_few_conversations_at_a_time() {
        let nodes = ["sda", "sdb", "sdc", "sdd"].map(|device| node("10.0.0.1", device));
        assert_eq!(most_at_a_time(&nodes, Way::Ssync), MAX_CONVERSATIONS);
        assert_eq!(most_at_a_time(&nodes, Way::Rsync), 4 * MAX_STREAMS);
    }
}
