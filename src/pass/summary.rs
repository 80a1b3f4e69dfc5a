//! The results of a pass: the figures for the recon cache, and the report.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::history::History;
use super::lanes::{Lane, Lanes};
use crate::clock::unix;
use crate::report::copies::SinglePartition;
use crate::report::pass_report::{DeviceReport, Ending, PassReport, SlowPartition};
use crate::report::rebalance::Rebalance;
use crate::report::stats::{PassEnd, ReplicationStats, pass_entries};
use crate::report::timeline::Timeline;

/// So many names of what is paused stand in the line about the pass.
const NAMED: usize = 10;

/// The results of a pass.
#[derive(Debug)]
pub(crate) struct PassSummary {
    /// By the names of the local devices.
    pub disks: BTreeMap<String, ReplicationStats>,
    pub took: Duration,
    pub ended: SystemTime,
    /// Whether the pass was ended early, for another configuration.
    pub is_interrupted: bool,
    pub report: PassReport,
}

impl PassSummary {
    /// Whether every partition that was found had its turn.
    pub(crate) fn is_complete(&self) -> bool {
        self.report.ending == Ending::Complete
    }

    /// How long the pass took, in minutes.
    pub(crate) fn minutes(&self) -> f64 {
        self.took.as_secs_f64() / 60.0
    }

    /// All devices together.
    pub(crate) fn total(&self) -> ReplicationStats {
        self.disks.values().fold(ReplicationStats::default(), |mut total, disk| {
            total.merge(disk);
            total
        })
    }

    /// When the pass ended, and how long it took, as the recon cache has it.
    pub(crate) fn end(&self) -> PassEnd {
        PassEnd { minutes: self.minutes(), time: unix(self.ended) }
    }

    /// Hand-offs that are left, if it is known of every device; and those that went.
    pub(crate) fn handoffs(&self) -> (Option<u64>, u64) {
        let all = self.report.devices.values().flat_map(|device| &device.holdings);
        let gone = all.clone().fold(0, |sum: u64, holding| sum.saturating_add(holding.gone));
        let left = all.map(|holding| holding.is_listed().then(|| holding.left()));
        (left.sum(), gone)
    }

    /// The entries of the recon cache for a pass over all local devices (B12.17).
    pub(crate) fn recon_entries(&self) -> Map<String, Value> {
        pass_entries(&self.total(), self.end())
    }
}

/// What a pass noted on its way, beside what its lanes counted.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// What kept the pass from being complete, in a few words each.
    pub broken_off: Vec<String>,
    pub timeline: Timeline,
}

/// The summary of a pass that ends now, and took so long.
pub(super) fn summary(
    lanes: &Lanes,
    histories: &HashMap<String, History>,
    notes: Notes,
    took: Duration,
    is_interrupted: bool,
) -> PassSummary {
    let ended = SystemTime::now();
    let mut report = report(lanes, notes, ended, took);
    let disks = lanes.iter().map(|lane| (lane.disk.to_string(), stats(lane, &report))).collect();
    lanes.iter().for_each(|lane| note_copies(&mut report, lane, histories.get(&*lane.disk)));
    PassSummary { disks, took, ended, is_interrupted, report }
}

/// The figures of a lane for the recon cache.
fn stats(lane: &Lane, report: &PassReport) -> ReplicationStats {
    let rebalance = Rebalance {
        version: report.version.clone(),
        began: report.began,
        ended: report.ended(),
        complete: report.ending == Ending::Complete && left(lane).is_none() && !report.handoffs_only,
        handoffs_only: report.handoffs_only,
        devices: BTreeMap::from([(lane.disk.to_string(), lane.tally.holdings.clone())]),
    };
    ReplicationStats { rebalance: Some(rebalance), ..lane.tally.stats.clone() }
}

fn report(lanes: &Lanes, notes: Notes, ended: SystemTime, took: Duration) -> PassReport {
    let took = took.as_secs_f64();
    let mut reasons = notes.broken_off;
    reasons.extend(lanes.unfinished().filter_map(hanging));
    reasons.extend(paused(lanes));
    let waiting = lanes.iter().filter(|lane| !lane.is_closed() && lane.is_waiting()).count();
    if waiting > 0 && reasons.is_empty() {
        reasons.push(format!("{waiting} devices did not get to their end"));
    }
    let mut report = PassReport {
        host: host(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        began: unix(ended) - took,
        took,
        ending: if reasons.is_empty() { Ending::Complete } else { Ending::Incomplete(reasons) },
        handoffs_only: lanes.is_handoffs_only(),
        timeline: notes.timeline.into_moments(took),
        ..PassReport::default()
    };
    for lane in lanes.iter() {
        let device = DeviceReport {
            found: lane.found,
            counts: lane.tally.counts.clone(),
            left: left(lane),
            holdings: lane.tally.holdings.clone(),
            ..DeviceReport::default()
        };
        report.devices.insert(lane.disk.to_string(), device);
        for (name, counts) in &lane.tally.peers {
            report.peers.entry(name.to_string()).or_default().merge(counts);
        }
        for &(time, policy, partition) in lane.tally.slowest.iter() {
            let (device, datadir) = (lane.disk.to_string(), policy.datadir());
            let (partition, seconds) = (partition.number(), time.as_secs_f64());
            report.note_slow(SlowPartition { device, datadir, partition, seconds });
        }
    }
    report
}

/// How many copies of a lane's partitions are known, and for how long none of them has gone without success.
fn note_copies(report: &mut PassReport, lane: &Lane, history: Option<&History>) {
    let copies = &lane.tally.copies;
    for single in copies.single() {
        let (device, datadir) = (lane.disk.to_string(), single.policy.datadir());
        report.single_copies.note(SinglePartition { device, datadir, partition: single.partition.number() });
    }
    if let Some(device) = report.devices.get_mut(&*lane.disk) {
        device.copies = copies.by_number().collect();
        device.oldest_success = history.map(History::oldest_success);
    }
}

/// What was left out since it is paused, if anything was.
fn paused(lanes: &Lanes) -> Option<String> {
    let devices = lanes.iter().filter(|lane| lane.is_held_up()).map(|lane| lane.disk.to_string());
    let peers: BTreeSet<_> = lanes.iter().flat_map(|lane| lane.tally.paused.iter().cloned()).collect();
    let all: Vec<_> = devices.chain(peers).collect();
    let more = if all.len() > NAMED { format!(" and {} more", all.len() - NAMED) } else { String::new() };
    let named = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    (!all.is_empty()).then(|| format!("paused: {named}{more}"))
}

/// What hangs on the lane, if anything does: the device, or a partition only.
fn hanging(lane: &Lane) -> Option<String> {
    let job = lane.stuck().first()?;
    match job.suspect().filter(|_| !lane.is_closed()) {
        Some((_, partition)) => Some(format!("partition {partition} of {} hangs", lane.disk)),
        None => Some(format!("{} hangs", lane.disk)),
    }
}

/// Why something is left on the lane, if so.
pub(super) fn left(lane: &Lane) -> Option<String> {
    if let Some(job) = lane.stuck().first() {
        let doing = &job.doing;
        let partition = doing.partition.map_or_else(String::new, |partition| format!("partition {partition}, "));
        return Some(format!("hangs: {partition}{}", doing.step));
    }
    if let Some(pause) = lane.paused.as_ref().filter(|_| lane.is_held_up()) {
        return Some(format!("paused {}", pause.order.by_whom()));
    }
    match lane.is_listed() {
        false => Some("its partitions were not listed".to_owned()),
        true if lane.tally.counts.attempted < lane.found => Some("not attempted".to_owned()),
        true => lane.trouble.clone(),
    }
}

/// This machine's name.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
