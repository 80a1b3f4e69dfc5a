//! What others are told of passes: the log's last lines, the recon cache, metrics, and the status file.
//!
//! Groups of workers share one [`Publisher`]. Its lock is taken only when a pass ends, and when the status is due, and
//! held while files are written, so that nobody puts an older state in the place of a newer one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use log::{error, info, warn};

use super::threads;
use crate::clock::unix;
use crate::config::settings::Settings;
use crate::locks::lock;
use crate::orders::Orders;
use crate::orders::moment::Moment;
use crate::pass::{PassSummary, ProcessState, RunningPasses};
use crate::regular::{self, Links};
use crate::report::files;
use crate::report::metrics::Metrics;
use crate::report::pass_report::PassReport;
use crate::report::recon;
use crate::report::stats::{self, ReplicationStats};
use crate::report::status::{self, Kind, Status};

/// More of an old file of metrics is not read.
const MAX_METRICS: u64 = 64 << 20;

/// Tells others of passes.
pub(super) struct Publisher {
    board: Arc<RunningPasses>,
    orders: Arc<Orders>,
    kind: Kind,
    state: Mutex<State>,
    keeps_status: AtomicBool,
}

struct State {
    settings: Arc<Settings>,
    metrics: Metrics,
    /// The last pass of each group.
    last: BTreeMap<usize, PassReport>,
    /// The last passes of the former configuration, with those that ended early for this one; until a pass has ended.
    former: Vec<PassReport>,
    /// The process has done what it was to do.
    is_done: bool,
    /// The status file could not be written the last time, as the log was told.
    in_trouble: bool,
}

impl State {
    /// What the last passes were is kept, whichever groups there will be.
    fn keep_last(&mut self) {
        self.former.extend(std::mem::take(&mut self.last).into_values());
    }
}

impl Publisher {
    /// One that goes on from the metrics that an earlier process left.
    pub(super) fn new(kind: Kind, settings: Arc<Settings>, lasting: &ProcessState) -> Self {
        let (metrics, last, former) = (former_metrics(&settings), BTreeMap::new(), Vec::new());
        let state = State { settings, metrics, last, former, is_done: false, in_trouble: false };
        let (board, orders) = (Arc::clone(&lasting.board), Arc::clone(&lasting.orders));
        Self { board, orders, kind, state: Mutex::new(state), keeps_status: AtomicBool::new(false) }
    }

    /// From now on with these settings, and perhaps with other groups.
    pub(super) fn renew(&self, settings: &Arc<Settings>) {
        let mut state = lock(&self.state);
        if settings.metrics_textfile != state.settings.metrics_textfile {
            state.metrics = former_metrics(settings);
        }
        state.settings = settings.clone();
        state.keep_last();
    }

    /// A pass has ended early, for another configuration. It is shown, beside the one before it, until another one ends.
    pub(super) fn cut_short(&self, report: &PassReport) {
        let mut state = lock(&self.state);
        state.keep_last();
        state.former.push(report.clone());
        self.write_status(&mut state);
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
        self.dump(&stats::disk_entries(disks, summary.end()));
        self.pass(group, &summary.report, None);
    }

    /// The sum over all groups, once each device has been published.
    pub(super) fn sum(&self, devices: &[String]) {
        lock(&self.state).metrics.keep_devices(devices);
        let devices: BTreeSet<_> = devices.iter().cloned().collect();
        match recon::load(&self.recon_cache()) {
            Ok(cache) => self.dump(&stats::aggregate_entries(&cache, &devices)),
            Err(error) => error!("Exception reading recon cache: {error}"),
        }
    }

    /// The process has done what it was to do.
    pub(super) fn done(&self) {
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
        let mut state = lock(&self.state);
        state.former.clear();
        state.last.insert(group, report.clone());
        if let Some(path) = state.settings.metrics_textfile.clone() {
            state.metrics.add(report);
            if let Some(devices) = devices {
                state.metrics.keep_devices(devices);
            }
            if let Err(error) = files::replace(&path, state.metrics.text().as_bytes()) {
                error!("Metrics: {error}");
            }
        }
        self.write_status(&mut state);
    }

    fn write_status(&self, state: &mut State) {
        let pid = std::process::id();
        let status = Status {
            pid,
            process_began: status::process_began(pid).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            written: unix(SystemTime::now()),
            has_ended: state.is_done,
            passes: self.board.passes(),
            hanging: self.board.hanging(),
            orders: self.orders.shown(Moment::now()),
            last: state.former.iter().chain(state.last.values()).cloned().collect(),
        };
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

/// What an earlier process, or an earlier configuration, left in the file of metrics.
fn former_metrics(settings: &Settings) -> Metrics {
    let Some(path) = &settings.metrics_textfile else { return Metrics::default() };
    match regular::read(path, Links::Refused, MAX_METRICS) {
        Ok(text) => Metrics::parse(&String::from_utf8_lossy(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Metrics::default(),
        Err(error) => {
            warn!("The metrics begin anew: cannot read {}: {error}", path.display());
            Metrics::default()
        }
    }
}
