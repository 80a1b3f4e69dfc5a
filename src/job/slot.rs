//! Where a worker says what it is doing.
//!
//! It tells its [`Slot`] of every step, and beats it while a long one moves. Reading a slot never waits for its worker: the
//! lock is held for a few instructions only.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::custody::Custody;
use crate::heartbeat::Heartbeat;
use crate::locks::lock;
use crate::names::Partition;

/// A step of a job, as operators name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    CheckingDrive,
    /// Looking whether a device answers at which a job hangs.
    Looking,
    Listing,
    Locking,
    Hashing,
    Recording,
    /// Asking a peer for its hashes.
    Asking,
    /// Pushing to a peer.
    Pushing,
    /// Looking whether all that was pushed is there.
    Verifying,
    /// Telling a peer what was pushed.
    Telling,
    Removing,
}

impl Step {
    /// Whether the partition that is named with the step is the only one that it has to do with. A push is of a list.
    pub(crate) fn is_about_one_partition(self) -> bool {
        match self {
            Self::Locking | Self::Hashing | Self::Recording | Self::Removing | Self::Asking | Self::Telling => true,
            Self::CheckingDrive | Self::Looking | Self::Listing | Self::Pushing | Self::Verifying => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CheckingDrive => "checking the drive",
            Self::Looking => "looking whether the device answers",
            Self::Listing => "listing partitions",
            Self::Locking => "taking the partition's lock",
            Self::Hashing => "hashing suffixes",
            Self::Recording => "recording files",
            Self::Asking => "asking for hashes",
            Self::Pushing => "pushing",
            Self::Verifying => "verifying a push",
            Self::Telling => "telling what was pushed",
            Self::Removing => "removing the partition",
        })
    }
}

/// What a worker is doing.
#[derive(Clone, Debug)]
pub(crate) struct Doing {
    /// The number of the job's lane.
    pub lane: usize,
    pub disk: Arc<str>,
    pub partition: Option<Partition>,
    pub step: Step,
    /// Whom to, where the step is about a peer.
    pub peer: Option<Arc<str>>,
    pub since: Instant,
}

/// One worker's place where it says what it is doing.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    doing: Mutex<Option<Doing>>,
    /// The partitions of the worker's job, if it has any.
    custody: Mutex<Option<Arc<Custody>>>,
    beats: AtomicU64,
    /// Jobs that have ended.
    ended: AtomicU64,
}

impl Slot {
    /// The worker has begun a job on this disk, with these partitions if they are known.
    pub(crate) fn begin(&self, lane: usize, disk: &Arc<str>, custody: Option<Arc<Custody>>) {
        *lock(&self.custody) = custody;
        let (disk, since) = (disk.clone(), Instant::now());
        self.set(Some(Doing { lane, disk, partition: None, step: Step::CheckingDrive, peer: None, since }));
    }

    /// The worker goes on to this step.
    pub(crate) fn step(&self, partition: Option<Partition>, step: Step, peer: Option<Arc<str>>) {
        if let Some(doing) = lock(&self.doing).as_mut() {
            (doing.partition, doing.step, doing.peer, doing.since) = (partition, step, peer, Instant::now());
        }
        self.beat();
    }

    /// The worker has ended its job.
    pub(crate) fn end(&self) {
        *lock(&self.custody) = None;
        self.set(None);
        self.ended.fetch_add(1, Ordering::Release);
    }

    /// What the worker is doing; `None` between jobs.
    pub(crate) fn doing(&self) -> Option<Doing> {
        lock(&self.doing).clone()
    }

    /// The partitions of the worker's job, if it has any.
    pub(crate) fn custody(&self) -> Option<Arc<Custody>> {
        lock(&self.custody).clone()
    }

    /// How many jobs have ended here.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// How often the worker gave a sign of life.
    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    fn set(&self, doing: Option<Doing>) {
        *lock(&self.doing) = doing;
        self.beat();
    }
}

impl Heartbeat for Slot {
    fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }
}
