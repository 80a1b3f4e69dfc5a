//! Whole passes, by the reference and by ours, over the same devices in the same run: CPU of the whole process with
//! its rsyncs, and time on the clock. Run it with `make bench`; `PARTITIONS_POWER` (default 10) sets the size.
//!
//! The peers' object servers and rsync daemons are real and share the machine; their CPU is not counted, but the clock
//! feels it.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::cluster::{Cluster, Lease, Spec};
use support::guard::{must, with_etc};
use support::object::hex;
use support::replicator::Which;

/// Suffixes in each partition, each with one object.
const SUFFIXES: u32 = 4;

type Scenario = (&'static str, fn(&Bench));

const SCENARIOS: [Scenario; 5] =
    [("start", start_to_exit), ("in-sync", in_sync), ("cold", cold), ("push", push), ("hand-offs", hand_offs)];

fn main() {
    // cargo passes --bench; a filter may follow.
    let filter = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    let bench = Bench::new();
    println!("\n{:<36}{:>12}{:>12}{:>9}", "", "reference", "ours", "ratio");
    for (name, scenario) in SCENARIOS {
        if filter.as_ref().is_none_or(|filter| name.contains(filter.as_str())) {
            scenario(&bench);
        }
    }
}

/// One empty device: nothing to do.
fn start_to_exit(bench: &Bench) {
    bench.compare("start to exit, one empty device", 1, 5, || bench.empty_all());
}

/// Every partition is the same everywhere, and its hashes are known.
fn in_sync(bench: &Bench) {
    bench.fill_home();
    bench.settle();
    bench.compare("in sync", bench.home.len(), 2, || {});
}

/// The same, but the local hashes are lost.
fn cold(bench: &Bench) {
    bench.fill_home();
    bench.settle();
    bench.compare("hashes lost", bench.home.len(), 1, || remove_hashes(&bench.local().join("objects")));
}

/// The peers have nothing.
fn push(bench: &Bench) {
    bench.fill_home();
    bench.settle();
    bench.compare("all is to be pushed", bench.home.len(), 1, || bench.empty_peers());
}

/// Every partition is a hand-off.
fn hand_offs(bench: &Bench) {
    bench.compare("all are hand-offs", bench.away.len(), 1, || {
        bench.empty_all();
        fill(&bench.local(), &bench.away);
    });
}

/// What a run cost.
#[derive(Clone, Copy)]
struct Cost {
    cpu: Duration,
    wall: Duration,
}

struct Bench {
    cluster: Lease,
    /// The partitions that belong on the first node, and those that do not.
    home: Vec<u32>,
    away: Vec<u32>,
    /// What it costs to start any program where the replicators are started.
    overhead: Duration,
}

impl Bench {
    fn new() -> Self {
        let power = std::env::var("PARTITIONS_POWER").map_or(10, |power| power.parse().expect("a number of bits"));
        let cluster = Spec::nodes(4).part_power(power).lease();
        let home = cluster.partitions_at(0, 0);
        let away = (0..cluster.partition_count(0)).filter(|part| !home.contains(part)).collect();
        let overhead = overhead(&cluster);
        Self { cluster, home, away, overhead }
    }

    fn local(&self) -> std::path::PathBuf {
        self.cluster.disks()[0].path.clone()
    }

    fn empty_all(&self) {
        self.cluster.disks().iter().for_each(|disk| empty(&disk.path.join("objects")));
    }

    fn empty_peers(&self) {
        self.cluster.disks()[1..].iter().for_each(|disk| empty(&disk.path.join("objects")));
    }

    /// Puts the first node's partitions on all their devices.
    fn fill_home(&self) {
        self.empty_all();
        for (n, disk) in self.cluster.disks().iter().enumerate() {
            let here: Vec<_> = self
                .home
                .iter()
                .copied()
                .filter(|&part| n == 0 || self.cluster.primaries(0, part).contains(disk))
                .collect();
            fill(&disk.path, &here);
        }
    }

    /// Has every device learn its hashes.
    fn settle(&self) {
        let outcome = self.cluster.pass(Which::Ours, 0).limit(Duration::from_secs(600)).run();
        assert_eq!(outcome.counter("failure"), 0, "{}", outcome.all());
    }

    /// Runs both replicators so many times, after `prepare`, and prints what a run and a partition cost.
    fn compare(&self, title: &str, partitions: usize, runs: u32, prepare: impl Fn()) {
        let [reference, ours] = [Which::Reference, Which::Ours].map(|which| self.cost(which, runs, &prepare));
        row(&format!("{title}: CPU, ms"), reference.cpu, ours.cpu, 1);
        if partitions > 1 {
            row("  per partition: CPU, ms", reference.cpu, ours.cpu, partitions);
            row("  per partition: clock, ms", reference.wall, ours.wall, partitions);
        }
    }

    fn cost(&self, which: Which, runs: u32, prepare: impl Fn()) -> Cost {
        let mut total = Cost { cpu: Duration::ZERO, wall: Duration::ZERO };
        for _ in 0..runs {
            prepare();
            let before = children_cpu();
            let outcome = self.cluster.pass(which, 0).limit(Duration::from_secs(600)).run();
            total.cpu += (children_cpu() - before).saturating_sub(self.overhead);
            total.wall += outcome.elapsed;
            assert!(outcome.status.success() && outcome.counter("failure") == 0, "{}", outcome.all());
        }
        Cost { cpu: total.cpu / runs, wall: total.wall / runs }
    }
}

fn row(title: &str, reference: Duration, ours: Duration, parts: usize) {
    let per_part = |duration: Duration| duration.as_secs_f64() * 1000.0 / parts as f64;
    let (reference, ours) = (per_part(reference), per_part(ours));
    println!("{title:<36}{reference:>12.3}{ours:>12.3}{:>8.1}x", reference / ours);
}

/// What it costs to start `true` where the replicators are started.
fn overhead(cluster: &Cluster) -> Duration {
    const RUNS: u32 = 20;
    let before = children_cpu();
    for _ in 0..RUNS {
        must(&mut with_etc(&cluster.etc(), Path::new("true")));
    }
    (children_cpu() - before) / RUNS
}

/// The CPU that ended children of this process have used, with their children.
fn children_cpu() -> Duration {
    const TICK: Duration = Duration::from_millis(10); // USER_HZ is 100 wherever Linux runs today
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    // The name, in brackets, may hold blanks.
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks = |field: usize| fields[field - 3].parse::<u32>().expect("a number");
    TICK * (ticks(16) + ticks(17))
}

/// Writes partitions with objects as object servers leave them.
fn fill(disk: &Path, partitions: &[u32]) {
    for part in partitions {
        for n in 0..SUFFIXES {
            let suffix = format!("{:03x}", (part * SUFFIXES + n) % 4096);
            let hash =
                format!("{}{suffix}", &hex(&[part.to_be_bytes(), n.to_be_bytes(), [0; 4], [0; 4]].concat())[..29]);
            let folder = disk.join("objects").join(part.to_string()).join(&suffix).join(hash);
            fs::create_dir_all(&folder).expect("the device is writable");
            fs::write(folder.join("1700000000.00000.data"), b"").expect("the device is writable");
        }
    }
}

fn empty(folder: &Path) {
    must(Command::new("find").arg(folder).args(["-mindepth", "1", "-delete"]));
}

fn remove_hashes(datadir: &Path) {
    must(Command::new("find").arg(datadir).args(["-maxdepth", "2", "-name", "hashes.*", "-delete"]));
}
