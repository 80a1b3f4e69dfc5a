//! From the last fault to the verdict: what daemons leave behind, and passes until there is nothing left to do.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use super::cluster::{Cluster, NODES};
use super::damage;
use super::processes;
use super::replicator::Replicators;
use super::verdict;
use crate::support::guard::until;
use crate::support::oracle::project;

/// More passes than this are not made to come to rest.
const ROUNDS: usize = 25;
/// How long the daemons may take for two passes.
const TWO_PASSES: Duration = Duration::from_secs(240);

/// What a daemon has open between two passes.
pub struct Idle {
    /// The most that any daemon needs.
    descriptors: usize,
}

impl Idle {
    /// Looks at daemons that have made their first pass.
    pub fn of(cluster: &Cluster) -> Self {
        let first_pass = until(TWO_PASSES, || cluster.replicators.iter().all(|node| node.passes() > 0));
        assert!(first_pass, "the first passes take too long");
        let descriptors = (0..NODES).map(|node| {
            let mut fewest = usize::MAX;
            until(Duration::from_secs(3), || {
                fewest = fewest.min(open_files(cluster, node).len());
                false
            });
            fewest
        });
        Self { descriptors: descriptors.max().expect("there are nodes") }
    }

    /// Lets every daemon make passes in peace, and looks what it has left open then, and whom it has not waited for.
    pub fn look_for_leaks(&self, cluster: &Cluster) {
        let before: Vec<u64> = cluster.replicators.iter().map(|node| node.passes()).collect();
        let two_more = || cluster.replicators.iter().zip(&before).all(|(node, before)| node.passes() > before + 1);
        if !until(TWO_PASSES, two_more) {
            cluster.world.found("the daemons make no passes".to_owned());
        }
        for node in 0..NODES {
            let is_idle = || open_files(cluster, node).len() <= self.descriptors;
            if !until(Duration::from_secs(120), is_idle) {
                let open = open_files(cluster, node);
                cluster.world.found(format!("{} descriptors are enough, node {node} has {open:?}", self.descriptors));
            }
            let zombies = || {
                let children = processes::children(cluster.replicators[node].daemon().unwrap_or_default());
                children.filter(|child| child.state == 'Z').collect::<Vec<_>>()
            };
            if !until(Duration::from_secs(10), || zombies().is_empty()) {
                cluster.world.found(format!("node {node} has zombies: {:?}", zombies()));
            }
        }
    }
}

fn open_files(cluster: &Cluster, node: usize) -> Vec<String> {
    cluster.replicators[node].daemon().map(processes::open_files).unwrap_or_default()
}

/// Ends the daemons, as the system does when it goes down.
pub fn stop_daemons(cluster: &Cluster) {
    let daemons: Vec<_> = cluster.replicators.iter().map(|node| node.daemon()).collect();
    cluster.replicators.iter().for_each(Replicators::ask_to_end);
    for (node, daemon) in daemons.into_iter().enumerate() {
        match daemon {
            Some(id) => cluster.replicators[node].await_end(id),
            None => cluster.world.found(format!("the daemon of node {node} does not run")),
        }
    }
    let left = verdict::sweep(&cluster.world);
    (0..left).for_each(|_| cluster.world.count("temporary files of killed processes"));
}

/// Makes passes on all nodes until none has anything to do.
pub fn come_to_rest(cluster: &Cluster) {
    damage::release_all(&cluster.world);
    for _ in 0..ROUNDS {
        cluster.world.count("last rounds");
        if round(cluster) == Busy::default() {
            return;
        }
    }
    let last = round(cluster);
    cluster.world.found(format!("the replicators do not come to rest: {last:?}"));
}

/// What a round of passes had to do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Busy {
    pushes: i64,
    removals: i64,
    failures: i64,
    errors: Vec<String>,
}

fn round(cluster: &Cluster) -> Busy {
    let runs: Vec<_> = (0..NODES).map(|n| cluster.replicators[n].once(&cluster.nodes[n], &cluster.rsyncs[n])).collect();
    let mut busy = Busy::default();
    for run in runs {
        match run.finish() {
            Ok(counters) => {
                busy.pushes += counters.get("rsync");
                busy.removals += counters.get("remove");
                busy.failures += counters.get("failure");
            }
            Err(error) => busy.errors.push(error),
        }
    }
    busy
}

/// A run in which next to nothing was done or removed shows nothing.
pub fn check_that_enough_happened(cluster: &Cluster) {
    let counts = cluster.world.counts();
    let acknowledged: u64 = counts
        .iter()
        .filter(|(what, _)| what.ends_with(" acknowledged") && !what.ends_with("not acknowledged"))
        .map(|(_, count)| count)
        .sum();
    let has = |beginning: &str| counts.keys().any(|what| what.starts_with(beginning));
    if has("fault: new rings, wrong files") && !has("wrong file: ") {
        cluster.world.found("there was no place for a wrong file".to_owned());
    }
    let removals = cluster.watch.checked();
    if acknowledged < 50 || removals < 10 {
        cluster.world.found(format!("only {acknowledged} operations were acknowledged, {removals} removals checked"));
    }
}

/// What the run was, in figures.
pub fn figures(cluster: &Cluster, took: Duration) -> String {
    let world = &cluster.world;
    let mut text = format!(
        "{} s, {} objects, {} removals checked, {} findings\n",
        took.as_secs(),
        world.things.len(),
        cluster.watch.checked(),
        world.findings().len()
    );
    for (what, count) in world.counts() {
        writeln!(text, "  {count:6}  {what}").expect("a String takes it");
    }
    text
}

/// The findings, and where the logs are.
pub fn told(cluster: &Cluster, findings: &[String]) -> String {
    let folder = project().join("target/chaos");
    fs::create_dir_all(&folder).expect("target/ is writable");
    for (node, replicators) in cluster.replicators.iter().enumerate() {
        let kept = folder.join(format!("node-{node}.log"));
        fs::copy(replicators.log(), &kept).expect("target/ is writable");
    }
    fs::write(folder.join("findings"), findings.join("\n")).expect("target/ is writable");
    const SHOWN: usize = 30;
    let shown = findings[..findings.len().min(SHOWN)].join("\n");
    format!(
        "{} findings (all of them, and the replicators' logs, are in {}):\n{shown}",
        findings.len(),
        folder.display()
    )
}
