//! Signs of life of the threads that everything else depends on: those that run passes, and those that watch jobs.
//!
//! With each sign such a thread says when the next one is due. If it does not come in time, nobody schedules or watches
//! jobs any more, whatever the reason, and the service manager should know (see `daemon::systemd`). A job that hangs is
//! another matter: its lane is closed, and the pass goes on without it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::locks::lock;

/// How long a thread may be busy between two signs, if nobody asks for less.
const ALLOWANCE: Duration = Duration::from_secs(150);

/// The threads of a process that have promised to be heard of; shared by all of them.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeats(Arc<Registry>);

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

impl Default for Heartbeats {
    fn default() -> Self {
        Self::new(ALLOWANCE)
    }
}

impl Heartbeats {
    /// No threads yet. `allowance` is how long they may be busy between two signs.
    pub(crate) fn new(allowance: Duration) -> Self {
        Self(Arc::new(Registry { begun: Instant::now(), allowance, threads: Mutex::default() }))
    }

    /// A thread of this name promises to be heard of, from now on until it takes its leave.
    pub(crate) fn register(&self, name: impl Into<String>) -> Registration {
        let thread = Arc::new(Thread { name: name.into(), due: AtomicU64::new(0) });
        lock(&self.0.threads).push(thread.clone());
        let registration = Registration { registry: self.0.clone(), thread };
        registration.sign();
        registration
    }

    /// A thread that should have been heard of by now.
    pub(crate) fn overdue(&self) -> Option<String> {
        let now = millis(self.0.begun.elapsed());
        let threads = lock(&self.0.threads);
        threads.iter().find(|thread| thread.due.load(Ordering::Relaxed) < now).map(|thread| thread.name.clone())
    }
}

/// A thread's promise. It holds even if this is dropped, as by a panic; only [`Registration::leave`] ends it.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Arc<Registry>,
    thread: Arc<Thread>,
}

impl Registration {
    /// The thread is alive, and gives another sign within the allowance.
    pub(crate) fn sign(&self) {
        self.beat_after(Duration::ZERO);
    }

    /// The thread is alive; it rests for so long, and gives another sign within the allowance after that.
    pub(crate) fn beat_after(&self, rest: Duration) {
        let due = self.registry.begun.elapsed().saturating_add(rest).saturating_add(self.registry.allowance);
        self.thread.due.store(millis(due), Ordering::Relaxed);
    }

    /// How often a thread that waits for something should look up to give a sign.
    pub(crate) fn interval_of_beats(&self) -> Duration {
        (self.registry.allowance / 4).clamp(Duration::from_millis(20), Duration::from_secs(10))
    }

    /// Nothing more is promised.
    pub(crate) fn leave(self) {
        let mut threads = lock(&self.registry.threads);
        threads.retain(|thread| !Arc::ptr_eq(thread, &self.thread));
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_until_overdue(heartbeats: &Heartbeats) -> String {
        loop {
            match heartbeats.overdue() {
                Some(name) => return name,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    #[test]
    fn who_keeps_promises_or_has_left_is_not_missed() {
        let heartbeats = Heartbeats::new(Duration::from_secs(600));
        let (stays, leaves) = (heartbeats.register("stays"), heartbeats.register("leaves"));
        stays.sign();
        leaves.leave();
        assert_eq!(heartbeats.overdue(), None);
    }

    #[test]
    fn a_thread_that_is_not_heard_of_is_named_also_when_it_is_gone() {
        let heartbeats = Heartbeats::new(Duration::from_millis(5));
        let rests = heartbeats.register("rests");
        rests.beat_after(Duration::from_secs(600));
        drop(heartbeats.register("panicked"));
        assert_eq!(wait_until_overdue(&heartbeats), "panicked");
        rests.leave();
        assert_eq!(heartbeats.overdue().as_deref(), Some("panicked"));
    }

    #[test]
    fn a_rest_of_any_length_is_counted_with() {
        let heartbeats = Heartbeats::default();
        heartbeats.register("sleeps for ever").beat_after(Duration::MAX);
        assert_eq!(heartbeats.overdue(), None);
    }
}
