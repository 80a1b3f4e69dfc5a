//! What a pass does about partitions that are in danger: they come first, by what earlier passes found out, and what this
//! one finds out is remembered.

use std::collections::HashSet;
use std::time::SystemTime;

use super::Schedule;
use crate::clock::unix;
use crate::job::collect::Queue;
use crate::pass::history::{Found, History};
use crate::pass::summary;

impl Schedule<'_> {
    /// What is known to lack copies has queues of its own, by how much it is in danger.
    pub(super) fn put_apart_what_is_in_danger(&self, lane: usize, queues: Vec<Queue>) -> Vec<Queue> {
        let (now, disk) = (unix(SystemTime::now()), &*self.lanes.get(lane).disk);
        let Some(history) = self.histories.get(disk) else { return queues };
        let divide = |queue: Queue| match &self.views[queue.policy] {
            Some(view) => history.divide(queue, view.policy.index, now),
            None => vec![queue],
        };
        queues.into_iter().flat_map(divide).collect()
    }

    /// Takes what was found out about copies into what is remembered.
    pub(super) fn remember(&mut self) {
        let began = unix(SystemTime::now()) - self.started.elapsed().as_secs_f64();
        // A pass that leaves some partitions out by intent has found out nothing of those.
        let only = self.lanes.is_handoffs_only();
        let all_begun = !only && self.notes.broken_off.is_empty();
        for lane in self.lanes.iter() {
            let waiting = lane.queues().iter().filter_map(|queue| Some((self.views[queue.policy].as_ref()?, queue)));
            let waiting = waiting.flat_map(|(view, queue)| queue.partitions.iter().map(|p| (view.policy.index, *p)));
            let waiting: HashSet<_> = waiting.collect();
            // Of what a job that hangs has at hand, it is not known which had their turn.
            let is_known = all_begun && lane.is_listed() && lane.stuck().is_empty() && lane.trouble.is_none();
            let found = Found {
                began,
                lacking: &lane.tally.copies.lacking,
                is_complete: !only && summary::left(lane).is_none(),
            };
            let history = self.histories.entry(lane.disk.to_string()).or_insert_with(|| History::new(began));
            history.take_in(&found, |policy, partition| is_known && !waiting.contains(&(policy, partition)));
        }
    }
}
