//! A pass under way: lanes -> queue -> rayon pool, and what comes back.
//!
//! The thread that runs the pass owns all its state. It hands out a job for every free permit, of which there are
//! `concurrency` or what is ordered in its stead, over a crossbeam queue; every thread of the rayon pool drains that queue
//! in one loop, and answers over a second one. A job shares nothing with the others and counts for itself, so nothing is locked. Between
//! answers the thread logs progress every `stats_interval` and looks at the ring files every `ring_check_interval`.
//!
//! A watchdog thread reports jobs that do not move. The pass then closes the job's lane, and gives its permit to the
//! others, with a spare thread (see `stuck.rs`). A pass does not wait for what hangs, and it stays known to the next pass
//! ([`Schedule::run`] gives it back). The pool is the pass's own, so a stuck thread goes with it, and ends when its job
//! does.
//!
//! A panic in a job is caught around that job ([`super::worker`]). (One in a task of rayon's own would end the process.)

mod danger;
mod end;
mod first;
mod stuck;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select, unbounded};
use log::{error, info, warn};

use super::board::{Post, RunningPasses};
use super::crew::Crew;
use super::history::History;
use super::interrupt::Interrupt;
use super::lanes::{BatchLimits, Lanes, Next};
use super::leftover::Leftover;
use super::order::ALMOST_FULL;
use super::policies::{Change, Policies};
use super::summary::{Notes, PassSummary};
use super::worker::{Event, Job, Look, Task};
use crate::config::settings::{HandoffsOnly, Settings};
use crate::heartbeats::{Heartbeats, Registration};
use crate::job::collect::{Collect, Collected, Queue};
use crate::job::scope::Scope;
use crate::job::view::PolicyView;
use crate::job::work::{Batch, Pass, Tools};
use crate::log::thread_prefix;
use crate::names::{Partition, PolicyIndex};
use crate::notice;
use crate::orders::first::First;
use crate::orders::moment::Moment;
use crate::pass::watchdog::{Limits, StuckJob};
use crate::report::lines::{PassFigures, stats_lines};
use crate::report::stats::ReplicationStats;
use stuck::Stuck;

/// How many times as many partitions as go into one rsync are compared in a job, if those are several. The more are
/// compared before anything is pushed, the more go to each target in one run; and handing over a job costs as much as
/// comparing a partition.
const LISTS: usize = 4;

/// Hand-offs per job; each is locked until its decision.
const HANDOFFS: usize = 32;

/// What a push or a request may take beyond its time limit: a killed rsync has to die, or is given up.
const SLACK: Duration = Duration::from_secs(10);

/// How often a pass looks at what is ordered.
const LOOK_AT_ORDERS: Duration = Duration::from_millis(200);

/// However often progress is to be logged and rings to be looked at, the thread sleeps so long if nothing happens.
const SHORTEST_SLEEP: Duration = Duration::from_millis(50);

/// What a pass looks at, and gives, while it is under way.
#[derive(Clone, Copy)]
pub(crate) struct Controls<'a> {
    /// Ends the pass early.
    pub interrupt: &'a Interrupt,
    pub heartbeats: &'a Heartbeats,
    /// The promise of the thread that runs the pass.
    pub registration: &'a Registration,
}

/// A pass under way.
pub(crate) struct Schedule<'a> {
    policies: &'a Policies,
    signs: Controls<'a>,
    tools: Arc<Tools>,
    /// By the policies' places in [`Policies`].
    views: Vec<Option<Arc<PolicyView>>>,
    scope: Scope,
    pass: Arc<Pass>,
    /// How many jobs may be at work: what the configuration says, and what is in force.
    configured_concurrency: usize,
    concurrency: usize,
    /// When to look again at what is ordered.
    next_look: Instant,
    limits: Limits,
    stats_interval: Duration,
    ring_check_interval: Duration,
    lanes: Lanes,
    /// Jobs that have a permit.
    at_work: usize,
    /// Workers whose job is stuck.
    stuck: HashMap<usize, Stuck>,
    /// Partitions that took long in the last pass, by the names of their devices.
    slow: HashMap<String, Vec<(PolicyIndex, Partition)>>,
    /// Partitions whose turn did not come in the last pass, by the names of their devices.
    left: HashMap<String, HashSet<(PolicyIndex, Partition)>>,
    /// What is remembered of the partitions of devices, by the devices' names.
    histories: HashMap<String, History>,
    /// Stuck jobs of earlier passes whose devices are not in this one.
    elsewhere: Vec<StuckJob>,
    /// Partitions that were found so far.
    found: u64,
    reported: u64,
    notes: Notes,
    is_interrupted: bool,
    started: Instant,
    /// Whether the pass is over hand-offs alone as soon as a device turns out to be nearly full.
    may_leave_handoffs_only: bool,
    /// Devices that are nearly full, and how full they are.
    nearly_full: Vec<(Arc<str>, f64)>,
    /// The partitions that go first.
    first: Arc<First>,
    /// The lane at which the search for the next one of them begins.
    first_turn: usize,
}

impl<'a> Schedule<'a> {
    /// A pass over the local devices. `leftover` is what the pass before left behind; lanes of stuck jobs begin closed.
    pub(crate) fn new(
        settings: &Settings,
        policies: &'a Policies,
        tools: Arc<Tools>,
        scope: Scope,
        pass: Arc<Pass>,
        leftover: Leftover,
        signs: Controls<'a>,
    ) -> Self {
        let mut schedule = Self {
            policies,
            signs,
            first: tools.orders.first.clone(),
            tools,
            views: policies.views(&scope),
            scope,
            pass,
            configured_concurrency: settings.concurrency.max(1),
            concurrency: settings.concurrency.max(1),
            next_look: Instant::now(),
            limits: limits(settings),
            stats_interval: settings.stats_interval,
            ring_check_interval: settings.ring_check_interval,
            lanes: Lanes::new(settings.handoffs.first, batch_limits(settings.rsync.batch), settings.concurrency.max(1))
                .draining(settings.handoffs.drain_full_first),
            at_work: 0,
            stuck: HashMap::new(),
            slow: leftover.slow,
            left: leftover.left,
            histories: leftover.histories,
            elsewhere: Vec::new(),
            found: 0,
            reported: 0,
            notes: Notes::default(),
            is_interrupted: false,
            started: Instant::now(),
            may_leave_handoffs_only: false,
            nearly_full: Vec::new(),
            first_turn: 0,
        };
        schedule.add_lanes(leftover.stuck);
        schedule.begin_first();
        schedule
    }

    /// Whether the pass is over hand-offs alone.
    pub(crate) fn with_handoffs(mut self, only: HandoffsOnly) -> Self {
        match only {
            HandoffsOnly::No => {}
            HandoffsOnly::Yes => drop(self.lanes.leave_handoffs_only()),
            HandoffsOnly::Auto => self.may_leave_handoffs_only = true,
        }
        self
    }

    fn add_lanes(&mut self, stuck: Vec<StuckJob>) {
        for (place, view) in self.views.iter().enumerate() {
            let devices = view.iter().flat_map(|view| view.local_devices().map(move |device| (view, device)));
            for (view, device) in devices {
                if self.scope.wants_device(&device.device) {
                    self.lanes.add(&device.device, place);
                    self.lanes.expect(&device.device, view.policy.index);
                }
            }
        }
        self.inherit_stuck(stuck);
    }

    /// Runs the pass to its end. With the summary comes what the next pass should know.
    pub(crate) fn run(mut self, board: &Arc<RunningPasses>) -> (PassSummary, Leftover) {
        // It never holds more than there are permits, and how many these are may change.
        let (tasks, queue) = unbounded();
        let (events, happened) = unbounded();
        let crew = Crew::new(queue, events, self.tools.clone(), self.limits, self.signs.heartbeats.clone());
        let post = board.post(thread_prefix(), crew.slots().clone(), &self.lanes);
        self.drive(crew, &tasks, &happened, &post, board);
        drop(post);
        self.log_progress();
        self.finish()
    }

    fn drive(
        &mut self,
        mut crew: Crew,
        tasks: &Sender<Task>,
        happened: &Receiver<Event>,
        post: &Post,
        board: &RunningPasses,
    ) {
        let mut heartbeat = Instant::now() + self.stats_interval;
        let mut ring_check = Instant::now() + self.ring_check_interval;
        let mut interrupt = self.signs.interrupt.channel().clone();
        loop {
            self.signs.registration.sign();
            self.obey();
            crew.muster(self.concurrency + self.given_back());
            self.hand_out(tasks, crew.workers());
            if self.is_over(crew.workers()) {
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
                default(wake_up.min(self.signs.registration.interval_of_beats())) => {}
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

    /// Takes in what operators have ordered.
    fn obey(&mut self) {
        if Instant::now() < self.next_look {
            return;
        }
        self.next_look = Instant::now() + LOOK_AT_ORDERS;
        let (orders, now) = (&self.tools.orders, Moment::now());
        self.lanes.pause(|disk| orders.pause_of_device(disk, now.unix));
        self.concurrency = orders.concurrency(now).unwrap_or(self.configured_concurrency);
        self.lanes.set_concurrency(self.concurrency);
    }

    /// Hands out a job for every free permit and worker.
    fn hand_out(&mut self, tasks: &Sender<Task>, workers: usize) {
        while !self.is_interrupted
            && self.at_work < self.concurrency
            && self.busy_workers() < workers
            && let Some(task) = self.next_task()
        {
            if tasks.send(task).is_err() {
                return self.break_off("All workers have ended; the pass cannot go on".to_owned());
            }
            self.at_work += 1;
        }
    }

    /// Whether nothing is at work but what hangs, and nothing waits for a worker that could not be started yet. A pass
    /// that is paused as a whole waits; one of which some devices are paused ends, for the next one can go on with the
    /// others.
    fn is_over(&self, workers: usize) -> bool {
        let hanging = self.stuck.values().filter(|stuck| !stuck.given_back).count();
        let lacks_workers = self.at_work < self.concurrency && self.busy_workers() >= workers;
        let may_go_on = (lacks_workers && self.lanes.has_next()) || self.lanes.is_all_paused();
        self.at_work == hanging && (self.is_interrupted || !may_go_on)
    }

    /// The pass cannot be complete.
    fn break_off(&mut self, reason: String) {
        error!("{reason}");
        self.notes.broken_off.push(reason);
    }

    /// Workers that have a job, those with a stuck one among them.
    fn busy_workers(&self) -> usize {
        self.at_work + self.given_back()
    }

    fn next_task(&mut self) -> Option<Task> {
        if let Some(task) = self.next_first() {
            return Some(task);
        }
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
                let batch = Batch::new(self.views[policy].clone()?, disk, partitions, self.pass.clone());
                self.lanes.begun(lane, &batch.custody);
                Job::Batch(batch)
            }
            Next::Look { policy, partition } => {
                Job::Look(Look { disk, datadir: PathBuf::from(policy.datadir()), partition })
            }
        };
        Some(Task { lane, job, first: None })
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Done { worker, lane, collected, left, tally } => {
                let was_stuck = self.come_back(worker);
                self.notes.timeline.note(self.started.elapsed().as_secs_f64(), &tally.counts);
                let queues = collected.map(|collected| self.take_in_list(lane, collected));
                self.lanes.done(lane, queues, tally, was_stuck.is_some());
                self.look_whether_full();
                match (was_stuck, left) {
                    (Some(stuck), _) if stuck.was_revoked() => self.put_back_own(lane, &stuck),
                    (_, Some((policy, left))) => self.put_back(lane, policy, left),
                    (_, None) => {}
                }
                self.reopen_lanes();
            }
            Event::Progress { lane, tally } => {
                self.notes.timeline.note(self.started.elapsed().as_secs_f64(), &tally.counts);
                self.lanes.count_in(lane, tally);
            }
            Event::Answered { worker, lane } => {
                let was_stuck = self.come_back(worker).is_some();
                self.lanes.answered(lane, was_stuck);
                self.reopen_lanes();
                self.tell_answer(lane);
            }
            Event::Stuck { worker, job } => self.close_lane(worker, job),
        }
    }

    /// What the lane's own job found, without what is not to be begun.
    fn take_in_list(&mut self, lane: usize, collected: Collected) -> Vec<Queue> {
        self.found += collected.files;
        if let Some(used) = collected.used.filter(|used| *used > ALMOST_FULL) {
            self.nearly_full.push((self.lanes.get(lane).disk.clone(), used));
        }
        if let Some(trouble) = collected.trouble {
            self.lanes.has_trouble(lane, trouble);
        }
        if let Some(used) = collected.used.filter(|used| self.lanes.measured(lane, *used)) {
            info!("Device {} is {used:.1}% full: it goes first, and there its hand-offs", self.lanes.get(lane).disk);
        }
        let mut queues = self.still_local(lane, collected.queues);
        if self.lanes.is_handoffs_only() {
            queues.retain(|queue| queue.reverts);
        }
        self.leave_out_first(lane, &mut queues);
        self.found += queues.iter().map(|queue| queue.partitions.len() as u64).sum::<u64>();
        self.leave_out_suspects(lane, &mut queues);
        self.put_first_what_was_left(lane, &mut queues);
        self.put_apart_what_is_in_danger(lane, queues)
    }

    /// With `handoffs_only = auto`: leaves all but hand-offs alone once a device is nearly full and has hand-offs.
    fn look_whether_full(&mut self) {
        if self.may_leave_handoffs_only
            && !self.lanes.is_handoffs_only()
            && let Some((disk, used)) = self.nearly_full.iter().find(|(disk, _)| self.lanes.has_handoffs(disk))
        {
            notice!(
                "Device {disk} is {used:.0} % full: this pass is over hand-offs only, until none is left (handoffs_only = auto)"
            );
            let left_out = self.lanes.leave_handoffs_only();
            self.found = self.found.saturating_sub(left_out as u64);
        }
    }

    /// Leaves out what a change of ring has overtaken while it was listed.
    fn still_local(&self, lane: usize, mut queues: Vec<Queue>) -> Vec<Queue> {
        let disk = &*self.lanes.get(lane).disk;
        queues.retain(|queue| self.views[queue.policy].as_ref().is_some_and(|view| view.has_disk(disk)));
        queues
    }

    /// What an interrupted pass did not reach comes before the rest.
    fn put_first_what_was_left(&mut self, lane: usize, queues: &mut [Queue]) {
        let Some(left) = self.left.get(&*self.lanes.get(lane).disk) else { return };
        for queue in queues {
            if let Some(view) = &self.views[queue.policy] {
                queue.begin_with(view.policy.index, left);
            }
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
                    let policy = view.policy.index;
                    self.views[place] = Some(view);
                    for disk in went {
                        self.lanes.drop_waiting(Some(place), Some(&disk));
                    }
                    for disk in came.iter().filter(|disk| self.scope.wants_device(disk)) {
                        self.lanes.add(disk, place);
                        self.lanes.expect(disk, policy);
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
        let progress = PassFigures {
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
}

fn limits(settings: &Settings) -> Limits {
    // A request on a kept connection that turns out to be dead is sent once more.
    let request = settings.replicate.conn_timeout.saturating_add(settings.replicate.http_timeout).saturating_mul(2);
    Limits {
        lockup: settings.lockup_timeout,
        push: settings.rsync.timeout.saturating_add(SLACK),
        request: request.saturating_add(SLACK),
    }
}

fn batch_limits(rsync_batch: usize) -> BatchLimits {
    match rsync_batch {
        1 => BatchLimits { updates: 1, reverts: 1 },
        several => BatchLimits { updates: several.saturating_mul(LISTS), reverts: several.min(HANDOFFS) },
    }
}
