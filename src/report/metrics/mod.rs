//! Metrics for Prometheus, as text: a file that node_exporter's textfile collector reads, so that neither a daemon nor a
//! pass from cron needs an open port; and the same over HTTP for whoever wants that.
//!
//! Counters grow while a pass runs, from pass to pass and from process to process: whoever begins reads back what the file
//! says ([`Samples::parse`]). Everything is by device or peer, and every device is of one group of workers, so that groups
//! may add their passes in any order.
//!
//! No counter ever goes back while a process lives, for to Prometheus that would be a restart, and the whole count an
//! increase:
//! - Of a pass under way only what came since the last look is added ([`Metrics::take_in`]). Its end adds the rest. What
//!   was seen of a pass that broke off stays counted.
//! - Another process may write the same file: a pass from cron beside the daemon. So what is written is what the file
//!   says plus what this process counted since it last wrote ([`Metrics::settle`]), and never less than it wrote then.

mod copies;
mod families;
mod handoffs;
mod now;
mod samples;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::counts::Counts;
use super::pass_report::{Ending, PassReport, coverage};
use crate::cause::Cause;
use crate::config::settings::MetricsPeers;
use copies::OldestSuccess;
use families::{COMPLETED, COVERAGE, DURATION, FOUND, LEFT, PASSES, PREFIX};
pub(crate) use now::Now;
pub(crate) use samples::Samples;
use samples::{device_label, family_of, first_value, is_counter, quoted, sample};

/// What is counted of a local device and of a peer alike, but for failures.
const COUNTERS: [&str; 4] =
    ["attempted_partitions_total", "pushed_partitions_total", "sent_bytes_total", "work_seconds_total"];
/// What is counted of a local device only.
const DEVICE_COUNTERS: [&str; 2] = ["device_in_sync_partitions_total", "device_removed_handoffs_total"];
/// How passes end.
const RESULTS: [&str; 3] = ["complete", "handoffs_only", "incomplete"];

/// What a pass has counted so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    /// By the names of local devices.
    pub devices: BTreeMap<String, Counts>,
    /// By address and device, as in reports.
    pub peers: BTreeMap<String, Counts>,
}

impl From<&PassReport> for Counted {
    fn from(report: &PassReport) -> Self {
        let devices = report.devices.iter().map(|(name, device)| (name.clone(), device.counts.clone())).collect();
        Self { devices, peers: report.peers.clone() }
    }
}

/// The sums of all passes, and the figures of each device's last one.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    kept: Samples,
    peers: MetricsPeers,
    /// The counters as they were when they were last read or written.
    settled: BTreeMap<String, f64>,
    /// What has been set, or taken out, since then.
    changed: BTreeSet<String>,
    /// The devices of this node as labels have them, once they are known: only they have gauges.
    local: Option<BTreeSet<String>>,
    /// What is in the counters already of passes that are under way, by their groups.
    taken_in: BTreeMap<String, Samples>,
    oldest_success: OldestSuccess,
}

impl Metrics {
    /// Goes on from what an earlier process left.
    pub(crate) fn new(former: Samples, peers: MetricsPeers) -> Self {
        let (kept, settled, changed, taken_in, oldest_success) = Default::default();
        let mut metrics = Self { kept, peers, settled, changed, local: None, taken_in, oldest_success };
        metrics.settle(former);
        metrics
    }

    /// From now on with these labels of peers. Counters with the others end here.
    pub(crate) fn label_peers(&mut self, peers: MetricsPeers) {
        self.peers = peers;
        self.kept.0.retain(|sample, _| fits(sample, peers));
    }

    /// Takes in what has been written by others meanwhile, before this process writes: their counters and its own growth,
    /// and whoever ended the last pass.
    pub(crate) fn settle(&mut self, file: Samples) {
        for (sample, theirs) in file.0 {
            if !fits(&sample, self.peers) {
                continue;
            }
            let before = self.settled.get(&sample).copied();
            match self.kept.0.get_mut(&sample) {
                None if self.changed.contains(&sample) => {}
                None => drop(self.kept.0.insert(sample, theirs)),
                Some(own) if is_counter(&sample) => *own += (theirs - before.unwrap_or_default()).max(0.0),
                Some(own) if family_of(&sample).ends_with(COMPLETED) => *own = own.max(theirs),
                Some(own) if !self.changed.contains(&sample) => *own = theirs,
                Some(_) => {}
            }
        }
        self.drop_gauges_of_others();
        let counters = self.kept.0.iter().filter(|(sample, _)| is_counter(sample));
        self.settled = counters.map(|(sample, &value)| (sample.clone(), value)).collect();
        self.changed.clear();
    }

    /// The node has these devices now: each counts, from zero, and figures of last passes of others go, since nothing
    /// will ever change them.
    pub(crate) fn keep_devices(&mut self, local: &[String]) {
        let labels: Vec<_> = local.iter().map(|device| device_label(device)).collect();
        self.local = Some(labels.iter().filter_map(|labels| first_value(labels)).map(str::to_owned).collect());
        self.drop_gauges_of_others();
        self.oldest_success.keep(local);
        let counters = COUNTERS.map(|family| format!("device_{family}"));
        for labels in &labels {
            counters.iter().for_each(|family| self.kept.count(family, labels, 0.0));
            DEVICE_COUNTERS.iter().for_each(|family| self.kept.count(family, labels, 0.0));
            Cause::ALL
                .iter()
                .for_each(|&cause| self.kept.count("device_failures_total", &device_failure(labels, cause), 0.0));
        }
        RESULTS.iter().for_each(|result| self.kept.count(PASSES, &format!("result={}", quoted(result)), 0.0));
    }

    fn drop_gauges_of_others(&mut self) {
        let Some(local) = &self.local else { return };
        let is_local = |sample: &str| first_value(sample).is_some_and(|device| local.contains(device));
        self.kept.0.retain(|sample, _| is_counter(sample) || is_local(sample));
    }

    /// Counts what a pass that is under way has counted since the last time.
    pub(crate) fn take_in(&mut self, group: &str, counted: &Counted) {
        let now = samples_of(counted, self.peers);
        let before = self.taken_in.entry(group.to_owned()).or_default();
        for (sample, &value) in &now.0 {
            let growth = value - before.0.get(sample).copied().unwrap_or_default();
            *self.kept.0.entry(sample.clone()).or_default() += growth.max(0.0);
        }
        *before = now;
    }

    /// A pass of this group has ended.
    pub(crate) fn end_pass(&mut self, group: &str, report: &PassReport) {
        self.cut_short(group, report);
        for (name, device) in &report.devices {
            let labels = device_label(name);
            self.set(COVERAGE, &labels, coverage(device.counts.attempted, device.whole(report.handoffs_only)));
            self.set(DURATION, &labels, report.took);
            self.set(FOUND, &labels, device.found as f64);
            self.set(LEFT, &labels, device.found.saturating_sub(device.counts.attempted) as f64);
            self.changed.extend(self.kept.remove_device(name, &handoffs::FAMILIES));
            let holdings = handoffs::samples_of(name, &device.holdings);
            self.changed.extend(holdings.0.keys().cloned());
            self.kept.extend(holdings);
            self.changed.extend(self.kept.remove_device(name, &copies::FAMILIES));
            let copies = copies::samples_of(name, device);
            self.changed.extend(copies.0.keys().cloned());
            self.kept.extend(copies);
            self.oldest_success.note(name, device);
            match device.left {
                None if !report.handoffs_only => self.set(COMPLETED, &labels, report.ended()),
                _ => drop(self.kept.0.entry(sample(COMPLETED, &labels)).or_default()),
            }
        }
    }

    /// A pass of this group was ended for another configuration: it counts, but says nothing of devices.
    pub(crate) fn cut_short(&mut self, group: &str, report: &PassReport) {
        self.take_in(group, &report.into());
        self.taken_in.remove(group);
        let result = match report.ending {
            Ending::Complete if report.handoffs_only => "handoffs_only",
            Ending::Complete => "complete",
            Ending::Incomplete(_) => "incomplete",
        };
        self.kept.count(PASSES, &format!("result={}", quoted(result)), 1.0);
    }

    /// A pass of this group broke off, and has no report.
    pub(crate) fn broke_off(&mut self, group: &str) {
        self.taken_in.remove(group);
    }

    fn set(&mut self, family: &str, labels: &str, value: f64) {
        self.kept.set(family, labels, value);
        self.changed.insert(sample(family, labels));
    }

    /// The text, with what is so now.
    pub(crate) fn text(&self, now: &Now) -> String {
        let mut samples = self.kept.clone();
        now.add_to(&mut samples);
        self.oldest_success.add_to(&mut samples, now.time);
        let completed = format!("{PREFIX}_{COMPLETED}");
        let oldest = samples.of_family(&completed).map(|(_, time)| time).min_by(f64::total_cmp);
        oldest.into_iter().for_each(|oldest| samples.set(families::OLDEST, "", oldest));
        samples.text()
    }
}

/// What was counted, as the counters to add it to.
fn samples_of(counted: &Counted, peers: MetricsPeers) -> Samples {
    let mut samples = Samples::default();
    for (name, counts) in &counted.devices {
        let labels = device_label(name);
        for (family, value) in DEVICE_COUNTERS.iter().zip([counts.in_sync, counts.removed]) {
            samples.count(family, &labels, value as f64);
        }
        count_all(&mut samples, "device", &labels, counts);
        for (&cause, &count) in &counts.failed {
            samples.count("device_failures_total", &device_failure(&labels, cause), count as f64);
        }
    }
    for (name, counts) in &counted.peers {
        let Some(peer) = peer_label(name, peers) else { continue };
        let labels = format!("peer={}", quoted(peer));
        count_all(&mut samples, "peer", &labels, counts);
        for cause in Cause::ALL {
            // A counter that appears with its first failure has no rate for it; but one for each disk of the cluster and
            // each cause from the beginning would be too many.
            let count = counts.failed.get(&cause).copied();
            if peers == MetricsPeers::Node && !cause.is_local() || count.is_some() {
                let labels = format!("{labels},cause={}", quoted(cause.name()));
                samples.count("peer_failures_total", &labels, count.unwrap_or_default() as f64);
            }
        }
    }
    samples
}

/// What is counted of devices and of peers.
fn count_all(samples: &mut Samples, whose: &str, labels: &str, counts: &Counts) {
    let values = [counts.attempted as f64, counts.pushed as f64, counts.bytes as f64, counts.seconds];
    for (family, value) in COUNTERS.iter().zip(values) {
        samples.count(&format!("{whose}_{family}"), labels, value);
    }
}

fn device_failure(labels: &str, cause: Cause) -> String {
    let scope = if cause.is_local() { "local" } else { "peer" };
    format!("{labels},cause={},scope={}", quoted(cause.name()), quoted(scope))
}

/// What a peer's counters are labelled with; its name in reports is like `10.0.0.2:6200/sda`. Of a node it is the address
/// alone: with `servers_per_port` each of its devices has a port of its own.
fn peer_label(name: &str, peers: MetricsPeers) -> Option<&str> {
    let authority = || name.split_once('/').map_or(name, |(authority, _)| authority);
    match peers {
        MetricsPeers::Device => Some(name),
        MetricsPeers::Node => Some(authority().rsplit_once(':').map_or(name, |(address, _)| address)),
        MetricsPeers::None => None,
    }
}

/// Whether a sample is one that is written with these labels of peers.
fn fits(sample: &str, peers: MetricsPeers) -> bool {
    let is_of_peer = family_of(sample).strip_prefix(PREFIX).is_some_and(|name| name.starts_with("_peer_"));
    let is_of_device = || first_value(sample).is_some_and(|peer| peer.contains('/'));
    match peers {
        _ if !is_of_peer => true,
        MetricsPeers::Device => is_of_device(),
        MetricsPeers::Node => !is_of_device(),
        MetricsPeers::None => false,
    }
}
