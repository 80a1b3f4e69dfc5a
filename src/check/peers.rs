//! rsync here, and the servers of every peer: do they answer, and would they take a push?

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::finding::Finding;
use super::rings::PolicyRing;
use crate::bounded::{self, Job};
use crate::config::settings::{ReplicateSettings, RsyncSettings};
use crate::config::settings::{Settings, SyncMethod};
use crate::names::{Partition, PolicyIndex};
use crate::peer::module;
use crate::peer::replicate::{Client, ReplicateError};
use crate::peer::rsync::{self, Rsync, TrialError, is_unknown_module};
use crate::peer::rsyncd::{self, LookError, ModuleAddress};
use crate::ring::Device;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long all of them may take, and how many are asked at a time.
const PATIENCE_WITH_ALL: Duration = Duration::from_secs(120);
const AT_A_TIME: usize = 32;
/// A busy peer may pause between two writes as Nagle does, and a busy machine may see neither; not every time.
const LOOKS: usize = 5;

/// The rsync program of this machine.
pub(super) fn rsync(settings: &Settings) -> Finding {
    const SUBJECT: &str = "rsync";
    match Rsync::new(options(settings)).version() {
        Ok(Some(version)) if !version.xattrs => {
            Finding::error(SUBJECT, format!("version {} cannot copy extended attributes", version.number))
        }
        Ok(Some(version)) => Finding::ok(SUBJECT, format!("version {}, with extended attributes", version.number)),
        Ok(None) => Finding::warning(SUBJECT, "does not tell its version; is it rsync?"),
        Err(error) => Finding::error(SUBJECT, error.to_string()),
    }
}

/// Asks every server that the rings name.
pub(super) fn check(settings: &Settings, rings: &[PolicyRing], write: bool) -> Vec<Finding> {
    let mut subjects = Vec::new();
    let mut jobs: Vec<Job<Finding>> = Vec::new();
    let client = Arc::new(client(settings));
    let targets = targets(rings);
    for (server, question) in targets.servers {
        let subject = format!("peer {server}");
        let (client, name) = (client.clone(), subject.clone());
        jobs.push(Box::new(move || ask(&client, name, &question)));
        subjects.push(subject);
    }
    if settings.sync_method == SyncMethod::Rsync {
        let trial = match Trial::new(settings, write) {
            Ok(trial) => Arc::new(trial),
            Err(error) => {
                return vec![Finding::error("rsync", format!("cannot make a folder to try it with: {error}"))];
            }
        };
        for (module, device, policy) in modules(settings, &targets.devices, write) {
            let subject = if write { format!("module {module}/{}", device.device) } else { format!("module {module}") };
            let (trial, name) = (trial.clone(), subject.clone());
            jobs.push(Box::new(move || trial.run(name, &module, &device, policy)));
            subjects.push(subject);
        }
    }
    let hanging = || format!("not reached in {}s, in which others were asked too", PATIENCE_WITH_ALL.as_secs());
    let outcomes = bounded::run(jobs, AT_A_TIME, PATIENCE_WITH_ALL);
    let told = subjects.into_iter().zip(outcomes);
    told.map(|(subject, outcome)| outcome.unwrap_or_else(|| Finding::error(subject, hanging()))).collect()
}

fn options(settings: &Settings) -> RsyncSettings {
    RsyncSettings { timeout: PATIENCE, log_transfers: false, error_line_length: 0, ..settings.rsync.clone() }
}

fn client(settings: &Settings) -> Client {
    let settings = ReplicateSettings {
        conn_timeout: settings.replicate.conn_timeout.min(PATIENCE),
        http_timeout: settings.replicate.http_timeout.min(PATIENCE),
    };
    Client::new(&settings, &format!("object-replicator {}", std::process::id()))
}

/// What a server is asked: the hashes of a partition that it has.
struct Question {
    device: Device,
    policy: PolicyIndex,
    partition: Partition,
    /// A device of this machine has the partition too, so that a pass would ask the same.
    is_shared: bool,
}

#[derive(Default)]
struct Targets {
    /// By address.
    servers: BTreeMap<String, Question>,
    /// Every device that holds partitions, with a policy.
    devices: Vec<(Device, PolicyIndex)>,
}

/// Finds a question for every server. A question costs the peer what a pass costs it: hashing what has changed.
fn targets(rings: &[PolicyRing]) -> Targets {
    let mut targets = Targets::default();
    for PolicyRing { policy, ring, local } in rings {
        let mut questions: HashMap<u32, (Partition, bool)> = HashMap::new();
        for partition in (0..ring.partition_count()).map(Partition::new) {
            let primaries = ring.primaries(partition).unwrap_or_default();
            let is_shared = primaries.iter().any(|device| local.contains(&device.id));
            for device in primaries {
                let question = questions.entry(device.id).or_insert((partition, is_shared));
                if is_shared && !question.1 {
                    *question = (partition, true);
                }
            }
        }
        for device in ring.devices.iter().flatten() {
            let Some(&(partition, is_shared)) = questions.get(&device.id) else { continue };
            targets.devices.push((device.clone(), policy.index));
            let server = crate::peer::authority(device);
            let question = Question { device: device.clone(), policy: policy.index, partition, is_shared };
            match targets.servers.get(&server) {
                Some(known) if known.is_shared || !is_shared => {}
                _ => drop(targets.servers.insert(server, question)),
            }
        }
    }
    targets
}

fn ask(client: &Client, subject: String, question: &Question) -> Finding {
    let Question { device, policy, partition, .. } = question;
    let begin = Instant::now();
    match client.hashes(device, *policy, *partition) {
        Ok(_) => Finding::ok(subject, format!("answers REPLICATE, in {}", milliseconds(begin.elapsed()))),
        Err(error @ ReplicateError::Unmounted) => {
            Finding::warning(subject, format!("its device {} {error}", device.device))
        }
        Err(error) => Finding::error(subject, format!("REPLICATE of {}: {error}", device.device)),
    }
}

/// Every module that pushes go to, with a device in it; with each of its devices if they are to be written to.
fn modules(settings: &Settings, devices: &[(Device, PolicyIndex)], each: bool) -> Vec<(String, Device, PolicyIndex)> {
    let mut modules = BTreeMap::new();
    for (device, policy) in devices {
        // A template that is wrong for one is wrong for all, and has been found before.
        if let Ok(module) = module::interpolate(&settings.rsync.module, device) {
            let place = (module, if each { device.device.clone() } else { String::new() });
            modules.entry(place).or_insert_with(|| (device.clone(), *policy));
        }
    }
    modules.into_iter().map(|((module, _), (device, policy))| (module, device, policy)).collect()
}

/// What modules are tried with.
struct Trial {
    rsync: Rsync,
    /// The template of modules for nodes that have none of the first one's name.
    fallback: Option<String>,
    /// A folder with nothing in it.
    empty: TempDir,
    /// A folder with nothing but a small file in it, if peers are to be tried by writing.
    probe: Option<TempDir>,
}

impl Trial {
    fn new(settings: &Settings, write: bool) -> io::Result<Self> {
        let fallback = settings.rsync.fallback_module.clone();
        let probe = write.then(probe).transpose()?;
        Ok(Self { rsync: Rsync::new(options(settings)), fallback, empty: tempfile::tempdir()?, probe })
    }

    fn run(&self, subject: String, module: &str, device: &Device, policy: PolicyIndex) -> Finding {
        let path = format!("{}/{}", device.device, policy.datadir());
        let nodelay = match self.look(module, device, &path) {
            Ok(nodelay) => nodelay,
            Err(error) => return refused(subject, &error.to_string()),
        };
        match self.rsync.try_target(self.empty.path(), policy, device) {
            Ok(tried) => match self.probe.as_ref().map(|probe| self.write(probe, policy, device)).transpose() {
                Ok(written) => judge(subject, tried, nodelay, written.is_some()),
                Err(error) => refused(subject, &format!("cannot be written to: {error}")),
            },
            Err(error) => refused(subject, &error.to_string()),
        }
    }

    /// Writes the small file, and removes it.
    fn write(&self, probe: &TempDir, policy: PolicyIndex, device: &Device) -> Result<(), TrialError> {
        self.rsync.write_probe(probe.path(), policy, device)?;
        self.rsync.remove_probe(self.empty.path(), PROBE, policy, device)
    }

    /// Looks at the module, or at the one that stands in for it where there is none of that name.
    fn look(&self, module: &str, device: &Device, path: &str) -> Result<Option<bool>, LookError> {
        let look_at = |module: &str| ModuleAddress::parse(module).map(|at| look(&at, path)).transpose();
        let seen = look_at(module).map(Option::flatten);
        let fallback = self.fallback.as_ref().and_then(|template| module::interpolate(template, device).ok());
        match (seen, fallback) {
            (Err(LookError::Refused(words)), Some(fallback)) if is_unknown_module(&words) => {
                look_at(&fallback).map(Option::flatten)
            }
            (seen, _) => seen,
        }
    }
}

/// The name of the small file, which peers take for one of an upload that was given up.
const PROBE: &str = "swift-object-replicator-check";

/// A folder with the small file in it.
fn probe() -> io::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    std::fs::write(
        folder.path().join(PROBE),
        "Written by swift-object-replicator --check --write; it may be removed.\n",
    )?;
    Ok(folder)
}

/// Whether the daemon sets `TCP_NODELAY`, if it can be told.
fn look(at: &ModuleAddress, path: &str) -> Result<Option<bool>, LookError> {
    let mut nodelay = None;
    for _ in 0..LOOKS {
        nodelay = nodelay.max(rsyncd::look(at, path, PATIENCE)?.nodelay);
        if nodelay == Some(true) {
            break;
        }
    }
    Ok(nodelay)
}

/// A daemon that is busy now is none that does not work.
fn refused(subject: String, text: &str) -> Finding {
    if text.contains("max connections") { Finding::warning(subject, text) } else { Finding::error(subject, text) }
}

fn judge(subject: String, tried: rsync::Trial, nodelay: Option<bool>, is_written: bool) -> Finding {
    let write = if is_written { "a file was written and removed" } else { "whether it may write there is not tried" };
    let took = milliseconds(tried.took);
    let fsync = match tried.fsync {
        Some(true) => "takes --fsync",
        Some(false) => "does not take --fsync, so hand-offs are not removed at once after a push",
        None => "whether it takes --fsync cannot be told",
    };
    match nodelay {
        Some(true) => {
            Finding::ok(subject, format!("answers a dry run, in {took} ({write}); sets TCP_NODELAY; {fsync}"))
        }
        Some(false) => Finding::warning(
            subject,
            format!(
                "answers a dry run, in {took} ({write}), but waits on Nagle's algorithm: with \"socket options = \
                 TCP_NODELAY\" in its rsyncd.conf pushes are up to five times as fast; {fsync}"
            ),
        ),
        None => Finding::ok(
            subject,
            format!(
                "answers a dry run, in {took} ({write}); whether it sets TCP_NODELAY cannot be told from here; {fsync}"
            ),
        ),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
