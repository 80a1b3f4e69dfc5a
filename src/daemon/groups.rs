//! Which group of workers has which local devices (`replicator_workers`, B5.20).
//!
//! At the start the devices are divided among the groups in turn. A device that is added later goes to the group that
//! has the fewest devices. A device that disappears and comes back goes to the group that it was in: that one may still
//! be at work on it, and no device may be in the passes of two groups at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::job::scope::Share;
use crate::locks::lock;

/// The devices of each group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Groups {
    count: usize,
    /// By the devices' names; also of those that are gone.
    homes: BTreeMap<String, Home>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Home {
    group: usize,
    is_here: bool,
}

impl Groups {
    /// Deals the devices out to at most so many groups. `None` where there is nothing to deal.
    pub(super) fn deal(devices: &[String], most: usize) -> Option<Self> {
        let count = most.min(devices.len());
        let home = |place: usize| Home { group: place % count, is_here: true };
        let homes = devices.iter().enumerate().map(|(place, device)| (device.clone(), home(place)));
        (count > 0).then(|| Self { count, homes: homes.collect() })
    }

    /// Takes in which devices there are now.
    pub(super) fn adjust(&mut self, devices: &[String]) {
        self.homes.iter_mut().for_each(|(device, home)| home.is_here = devices.contains(device));
        for device in devices {
            self.group_of(device);
        }
    }

    /// The group of a local device.
    fn group_of(&mut self, device: &str) -> usize {
        if let Some(home) = self.homes.get_mut(device) {
            home.is_here = true;
            return home.group;
        }
        let group = (0..self.count).min_by_key(|&group| self.devices(group).count()).unwrap_or(0);
        self.homes.insert(device.to_owned(), Home { group, is_here: true });
        group
    }

    /// How many groups there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The devices of one group that are here.
    pub(super) fn devices(&self, group: usize) -> impl Iterator<Item = &str> {
        self.homes.iter().filter(move |(_, home)| home.is_here && home.group == group).map(|(device, _)| &**device)
    }
}

/// The groups as their threads share them.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Groups>>);

impl Shared {
    pub(super) fn new(groups: Groups) -> Self {
        Self(Arc::new(Mutex::new(groups)))
    }

    /// What one group has.
    pub(super) fn of(&self, group: usize) -> GroupShare {
        GroupShare { groups: self.clone(), group }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Groups> {
        // Nothing in here leaves the groups half changed.
        lock(&self.0)
    }
}

/// The devices of one group, whichever those are at the moment.
pub(super) struct GroupShare {
    groups: Shared,
    group: usize,
}

impl GroupShare {
    /// The names of the devices.
    pub(super) fn devices(&self) -> Vec<String> {
        self.groups.lock().devices(self.group).map(str::to_owned).collect()
    }
}

impl Share for GroupShare {
    fn takes(&self, device: &str) -> bool {
        self.groups.lock().group_of(device) == self.group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn dealt(devices: &[&str], most: usize) -> Groups {
        Groups::deal(&names(devices), most).unwrap()
    }

    fn all(groups: &Groups) -> Vec<Vec<&str>> {
        (0..groups.count()).map(|group| groups.devices(group).collect()).collect()
    }

    #[test]
    fn devices_are_dealt_round_robin() {
        assert_eq!(all(&dealt(&["a", "b", "c", "d", "e"], 2)), [vec!["a", "c", "e"], vec!["b", "d"]]);
    }

    #[test]
    fn there_are_no_more_groups_than_devices() {
        assert_eq!(dealt(&["a", "b"], 5).count(), 2);
        assert_eq!(Groups::deal(&[], 5), None);
    }

    #[test]
    fn only_what_came_and_went_moves() {
        let mut groups = dealt(&["a", "b", "c", "d"], 2);
        groups.adjust(&names(&["b", "c", "e", "f"]));
        assert_eq!(all(&groups), [vec!["c", "e"], vec!["b", "f"]]);
    }

    #[test]
    fn a_device_that_comes_back_goes_to_its_old_group() {
        let mut groups = dealt(&["a", "b", "c"], 2);
        groups.adjust(&names(&["b", "d", "e"]));
        groups.adjust(&names(&["a", "b", "c", "d", "e"]));
        let devices: Vec<_> = groups.devices(0).filter(|device| ["a", "c"].contains(device)).collect();
        assert_eq!(devices, ["a", "c"]);
    }

    #[test]
    fn who_asks_first_for_a_new_device_settles_whose_it_is() {
        let groups = Shared::new(dealt(&["a", "b", "c"], 2));
        assert!(!groups.of(0).takes("d") && groups.of(1).takes("d"));
        assert!(groups.of(0).takes("c") && !groups.of(1).takes("c"));
        assert_eq!(groups.of(1).devices(), ["b", "d"]);
    }
}
