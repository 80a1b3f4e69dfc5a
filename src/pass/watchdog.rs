//! What each worker is doing, and the thread that looks whether anything moves.
//!
//! A worker tells its [`Slot`] of every step, and beats it while a long one moves. Reading a slot never waits for its
//! worker: the lock is held for a few instructions only. The watchdog compares each slot's beats from time to time; a
//! job that has not moved for `lockup_timeout` is reported once. (Swift's replicator of 2014 compared one counter of the
//! whole process, and killed every job when that stood still, B5.23.)

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::names::Partition;
use crate::pulse::Pulse;
use crate::vitals::Alive;

/// A step of a job, as operators name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    CheckingDrive,
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

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CheckingDrive => "checking the drive",
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
pub struct Doing {
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
pub struct Slot {
    doing: Mutex<Option<Doing>>,
    beats: AtomicU64,
    /// Jobs that have ended.
    ended: AtomicU64,
}

impl Slot {
    /// The worker has begun a job on this disk.
    pub fn begin(&self, lane: usize, disk: &Arc<str>) {
        let (disk, since) = (disk.clone(), Instant::now());
        self.set(Some(Doing { lane, disk, partition: None, step: Step::CheckingDrive, peer: None, since }));
    }

    /// The worker goes on to this step.
    pub fn step(&self, partition: Option<Partition>, step: Step, peer: Option<Arc<str>>) {
        if let Some(doing) = self.doing.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            (doing.partition, doing.step, doing.peer, doing.since) = (partition, step, peer, Instant::now());
        }
        self.beat();
    }

    /// The worker has ended its job.
    pub fn end(&self) {
        self.set(None);
        self.ended.fetch_add(1, Ordering::Release);
    }

    /// What the worker is doing; `None` between jobs.
    pub fn doing(&self) -> Option<Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, doing: Option<Doing>) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = doing;
        self.beat();
    }
}

impl Pulse for Slot {
    fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }
}

/// A job that did not move for too long.
#[derive(Clone, Debug)]
pub struct StuckJob {
    slot: Arc<Slot>,
    /// How many jobs had ended on the slot before this one.
    number: u64,
    pub doing: Doing,
}

impl StuckJob {
    /// The job that is on this slot now, if there is one.
    pub fn new(slot: Arc<Slot>) -> Option<Self> {
        let number = slot.ended.load(Ordering::Acquire);
        let doing = slot.doing()?;
        Some(Self { slot, number, doing })
    }

    /// Whether the job has not come back.
    pub fn is_at_work(&self) -> bool {
        self.slot.ended.load(Ordering::Acquire) == self.number
    }
}

/// For how long a job may not move.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In general: `lockup_timeout`.
    pub lockup: Duration,
    /// In a push, which may be silent while one large file is sent, and has a time limit of its own.
    pub push: Duration,
}

impl Limits {
    /// For how long the step may not move.
    pub fn of(self, step: Step) -> Duration {
        match step {
            Step::Pushing | Step::Verifying => self.lockup.max(self.push),
            _ => self.lockup,
        }
    }
}

/// Watches the slots until the other end of `stop` goes, and reports each job that does not move for too long once, with
/// its slot's place. Gives a sign of life whenever it has looked.
pub fn watch(
    slots: &[Arc<Slot>],
    limits: Limits,
    stop: &Receiver<()>,
    alive: &Alive,
    report: impl Fn(usize, StuckJob),
) {
    struct Watched {
        beats: u64,
        since: Instant,
        is_reported: bool,
    }
    let fresh =
        |slot: &Slot| Watched { beats: slot.beats.load(Ordering::Relaxed), since: Instant::now(), is_reported: false };
    let mut watched: Vec<_> = slots.iter().map(|slot| fresh(slot)).collect();
    let period = (limits.lockup / 10).clamp(Duration::from_millis(20), alive.rhythm());
    while stop.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
        alive.sign();
        for (number, (slot, seen)) in slots.iter().zip(&mut watched).enumerate() {
            if slot.beats.load(Ordering::Relaxed) != seen.beats {
                *seen = fresh(slot);
            } else if !seen.is_reported
                && seen.since.elapsed() >= limits.lockup
                && let Some(job) = StuckJob::new(slot.clone())
                && seen.since.elapsed() >= limits.of(job.doing.step)
            {
                seen.is_reported = true;
                report(number, job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vitals::Vitals;

    /// Runs the watchdog over one slot while `work` goes on; gives what it reported.
    fn watched(limits: Limits, work: impl FnOnce(&Slot)) -> Vec<StuckJob> {
        let slot = Arc::new(Slot::default());
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let reports = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let slots = [slot.clone()];
            let reports = &reports;
            let alive = Vitals::default().enrol("the watchdog of jobs");
            scope.spawn(move || watch(&slots, limits, &stopped, &alive, |_, job| reports.lock().unwrap().push(job)));
            work(&slot);
            drop(stop);
        });
        reports.into_inner().unwrap()
    }

    const LIMIT: Duration = Duration::from_millis(400);
    const LIMITS: Limits = Limits { lockup: LIMIT, push: Duration::ZERO };

    #[test]
    fn a_job_that_does_not_move_is_reported_once_with_its_step() {
        let reports = watched(LIMITS, |slot| {
            slot.begin(3, &Arc::from("sdb"));
            slot.step(Some(Partition::new(12)), Step::Hashing, None);
            std::thread::sleep(LIMIT * 3);
        });
        let [job] = &reports[..] else { panic!("{reports:?}") };
        assert_eq!((job.doing.lane, &*job.doing.disk), (3, "sdb"));
        assert_eq!((job.doing.partition, job.doing.step), (Some(Partition::new(12)), Step::Hashing));
        assert!(job.is_at_work());
        job.slot.end();
        assert!(!job.is_at_work());
    }

    #[test]
    fn a_long_step_that_beats_and_an_idle_worker_are_left_alone() {
        let reports = watched(LIMITS, |slot| {
            slot.begin(0, &Arc::from("sda"));
            for _ in 0..30 {
                std::thread::sleep(LIMIT / 20);
                slot.beat();
            }
            slot.end();
            std::thread::sleep(LIMIT * 2);
        });
        assert!(reports.is_empty(), "{reports:?}");
    }

    #[test]
    fn a_push_may_be_silent_for_as_long_as_its_own_limit() {
        let limits = Limits { lockup: LIMIT, push: LIMIT * 1000 };
        let reports = watched(limits, |slot| {
            slot.begin(0, &Arc::from("sda"));
            slot.step(None, Step::Pushing, None);
            std::thread::sleep(LIMIT * 3);
        });
        assert!(reports.is_empty(), "{reports:?}");
    }
}
