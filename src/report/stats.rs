//! What a pass counted, in the shape of the recon cache (B12.10, B12.17-B12.19).
//!
//! A pass keeps one [`ReplicationStats`] per local device. At its end they go to the recon cache: summed up under the
//! top-level keys if one group of devices is the whole machine ([`pass_entries`]), or device by device
//! ([`disk_entries`]) if there are several groups, whose sum [`aggregate_entries`] then makes from what the cache holds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::rebalance::{self, Rebalance};

/// The key under which each device has its own figures.
const PER_DISK: &str = "object_replication_per_disk";
/// The key of the counters, and those of the times.
const STATS: &str = "replication_stats";
const TIMES: [&str; 4] = ["replication_time", "replication_last", "object_replication_time", "object_replication_last"];

/// The counters of one local device, or of several once merged (B12.10).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicationStats {
    /// Partitions that were begun.
    pub attempted: u64,
    /// Pairs of a partition and a node that failed.
    pub failure: u64,
    /// How often which node failed: replication IP, device, failures.
    pub failure_nodes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Nodes that had the same hashes.
    pub hashmatch: u64,
    /// Hand-off partitions that were to be removed.
    pub remove: u64,
    /// Pushes that were begun, by whatever method.
    pub rsync: u64,
    /// Pairs of a partition and a node that went well.
    pub success: u64,
    /// Suffixes of the partitions that were compared.
    pub suffix_count: u64,
    /// Suffixes that had to be hashed for that.
    pub suffix_hash: u64,
    /// Suffixes that differed, counted once per node.
    pub suffix_sync: u64,
    /// Ours: what other nodes are told for the sake of a rebalance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<Rebalance>,
}

impl ReplicationStats {
    /// Counts a failure of the node's device with this replication IP.
    pub fn add_failure(&mut self, replication_ip: &str, device: &str) {
        self.failure += 1;
        let devices = match self.failure_nodes.get_mut(replication_ip) {
            Some(devices) => devices,
            None => self.failure_nodes.entry(replication_ip.to_owned()).or_default(),
        };
        match devices.get_mut(device) {
            Some(failures) => *failures += 1,
            None => drop(devices.insert(device.to_owned(), 1)),
        }
    }

    /// Adds what another device counted.
    pub fn merge(&mut self, other: &Self) {
        self.attempted += other.attempted;
        self.failure += other.failure;
        self.hashmatch += other.hashmatch;
        self.remove += other.remove;
        self.rsync += other.rsync;
        self.success += other.success;
        self.suffix_count += other.suffix_count;
        self.suffix_hash += other.suffix_hash;
        self.suffix_sync += other.suffix_sync;
        self.rebalance = rebalance::merged(self.rebalance.as_ref(), other.rebalance.as_ref());
        for (ip, devices) in &other.failure_nodes {
            let own_devices = self.failure_nodes.entry(ip.clone()).or_default();
            for (device, failures) in devices {
                *own_devices.entry(device.clone()).or_default() += failures;
            }
        }
    }
}

/// When a pass ended, and how long it took (B12.19).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassEnd {
    /// How long the pass took, in minutes.
    pub minutes: f64,
    /// When it ended, in seconds since 1970.
    pub time: f64,
}

/// The top-level entries of the recon cache after a pass over all local devices (B12.17).
///
/// A pass over hand-offs only leaves the times as they are: whoever reads them takes them for those of a pass over
/// everything, and would not see that partitions have not been compared for weeks.
pub fn pass_entries(total: &ReplicationStats, end: PassEnd) -> Map<String, Value> {
    let PassEnd { minutes, time } = end;
    if total.rebalance.as_ref().is_some_and(|rebalance| rebalance.handoffs_only) {
        return Map::from_iter([(STATS.to_owned(), json!(total))]);
    }
    [
        (STATS, json!(total)),
        ("replication_time", minutes.into()),
        ("replication_last", time.into()),
        ("object_replication_time", minutes.into()),
        ("object_replication_last", time.into()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// The entries of the recon cache after a pass over one group of devices: the same five for each of them (B12.18).
pub fn disk_entries<'a>(
    disks: impl IntoIterator<Item = (&'a str, &'a ReplicationStats)>,
    end: PassEnd,
) -> Map<String, Value> {
    let per_disk: Map<_, _> =
        disks.into_iter().map(|(device, stats)| (device.to_owned(), Value::Object(pass_entries(stats, end)))).collect();
    Map::from_iter([(PER_DISK.to_owned(), Value::Object(per_disk))])
}

/// Gives devices whose pass was over hand-offs only the times of the pass before it, or zeros: Swift's own replicator, should
/// it take over, breaks off where a device has none.
pub(crate) fn keep_times(entries: &mut Map<String, Value>, cache: &Map<String, Value>) {
    let former = cache.get(PER_DISK);
    let devices = entries.get_mut(PER_DISK).and_then(Value::as_object_mut).into_iter().flatten();
    for (device, entry) in devices.filter_map(|(device, entry)| Some((device, entry.as_object_mut()?))) {
        for key in TIMES {
            let kept = || former.and_then(|former| former.get(device)?.get(key)).cloned();
            entry.entry(key).or_insert_with(|| kept().unwrap_or_else(|| json!(0.0)));
        }
    }
}

/// What the recon cache holds of one device, as far as the sum needs it.
#[derive(Deserialize)]
struct DiskEntry {
    replication_stats: ReplicationStats,
    object_replication_time: f64,
    object_replication_last: f64,
}

/// The entries that follow from those per device which are in the recon cache (B12.18).
///
/// Once every local device has its entry, these are the top-level ones: counters summed up, times the smallest. Devices
/// that are no longer local are taken out. `cache` is what [`super::recon::load`] gives.
pub fn aggregate_entries(cache: &Map<String, Value>, local_devices: &BTreeSet<String>) -> Map<String, Value> {
    let empty = Map::new();
    let per_disk = cache.get(PER_DISK).and_then(Value::as_object).unwrap_or(&empty);
    let disks: BTreeMap<&str, DiskEntry> = per_disk
        .iter()
        .filter_map(|(device, entry)| Some((device.as_str(), DiskEntry::deserialize(entry).ok()?)))
        .collect();

    let mut entries = Map::new();
    if !disks.is_empty() && local_devices.iter().all(|device| disks.contains_key(device.as_str())) {
        let mut total = ReplicationStats::default();
        let mut end = PassEnd { minutes: f64::INFINITY, time: f64::INFINITY };
        for disk in disks.values() {
            total.merge(&disk.replication_stats);
            end.minutes = end.minutes.min(disk.object_replication_time);
            end.time = end.time.min(disk.object_replication_last);
        }
        entries = pass_entries(&total, end);
    }
    let gone: Map<_, _> = per_disk
        .keys()
        .filter(|device| !local_devices.contains(*device))
        .map(|device| (device.clone(), Value::Object(Map::new())))
        .collect();
    if !gone.is_empty() {
        entries.insert(PER_DISK.to_owned(), Value::Object(gone));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: PassEnd = PassEnd { minutes: 1.5, time: 1795500561.76 };

    fn stats(attempted: u64) -> ReplicationStats {
        ReplicationStats { attempted, ..Default::default() }
    }

    fn local(devices: &[&str]) -> BTreeSet<String> {
        devices.iter().map(|device| (*device).to_owned()).collect()
    }

    #[test]
    fn a_sum_has_the_failures_of_both_devices_node_by_node() {
        let (mut one, mut other) = (stats(1), stats(2));
        one.add_failure("10.0.0.1", "sda");
        one.add_failure("10.0.0.1", "sda");
        other.add_failure("10.0.0.1", "sda");
        other.add_failure("10.0.0.2", "sdb");
        one.merge(&other);
        assert_eq!((one.attempted, one.failure), (3, 4));
        assert_eq!(json!(one.failure_nodes), json!({"10.0.0.1": {"sda": 3}, "10.0.0.2": {"sdb": 1}}));
    }

    #[test]
    fn the_sum_of_all_disks_waits_for_the_last_of_them() {
        let (one, two) = (stats(1), stats(2));
        let cache = disk_entries([("sda", &one)], END);
        assert_eq!(aggregate_entries(&cache, &local(&["sda", "sdb"])), Map::new());

        let cache = disk_entries([("sda", &one), ("sdb", &two)], END);
        assert_eq!(aggregate_entries(&cache, &local(&["sda", "sdb"])), pass_entries(&stats(3), END));
    }

    #[test]
    fn a_pass_over_hand_offs_only_leaves_the_times_as_they_are() {
        let only = Rebalance { handoffs_only: true, ..Rebalance::default() };
        let one = ReplicationStats { rebalance: Some(only), ..stats(1) };
        assert_eq!(pass_entries(&one, END).keys().collect::<Vec<_>>(), ["replication_stats"]);
        let mut entries = disk_entries([("sda", &one), ("sdb", &one)], END);
        let before = disk_entries([("sda", &stats(5))], PassEnd { minutes: 9.0, time: 77.0 });
        keep_times(&mut entries, &before);
        let (sda, sdb) = (&entries[PER_DISK]["sda"], &entries[PER_DISK]["sdb"]);
        assert_eq!((&sda["object_replication_last"], &sda["replication_time"]), (&json!(77.0), &json!(9.0)));
        assert_eq!((&sdb["object_replication_last"], &sda["replication_stats"]["attempted"]), (&json!(0.0), &json!(1)));
        let sum = aggregate_entries(&entries, &local(&["sda", "sdb"]));
        assert_eq!(sum.keys().collect::<Vec<_>>(), ["replication_stats"]);
    }

    #[test]
    fn a_disk_that_left_is_removed() {
        let one = stats(1);
        let entries = aggregate_entries(&disk_entries([("sda", &one), ("sdb", &one)], END), &local(&["sda"]));
        assert_eq!(entries[PER_DISK], json!({"sdb": {}}));
        assert_eq!(entries["replication_last"], json!(END.time));
    }

    #[test]
    fn entries_that_make_no_sense_count_as_missing() {
        for entry in [json!(7), json!({}), json!({"replication_stats": {"attempted": "x"}})] {
            let cache = Map::from_iter([(PER_DISK.to_owned(), json!({"sda": entry}))]);
            assert_eq!(aggregate_entries(&cache, &local(&["sda"])), Map::new());
        }
        let cache = Map::from_iter([(PER_DISK.to_owned(), json!([]))]);
        assert_eq!(aggregate_entries(&cache, &local(&[])), Map::new());
    }
}
