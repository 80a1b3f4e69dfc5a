//! How many copies of partitions are known, and for how long a device has gone without success.

use std::collections::BTreeMap;

use super::families::{COPIES, OLDEST_SUCCESS};
use super::samples::{Samples, device_label, quoted};
use crate::report::pass_report::DeviceReport;

/// The family of the gauges that a pass leaves.
pub(super) const FAMILIES: [&str; 1] = [COPIES];

/// How many copies the last pass knew of, as samples.
pub(super) fn samples_of(name: &str, device: &DeviceReport) -> Samples {
    let mut samples = Samples::default();
    for (copies, &partitions) in &device.copies {
        let labels = format!("{},copies={}", device_label(name), quoted(&copies.to_string()));
        samples.set(COPIES, &labels, partitions as f64);
    }
    samples
}

/// When the partition of a device that was not whole for longest was so last, as Unix time, by the devices' names. It is
/// not read back from the file, for it is known since the process began only.
#[derive(Clone, Debug, Default)]
pub(super) struct OldestSuccess(BTreeMap<String, f64>);

impl OldestSuccess {
    /// What a pass found on a device.
    pub(super) fn note(&mut self, name: &str, device: &DeviceReport) {
        match device.oldest_success {
            Some(time) => drop(self.0.insert(name.to_owned(), time)),
            None => drop(self.0.remove(name)),
        }
    }

    /// Forgets devices that are not local any more.
    pub(super) fn keep(&mut self, local: &[String]) {
        self.0.retain(|device, _| local.contains(device));
    }

    /// Adds the ages at this time.
    pub(super) fn add_to(&self, samples: &mut Samples, now: f64) {
        for (device, time) in &self.0 {
            samples.set(OLDEST_SUCCESS, &device_label(device), (now - time).max(0.0).round());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_counted_by_device_and_number() {
        let device = DeviceReport { copies: BTreeMap::from([(1, 2), (3, 100)]), ..DeviceReport::default() };
        let text = samples_of("sdb", &device).text();
        for line in ["device=\"sdb\",copies=\"1\"} 2", "device=\"sdb\",copies=\"3\"} 100"] {
            let line = format!("\nswift_object_replicator_partitions_by_confirmed_copies{{{line}\n");
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }

    #[test]
    fn ages_grow_until_they_are_written() {
        let mut oldest = OldestSuccess::default();
        oldest.note("sdb", &DeviceReport { oldest_success: Some(1000.0), ..DeviceReport::default() });
        oldest.note("sdc", &DeviceReport::default());
        let at = |oldest: &OldestSuccess, now| {
            let mut samples = Samples::default();
            oldest.add_to(&mut samples, now);
            samples.text()
        };
        let text = at(&oldest, 1060.25);
        assert!(text.ends_with("\nswift_object_replicator_oldest_success_age_seconds{device=\"sdb\"} 60\n"), "{text}");
        assert!(at(&oldest, 500.0).ends_with("{device=\"sdb\"} 0\n"));
        oldest.keep(&["sdc".to_owned()]);
        assert_eq!(at(&oldest, 2000.0), "");
    }
}
