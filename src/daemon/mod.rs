//! The process: from the command line to the exit, once or forever.
//!
//! [`run`] goes through the start in the order of the reference (B1.8), since it decides where an error shows: until stdio
//! is detached they end the process with a line on stderr, afterwards everything goes to the log. Privileges are dropped
//! before the first worker starts. Then passes follow each other until a signal ends the process.

mod control;
mod detach;
mod first;
mod group_threads;
mod groups;
mod instance;
mod listen;
mod metrics;
mod orphans;
mod passes;
mod priority;
mod progress;
mod publish;
mod reload;
mod signals;
mod systemd;
mod threads;

use std::fs::File;
use std::io::Write;
use std::process;
use std::sync::{Arc, OnceLock};

use crossbeam_channel::Receiver;
use log::{error, warn};
use thiserror::Error;

use crate::cli::{Arguments, BadList, ReportFile};
use crate::config::settings::{self, ConfigError, Loaded, Settings, SingleInstance};
use crate::config::swift_conf::SwiftConfError;
use crate::heartbeats::Heartbeats;
use crate::job::scope::Overrides;
use crate::pass::interrupt::Interrupter;
use crate::pass::{ProcessState, StartError};
use crate::printable::printable;
use crate::report::files::{self, WriteError};
use crate::report::html;
use crate::report::pass_report::{Ending, INCOMPLETE, PassReport};
use crate::report::status;
use crate::user::{Account, AccountError};
use crate::{notice, sys};
use control::{Control, Place};
use detach::DetachError;
use instance::DeviceLocks;
use metrics::MetricsKeeper;
use progress::Drawing;
use publish::Publisher;
use reload::{LoadedConfig, Pending, Reloader};
use signals::Kind;

/// Why the daemon cannot run: one line.
#[derive(Debug, Error)]
pub enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    List(#[from] BadList),
    #[error(transparent)]
    SwiftConf(#[from] SwiftConfError),
    #[error(transparent)]
    Log(#[from] crate::log::InitError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Detach(#[from] DetachError),
    #[error("unable to listen for signals: {0}")]
    Signals(std::io::Error),
    #[error("unable to start a thread for {job}: {error}")]
    Thread { job: &'static str, error: std::io::Error },
    #[error("option {0} is for a single pass: it needs --once")]
    OnlyOnce(&'static str),
    #[error("{0}, and option single_instance does not allow that")]
    NotAlone(String),
    #[error("option --report: {0}")]
    Report(WriteError),
    #[error("option --first: {0}")]
    First(String),
}

impl Failure {
    /// What a process that ends with it exits with: 2 for a mistake on the command line, 1 for all else (B1.10).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::List(_) | Self::OnlyOnce(_) => 2,
            _ => 1,
        }
    }
}

/// Runs the daemon: one pass, or passes until a signal ends the process.
///
/// Returns after one pass, with the exit code. How the pass went never is a failure (B1.10), and shows in the code only
/// with `--strict`.
///
/// # Errors
/// [`Failure`] if the daemon cannot start: because of its configuration, its options, its user, the log or the rings,
/// or because the system refused a signal handler or a thread.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let Loaded { settings, mut warnings } = settings::load(&arguments.config)?;
    let settings = Arc::new(settings);
    let once = arguments.once || !settings.daemonize;
    // In a daemon that goes on forever they are not even looked at (B1.6).
    let overrides = if once { arguments.overrides()? } else { Overrides::default() };
    only_once(arguments, once)?;
    let account = Account::find(&settings.user)?;
    warnings.extend(set_environment(&account));
    warnings.extend(log_without_socket(&settings, arguments.verbose));

    crate::log::init(&settings.log, arguments.verbose)?;
    priority::apply(&settings);
    notice!("Starting {}", process::id());
    warnings.iter().for_each(|warning| warn!("{warning}"));
    tell(arguments.ignored(once).into_iter(), arguments);

    let watchdog = systemd::watchdog_limit();
    let heartbeats = watchdog.map_or_else(Heartbeats::default, |limit| Heartbeats::new(limit / 2));
    let lasting = ProcessState { heartbeats, ..ProcessState::default() };
    let (interrupter, interrupt) = Interrupter::new();
    let loaded = LoadedConfig::new(Arc::clone(&settings), &lasting, interrupt)?;
    let overrides = settle(overrides, arguments, &lasting)?;
    tell(loaded.replicator.unmatched(&overrides).iter().map(|line| format!("Nothing matches {line}")), arguments);
    account.assume()?;
    // Before hours are spent on a report that nobody will get.
    arguments.report.as_ref().map_or(Ok(()), |report| files::check(report.path())).map_err(Failure::Report)?;
    let _locks = alone(&settings, &loaded, &overrides, once, arguments)?;
    detach::leave_session(once)?;
    let (hang_ups, requests) = crossbeam_channel::bounded(1);
    let kind = if once { Kind::Once { is_strict: arguments.strict } } else { Kind::Daemon(hang_ups) };
    let (place, metrics) = (Place::default(), Arc::<OnceLock<Arc<MetricsKeeper>>>::default());
    let (leave, last_words) = (place.clone(), metrics.clone());
    signals::watch(lasting.gate.clone(), kind, lasting.board.clone(), move || {
        leave.leave();
        last_words.get().into_iter().for_each(|metrics| metrics.end());
    })
    .map_err(Failure::Signals)?;
    let terminal = (once && !arguments.verbose).then(progress::terminal).flatten();
    detach::release_stdio(arguments.verbose)?;
    let start = Start { arguments, settings, overrides, once, lasting, interrupter, requests, metrics, place };
    // Nobody reads stderr any more.
    start.go_on(loaded, terminal).inspect_err(|failure| error!("{failure}"))
}

/// What a process has once it has let go of whoever started it.
struct Start<'a> {
    arguments: &'a Arguments,
    settings: Arc<Settings>,
    overrides: Overrides,
    once: bool,
    lasting: ProcessState,
    interrupter: Interrupter,
    /// To read the configuration anew.
    requests: Receiver<()>,
    /// What is to be done with the metrics when a signal ends the process.
    metrics: Arc<OnceLock<Arc<MetricsKeeper>>>,
    /// Where the socket for orders is.
    place: Place,
}

impl Start<'_> {
    /// Passes, until the end.
    fn go_on(self, mut loaded: LoadedConfig, terminal: Option<File>) -> Result<u8, Failure> {
        let Self { arguments, settings, overrides, once, lasting, interrupter, requests, metrics, place } = self;
        let thread = |job| move |error| Failure::Thread { job, error };
        if let Some(limit) = systemd::watchdog_limit() {
            let started = systemd::feed_watchdog(limit, lasting.heartbeats.clone());
            started.map_err(thread("the service manager's watchdog"))?;
        }
        orphans::reap().map_err(thread("orphans"))?;
        systemd::notify("READY=1");

        loaded.replicator.show_rings();
        let kind = if once { status::Kind::SinglePass } else { status::Kind::Daemon };
        let keeper = Arc::new(MetricsKeeper::new(Arc::clone(&settings), Arc::clone(&lasting.board)));
        let publisher = Arc::new(Publisher::new(kind, Arc::clone(&settings), &lasting, keeper.clone()));
        loaded.replicator.take_force();
        let control = Arc::new(Control::new(&lasting, &settings, loaded.replicator.policies(), place));
        // That may take a moment where a disk hangs.
        loaded.replicator.registration().beat_after(control::PATIENCE);
        control.begin(!once);
        loaded.replicator.registration().sign();
        control.start(!once, &publisher).map_err(thread("orders"))?;
        if overrides.is_empty() {
            publisher.keep_status();
            keeper.start();
            metrics.get_or_init(|| keeper.clone());
        }
        if once {
            let drawing = terminal.and_then(|terminal| Drawing::begin(terminal, lasting.board));
            let mut report = passes::once(&mut loaded.replicator, &settings, &overrides, &publisher);
            report.iter_mut().for_each(|report| note_nothing_found(report, &overrides));
            drawing.into_iter().for_each(|drawing| drawing.end(report.as_ref()));
            return end(arguments, report.as_ref(), overrides.is_empty().then_some(&*publisher));
        }
        first::follow_rings(&lasting)?;
        settings.metrics_listen.into_iter().for_each(|address| {
            let keeper = keeper.clone();
            listen::start(address, move || keeper.served());
        });
        let next = Pending::default();
        let config = arguments.config.clone();
        let reloader = Reloader { config, lasting, settings, interrupter, next: next.clone() };
        reloader.start(requests).map_err(thread("reloads"))?;
        passes::forever(loaded, &next, &publisher, &control)
    }
}

/// Finds out what a single pass over what is to go first is restricted to.
fn settle(overrides: Overrides, arguments: &Arguments, lasting: &ProcessState) -> Result<Overrides, Failure> {
    match (&arguments.first, lasting.finder.get()) {
        (Some(first), Some(finder)) => {
            finder.settle(&first.what, overrides).map_err(|refused| Failure::First(refused.to_string()))
        }
        _ => Ok(overrides),
    }
}

/// A pass that was restricted to partitions that are not here did nothing of what was asked.
fn note_nothing_found(report: &mut PassReport, overrides: &Overrides) {
    if overrides.partitions.is_some() && report.ending == Ending::Complete && report.found() == 0 {
        let reason = "none of the partitions of --partitions is on this node's devices";
        warn!("The pass had nothing to do: {reason}");
        report.add_reasons(vec![reason.to_owned()]);
    }
}

/// The end of a process that has made its pass; the exit code. Without a report there was no pass.
fn end(arguments: &Arguments, report: Option<&PassReport>, publisher: Option<&Publisher>) -> Result<u8, Failure> {
    publisher.into_iter().for_each(Publisher::done);
    let written = write_report(arguments, report);
    systemd::notify("STOPPING=1");
    notice!("Exited {}", process::id());
    written?;
    Ok(if arguments.strict { report.map_or(INCOMPLETE, PassReport::strict_exit_code) } else { 0 })
}

/// Warns, on stderr too unless the log is there already: whoever started the process may see it at once.
fn tell(warnings: impl Iterator<Item = String>, arguments: &Arguments) {
    for warning in warnings {
        if !arguments.verbose {
            // Whoever closed the stream does not want to know.
            let _ = writeln!(std::io::stderr(), "{}", printable(&warning));
        }
        warn!("{warning}");
    }
}

/// The locks of the devices that this process is to work on, unless it is to work on them alone and does not.
fn alone(
    settings: &Settings,
    loaded: &LoadedConfig,
    overrides: &Overrides,
    once: bool,
    arguments: &Arguments,
) -> Result<DeviceLocks, Failure> {
    if settings.single_instance == SingleInstance::No {
        return Ok(DeviceLocks::default());
    }
    let mut devices = loaded.replicator.local_devices().unwrap_or_default();
    devices.retain(|device| overrides.wants_device(device));
    let process = format!("{}, process {}", if once { "a single pass" } else { "a daemon" }, process::id());
    let locks = DeviceLocks::take_soon(&settings.recon_cache_path, devices, process);
    match (locks.complaints(), settings.single_instance) {
        (complaints, SingleInstance::Yes) if !complaints.is_empty() => Err(Failure::NotAlone(complaints.join("; "))),
        (complaints, _) => {
            tell(complaints.into_iter().map(|line| format!("{line} too: they do all work twice")), arguments);
            Ok(locks)
        }
    }
}

fn only_once(arguments: &Arguments, once: bool) -> Result<(), Failure> {
    match arguments {
        _ if once => Ok(()),
        Arguments { report: Some(_), .. } => Err(Failure::OnlyOnce("--report")),
        Arguments { strict: true, .. } => Err(Failure::OnlyOnce("--strict")),
        _ => Ok(()),
    }
}

/// Nobody reads stderr any more, so the log is told what goes wrong.
fn write_report(arguments: &Arguments, report: Option<&PassReport>) -> Result<(), Failure> {
    let (Some(file), Some(report)) = (&arguments.report, report) else { return Ok(()) };
    let text = match file {
        ReportFile::Json(_) => report.json(),
        ReportFile::Html(_) => html::page(report),
    };
    let written = files::replace(file.path(), text.as_bytes()).map_err(Failure::Report);
    written.inspect_err(|failure| error!("{failure}"))
}

/// A log that goes elsewhere than the configuration says tells nobody that it does, so this is for stderr too.
fn log_without_socket(settings: &Settings, verbose: bool) -> Option<String> {
    let complaint = crate::log::syslog::complaint(&settings.log)?;
    if !verbose && settings.log.address != settings::LOG_ADDRESS {
        eprintln!("{complaint}");
    }
    Some(complaint)
}

/// `HOME`, for rsync. It is done while there is only one thread, so long before the user changes. (`TZ` is set for rsync
/// alone: quiet hours are told by the clock on the wall.)
fn set_environment(account: &Account) -> Option<String> {
    let done = sys::set_env("HOME", account.home());
    done.err().map(|error| format!("HOME is left as it was: {error}"))
}
