//! One replication pass.
//!
//! [`Replicator`] keeps what outlives a pass: rings, clients, the place in the listing cycle. A pass looks at the rings,
//! makes a lane per local device, and lets [`schedule`] hand batches of partitions to the workers; what they do to a
//! batch stands in [`crate::job`].

pub(crate) mod board;
pub(crate) mod crew;
pub(crate) mod first;
pub(crate) mod history;
pub(crate) mod interrupt;
pub(crate) mod lanes;
pub(crate) mod leftover;
pub(crate) mod order;
pub(crate) mod policies;
pub(crate) mod schedule;
pub(crate) mod seen_rings;
pub(crate) mod summary;
pub(crate) mod unmatched;
pub(crate) mod watchdog;
pub(crate) mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::warn;
use thiserror::Error;

use crate::child::SpawnGate;
use crate::clock;
use crate::config::settings::{HandoffSettings, HandoffsOnly, Settings, StatsdSettings, SyncMethod};
use crate::config::swift_conf::SwiftConf;
use crate::device::writes::Writes;
use crate::format::object::Salts;
use crate::heartbeats::{Heartbeats, Registration};
use crate::job::fullness::Fullness;
use crate::job::scope::{Overrides, Scope, Share};
use crate::job::targets::Streams;
use crate::job::transfer::dry_run::{DryRun, Plan};
use crate::job::transfer::rsync::ByRsync;
use crate::job::transfer::ssync::BySsync;
use crate::job::update::LISTING_CYCLE;
use crate::job::work::{Pass, Tools, Transfer};
use crate::log::statsd::Statsd;
use crate::notice;
use crate::orders::Orders;
use crate::orders::limits::Configured;
use crate::orders::moment::Moment;
use crate::peer::diskusage;
use crate::peer::replicate::Client;
use crate::peer::rsync::Rsync;
use crate::peer::ssync::Sender;
use crate::report::orders as words;
pub(crate) use board::RunningPasses;
use first::{Finder, FinderInForce};
use interrupt::Interrupt;
pub(crate) use leftover::Leftover;
use policies::Policies;
use schedule::{Controls, Schedule};
use seen_rings::SeenRings;
pub(crate) use summary::PassSummary;

/// How often a pause is looked at that lets no pass begin.
const PAUSE_LOOK: Duration = Duration::from_millis(500);
/// How often somebody who waits for the next pass looks for partitions that go first.
const LOOK_FOR_FIRST: Duration = Duration::from_secs(1);

/// Why a replicator cannot begin.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("no ring can be read, so nothing can be replicated: {0}")]
    NoRing(String),
}

/// What a process keeps, whatever its configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessState {
    /// What starts the process's children.
    pub gate: SpawnGate,
    /// The threads that run passes and watch jobs.
    pub heartbeats: Heartbeats,
    /// What the passes are doing.
    pub board: Arc<RunningPasses>,
    /// What operators have ordered of them.
    pub orders: Arc<Orders>,
    /// The rings that passes went by last.
    pub rings: Arc<SeenRings>,
    /// Finds partitions that are to go first.
    pub finder: FinderInForce,
}

/// With `handoffs_only = auto`: after so many passes in a row over hand-offs only everything has a turn.
const MOST_OVER_HANDOFFS: u32 = 5;

/// What outlives a pass.
pub(crate) struct Replicator {
    settings: Arc<Settings>,
    policies: Arc<Policies>,
    tools: Arc<Tools>,
    share: Option<Arc<dyn Share>>,
    interrupt: Interrupt,
    heartbeats: Heartbeats,
    /// The promise of the thread that runs the passes.
    registration: Registration,
    /// The pass's place in the cycle of ten after which every partition has been listed (B5.1).
    cycle: u32,
    /// With `handoffs_only = auto`: the last pass was over hand-offs only, and none went, so now the others have their turn.
    others_turn: bool,
    /// How many passes in a row were over hand-offs only.
    over_handoffs: u32,
    /// What the last pass left behind.
    leftover: Leftover,
    board: Arc<RunningPasses>,
}

impl Replicator {
    /// Reads the rings of all replication policies. One that cannot be read costs its own policy only. The passes end
    /// early when the interrupt comes.
    ///
    /// # Errors
    /// [`StartError::NoRing`] if there are replication policies, and the ring of none of them can be read.
    pub(crate) fn new(
        settings: Arc<Settings>,
        swift_conf: &SwiftConf,
        lasting: &ProcessState,
        interrupt: Interrupt,
    ) -> Result<Self, StartError> {
        let transfer = transfer(&settings, swift_conf);
        Self::with_transfer(settings, swift_conf, lasting, interrupt, (transfer, Writes::Made))
    }

    /// One whose passes only note in the plan what they would do.
    ///
    /// # Errors
    /// [`StartError::NoRing`] if there are replication policies, and the ring of none of them can be read.
    pub(crate) fn predicting(settings: Settings, swift_conf: &SwiftConf, plan: Arc<Plan>) -> Result<Self, StartError> {
        let settings = Settings { statsd: StatsdSettings { host: None, ..settings.statsd }, ..settings };
        let transfer = Box::new(DryRun::new(plan, transfer(&settings, swift_conf)));
        let how: (Box<dyn Transfer>, _) = (transfer, Writes::Imagined);
        Self::with_transfer(Arc::new(settings), swift_conf, &ProcessState::default(), Interrupt::default(), how)
    }

    fn with_transfer(
        settings: Arc<Settings>,
        swift_conf: &SwiftConf,
        lasting: &ProcessState,
        interrupt: Interrupt,
        how: (Box<dyn Transfer>, Writes),
    ) -> Result<Self, StartError> {
        let policies = Arc::new(Policies::new(&settings, swift_conf, lasting.rings.clone()));
        let loaded = policies.load();
        if let Some(first) = loaded.iter().find_map(|ring| ring.as_ref().err())
            && loaded.iter().all(Result::is_err)
        {
            return Err(StartError::NoRing(first.to_string()));
        }
        let most_replicas = loaded.iter().flatten().map(|ring| ring.replica_count()).fold(0.0, f64::max);
        let handoffs = usable_handoffs(&settings, most_replicas);
        lasting.finder.put(Finder::new(&settings, policies.clone()));
        policies.note_changes();
        let tools = Arc::new(tools(&settings, swift_conf, handoffs, lasting, how));
        Ok(Self {
            settings,
            policies,
            tools,
            share: None,
            interrupt,
            heartbeats: lasting.heartbeats.clone(),
            registration: lasting.heartbeats.register("the thread of passes"),
            cycle: fastrand::u32(..LISTING_CYCLE),
            others_turn: false,
            over_handoffs: 0,
            leftover: Leftover::default(),
            board: lasting.board.clone(),
        })
    }

    /// One more, with the same rings and clients, whose passes go over a share of the devices; it is told what earlier
    /// passes left behind there.
    pub(crate) fn for_share(&mut self, share: Arc<dyn Share>, name: &str) -> Self {
        Self {
            settings: self.settings.clone(),
            policies: self.policies.clone(),
            tools: self.tools.clone(),
            leftover: self.leftover.take_share(&*share),
            share: Some(share),
            interrupt: self.interrupt.clone(),
            heartbeats: self.heartbeats.clone(),
            registration: self.heartbeats.register(name),
            others_turn: false,
            over_handoffs: 0,
            cycle: fastrand::u32(..LISTING_CYCLE),
            board: self.board.clone(),
        }
    }

    /// Takes in what passes with another configuration, or over shares of the devices, left behind.
    pub(crate) fn adopt(&mut self, leftover: Leftover) {
        self.leftover.merge(leftover);
    }

    /// There are no more passes; what they leave behind.
    pub(crate) fn finish(self) -> Leftover {
        self.registration.leave();
        self.leftover
    }

    /// Its passes are the ones that are made from now on: its rings are those that others are shown.
    pub(crate) fn show_rings(&self) {
        self.board.go_by(self.policies.clone());
    }

    /// The promise of the thread that runs the passes, to be heard of.
    pub(crate) fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Waits for the next pass; says whether there is to be none, since the interrupt has come.
    pub(crate) fn rest(&self, time: Duration) -> bool {
        self.registration.beat_after(time);
        let interrupted = self.interrupt.wait(time);
        self.registration.sign();
        interrupted
    }

    /// Waits as long as everything is paused that a pass would go over; says whether there is to be none, since the
    /// interrupt has come.
    pub(crate) fn rest_while_paused(&self) -> bool {
        while self.is_paused() {
            if self.rest(PAUSE_LOOK) {
                return true;
            }
        }
        self.is_to_end()
    }

    fn is_paused(&self) -> bool {
        let (orders, now) = (&self.tools.orders, clock::now().as_secs_f64());
        if orders.is_everything_paused(now) {
            return true;
        }
        if !orders.may_pause() {
            return false;
        }
        let mut devices = self.local_devices().unwrap_or_default();
        devices.retain(|device| self.share.as_ref().is_none_or(|share| share.takes(device)));
        !devices.is_empty() && devices.iter().all(|device| orders.pause_of_device(device, now).is_some())
    }

    /// The replication policies, for whoever is asked about them.
    pub(crate) fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    /// Takes its configuration for the one in force, as far as orders go.
    pub(crate) fn take_force(&self) {
        self.tools.orders.configure(Configured {
            concurrency: self.settings.concurrency,
            rsync_bwlimit: self.settings.rsync.bwlimit.clone(),
            quiet_hours: self.settings.quiet_hours.clone(),
        });
    }

    /// Waits for the next pass as long, or until a partition that goes first has come.
    pub(crate) fn rest_before_pass(&self, time: Duration) -> bool {
        let begun = Instant::now();
        let is_own = |device: &str| self.share.as_ref().is_none_or(|share| share.takes(device));
        loop {
            let left = time.saturating_sub(begun.elapsed());
            if self.rest(left.min(LOOK_FOR_FIRST)) {
                return true;
            }
            if left <= LOOK_FOR_FIRST || self.tools.orders.first.take_news(is_own) {
                return false;
            }
        }
    }

    /// What goes first on devices that this node does not have any more is forgotten.
    fn forget_devices(&self) {
        if !self.tools.orders.first.is_empty()
            && let Some(devices) = self.policies.local_devices()
        {
            for device in self.tools.orders.first.keep_devices(|first| devices.iter().any(|device| device == first)) {
                warn!(
                    "What was to go first on {device} is forgotten: the rings do not have it as a device of this node"
                );
            }
        }
    }

    /// Whether there is to be no next pass, since the interrupt has come.
    pub(crate) fn is_to_end(&self) -> bool {
        self.interrupt.has_come()
    }

    /// The names of the local devices of all policies, unless it cannot be told which are local.
    pub(crate) fn local_devices(&self) -> Option<Vec<String>> {
        self.policies.local_devices()
    }

    /// The same, after a look at the ring files.
    pub(crate) fn refreshed_local_devices(&self) -> Option<Vec<String>> {
        self.policies.refresh();
        self.policies.local_devices()
    }

    /// What a pass is to be restricted to, and is not there, in a line for each option.
    pub(crate) fn unmatched(&self, overrides: &Overrides) -> Vec<String> {
        if overrides.is_empty() { Vec::new() } else { self.policies.known(overrides).unmatched(overrides) }
    }

    /// Goes over the local devices once.
    pub(crate) fn run_pass(&mut self, overrides: &Overrides) -> PassSummary {
        self.cycle = (self.cycle + 1) % LISTING_CYCLE;
        let leftover = std::mem::take(&mut self.leftover);
        let scope = Scope { overrides: Arc::new(overrides.clone()), share: self.share.clone() };
        let pass = Arc::new(Pass { cycle: self.cycle, ..Pass::default() });
        let tools = self.tools.clone();
        let signs =
            Controls { interrupt: &self.interrupt, heartbeats: &self.heartbeats, registration: &self.registration };
        self.forget_devices();
        let schedule = Schedule::new(&self.settings, &self.policies, tools, scope, pass, leftover, signs);
        let (mut summary, leftover) = schedule.with_handoffs(self.handoffs_only()).run(&self.board);
        self.leftover = leftover;
        summary.report.add_reasons(self.unmatched(overrides));
        summary.report.orders = words::out_of_the_ordinary(&self.tools.orders.shown(Moment::now()));
        self.after_handoffs(&summary);
        summary
    }

    /// Whether the next pass is over hand-offs alone. Where none of them goes, be it that a peer is away for weeks, passes
    /// over hand-offs and passes over everything take turns; and where some always go, since new ones come, everything has
    /// a turn after some: else partitions that belong here would never be compared.
    fn handoffs_only(&self) -> HandoffsOnly {
        match self.settings.handoffs.only {
            HandoffsOnly::Auto if self.others_turn => HandoffsOnly::No,
            only => only,
        }
    }

    /// Takes note of what a pass over hand-offs has left.
    fn after_handoffs(&mut self, summary: &PassSummary) {
        let (left, gone) = summary.handoffs();
        self.over_handoffs = if summary.report.handoffs_only { self.over_handoffs + 1 } else { 0 };
        self.others_turn = summary.report.handoffs_only && (gone == 0 || self.over_handoffs >= MOST_OVER_HANDOFFS);
        if !summary.report.handoffs_only || summary.is_interrupted || left != Some(0) {
            return;
        }
        match self.settings.handoffs.only {
            HandoffsOnly::Auto => notice!("No hand-off is left on these devices: the next pass is over everything"),
            _ => notice!(
                "No hand-off is left on these devices, and handoffs_only = yes keeps everything else from being replicated: \
                 turn it off or push the next ring"
            ),
        }
    }
}

/// `handoff_delete`, unless it would ask for all replicas or more: then it means nothing, and is told so (B10.7).
fn usable_handoffs(settings: &Settings, most_replicas: f64) -> HandoffSettings {
    if settings.handoffs.first || settings.handoffs.delete > 0 {
        warn!(
            "Handoff only mode is not intended for normal operation, please disable handoffs_first and \
             handoff_delete before the next normal rebalance"
        );
    }
    if settings.handoffs.only == HandoffsOnly::Yes {
        warn!(
            "handoffs_only = yes: partitions that belong here are neither compared nor updated; turn it off once no hand-off \
             is left"
        );
    }
    if settings.handoffs.delete > 0 && settings.handoffs.delete as f64 >= most_replicas {
        warn!(
            "No storage policies found for which handoff_delete={} would have an effect. Disabling.",
            settings.handoffs.delete
        );
        return HandoffSettings { delete: 0, ..settings.handoffs };
    }
    settings.handoffs
}

fn tools(
    settings: &Settings,
    swift_conf: &SwiftConf,
    handoffs: HandoffSettings,
    lasting: &ProcessState,
    (transfer, writes): (Box<dyn Transfer>, Writes),
) -> Tools {
    Tools {
        transfer,
        writes,
        client: Client::new(&settings.replicate, &format!("object-replicator {}", std::process::id())),
        rsync: Rsync::new(settings.rsync.clone())
            .with_gate(lasting.gate.clone())
            .with_orders(Arc::clone(&lasting.orders)),
        orders: Arc::clone(&lasting.orders),
        streams: Streams::default(),
        fullness: Fullness::new(settings.target_reserve, Box::new(diskusage::ask)),
        statsd: Statsd::new(&settings.statsd, &settings.log.name),
        devices: settings.devices.clone(),
        mount_check: settings.mount_check,
        reclaim_age: settings.reclaim_age,
        handoffs,
        salts: salts(swift_conf),
        rsync_batch: settings.rsync.batch,
    }
}

/// The way in which partitions go to other nodes (`sync_method`).
fn transfer(settings: &Settings, swift_conf: &SwiftConf) -> Box<dyn Transfer> {
    match settings.sync_method {
        SyncMethod::Rsync => Box::new(ByRsync),
        SyncMethod::Ssync => {
            Box::new(BySsync::new(Sender::new(&settings.ssync, settings.reclaim_age, salts(swift_conf))))
        }
    }
}

fn salts(swift_conf: &SwiftConf) -> Salts {
    Salts { prefix: swift_conf.hash_path_prefix.clone(), suffix: swift_conf.hash_path_suffix.clone() }
}
