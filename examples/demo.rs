//! A cluster of three nodes on this machine, a few hundred objects that only one node knows of, and a pass of the
//! replicator that was built: shows what happens, and has Swift's own tools check it. Run it with `make demo`.
//!
//! Ends with 0 only if every copy is where it belongs, and nothing is where it does not.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::process::ExitCode;
use std::time::Duration;

use support::cluster::{Disk, Lease, Spec};
use support::object::{Object, time};
use support::replicator::{Outcome, Pass, Running, Which};
use support::supervisor::supervise;

/// How many objects the demo stores.
const OBJECTS: u32 = 300;
/// How many more it puts in the wrong place.
const STRAYS: u32 = 5;
const BODY: &[u8] = b"What is stored once is lost once.\n";

type Checked<T = ()> = Result<T, String>;

fn main() -> ExitCode {
    supervise(demonstrate)
}

fn demonstrate() -> ExitCode {
    match show() {
        Ok(()) => {
            println!("\n\u{2714} All of it was true.");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            println!("\n\u{2718} {reason}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Checked {
    let cluster = start_cluster();
    let objects = store_on_one_node(&cluster);
    replicate_everything(&cluster)?;
    check_with_swift(&cluster, &objects)?;
    move_a_hand_off_home(&cluster)
}

fn heading(text: &str) {
    println!("\n\u{2500}\u{2500} {text} {}", "\u{2500}".repeat(75_usize.saturating_sub(text.chars().count())));
}

fn start_cluster() -> Lease {
    heading("Three nodes on loopback, each a zone with two devices; three replicas");
    let cluster = Spec::nodes(3).devices(2).part_power(6).lease();
    for (n, node) in cluster.nodes.iter().enumerate() {
        let devices: Vec<_> = cluster.disks_of(n).map(|disk| disk.name.as_str()).collect();
        println!("   node {}   {:<16} swift-object-server, rsyncd   {}", n + 1, node.address, devices.join(" "));
    }
    cluster
}

/// A pass on node 1, which pushes as `SYNC` says: with rsync or with SSYNC.
fn pass(cluster: &Lease) -> Pass<'_> {
    let method = std::env::var("SYNC").unwrap_or_else(|_| "rsync".to_owned());
    cluster.pass(Which::Ours, 0).set("sync_method", method)
}

fn store_on_one_node(cluster: &Lease) -> Vec<Object> {
    heading(&format!("{OBJECTS} objects, stored through node 1's object server alone"));
    let mut bar = Bar::new("stored", OBJECTS as usize);
    let objects: Vec<_> = (0..OBJECTS)
        .map(|n| {
            let object = Object::new(&format!("AUTH_demo/photos/{n:03}.jpg"), 0, cluster.part_power(0));
            cluster.put(&cluster.home(0, object.partition, 0), &object, &time(n), BODY);
            bar.set(n as usize + 1);
            object
        })
        .collect();
    bar.end();
    show_files(cluster);
    objects
}

fn show_files(cluster: &Lease) {
    let counts: Vec<_> = (0..3).map(|n| format!("node {}: {}", n + 1, data_files(cluster, n))).collect();
    println!("   files on   {}", counts.join("   "));
}

fn data_files(cluster: &Lease, node: usize) -> usize {
    cluster.disks_of(node).map(|disk| count_data(&disk.path.join("objects"))).sum()
}

/// How many `.data` files are below a folder; what vanishes meanwhile does not count.
fn count_data(folder: &std::path::Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count_data(&entry.path()),
            _ => usize::from(entry.path().extension().is_some_and(|extension| extension == "data")),
        })
        .sum()
}

fn replicate_everything(cluster: &Lease) -> Checked {
    heading("One pass of swift-object-replicator on node 1");
    println!("   $ swift-object-replicator /etc/swift/object-server.conf once -v");
    let running = pass(cluster).start();
    let outcome = watch(cluster, running)?;
    outcome.console.iter().filter(|line| is_figure(line)).for_each(|line| println!("   {line}"));
    show_files(cluster);
    check(outcome.counter("failure") == 0, || format!("something failed:\n{}", outcome.all()))?;
    println!("   what node 1's recon middleware says of it:");
    let stats = &cluster.recon(0, "replication/object")["replication_stats"];
    println!("   {}", serde_json::to_string(stats).map_err(|e| e.to_string())?);
    check(stats["attempted"] == outcome.counter("attempted"), || format!("recon tells other figures: {stats}"))
}

/// Shows how the copies arrive, until the replicator ends.
fn watch(cluster: &Lease, mut running: Running) -> Checked<Outcome> {
    let mut bar = Bar::new("copies on nodes 2 and 3", 2 * OBJECTS as usize);
    while !running.ended() {
        bar.set(data_files(cluster, 1) + data_files(cluster, 2));
        std::thread::sleep(Duration::from_millis(100));
    }
    bar.set(data_files(cluster, 1) + data_files(cluster, 2));
    bar.end();
    let outcome = running.finish();
    check(outcome.status.success(), || format!("the replicator failed:\n{}", outcome.all()))?;
    Ok(outcome)
}

/// Whether a line of the log tells figures of the pass.
fn is_figure(line: &str) -> bool {
    ["partitions replicated", "successes", "suffixes checked", "Partition times", "complete"]
        .iter()
        .any(|part| line.contains(part))
}

fn check_with_swift(cluster: &Lease, objects: &[Object]) -> Checked {
    heading("What Swift's own tools say");
    audit(cluster)?;
    inspect(cluster, objects)?;
    let mut bar = Bar::new("GET from each primary", 3 * objects.len());
    for (n, object) in objects.iter().enumerate() {
        for (copy, disk) in cluster.primaries(0, object.partition).iter().enumerate() {
            let answer = cluster.get(disk, object);
            let fine = answer.status == 200 && answer.body == BODY;
            check(fine, || format!("{} is not on {}: {answer:?}", object.name, disk.node_string()))?;
            bar.set(3 * n + copy + 1);
        }
    }
    bar.end();
    Ok(())
}

/// Has every node's auditor read everything that the node holds.
fn audit(cluster: &Lease) -> Checked {
    const VERDICT: &str = "Total quarantined: 0, Total errors: 0";
    for (n, node) in cluster.nodes.iter().enumerate() {
        let files = data_files(cluster, n);
        check(files == OBJECTS as usize, || format!("node {} has {files} files, not {OBJECTS}", n + 1))?;
        let said = node.run_tool("swift-object-auditor", &["once", "verbose"]);
        let sound = said.lines().any(|line| line.contains("(ALL) \"once\" mode completed") && line.contains(VERDICT));
        check(sound, || format!("the auditor of node {} complains:\n{said}", n + 1))?;
        println!("   swift-object-auditor on node {}, {files} files: {VERDICT}", n + 1);
    }
    Ok(())
}

/// Has swift-object-info look at every file.
fn inspect(cluster: &Lease, objects: &[Object]) -> Checked {
    let mut bar = Bar::new("swift-object-info: ETag and length valid", 3 * objects.len());
    for (n, object) in objects.iter().enumerate() {
        for (copy, disk) in cluster.primaries(0, object.partition).iter().enumerate() {
            let complaints = cluster.complaints(disk, object);
            check(complaints.is_none(), || format!("{} on {}: {complaints:?}", object.name, disk.node_string()))?;
            bar.set(3 * n + copy + 1);
        }
    }
    bar.end();
    Ok(())
}

fn move_a_hand_off_home(cluster: &Lease) -> Checked {
    heading("A partition in the wrong place goes home");
    let (part, disk) = cluster.misplaced_at(0, 0);
    let strays: Vec<_> = (0..STRAYS).map(|_| cluster.object_in(0, part)).collect();
    for object in &strays {
        cluster.put(&disk, object, &time(OBJECTS), BODY);
    }
    println!("   partition {part} does not belong on {}: a hand-off", disk.node_string());
    show_strays(cluster, "before", &disk, part, &strays);
    let outcome = pass(cluster).run();
    check(outcome.status.success(), || format!("the replicator failed:\n{}", outcome.all()))?;
    let told = outcome.console.iter().find(|line| line.contains("Removing partition"));
    println!("   {}", told.ok_or_else(|| format!("nothing was removed:\n{}", outcome.all()))?);
    show_strays(cluster, "after", &disk, part, &strays);
    check(!disk.partition(0, part).exists(), || format!("partition {part} is still on {}", disk.node_string()))?;
    for object in &strays {
        for primary in cluster.primaries(0, part) {
            let complaints = cluster.complaints(&primary, object);
            check(complaints.is_none(), || format!("{} on {}: {complaints:?}", object.name, primary.node_string()))?;
        }
    }
    Ok(())
}

/// How many of the misplaced objects are where.
fn show_strays(cluster: &Lease, when: &str, disk: &Disk, part: u32, strays: &[Object]) {
    let held = |disk: &Disk| strays.iter().filter(|object| !object.files(disk).is_empty()).count();
    let homes: Vec<_> =
        cluster.primaries(0, part).iter().map(|home| format!("{}: {}", home.node_string(), held(home))).collect();
    println!("   {when:<7} hand-off {}: {}   at home {}", disk.node_string(), held(disk), homes.join("  "));
}

fn check(fine: bool, reason: impl FnOnce() -> String) -> Checked {
    if fine { Ok(()) } else { Err(reason()) }
}

/// A line that fills up; where nobody watches, only its last state is printed.
struct Bar {
    label: &'static str,
    total: usize,
    done: usize,
}

impl Bar {
    const WIDTH: usize = 30;

    fn new(label: &'static str, total: usize) -> Self {
        Self { label, total, done: 0 }
    }

    fn set(&mut self, done: usize) {
        self.done = done;
        if stdout().is_terminal() {
            print!("\r{self}");
            let _ = stdout().flush();
        }
    }

    fn end(&self) {
        println!("{}{self}", if stdout().is_terminal() { "\r" } else { "" });
    }
}

impl std::fmt::Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let filled = (Self::WIDTH * self.done / self.total).min(Self::WIDTH);
        let (full, rest) = ("\u{2588}".repeat(filled), "\u{2591}".repeat(Self::WIDTH - filled));
        write!(f, "   {full}{rest} {}/{} {}", self.done, self.total, self.label)
    }
}
