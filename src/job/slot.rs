//! Where a worker says what it is doing.
//!
//! It tells its [`Slot`] of every step, and beats it while a long one moves. Reading a slot never waits for its worker: the
//! lock is held for a few instructions only.
//!
//! A push of many partitions is one long step. What it has begun and sent is counted here as it goes on, for those who
//! look; what it comes to is counted in the job's tally, once it is known.

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
    /// Where the step is a push: what has become of it so far.
    pub pushing: Pushing,
}

/// A push that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pushing {
    /// Of how many partitions it is.
    pub partitions: u64,
    /// How many of them were begun.
    pub begun: u64,
    /// Sizes of the files that were sent.
    pub bytes: u64,
}

/// What a job has done, and not handed over as counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// Partitions, those that are done in part as their share.
    pub partitions: u64,
    pub bytes: u64,
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
    /// What the push under way has begun and sent, of how many partitions.
    partitions: AtomicU64,
    begun: AtomicU64,
    bytes: AtomicU64,
    /// What the job has done and not handed over: in thousandths of partitions, and in bytes.
    done_in_part: AtomicU64,
    sent: AtomicU64,
    /// What one push of one partition adds to the former: a partition goes to several targets.
    share: AtomicU64,
}

/// In how many parts a partition is counted while it is pushed.
const WHOLE: u64 = 1000;

impl Slot {
    /// The worker has begun a job on this disk, with these partitions if they are known.
    pub(crate) fn begin(&self, lane: usize, disk: &Arc<str>, custody: Option<Arc<Custody>>) {
        *lock(&self.custody) = custody;
        self.done_in_part.store(0, Ordering::Relaxed);
        self.sent.store(0, Ordering::Relaxed);
        let (disk, since, step, pushing) = (disk.clone(), Instant::now(), Step::CheckingDrive, Pushing::default());
        self.set(Some(Doing { lane, disk, partition: None, step, peer: None, since, pushing }));
    }

    /// The worker goes on to this step.
    pub(crate) fn step(&self, partition: Option<Partition>, step: Step, peer: Option<Arc<str>>) {
        if let Some(doing) = lock(&self.doing).as_mut() {
            (doing.partition, doing.step, doing.peer, doing.since) = (partition, step, peer, Instant::now());
        }
        self.push_of(0);
        self.beat();
    }

    /// The step is a push of so many partitions.
    pub(crate) fn push_of(&self, partitions: usize) {
        for (place, count) in [(&self.partitions, partitions as u64), (&self.begun, 0), (&self.bytes, 0)] {
            place.store(count, Ordering::Relaxed);
        }
    }

    /// From now on each of so many partitions is one of so many pushes, as a mean.
    pub(crate) fn divide(&self, partitions: usize, pushes: usize) {
        self.share.store(WHOLE * partitions as u64 / pushes.max(1) as u64, Ordering::Relaxed);
    }

    /// A partition is counted.
    pub(crate) fn counted(&self) {
        let less = |done: u64| Some(done.saturating_sub(WHOLE));
        // It is never refused.
        let _ = self.done_in_part.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// What was counted is handed over.
    pub(crate) fn handed_over(&self) {
        self.sent.store(0, Ordering::Relaxed);
    }

    /// What the job has done that nobody has counted yet.
    pub(crate) fn ahead(&self) -> Ahead {
        let left = self.custody().map_or(0, |custody| custody.left() as u64);
        let done = self.done_in_part.load(Ordering::Relaxed) / WHOLE;
        Ahead { partitions: done.min(left), bytes: self.sent.load(Ordering::Relaxed) }
    }

    /// The worker has ended its job.
    pub(crate) fn end(&self) {
        *lock(&self.custody) = None;
        self.set(None);
        self.ended.fetch_add(1, Ordering::Release);
    }

    /// What the worker is doing; `None` between jobs.
    pub(crate) fn doing(&self) -> Option<Doing> {
        let doing = lock(&self.doing).clone()?;
        let [partitions, begun, bytes] =
            [&self.partitions, &self.begun, &self.bytes].map(|count| count.load(Ordering::Relaxed));
        Some(Doing { pushing: Pushing { partitions, begun, bytes }, ..doing })
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

    fn pushes(&self, partitions: u64, bytes: u64) {
        self.begun.fetch_add(partitions, Ordering::Relaxed);
        self.done_in_part.fetch_add(partitions * self.share.load(Ordering::Relaxed), Ordering::Relaxed);
        for place in [&self.bytes, &self.sent] {
            place.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::PolicyIndex;

    #[test]
    fn a_push_moves_while_it_is_under_way_and_is_counted_once() {
        let slot = Slot::default();
        let custody = Custody::new(PolicyIndex::new(0), (0..4).map(Partition::new).collect());
        slot.begin(0, &Arc::from("sda"), Some(Arc::new(custody)));
        // Four partitions, each to two targets.
        slot.divide(4, 8);
        slot.step(Some(Partition::new(0)), Step::Pushing, None);
        slot.push_of(4);
        slot.pushes(3, 100);
        slot.pushes(0, 50);
        assert_eq!(slot.doing().unwrap().pushing, Pushing { partitions: 4, begun: 3, bytes: 150 });
        assert_eq!(slot.ahead(), Ahead { partitions: 1, bytes: 150 });
        // The next target.
        slot.step(Some(Partition::new(0)), Step::Pushing, None);
        slot.push_of(4);
        assert_eq!(slot.doing().unwrap().pushing, Pushing { partitions: 4, begun: 0, bytes: 0 });
        slot.pushes(4, 7);
        assert_eq!(slot.ahead(), Ahead { partitions: 3, bytes: 157 });
        slot.counted();
        slot.handed_over();
        assert_eq!(slot.ahead(), Ahead { partitions: 2, bytes: 0 });
        // What is pushed again and again is no more than there is.
        slot.pushes(400, 0);
        assert_eq!(slot.ahead().partitions, 4);
        slot.end();
        slot.begin(0, &Arc::from("sda"), None);
        assert_eq!(slot.ahead(), Ahead::default());
    }
}
