//! `--rebalance --cluster`: may the next ring be pushed?
//!
//! Every node of the rings is asked by recon (`ask`), judged for itself (`judge`), and all together (`verdict`). It is
//! said so only if it is known of every node that it has the rings that are here, has ended a pass over everything with
//! them, and has no hand-offs left.

mod ask;
mod judge;
mod table;
mod verdict;

use serde_json::json as value;

use self::judge::{Judged, Known};
use self::verdict::Summary;
use super::json;
use super::rings::{PolicyRing, Rings};
use crate::config::settings::Settings;

/// Asks all nodes: what to print, and with which code to exit.
pub(super) fn show(settings: &Settings, rings: &Rings, now: f64, as_json: bool) -> (String, u8) {
    let servers = ask::servers(&rings.policies);
    let answers = ask::ask_all(&servers);
    let known = Known { rings: &rings.policies, mount_check: settings.mount_check, now };
    let judge = |(server, answers)| Judged::new(server, answers, &known);
    let nodes: Vec<_> = servers.iter().zip(&answers).map(judge).collect();
    let raised: Vec<_> = rings.policies.iter().filter_map(raised).collect();
    let summary = Summary::new(&nodes, &rings.unreadable, &raised);
    let text = match as_json {
        true => json::render(&value!({ "summary": summary, "nodes": nodes })),
        false => table::render(&nodes, &summary),
    };
    (text, summary.exit_code)
}

/// That the policy is not replicated for now, if so.
fn raised(ring: &PolicyRing) -> Option<String> {
    let name = &ring.view.policy.name;
    ring.view.ring.next_part_power.map(|_| format!("the part power of policy '{name}' is being raised"))
}
