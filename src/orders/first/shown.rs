//! What is told of the partitions that go first.

use serde::{Deserialize, Serialize};

use super::super::Order;
use super::{Entry, First, Key, Ordered, State};
use crate::locks::lock;

/// For so many seconds an order is known when nothing is left of it.
const REMEMBERED: f64 = 3600.0;
/// So many orders of which nothing is left are known at most.
const MOST_REMEMBERED: usize = 64;
/// So many partitions of an order are named.
const NAMED: usize = 20;

/// An order, and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FirstShown {
    /// Of this process; the next order has the next one.
    pub number: u64,
    /// Like `partitions 12,99`.
    pub what: String,
    #[serde(flatten)]
    pub order: Order,
    /// How many partitions were found here for it: one on two devices counts twice.
    pub total: u64,
    /// Somebody still looks for them.
    pub is_looked_for: bool,
    /// Why there are none, if it could not be told what the order means.
    pub refused: Option<String>,
    /// What was found, for whoever gave the order.
    pub lines: Vec<String>,
    /// Something of what was asked for is not there, or could not be looked at.
    pub is_doubtful: bool,
    /// Those that have succeeded, or are not here any more.
    pub done: u64,
    pub at_work: u64,
    /// Those whose last try failed; they are tried again in each pass.
    pub failed: u64,
    /// Some of what is left, with what failed first.
    pub left: Vec<FirstPartition>,
}

impl FirstShown {
    /// Whether each of its partitions has succeeded, or has been tried at least.
    pub(crate) fn is_tried(&self) -> bool {
        !self.is_looked_for && self.done + self.failed >= self.total
    }
}

/// A partition of an order that has not succeeded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FirstPartition {
    pub device: String,
    pub policy: u32,
    pub partition: u32,
    pub is_at_work: bool,
    /// How often it has failed.
    pub failures: u32,
    /// Why it failed last.
    pub why: Option<String>,
}

impl First {
    /// The orders of which something is left.
    pub(crate) fn shown(&self, now: f64) -> Vec<FirstShown> {
        let mut state = lock(&self.state);
        state.forget(now);
        state.show(|ordered| ordered.left > 0 || ordered.looked.is_none())
    }

    /// The order with this number, also when nothing is left of it. `None` if it is not known any more.
    pub(crate) fn find(&self, number: u64, now: f64) -> Option<FirstShown> {
        let mut state = lock(&self.state);
        state.forget(now);
        let found = state.orders.contains_key(&number).then_some(number)?;
        state.show_numbers(&[found]).pop()
    }
}

impl State {
    /// Forgets orders of which nothing has been left for a while.
    fn forget(&mut self, now: f64) {
        let ended = self.orders.values_mut().filter(|ordered| ordered.left == 0 && ordered.looked.is_some());
        ended.for_each(|ordered| {
            ordered.ended.get_or_insert(now);
        });
        let ended: Vec<_> = self.orders.iter().filter_map(|(number, order)| Some((*number, order.ended?))).collect();
        let too_many = ended.len().saturating_sub(MOST_REMEMBERED);
        for (place, (number, since)) in ended.into_iter().enumerate() {
            if place < too_many || now - since > REMEMBERED {
                self.orders.remove(&number);
            }
        }
    }

    fn show(&self, is_wanted: impl Fn(&Ordered) -> bool) -> Vec<FirstShown> {
        let numbers: Vec<_> = self.orders.iter().filter(|(_, order)| is_wanted(order)).map(|(n, _)| *n).collect();
        if numbers.is_empty() { Vec::new() } else { self.show_numbers(&numbers) }
    }

    fn show_numbers(&self, numbers: &[u64]) -> Vec<FirstShown> {
        let mut shown: Vec<_> = numbers.iter().filter_map(|number| self.show_order(*number)).collect();
        let mut left: Vec<_> = shown.iter().map(|_| Vec::new()).collect();
        for (device, on_device) in &self.devices {
            for (key, entry) in &on_device.entries {
                for number in &entry.orders {
                    let Ok(place) = numbers.binary_search(number) else { continue };
                    shown[place].at_work += u64::from(entry.is_at_work);
                    shown[place].failed += u64::from(entry.failures > 0);
                    left[place].push((device.as_str(), *key, entry));
                }
            }
        }
        for (order, left) in shown.iter_mut().zip(&mut left) {
            if left.len() > NAMED {
                left.select_nth_unstable_by(NAMED, |a, b| rank(a).cmp(&rank(b)));
                left.truncate(NAMED);
            }
            left.sort_by(|a, b| rank(a).cmp(&rank(b)));
            order.left = left.iter().map(|(device, key, entry)| partition(device, *key, entry)).collect();
        }
        shown
    }

    fn show_order(&self, number: u64) -> Option<FirstShown> {
        let ordered = self.orders.get(&number)?;
        let looked = ordered.looked.as_ref().and_then(|looked| looked.as_ref().ok()).cloned().unwrap_or_default();
        Some(FirstShown {
            number,
            what: ordered.what.clone(),
            order: ordered.order.clone(),
            total: ordered.total as u64,
            done: (ordered.total - ordered.left) as u64,
            is_looked_for: ordered.looked.is_none(),
            refused: ordered.looked.as_ref().and_then(|looked| looked.as_ref().err().cloned()),
            lines: looked.lines,
            is_doubtful: looked.is_doubtful,
            ..FirstShown::default()
        })
    }
}

/// What failed is named first, then what is at work.
fn rank<'a>((device, key, entry): &(&'a str, Key, &Entry)) -> (bool, bool, Key, &'a str) {
    (entry.failures == 0, !entry.is_at_work, *key, device)
}

fn partition(device: &str, (policy, partition): Key, entry: &Entry) -> FirstPartition {
    FirstPartition {
        device: device.to_owned(),
        policy: policy.number(),
        partition: partition.number(),
        is_at_work: entry.is_at_work,
        failures: entry.failures,
        why: entry.why.as_deref().map(str::to_owned),
    }
}
