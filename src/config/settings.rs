//! Every option of the daemon, typed, with its default (B2, section 2b).
//!
//! The configuration is a file, or a folder whose `*.conf` files are read one after another. Of it `[object-replicator]`
//! counts, with `[DEFAULT]` behind it. Values mean what they mean to Swift's own replicator; a value that it refuses is
//! refused, and so are a few that it takes but that can only do harm (see [`load`]).

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::ini::{self, Dialect, Ini, IniError, Item};
use super::interpolation::Interpolation;
use super::options::{BadOption, Options};
use super::value::{self, BadValue};

/// The section of the daemon's configuration, and the name that it logs under by default (B2.6).
const SECTION: &str = "object-replicator";

/// The usual socket of syslog.
pub const LOG_ADDRESS: &str = "/dev/log";

/// How objects are pushed to peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMethod {
    Rsync,
    Ssync,
}

/// `handoff_fsync`: whether a hand-off is removed only once its targets have it on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoffFsync {
    /// It is pushed with `--fsync` where both rsyncs know that; elsewhere it is removed by a later pass, minutes after.
    Auto,
    /// It is removed only where both rsyncs know `--fsync`.
    Yes,
    /// It is removed at once, as by the reference.
    No,
}

/// `ionice_class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoClass {
    RealTime = 1,
    BestEffort = 2,
    Idle = 3,
}

/// The options of `[object-replicator]`, with `[DEFAULT]` behind it.
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
    pub rsync_timeout: Duration,
    /// Pasted into `--timeout` and `--contimeout` as it is.
    pub rsync_io_timeout: String,
    pub rsync_bwlimit: String,
    pub rsync_compress: bool,
    /// The template of the module to push to, without a slash at the end.
    pub rsync_module: String,
    /// The template for nodes whose rsync daemon has no module of that name (`vm_test_mode`).
    pub rsync_fallback_module: Option<String>,
    pub log_rsync_transfers: bool,
    pub rsync_error_log_line_length: usize,
    /// Ours: rsync's sockets without Nagle's delay.
    pub rsync_nodelay: bool,
    /// Ours: how many partitions at most go into one rsync.
    pub rsync_batch: usize,
    pub sync_method: SyncMethod,
    pub http_timeout: Duration,
    pub conn_timeout: Duration,
    pub node_timeout: Duration,
    pub network_chunk_size: usize,
    pub disk_chunk_size: usize,
    pub recon_cache_path: PathBuf,
    /// Ours: where metrics are written after each pass, for Prometheus' node_exporter.
    pub metrics_textfile: Option<PathBuf>,
    pub handoffs_first: bool,
    /// 0 (`auto`): a hand-off is removed only when every primary has it.
    pub handoff_delete: usize,
    /// Ours: check with a dry run that everything arrived before a hand-off is removed.
    pub handoff_verify: bool,
    /// Ours: whether a hand-off is removed only once its targets have it on disk.
    pub handoff_fsync: HandoffFsync,
    pub lockup_timeout: Duration,
    pub reclaim_age: Duration,
    pub user: String,
    pub daemonize: bool,
    pub nice_priority: Option<i64>,
    /// `ionice_class` with `ionice_priority`, which means nothing without it.
    pub ionice: Option<(IoClass, i64)>,
    pub log: LogSettings,
    pub statsd: StatsdSettings,
}

/// The `log_*` options that say what is logged and where to (B12.1-B12.3).
#[derive(Clone, Debug)]
pub struct LogSettings {
    pub name: String,
    /// As it stands; an unknown level means INFO.
    pub level: String,
    /// As it stands; an unknown facility means LOG_LOCAL0.
    pub facility: String,
    pub address: String,
    pub udp_host: Option<String>,
    pub udp_port: u16,
    /// 0: no limit.
    pub max_line_length: usize,
}

/// The `log_statsd_*` options (B12.11).
#[derive(Clone, Debug)]
pub struct StatsdSettings {
    /// `None`: no metrics.
    pub host: Option<String>,
    pub port: u16,
    pub default_sample_rate: f64,
    pub sample_rate_factor: f64,
    pub metric_prefix: String,
    pub emit_legacy: bool,
}

/// What a configuration says.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// Lines to log once, at WARNING.
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
/// Refused are what Swift's own replicator refuses, and besides: a negative `handoff_delete`, which would delete without
/// any copy (B10.7); a `concurrency` below 1, which would never start a job; a `lockup_timeout` below 1; `nan` for a time;
/// and a port above 65535 of syslog or statsd.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let (items, mut warnings) = read(path)?;
    let mut options = Options::new(items);
    let settings = Settings::read(&mut options)?;
    warnings.extend(options.into_warnings());
    Ok(Loaded { settings, warnings })
}

/// The options of the daemon's section as they stand in the file or folder, with warnings of what could not be read.
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
        let (rsync_module, rsync_fallback_module) = rsync_module(options);
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
            rsync_timeout: options.whole_seconds("rsync_timeout", 900)?,
            rsync_io_timeout: options.text("rsync_io_timeout", "30"),
            rsync_bwlimit: options.text("rsync_bwlimit", "0"),
            rsync_compress: options.boolean("rsync_compress", false),
            rsync_module,
            rsync_fallback_module,
            log_rsync_transfers: options.boolean("log_rsync_transfers", true),
            rsync_error_log_line_length: options.count("rsync_error_log_line_length", 0)?,
            rsync_nodelay: options.boolean("rsync_nodelay", true),
            rsync_batch: options.positive("rsync_batch", 128)?,
            sync_method: sync_method(options)?,
            http_timeout: options.whole_seconds("http_timeout", 60)?,
            conn_timeout: options.seconds("conn_timeout", 0.5)?,
            node_timeout: options.seconds("node_timeout", 10.0)?,
            network_chunk_size: options.count("network_chunk_size", 65_536)?.max(1),
            disk_chunk_size: options.count("disk_chunk_size", 65_536)?.max(1),
            recon_cache_path: options.text("recon_cache_path", "/var/cache/swift").into(),
            metrics_textfile: metrics_textfile(options)?,
            handoffs_first: options.boolean("handoffs_first", false),
            handoff_delete: handoff_delete(options)?,
            handoff_verify: options.boolean("handoff_verify", true),
            handoff_fsync: handoff_fsync(options)?,
            lockup_timeout: lockup_timeout(options)?,
            reclaim_age: options.whole_seconds("reclaim_age", 604_800)?,
            user: options.text("user", "swift"),
            daemonize: options.boolean("daemonize", true),
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

impl LogSettings {
    fn read(options: &mut Options) -> Result<Self, BadOption> {
        let udp_host = options.filled("log_udp_host");
        options.unneeded("log_udp_port");
        Ok(Self {
            name: options.text("log_name", SECTION),
            level: options.text("log_level", "INFO"),
            facility: options.text("log_facility", "LOG_LOCAL0"),
            address: options.text("log_address", LOG_ADDRESS),
            udp_port: if udp_host.is_some() { options.port("log_udp_port", 514)? } else { 514 },
            udp_host,
            max_line_length: options.count("log_max_line_length", 0)?,
        })
    }
}

impl StatsdSettings {
    fn read(options: &mut Options) -> Result<Self, BadOption> {
        Ok(Self {
            host: options.filled("log_statsd_host"),
            port: options.port("log_statsd_port", 8125)?,
            default_sample_rate: options.float("log_statsd_default_sample_rate", 1.0)?,
            sample_rate_factor: options.float("log_statsd_sample_rate_factor", 1.0)?,
            metric_prefix: options.text("log_statsd_metric_prefix", ""),
            emit_legacy: options.boolean("statsd_emit_legacy", true),
        })
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

/// The template of the modules, and one for where there is none of that name.
///
/// With `vm_test_mode`, the old way to run several nodes on one machine, each port has its own module. Swift has ignored
/// that option since 2.15, so it may be left over, and the modules be the usual ones.
fn rsync_module(options: &mut Options) -> (String, Option<String>) {
    const USUAL: &str = "{replication_ip}::object";
    let vm_test_mode = options.boolean("vm_test_mode", false);
    match options.text("rsync_module", "").trim_end_matches('/') {
        "" if vm_test_mode => {
            options.warn(VM_TEST_MODE);
            ("{replication_ip}::object{replication_port}".to_owned(), Some(USUAL.to_owned()))
        }
        "" => (USUAL.to_owned(), None),
        template => (template.to_owned(), None),
    }
}

const VM_TEST_MODE: &str = "vm_test_mode is set: rsync modules are taken to be named object<port>, and object where a \
    node has none of that name. Swift has ignored the option since 2.15; write rsync_module = \
    {replication_ip}::object{replication_port} in its stead, or remove it.";

fn sync_method(options: &mut Options) -> Result<SyncMethod, BadOption> {
    options.parse("sync_method", SyncMethod::Rsync, "rsync or ssync", |text| match text {
        "" | "rsync" => Ok(SyncMethod::Rsync),
        "ssync" => Ok(SyncMethod::Ssync),
        _ => Err(BadValue),
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

fn handoff_fsync(options: &mut Options) -> Result<HandoffFsync, BadOption> {
    options.parse("handoff_fsync", HandoffFsync::Auto, "\"auto\", \"yes\" or \"no\"", |text| {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" => Ok(HandoffFsync::Auto),
            "yes" | "true" | "on" | "y" | "t" | "1" => Ok(HandoffFsync::Yes),
            "no" | "false" | "off" | "n" | "f" | "0" => Ok(HandoffFsync::No),
            _ => Err(BadValue),
        }
    })
}

fn handoff_delete(options: &mut Options) -> Result<usize, BadOption> {
    options.parse("handoff_delete", 0, "\"auto\" or an integer of at least 0", |text| {
        value::auto_integer(text)?.unwrap_or(0).try_into().map_err(|_| BadValue)
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
    options.parse("fallocate_reserve", (), "a number of bytes, or a percentage like 1%", value::bytes_or_percent)?;
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
