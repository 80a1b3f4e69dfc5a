//! The thread that looks whether anything moves.
//!
//! It compares the beats of each worker's [`Slot`] from time to time; a job that has not moved for `lockup_timeout` is
//! reported once. (Swift's replicator of 2014 compared one counter of the
//! whole process, and killed every job when that stood still, B5.23.)
//!
//! Nobody moves while the whole process is paused (SIGSTOP, a virtual machine that is frozen). The watchdog does not
//! either, so its next look comes much too late; what it saw before says nothing then, and all clocks start anew.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::heartbeats::Registration;
use crate::job::custody::Custody;
use crate::job::slot::{Doing, Slot, Step};
use crate::locks::lock;
use crate::names::{Partition, PolicyIndex};

/// A job that did not move for too long.
#[derive(Clone, Debug)]
pub(crate) struct StuckJob {
    slot: Arc<Slot>,
    /// How many jobs had ended on the slot before this one.
    number: u64,
    pub doing: Doing,
    /// The job's partitions, if it has any.
    pub custody: Option<Arc<Custody>>,
}

impl StuckJob {
    /// The job that is on this slot now, if there is one.
    pub(crate) fn new(slot: Arc<Slot>) -> Option<Self> {
        let number = slot.ended();
        let doing = slot.doing()?;
        let custody = slot.custody();
        Some(Self { slot, number, doing, custody })
    }

    /// The partition that the job hangs at, if it is known that no other is to blame.
    pub(crate) fn suspect(&self) -> Option<(PolicyIndex, Partition)> {
        let custody = self.custody.as_ref().filter(|_| self.doing.step.is_about_one_partition())?;
        Some((custody.policy(), self.doing.partition?))
    }

    /// Takes from the job what it has not done, but for the partition that it hangs at. Nothing if that is not known.
    pub(crate) fn take_rest(&self) -> Vec<Partition> {
        match (self.suspect(), &self.custody) {
            (Some((_, suspect)), Some(custody)) => custody.revoke(suspect),
            _ => Vec::new(),
        }
    }

    /// Whether this is the same job.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slot, &other.slot) && self.number == other.number
    }

    /// Whether the job has not come back.
    pub(crate) fn is_at_work(&self) -> bool {
        self.slot.ended() == self.number
    }
}

/// The slots of a pass's workers. There may come more of them.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<Vec<Arc<Slot>>>);

impl Slots {
    /// One more worker: its number, and its slot.
    pub(crate) fn add(&self) -> (usize, Arc<Slot>) {
        let mut slots = lock(&self.0);
        let slot = Arc::new(Slot::default());
        slots.push(slot.clone());
        (slots.len() - 1, slot)
    }

    /// All that there are, by the workers' numbers.
    pub(crate) fn all(&self) -> Vec<Arc<Slot>> {
        lock(&self.0).clone()
    }
}

/// For how long a job may not move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// In general: `lockup_timeout`.
    pub lockup: Duration,
    /// In a push, which may be silent while one large file is sent, and has a time limit of its own.
    pub push: Duration,
    /// In a request to a peer, which has time limits of its own too.
    pub request: Duration,
}

impl Limits {
    /// For how long the step may not move.
    pub(crate) fn of(self, step: Step) -> Duration {
        match step {
            Step::Pushing | Step::Verifying => self.lockup.max(self.push).max(self.request),
            Step::Asking | Step::Telling => self.lockup.max(self.request),
            // The rest of the device waits for it, and a wrong guess lasts only until it comes back.
            Step::Looking => (self.lockup / 4).max(self.lockup.min(SHORTEST_LOOK)),
            Step::CheckingDrive | Step::Listing | Step::Locking | Step::Hashing | Step::Recording | Step::Removing => {
                self.lockup
            }
        }
    }
}

/// So long at least a device may take to answer a look, unless `lockup_timeout` is shorter.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);

/// A look that comes so much too late tells of a pause of the whole process.
const PAUSE: Duration = Duration::from_secs(1);

/// What the watchdog knows of a slot.
struct Watched {
    beats: u64,
    since: Instant,
    is_reported: bool,
}

impl Watched {
    fn fresh(slot: &Slot) -> Self {
        Self { beats: slot.beats(), since: Instant::now(), is_reported: false }
    }
}

/// Watches the slots until the other end of `stop` goes, and reports each job that does not move for too long once, with
/// its slot's place. Gives a sign of life whenever it has looked.
pub(crate) fn watch(
    slots: &Slots,
    limits: Limits,
    stop: &Receiver<()>,
    registration: &Registration,
    report: impl Fn(usize, StuckJob),
) {
    let mut watched: Vec<Watched> = Vec::new();
    let period = (limits.lockup / 10).clamp(Duration::from_millis(20), registration.interval_of_beats());
    let mut last_look = Instant::now();
    while stop.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
        registration.sign();
        let slots = slots.all();
        if last_look.elapsed() > period * 2 + PAUSE {
            watched.iter_mut().for_each(|seen| seen.since = Instant::now());
        }
        last_look = Instant::now();
        watched.extend(slots[watched.len()..].iter().map(|slot| Watched::fresh(slot)));
        for (number, (slot, seen)) in slots.iter().zip(&mut watched).enumerate() {
            if slot.beats() != seen.beats {
                *seen = Watched::fresh(slot);
            } else if !seen.is_reported
                && seen.since.elapsed() >= limits.of(Step::Looking)
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
    use crate::heartbeat::Heartbeat as _;
    use crate::heartbeats::Heartbeats;

    /// Runs the watchdog over one slot while `work` goes on; gives what it reported.
    fn watched(limits: Limits, work: impl FnOnce(&Slot)) -> Vec<StuckJob> {
        let slots = Slots::default();
        let (_, slot) = slots.add();
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let reports = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let (slots, reports) = (&slots, &reports);
            let registration = Heartbeats::default().register("the watchdog of jobs");
            scope.spawn(move || {
                watch(slots, limits, &stopped, &registration, |_, job| reports.lock().unwrap().push(job));
            });
            work(&slot);
            drop(stop);
        });
        reports.into_inner().unwrap()
    }

    const LIMIT: Duration = Duration::from_millis(400);
    const LIMITS: Limits = Limits { lockup: LIMIT, push: Duration::ZERO, request: Duration::ZERO };

    #[test]
    fn a_job_that_does_not_move_is_reported_once_with_its_step() {
        let reports = watched(LIMITS, |slot| {
            slot.begin(3, &Arc::from("sdb"), None);
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
            slot.begin(0, &Arc::from("sda"), None);
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
        let limits = Limits { push: LIMIT * 1000, ..LIMITS };
        let reports = watched(limits, |slot| {
            slot.begin(0, &Arc::from("sda"), None);
            slot.step(None, Step::Pushing, None);
            std::thread::sleep(LIMIT * 3);
        });
        assert!(reports.is_empty(), "{reports:?}");
    }

    #[test]
    fn a_look_whether_the_device_answers_takes_less_time_than_a_job_may() {
        let limits = |lockup| Limits { lockup: Duration::from_secs(lockup), ..LIMITS };
        assert_eq!(limits(1800).of(Step::Looking), Duration::from_secs(450));
        assert_eq!(limits(3).of(Step::Looking), SHORTEST_LOOK);
        assert_eq!(LIMITS.of(Step::Looking), LIMIT);
        let reports = watched(limits(8), |slot| {
            slot.begin(0, &Arc::from("sda"), None);
            slot.step(None, Step::Looking, None);
            std::thread::sleep(Duration::from_secs(7));
        });
        let [job] = &reports[..] else { panic!("{reports:?}") };
        assert_eq!((job.doing.step, job.suspect()), (Step::Looking, None));
    }

    #[test]
    fn a_request_to_a_peer_may_take_as_long_as_its_own_limit() {
        let limits = Limits { request: LIMIT * 1000, ..LIMITS };
        let reports = watched(limits, |slot| {
            slot.begin(0, &Arc::from("sda"), None);
            slot.step(None, Step::Asking, None);
            std::thread::sleep(LIMIT * 3);
        });
        assert!(reports.is_empty(), "{reports:?}");
        for step in [Step::Asking, Step::Telling, Step::Verifying] {
            assert_eq!(limits.of(step), limits.request);
        }
        assert_eq!(limits.of(Step::Hashing), LIMIT);
    }

    #[test]
    fn the_partition_that_a_job_hangs_at_is_known_where_a_step_is_about_one() {
        let custody = Arc::new(Custody::new(PolicyIndex::new(1), (5..8).map(Partition::new).collect()));
        let slot = Arc::new(Slot::default());
        slot.begin(0, &Arc::from("sda"), Some(custody.clone()));
        slot.step(Some(Partition::new(6)), Step::Pushing, None);
        let job = StuckJob::new(slot.clone()).unwrap();
        assert_eq!((job.suspect(), job.take_rest()), (None, Vec::new()));
        assert!(!custody.is_revoked(), "it may be any of them, so all stay the job's");
        slot.step(Some(Partition::new(6)), Step::Hashing, None);
        let job = StuckJob::new(slot.clone()).unwrap();
        assert_eq!(job.suspect(), Some((PolicyIndex::new(1), Partition::new(6))));
        assert_eq!(job.take_rest(), [5, 7].map(Partition::new));
    }
}
