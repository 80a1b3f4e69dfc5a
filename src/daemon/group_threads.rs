//! The threads of groups of workers.
//!
//! A thread that cannot be started, or that panics, is started again in the next round, and what the group's passes
//! left over must not be lost with it. So the replicator of each group is kept in a [`Seat`], and the thread that runs
//! the group's passes borrows it. As long as a group has no thread, the service manager is not told that anything is
//! wrong: the devices of the other groups are looked after, and a restart would interrupt that.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

use log::{error, info};

use super::groups::GroupShare;
use crate::locks::{self, lock};
use crate::pass::{Leftover, Replicator};

/// A group and its replicator, whichever thread runs its passes.
pub(super) struct Seat {
    pub group: usize,
    pub share: Arc<GroupShare>,
    replicator: Mutex<Replicator>,
}

impl Seat {
    /// The seat of a group that has no thread yet.
    pub(super) fn new(group: usize, share: GroupShare, replicator: &mut Replicator) -> Self {
        let share = Arc::new(share);
        let own = replicator.for_share(share.clone(), &name(group));
        own.registration().beat_after(Duration::MAX);
        Self { group, share, replicator: Mutex::new(own) }
    }

    /// Borrows the replicator; nobody else can until the guard is dropped.
    pub(super) fn replicator(&self) -> MutexGuard<'_, Replicator> {
        // A pass that broke off leaves a replicator that can make another one.
        lock(&self.replicator)
    }

    /// Starts the thread of the group, which does `work`.
    ///
    /// # Errors
    /// The system's error if it cannot start another thread.
    pub(super) fn start<'scope, T: Send + 'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        work: impl FnOnce() -> T + Send + 'scope,
    ) -> io::Result<ScopedJoinHandle<'scope, T>> {
        Builder::new().name(name(self.group)).spawn_scoped(scope, work)
    }

    /// Ends the passes of the group; returns what they leave over.
    pub(super) fn leave(self) -> Leftover {
        locks::into_inner(self.replicator).finish()
    }
}

fn name(group: usize) -> String {
    format!("group-{group}")
}

/// The threads that run the groups' passes.
pub(super) struct GroupThreads<'a, 'scope, F> {
    seats: &'a [Seat],
    threads: Vec<Option<ScopedJoinHandle<'scope, ()>>>,
    /// Groups that have no thread, as the log was told.
    missing: Vec<bool>,
    start: F,
}

impl<'a, 'scope, F> GroupThreads<'a, 'scope, F>
where
    F: FnMut(&'a Seat) -> io::Result<ScopedJoinHandle<'scope, ()>>,
{
    /// No thread yet.
    pub(super) fn new(seats: &'a [Seat], start: F) -> Self {
        Self { seats, threads: seats.iter().map(|_| None).collect(), missing: vec![false; seats.len()], start }
    }

    /// Starts the threads that are missing; the log is told when it begins that one cannot be, and when it is over.
    ///
    /// A thread that has ended is started again, unless that `is_over` which it was for.
    pub(super) fn fill(&mut self, is_over: impl Fn() -> bool) {
        for ((seat, thread), is_missing) in self.seats.iter().zip(&mut self.threads).zip(&mut self.missing) {
            let group = seat.group + 1;
            match thread {
                Some(running) if !running.is_finished() => continue,
                Some(_) if is_over() => return,
                Some(_) => error!("The passes of group {group} broke off, which is a bug; they begin again"),
                None => {}
            }
            match (self.start)(seat) {
                Ok(started) => {
                    if std::mem::take(is_missing) {
                        info!("The thread of group {group} could be started; its devices are replicated again");
                    }
                    *thread = Some(started);
                }
                Err(error) => {
                    if !std::mem::replace(is_missing, true) {
                        error!(
                            "Cannot start the thread of group {group}, so its devices are not replicated until it can \
                             be: {error}"
                        );
                    }
                    seat.replicator().registration().beat_after(Duration::MAX);
                    *thread = None;
                }
            }
        }
    }

    /// Whether no thread is left.
    pub(super) fn have_ended(&self) -> bool {
        self.threads.iter().flatten().all(ScopedJoinHandle::is_finished)
    }
}
