//! The replicators of one node: its daemon, and runs of `once`, all with one log.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::log::{Log, Reader};
use super::plan::Chance;
use super::removals::Watch;
use super::rsync::NodeRsync;
use super::world::lock;
use crate::support::guard::{Mounts, read_lossy, until, with_etc_and_mounts};
use crate::support::node::Node;
use crate::support::replicator::Which;

use super::proxy::REPLICATION_PORT;

/// How long a replicator may take to end after SIGTERM, or a pass to its end.
const LIMIT: Duration = Duration::from_secs(180);

/// What the log's reader and the driver share.
pub struct Ear {
    node: usize,
    watch: Arc<Watch>,
    daemon: Mutex<Option<Child>>,
    /// The process id of the last daemon that was asked to end.
    asked_to_end: AtomicU32,
    /// When the daemon is to be killed, if it is.
    ambush: Mutex<Option<Chance>>,
    passes: AtomicU64,
    /// Lines that tell of bugs.
    complaints: Mutex<Vec<String>>,
}

impl Reader for Ear {
    fn line(&self, text: &str) {
        let moment = if self.watch.line(self.node, text) {
            Chance::InRemoval
        } else if text.starts_with("Successful rsync") {
            Chance::AfterPush
        } else {
            if text.starts_with("Object replication complete.") {
                self.passes.fetch_add(1, Ordering::Relaxed);
            }
            if text.contains("which is a bug")
                || text.contains("panic")
                || text.contains("lines before this one were lost")
            {
                lock(&self.complaints).push(format!("node {}: {text}", self.node));
            }
            return;
        };
        let mut ambush = lock(&self.ambush);
        if *ambush == Some(moment) {
            *ambush = None;
            self.kill(Signal::KILL);
        }
    }
}

impl Ear {
    fn kill(&self, signal: Signal) {
        if let Some(daemon) = &*lock(&self.daemon) {
            // It may have ended by itself, and waits to be reaped.
            let _ = kill_process(Pid::from_child(daemon), signal);
        }
    }
}

/// The replicators of a node.
pub struct Replicators {
    ear: Arc<Ear>,
    log: Log,
    options: Vec<(String, String)>,
    /// How many groups of devices make passes of their own.
    groups: u64,
    folder: PathBuf,
    recon: PathBuf,
}

impl Replicators {
    /// Prepares them; nothing runs yet.
    pub fn new(node: &Node, place: usize, watch: Arc<Watch>, options: &[(&str, String)]) -> Self {
        let ear = Arc::new(Ear {
            node: place,
            watch,
            daemon: Mutex::default(),
            asked_to_end: AtomicU32::default(),
            ambush: Mutex::default(),
            passes: AtomicU64::default(),
            complaints: Mutex::default(),
        });
        let log = Log::start(node.runs().join("replicator.log"), ear.clone());
        let fixed = [
            ("bind_port", REPLICATION_PORT.to_string()),
            ("log_address", log.address().display().to_string()),
            ("interval", 1.to_string()),
            ("ring_check_interval", 1.to_string()),
            ("conn_timeout", 2.to_string()),
            ("http_timeout", 6.to_string()),
            ("rsync_timeout", 60.to_string()),
            ("rsync_io_timeout", 10.to_string()),
        ];
        let options: Vec<_> =
            fixed.iter().chain(options).map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let groups = options
            .iter()
            .find(|(name, _)| name == "replicator_workers")
            .map_or(0, |(_, count)| count.parse().expect("a number of workers"));
        Self { ear, log, options, groups: u64::max(groups, 1), folder: node.runs(), recon: node.recon() }
    }

    /// Starts a replicator with these words after the name of its configuration. It ends with the thread that starts it.
    fn spawn(&self, node: &Node, rsync: &NodeRsync, words: &[&str], more: &[(&str, String)]) -> Child {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let folder = self.folder.join(RUNS.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&folder).expect("the node's folder is writable");
        let mut options = self.options.clone();
        options.retain(|(option, _)| more.iter().all(|(name, _)| name != option));
        options.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let conf = folder.join("object-server.conf");
        fs::write(&conf, node.conf(&options)).expect("the node's folder is writable");
        let output = File::create(folder.join("console")).expect("the node's folder is writable");
        let mut path = std::ffi::OsString::from("PATH=");
        path.push(rsync.search_path());
        // `env` sets the search path for the program alone: the shell around it still has to find `mount`.
        let mut command = with_etc_and_mounts(node.etc(), Mounts::Followed, Path::new("setpriv"));
        command
            .args(["--pdeathsig", "KILL", "env"])
            .arg(path)
            .arg(Which::Ours.program())
            .arg(conf)
            .args(words)
            .stdout(output.try_clone().expect("a descriptor is to be had"))
            .stderr(output)
            .process_group(0);
        command.spawn().expect("unshare and setpriv are installed: `make setup` does it")
    }

    /// Starts the daemon, if it does not run.
    pub fn start(&self, node: &Node, rsync: &NodeRsync) {
        let mut daemon = lock(&self.ear.daemon);
        let ended = daemon.as_mut().map(|child| child.try_wait().expect("the child is ours"));
        if let (Some(Some(status)), Some(child)) = (ended, &*daemon) {
            self.judge_end(child.id(), status);
        }
        if !matches!(ended, Some(None)) {
            self.ear.passes.store(0, Ordering::Relaxed);
            *daemon = Some(self.spawn(node, rsync, &["-v"], &[]));
        }
    }

    /// Runs one pass beside whatever else runs.
    pub fn once(&self, node: &Node, rsync: &NodeRsync) -> Once {
        let recon = self.recon.join(format!("once-{}", fastrand::u64(..)));
        fs::create_dir(&recon).expect("the node's folder is writable");
        // One group, so that recon has the figures of the whole pass.
        let more = [("recon_cache_path", recon.display().to_string()), ("replicator_workers", 0.to_string())];
        let child = self.spawn(node, rsync, &["once", "-v"], &more);
        Once { child, recon: recon.join("object.recon") }
    }

    /// Kills the daemon when the chance comes.
    pub fn ambush(&self, chance: Chance) {
        match chance {
            Chance::Now => self.ear.kill(Signal::KILL),
            chance => *lock(&self.ear.ambush) = Some(chance),
        }
    }

    /// Whether an ambush is still laid; it is none any more.
    pub fn lift_ambush(&self) -> bool {
        lock(&self.ear.ambush).take().is_some()
    }

    /// Asks the daemon to end.
    pub fn ask_to_end(&self) {
        if let Some(id) = self.daemon() {
            self.ear.asked_to_end.store(id, Ordering::Relaxed);
        }
        self.ear.kill(Signal::TERM);
    }

    /// Waits for the end of the daemon with this process id, which was asked to, and takes it amiss if that is not good.
    pub fn await_end(&self, id: u32) {
        let mut daemon = lock(&self.ear.daemon);
        let Some(mut child) = daemon.take_if(|child| child.id() == id) else { return };
        let ended = until(LIMIT, || child.try_wait().expect("the child is ours").is_some());
        if !ended {
            child.kill().expect("the child is ours");
        }
        let status = child.wait().expect("the child is ours");
        if !ended {
            self.complain("the daemon does not end after SIGTERM");
        }
        self.judge_end(id, status);
    }

    /// Takes amiss any end that no fault explains.
    fn judge_end(&self, id: u32, status: ExitStatus) {
        let was_killed = status.signal() == Some(Signal::KILL.as_raw());
        let was_asked = self.ear.asked_to_end.load(Ordering::Relaxed) == id;
        // The signal may come before the program has begun.
        let is_good = status.code() == Some(0) || status.signal() == Some(Signal::TERM.as_raw());
        if !(was_killed || was_asked && is_good) {
            self.complain(&format!("the daemon ended with {status} (asked to: {was_asked})"));
        }
    }

    fn complain(&self, what: &str) {
        lock(&self.ear.complaints).push(format!("node {}: {what}", self.ear.node));
    }

    /// The daemon's process id, if it runs.
    pub fn daemon(&self) -> Option<u32> {
        let mut daemon = lock(&self.ear.daemon);
        let child = daemon.as_mut()?;
        child.try_wait().expect("the child is ours").is_none().then(|| child.id())
    }

    /// How many passes the daemon has made since it was started; with several groups, on the average.
    pub fn passes(&self) -> u64 {
        self.ear.passes.load(Ordering::Relaxed) / self.groups
    }

    /// Lines of the log that tell of bugs, and consoles that tell of panics.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = lock(&self.ear.complaints).clone();
        for run in fs::read_dir(&self.folder).expect("the node's folder is readable").flatten() {
            let console = read_lossy(&run.path().join("console"));
            complaints.extend(console.lines().filter(|line| line.contains("panicked")).map(str::to_owned));
        }
        complaints
    }

    /// The file with the log.
    pub fn log(&self) -> &Path {
        self.log.kept()
    }
}

/// A run of one pass.
pub struct Once {
    child: Child,
    recon: PathBuf,
}

impl Once {
    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_some()
    }

    /// Ends it at once.
    pub fn kill(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end; the counters of its pass.
    pub fn finish(mut self) -> Result<Counters, String> {
        let begun = Instant::now();
        until(LIMIT, || self.has_ended());
        if !self.has_ended() {
            self.child.kill().expect("the child is ours");
        }
        let status = self.child.wait().expect("the child is ours");
        if status.code() != Some(0) {
            let signal = status.signal();
            return Err(format!("a pass ended with {status} (signal {signal:?}) after {:?}", begun.elapsed()));
        }
        let recon = fs::read_to_string(&self.recon).map_err(|e| format!("a pass wrote no recon: {e}"))?;
        Ok(Counters(serde_json::from_str(&recon).map_err(|e| format!("recon is no JSON: {e}"))?))
    }
}

/// What recon says of a pass.
pub struct Counters(Value);

impl Counters {
    /// One of them.
    pub fn get(&self, name: &str) -> i64 {
        self.0["replication_stats"][name].as_i64().unwrap_or(-1)
    }
}
