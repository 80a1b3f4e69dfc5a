//! Gauges of what the devices hold, for whoever watches a rebalance.
//!
//! A device whose partitions are not listed has no such samples: a 0 would say that nothing is left on it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{PREFIX, quoted};
use crate::report::holding::Holding;

/// What the devices hold, by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Holdings(BTreeMap<String, Vec<Holding>>);

/// A family of gauges: its name without the prefix, what it is, and its value.
type Family = (&'static str, &'static str, fn(&Holding) -> f64);

const FAMILIES: [Family; 6] = [
    (
        "device_listed_timestamp_seconds",
        "When a local device's partitions of a policy were listed; the other gauges are known from then on.",
        |holding| holding.listed,
    ),
    ("device_partitions", "Partitions of a policy on a local device.", |holding| holding.partitions as f64),
    ("device_primary_partitions", "Partitions of a policy on a local device of which it is a primary.", |holding| {
        holding.primaries as f64
    }),
    ("device_handoffs_found", "Hand-offs of a policy that were on a local device when it was listed.", |holding| {
        holding.handoffs as f64
    }),
    ("device_handoffs_left", "Hand-offs of a policy that are left on a local device.", |holding| holding.left() as f64),
    (
        "device_handoffs_waiting",
        "Hand-offs of a policy that had their turn and stay on a local device for now, though nothing failed.",
        |holding| holding.waiting as f64,
    ),
];
const STUCK: &str = "device_handoffs_stuck";

impl Holdings {
    /// What a device holds now.
    pub(super) fn set(&mut self, device: &str, holdings: &[Holding]) {
        match holdings {
            [] => drop(self.0.remove(device)),
            holdings => drop(self.0.insert(device.to_owned(), holdings.to_vec())),
        }
    }

    /// Forgets devices that are not local any more.
    pub(super) fn keep(&mut self, local: &[String]) {
        self.0.retain(|device, _| local.contains(device));
    }

    /// Writes the samples.
    pub(super) fn write(&self, text: &mut String) {
        for (family, help, value) in FAMILIES {
            self.write_family(text, family, help, |holding| vec![(String::new(), value(holding))]);
        }
        let help = "Hand-offs of a policy that something failed with and that stay on a local device, by cause.";
        self.write_family(text, STUCK, help, |holding| {
            let stuck = holding.stuck.iter();
            stuck.map(|(cause, &count)| (format!(",cause={}", quoted(cause)), count as f64)).collect()
        });
    }

    fn write_family(
        &self,
        text: &mut String,
        family: &str,
        help: &str,
        samples: impl Fn(&Holding) -> Vec<(String, f64)>,
    ) {
        let name = format!("{PREFIX}_{family}");
        let holdings = self.0.iter().flat_map(|(device, holdings)| holdings.iter().map(move |one| (device, one)));
        let mut is_first = true;
        for (device, holding) in holdings.filter(|(_, holding)| holding.is_listed()) {
            let labels = format!("device={},policy={}", quoted(device), quoted(&holding.policy.to_string()));
            for (more, value) in samples(holding) {
                if std::mem::take(&mut is_first) {
                    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
                }
                let _ = writeln!(text, "{name}{{{labels}{more}}} {value}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Cause;

    #[test]
    fn each_device_and_policy_has_gauges_unless_it_is_not_listed() {
        let mut listed = Holding { policy: 1, listed: 7.0, partitions: 9, primaries: 4, ..Holding::default() };
        (listed.handoffs, listed.gone) = (5, 3);
        listed.stays(Some(Cause::Full));
        let unlisted = Holding { policy: 2, trouble: Some("not mounted".into()), ..Holding::default() };
        let mut holdings = Holdings::default();
        holdings.set("sda", &[listed.clone(), unlisted]);
        holdings.set("sdb", &[listed]);
        holdings.keep(&["sda".to_owned()]);
        let mut text = String::new();
        holdings.write(&mut text);
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let of = |name: &str, value| format!("swift_object_replicator_{name}{{device=\"sda\",policy=\"1\"}} {value}");
        let expected = [
            of("device_listed_timestamp_seconds", 7),
            of("device_partitions", 9),
            of("device_primary_partitions", 4),
            of("device_handoffs_found", 5),
            of("device_handoffs_left", 2),
            of("device_handoffs_waiting", 0),
            "swift_object_replicator_device_handoffs_stuck{device=\"sda\",policy=\"1\",cause=\"full\"} 1".to_owned(),
        ];
        assert_eq!(samples, expected);
        assert_eq!(text.matches("# TYPE ").count(), expected.len());
    }
}
