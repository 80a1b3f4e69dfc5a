//! What one pass leaves to the next: partitions that it did not reach, jobs that hang, and what it found out.

use std::collections::{HashMap, HashSet};

use super::history::History;
use super::watchdog::StuckJob;
use crate::job::scope::Share;
use crate::names::{Partition, PolicyIndex};

/// What one pass leaves to the next.
#[derive(Default)]
pub(crate) struct Leftover {
    /// Jobs that have not come back.
    pub stuck: Vec<StuckJob>,
    /// Partitions that took long, by the names of their devices.
    pub slow: HashMap<String, Vec<(PolicyIndex, Partition)>>,
    /// Partitions whose turn did not come since the pass was interrupted, by the names of their devices.
    pub left: HashMap<String, HashSet<(PolicyIndex, Partition)>>,
    /// What is remembered of the partitions of devices, by the devices' names.
    pub histories: HashMap<String, History>,
}

impl Leftover {
    /// Adds what another pass left behind.
    pub(crate) fn merge(&mut self, other: Self) {
        self.stuck.extend(other.stuck);
        other.slow.into_iter().for_each(|(disk, slow)| self.slow.entry(disk).or_default().extend(slow));
        other.left.into_iter().for_each(|(disk, left)| self.left.entry(disk).or_default().extend(left));
        self.histories.extend(other.histories);
    }

    /// Takes what is of the devices of a share.
    pub(super) fn take_share(&mut self, share: &dyn Share) -> Self {
        Self {
            stuck: self.stuck.extract_if(.., |job| share.takes(&job.doing.disk)).collect(),
            slow: self.slow.extract_if(|disk, _| share.takes(disk)).collect(),
            left: self.left.extract_if(|disk, _| share.takes(disk)).collect(),
            histories: self.histories.extract_if(|disk, _| share.takes(disk)).collect(),
        }
    }
}
