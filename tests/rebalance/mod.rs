//! `--rebalance`: what it says of nodes and clusters that are real.

mod cluster;
mod local;
mod only;
mod orders;
mod whole;

use std::process::Command;

use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::replicator::Which;

/// What the program printed, and its exit code.
struct Said {
    text: String,
    code: Option<i32>,
}

/// Asks on this node, with these words behind `--rebalance`.
fn ask(cluster: &Cluster, node: usize, words: &[&str]) -> Said {
    let node = &cluster.nodes[node];
    let conf = node.runs().join("rebalance.conf");
    std::fs::write(&conf, node.conf(&[])).expect("the cluster's folder is writable");
    let program = Which::Ours.program();
    let mut command: Command = crate::support::guard::with_etc(node.etc(), &program);
    let output = command.arg(&conf).arg("--rebalance").args(words).output().expect("unshare is installed");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    Said { text, code: output.status.code() }
}

impl Said {
    #[track_caller]
    fn says(&self, expected: &str) -> &Self {
        assert!(self.text.contains(expected), "{expected}\n--- in\n{}", self.text);
        self
    }

    #[track_caller]
    fn ended(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}", self.text);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}
