//! What a single pass was restricted to, and is not there: a typing error, or another node's.

use std::fmt::Display;

use crate::job::scope::Overrides;

/// So many names are listed of what there is.
const LISTED: usize = 20;

/// What there is to choose from.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The local devices; `None` where it cannot be told which are local.
    pub devices: Option<Vec<String>>,
    /// The indices of the replication policies.
    pub policies: Vec<u64>,
    /// How many partitions the largest ring has; 0 if none can be read.
    pub partitions: u64,
}

impl Known {
    /// What of the restrictions is not there, in a line for each option.
    pub(crate) fn unmatched(&self, overrides: &Overrides) -> Vec<String> {
        let devices = self.devices.as_ref().and_then(|known| {
            let unknown = beyond(&overrides.devices, |name| known.contains(name))?;
            Some(format!("--devices {unknown}: this node has {}", listed(known)))
        });
        let policies = beyond(&overrides.policies, |index| self.policies.contains(index)).map(|unknown| {
            format!("--policies {unknown}: the policies that are replicated are {}", listed(&self.policies))
        });
        let partitions = beyond(&overrides.partitions, |number| self.partitions == 0 || *number < self.partitions)
            .map(|unknown| format!("--partitions {unknown}: the last partition is {}", self.partitions - 1));
        [devices, policies, partitions].into_iter().flatten().collect()
    }
}

/// Those that are wanted and not known, in one text.
fn beyond<T: Display>(wanted: &Option<Vec<T>>, is_known: impl Fn(&T) -> bool) -> Option<String> {
    let unknown: Vec<_> = wanted.iter().flatten().filter(|wanted| !is_known(wanted)).collect();
    (!unknown.is_empty()).then(|| listed(&unknown).replace(", ", ","))
}

/// The first few, and how many there are beside them.
fn listed<T: Display>(all: &[T]) -> String {
    let mut names: Vec<_> = all.iter().take(LISTED).map(T::to_string).collect();
    match all.len() {
        0 => return "none".to_owned(),
        count if count > LISTED => names.push(format!("and {} more", count - LISTED)),
        _ => {}
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known { devices: Some(vec!["sda".into(), "sdb".into()]), policies: vec![0, 3], partitions: 16 }
    }

    #[test]
    fn what_is_unknown_is_named_with_what_there_is() {
        let overrides = Overrides {
            devices: Some(vec!["sda".into(), "sbd".into(), "sdc".into()]),
            partitions: Some(vec![15, 16, 900]),
            policies: Some(vec![1, 3]),
            ..Overrides::default()
        };
        let expected = [
            "--devices sbd,sdc: this node has sda, sdb",
            "--policies 1: the policies that are replicated are 0, 3",
            "--partitions 16,900: the last partition is 15",
        ];
        assert_eq!(known().unmatched(&overrides), expected);
    }

    #[test]
    fn what_is_there_or_cannot_be_told_is_no_complaint() {
        assert_eq!(known().unmatched(&Overrides::default()), [""; 0]);
        let overrides =
            Overrides { devices: Some(vec!["sdz".into()]), partitions: Some(vec![9]), ..Overrides::default() };
        assert_eq!(Known::default().unmatched(&overrides), [""; 0]);
        let none = Known { devices: Some(Vec::new()), ..known() };
        assert_eq!(none.unmatched(&overrides), ["--devices sdz: this node has none"]);
    }

    #[test]
    fn a_long_list_is_cut() {
        let many: Vec<_> = (0..100).map(|number| format!("d{number}")).collect();
        let overrides = Overrides { devices: Some(vec!["sdz".into()]), ..Overrides::default() };
        let lines = Known { devices: Some(many), ..known() }.unmatched(&overrides);
        assert!(lines[0].ends_with("d18, d19, and 80 more"), "{lines:?}");
    }
}
