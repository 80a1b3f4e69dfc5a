//! Makes faults happen, and takes them back when their time is over.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::census;
use super::cluster::{Cluster, NODES};
use super::damage::{self, Stuck};
use super::images::{Damage, Image};
use super::locks::HeldLock;
use super::plan::{Chance, Fault, Step};
use super::processes;
use super::proxy::Said;
use super::reboot;
use super::replicator::Once;
use super::rings::{POLICIES, Rings};
use super::world::World;
use crate::support::guard::until;

/// At most so many locks are held at once.
const LOCKS: usize = 12;
/// For so long a power loss waits for something to be moved to its node.
const MOMENT: Duration = Duration::from_secs(12);
/// By so much a fault may come too late.
const LATE: Duration = Duration::from_secs(5);

/// Faults in a cluster.
pub struct Faults<'a> {
    cluster: &'a mut Cluster,
    /// For the rings, which come one after the other.
    rng: Rng,
    newest: Arc<Rings>,
    pending: Vec<(Instant, Undo)>,
    /// With their nodes.
    second_replicators: Vec<(usize, Once)>,
    /// Until when a power loss waits for its moment.
    power_loss_due: Option<Instant>,
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
    OneTree(usize),
    MountOverJunk(u32),
    Answer(usize),
    ReleaseFiles(Stuck),
    Mend(u32, Damage),
}

impl<'a> Faults<'a> {
    pub fn new(cluster: &'a mut Cluster, rng: Rng) -> Self {
        let newest = cluster.world.rings(0);
        Self { cluster, rng, newest, pending: Vec::new(), second_replicators: Vec::new(), power_loss_due: None }
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
        for (_, once) in self.second_replicators.drain(..) {
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
        if let Some(due) = self.power_loss_due
            && (due <= now || self.cluster.images_node().is_some_and(|node| self.cluster.watch.has_just_moved_to(node)))
        {
            self.power_loss_due = None;
            self.lose_power(due <= now);
        }
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
                let once = cluster.replicators[node].once(&cluster.nodes[node], &cluster.rsyncs[node]);
                self.second_replicators.push((node, once));
                self.second_replicators.retain_mut(|(_, once)| !once.has_ended());
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
            Fault::Unmount { disk } | Fault::ReadOnly { disk } | Fault::Full { disk } => {
                self.take_device(fault, disk)?
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
            Fault::NewRings { ref late, wrong } => self.change_rings(late, wrong),
            Fault::OtherTree { node } => {
                cluster.nodes[node].serve_another_tree(true);
                vec![Undo::OneTree(node)]
            }
            Fault::UnmountOntoJunk { disk } => self.unmount_onto_junk(disk)?,
            Fault::HangingDisk { disk } => vec![self.let_hang(disk)],
            Fault::Stuck { node } => vec![Undo::ReleaseFiles(Stuck::make(&cluster.world, node)?)],
            Fault::PowerLoss => self.await_power_loss()?,
            Fault::DamagedInode { disk, folder } => self.damage_an_inode(disk, folder)?,
        })
    }

    /// What is wrong with a whole device.
    fn take_device(&mut self, fault: &Fault, disk: u32) -> Option<Vec<Undo>> {
        self.is_whole(disk).then_some(())?;
        let device = &self.cluster.devices[disk as usize];
        match fault {
            Fault::ReadOnly { .. } => device.set_read_only(true).then(|| vec![Undo::Writable(disk)]),
            Fault::Full { .. } => {
                device.fill();
                Some(vec![Undo::Free(disk)])
            }
            _ => {
                let gate = &self.cluster.world.gates[disk as usize];
                let _gate = gate.write().unwrap_or_else(PoisonError::into_inner);
                device.unmount();
                Some(vec![Undo::Mount(disk)])
            }
        }
    }

    fn let_hang(&self, disk: u32) -> Undo {
        let disk = self.cluster.world.disk(disk);
        self.cluster.proxies[disk.node].say_of(Some((&disk.name, Said::Nothing)));
        Undo::Answer(disk.node)
    }

    /// The power fails when something has just been moved to the node, or in a while.
    fn await_power_loss(&mut self) -> Option<Vec<Undo>> {
        self.cluster.images_node().filter(|_| self.power_loss_due.is_none())?;
        self.power_loss_due = Some(Instant::now() + MOMENT);
        Some(Vec::new())
    }

    /// Unmounts a device while its node's replicator is in the middle of something, onto what was deleted long ago. What
    /// others push there meanwhile lands on the root disk, and goes when the device is mounted again: they must not take
    /// it for arrived.
    fn unmount_onto_junk(&self, disk: u32) -> Option<Vec<Undo>> {
        self.is_whole(disk).then_some(())?;
        let cluster = &*self.cluster;
        let node = cluster.world.disk(disk).node;
        damage::lay_junk(cluster.devices[disk as usize].below());
        let gate = cluster.world.gates[disk as usize].write().unwrap_or_else(PoisonError::into_inner);
        // With SSYNC there is no rsync to wait for.
        let daemon = cluster.replicators[node].daemon();
        until(Duration::from_secs(1), || daemon.is_some_and(|id| processes::children(id).next().is_some()));
        cluster.devices[disk as usize].unmount_at_once();
        drop(gate);
        Some(vec![Undo::MountOverJunk(disk)])
    }

    /// The power of the node with images fails. `late`: nothing was moved to it in time.
    fn lose_power(&mut self, late: bool) {
        let Some(node) = self.cluster.images_node() else { return };
        let mut disks = self.cluster.world.disks.iter().filter(|disk| disk.node == node).map(|disk| disk.id);
        if !disks.all(|disk| self.is_whole(disk)) {
            self.cluster.world.count("not possible: power loss of a device with other trouble");
            return;
        }
        self.cluster.world.count(if late { "power loss at some time" } else { "power loss after a removal elsewhere" });
        self.forget_processes_of(node);
        reboot::without_what_was_not_written(self.cluster, node);
        self.pending.push((Instant::now() + Duration::from_secs(1), Undo::StartReplicator(node)));
    }

    /// What the harness itself has open on a node would survive a reboot.
    fn forget_processes_of(&mut self, node: usize) {
        for place in (0..self.second_replicators.len()).rev() {
            if self.second_replicators[place].0 == node {
                self.second_replicators.swap_remove(place).1.kill();
            }
        }
        for (_, undo) in &mut self.pending {
            if let Undo::ReleaseLocks(locks) = undo {
                locks.retain(|lock| lock.disk.node != node);
            }
        }
        self.cluster.replicators[node].ambush(Chance::Now);
    }

    fn damage_an_inode(&mut self, disk: u32, folder: bool) -> Option<Vec<Undo>> {
        self.is_whole(disk).then_some(())?;
        let node = self.cluster.world.disk(disk).node;
        self.forget_processes_of(node);
        let rng = &mut self.rng;
        let choose = |world: &World| reboot::inode_to_damage(world, disk, folder, rng);
        let damage = reboot::with_another_disk(self.cluster, disk, choose, Image::damage);
        self.pending.push((Instant::now() + Duration::from_secs(1), Undo::StartReplicator(node)));
        Some(vec![Undo::Mend(disk, damage??)])
    }

    fn mend(&mut self, disk: u32, damage: &Damage) {
        let node = self.cluster.world.disk(disk).node;
        self.forget_processes_of(node);
        let mended = until(Duration::from_secs(120), || {
            reboot::with_another_disk(self.cluster, disk, |_| Some(damage), Image::mend).is_some()
        });
        assert!(mended, "a device cannot be unmounted");
        self.pending.push((Instant::now() + Duration::from_secs(1), Undo::StartReplicator(node)));
    }

    /// Whether nothing is wrong with a device yet: two things at once could not be taken back apart.
    fn is_whole(&self, disk: u32) -> bool {
        let is_about = |undo: &Undo| matches!(*undo, Undo::Mount(d) | Undo::MountOverJunk(d) | Undo::Writable(d) | Undo::Free(d) | Undo::Mend(d, _) if d == disk);
        !self.pending.iter().any(|(_, undo)| is_about(undo))
    }

    /// The node that is about to lose power, or whose rsync daemon serves another tree: what goes there is what counts.
    fn interesting_node(&self) -> Option<usize> {
        let other_tree = self.pending.iter().find_map(|(_, undo)| match undo {
            Undo::OneTree(node) => Some(*node),
            _ => None,
        });
        other_tree.or(self.power_loss_due.and(self.cluster.images_node()))
    }

    fn change_rings(&mut self, late: &[usize], wrong: bool) -> Vec<Undo> {
        let nodes_of_disks = self.cluster.world.nodes_of_disks();
        let mut next = self.newest.rebalanced(&nodes_of_disks, &mut self.rng);
        if let Some(node) = self.interesting_node() {
            let disks: Vec<u32> = (0..).zip(&nodes_of_disks).filter(|(_, at)| **at == node).map(|(id, _)| id).collect();
            next = next.with_some_at(&disks, &mut self.rng);
        }
        let next = Arc::new(next);
        if wrong {
            damage::plant_wrong_files(&self.cluster.world, &self.newest, &next, &mut self.rng);
        }
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
                    strange
                        .filter_map(|part| HeldLock::take(world, disk, policy.index, part))
                        .take(LOCKS - locks.len()),
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
                if let Some(complaint) = lock.release(&cluster.world) {
                    cluster.world.found(complaint);
                }
            }),
            Undo::GiveRings(node, rings) => cluster.install_rings(node, &rings),
            Undo::OneTree(node) => cluster.nodes[node].serve_another_tree(false),
            Undo::MountOverJunk(disk) => {
                let gate = cluster.world.gates[disk as usize].write().unwrap_or_else(PoisonError::into_inner);
                let device = &cluster.devices[disk as usize];
                device.mount();
                device.clear_below();
                drop(gate);
            }
            Undo::Answer(node) => cluster.proxies[node].say_of(None),
            Undo::ReleaseFiles(stuck) => {
                let complaints = stuck.release(&cluster.world);
                complaints.into_iter().for_each(|complaint| cluster.world.found(complaint));
            }
            Undo::Mend(disk, damage) => self.mend(disk, &damage),
        }
    }
}
