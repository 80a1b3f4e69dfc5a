//! What is to happen when: drawn from the seed alone, before anything runs.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The replicator of a node is killed, and started again a moment later.
    KillReplicator { node: usize, gently: bool, when: Chance },
    /// One more replicator runs a pass on the node, as an operator's `once` beside the daemon.
    SecondReplicator { node: usize },
    /// An rsync that a node's replicator runs is killed.
    KillRsync { node: usize },
    /// The object server is killed, and started again after a while.
    KillObjectServer { node: usize },
    /// The rsync daemon is killed with all its connections, and started again after a while.
    KillRsyncDaemon { node: usize },
    /// A device is unmounted, and comes back later.
    Unmount { disk: u32 },
    /// A device takes no writes for a while.
    ReadOnly { disk: u32 },
    /// A device has no space for a while.
    Full { disk: u32 },
    /// The node answers the replicators of others badly for a while.
    BadPeer { node: usize, manner: Manner },
    /// The rsyncs that a node's replicator runs do badly for a while.
    BadRsync { node: usize, manner: RsyncManner },
    /// Somebody holds the replication locks of hand-offs on a node for a while, as SSYNC does.
    HoldLocks { node: usize },
    /// The rings change; some nodes get the new ones later than others. `wrong`: where partitions will belong there are
    /// files of the right names that are not the objects.
    NewRings { late: Vec<usize>, wrong: bool },
    /// The rsync daemon of a node writes to another tree than its object server serves: a module's path from before a
    /// move, or a daemon that was started before the disks were mounted.
    OtherTree { node: usize },
    /// A device goes in the middle of a job, and what was below its mount point shows: objects deleted long ago.
    UnmountOntoJunk { disk: u32 },
    /// The object server of a node never answers for one of its devices, and does for the others.
    HangingDisk { disk: u32 },
    /// Files of hand-offs on a node cannot be unlinked.
    Stuck { node: usize },
    /// The node whose devices are images loses power when something has just been moved to it: what its disks had not
    /// written is gone.
    PowerLoss,
    /// An inode on a device that is an image cannot be read any more; `folder`: that of an object's folder.
    DamagedInode { disk: u32, folder: bool },
}

/// The moment at which a replicator is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chance {
    Now,
    /// When it says that it begins to remove a partition.
    InRemoval,
    /// When it says that a push worked.
    AfterPush,
}

/// How a node treats requests of replicators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Stalls,
    Resets,
    Says503,
    Says507,
    /// Answers with hashes that were true some time ago.
    StaleHashes,
    /// Answers with hashes that were never true.
    MadeUpHashes,
}

/// How a node's rsync does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsyncManner {
    /// It leaves half of the files out, and ends with 0.
    DropsHalf,
    /// It is killed in the middle.
    DiesHalfWay,
    /// It takes its time, dry runs too, so that more happens between the steps of a replicator.
    Lingers,
}

impl Fault {
    /// Rings have to change, even where wrong files are left out.
    pub fn tame(&mut self, without: &[String]) {
        if let Self::NewRings { wrong, .. } = self
            && without.iter().any(|kind| "wrong files".contains(kind.as_str()))
        {
            *wrong = false;
        }
    }

    /// The kind, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::KillReplicator { gently: true, .. } => "replicator SIGTERM",
            Self::KillReplicator { when: Chance::Now, .. } => "replicator SIGKILL",
            Self::KillReplicator { when: Chance::InRemoval, .. } => "replicator SIGKILL in a removal",
            Self::KillReplicator { when: Chance::AfterPush, .. } => "replicator SIGKILL after a push",
            Self::SecondReplicator { .. } => "second replicator",
            Self::KillRsync { .. } => "rsync SIGKILL",
            Self::KillObjectServer { .. } => "object server SIGKILL",
            Self::KillRsyncDaemon { .. } => "rsyncd SIGKILL",
            Self::Unmount { .. } => "device gone",
            Self::ReadOnly { .. } => "device read-only",
            Self::Full { .. } => "device full",
            Self::BadPeer { manner: Manner::Stalls, .. } => "peer stalls",
            Self::BadPeer { manner: Manner::Resets, .. } => "peer resets",
            Self::BadPeer { manner: Manner::Says503, .. } => "peer says 503",
            Self::BadPeer { manner: Manner::Says507, .. } => "peer says 507",
            Self::BadPeer { manner: Manner::StaleHashes, .. } => "peer has stale hashes",
            Self::BadPeer { manner: Manner::MadeUpHashes, .. } => "peer makes hashes up",
            Self::BadRsync { manner: RsyncManner::DropsHalf, .. } => "rsync drops half",
            Self::BadRsync { manner: RsyncManner::DiesHalfWay, .. } => "rsync dies half-way",
            Self::BadRsync { manner: RsyncManner::Lingers, .. } => "rsync lingers",
            Self::HoldLocks { .. } => "locks held",
            Self::NewRings { wrong: false, .. } => "new rings",
            Self::NewRings { wrong: true, .. } => "new rings, wrong files",
            Self::OtherTree { .. } => "rsyncd serves another tree",
            Self::UnmountOntoJunk { .. } => "device gone, junk below",
            Self::HangingDisk { .. } => "one disk of a peer hangs",
            Self::Stuck { .. } => "files cannot be unlinked",
            Self::PowerLoss => "power loss",
            Self::DamagedInode { folder: true, .. } => "damaged inode of a folder",
            Self::DamagedInode { folder: false, .. } => "damaged inode of a file",
        }
    }
}

/// A fault with its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// After the beginning.
    pub at: Duration,
    pub fault: Fault,
    /// How long it lasts, if it is something that lasts.
    pub lasts: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:6.2} s  {:?} for {:.1} s", self.at.as_secs_f64(), self.fault, self.lasts.as_secs_f64())
    }
}

/// What a run is planned for.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub nodes: usize,
    pub disks: u32,
    /// How long faults go on.
    pub length: Duration,
    /// The ids of devices that are images.
    pub images: &'static [u32],
}

/// Draws the faults of a run. Each kind comes up once before any comes up again; new rings come up more often, since
/// hand-offs come from them, and with them, in turn, what matters when hand-offs are moved: wrong files where they go,
/// a node that stores them elsewhere, one that loses power when it has just got some.
pub fn draw(scale: Scale, rng: &mut Rng) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut deck = Vec::new();
    let mut rings_due = Duration::ZERO;
    let mut changes = 0;
    let mut now = Duration::ZERO;
    loop {
        now += Duration::from_millis(rng.u64(300..1300));
        if now >= scale.length {
            return steps;
        }
        let fault = if now >= rings_due {
            // One change has reached everybody before the next one comes.
            rings_due = now + LONGEST + Duration::from_millis(rng.u64(1000..4000));
            let late = (0..scale.nodes).filter(|_| rng.bool()).collect();
            changes += 1;
            let with = match changes % 3 {
                1 if scale.images.is_empty() => None,
                1 => Some(Fault::PowerLoss),
                2 => Some(Fault::OtherTree { node: rng.usize(..scale.nodes) }),
                _ => None,
            };
            steps.extend(with.map(|fault| Step { at: now, fault, lasts: LONGEST }));
            Fault::NewRings { late, wrong: changes % 3 == 0 }
        } else {
            if deck.is_empty() {
                deck = full_deck(scale, rng);
            }
            deck.pop().expect("a full deck")
        };
        let lasts = Duration::from_millis(rng.u64(1500..LONGEST.as_millis() as u64));
        steps.push(Step { at: now, fault, lasts });
    }
}

/// No fault lasts longer.
const LONGEST: Duration = Duration::from_secs(7);

fn full_deck(scale: Scale, rng: &mut Rng) -> Vec<Fault> {
    use Fault::*;
    let mut deck = Vec::new();
    {
        let mut node = || rng.usize(..scale.nodes);
        for (gently, when) in
            [(true, Chance::Now), (false, Chance::Now), (false, Chance::InRemoval), (false, Chance::AfterPush)]
        {
            deck.push(KillReplicator { node: node(), gently, when });
        }
        deck.extend([SecondReplicator { node: node() }, KillRsync { node: node() }, HoldLocks { node: node() }]);
        deck.extend([KillObjectServer { node: node() }, KillRsyncDaemon { node: node() }, HoldLocks { node: node() }]);
        deck.extend([OtherTree { node: node() }, Stuck { node: node() }]);
        use Manner::*;
        for manner in [Stalls, Resets, Says503, Says507, StaleHashes, MadeUpHashes] {
            deck.push(BadPeer { node: node(), manner });
        }
        for manner in [RsyncManner::DropsHalf, RsyncManner::DiesHalfWay, RsyncManner::Lingers, RsyncManner::Lingers] {
            deck.push(BadRsync { node: node(), manner });
        }
    }
    let mut disk = || rng.u32(..scale.disks);
    deck.extend([Unmount { disk: disk() }, Unmount { disk: disk() }, ReadOnly { disk: disk() }, Full { disk: disk() }]);
    deck.extend([UnmountOntoJunk { disk: disk() }, UnmountOntoJunk { disk: disk() }, HangingDisk { disk: disk() }]);
    if let Some(&image) = rng.choice(scale.images) {
        deck.push(PowerLoss);
        deck.extend([true, false].map(|folder| DamagedInode { disk: image, folder }));
    }
    rng.shuffle(&mut deck);
    deck
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SCALE: Scale = Scale { nodes: 4, disks: 8, length: Duration::from_secs(45), images: &[] };

    #[test]
    fn a_short_run_has_every_kind_of_fault_whatever_the_seed() {
        for seed in 0..50 {
            let steps = draw(SCALE, &mut Rng::with_seed(seed));
            let kinds: BTreeSet<_> = steps.iter().map(|step| step.fault.kind()).collect();
            assert_eq!(kinds.len(), 27, "seed {seed}: {kinds:?}");
        }
    }

    #[test]
    fn a_run_with_images_has_those_of_images_too() {
        let scale = Scale { length: Duration::from_secs(60), images: &[6, 7], ..SCALE };
        for seed in 0..50 {
            let steps = draw(scale, &mut Rng::with_seed(seed));
            let kinds: BTreeSet<_> = steps.iter().map(|step| step.fault.kind()).collect();
            assert_eq!(kinds.len(), 30, "seed {seed}: {kinds:?}");
        }
    }

    #[test]
    fn a_seed_always_gives_the_same_plan() {
        let plan = |seed| draw(SCALE, &mut Rng::with_seed(seed));
        assert_eq!(plan(3), plan(3));
        assert_ne!(plan(3), plan(4));
    }
}
