//! What others are told of passes: the log's last lines, the recon cache, metrics, and the status file.
//!
//! Groups of workers share one [`Publisher`]. Its lock is taken only when a pass ends, and when the status is due, and
//! held while files are written, so that nobody puts an older state in the place of a newer one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use log::{error, info, warn};

use super::metrics::MetricsKeeper;
use super::threads;
use crate::clock::unix;
use crate::config::settings::Settings;
use crate::locks::lock;
use crate::orders::Orders;
use crate::orders::moment::Moment;
use crate::pass::{PassSummary, ProcessState, RunningPasses};
use crate::report::pass_report::{Ending, PassReport};
use crate::report::rebalance;
use crate::report::recon;
use crate::report::stats::{self, ReplicationStats};
use crate::report::status::{self, Kind, RunningPass, Status};

/// However often the configuration is read anew before a pass ends, no more passes of former ones are shown.
const MOST_FORMER: usize = 64;

/// Tells others of passes.
pub(super) struct Publisher {
    board: Arc<RunningPasses>,
    orders: Arc<Orders>,
    kind: Kind,
    metrics: Arc<MetricsKeeper>,
    state: Mutex<State>,
    keeps_status: AtomicBool,
}

struct State {
    settings: Arc<Settings>,
    /// The last pass of each group.
    last: BTreeMap<usize, PassReport>,
    /// The last passes of the former configuration, with those that ended early for this one; until a pass has ended.
    former: Vec<PassReport>,
    /// The process has done what it was to do.
    is_done: bool,
    /// The status file could not be written the last time, as the log was told.
    in_trouble: bool,
    /// When other nodes were last told of passes that are under way, if they are.
    told_of_running: Option<Instant>,
}

impl State {
    /// What the last passes were is kept, whichever groups there will be.
    fn keep_last(&mut self) {
        self.former.extend(std::mem::take(&mut self.last).into_values());
    }
}

impl Publisher {
    /// One that has not published anything yet.
    pub(super) fn new(
        kind: Kind,
        settings: Arc<Settings>,
        lasting: &ProcessState,
        metrics: Arc<MetricsKeeper>,
    ) -> Self {
        let (last, former) = (BTreeMap::new(), Vec::new());
        let state = State { settings, last, former, is_done: false, in_trouble: false, told_of_running: None };
        let (board, orders) = (Arc::clone(&lasting.board), Arc::clone(&lasting.orders));
        Self { board, orders, kind, metrics, state: Mutex::new(state), keeps_status: AtomicBool::new(false) }
    }

    /// From now on with these settings, and perhaps with other groups.
    pub(super) fn renew(&self, settings: &Arc<Settings>) {
        self.metrics.renew(settings);
        let mut state = lock(&self.state);
        state.settings = settings.clone();
        state.keep_last();
    }

    /// A pass has ended early, for another configuration. It is shown, beside the one before it, until another one ends.
    pub(super) fn cut_short(&self, report: &PassReport) {
        self.metrics.cut_short(report);
        let mut state = lock(&self.state);
        state.keep_last();
        if state.former.len() >= MOST_FORMER {
            let oldest = state.former.iter().position(|report| report.ending != Ending::Complete);
            state.former.remove(oldest.unwrap_or_default());
        }
        state.former.push(report.clone());
        self.write_status(&mut state);
    }

    /// A pass broke off, and left no results.
    pub(super) fn broke_off(&self) {
        self.metrics.broke_off();
    }

    /// Starts to keep the status file up to date.
    pub(super) fn keep_status(self: &Arc<Self>) {
        self.keeps_status.store(true, Ordering::Relaxed);
        let publisher = self.clone();
        let started = threads::start("status", move || {
            loop {
                publisher.write_status(&mut lock(&publisher.state));
                thread::sleep(Duration::from_secs_f64(status::PERIOD));
            }
        });
        if let Err(error) = started {
            warn!("Cannot start the thread that writes the status: {error}");
        }
    }

    /// Something has changed that whoever asks is to see now.
    pub(super) fn refresh(&self) {
        if self.keeps_status.load(Ordering::Relaxed) {
            self.write_status(&mut lock(&self.state));
        }
    }

    /// The only group has ended a pass over everything.
    pub(super) fn whole_pass(&self, summary: &PassSummary, devices: Option<&[String]>) {
        self.dump(&summary.recon_entries());
        self.pass(0, &summary.report, devices);
    }

    /// One of several groups has ended a pass over its devices (B12.18); the sum waits until every device is there, so
    /// those that did nothing are published too.
    pub(super) fn pass_of_group(&self, group: usize, summary: &PassSummary, devices: &[String]) {
        let nothing = ReplicationStats::default();
        let disks: BTreeSet<_> = devices.iter().chain(summary.disks.keys()).collect();
        let disks = disks.into_iter().map(|disk| (disk.as_str(), summary.disks.get(disk).unwrap_or(&nothing)));
        let mut entries = stats::disk_entries(disks, summary.end());
        if summary.report.handoffs_only {
            // Where it cannot be read it cannot be written either, and the log is told then.
            stats::keep_times(&mut entries, &recon::load(&self.recon_cache()).unwrap_or_default());
        }
        self.dump(&entries);
        self.pass(group, &summary.report, None);
    }

    /// The sum over all groups, once each device has been published.
    pub(super) fn sum(&self, devices: &[String]) {
        self.metrics.keep_devices(devices);
        let devices: BTreeSet<_> = devices.iter().cloned().collect();
        match recon::load(&self.recon_cache()) {
            Ok(cache) => self.dump(&stats::aggregate_entries(&cache, &devices)),
            Err(error) => error!("Exception reading recon cache: {error}"),
        }
    }

    /// The process has done what it was to do.
    pub(super) fn done(&self) {
        self.metrics.end();
        let mut state = lock(&self.state);
        state.is_done = true;
        self.write_status(&mut state);
    }

    fn dump(&self, entries: &serde_json::Map<String, serde_json::Value>) {
        if let Err(error) = recon::dump(&self.recon_cache(), entries) {
            error!("Exception dumping recon cache: {error}");
        }
    }

    fn recon_cache(&self) -> PathBuf {
        lock(&self.state).settings.recon_cache_path.clone()
    }

    fn pass(&self, group: usize, report: &PassReport, devices: Option<&[String]>) {
        self.metrics.end_pass(report, devices);
        let mut state = lock(&self.state);
        state.former.clear();
        state.last.insert(group, report.clone());
        self.write_status(&mut state);
    }

    /// Tells other nodes how far passes are that take long, by the recon cache: as often as the log is told, and no more
    /// once they have ended.
    fn tell_of_running(state: &mut State, passes: &[RunningPass], now: f64) {
        let interval = state.settings.stats_interval;
        let is_long = |pass: &RunningPass| now - pass.began >= interval.as_secs_f64();
        let is_due = match (passes, state.told_of_running) {
            ([], told) => told.is_some(),
            (passes, None) => passes.iter().any(is_long),
            (_, Some(told)) => told.elapsed() >= interval,
        };
        if is_due {
            let entries = rebalance::entries_of_running(passes, now);
            if let Err(error) = recon::dump(&state.settings.recon_cache_path, &entries) {
                error!("Exception dumping recon cache: {error}");
            }
            state.told_of_running = (!passes.is_empty()).then(Instant::now);
        }
    }

    fn write_status(&self, state: &mut State) {
        let pid = std::process::id();
        let status = Status {
            pid,
            process_began: status::process_began(pid).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            written: unix(SystemTime::now()),
            has_ended: state.is_done,
            rings: self.board.rings(),
            passes: self.board.passes(),
            hanging: self.board.hanging(),
            orders: self.orders.shown(Moment::now()),
            last: state.former.iter().chain(state.last.values()).cloned().collect(),
        };
        Self::tell_of_running(state, &status.passes, status.written);
        // It is tried every few seconds, so the log is told when that begins to fail, and when it works again.
        match status.write(&state.settings.recon_cache_path, self.kind) {
            Err(error) if !state.in_trouble => warn!("No status: {error}"),
            Ok(()) if state.in_trouble => info!("The status is written again"),
            _ => return,
        }
        state.in_trouble = !state.in_trouble;
    }
}

/// A few lines about the pass, after those of the reference.
pub(super) fn log_report(report: &PassReport) {
    report.lines().iter().for_each(|line| info!("{line}"));
}
