//! Keeps the metrics of the process: takes in what passes count while they run, and writes the file.
//!
//! The file is written every half minute, after each pass, and when the process ends. Its disk may hang, and it may be
//! written by another process as well (see [`crate::report::metrics`]). So whoever writes holds a lock for that alone:
//! nobody who only counts, or reads, waits for the disk.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use log::{error, info, warn};

use super::threads;
use crate::clock::unix;
use crate::config::settings::Settings;
use crate::locks::lock;
use crate::log::thread_prefix;
use crate::pass::RunningPasses;
use crate::regular::{self, Links};
use crate::report::files;
use crate::report::metrics::{Metrics, Now, Samples};
use crate::report::pass_report::PassReport;

/// How often the file is written while nothing ends.
const PERIOD: Duration = Duration::from_secs(30);
/// More of an old file is not read.
const MAX_BYTES: u64 = 64 << 20;
/// What is served is made no more often than this.
const FRESH: Duration = Duration::from_secs(1);
/// How long other processes that write the file are waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// The metrics of this process.
pub(super) struct MetricsKeeper {
    board: Arc<RunningPasses>,
    /// Held by whoever writes the file; true while that fails, as the log was told.
    writing: Mutex<bool>,
    state: Mutex<State>,
    /// What was served last, and when it was made.
    served: Mutex<Option<(Instant, Arc<str>)>>,
}

struct State {
    settings: Arc<Settings>,
    metrics: Metrics,
    /// The devices of this node, as far as is known.
    local: Vec<String>,
    has_ended: bool,
}

impl MetricsKeeper {
    /// Metrics that go on from what an earlier process left.
    pub(super) fn new(settings: Arc<Settings>, board: Arc<RunningPasses>) -> Self {
        let former = settings.metrics_textfile.as_deref().map(former).unwrap_or_default();
        let metrics = Metrics::new(former, settings.metrics_peers);
        let state = State { settings, metrics, local: Vec::new(), has_ended: false };
        Self { board, writing: Mutex::default(), state: Mutex::new(state), served: Mutex::default() }
    }

    /// From now on with these settings.
    pub(super) fn renew(&self, settings: &Arc<Settings>) {
        {
            let mut state = lock(&self.state);
            if settings.metrics_peers != state.settings.metrics_peers {
                state.metrics.label_peers(settings.metrics_peers);
            }
            state.settings = settings.clone();
        }
        self.note_what_is_wanted();
    }

    /// Starts to keep the file up to date.
    pub(super) fn start(self: &Arc<Self>) {
        let keeper = self.clone();
        let started = threads::start("metrics", move || {
            loop {
                if keeper.note_what_is_wanted() {
                    keeper.look();
                    keeper.write();
                }
                thread::sleep(PERIOD);
            }
        });
        if let Err(error) = started {
            warn!("Cannot start the thread that writes the metrics, which are written after each pass only: {error}");
        }
    }

    /// Whether anybody will read the metrics. Then passes are to tell what they count.
    fn note_what_is_wanted(&self) -> bool {
        let settings = lock(&self.state).settings.clone();
        let is_wanted = settings.metrics_textfile.is_some() || settings.metrics_listen.is_some();
        if is_wanted {
            self.board.want_counts();
        }
        is_wanted
    }

    /// Looks which devices are on this node.
    fn look(&self) {
        // Name servers may be asked, so nobody is to wait for this.
        if let Some(devices) = self.board.local_devices() {
            self.keep_devices(&devices);
        }
    }

    /// These are the devices of this node.
    pub(super) fn keep_devices(&self, devices: &[String]) {
        let mut state = lock(&self.state);
        state.metrics.keep_devices(devices);
        state.local = devices.to_vec();
    }

    /// The pass of this thread has ended; these are the devices of the node, if that is known.
    pub(super) fn end_pass(&self, report: &PassReport, devices: Option<&[String]>) {
        lock(&self.state).metrics.end_pass(&thread_prefix(), report);
        devices.into_iter().for_each(|devices| self.keep_devices(devices));
        self.write();
    }

    /// The pass of this thread was ended early, for another configuration.
    pub(super) fn cut_short(&self, report: &PassReport) {
        lock(&self.state).metrics.cut_short(&thread_prefix(), report);
    }

    /// The pass of this thread broke off, and has no report.
    pub(super) fn broke_off(&self) {
        lock(&self.state).metrics.broke_off(&thread_prefix());
    }

    /// The process has done what it was to do, or is about to be ended: nothing is under way from now on.
    pub(super) fn end(&self) {
        lock(&self.state).has_ended = true;
        self.write();
    }

    /// Writes the file, if there is to be one.
    fn write(&self) {
        let Some(path) = lock(&self.state).settings.metrics_textfile.clone() else { return };
        let mut in_trouble = lock(&self.writing);
        let _locked = files::lock(&path, LOCK_TIMEOUT);
        // What cannot be read is of no use to others either, and this process knows its own counts.
        let others = read(&path).unwrap_or_default();
        match files::replace(&path, self.text(Some(others)).as_bytes()) {
            Err(error) if !*in_trouble => error!("Metrics: {error}"),
            Ok(()) if *in_trouble => info!("The metrics are written again"),
            _ => return,
        }
        *in_trouble = !*in_trouble;
    }

    /// The text for whoever asks: nothing is written, and nobody waits for a disk.
    pub(super) fn served(&self) -> Arc<str> {
        let mut served = lock(&self.served);
        match &*served {
            Some((made, text)) if made.elapsed() < FRESH => text.clone(),
            _ => {
                let text = Arc::<str>::from(self.text(None));
                *served = Some((Instant::now(), text.clone()));
                text
            }
        }
    }

    /// The text as it is now, for others or, with what they have written, for the file.
    fn text(&self, others: Option<Samples>) -> String {
        // A pass leaves the board before it is counted as ended, which needs this lock: so none is looked at after that.
        let mut state = lock(&self.state);
        for (group, counted) in self.board.counted() {
            state.metrics.take_in(&group, &counted);
        }
        others.into_iter().for_each(|others| state.metrics.settle(others));
        let passes = if state.has_ended { Vec::new() } else { self.board.passes() };
        state.metrics.text(&Now {
            time: unix(SystemTime::now()),
            rings: self.board.rings(),
            local: state.local.clone(),
            passes,
            hanging: self.board.hanging(),
        })
    }
}

/// What an earlier process left in the file.
fn former(path: &Path) -> Samples {
    read(path).unwrap_or_else(|error| {
        warn!("The metrics begin anew: cannot read {}: {error}", path.display());
        Samples::default()
    })
}

fn read(path: &Path) -> io::Result<Samples> {
    match regular::read(path, Links::Refused, MAX_BYTES) {
        Ok(text) => Ok(Samples::parse(&String::from_utf8_lossy(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Samples::default()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::config::settings;
    use crate::job::tally::Tally;
    use crate::pass::lanes::{BatchLimits, Lanes};
    use crate::report::counts::Counts;
    use crate::report::pass_report::DeviceReport;

    /// A keeper of metrics in this folder.
    fn keeper(folder: &Path, board: &Arc<RunningPasses>) -> (MetricsKeeper, PathBuf) {
        let (conf, path) = (folder.join("o.conf"), folder.join("node.prom"));
        fs::write(&conf, format!("[object-replicator]\nmetrics_textfile = {}\n", path.display())).unwrap();
        let settings = Arc::new(settings::load(&conf).unwrap().settings);
        let keeper = MetricsKeeper::new(settings, board.clone());
        keeper.note_what_is_wanted();
        (keeper, path)
    }

    fn attempted(count: u64) -> Tally {
        let mut tally = Tally::default();
        tally.counts.attempted = count;
        tally.peer(Arc::from("10.0.0.2:6200/sdb")).attempted = count;
        tally
    }

    /// Fails unless the file has these lines, without the prefix.
    #[track_caller]
    fn says(path: &Path, lines: &[&str]) {
        let text = fs::read_to_string(path).unwrap();
        for line in lines {
            assert!(text.contains(&format!("\nswift_object_replicator_{line}\n")), "{line}\n{text}");
        }
    }

    #[test]
    fn the_file_says_how_far_a_pass_is_and_its_end_counts_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let board = Arc::new(RunningPasses::default());
        let (keeper, path) = keeper(folder.path(), &board);
        keeper.keep_devices(&["sda".to_owned()]);
        keeper.write();
        says(
            &path,
            &["device_attempted_partitions_total{device=\"sda\"} 0", "device_running_pass_seconds{device=\"sda\"} 0"],
        );

        let mut lanes = Lanes::new(false, BatchLimits { updates: 1, reverts: 1 }, 1);
        lanes.add("sda", 0);
        let post = board.post(thread_prefix(), Arc::default(), &lanes);
        lanes.take_next();
        lanes.done(0, Some(Vec::new()), attempted(2), false);
        lanes.leave_out(0, 5);
        thread::sleep(post.due().saturating_duration_since(Instant::now()));
        post.update(&lanes);
        keeper.write();
        let served = keeper.served();
        keeper.write();
        let counted = [
            "device_attempted_partitions_total{device=\"sda\"} 2",
            "peer_attempted_partitions_total{peer=\"10.0.0.2:6200/sdb\"} 2",
        ];
        says(&path, &counted);
        says(&path, &["device_found_partitions{device=\"sda\"} 5", "device_left_partitions{device=\"sda\"} 3"]);
        let text = fs::read_to_string(&path).unwrap();
        let attempted =
            |text: &str| text.lines().filter(|line| line.contains("_attempted_")).collect::<Vec<_>>().join(" ");
        assert_eq!(attempted(&served), attempted(&text));
        assert!(!text.contains("device_running_pass_seconds{device=\"sda\"} 0\n"), "{text}");

        drop(post);
        let counts = Counts { attempted: 4, ..Counts::default() };
        let device = DeviceReport { found: 5, counts, ..DeviceReport::default() };
        let report = PassReport { devices: [("sda".to_owned(), device)].into(), ..PassReport::default() };
        keeper.end_pass(&report, None);
        says(&path, &["device_attempted_partitions_total{device=\"sda\"} 4", counted[1]]);
        says(&path, &["device_running_pass_seconds{device=\"sda\"} 0", "device_left_partitions{device=\"sda\"} 1"]);
    }

    #[test]
    fn a_process_that_ends_leaves_nothing_under_way() {
        let folder = tempfile::tempdir().unwrap();
        let board = Arc::new(RunningPasses::default());
        let (keeper, path) = keeper(folder.path(), &board);
        let mut lanes = Lanes::new(false, BatchLimits { updates: 1, reverts: 1 }, 1);
        lanes.add("sda", 0);
        keeper.keep_devices(&["sda".to_owned()]);
        let _post = board.post(thread_prefix(), Arc::default(), &lanes);
        thread::sleep(Duration::from_millis(2));
        keeper.write();
        let line = "device_running_pass_seconds{device=\"sda\"} 0\n";
        assert!(!fs::read_to_string(&path).unwrap().contains(line));
        keeper.end();
        keeper.write();
        assert!(fs::read_to_string(&path).unwrap().contains(line));
    }
}
