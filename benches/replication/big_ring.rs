//! Loading the ring of a large cluster.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use swift_object_replicator::ring::Ring;

use crate::Plan;
use crate::launch::Cost;
use crate::peers::reference;
use crate::report::{Bound, Case, Figure};

/// The word on the command line that asks for loading the ring in a process of its own.
pub const ROLE: &str = "load-ring";

/// Three replicas of 2^20 partitions, two bytes each.
const TABLE: f64 = (3 << 20) as f64 * 2.0;

/// What loading a ring took.
#[derive(Serialize, Deserialize)]
struct Load {
    seconds: f64,
    /// How much more memory than before the process had at most.
    bytes: u64,
}

impl Load {
    fn cost(&self) -> Cost {
        Cost { wall: self.seconds, cpu: self.seconds, memory: self.bytes as f64 }
    }
}

/// Both versions of the file.
pub fn measure(plan: Plan) -> Vec<Case> {
    let folder = tempfile::tempdir().expect("a folder for the ring");
    ["1", "2"].iter().map(|version| measure_version(plan, folder.path(), version)).collect()
}

fn measure_version(plan: Plan, folder: &Path, version: &str) -> Case {
    let path = folder.join(format!("v{version}.ring.gz"));
    reference(&["ring".as_ref(), path.as_os_str(), version.as_ref()]);
    let mut costs = (Vec::new(), Vec::new());
    for _ in 0..plan.usual().ours {
        let load: Load = parse(&reference(&["load".as_ref(), path.as_os_str()]));
        costs.0.push(load.cost());
        costs.1.push(in_process(&path).cost());
    }
    let case = Case::new(&format!("big ring, version {version}"), costs);
    case.bound(Figure::Wall, Bound::Share(3.0)).bound(Figure::Memory, Bound::Bytes(1.3 * TABLE))
}

fn in_process(path: &Path) -> Load {
    let this = std::env::current_exe().expect("the running program's path");
    let output = Command::new(this).arg(ROLE).arg(path).output().expect("this program starts once more");
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(text: &str) -> Load {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

/// The other role: loads the ring that the arguments name.
pub fn load(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let path = arguments.next().expect("a ring");
    let (before, started) = (status("VmRSS"), Instant::now());
    let ring = Ring::load(path.as_ref()).expect("a ring");
    let seconds = started.elapsed().as_secs_f64();
    let load = Load { seconds, bytes: status("VmHWM").saturating_sub(before) };
    println!("{}", serde_json::to_string(&load).expect("plain numbers"));
    drop(ring);
    ExitCode::SUCCESS
}

/// A figure of this process from the kernel, in bytes.
fn status(figure: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("there is a /proc");
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).expect("the kernel tells");
    let kilobytes: u64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().expect("a number");
    kilobytes * 1024
}
