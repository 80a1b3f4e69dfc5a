//! Signs of life of the threads that everything else depends on: those that run passes, and those that watch jobs.
//!
//! Such a thread promises, again and again, to be heard of before some time is over. A promise that is not kept means
//! that nobody schedules or watches any more, whatever the reason: then a service manager should know (see
//! `daemon::systemd`). A job that hangs is no such case: its lane is closed, and the pass goes on without it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a thread may be busy between two signs, if nobody asks for less.
const ALLOWANCE: Duration = Duration::from_secs(150);

/// The threads of a process that have promised to be heard of; shared by all of them.
#[derive(Clone, Debug)]
pub(crate) struct Vitals(Arc<Registry>);

#[derive(Debug)]
struct Registry {
    /// What the times are counted from.
    begun: Instant,
    allowance: Duration,
    threads: Mutex<Vec<Arc<Thread>>>,
}

#[derive(Debug)]
struct Thread {
    name: String,
    /// In milliseconds since the registry began.
    due: AtomicU64,
}

impl Default for Vitals {
    fn default() -> Self {
        Self::new(ALLOWANCE)
    }
}

impl Vitals {
    /// No threads yet. `allowance` is how long they may be busy between two signs.
    pub(crate) fn new(allowance: Duration) -> Self {
        Self(Arc::new(Registry { begun: Instant::now(), allowance, threads: Mutex::default() }))
    }

    /// A thread of this name promises to be heard of, from now on until it takes its leave.
    pub(crate) fn enrol(&self, name: impl Into<String>) -> Alive {
        let thread = Arc::new(Thread { name: name.into(), due: AtomicU64::new(0) });
        self.0.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread.clone());
        let alive = Alive { registry: self.0.clone(), thread };
        alive.sign();
        alive
    }

    /// A thread that should have been heard of by now.
    pub(crate) fn overdue(&self) -> Option<String> {
        let now = millis(self.0.begun.elapsed());
        let threads = self.0.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().find(|thread| thread.due.load(Ordering::Relaxed) < now).map(|thread| thread.name.clone())
    }
}

/// A thread's promise. It holds even if this is dropped, as by a panic; only [`Alive::leave`] ends it.
#[derive(Debug)]
pub(crate) struct Alive {
    registry: Arc<Registry>,
    thread: Arc<Thread>,
}

impl Alive {
    /// The thread is alive, and gives another sign within the allowance.
    pub(crate) fn sign(&self) {
        self.sign_for(Duration::ZERO);
    }

    /// The thread is alive; it rests for so long, and gives another sign within the allowance after that.
    pub(crate) fn sign_for(&self, rest: Duration) {
        let due = self.registry.begun.elapsed().saturating_add(rest).saturating_add(self.registry.allowance);
        self.thread.due.store(millis(due), Ordering::Relaxed);
    }

    /// How often a thread that waits for something should look up to give a sign.
    pub(crate) fn rhythm(&self) -> Duration {
        (self.registry.allowance / 4).clamp(Duration::from_millis(20), Duration::from_secs(10))
    }

    /// Nothing more is promised.
    pub(crate) fn leave(self) {
        let mut threads = self.registry.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !Arc::ptr_eq(thread, &self.thread));
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_until_overdue(vitals: &Vitals) -> String {
        loop {
            match vitals.overdue() {
                Some(name) => return name,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    #[test]
    fn who_keeps_promises_or_has_left_is_not_missed() {
        let vitals = Vitals::new(Duration::from_secs(600));
        let (stays, leaves) = (vitals.enrol("stays"), vitals.enrol("leaves"));
        stays.sign();
        leaves.leave();
        assert_eq!(vitals.overdue(), None);
    }

    #[test]
    fn a_thread_that_is_not_heard_of_is_named_also_when_it_is_gone() {
        let vitals = Vitals::new(Duration::from_millis(5));
        let rests = vitals.enrol("rests");
        rests.sign_for(Duration::from_secs(600));
        drop(vitals.enrol("panicked"));
        assert_eq!(wait_until_overdue(&vitals), "panicked");
        rests.leave();
        assert_eq!(vitals.overdue().as_deref(), Some("panicked"));
    }

    #[test]
    fn a_rest_of_any_length_is_counted_with() {
        let vitals = Vitals::default();
        vitals.enrol("sleeps for ever").sign_for(Duration::MAX);
        assert_eq!(vitals.overdue(), None);
    }
}
