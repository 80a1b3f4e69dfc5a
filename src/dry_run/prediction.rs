//! The result of a dry run, as JSON for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::job::transfer::dry_run::{DevicePlan, HandOffPlan, PlannedPush};
use crate::names::{Partition, PolicyIndex};
use crate::pass::PassSummary;
use crate::printable::printable_json;
use crate::report::stats::ReplicationStats;

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct DryRunReport {
    /// Whether every partition had its turn.
    pub complete: bool,
    /// How long it took to find out.
    pub seconds: f64,
    pub devices: Vec<Device>,
}

/// What is on one local device, and what would become of it.
#[derive(Debug, Serialize)]
pub(super) struct Device {
    pub device: String,
    /// Partitions that were looked at.
    pub partitions: usize,
    pub updates: Vec<Push>,
    pub handoffs: Vec<HandOff>,
    pub failures: Vec<FailedNode>,
}

/// Suffixes of a partition that would go to a node.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Push {
    pub to: String,
    pub policy: u32,
    pub partition: u32,
    pub suffixes: usize,
    pub files: u64,
    /// At most.
    pub bytes: u64,
}

/// A partition that belongs elsewhere.
#[derive(Debug, Serialize)]
pub(super) struct HandOff {
    pub policy: u32,
    pub partition: u32,
    /// Without suffixes to those that have it already.
    pub pushes: Vec<Push>,
    /// Whether it would be gone from here.
    pub removed: bool,
}

/// A device of a peer, or a local one, with which something failed.
#[derive(Debug, Serialize)]
pub(super) struct FailedNode {
    pub node: String,
    pub times: usize,
}

impl DryRunReport {
    /// What was planned, device by device, with what the pass counted on the way.
    pub(super) fn new(mut plans: BTreeMap<String, DevicePlan>, summary: &PassSummary) -> Self {
        let device = |(name, stats): (&String, &ReplicationStats)| {
            let DevicePlan { updates, handoffs } = plans.remove(name).unwrap_or_default();
            let mut updates: Vec<_> = updates.iter().map(Push::new).collect();
            updates.sort_by(|a, b| (&a.to, a.policy, a.partition).cmp(&(&b.to, b.policy, b.partition)));
            Device {
                device: name.clone(),
                partitions: usize::try_from(stats.attempted).unwrap_or(usize::MAX),
                updates,
                handoffs: handoffs.iter().map(HandOff::new).collect(),
                failures: failures(stats),
            }
        };
        let devices = summary.disks.iter().map(device).collect();
        Self { complete: summary.is_complete(), seconds: summary.took.as_secs_f64(), devices }
    }

    /// Whether all was seen that a pass would look at.
    pub(super) fn is_whole(&self) -> bool {
        self.complete && self.devices.iter().all(|device| device.failures.is_empty())
    }

    /// As JSON.
    pub(super) fn json(&self) -> String {
        printable_json(format!("{:#}\n", serde_json::json!(self)))
    }
}

impl Push {
    fn new(planned: &PlannedPush) -> Self {
        let PlannedPush { policy, partition, to, suffixes, extent } = planned;
        let (policy, partition) = (policy.number(), partition.number());
        Self { to: to.clone(), policy, partition, suffixes: *suffixes, files: extent.files, bytes: extent.bytes }
    }
}

impl HandOff {
    fn new((&(policy, partition), plan): (&(PolicyIndex, Partition), &HandOffPlan)) -> Self {
        let pushes = plan.pushes.iter().map(Push::new).collect();
        Self { policy: policy.number(), partition: partition.number(), pushes, removed: plan.is_removed }
    }
}

fn failures(stats: &ReplicationStats) -> Vec<FailedNode> {
    let nodes = stats.failure_nodes.iter();
    nodes
        .flat_map(|(ip, devices)| {
            let times = |times: u64| usize::try_from(times).unwrap_or(usize::MAX);
            devices.iter().map(move |(device, &n)| FailedNode { node: format!("{ip}/{device}"), times: times(n) })
        })
        .collect()
}
