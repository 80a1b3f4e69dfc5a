//! What other nodes are told of a pass for the sake of a rebalance. It travels inside recon's `replication_stats`, for
//! Swift's recon middleware passes on no other keys than it knows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::holding::Holding;
use super::status::RunningPass;

/// The last pass of a node, or of some of its devices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rebalance {
    /// Of the program.
    pub version: String,
    /// As Unix time, by the node's clock.
    pub began: f64,
    /// As Unix time. Where `object_replication_last` is later, another program has made a pass since, and what stands here
    /// is out of date.
    pub ended: f64,
    /// Whether every partition of every device had its turn, primaries too.
    pub complete: bool,
    /// Whether only hand-offs had their turn.
    pub handoffs_only: bool,
    /// By the names of the devices.
    pub devices: BTreeMap<String, Vec<Holding>>,
}

impl Rebalance {
    /// Adds the pass of other devices. A node has made a pass once all its groups have: so the earliest times count.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.version.clone_from(&other.version);
        self.began = self.began.min(other.began);
        self.ended = self.ended.min(other.ended);
        self.complete &= other.complete;
        self.handoffs_only |= other.handoffs_only;
        self.devices.extend(other.devices.iter().map(|(device, holdings)| (device.clone(), holdings.clone())));
    }
}

/// Where passes that are under way are told of, inside recon's `replication_stats`.
const STATS: &str = "replication_stats";
const NOW: &str = "rebalance_now";

/// The entry of recon that tells of the passes that are under way, at this time; without any, the one that removes it.
pub(crate) fn entries_of_running(passes: &[RunningPass], now: f64) -> Map<String, Value> {
    let told = passes.iter().map(|pass| Rebalance {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        began: pass.began,
        ended: now,
        handoffs_only: pass.handoffs_only,
        devices: pass.devices.iter().map(|device| (device.device.clone(), device.holdings.clone())).collect(),
        ..Rebalance::default()
    });
    let told = told.reduce(|mut sum, pass| {
        sum.merge(&pass);
        sum
    });
    // An empty object takes the key out.
    let told = told.map_or_else(|| json!({}), |told| json!(told));
    Map::from_iter([(STATS.to_owned(), json!({ NOW: told }))])
}

/// The sum of two, either of which may be missing.
pub(crate) fn merged(one: Option<&Rebalance>, other: Option<&Rebalance>) -> Option<Rebalance> {
    let mut sum = one.or(other)?.clone();
    if let (Some(_), Some(other)) = (one, other) {
        sum.merge(other);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::super::status::Progress;
    use super::*;

    #[test]
    fn a_node_is_as_far_as_the_group_that_is_the_furthest_behind() {
        let of = |device: &str, began, ended, complete| Rebalance {
            began,
            ended,
            complete,
            devices: BTreeMap::from([(device.to_owned(), vec![Holding { handoffs: 1, ..Holding::default() }])]),
            ..Rebalance::default()
        };
        let (one, other) = (of("sda", 10.0, 90.0, true), of("sdb", 50.0, 60.0, false));
        let sum = merged(Some(&one), Some(&other)).unwrap();
        assert_eq!((sum.began, sum.ended, sum.complete), (10.0, 60.0, false));
        assert_eq!(sum.devices.keys().collect::<Vec<_>>(), ["sda", "sdb"]);
        assert_eq!(merged(None, Some(&one)).as_ref(), Some(&one));
        assert_eq!(merged(Some(&one), None).as_ref(), Some(&one));
        assert_eq!(merged(None, None), None);
    }

    #[test]
    fn passes_that_are_under_way_are_told_of_and_taken_out_after_them() {
        let device = |name: &str| Progress { device: name.to_owned(), ..Progress::default() };
        let pass = |name: &str, began| RunningPass { began, devices: vec![device(name)], ..RunningPass::default() };
        let told = entries_of_running(&[pass("sda", 3.0), pass("sdb", 2.0)], 9.0);
        let now = &told["replication_stats"]["rebalance_now"];
        assert_eq!((&now["began"], &now["ended"], &now["complete"]), (&json!(2.0), &json!(9.0), &json!(false)));
        assert_eq!(now["devices"], json!({"sda": [], "sdb": []}));
        assert_eq!(json!(entries_of_running(&[], 9.0)), json!({"replication_stats": {"rebalance_now": {}}}));
    }
}
