//! The threads of a pass: a fixed rayon pool of `concurrency` threads that drains the queue, a spare thread beside it for
//! each permit that a stuck job gave back, and the watchdog.
//!
//! A system that is short of threads costs time only: as many as can be had are started, and what is missing is tried
//! again every second, which the log is told when it begins and when it is over. A pass is never without its watchdog or
//! its workers for longer than the shortage lasts.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{error, info};

use super::worker::{Event, Task, drain};
use crate::heartbeats::Heartbeats;
use crate::job::slot::Slot;
use crate::job::work::{STACK, Tools};
use crate::log::{set_thread_prefix, thread_prefix};
use crate::pass::watchdog::{Limits, Slots, watch};

/// How long after a thread could not be started it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The threads of a pass. They end once the queue's other end is gone and nothing keeps them.
pub(crate) struct Crew {
    wiring: Wiring,
    limits: Limits,
    heartbeats: Heartbeats,
    /// The pool, once it could be started. It is the pass's own, so a stuck thread goes with it.
    pool: Option<rayon::ThreadPool>,
    /// Workers that were started.
    workers: usize,
    /// The place of a worker that could not be started.
    vacancy: Option<(usize, Arc<Slot>)>,
    /// The watchdog ends when this goes.
    watchdog: Option<Sender<()>>,
    /// When what could not be started is tried again.
    next_try: Option<Instant>,
}

/// What a worker is connected with.
#[derive(Clone)]
struct Wiring {
    queue: Receiver<Task>,
    events: Sender<Event>,
    tools: Arc<Tools>,
    slots: Arc<Slots>,
}

impl Crew {
    /// Nobody yet.
    pub(crate) fn new(
        queue: Receiver<Task>,
        events: Sender<Event>,
        tools: Arc<Tools>,
        limits: Limits,
        heartbeats: Heartbeats,
    ) -> Self {
        let wiring = Wiring { queue, events, tools, slots: Arc::default() };
        Self { wiring, limits, heartbeats, pool: None, workers: 0, vacancy: None, watchdog: None, next_try: None }
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// What the workers are doing.
    pub(crate) fn slots(&self) -> &Arc<Slots> {
        &self.wiring.slots
    }

    /// Starts what is missing to have so many workers, and the watchdog. What cannot be had now is tried again when this
    /// is called after a while.
    pub(crate) fn muster(&mut self, wanted: usize) {
        if self.next_try.is_some_and(|next_try| Instant::now() < next_try) {
            return;
        }
        let workers = self.start_workers(wanted);
        let missing = self.start_watchdog().and(workers).err();
        match (missing, self.next_try) {
            (None, None) => {}
            (None, Some(_)) => {
                info!("The threads of the pass could be started");
                self.next_try = None;
            }
            (Some(error), told) => {
                if told.is_none() {
                    let workers = self.workers;
                    error!(
                        "Cannot start all threads of the pass, so it goes on with {workers} workers: {error}; this is tried again every second"
                    );
                }
                self.next_try = Some(Instant::now() + TRY_AGAIN);
            }
        }
    }

    fn start_workers(&mut self, wanted: usize) -> io::Result<()> {
        if self.pool.is_none() {
            self.start_pool(wanted)?;
        }
        while self.workers < wanted {
            let place = self.vacancy.take().unwrap_or_else(|| self.wiring.slots.add());
            let (wiring, prefix, (worker, slot)) = (self.wiring.clone(), thread_prefix(), place.clone());
            let work = move || {
                set_thread_prefix(prefix);
                drain(&wiring.queue, &wiring.events, &wiring.tools, worker, &slot);
            };
            let started = thread::Builder::new().name(format!("spare-{worker}")).stack_size(STACK).spawn(work);
            started.inspect_err(|_| self.vacancy = Some(place))?;
            self.workers += 1;
        }
        Ok(())
    }

    /// Starts the pool, with fewer threads if the system cannot start all of them.
    fn start_pool(&mut self, wanted: usize) -> io::Result<()> {
        let mut size = wanted;
        let pool = loop {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(size).stack_size(STACK);
            match pool.thread_name(|number| format!("worker-{number}")).build() {
                Ok(pool) => break pool,
                Err(error) if size <= 1 => return Err(io::Error::other(error)),
                Err(_) => size /= 2,
            }
        };
        let places: Vec<_> = (0..size).map(|_| self.wiring.slots.add()).collect();
        let (wiring, prefix) = (self.wiring.clone(), thread_prefix());
        pool.spawn_broadcast(move |worker| {
            let (number, slot) = &places[worker.index()];
            set_thread_prefix(prefix.clone());
            drain(&wiring.queue, &wiring.events, &wiring.tools, *number, slot);
        });
        self.workers = size;
        self.pool = Some(pool);
        Ok(())
    }

    /// Starts the thread that looks whether the workers move.
    fn start_watchdog(&mut self) -> io::Result<()> {
        if self.watchdog.is_some() {
            return Ok(());
        }
        let (stop, stopped) = bounded(0);
        let (slots, events, limits, heartbeats) =
            (self.wiring.slots.clone(), self.wiring.events.clone(), self.limits, self.heartbeats.clone());
        thread::Builder::new().name("watchdog".into()).stack_size(STACK).spawn(move || {
            let registration = heartbeats.register("the watchdog of jobs");
            watch(&slots, limits, &stopped, &registration, |worker, job| {
                // With the pass gone there is nobody to tell.
                let _ = events.send(Event::Stuck { worker, job });
            });
            registration.leave();
        })?;
        self.watchdog = Some(stop);
        Ok(())
    }
}
