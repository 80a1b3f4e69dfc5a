//! What was found of partitions that are to go first.

use std::collections::BTreeSet;

use crate::job::choice::Choice;
use crate::job::scope::Overrides;
use crate::orders::first::Key;

/// So many are named.
const NAMED: usize = 20;

/// What the devices here have.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// By the names of the devices, those only that have any.
    pub devices: Vec<(String, Vec<Key>)>,
    /// What could not be looked at, and why, in a line each.
    pub trouble: Vec<String>,
}

impl Found {
    /// How many there are; one on two devices counts twice.
    pub(crate) fn total(&self) -> usize {
        self.devices.iter().map(|(_, keys)| keys.len()).sum()
    }

    /// How many each device has: `sdb 12, sdc 3`.
    pub(crate) fn by_device(&self) -> String {
        let devices: Vec<_> = self.devices.iter().map(|(disk, keys)| format!("{disk} {}", keys.len())).collect();
        if devices.is_empty() { "none".to_owned() } else { devices.join(", ") }
    }

    /// Which of these numbers no device has.
    pub(crate) fn missing(&self, numbers: &[u64]) -> Vec<u64> {
        let here: BTreeSet<_> = self.devices.iter().flat_map(|(_, keys)| keys).collect();
        let here: BTreeSet<_> = here.into_iter().map(|(_, partition)| u64::from(partition.number())).collect();
        numbers.iter().copied().collect::<BTreeSet<_>>().difference(&here).copied().collect()
    }

    /// What was found of what was asked for, in a line.
    pub(crate) fn line_about(&self, asked: &Overrides) -> String {
        match (&asked.choice, &asked.partitions) {
            (Some(Choice::Moved { moved, .. }), _) => {
                format!("{} partitions have moved; those here go first: {}", moved.count(), self.by_device())
            }
            (Some(Choice::To(peer)), _) => format!("What goes to {peer} from here goes first: {}", self.by_device()),
            (None, numbers) => self.line_about_numbers(numbers.as_deref().unwrap_or_default()),
        }
    }

    fn line_about_numbers(&self, numbers: &[u64]) -> String {
        let missing = self.missing(numbers);
        let all = numbers.iter().collect::<BTreeSet<_>>().len();
        let (here, by_device) = (all - missing.len(), self.by_device());
        let missing =
            if missing.is_empty() { String::new() } else { format!("; not here: {}", listed_numbers(&missing)) };
        format!("{here} of the {all} partitions are here and go first: {by_device}{missing}")
    }
}

/// The first few, and how many there are beside them.
pub(super) fn listed_numbers(numbers: &[u64]) -> String {
    let named: Vec<_> = numbers.iter().take(NAMED).map(u64::to_string).collect();
    match numbers.len().saturating_sub(NAMED) {
        0 => named.join(","),
        more => format!("{} and {more} more", named.join(",")),
    }
}
