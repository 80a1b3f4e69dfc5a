//! Partitions of which only one copy is known: how many, and the first of them by name.

use serde::{Deserialize, Serialize};

/// So many are named.
const NAMED: usize = 10;

/// A partition on a device here of which no other copy is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinglePartition {
    /// The local device.
    pub device: String,
    /// Like `objects-1`.
    pub datadir: String,
    pub partition: u32,
}

/// All such partitions of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SingleCopies {
    /// How many there are.
    pub count: u64,
    /// Some of them.
    pub named: Vec<SinglePartition>,
}

impl SingleCopies {
    /// There is one more.
    pub(crate) fn note(&mut self, partition: SinglePartition) {
        self.count = self.count.saturating_add(1);
        self.name(partition);
    }

    /// Adds those of another pass.
    pub(crate) fn merge(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        other.named.into_iter().for_each(|partition| self.name(partition));
    }

    fn name(&mut self, partition: SinglePartition) {
        if self.named.len() < NAMED {
            self.named.push(partition);
        }
    }

    /// What the log says of them, if there are any.
    pub(crate) fn line(&self) -> Option<String> {
        let names: Vec<_> = self
            .named
            .iter()
            .map(|single| format!("{}/{}/{}", single.device, single.datadir, single.partition))
            .collect();
        let more = match self.count.saturating_sub(names.len() as u64) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let partitions = match self.count {
            0 => return None,
            1 => "1 partition".to_owned(),
            count => format!("{count} partitions"),
        };
        Some(format!("only the copy here is known of {partitions}: {}{more}", names.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_named_and_the_rest_is_counted() {
        let mut copies = SingleCopies::default();
        assert_eq!(copies.line(), None);
        let single = |partition| SinglePartition { device: "sdb".into(), datadir: "objects-1".into(), partition };
        copies.note(single(7));
        assert_eq!(copies.line().unwrap(), "only the copy here is known of 1 partition: sdb/objects-1/7");
        (0..20).for_each(|partition| copies.note(single(partition)));
        copies.merge(copies.clone());
        let line = copies.line().unwrap();
        assert!(
            line.starts_with("only the copy here is known of 42 partitions: sdb/objects-1/7, sdb/objects-1/0, "),
            "{line}"
        );
        assert!(line.ends_with(", sdb/objects-1/8 and 32 more"), "{line}");
    }
}
