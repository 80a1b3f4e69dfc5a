//! Locks of replication that the harness holds, as a node does that receives by SSYNC.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{FlockOperation, flock};

use super::census::{self, Copies};
use super::world::World;
use crate::support::cluster::Disk;

/// A replication lock that somebody else holds, so that nothing may go from its partition.
pub struct HeldLock {
    pub disk: Disk,
    policy: u32,
    part: u32,
    file: File,
    content: Copies,
}

impl HeldLock {
    /// Takes the lock if nobody has it.
    pub fn take(world: &World, disk: &Disk, policy: u32, part: u32) -> Option<Self> {
        let path = disk.partition(policy, part).join(".lock-replication");
        let file = File::options().create(true).append(true).open(&path).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        // Whoever had it may have removed the partition, and the lock with it.
        let (ours, there) = (file.metadata().ok()?, fs::metadata(&path).ok()?);
        (ours.ino() == there.ino()).then_some(())?;
        let content = census::copies(world, disk, policy, part);
        Some(Self { disk: disk.clone(), policy, part, file, content })
    }

    /// Gives it back; what is to be said if something went while it was held.
    pub fn release(self, world: &World) -> Option<String> {
        let now: HashMap<_, _> = census::copies(world, &self.disk, self.policy, self.part);
        let gone = self.content.iter().find(|(hash, state)| !now.get(*hash).copied().unwrap_or_default().covers(state));
        let name = format!("partition {} of policy {} on {}", self.part, self.policy, self.disk.node_string());
        let complaint = gone.map(|(hash, state)| {
            format!("removed under another's lock: {name} held {hash} {state:?}; now {:?}", now.get(hash))
        });
        drop(self.file);
        complaint
    }
}
