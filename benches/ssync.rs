//! The SSYNC sender, the reference's and ours, pushing the same to the same real object server: CPU of the sending
//! process and of the receiving one, and time on the clock. (The receiver writes and hashes what it gets, which bounds the
//! clock: nobody can send faster than that.) Run it with `cargo bench --bench ssync`; `OBJECTS` (default 2000) says how many small
//! ones, `MEGABYTES` (default 1024) how large the large one is.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use md5::{Digest as _, Md5};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use swift_object_replicator::config::settings::SsyncSettings;
use swift_object_replicator::device::layout::PartitionDir;
use swift_object_replicator::format::object::Salts;
use swift_object_replicator::names::{Partition, PolicyIndex, Suffix};
use swift_object_replicator::peer::ssync::{Sender, SsyncPush};
use swift_object_replicator::ring::Device;

use support::cluster::{Disk, HASH_PREFIX, HASH_SUFFIX, Lease, Spec};
use support::daemon::processes_with_word;
use support::guard::must;
use support::node::OBJECT_PORT;
use support::object::{Object, hex, time};
use support::oracle::Oracle;

const PARTITION: u32 = 1;
/// What small objects hold.
const SMALL: usize = 1024;

fn main() {
    if let Ok(push) = std::env::var("SSYNC_PUSH") {
        return push_and_tell(&serde_json::from_str(&push).expect("JSON"));
    }
    // cargo passes --bench; a filter may follow.
    let filter = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    let bench = Bench::new();
    println!("\n{:<40}{:>12}{:>12}{:>9}", "", "reference", "ours", "ratio");
    for (name, scenario) in [("small", small as fn(&Bench)), ("large", large)] {
        if filter.as_ref().is_none_or(|filter| name.contains(filter.as_str())) {
            scenario(&bench);
        }
    }
}

fn small(bench: &Bench) {
    let objects = from_env("OBJECTS", 2000);
    bench.fill_small(objects);
    bench.compare("small objects, all wanted, each: CPU, us", 3, objects as f64 / 1e6, Bench::empty_receiver);
    bench.compare("small objects, none wanted, each: CPU, us", 3, objects as f64 / 1e6, |_| {});
}

fn large(bench: &Bench) {
    bench.fill_large(from_env("MEGABYTES", 1024));
    bench.compare("a large object: CPU, s", 3, 1.0, Bench::empty_receiver);
    println!("{:<40}{:>24.2}", "reading and hashing it: clock, s", bench.read_and_hash().as_secs_f64());
}

fn from_env(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// What a push cost.
struct Cost {
    cpu: f64,
    /// CPU of the receiving object server.
    receiver: f64,
    clock: f64,
    /// kB, of ours.
    peak: u64,
}

struct Bench {
    cluster: Lease,
    from: Disk,
    to: Disk,
}

impl Bench {
    fn new() -> Self {
        let cluster = Spec::nodes(2).replicas(2.0).part_power(1).lease();
        let (from, to) = (cluster.disks()[0].clone(), cluster.disks()[1].clone());
        Self { cluster, from, to }
    }

    fn question(&self) -> Value {
        let dir = dir(&self.from);
        let suffixes: Vec<_> = suffixes(&dir).iter().map(Suffix::to_string).collect();
        json!({
            "about": "sync", "devices": self.from.path.parent(), "device": self.from.name, "partition": PARTITION,
            "policy": 0, "ip": self.to.address, "port": OBJECT_PORT, "to": self.to.name, "suffixes": suffixes,
            "reclaim_age": 604_800, "only": null,
        })
    }

    fn empty_receiver(&self) {
        empty(&self.to.path.join("objects"));
    }

    /// Pushes so many times with each sender, in turn, and prints the least that it cost.
    fn compare(&self, title: &str, runs: usize, unit: f64, prepare: impl Fn(&Self)) {
        let mut costs: [Vec<Cost>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..runs {
            for (place, push) in [Self::reference, Self::ours].iter().enumerate() {
                prepare(self);
                let before = self.receiver_cpu();
                let mut cost = push(self);
                cost.receiver = self.receiver_cpu() - before;
                costs[place].push(cost);
            }
        }
        let least = |costs: &[Cost], of: fn(&Cost) -> f64| costs.iter().map(of).fold(f64::INFINITY, f64::min) / unit;
        let row = |title: &str, of: fn(&Cost) -> f64| {
            let (reference, ours) = (least(&costs[0], of), least(&costs[1], of));
            println!("{title:<40}{reference:>12.2}{ours:>12.2}{:>8.1}x", reference / ours);
        };
        row(title, |cost| cost.cpu);
        row("  the receiver's CPU", |cost| cost.receiver);
        row("  clock", |cost| cost.clock);
        let peak = costs[1].iter().map(|cost| cost.peak).max().unwrap_or_default();
        println!("{:<40}{:>24}", "  memory at most, kB", peak);
    }

    /// Seconds of CPU that the receiving object server has taken since it started.
    fn receiver_cpu(&self) -> f64 {
        let conf = self.cluster.nodes[self.to.node].server_conf();
        let servers = processes_with_word(&conf.to_string_lossy());
        servers.iter().map(|server| server.cpu().as_secs_f64()).sum()
    }

    fn reference(&self) -> Cost {
        let answer = Oracle::start("ssync.py").ask(&self.question());
        assert_eq!(answer["success"], json!(true), "{answer}");
        cost(&answer)
    }

    fn ours(&self) -> Cost {
        let mut command = Command::new(std::env::current_exe().expect("a program"));
        let output = command.env("SSYNC_PUSH", self.question().to_string()).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        cost(&serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    fn object(&self) -> Object {
        self.cluster.object_in(0, PARTITION)
    }

    fn fill_small(&self, count: usize) {
        empty(&self.from.path.join("objects"));
        (0..count).for_each(|_| write(&self.from, &self.object(), &[b'x'; SMALL], 1));
    }

    fn fill_large(&self, megabytes: usize) {
        empty(&self.from.path.join("objects"));
        let body: Vec<u8> = (0..1 << 20).map(|_| fastrand::u8(..)).collect();
        write(&self.from, &self.object(), &body, megabytes);
    }

    fn read_and_hash(&self) -> Duration {
        let start = Instant::now();
        must(Command::new("sh").args(["-c", "find \"$1\" -name '*.data' | xargs md5sum", "sh"]).arg(&self.from.path));
        start.elapsed()
    }
}

fn cost(answer: &Value) -> Cost {
    let number = |key: &str| answer[key].as_f64().expect("a number");
    Cost {
        cpu: number("cpu"),
        receiver: 0.0,
        clock: number("clock"),
        peak: answer["peak"].as_u64().unwrap_or_default(),
    }
}

fn dir(disk: &Disk) -> PartitionDir {
    let devices = disk.path.parent().expect("a folder of devices");
    PartitionDir::new(devices, &disk.name, PolicyIndex::new(0), Partition::new(PARTITION))
}

fn suffixes(dir: &PartitionDir) -> Vec<Suffix> {
    let entries = fs::read_dir(dir.path()).expect("a partition");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    entries.filter_map(|entry| Suffix::from_name(name(entry).as_encoded_bytes())).collect()
}

/// Pushes, and prints what it cost this process.
fn push_and_tell(push: &Value) {
    let text = |key: &str| push[key].as_str().expect("a text").to_owned();
    let dir =
        PartitionDir::new(Path::new(&text("devices")), &text("device"), PolicyIndex::new(0), Partition::new(PARTITION));
    let suffixes = suffixes(&dir);
    let (ip, meta) = (text("ip"), String::new());
    let (device, replication_ip) = (text("to"), ip.clone());
    let (id, region, zone, weight, port, replication_port) = (1, 1, 1, 1.0, OBJECT_PORT, OBJECT_PORT);
    let to = Device { id, region, zone, ip, port, device, weight, meta, replication_ip, replication_port };
    let limit = Duration::from_secs(600);
    let sender = Sender::new(
        &SsyncSettings {
            conn_timeout: limit,
            node_timeout: limit,
            http_timeout: limit,
            network_chunk_size: 65_536,
            disk_chunk_size: 65_536,
        },
        Duration::from_secs(604_800),
        Salts { prefix: HASH_PREFIX.into(), suffix: HASH_SUFFIX.into() },
    );
    let (cpu, clock) = (process_cpu(), Instant::now());
    let push = SsyncPush { dir: &dir, drive: None, suffixes: &suffixes, to: &to, only: None, with_marks: false };
    let synced = sender.sync(&push, &()).expect("the receiver is a good one");
    let (cpu, clock) = (process_cpu() - cpu, clock.elapsed().as_secs_f64());
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).expect("a peak");
    let peak: u64 = peak.parse().expect("a number");
    println!("{}", json!({"candidates": synced.candidates.len(), "cpu": cpu, "clock": clock, "peak": peak}));
}

fn process_cpu() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Writes an object as a Python 2 did, whose data are so many times the same.
fn write(disk: &Disk, object: &Object, body: &[u8], times: usize) {
    let folder = object.folder(disk);
    fs::create_dir_all(&folder).expect("the device is writable");
    let path = folder.join(format!("{}.data", time(1)));
    let mut file = fs::File::create(&path).expect("the device is writable");
    let mut md5 = Md5::new();
    for _ in 0..times {
        md5.update(body);
        file.write_all(body).expect("the device is writable");
    }
    let items = [
        ("name", format!("/{}", object.name)),
        ("X-Timestamp", time(1)),
        ("Content-Type", "text/plain".to_owned()),
        ("Content-Length", (body.len() * times).to_string()),
        ("ETag", hex(&md5.finalize())),
    ];
    let string = |text: &str| [b"U", &[u8::try_from(text.len()).expect("short")][..], text.as_bytes()].concat();
    let items = items.iter().flat_map(|(key, value)| [string(key), string(value)].concat());
    let pickle = [b"\x80\x02}q\x01(".to_vec(), items.collect(), b"u.".to_vec()].concat();
    xattr::set(&path, "user.swift.metadata", &pickle).expect("the device has xattrs");
    xattr::set(&path, "user.swift.metadata_checksum", hex(&Md5::digest(&pickle)).as_bytes()).expect("xattrs");
}

fn empty(folder: &Path) {
    must(Command::new("find").arg(folder).args(["-mindepth", "1", "-delete"]));
}
