//! Which group of workers has which local devices (`replicator_workers`, B5.20).
//!
//! Devices are dealt round-robin. A device that comes later goes to the group with the fewest, one that is gone leaves
//! its group; nothing else moves, so no device is in two groups' passes at once.

/// The devices of each group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    devices: Vec<Vec<String>>,
}

impl Groups {
    /// Deals the devices out to at most so many groups. `None` where there is nothing to deal.
    pub fn deal(devices: &[String], most: usize) -> Option<Self> {
        let count = most.min(devices.len());
        let group = |first| devices.iter().skip(first).step_by(count).cloned().collect();
        (count > 0).then(|| Self { devices: (0..count).map(group).collect() })
    }

    /// Takes in which devices there are now.
    pub fn adjust(&mut self, devices: &[String]) {
        self.devices.iter_mut().for_each(|group| group.retain(|device| devices.contains(device)));
        for device in devices {
            if self.devices.iter().any(|group| group.contains(device)) {
                continue;
            }
            if let Some(smallest) = self.devices.iter_mut().min_by_key(|group| group.len()) {
                smallest.push(device.clone());
            }
        }
    }

    /// How many groups there are.
    pub fn count(&self) -> usize {
        self.devices.len()
    }

    /// The devices of one group.
    pub fn devices(&self, group: usize) -> &[String] {
        &self.devices[group]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn devices_are_dealt_round_robin() {
        let groups = Groups::deal(&names(&["a", "b", "c", "d", "e"]), 2).unwrap();
        assert_eq!(groups.devices, [names(&["a", "c", "e"]), names(&["b", "d"])]);
    }

    #[test]
    fn there_are_no_more_groups_than_devices() {
        assert_eq!(Groups::deal(&names(&["a", "b"]), 5).unwrap().count(), 2);
        assert_eq!(Groups::deal(&[], 5), None);
    }

    #[test]
    fn only_what_came_and_went_moves() {
        let mut groups = Groups::deal(&names(&["a", "b", "c", "d"]), 2).unwrap();
        groups.adjust(&names(&["b", "c", "e", "f"]));
        assert_eq!(groups.devices, [names(&["c", "e"]), names(&["b", "f"])]);
    }
}
