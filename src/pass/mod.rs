//! One replication pass.
//!
//! [`Replicator`] keeps what outlives a pass: rings, clients, the place in the listing cycle. A pass looks at the rings,
//! makes a lane per local device, and lets [`schedule`] hand batches of partitions to the workers; what they do to a
//! batch stands in [`job`], [`update`] and [`revert`].

pub mod board;
pub mod collect;
pub mod job;
pub mod lanes;
pub mod policies;
pub mod push;
pub mod revert;
pub mod schedule;
pub mod summary;
pub mod tally;
pub mod targets;
pub mod update;
pub mod view;
pub mod watchdog;
pub mod work;

use std::collections::HashMap;
use std::sync::Arc;

use log::warn;
use thiserror::Error;

use crate::config::settings::{Settings, SyncMethod};
use crate::config::swift_conf::SwiftConf;
use crate::format::object::Salts;
use crate::names::{Partition, PolicyIndex};
use crate::peer::births::Births;
use crate::peer::replicate::{Client, ClientOptions};
use crate::peer::rsync::{Rsync, RsyncOptions};
use crate::peer::ssync::{Sender, SsyncOptions};
use crate::report::statsd::Statsd;
pub use board::Board;
use policies::Policies;
use schedule::Schedule;
pub use summary::PassSummary;
use targets::Streams;
use update::LISTING_CYCLE;
use watchdog::StuckJob;
use work::{Pass, Tools};

/// What to restrict a pass to; `None` is no restriction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Names of devices.
    pub devices: Option<Vec<String>>,
    pub partitions: Option<Vec<u64>>,
    /// Indices of policies.
    pub policies: Option<Vec<u64>>,
}

impl Overrides {
    /// Whether a pass would leave anything out.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the device of this name is to be replicated.
    pub fn wants_device(&self, name: &str) -> bool {
        self.devices.as_ref().is_none_or(|wanted| wanted.iter().any(|wanted| wanted == name))
    }

    /// Whether the policy is to be replicated.
    pub fn wants_policy(&self, index: PolicyIndex) -> bool {
        self.policies.as_ref().is_none_or(|wanted| wanted.contains(&index.number().into()))
    }
}

/// Which of the local devices a pass has, where others have the rest. It is asked whenever a device comes up, for rings
/// change while a pass runs.
pub trait Share: Send + Sync {
    /// Whether the device is part of the share.
    fn takes(&self, device: &str) -> bool;
}

/// What a pass is for.
#[derive(Clone)]
pub struct Scope {
    pub overrides: Arc<Overrides>,
    /// `None`: all devices.
    pub share: Option<Arc<dyn Share>>,
}

impl Scope {
    /// Whether the local device of this name is to be replicated.
    pub fn wants_device(&self, name: &str) -> bool {
        self.overrides.wants_device(name) && self.share.as_ref().is_none_or(|share| share.takes(name))
    }
}

/// Why a replicator cannot begin.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("no ring can be read, so there is nothing to replicate by: {0}")]
    NoRing(String),
}

/// What outlives a pass.
pub struct Replicator {
    settings: Arc<Settings>,
    policies: Arc<Policies>,
    tools: Arc<Tools>,
    share: Option<Arc<dyn Share>>,
    /// The pass's place in the cycle of ten after which every partition has been listed (B5.1).
    cycle: u32,
    /// What the last pass left behind.
    legacy: Legacy,
    board: Arc<Board>,
}

/// What one pass leaves to the next.
#[derive(Default)]
pub struct Legacy {
    /// Jobs that have not come back.
    pub stuck: Vec<StuckJob>,
    /// Partitions that took long, by the names of their devices.
    pub slow: HashMap<String, Vec<(PolicyIndex, Partition)>>,
}

impl Replicator {
    /// Reads the rings of all replication policies. One that cannot be read costs its own policy only.
    ///
    /// # Errors
    /// There are rings, and none of them can be read.
    pub fn new(settings: Arc<Settings>, swift_conf: &SwiftConf) -> Result<Self, StartError> {
        let policies = Policies::new(&settings, swift_conf);
        let loaded = policies.load();
        if let Some(first) = loaded.iter().find_map(|ring| ring.as_ref().err())
            && loaded.iter().all(Result::is_err)
        {
            return Err(StartError::NoRing(first.to_string()));
        }
        let most_replicas = loaded.iter().flatten().map(|ring| ring.replica_count()).fold(0.0, f64::max);
        let tools = Arc::new(tools(&settings, swift_conf, usable_handoff_delete(&settings, most_replicas)));
        let cycle = fastrand::u32(..LISTING_CYCLE);
        Ok(Self {
            settings,
            policies: Arc::new(policies),
            tools,
            share: None,
            cycle,
            legacy: Legacy::default(),
            board: Arc::default(),
        })
    }

    /// One more, with the same rings and clients, whose passes go over a share of the devices.
    pub fn for_share(&self, share: Arc<dyn Share>) -> Self {
        Self {
            settings: self.settings.clone(),
            policies: self.policies.clone(),
            tools: self.tools.clone(),
            share: Some(share),
            cycle: fastrand::u32(..LISTING_CYCLE),
            legacy: Legacy::default(),
            board: self.board.clone(),
        }
    }

    /// What passes are doing now, those of every share.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// What starts the process's children.
    pub fn births(&self) -> &Births {
        self.tools.rsync.births()
    }

    /// The names of the local devices of all policies, unless it cannot be told which are local.
    pub fn local_devices(&self) -> Option<Vec<String>> {
        self.policies.local_devices()
    }

    /// The same, after a look at the ring files.
    pub fn refreshed_local_devices(&self) -> Option<Vec<String>> {
        self.policies.refresh();
        self.policies.local_devices()
    }

    /// Goes over the local devices once.
    pub fn run_pass(&mut self, overrides: &Overrides) -> PassSummary {
        self.cycle = (self.cycle + 1) % LISTING_CYCLE;
        let legacy = std::mem::take(&mut self.legacy);
        let scope = Scope { overrides: Arc::new(overrides.clone()), share: self.share.clone() };
        let pass = Arc::new(Pass { cycle: self.cycle, ..Pass::default() });
        let tools = self.tools.clone();
        let schedule = Schedule::new(&self.settings, &self.policies, tools, scope, pass, legacy);
        let (summary, legacy) = schedule.run(&self.board);
        self.legacy = legacy;
        summary
    }
}

/// `handoff_delete`, unless it would ask for all replicas or more: then it means nothing, and is told so (B10.7).
fn usable_handoff_delete(settings: &Settings, most_replicas: f64) -> usize {
    if settings.handoffs_first || settings.handoff_delete > 0 {
        warn!(
            "Handoff only mode is not intended for normal operation, please disable handoffs_first and \
             handoff_delete before the next normal rebalance"
        );
    }
    if settings.handoff_delete > 0 && settings.handoff_delete as f64 >= most_replicas {
        warn!(
            "No storage policies found for which handoff_delete={} would have an effect. Disabling.",
            settings.handoff_delete
        );
        return 0;
    }
    settings.handoff_delete
}

fn tools(settings: &Settings, swift_conf: &SwiftConf, handoff_delete: usize) -> Tools {
    Tools {
        client: Client::new(ClientOptions {
            conn_timeout: settings.conn_timeout,
            http_timeout: settings.http_timeout,
            user_agent: format!("object-replicator {}", std::process::id()),
        }),
        rsync: Rsync::new(RsyncOptions {
            timeout: settings.rsync_timeout,
            io_timeout: settings.rsync_io_timeout.clone(),
            bwlimit: settings.rsync_bwlimit.clone(),
            compress: settings.rsync_compress,
            module: settings.rsync_module.clone(),
            log_transfers: settings.log_rsync_transfers,
            error_line_length: settings.rsync_error_log_line_length,
            nodelay: settings.rsync_nodelay,
        }),
        ssync: (settings.sync_method == SyncMethod::Ssync).then(|| Sender::new(ssync_options(settings, swift_conf))),
        streams: Streams::default(),
        statsd: Statsd::new(&settings.statsd, &settings.log.name),
        devices: settings.devices.clone(),
        mount_check: settings.mount_check,
        reclaim_age: settings.reclaim_age,
        handoff_delete,
        handoff_verify: settings.handoff_verify,
        handoffs_first: settings.handoffs_first,
        rsync_batch: settings.rsync_batch,
    }
}

fn ssync_options(settings: &Settings, swift_conf: &SwiftConf) -> SsyncOptions {
    SsyncOptions {
        conn_timeout: settings.conn_timeout,
        node_timeout: settings.node_timeout,
        http_timeout: settings.http_timeout,
        network_chunk_size: settings.network_chunk_size,
        disk_chunk_size: settings.disk_chunk_size,
        reclaim_age: settings.reclaim_age,
        salts: Salts { prefix: swift_conf.hash_path_prefix.clone(), suffix: swift_conf.hash_path_suffix.clone() },
    }
}
