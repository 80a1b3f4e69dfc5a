//! Options that belong together, in groups; each part of the program takes the group that concerns it.

use std::time::Duration;

use super::{LOG_ADDRESS, SECTION};
use crate::config::options::{BadOption, Options};
use crate::config::value::{self, BadValue};

/// How to push with rsync.
#[derive(Clone, Debug)]
pub struct RsyncSettings {
    /// For one partition (`rsync_timeout`).
    pub timeout: Duration,
    /// Pasted into `--timeout` and `--contimeout` as it is (`rsync_io_timeout`).
    pub io_timeout: String,
    /// Pasted into `--bwlimit` (`rsync_bwlimit`).
    pub bwlimit: String,
    /// Whether to compress what goes to another region (`rsync_compress`).
    pub compress: bool,
    /// The template of the targets' modules, without a slash at the end (`rsync_module`).
    pub module: String,
    /// The template of those that are there where a daemon has no module of the first one's name (`vm_test_mode`).
    pub fallback_module: Option<String>,
    /// Whether lines about single files are logged (`log_rsync_transfers`).
    pub log_transfers: bool,
    /// Where to cut the lines that hold rsync's arguments; 0 for nowhere (`rsync_error_log_line_length`).
    pub error_line_length: usize,
    /// Ours: whether the sockets get `TCP_NODELAY` (`rsync_nodelay`): else every step of the handshake waits some 40 ms.
    pub nodelay: bool,
    /// Ours: how many partitions at most go into one rsync (`rsync_batch`).
    pub batch: usize,
}

/// How to ask peers for hashes.
#[derive(Clone, Debug)]
pub struct ReplicateSettings {
    /// For finding the host, connecting, and sending (`conn_timeout`).
    pub conn_timeout: Duration,
    /// For the whole answer (`http_timeout`).
    pub http_timeout: Duration,
}

/// How to push by SSYNC.
#[derive(Clone, Debug)]
pub struct SsyncSettings {
    /// To connect and send the request's head (`conn_timeout`).
    pub conn_timeout: Duration,
    /// To receive the answer's head, and to send any one message (`node_timeout`).
    pub node_timeout: Duration,
    /// To receive a line of the answer (`http_timeout`).
    pub http_timeout: Duration,
    /// The longest line of the answer that is read (`network_chunk_size`).
    pub network_chunk_size: usize,
    /// How many bytes of data go into a message (`disk_chunk_size`), within reason.
    pub disk_chunk_size: usize,
}

/// When hand-offs have their turn, and what must be so before one is removed.
#[derive(Clone, Copy, Debug)]
pub struct HandoffSettings {
    /// No primary is updated while a hand-off is left (`handoffs_first`, B5.12).
    pub first: bool,
    /// Ours: whether devices here that are almost full go first, and there the hand-offs (`drain_full_first`).
    pub drain_full_first: bool,
    /// So many primaries that have it are enough (`handoff_delete`); 0 (`auto`): all of them (B10.7).
    pub delete: usize,
    /// Ours: whether it is proven that they have it (`handoff_verify`).
    pub verify: bool,
    /// Ours: whether they must have it on disk (`handoff_fsync`).
    pub fsync: HandoffFsync,
    /// Ours: whether passes are over hand-offs alone (`handoffs_only`).
    pub only: HandoffsOnly,
}

/// `handoffs_only`: whether partitions that belong here have no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoffsOnly {
    No,
    Yes,
    /// While a local disk is nearly full and hand-offs are left, unless none of them goes.
    Auto,
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
    /// Whether metrics go out by the names that they have always had.
    pub emit_legacy: bool,
    /// How those with labels go out, if they do.
    pub labels: Option<StatsdLabels>,
}

/// Metrics with labels (`statsd_label_mode`).
#[derive(Clone, Debug)]
pub struct StatsdLabels {
    pub mode: LabelMode,
    /// Those of every metric (`statsd_user_label_*`), by their names as they are sent.
    pub users: Vec<(String, String)>,
}

/// `statsd_label_mode`: whose form labels have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelMode {
    Librato,
    Influxdb,
    Graphite,
    Dogstatsd,
}

impl RsyncSettings {
    pub(super) fn read(options: &mut Options) -> Result<Self, BadOption> {
        let (module, fallback_module) = rsync_module(options);
        Ok(Self {
            timeout: options.whole_seconds("rsync_timeout", 900)?,
            io_timeout: options.text("rsync_io_timeout", "30"),
            bwlimit: options.text("rsync_bwlimit", "0"),
            compress: options.boolean("rsync_compress", false),
            module,
            fallback_module,
            log_transfers: options.boolean("log_rsync_transfers", true),
            error_line_length: options.count("rsync_error_log_line_length", 0)?,
            nodelay: options.boolean("rsync_nodelay", true),
            batch: options.positive("rsync_batch", 128)?,
        })
    }
}

impl ReplicateSettings {
    pub(super) fn read(options: &mut Options) -> Result<Self, BadOption> {
        Ok(Self {
            http_timeout: options.whole_seconds("http_timeout", 60)?,
            conn_timeout: options.seconds("conn_timeout", 0.5)?,
        })
    }
}

impl SsyncSettings {
    pub(super) fn read(options: &mut Options) -> Result<Self, BadOption> {
        let ReplicateSettings { conn_timeout, http_timeout } = ReplicateSettings::read(options)?;
        Ok(Self {
            conn_timeout,
            http_timeout,
            node_timeout: options.seconds("node_timeout", 10.0)?,
            network_chunk_size: options.count("network_chunk_size", 65_536)?.max(1),
            disk_chunk_size: options.count("disk_chunk_size", 65_536)?.max(1),
        })
    }
}

impl HandoffSettings {
    pub(super) fn read(options: &mut Options) -> Result<Self, BadOption> {
        Ok(Self {
            first: options.boolean("handoffs_first", false),
            drain_full_first: options.boolean("drain_full_first", false),
            delete: handoff_delete(options)?,
            verify: options.boolean("handoff_verify", true),
            fsync: handoff_fsync(options)?,
            only: handoffs_only(options)?,
        })
    }
}

impl LogSettings {
    pub(super) fn read(options: &mut Options) -> Result<Self, BadOption> {
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
    pub(super) fn read(options: &mut Options) -> Result<Self, BadOption> {
        Ok(Self {
            host: options.filled("log_statsd_host"),
            port: options.port("log_statsd_port", 8125)?,
            default_sample_rate: options.float("log_statsd_default_sample_rate", 1.0)?,
            sample_rate_factor: options.float("log_statsd_sample_rate_factor", 1.0)?,
            metric_prefix: options.text("log_statsd_metric_prefix", ""),
            emit_legacy: options.boolean("statsd_emit_legacy", true),
            labels: statsd_labels(options),
        })
    }
}

/// Swift's own replicator has no labels, and does not look at these options, which are often set for all daemons. So what
/// is wrong with them keeps nobody from replicating.
fn statsd_labels(options: &mut Options) -> Option<StatsdLabels> {
    let allowed = "\"disabled\", \"librato\", \"influxdb\", \"graphite\" or \"dogstatsd\"";
    let mode = options.lenient("statsd_label_mode", allowed, |text| match text.to_lowercase().as_str() {
        "disabled" => Ok(None),
        "librato" => Ok(Some(LabelMode::Librato)),
        "influxdb" => Ok(Some(LabelMode::Influxdb)),
        "graphite" => Ok(Some(LabelMode::Graphite)),
        "dogstatsd" => Ok(Some(LabelMode::Dogstatsd)),
        _ => Err(BadValue),
    });
    let mut users = Vec::new();
    for (name, value) in options.family("statsd_user_label_*") {
        let is_plain = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
        match is_plain(&name, "_") && is_plain(&value, "_.") {
            true => users.push((format!("user_{name}"), value)),
            false => options.warn(&format!(
                "statsd_user_label_{name} = {value:?} is ignored: a label has ASCII letters, digits and _, its value also dots"
            )),
        }
    }
    mode.flatten().map(|mode| StatsdLabels { mode, users })
}

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

pub(super) const VM_TEST_MODE: &str = "vm_test_mode is set: rsync modules are taken to be named object<port>, and object where a \
    node has none of that name. Swift has ignored the option since 2.15; write rsync_module = \
    {replication_ip}::object{replication_port} in its stead, or remove it.";

fn handoff_fsync(options: &mut Options) -> Result<HandoffFsync, BadOption> {
    options.parse("handoff_fsync", HandoffFsync::Auto, "\"auto\", \"yes\" or \"no\"", |text| {
        let text = text.trim();
        match value::truth(text) {
            Some(true) => Ok(HandoffFsync::Yes),
            Some(false) => Ok(HandoffFsync::No),
            None if text.eq_ignore_ascii_case("auto") => Ok(HandoffFsync::Auto),
            None => Err(BadValue),
        }
    })
}

fn handoffs_only(options: &mut Options) -> Result<HandoffsOnly, BadOption> {
    options.parse("handoffs_only", HandoffsOnly::No, "\"no\", \"yes\" or \"auto\"", |text| {
        let text = text.trim();
        match value::truth(text) {
            Some(true) => Ok(HandoffsOnly::Yes),
            Some(false) => Ok(HandoffsOnly::No),
            None if text.is_empty() => Ok(HandoffsOnly::No),
            None if text.eq_ignore_ascii_case("auto") => Ok(HandoffsOnly::Auto),
            None => Err(BadValue),
        }
    })
}

fn handoff_delete(options: &mut Options) -> Result<usize, BadOption> {
    options.parse("handoff_delete", 0, "\"auto\" or an integer of at least 0", |text| {
        value::auto_integer(text)?.unwrap_or(0).try_into().map_err(|_| BadValue)
    })
}
