//! Gauges of how many copies of partitions are known, and how old the oldest success of a device is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{PREFIX, quoted};
use crate::report::pass_report::DeviceReport;

const COPIES: &str = "partitions_by_confirmed_copies";
const AGE: &str = "oldest_success_age_seconds";

/// What the last passes found on devices, by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct KnownCopies(BTreeMap<String, (BTreeMap<u64, u64>, Option<f64>)>);

impl KnownCopies {
    /// What a pass found on a device.
    pub(super) fn set(&mut self, name: &str, device: &DeviceReport) {
        self.0.insert(name.to_owned(), (device.copies.clone(), device.oldest_success));
    }

    /// Forgets devices that are not local any more.
    pub(super) fn keep(&mut self, local: &[String]) {
        self.0.retain(|device, _| local.contains(device));
    }

    /// Writes the samples, as of this time.
    pub(super) fn write(&self, text: &mut String, now: f64) {
        let copies = self.0.iter().flat_map(|(device, (copies, _))| {
            let sample = |(copies, partitions): (&u64, &u64)| {
                format!("{{device={},copies=\"{copies}\"}} {partitions}", quoted(device))
            };
            copies.iter().map(sample).collect::<Vec<_>>()
        });
        let help = "Partitions that a local device's last pass attempted, by how many copies of them are known: the one here, \
                    and those of nodes that had the same or confirmed a push.";
        write_family(text, COPIES, help, copies);
        let ages = self.0.iter().filter_map(|(device, (_, oldest))| {
            Some(format!("{{device={}}} {}", quoted(device), (now - (*oldest)?).max(0.0).round()))
        });
        let help = "For how long the partition of a local device was not found whole that was so longest ago; since the \
                    process began, if it never was.";
        write_family(text, AGE, help, ages);
    }
}

fn write_family(text: &mut String, family: &str, help: &str, samples: impl Iterator<Item = String>) {
    let mut samples = samples.peekable();
    if samples.peek().is_some() {
        let name = format!("{PREFIX}_{family}");
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for sample in samples {
            let _ = writeln!(text, "{name}{sample}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_counted_by_device_and_ages_grow_until_they_are_written() {
        let mut known = KnownCopies::default();
        let copies = BTreeMap::from([(1, 2), (3, 100)]);
        known.set("sdb", &DeviceReport { copies, oldest_success: Some(1000.0), ..DeviceReport::default() });
        known.set("sdc", &DeviceReport::default());
        let text_at = |known: &KnownCopies, now| {
            let mut text = String::new();
            known.write(&mut text, now);
            text
        };
        let text = text_at(&known, 1060.25);
        for line in [
            "partitions_by_confirmed_copies{device=\"sdb\",copies=\"1\"} 2",
            "partitions_by_confirmed_copies{device=\"sdb\",copies=\"3\"} 100",
            "oldest_success_age_seconds{device=\"sdb\"} 60",
        ] {
            assert!(text.contains(&format!("\nswift_object_replicator_{line}\n")), "{line}\n{text}");
        }
        assert!(text_at(&known, 500.0).contains("{device=\"sdb\"} 0\n") && !text.contains("sdc"), "{text}");
        known.keep(&["sdc".to_owned()]);
        assert_eq!(text_at(&known, 2000.0), "");
    }
}
