//! Partitions that go before all else, since somebody said so or since a ring has moved them.
//!
//! Only the order of things changes: what becomes of a partition that is first is what becomes of any other. At most two
//! at a time are at work on a device here, and with a device of a peer, in all passes together; the other workers go on
//! with what there is. One that fails is tried once more in each pass, until it has succeeded.
//!
//! A [`Ticket`] is the right to be at a partition, and there is one for each at most. It lives as long as the job, so a job
//! that hangs keeps its partition and its targets, whatever becomes of the pass.

mod shown;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::Order;
use crate::locks::lock;
use crate::names::{Partition, PolicyIndex};
pub(crate) use shown::{FirstPartition, FirstShown};

/// At most so many are at work on one device, here or there.
const AT_ONCE: usize = 2;

/// Of those that wait on a device so many are looked at for one whose targets are free.
const WINDOW: usize = 256;

/// A partition of a device.
pub(crate) type Key = (PolicyIndex, Partition);

/// A device of a peer: its address for replication, and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub ip: String,
    pub port: u16,
    pub device: String,
}

/// The partitions that go first.
#[derive(Debug, Default)]
pub(crate) struct First {
    state: Mutex<State>,
    /// Whether there may be any, so that passes without need no lock.
    may_be: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// By the numbers that they have got, in the order of coming.
    orders: BTreeMap<u64, Ordered>,
    last_number: u64,
    /// By the names of the local devices.
    devices: HashMap<String, OnDevice>,
    /// How many are at work with each of these.
    targets: HashMap<Target, usize>,
}

/// What somebody ordered.
#[derive(Debug)]
struct Ordered {
    order: Order,
    /// In a few words.
    what: String,
    total: usize,
    left: usize,
    /// What came of looking for them; `None`: somebody is at that.
    looked: Option<Result<Looked, String>>,
    /// When it was seen that nothing is left of it.
    ended: Option<f64>,
}

/// What came of looking for an order's partitions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looked {
    /// For whoever gave the order.
    pub lines: Vec<String>,
    /// Something of what was asked for is not there, or could not be looked at.
    pub is_doubtful: bool,
}

/// What goes first on one local device.
#[derive(Debug, Default)]
struct OnDevice {
    entries: HashMap<Key, Entry>,
    /// Those that may be taken, the next one first.
    waiting: VecDeque<Key>,
    /// Those that failed in the pass that is under way, or was last.
    failed: Vec<Key>,
    at_work: usize,
    /// Something came since the device's passes were last asked.
    has_news: bool,
}

#[derive(Debug, Default)]
struct Entry {
    /// The orders that it is part of.
    orders: Vec<u64>,
    is_at_work: bool,
    /// How often it has failed since it was ordered last.
    failures: u32,
    /// Why it failed last.
    why: Option<Box<str>>,
}

impl First {
    /// Takes note of an order, whose partitions somebody looks for now; gives its number.
    pub(crate) fn announce(&self, what: String, order: Order) -> u64 {
        let mut state = lock(&self.state);
        state.last_number += 1;
        let number = state.last_number;
        state.orders.insert(number, Ordered { order, what, total: 0, left: 0, looked: None, ended: None });
        number
    }

    /// It cannot be told what the order means, or it means nothing.
    pub(crate) fn refuse(&self, number: u64, why: String) {
        if let Some(ordered) = lock(&self.state).orders.get_mut(&number) {
            ordered.looked = Some(Err(why));
        }
    }

    /// These are the order's partitions, by the names of their devices. What is first already is so for this order too, and
    /// does not wait for the next pass if it has failed in this one.
    pub(crate) fn found(&self, number: u64, found: impl IntoIterator<Item = (String, Vec<Key>)>, looked: Looked) {
        let mut state = lock(&self.state);
        let mut total = 0;
        for (device, keys) in found {
            let on_device = state.devices.entry(device).or_default();
            total += keys.into_iter().map(|key| usize::from(on_device.add(key, number))).sum::<usize>();
            on_device.has_news = true;
        }
        if let Some(ordered) = state.orders.get_mut(&number) {
            (ordered.total, ordered.left, ordered.looked) = (total, total, Some(Ok(looked)));
        }
        self.may_be.store(!state.devices.is_empty(), Ordering::Release);
    }

    /// Whether none is there for sure.
    pub(crate) fn is_empty(&self) -> bool {
        !self.may_be.load(Ordering::Acquire)
    }

    /// A pass over the device begins: what failed in the one before has another turn.
    pub(crate) fn begin_pass(&self, device: &str) {
        if let Some(on_device) = lock(&self.state).devices.get_mut(device) {
            on_device.waiting.extend(std::mem::take(&mut on_device.failed));
            on_device.has_news = false;
        }
    }

    /// Takes the next one on the device that may be begun now. `targets_of` gives the devices of peers that a partition
    /// goes to, or nothing if it cannot be begun for a reason of its own.
    pub(crate) fn take(
        self: &Arc<Self>,
        device: &str,
        mut targets_of: impl FnMut(Key) -> Option<Vec<Target>>,
    ) -> Option<Ticket> {
        let mut state = lock(&self.state);
        let State { devices, targets: busy, .. } = &mut *state;
        let on_device = devices.get_mut(device).filter(|on_device| on_device.at_work < AT_ONCE)?;
        let is_free = |target: &Target| busy.get(target).is_none_or(|count| *count < AT_ONCE);
        let free = on_device.waiting.iter().take(WINDOW).enumerate().find_map(|(place, key)| {
            let targets = targets_of(*key).filter(|targets| targets.iter().all(is_free))?;
            Some((place, *key, targets))
        });
        let (place, key, targets) = free?;
        on_device.waiting.remove(place);
        on_device.at_work += 1;
        on_device.entries.entry(key).or_default().is_at_work = true;
        for target in &targets {
            *busy.entry(target.clone()).or_default() += 1;
        }
        Some(Ticket {
            first: self.clone(),
            device: device.to_owned(),
            key,
            targets,
            outcome: Err(BROKE_OFF.to_owned()),
        })
    }

    /// The device's pass has come to its end. Those that had no turn in it count as failed if there is a reason.
    pub(crate) fn end_pass(&self, device: &str, why: impl Fn(Key) -> Option<String>) {
        let mut state = lock(&self.state);
        let Some(on_device) = state.devices.get_mut(device) else { return };
        for key in std::mem::take(&mut on_device.waiting) {
            match why(key) {
                Some(why) => on_device.fail(key, why),
                None => on_device.waiting.push_back(key),
            }
        }
    }

    /// Whether anything came for one of these devices since they were last asked about, or had a pass.
    pub(crate) fn take_news(&self, is_asked: impl Fn(&str) -> bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut state = lock(&self.state);
        let with_news = state.devices.iter_mut().filter(|(device, on_device)| on_device.has_news && is_asked(device));
        with_news.map(|(_, on_device)| on_device.has_news = false).count() > 0
    }

    /// Drops what is on devices that are not here any more, but for what is at work; gives their names.
    pub(crate) fn keep_devices(&self, is_here: impl Fn(&str) -> bool) -> Vec<String> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut state = lock(&self.state);
        let State { devices, orders, .. } = &mut *state;
        let gone = devices.iter_mut().filter(|(name, on_device)| !on_device.entries.is_empty() && !is_here(name));
        let dropped = gone.map(|(name, on_device)| {
            on_device.drop_waiting(orders);
            name.clone()
        });
        let dropped = dropped.collect();
        devices.retain(|_, on_device| !on_device.entries.is_empty());
        dropped
    }

    fn end(&self, ticket: &mut Ticket) {
        let mut state = lock(&self.state);
        let State { devices, orders, targets, .. } = &mut *state;
        for target in ticket.targets.drain(..) {
            if let Some(count) = targets.get_mut(&target) {
                *count -= 1;
            }
        }
        targets.retain(|_, count| *count > 0);
        let Some(on_device) = devices.get_mut(&ticket.device) else { return };
        on_device.at_work -= 1;
        match std::mem::replace(&mut ticket.outcome, Ok(())) {
            Ok(()) => on_device.succeeded(ticket.key, orders),
            Err(why) => on_device.fail(ticket.key, why),
        }
        if on_device.entries.is_empty() {
            devices.remove(&ticket.device);
        }
        self.may_be.store(!devices.is_empty(), Ordering::Release);
    }
}

impl OnDevice {
    /// Whether that is a new one for the order.
    fn add(&mut self, key: Key, order: u64) -> bool {
        let is_known = self.entries.contains_key(&key);
        let entry = self.entries.entry(key).or_default();
        if entry.orders.contains(&order) {
            return false;
        }
        entry.orders.push(order);
        (entry.failures, entry.why) = (0, None);
        let has_failed = self.failed.iter().position(|failed| *failed == key);
        if let Some(place) = has_failed {
            self.failed.swap_remove(place);
        }
        if !is_known || has_failed.is_some() {
            self.waiting.push_back(key);
        }
        true
    }

    fn fail(&mut self, key: Key, why: String) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.is_at_work = false;
        entry.failures = entry.failures.saturating_add(1);
        entry.why = Some(why.into());
        self.failed.push(key);
    }

    fn succeeded(&mut self, key: Key, orders: &mut BTreeMap<u64, Ordered>) {
        let entry = self.entries.remove(&key).unwrap_or_default();
        one_less(&entry, orders);
    }

    fn drop_waiting(&mut self, orders: &mut BTreeMap<u64, Ordered>) {
        let dropped = self.entries.extract_if(|_, entry| !entry.is_at_work);
        dropped.for_each(|(_, entry)| one_less(&entry, orders));
        self.waiting.clear();
        self.failed.clear();
    }
}

fn one_less(entry: &Entry, orders: &mut BTreeMap<u64, Ordered>) {
    for order in &entry.orders {
        if let Some(order) = orders.get_mut(order) {
            order.left -= 1;
        }
    }
}

/// What is said of a job that ended without an outcome.
const BROKE_OFF: &str = "it broke off";

/// The right to be at a partition that goes first. When it goes, the partition has had its turn.
#[derive(Debug)]
pub(crate) struct Ticket {
    first: Arc<First>,
    device: String,
    key: Key,
    targets: Vec<Target>,
    outcome: Result<(), String>,
}

impl Ticket {
    /// What is to be done.
    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// The job has ended: well, or with a reason why the partition is to be tried again.
    pub(crate) fn end(mut self, outcome: Result<(), String>) {
        self.outcome = outcome;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let first = self.first.clone();
        first.end(self);
    }
}

#[cfg(test)]
mod tests;
