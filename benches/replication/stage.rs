//! What a row's runs have in common: the cluster, the configuration, and what must come out.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::launch::{self, Cost};
use crate::support::cluster::Cluster;
use crate::support::replicator::Which;
use crate::support::syslog::Syslog;

/// Passes of the first node's replicator.
pub struct Stage<'a> {
    cluster: &'a Cluster,
    options: Vec<(String, String)>,
    expected: Vec<(&'static str, u64)>,
}

/// How often each runs.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    pub reference: usize,
    pub ours: usize,
}

impl<'a> Stage<'a> {
    /// Passes with the default configuration, and what `OPTIONS` adds to it (`OPTIONS="rsync_batch=1 rsync_nodelay=no"`).
    pub fn new(cluster: &'a Cluster) -> Self {
        let added = std::env::var("OPTIONS").unwrap_or_default();
        let options = added.split_whitespace().map(|option| {
            let (name, value) = option.split_once('=').expect("OPTIONS are NAME=VALUE");
            (name.to_owned(), value.to_owned())
        });
        Self { cluster, options: options.collect(), expected: vec![("failure", 0)] }
    }

    /// With this option in the configuration; the reference passes over those that it does not know.
    pub fn set(mut self, option: &str, value: impl ToString) -> Self {
        self.options.push((option.to_owned(), value.to_string()));
        self
    }

    /// After which a counter of the recon cache has this value.
    pub fn expect(mut self, counter: &'static str, value: impl Into<u64>) -> Self {
        self.expected.push((counter, value.into()));
        self
    }

    /// Runs of each in turn; `prepare` comes before each, `check` after it.
    pub fn compare(&self, runs: Runs, prepare: impl Fn(), check: impl Fn()) -> (Vec<Cost>, Vec<Cost>) {
        let mut costs = (Vec::new(), Vec::new());
        for run in 0..runs.reference.max(runs.ours) {
            let turns = [(Which::Reference, runs.reference, &mut costs.0), (Which::Ours, runs.ours, &mut costs.1)];
            for (which, _, costs) in turns.into_iter().filter(|(_, runs, _)| run < *runs) {
                prepare();
                costs.push(self.run(which));
                check();
            }
        }
        costs
    }

    /// One run.
    pub fn run(&self, which: Which) -> Cost {
        let node = &self.cluster.nodes[0];
        let recon = node.recon().join("object.recon");
        let _ = fs::remove_file(&recon);
        let syslog = Syslog::start();
        let mut options = self.options.clone();
        options.push(("log_address".to_owned(), syslog.path().display().to_string()));
        let conf = node.runs().join("object-server.conf");
        fs::write(&conf, node.conf(&options)).expect("the node's folder is writable");
        let words = [conf.into_os_string(), "once".into()];
        let cost = launch::measure(node.etc(), &node.runs().join("output"), &which.program(), &words);
        let log = syslog.stop();
        self.check(&recon).unwrap_or_else(|complaint| {
            let log: Vec<_> = log.iter().rev().take(20).rev().map(|line| line.text.as_str()).collect();
            panic!("{which:?}: {complaint}; the end of its log:\n{}", log.join("\n"));
        });
        eprintln!("  {which:?}: {:.3} s, CPU {:.4} s, {:.1} MB", cost.wall, cost.cpu, cost.memory / 1e6);
        cost
    }

    fn check(&self, recon: &Path) -> Result<(), String> {
        let text = fs::read_to_string(recon).map_err(|e| format!("no recon cache: {e}"))?;
        let recon: Value = serde_json::from_str(&text).map_err(|e| format!("the recon cache: {e}"))?;
        let stats = &recon["replication_stats"];
        match self.expected.iter().find(|(name, value)| stats[name].as_u64() != Some(*value)) {
            Some((name, value)) => Err(format!("{name} is not {value}: {stats}")),
            None => Ok(()),
        }
    }
}

/// The folder of the first node's first device that holds the partitions.
pub fn datadir(cluster: &Cluster) -> PathBuf {
    cluster.disks()[0].path.join("objects")
}
