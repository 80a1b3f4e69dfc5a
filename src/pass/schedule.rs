//! A pass under way: lanes -> bounded queue -> rayon pool, and what comes back.
//!
//! The thread that runs the pass owns all its state. It hands out a job for every free permit, of which there are
//! `concurrency`, over a bounded crossbeam queue; every thread of the rayon pool drains that queue in one loop, and
//! answers over a second one. A job shares nothing with the others and counts for itself, so nothing is locked. Between
//! answers the thread logs progress every `stats_interval` and looks at the ring files every `ring_check_interval`.
//!
//! A watchdog thread reports jobs that do not move. The pass then closes the job's lane and, once per lane, gives its
//! permit to the others; the pool has a spare thread per lane for that. A pass does not wait for closed lanes, and what
//! is stuck stays known to the next pass ([`Schedule::run`] gives it back). The pool is the pass's own, so a stuck
//! thread goes with it, and ends when its job does.
//!
//! A panic in a job is caught around that job ([`super::worker`]). (One in a task of rayon's own would end the process.)

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded, never, select, unbounded};
use log::{error, info, warn};

use super::board::Board;
use super::collect::{Collect, Queue};
use super::interrupt::Interrupt;
use super::lanes::{BatchLimits, Lanes, Next};
use super::policies::{Change, Policies};
use super::summary::{self, Notes, PassSummary};
use super::view::PolicyView;
use super::watchdog::{Doing, Limits, Slot, StuckJob, watch};
use super::work::{Batch, Pass, STACK, Tools};
use super::worker::{Event, Job, Task, drain};
use super::{Legacy, Scope};
use crate::config::settings::Settings;
use crate::names::{Partition, PolicyIndex};
use crate::report::lines::{Progress, stats_lines};
use crate::report::log::{set_thread_prefix, thread_prefix};
use crate::report::stats::ReplicationStats;
use crate::vitals::{Alive, Vitals};

/// How many times as many partitions as go into one rsync are compared in a job, if those are several. The more are
/// compared before anything is pushed, the more go to each target in one run; and handing over a job costs as much as
/// comparing a partition.
const LISTS: usize = 4;

/// Hand-offs per job; each is locked until its decision.
const HANDOFFS: usize = 32;

/// What a push may take beyond rsync's time limit: the time until a killed rsync is dead, or given up.
const PUSH_SLACK: Duration = Duration::from_secs(10);

/// However often progress is to be logged and rings to be looked at, the thread sleeps so long if nothing happens.
const SHORTEST_SLEEP: Duration = Duration::from_millis(50);

/// What a pass looks at, and gives, while it is under way.
#[derive(Clone, Copy)]
pub struct Signs<'a> {
    /// Ends the pass early.
    pub interrupt: &'a Interrupt,
    pub vitals: &'a Vitals,
    /// The promise of the thread that runs the pass.
    pub alive: &'a Alive,
}

/// A pass under way.
pub struct Schedule<'a> {
    policies: &'a Policies,
    signs: Signs<'a>,
    tools: Arc<Tools>,
    /// By the policies' places in [`Policies`].
    views: Vec<Option<Arc<PolicyView>>>,
    scope: Scope,
    pass: Arc<Pass>,
    concurrency: usize,
    limits: Limits,
    stats_interval: Duration,
    ring_check_interval: Duration,
    lanes: Lanes,
    /// Jobs that have a permit.
    at_work: usize,
    /// Workers whose job is stuck; whether its permit was given to the others.
    stuck: HashMap<usize, bool>,
    /// Partitions that took long in the last pass, by the names of their devices.
    slow: HashMap<String, Vec<(PolicyIndex, Partition)>>,
    /// Partitions whose turn did not come in the last pass, by the names of their devices.
    left: HashMap<String, HashSet<(PolicyIndex, Partition)>>,
    /// Stuck jobs of earlier passes whose devices are not in this one.
    elsewhere: Vec<StuckJob>,
    /// Partitions that were found so far.
    found: u64,
    reported: u64,
    notes: Notes,
    is_interrupted: bool,
    started: Instant,
}

impl<'a> Schedule<'a> {
    /// A pass over the local devices. `legacy` is what the pass before left behind; lanes of stuck jobs begin closed.
    pub fn new(
        settings: &Settings,
        policies: &'a Policies,
        tools: Arc<Tools>,
        scope: Scope,
        pass: Arc<Pass>,
        legacy: Legacy,
        signs: Signs<'a>,
    ) -> Self {
        let mut schedule = Self {
            policies,
            signs,
            tools,
            views: policies.views(&scope),
            scope,
            pass,
            concurrency: settings.concurrency.max(1),
            limits: Limits { lockup: settings.lockup_timeout, push: settings.rsync_timeout + PUSH_SLACK },
            stats_interval: settings.stats_interval,
            ring_check_interval: settings.ring_check_interval,
            lanes: Lanes::new(settings.handoffs_first, batch_limits(settings.rsync_batch), settings.concurrency.max(1)),
            at_work: 0,
            stuck: HashMap::new(),
            slow: legacy.slow,
            left: legacy.left,
            elsewhere: Vec::new(),
            found: 0,
            reported: 0,
            notes: Notes::default(),
            is_interrupted: false,
            started: Instant::now(),
        };
        schedule.add_lanes(legacy.stuck);
        schedule
    }

    fn add_lanes(&mut self, stuck: Vec<StuckJob>) {
        for (place, view) in self.views.iter().enumerate() {
            for device in view.iter().flat_map(|view| view.local_devices()) {
                if self.scope.wants_device(&device.device) {
                    self.lanes.add(&device.device, place);
                }
            }
        }
        for job in stuck {
            let Doing { disk, step, since, .. } = &job.doing;
            let lane = self.lanes.iter().position(|lane| lane.disk == *disk);
            match lane {
                _ if !job.is_at_work() => info!("Device {disk} is back"),
                None => self.elsewhere.push(job),
                Some(lane) => {
                    let seconds = since.elapsed().as_secs();
                    warn!("Device {disk} is left out: a job of an earlier pass has been {step} for {seconds}s");
                    self.lanes.close(lane, job);
                }
            }
        }
    }

    /// Runs the pass to its end. With the summary comes what the next pass should know.
    pub fn run(mut self, board: &Arc<Board>) -> (PassSummary, Legacy) {
        let threads = self.concurrency + self.lanes.count();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .stack_size(STACK)
            .thread_name(|number| format!("worker-{number}"))
            .build();
        match pool {
            Ok(pool) => self.drive(&pool, board),
            Err(error) => self.break_off(format!("Cannot start {threads} worker threads: {error}")),
        }
        self.log_progress();
        self.finish()
    }

    /// The pass cannot be complete.
    fn break_off(&mut self, reason: String) {
        error!("{reason}");
        self.notes.broken_off.push(reason);
    }

    fn drive(&mut self, pool: &rayon::ThreadPool, board: &Arc<Board>) {
        let threads = pool.current_num_threads();
        let (tasks, queue) = bounded(self.concurrency);
        let (events, happened) = unbounded();
        let slots: Vec<_> = (0..threads).map(|_| Arc::new(Slot::default())).collect();
        let _watchdog = self.start_watchdog(slots.clone(), events.clone());
        let (tools, prefix) = (self.tools.clone(), thread_prefix());
        let post = board.post(prefix.clone(), slots.clone(), &self.lanes);
        pool.spawn_broadcast(move |worker| {
            set_thread_prefix(prefix.clone());
            drain(&queue, &events, &tools, worker.index(), &slots[worker.index()]);
        });
        let mut heartbeat = Instant::now() + self.stats_interval;
        let mut ring_check = Instant::now() + self.ring_check_interval;
        let mut interrupt = self.signs.interrupt.channel().clone();
        loop {
            self.signs.alive.sign();
            while !self.is_interrupted
                && self.at_work < self.concurrency
                && self.busy_threads() < threads
                && let Some(task) = self.next_task()
            {
                // The queue holds as many as there are permits, so this does not wait.
                if tasks.send(task).is_err() {
                    return self.break_off("All workers have ended; the pass cannot go on".to_owned());
                }
                self.at_work += 1;
            }
            if self.at_work == self.stuck.values().filter(|given_back| !**given_back).count() {
                return;
            }
            let wake_up = heartbeat.min(ring_check).min(post.due());
            let wake_up = wake_up.saturating_duration_since(Instant::now()).max(SHORTEST_SLEEP);
            select! {
                recv(happened) -> event => match event {
                    Ok(event) => {
                        if let Event::Stuck { job, .. } = &event {
                            board.hangs(job);
                        }
                        self.take_in(event);
                    }
                    Err(_) => return,
                },
                recv(interrupt) -> _ => {
                    self.is_interrupted = true;
                    interrupt = never();
                }
                default(wake_up.min(self.signs.alive.rhythm())) => {}
            }
            post.update(&self.lanes);
            let now = Instant::now();
            if now >= heartbeat {
                self.log_progress();
                heartbeat = now + self.stats_interval;
            }
            if now >= ring_check {
                self.check_rings();
                self.reopen_lanes();
                ring_check = now + self.ring_check_interval;
            }
        }
    }

    /// Starts the thread that looks whether the workers move. It ends when the value that this gives goes.
    fn start_watchdog(&self, slots: Vec<Arc<Slot>>, events: Sender<Event>) -> Sender<()> {
        let (stop, stopped) = bounded(0);
        let limits = self.limits;
        let alive = self.signs.vitals.enrol("the watchdog of jobs");
        let watchdog = std::thread::Builder::new().name("watchdog".into()).stack_size(STACK).spawn(move || {
            watch(&slots, limits, &stopped, &alive, |worker, job| {
                // With the pass gone there is nobody to tell.
                let _ = events.send(Event::Stuck { worker, job });
            });
            alive.leave();
        });
        if let Err(error) = watchdog {
            error!("Cannot start the watchdog thread, so a job that hangs will hold up the pass: {error}");
        }
        stop
    }

    /// Threads that have a job, those with a stuck one among them.
    fn busy_threads(&self) -> usize {
        self.at_work + self.stuck.values().filter(|given_back| **given_back).count()
    }

    fn next_task(&mut self) -> Option<Task> {
        if self.lanes.handoffs_remain() {
            warn!("Handoffs first mode still has handoffs remaining.  Aborting current replication pass.");
            self.lanes.drop_waiting(None, None);
            self.notes.broken_off.push("hand-offs are left, which were to be done first".to_owned());
        }
        let (lane, next) = self.lanes.take_next()?;
        let disk = self.lanes.get(lane).disk.clone();
        let job = match next {
            Next::Collect { policies } => Job::Collect(Collect {
                slow: self.slow.get(&*disk).cloned().unwrap_or_default(),
                disk,
                views: policies.into_iter().filter_map(|p| Some((p, self.views[p].clone()?))).collect(),
                overrides: self.scope.overrides.clone(),
            }),
            Next::Batch { policy, partitions } => {
                Job::Batch(Batch { view: self.views[policy].clone()?, disk, partitions, pass: self.pass.clone() })
            }
        };
        Some(Task { lane, job })
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Done { worker, lane, collected, tally } => {
                if self.stuck.remove(&worker) != Some(true) {
                    self.at_work -= 1;
                }
                self.reopen_lanes();
                self.notes.timeline.note(self.started.elapsed().as_secs_f64(), &tally.counts);
                let queues = collected.map(|collected| {
                    self.found += collected.files;
                    if let Some(trouble) = collected.trouble {
                        self.lanes.has_trouble(lane, trouble);
                    }
                    let mut queues = self.still_local(lane, collected.queues);
                    self.put_first_what_was_left(lane, &mut queues);
                    queues
                });
                let found = queues.iter().flatten().map(|queue| queue.partitions.len() as u64);
                self.found += found.sum::<u64>();
                self.lanes.done(lane, queues, tally);
            }
            Event::Progress { lane, tally } => {
                self.notes.timeline.note(self.started.elapsed().as_secs_f64(), &tally.counts);
                self.lanes.count_in(lane, tally);
            }
            Event::Stuck { worker, job } => self.close_lane(worker, job),
        }
    }

    /// Leaves out what a change of ring has overtaken while it was listed.
    fn still_local(&self, lane: usize, mut queues: Vec<Queue>) -> Vec<Queue> {
        let disk = &*self.lanes.get(lane).disk;
        queues.retain(|queue| self.views[queue.policy].as_ref().is_some_and(|view| view.has_disk(disk)));
        queues
    }

    /// What an interrupted pass did not come to has its turn before the rest.
    fn put_first_what_was_left(&mut self, lane: usize, queues: &mut [Queue]) {
        let Some(left) = self.left.get(&*self.lanes.get(lane).disk) else { return };
        for queue in queues {
            if let Some(view) = &self.views[queue.policy] {
                queue.begin_with(view.policy.index, left);
            }
        }
    }

    /// Names a stuck job, and goes on without it.
    fn close_lane(&mut self, worker: usize, job: StuckJob) {
        if !job.is_at_work() {
            return;
        }
        let doing = &job.doing;
        let partition = doing.partition.map_or_else(String::new, |partition| format!(", partition {partition}"));
        error!(
            "Lockup detected: device {}{partition}: no progress for {:?} while {}; the device is left out until this job \
             comes back",
            doing.disk,
            self.limits.of(doing.step),
            doing.step
        );
        let lane = doing.lane;
        let is_first = self.lanes.close(lane, job);
        self.at_work -= usize::from(is_first);
        self.stuck.insert(worker, is_first);
    }

    fn reopen_lanes(&mut self) {
        for disk in self.lanes.reopen() {
            info!("Device {disk} is back");
        }
    }

    /// Looks whether rings have changed, and takes in what has.
    fn check_rings(&mut self) {
        for (place, change) in self.policies.changes(&self.views) {
            match change {
                Change::PartPower => {
                    let dropped = self.lanes.drop_waiting(Some(place), None);
                    self.views[place] = None;
                    if dropped > 0 {
                        self.notes.broken_off.push("the part power of a policy is changed".to_owned());
                    }
                }
                Change::Ring { view, came, went } => {
                    self.views[place] = Some(view);
                    for disk in went {
                        self.lanes.drop_waiting(Some(place), Some(&disk));
                    }
                    for disk in came.iter().filter(|disk| self.scope.wants_device(disk)) {
                        self.lanes.add(disk, place);
                    }
                }
            }
        }
    }

    /// Logs how far the pass is (B12.7).
    fn log_progress(&mut self) {
        let mut total = ReplicationStats::default();
        let mut partition_times = Vec::new();
        for lane in self.lanes.iter() {
            total.merge(&lane.tally.stats);
            partition_times.extend_from_slice(&lane.tally.partition_times);
        }
        let progress = Progress {
            attempted: total.attempted,
            last_attempted: self.reported,
            total: self.found,
            elapsed: self.started.elapsed().as_secs_f64(),
            success: total.success,
            failure: total.failure,
            suffix_count: total.suffix_count,
            suffix_hash: total.suffix_hash,
            suffix_sync: total.suffix_sync,
            partition_times: &mut partition_times,
        };
        stats_lines(progress).iter().for_each(|line| info!("{line}"));
        self.reported = total.attempted;
    }

    fn finish(mut self) -> (PassSummary, Legacy) {
        let left = if self.is_interrupted { self.not_begun() } else { HashMap::new() };
        for lane in self.lanes.unfinished().filter(|lane| !self.is_interrupted || lane.is_closed()) {
            match lane.is_listed() {
                true => warn!("Device {}: {} partitions were not replicated in this pass", lane.disk, lane.waiting()),
                false => warn!("Device {}: its partitions were not listed in this pass", lane.disk),
            }
        }
        self.tools.client.close_idle();
        let stuck = self.lanes.iter().flat_map(|lane| lane.stuck().to_vec()).chain(self.elsewhere).collect();
        let slow = self.lanes.iter().filter(|lane| !lane.tally.slow.is_empty());
        let slow = slow.map(|lane| (lane.disk.to_string(), lane.tally.slow.clone())).collect();
        let has_waiting = self.lanes.unfinished().any(|lane| !lane.is_closed());
        if self.is_interrupted && has_waiting {
            self.notes.broken_off.push("ended early, for a new configuration".to_owned());
        }
        let is_interrupted = self.is_interrupted && (has_waiting || !self.notes.broken_off.is_empty());
        let summary = summary::summary(&self.lanes, self.notes, self.started.elapsed(), is_interrupted);
        (summary, Legacy { stuck, slow, left })
    }

    /// What was listed in this pass and has not been begun, or for devices that were not even listed, what an earlier
    /// pass has not begun.
    fn not_begun(&mut self) -> HashMap<String, HashSet<(PolicyIndex, Partition)>> {
        let mut left = std::mem::take(&mut self.left);
        for lane in self.lanes.iter().filter(|lane| lane.is_listed()) {
            let waiting = lane.queues().iter().filter_map(|queue| Some((self.views[queue.policy].as_ref()?, queue)));
            let waiting = waiting.flat_map(|(view, queue)| queue.partitions.iter().map(|p| (view.policy.index, *p)));
            left.insert(lane.disk.to_string(), waiting.collect());
        }
        left.retain(|_, partitions| !partitions.is_empty());
        left
    }
}

fn batch_limits(rsync_batch: usize) -> BatchLimits {
    match rsync_batch {
        1 => BatchLimits { updates: 1, reverts: 1 },
        several => BatchLimits { updates: several.saturating_mul(LISTS), reverts: several.min(HANDOFFS) },
    }
}
