//! Every option of the daemon, typed, with its default (B2, section 2b).

use std::path::PathBuf;
use std::time::Duration;

/// How objects are pushed to peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMethod {
    Rsync,
    Ssync,
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
    pub rsync_module: String,
    pub log_rsync_transfers: bool,
    pub rsync_error_log_line_length: usize,
    pub sync_method: SyncMethod,
    pub http_timeout: Duration,
    pub conn_timeout: Duration,
    pub node_timeout: Duration,
    pub network_chunk_size: usize,
    pub disk_chunk_size: usize,
    pub recon_cache_path: PathBuf,
    pub handoffs_first: bool,
    /// 0 (`auto`): a hand-off is removed only when every primary has it.
    pub handoff_delete: usize,
    /// Ours: check with a dry run that everything arrived before a hand-off is removed.
    pub handoff_verify: bool,
    pub lockup_timeout: Duration,
    pub reclaim_age: Duration,
    pub user: String,
    pub daemonize: bool,
    pub nice_priority: Option<i64>,
    pub ionice_class: Option<IoClass>,
    pub ionice_priority: i64,
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
