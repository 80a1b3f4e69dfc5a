//! Makes faults happen, and takes them back when their time is over.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::fs::{FlockOperation, flock};

use super::census::{self, Copies};
use super::cluster::{Cluster, NODES};
use super::plan::{Fault, Step};
use super::processes;
use super::replicator::Once;
use super::rings::{POLICIES, Rings};
use crate::support::cluster::Disk;
use crate::support::guard::until;

/// At most so many locks are held at once.
const LOCKS: usize = 12;
/// By so much a fault may come too late.
const LATE: Duration = Duration::from_secs(5);

/// Faults in a cluster.
pub struct Faults<'a> {
    cluster: &'a mut Cluster,
    /// For the rings, which come one after the other.
    rng: Rng,
    newest: Arc<Rings>,
    pending: Vec<(Instant, Undo)>,
    second_replicators: Vec<Once>,
}

/// What is to be done when a fault's time is over.
enum Undo {
    /// Of a daemon with this process id.
    AwaitEnd(usize, u32),
    StartReplicator(usize),
    LiftAmbush(usize),
    StartServers(usize),
    Mount(u32),
    Writable(u32),
    Free(u32),
    GoodPeer(usize),
    GoodRsync(usize),
    ReleaseLocks(Vec<HeldLock>),
    GiveRings(usize, Arc<Rings>),
}

/// A replication lock that somebody else holds, so that nothing may go from its partition.
struct HeldLock {
    disk: Disk,
    policy: u32,
    part: u32,
    file: File,
    content: Copies,
}

impl<'a> Faults<'a> {
    pub fn new(cluster: &'a mut Cluster, rng: Rng) -> Self {
        let newest = cluster.world.rings(0);
        Self { cluster, rng, newest, pending: Vec::new(), second_replicators: Vec::new() }
    }

    /// Makes every fault of a plan happen in its time, beginning now. Where that is too much for the machine, the kinds
    /// that were seen already are left out, so that the end does not recede.
    pub fn run(&mut self, plan: &[Step]) {
        let begun = Instant::now();
        let mut seen = HashSet::new();
        for step in plan {
            while begun.elapsed() < step.at {
                self.take_back_what_is_over();
                std::thread::sleep(Duration::from_millis(20));
            }
            let is_new = seen.insert(step.fault.kind());
            if !is_new && begun.elapsed() > step.at + LATE {
                self.cluster.world.count("left out: the machine is slow");
            } else {
                self.cause(step);
            }
        }
    }

    /// Takes everything back that is still wrong, and gives all nodes the newest rings.
    pub fn heal(mut self) {
        while !self.pending.is_empty() {
            let (_, undo) = self.pending.remove(0);
            self.take_back(undo);
        }
        for once in self.second_replicators.drain(..) {
            if let Err(error) = once.finish() {
                self.cluster.world.found(error);
            }
        }
        (0..NODES).for_each(|node| self.cluster.install_rings(node, &self.newest));
        self.cluster.restart_servers();
        self.cluster.start_replicators();
    }

    fn take_back_what_is_over(&mut self) {
        let now = Instant::now();
        while let Some(place) = self.pending.iter().position(|(end, _)| *end <= now) {
            let (_, undo) = self.pending.remove(place);
            self.take_back(undo);
        }
    }

    fn cause(&mut self, step: &Step) {
        let Some(undos) = self.begin(&step.fault) else {
            self.cluster.world.count(&format!("not possible: {}", step.fault.kind()));
            return;
        };
        self.cluster.world.count(&format!("fault: {}", step.fault.kind()));
        self.pending.extend(undos.into_iter().map(|undo| (Instant::now() + step.lasts, undo)));
    }

    /// Makes a fault happen; what has to be done when it is over. `None` if it cannot happen now.
    fn begin(&mut self, fault: &Fault) -> Option<Vec<Undo>> {
        let cluster = &mut *self.cluster;
        Some(match *fault {
            Fault::KillReplicator { node, gently: true, .. } => {
                let daemon = cluster.replicators[node].daemon()?;
                cluster.replicators[node].ask_to_end();
                vec![Undo::AwaitEnd(node, daemon), Undo::StartReplicator(node)]
            }
            Fault::KillReplicator { node, when, .. } => {
                cluster.replicators[node].ambush(when);
                vec![Undo::LiftAmbush(node), Undo::StartReplicator(node)]
            }
            Fault::SecondReplicator { node } => {
                self.second_replicators
                    .push(cluster.replicators[node].once(&cluster.nodes[node], &cluster.rsyncs[node]));
                self.second_replicators.retain_mut(|once| !once.has_ended());
                Vec::new()
            }
            Fault::KillRsync { node } => {
                let daemon = cluster.replicators[node].daemon()?;
                let killed = until(Duration::from_secs(1), || processes::kill_an_rsync_of(daemon));
                killed.then(Vec::new)?
            }
            Fault::KillObjectServer { node } => {
                cluster.nodes[node].stop_object_server();
                vec![Undo::StartServers(node)]
            }
            Fault::KillRsyncDaemon { node } => {
                cluster.nodes[node].stop_rsync_daemon();
                vec![Undo::StartServers(node)]
            }
            Fault::Unmount { disk } => {
                self.is_whole(disk).then_some(())?;
                let cluster = &*self.cluster;
                let gate = cluster.world.gates[disk as usize].write().unwrap_or_else(PoisonError::into_inner);
                cluster.devices[disk as usize].unmount();
                drop(gate);
                vec![Undo::Mount(disk)]
            }
            Fault::ReadOnly { disk } => {
                self.is_whole(disk).then_some(())?;
                self.cluster.devices[disk as usize].set_read_only(true).then(|| vec![Undo::Writable(disk)])?
            }
            Fault::Full { disk } => {
                self.is_whole(disk).then_some(())?;
                self.cluster.devices[disk as usize].fill();
                vec![Undo::Free(disk)]
            }
            Fault::BadPeer { node, manner } => {
                cluster.proxies[node].behave(Some(manner));
                vec![Undo::GoodPeer(node)]
            }
            Fault::BadRsync { node, manner } => {
                cluster.rsyncs[node].behave(Some(manner));
                vec![Undo::GoodRsync(node)]
            }
            Fault::HoldLocks { node } => vec![Undo::ReleaseLocks(self.hold_locks(node)?)],
            Fault::NewRings { ref late } => self.change_rings(late),
        })
    }

    /// Whether nothing is wrong with a device yet: two things at once could not be taken back apart.
    fn is_whole(&self, disk: u32) -> bool {
        let is_about = |undo: &Undo| matches!(*undo, Undo::Mount(d) | Undo::Writable(d) | Undo::Free(d) if d == disk);
        !self.pending.iter().any(|(_, undo)| is_about(undo))
    }

    fn change_rings(&mut self, late: &[usize]) -> Vec<Undo> {
        let nodes_of_disks = self.cluster.world.nodes_of_disks();
        let next = Arc::new(self.newest.rebalanced(&nodes_of_disks, &mut self.rng));
        self.newest = Arc::clone(&next);
        let (late, soon): (Vec<usize>, Vec<usize>) = (0..NODES).partition(|node| late.contains(node));
        soon.into_iter().for_each(|node| self.cluster.install_rings(node, &next));
        late.into_iter().map(|node| Undo::GiveRings(node, Arc::clone(&next))).collect()
    }

    /// Takes the replication locks of hand-offs on a node, as many as can be had.
    fn hold_locks(&self, node: usize) -> Option<Vec<HeldLock>> {
        let world = &self.cluster.world;
        let mut locks = Vec::new();
        for disk in world.disks.iter().filter(|disk| disk.node == node) {
            for (place, policy) in POLICIES.iter().enumerate() {
                let parts = census::partitions(disk, policy.index).into_iter();
                let strange = parts.filter(|&part| !world.is_home(place, part, disk));
                locks.extend(
                    strange.filter_map(|part| HeldLock::take(disk, policy.index, part)).take(LOCKS - locks.len()),
                );
            }
        }
        (!locks.is_empty()).then_some(locks)
    }

    fn take_back(&mut self, undo: Undo) {
        let cluster = &mut *self.cluster;
        match undo {
            Undo::AwaitEnd(node, daemon) => cluster.replicators[node].await_end(daemon),
            Undo::StartReplicator(node) => cluster.start_replicator(node),
            Undo::LiftAmbush(node) => {
                if cluster.replicators[node].lift_ambush() {
                    cluster.world.count("ambushes in vain");
                }
            }
            Undo::StartServers(node) => cluster.nodes[node].start(),
            Undo::Mount(disk) => {
                let gate = cluster.world.gates[disk as usize].write().unwrap_or_else(PoisonError::into_inner);
                let strays = cluster.devices[disk as usize].mount();
                drop(gate);
                if !strays.is_empty() {
                    let name = cluster.world.disk(disk).node_string();
                    cluster.world.found(format!(
                        "{name} was filled while it was not mounted: {:?}",
                        &strays[..strays.len().min(5)]
                    ));
                }
            }
            Undo::Writable(disk) => {
                assert!(cluster.devices[disk as usize].set_read_only(false), "a read-only device has no writers");
            }
            Undo::Free(disk) => cluster.devices[disk as usize].free(),
            Undo::GoodPeer(node) => cluster.proxies[node].behave(None),
            Undo::GoodRsync(node) => cluster.rsyncs[node].behave(None),
            Undo::ReleaseLocks(locks) => locks.into_iter().for_each(|lock| {
                cluster.world.count("locks held");
                if let Some(complaint) = lock.release() {
                    cluster.world.found(complaint);
                }
            }),
            Undo::GiveRings(node, rings) => cluster.install_rings(node, &rings),
        }
    }
}

impl HeldLock {
    /// Takes the lock if nobody has it.
    fn take(disk: &Disk, policy: u32, part: u32) -> Option<Self> {
        let path = disk.partition(policy, part).join(".lock-replication");
        let file = File::options().create(true).append(true).open(&path).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        // Whoever had it may have removed the partition, and the lock with it.
        let (ours, there) = (file.metadata().ok()?, fs::metadata(&path).ok()?);
        (ours.ino() == there.ino()).then_some(())?;
        let content = census::copies(disk, policy, part);
        Some(Self { disk: disk.clone(), policy, part, file, content })
    }

    /// Gives it back; what is to be said if something went while it was held.
    fn release(self) -> Option<String> {
        let now: HashMap<_, _> = census::copies(&self.disk, self.policy, self.part);
        let gone = self.content.iter().find(|(hash, state)| !now.get(*hash).copied().unwrap_or_default().covers(state));
        let name = format!("partition {} of policy {} on {}", self.part, self.policy, self.disk.node_string());
        let complaint = gone.map(|(hash, state)| {
            format!("removed under another's lock: {name} held {hash} {state:?}; now {:?}", now.get(hash))
        });
        drop(self.file);
        complaint
    }
}
