//! The end of a pass: what was not done is said, and kept for the next one.

use std::collections::{HashMap, HashSet};

use log::{info, warn};

use super::Schedule;
use crate::names::{Partition, PolicyIndex};
use crate::pass::leftover::Leftover;
use crate::pass::summary::{self, PassSummary};

impl Schedule<'_> {
    /// Says what was not done; the summary, and what the next pass should know.
    pub(super) fn finish(mut self) -> (PassSummary, Leftover) {
        self.end_first();
        let keeps_left = self.is_interrupted || self.lanes.is_anything_paused();
        let left = if keeps_left { self.not_begun() } else { HashMap::new() };
        for lane in self.lanes.unfinished().filter(|lane| !self.is_interrupted || !lane.stuck().is_empty()) {
            if lane.stuck().is_empty() && lane.paused.is_some() {
                info!("Device {}: what is left is paused", lane.disk);
                continue;
            }
            match lane.is_listed() {
                true => warn!("Device {}: {} partitions were not replicated in this pass", lane.disk, lane.left()),
                false => warn!("Device {}: its partitions were not listed in this pass", lane.disk),
            }
        }
        self.tools.client.close_idle();
        self.remember();
        let stuck = self.lanes.iter().flat_map(|lane| lane.stuck().to_vec()).chain(self.elsewhere).collect();
        let slow = self.lanes.iter().filter(|lane| !lane.tally.slow.is_empty());
        let slow = slow.map(|lane| (lane.disk.to_string(), lane.tally.slow.clone())).collect();
        let has_waiting = self.lanes.iter().any(|lane| !lane.is_closed() && lane.is_waiting());
        if self.is_interrupted && has_waiting {
            self.notes.broken_off.push("ended early, for a new configuration".to_owned());
        }
        let is_interrupted = self.is_interrupted && (has_waiting || !self.notes.broken_off.is_empty());
        let (histories, took) = (self.histories, self.started.elapsed());
        let summary = summary::summary(&self.lanes, &histories, self.notes, took, is_interrupted);
        (summary, Leftover { stuck, slow, left, histories })
    }

    /// What was listed in this pass and has not been begun, or for devices that were not even listed, what an earlier
    /// pass has not begun.
    fn not_begun(&mut self) -> HashMap<String, HashSet<(PolicyIndex, Partition)>> {
        let mut left = std::mem::take(&mut self.left);
        for lane in self.lanes.iter().filter(|lane| lane.is_listed()) {
            let waiting = lane.queues().iter().filter_map(|queue| Some((self.views[queue.policy].as_ref()?, queue)));
            let waiting = waiting.flat_map(|(view, queue)| queue.partitions.iter().map(|p| (view.policy.index, *p)));
            left.insert(lane.disk.to_string(), waiting.collect());
        }
        left.retain(|_, partitions| !partitions.is_empty());
        left
    }
}
