//! Partitions that go before all else.
//!
//! Each is a job of its own, made like any other batch, and is taken out of its lane's queue, so nobody else does it in this
//! pass. One that a job is at, or may come to, waits until that has ended. One that was done already in this pass before
//! somebody said that it is first is done once more, and counts as one more that was found. One whose device is paused, or
//! any device that it goes to, waits as long.

use log::warn;

use super::Schedule;
use crate::clock;
use crate::job::collect::Queue;
use crate::job::view::{Placement, PolicyView};
use crate::job::work::Batch;
use crate::names::Partition;
use crate::orders::first::{Target, Ticket};
use crate::pass::lanes::Lane;
use crate::pass::worker::{Job, Task};
use crate::ring::Device;

impl Schedule<'_> {
    /// The lanes' devices have a pass.
    pub(super) fn begin_first(&self) {
        self.lanes.iter().for_each(|lane| self.first.begin_pass(&lane.disk));
    }

    /// The next partition that goes first and may be begun.
    pub(super) fn next_first(&mut self) -> Option<Task> {
        if self.first.is_empty() {
            return None;
        }
        let count = self.lanes.iter().count();
        let turns = (0..count).map(|i| (self.first_turn + i) % count);
        let (lane, first) = turns.into_iter().find_map(|lane| Some((lane, self.take_ticket(lane)?)))?;
        self.first_turn = lane + 1;
        let (policy, partition) = first.key();
        let (place, view) = self.view_of(policy)?;
        if !self.lanes.take_first(lane, place, partition) {
            self.found += 1;
        }
        let batch = Batch::new(view, self.lanes.get(lane).disk.clone(), vec![partition], self.pass.clone());
        self.lanes.begun(lane, &batch.custody);
        Some(Task { lane, job: Job::Batch(batch), first: Some(first) })
    }

    fn take_ticket(&self, lane: usize) -> Option<Ticket> {
        let lane = self.lanes.get(lane);
        if !lane.may_begin_first() {
            return None;
        }
        let (orders, now) = (&self.tools.orders, clock::now().as_secs_f64());
        self.first.take(&lane.disk, |(policy, partition)| {
            let (_, view) = self.view_of(policy).filter(|(_, view)| view.has_disk(&lane.disk))?;
            if lane.is_at_work(policy, partition) {
                return None;
            }
            let devices = targets(&view, &lane.disk, partition);
            let is_paused = |device: &&Device| orders.pause_of_peer(&device.address(), now).is_some();
            (!devices.iter().any(is_paused)).then(|| devices.into_iter().map(target).collect())
        })
    }

    /// Leaves out what was begun, as one that goes first, before it was listed.
    pub(super) fn leave_out_first(&self, lane: usize, queues: &mut Vec<Queue>) {
        let lane = self.lanes.get(lane);
        for queue in queues.iter_mut() {
            let Some(view) = &self.views[queue.policy] else { continue };
            queue.partitions.retain(|partition| !lane.is_begun(view.policy.index, *partition));
        }
        queues.retain(|queue| !queue.partitions.is_empty());
    }

    /// Those that had no turn, although the pass came to its end, have failed in it if there is a reason.
    pub(super) fn end_first(&self) {
        if self.is_interrupted || self.first.is_empty() {
            return;
        }
        for lane in self.lanes.iter().filter(|lane| lane.paused.is_none()) {
            self.first.end_pass(&lane.disk, |(policy, partition)| {
                let reason = reason(lane).or_else(|| match self.view_of(policy) {
                    Some((_, view)) if !view.has_disk(&lane.disk) => {
                        Some("the ring does not have the device".to_owned())
                    }
                    Some(_) => lane.is_stuck_at(policy, partition).then(|| "a job hangs at it".to_owned()),
                    None => Some(format!("policy {policy} is not replicated")),
                })?;
                warn!("Partition {partition} of device {} had no turn, though it is first: {reason}", lane.disk);
                Some(reason)
            });
        }
    }
}

/// Why nothing of the lane can be begun, if so.
fn reason(lane: &Lane) -> Option<String> {
    match lane {
        lane if lane.is_closed() => Some("the device hangs".to_owned()),
        lane if !lane.is_listed() => Some("the device's partitions were not listed".to_owned()),
        _ => None,
    }
}

/// The devices of peers that a partition goes to. What the ring does not know goes nowhere, and says so when it is done.
fn targets<'r>(view: &'r PolicyView, disk: &str, partition: Partition) -> Vec<&'r Device> {
    match view.placement(disk, partition) {
        Ok(Placement::Here { others: targets } | Placement::Elsewhere { primaries: targets }) => targets,
        Ok(Placement::Nowhere) | Err(_) => Vec::new(),
    }
}

fn target(device: &Device) -> Target {
    let (ip, port) = (device.replication_ip.clone(), device.replication_port);
    Target { ip, port, device: device.device.clone() }
}
