//! Every option of the daemon, typed, with its default (B2, section 2b).
//!
//! The configuration is a file, or a folder whose `*.conf` files are read one after another. Only its section
//! `[object-replicator]` is used, with `[DEFAULT]` as fallback. Values mean what they mean to Swift's own replicator; a
//! value that it refuses is refused, and so are a few that it takes but that can only do harm (see [`load`]).

mod groups;
mod recon_path;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::ini::{self, Dialect, Ini, IniError, Item};
use super::interpolation::Interpolation;
use super::options::{BadOption, Options};
use super::value::{self, BadValue, Reserve};
use crate::orders::quiet_hours::{self, QuietHours};
pub use groups::{
    HandoffFsync, HandoffSettings, HandoffsOnly, LabelMode, LogSettings, ReplicateSettings, RsyncSettings,
    SsyncSettings, StatsdLabels, StatsdSettings,
};
pub use recon_path::{ReconCachePath, recon_cache_path};

/// The section of the daemon's configuration, and the name that it logs under by default (B2.6).
const SECTION: &str = "object-replicator";

/// The usual socket of syslog.
pub const LOG_ADDRESS: &str = "/dev/log";

/// Where the recon cache is by default.
const RECON_CACHE_PATH: &str = "/var/cache/swift";

/// How objects are pushed to peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMethod {
    Rsync,
    Ssync,
}

/// `single_instance`: what another replicator on the same devices means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SingleInstance {
    /// Nobody looks.
    No,
    /// It is warned of.
    Warn,
    /// The process that came later does not begin.
    Yes,
}

/// `metrics_peers`: what the metrics of peers are labelled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsPeers {
    /// Each disk: in a large cluster some thousands of series from each node.
    Device,
    /// Each node, by its address.
    Node,
    /// There are none of peers.
    None,
}

/// `ionice_class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoClass {
    RealTime = 1,
    BestEffort = 2,
    Idle = 3,
}

/// The options of `[object-replicator]`, with `[DEFAULT]` as fallback.
#[derive(Clone, Debug)]
pub struct Settings {
    pub devices: PathBuf,
    pub mount_check: bool,
    pub swift_dir: PathBuf,
    /// `ring_ip`, or `bind_ip` where it is not set.
    pub ring_ip: String,
    /// `None` where `servers_per_port` is not 0: then ports are not compared (B4.2).
    pub bind_port: Option<i64>,
    pub concurrency: usize,
    pub replicator_workers: usize,
    pub stats_interval: Duration,
    pub ring_check_interval: Duration,
    pub interval: Duration,
    pub rsync: RsyncSettings,
    pub sync_method: SyncMethod,
    pub replicate: ReplicateSettings,
    pub ssync: SsyncSettings,
    pub recon_cache_path: PathBuf,
    /// Ours: where metrics are written, for Prometheus' node_exporter.
    pub metrics_textfile: Option<PathBuf>,
    /// Ours: where a daemon serves them over HTTP.
    pub metrics_listen: Option<SocketAddr>,
    /// Ours: what those of peers are labelled with.
    pub metrics_peers: MetricsPeers,
    pub handoffs: HandoffSettings,
    /// Ours: what is to stay free on a device of a peer (`target_reserve`).
    pub target_reserve: Reserve,
    pub lockup_timeout: Duration,
    pub reclaim_age: Duration,
    pub user: String,
    pub daemonize: bool,
    /// Ours: whether what a new ring has moved goes before all else.
    pub moved_first: bool,
    /// Ours: whether there may be another replicator on the same devices.
    pub single_instance: SingleInstance,
    /// Ours: a time of each day with other limits.
    pub(crate) quiet_hours: Option<QuietHours>,
    pub nice_priority: Option<i64>,
    /// `ionice_class` with `ionice_priority`, which means nothing without it.
    pub ionice: Option<(IoClass, i64)>,
    pub log: LogSettings,
    pub statsd: StatsdSettings,
}

/// What a configuration says.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// Lines to log at WARNING, at the start and after each reload.
    pub warnings: Vec<String>,
}

/// Why a configuration cannot be used: one line.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("Unable to read config from {path}: {error}", path = .path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("Unable to read config from {path}: no file named *.conf in it can be read", path = .0.display())]
    NothingToRead(PathBuf),
    #[error("Unable to find object-replicator config section in {path}", path = .0.display())]
    NoSection(PathBuf),
    #[error(transparent)]
    Ini(#[from] IniError),
    #[error(transparent)]
    Option(#[from] BadOption),
}

/// Reads a configuration file or folder (B2.1).
///
/// # Errors
/// Those of [`read`], and [`ConfigError::Option`] for a value that cannot be used. Refused are the values that Swift's
/// own replicator refuses, and besides: a negative `handoff_delete`, which would delete without any copy (B10.7); a
/// `concurrency` below 1, which would never start a job; a `lockup_timeout` below 1; `nan` for a time; and a port above
/// 65535 of syslog or statsd.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let (items, mut warnings) = read(path)?;
    let mut options = Options::new(items);
    let settings = Settings::read(&mut options)?;
    warnings.extend(options.into_warnings());
    Ok(Loaded { settings, warnings })
}

/// The options of the daemon's section as they stand in the file or folder, with warnings of what could not be read.
///
/// # Errors
/// - [`ConfigError::Read`] if the file cannot be read, or the folder cannot be listed;
/// - [`ConfigError::NothingToRead`] if the folder has no `*.conf` file that can be read;
/// - [`ConfigError::NoSection`] if there is no section `[object-replicator]`;
/// - [`ConfigError::Ini`] if a file is not UTF-8 or not in the ini format, sets an option twice, or has a value with a
///   reference that leads nowhere.
pub fn read(path: &Path) -> Result<(Vec<Item>, Vec<String>), ConfigError> {
    let mut ini = Ini::new(Dialect { strict: true, lower_case_keys: false });
    let mut warnings = Vec::new();
    if path.is_dir() {
        read_folder(path, &mut ini, &mut warnings)?;
    } else {
        read_file(path, &mut ini)?;
    }
    let items = ini.items(SECTION, Interpolation::WhereReferred)?;
    Ok((items.ok_or_else(|| ConfigError::NoSection(path.to_owned()))?, warnings))
}

/// Reads the files of a folder; one that cannot be opened is left out, as the reference does, but not silently.
fn read_folder(folder: &Path, ini: &mut Ini, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
    let files = ini::files_of_folder(folder).map_err(|error| ConfigError::Read { path: folder.to_owned(), error })?;
    let mut read_any = false;
    for file in files {
        match read_file(&file, ini) {
            Ok(()) => read_any = true,
            Err(ConfigError::Read { path, error }) => {
                warnings.push(format!("{} is left out: {error}", path.display()));
            }
            Err(error) => return Err(error),
        }
    }
    if read_any { Ok(()) } else { Err(ConfigError::NothingToRead(folder.to_owned())) }
}

fn read_file(path: &Path, ini: &mut Ini) -> Result<(), ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
    Ok(ini.read(path, &ini::decode(path, bytes)?)?)
}

impl Settings {
    fn read(options: &mut Options) -> Result<Self, BadOption> {
        check_options_without_effect(options)?;
        let bind_ip = options.text("bind_ip", "0.0.0.0");
        Ok(Self {
            devices: options.text("devices", "/srv/node").into(),
            mount_check: options.boolean("mount_check", true),
            swift_dir: options.text("swift_dir", "/etc/swift").into(),
            ring_ip: options.text("ring_ip", &bind_ip),
            bind_port: bind_port(options)?,
            concurrency: options.positive("concurrency", 1)?,
            replicator_workers: options.count("replicator_workers", 0)?,
            stats_interval: options.seconds("stats_interval", 300.0)?,
            ring_check_interval: options.seconds("ring_check_interval", 15.0)?,
            interval: interval(options)?,
            rsync: RsyncSettings::read(options)?,
            sync_method: sync_method(options)?,
            replicate: ReplicateSettings::read(options)?,
            ssync: SsyncSettings::read(options)?,
            recon_cache_path: options.text("recon_cache_path", RECON_CACHE_PATH).into(),
            metrics_textfile: metrics_textfile(options)?,
            metrics_listen: metrics_listen(options)?,
            metrics_peers: metrics_peers(options)?,
            handoffs: HandoffSettings::read(options)?,
            target_reserve: target_reserve(options)?,
            lockup_timeout: lockup_timeout(options)?,
            reclaim_age: options.whole_seconds("reclaim_age", 604_800)?,
            user: options.text("user", "swift"),
            daemonize: options.boolean("daemonize", true),
            moved_first: options.boolean("moved_first", false),
            single_instance: single_instance(options)?,
            quiet_hours: quiet_hours(options)?,
            nice_priority: options.lenient("nice_priority", "an integer", value::integer),
            ionice: ionice(options),
            log: LogSettings::read(options)?,
            statsd: StatsdSettings::read(options)?,
        })
    }
}

impl IoClass {
    const ALLOWED: &str = "IOPRIO_CLASS_RT, IOPRIO_CLASS_BE or IOPRIO_CLASS_IDLE";

    fn parse(text: &str) -> Result<Self, BadValue> {
        match text {
            "IOPRIO_CLASS_RT" => Ok(Self::RealTime),
            "IOPRIO_CLASS_BE" => Ok(Self::BestEffort),
            "IOPRIO_CLASS_IDLE" => Ok(Self::Idle),
            _ => Err(BadValue),
        }
    }
}

/// Not even read if `servers_per_port` says that ports do not count.
fn bind_port(options: &mut Options) -> Result<Option<i64>, BadOption> {
    let servers_per_port = options.parse("servers_per_port", 0, "an integer", |text| match text {
        "" => Ok(0),
        text => value::integer(text),
    })?;
    options.unneeded("bind_port");
    if servers_per_port == 0 { options.integer("bind_port", 6200).map(Some) } else { Ok(None) }
}

/// `interval`, or its old name `run_pause`; an empty one is as good as none.
fn interval(options: &mut Options) -> Result<Duration, BadOption> {
    let old_name_set = options.get("run_pause").is_some();
    if old_name_set {
        let new_name_set = options.get("interval").is_some();
        options.warn(if new_name_set { RUN_PAUSE_IGNORED } else { RUN_PAUSE_DEPRECATED });
    }
    for name in ["interval", "run_pause"] {
        if options.filled(name).is_some() {
            return options.seconds(name, 30.0);
        }
    }
    Ok(Duration::from_secs(30))
}

/// B12.4.
const RUN_PAUSE_IGNORED: &str = "Option object-replicator/run_pause is deprecated and object-replicator/interval is \
    already configured. You can safely remove run_pause; it is now ignored and will be removed in a future version.";
const RUN_PAUSE_DEPRECATED: &str = "Option object-replicator/run_pause is deprecated and will be removed in a future \
    version. Update your configuration to use option object-replicator/interval.";

fn sync_method(options: &mut Options) -> Result<SyncMethod, BadOption> {
    options.parse("sync_method", SyncMethod::Rsync, "rsync or ssync", |text| match text {
        "" | "rsync" => Ok(SyncMethod::Rsync),
        "ssync" => Ok(SyncMethod::Ssync),
        _ => Err(BadValue),
    })
}

fn single_instance(options: &mut Options) -> Result<SingleInstance, BadOption> {
    options.parse("single_instance", SingleInstance::Warn, "\"no\", \"warn\" or \"yes\"", |text| {
        let text = text.trim();
        match value::truth(text) {
            Some(true) => Ok(SingleInstance::Yes),
            Some(false) => Ok(SingleInstance::No),
            None if text.is_empty() || text.eq_ignore_ascii_case("warn") => Ok(SingleInstance::Warn),
            None => Err(BadValue),
        }
    })
}

/// Where nothing is said there is none: what is not pushed to a full device are deletions, too.
fn target_reserve(options: &mut Options) -> Result<Reserve, BadOption> {
    const ALLOWED: &str = "a number of bytes, or a percentage like 1%";
    options.parse("fallocate_reserve", Reserve::Percent(1.0), ALLOWED, value::bytes_or_percent)?;
    options.parse("target_reserve", Reserve::Bytes(0), ALLOWED, |text| match text.trim() {
        "" => Ok(Reserve::Bytes(0)),
        text => value::bytes_or_percent(text),
    })
}

fn quiet_hours(options: &mut Options) -> Result<Option<QuietHours>, BadOption> {
    options.parse("quiet_hours", None, quiet_hours::ALLOWED, |text| match text.trim() {
        "" => Ok(None),
        text => QuietHours::parse(text).map(Some).ok_or(BadValue),
    })
}

/// Where the daemon stands when it writes is no place that anybody has in mind.
fn metrics_textfile(options: &mut Options) -> Result<Option<PathBuf>, BadOption> {
    options.parse("metrics_textfile", None, "an absolute path", |text| match Path::new(text) {
        path if path.is_absolute() => Ok(Some(path.to_owned())),
        path if path.as_os_str().is_empty() => Ok(None),
        _ => Err(BadValue),
    })
}

/// A name would have to be looked up, and may stand for several addresses.
fn metrics_listen(options: &mut Options) -> Result<Option<SocketAddr>, BadOption> {
    let allowed = "an address and a port, such as 127.0.0.1:9199 or [::1]:9199";
    options.parse("metrics_listen", None, allowed, |text| match text.trim() {
        "" => Ok(None),
        text => text.parse().ok().filter(|address: &SocketAddr| address.port() > 0).map(Some).ok_or(BadValue),
    })
}

fn metrics_peers(options: &mut Options) -> Result<MetricsPeers, BadOption> {
    let allowed = "\"node\", \"device\" or \"none\"";
    options.parse("metrics_peers", MetricsPeers::Device, allowed, |text| {
        match text.trim().to_ascii_lowercase().as_str() {
            "" | "device" => Ok(MetricsPeers::Device),
            "node" => Ok(MetricsPeers::Node),
            "none" => Ok(MetricsPeers::None),
            _ => Err(BadValue),
        }
    })
}

/// Zero would take every job for stuck.
fn lockup_timeout(options: &mut Options) -> Result<Duration, BadOption> {
    options.positive("lockup_timeout", 1800)?;
    options.whole_seconds("lockup_timeout", 1800)
}

/// A priority that cannot be used leaves the class alone too, and neither is fatal (B1.21).
fn ionice(options: &mut Options) -> Option<(IoClass, i64)> {
    let class = options.lenient("ionice_class", IoClass::ALLOWED, IoClass::parse);
    let priority_set = options.get("ionice_priority").is_some();
    let priority = options.lenient("ionice_priority", "an integer", value::integer);
    class.zip(if priority_set { priority } else { Some(0) })
}

/// What Swift's own replicator reads although it does nothing with it (B2.10); what it cannot read is refused here too.
fn check_options_without_effect(options: &mut Options) -> Result<(), BadOption> {
    for integer in ["keep_cache_size", "mb_per_sync", "replication_lock_timeout", "replication_concurrency_per_device"]
    {
        options.integer(integer, 0)?;
        options.without_effect(integer);
    }
    options.parse("commit_window", 0.0, "a number that is not negative", value::non_negative_float)?;
    let unread = ["disable_fallocate", "splice", "eventlet_debug", "replication_one_per_device"];
    for option in unread.into_iter().chain(["fallocate_reserve", "commit_window"]) {
        options.without_effect(option);
    }
    // It names functions in Python, which are given each line of the log.
    options.unsupported("log_custom_handlers");
    Ok(())
}

#[cfg(test)]
mod tests;
