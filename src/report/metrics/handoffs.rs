//! Gauges of what the devices hold, for whoever watches a rebalance.
//!
//! A device whose partitions are not listed has no such samples: a 0 would say that nothing is left on it.

use super::families::{HANDOFFS_FOUND, HANDOFFS_LEFT, HANDOFFS_STUCK, HANDOFFS_WAITING, LISTED, PARTITIONS, PRIMARIES};
use super::samples::{Samples, device_label, quoted};
use crate::report::holding::Holding;

/// The families of these gauges.
pub(super) const FAMILIES: [&str; 7] =
    [LISTED, PARTITIONS, PRIMARIES, HANDOFFS_FOUND, HANDOFFS_LEFT, HANDOFFS_WAITING, HANDOFFS_STUCK];

/// What a device holds, as samples.
pub(super) fn samples_of(device: &str, holdings: &[Holding]) -> Samples {
    let mut samples = Samples::default();
    for holding in holdings.iter().filter(|holding| holding.is_listed()) {
        let labels = format!("{},policy={}", device_label(device), quoted(&holding.policy.to_string()));
        samples.set(LISTED, &labels, holding.listed);
        for (family, value) in [
            (PARTITIONS, holding.partitions),
            (PRIMARIES, holding.primaries),
            (HANDOFFS_FOUND, holding.handoffs),
            (HANDOFFS_LEFT, holding.left()),
            (HANDOFFS_WAITING, holding.waiting),
        ] {
            samples.set(family, &labels, value as f64);
        }
        for (cause, &count) in &holding.stuck {
            samples.set(HANDOFFS_STUCK, &format!("{labels},cause={}", quoted(cause)), count as f64);
        }
    }
    samples
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
        let text = samples_of("sda", &[listed, unlisted]).text();
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
