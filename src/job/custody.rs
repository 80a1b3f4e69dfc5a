//! Which of a job's partitions are still its own.
//!
//! A job that hangs at one partition would keep all the others of its list from their turn. So what it has not done is
//! taken from it and handed out again, but for the partition that it is at. It may wake up at any time and go on with
//! its list: before each partition, and before whatever it does for several, it looks here whether they are still its
//! own. Taking and beginning exclude each other, so no partition is begun by two jobs. What the job had hashed or recorded
//! of the others before it hung is given up by it when it wakes, with nothing removed. The locks of hand-offs are kept here,
//! so that those of what is taken can be let go at once: whoever gets a hand-off next takes it anew.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::device::lock::PathLock;
use crate::locks::lock;
use crate::names::{Partition, PolicyIndex};

/// For how long a list of hand-offs is held before it is given up as a list: SSYNC to the partition waits meanwhile.
pub(crate) const LOCKS_HELD: Duration = Duration::from_secs(60);

/// A job's partitions, shared by the job and by whoever may take them from it.
#[derive(Debug)]
pub(crate) struct Custody {
    policy: PolicyIndex,
    partitions: Vec<Partition>,
    state: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    is_revoked: bool,
    /// The job ended before its list did.
    is_cut_short: bool,
    /// The partition that was begun last.
    current: Option<Partition>,
    done: HashSet<Partition>,
    /// `.lock-replication` of the hand-offs that the job has at hand.
    locks: HashMap<Partition, PathLock>,
}

/// A lock that is kept for a job until this goes, or the partition is taken from the job.
#[derive(Debug)]
pub(crate) struct KeptLock<'c> {
    custody: &'c Custody,
    partition: Partition,
}

impl Drop for KeptLock<'_> {
    fn drop(&mut self) {
        self.custody.lock().locks.remove(&self.partition);
    }
}

impl Custody {
    /// All of these are the job's.
    pub(crate) fn new(policy: PolicyIndex, partitions: Vec<Partition>) -> Self {
        Self { policy, partitions, state: Mutex::default() }
    }

    /// The policy of the partitions.
    pub(crate) fn policy(&self) -> PolicyIndex {
        self.policy
    }

    /// The job begins with this partition, or goes on with it; false if it is no longer the job's.
    #[must_use]
    pub(crate) fn begin(&self, partition: Partition) -> bool {
        let mut state = self.lock();
        if !state.is_revoked {
            state.current = Some(partition);
        }
        state.current == Some(partition)
    }

    /// Whether this partition is still the job's.
    pub(crate) fn is_own(&self, partition: Partition) -> bool {
        let state = self.lock();
        !state.is_revoked || state.current == Some(partition)
    }

    /// The job has done with this partition; its counts are, or will be, handed over.
    pub(crate) fn done(&self, partition: Partition) {
        self.lock().done.insert(partition);
    }

    /// The job leaves what it has not done for another one, since it is paused.
    pub(crate) fn cut_short(&self) {
        self.lock().is_cut_short = true;
    }

    /// What a job left that has ended, and was cut short.
    pub(crate) fn cut_off(&self) -> Vec<Partition> {
        let was_cut_short = self.lock().is_cut_short;
        let own = |partition: &Partition| self.is_own(*partition);
        if was_cut_short { self.not_done().into_iter().filter(own).collect() } else { Vec::new() }
    }

    /// Whether the job may still be at this partition, or come to it.
    pub(crate) fn holds(&self, policy: PolicyIndex, partition: Partition) -> bool {
        if policy != self.policy || !self.partitions.contains(&partition) {
            return false;
        }
        let state = self.lock();
        !state.done.contains(&partition) && (!state.is_revoked || state.current == Some(partition))
    }

    /// Whether what the job has not done was taken from it.
    pub(crate) fn is_revoked(&self) -> bool {
        self.lock().is_revoked
    }

    /// What the job has not done.
    pub(crate) fn not_done(&self) -> Vec<Partition> {
        let state = self.lock();
        self.partitions.iter().copied().filter(|partition| !state.done.contains(partition)).collect()
    }

    /// How many that are.
    pub(crate) fn left(&self) -> usize {
        self.partitions.len().saturating_sub(self.lock().done.len())
    }

    /// Keeps the lock of a partition for the job. If the partition was taken from it meanwhile, the lock goes at once.
    pub(crate) fn keep(&self, partition: Partition, lock: PathLock) -> KeptLock<'_> {
        let mut state = self.lock();
        if !state.is_revoked || state.current == Some(partition) {
            state.locks.insert(partition, lock);
        }
        KeptLock { custody: self, partition }
    }

    /// Takes from the job what it has not done, but for the suspect and what it has begun last.
    pub(crate) fn revoke(&self, suspect: Partition) -> Vec<Partition> {
        let mut state = self.lock();
        if std::mem::replace(&mut state.is_revoked, true) {
            return Vec::new();
        }
        let is_free = |partition: &Partition| {
            *partition != suspect && state.current != Some(*partition) && !state.done.contains(partition)
        };
        let free: Vec<_> = self.partitions.iter().copied().filter(is_free).collect();
        state.locks.retain(|partition, _| !free.contains(partition));
        free
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing in here leaves the state half changed.
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn numbers(partitions: &[Partition]) -> Vec<u32> {
        partitions.iter().map(|partition| partition.number()).collect()
    }

    #[test]
    fn what_a_job_has_not_done_is_taken_once_but_for_what_it_is_at() {
        let custody = Custody::new(PolicyIndex::new(0), (0..5).map(Partition::new).collect());
        assert!(custody.begin(Partition::new(0)));
        custody.done(Partition::new(0));
        assert!(custody.begin(Partition::new(1)));
        assert_eq!(numbers(&custody.not_done()), [1, 2, 3, 4]);
        let holds = |n| custody.holds(PolicyIndex::new(0), Partition::new(n));
        assert!(
            !holds(0) && holds(1) && holds(2) && !holds(5) && !custody.holds(PolicyIndex::new(1), Partition::new(1))
        );
        assert_eq!(numbers(&custody.revoke(Partition::new(1))), [2, 3, 4]);
        assert!(holds(1) && !holds(2), "they are somebody else's");
        assert!(custody.is_revoked() && !custody.begin(Partition::new(2)) && !custody.is_own(Partition::new(2)));
        assert!(custody.begin(Partition::new(1)) && custody.is_own(Partition::new(1)), "it was not taken");
        assert!(custody.revoke(Partition::new(1)).is_empty(), "they are somebody else's by now");
    }

    #[test]
    fn a_job_that_wakes_up_before_its_list_is_taken_keeps_what_it_is_at_then() {
        let custody = Custody::new(PolicyIndex::new(0), (0..5).map(Partition::new).collect());
        assert!(custody.begin(Partition::new(1)) && custody.begin(Partition::new(2)));
        assert_eq!(numbers(&custody.revoke(Partition::new(1))), [0, 3, 4]);
    }

    #[test]
    fn no_partition_is_begun_by_two_jobs_however_taking_and_beginning_meet() {
        for _ in 0..200 {
            let all: Vec<_> = (0..64).map(Partition::new).collect();
            let custody = Custody::new(PolicyIndex::new(0), all.clone());
            let (begun, taken) = std::thread::scope(|scope| {
                let job = scope.spawn(|| {
                    let begun = all.iter().copied().take_while(|partition| custody.begin(*partition));
                    begun.collect::<Vec<_>>()
                });
                let taker = scope.spawn(|| custody.revoke(Partition::new(0)));
                (job.join().unwrap(), taker.join().unwrap())
            });
            // What was begun and not yet told as done is taken too, but for the last.
            let last = begun.last().copied();
            assert!(last.is_none_or(|last| !taken.contains(&last)));
            let after = all.iter().skip(begun.len()).filter(|partition| **partition != Partition::new(0));
            assert!(after.into_iter().all(|partition| taken.contains(partition)), "each is somebody's");
        }
    }

    #[test]
    fn the_locks_of_what_is_taken_are_let_go() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let take = |place: usize| PathLock::acquire(folders[place].path(), Some("replication"), Duration::ZERO);
        let custody = Custody::new(PolicyIndex::new(0), (0..3).map(Partition::new).collect());
        assert!(custody.begin(Partition::new(0)));
        let kept: Vec<_> = (0..2).map(|n| custody.keep(Partition::new(n), take(n as usize).unwrap())).collect();
        assert!(take(0).is_err() && take(1).is_err());
        assert_eq!(numbers(&custody.revoke(Partition::new(0))), [1, 2]);
        assert!(take(0).is_err(), "the job is at it");
        let other = take(1).expect("whoever gets it next can lock it");
        drop(kept);
        assert!(take(0).is_ok() && take(1).is_err(), "the job gives back its own only");
        drop(other);
        let late = custody.keep(Partition::new(2), take(1).unwrap());
        assert!(take(1).is_ok(), "it was taken before it was locked");
        drop(late);
    }
}
