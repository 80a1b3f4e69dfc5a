//! The rsync modules of a node: would they take a push, at the right place, and as many as this node makes?
//!
//! The devices of a module are tried one after another, since each try is a connection to the module, and it may not let
//! many in. A daemon that cannot be reached is tried once, whatever modules it has.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{XattrFlags, setxattr};
use tempfile::TempDir;

use super::interrupt::Writes;
use super::targets::{Node, Target};
use crate::check::bounded::{self, Job};
use crate::check::finding::Finding;
use crate::config::settings::{RsyncSettings, Settings};
use crate::names::Partition;
use crate::peer::module;
use crate::peer::rsync::{self, Place, Probe, Rsync, TrialError, is_unknown_module};
use crate::peer::rsyncd::{self, LookError, ModuleAddress};

/// How long one question may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How many modules of a node are tried at a time.
const AT_A_TIME: usize = 2;
/// A busy peer may pause between two writes as Nagle does, and a busy machine may see neither; not every time.
const LOOKS: usize = 5;
/// A daemon may still count a visitor who has just gone.
const TRIES: usize = 4;
const BETWEEN_TRIES: Duration = Duration::from_millis(250);
/// A greeting that takes longer than this has waited for something.
const SLOW_GREETING: Duration = Duration::from_secs(1);
/// More connections at a time are not tried.
const MOST_STREAMS: usize = 64;

/// What modules are tried with.
pub(super) struct Trial {
    rsync: Rsync,
    /// The template of modules, and of those for nodes that have none of the first one's name.
    template: String,
    fallback: Option<String>,
    /// How many pushes this node makes at a time.
    streams: usize,
    /// Where the devices of this machine are.
    devices: PathBuf,
    /// A folder with nothing in it.
    empty: TempDir,
    /// What is written, if peers are to be tried by writing.
    probe: Option<(TempDir, Arc<Writes>)>,
}

/// The name of the small file, which peers take for one of an upload that was given up.
const PROBE: &str = "swift-object-replicator-check";

/// rsync as this check runs it.
pub(super) fn options(settings: &Settings) -> RsyncSettings {
    RsyncSettings { timeout: PATIENCE, log_transfers: false, error_line_length: 0, ..settings.rsync.clone() }
}

/// A module of a node, with the devices that are tried there.
type Module = (String, Vec<Attempt>);

/// A device that is tried.
#[derive(Clone)]
struct Attempt {
    target: Target,
    /// A partition that its object server has something in.
    held: Option<Partition>,
    /// Where this machine sees what is written there, if it is a device of this machine.
    here: Option<PathBuf>,
}

/// What was found of a module.
#[derive(Default)]
struct Found {
    findings: Vec<Finding>,
    /// Not found out, since the daemon cannot be reached.
    is_skipped: bool,
    slow_greeting: Option<(String, Duration)>,
}

impl Trial {
    /// # Errors
    /// The system's error if there cannot be a folder, or signals not be caught.
    pub(super) fn new(settings: &Settings, streams: usize, write: bool) -> io::Result<Self> {
        let probe = || -> io::Result<_> { Ok((probe(&settings.recon_cache_path)?, Writes::watched()?)) };
        let probe = write.then(probe).transpose()?;
        let (template, fallback) = (settings.rsync.module.clone(), settings.rsync.fallback_module.clone());
        let devices = settings.devices.clone();
        Ok(Self {
            devices,
            rsync: Rsync::new(options(settings)),
            template,
            fallback,
            streams,
            empty: tempfile::tempdir()?,
            probe,
        })
    }

    /// Waits until nothing is left of what was written.
    pub(super) fn settle(&self) {
        self.probe.iter().for_each(|(_, writes)| writes.settle());
    }

    /// Tries the modules of a node; `held` are targets of which its object server has the partition.
    pub(super) fn node(self: &Arc<Self>, node: &Node, held: &[Target], limit: Duration) -> Vec<Finding> {
        let is_gone = Arc::new(AtomicBool::new(false));
        let modules = self.modules(node, held);
        let streams = self.streams.div_ceil(modules.len().max(1)).min(MOST_STREAMS);
        let names: Vec<_> = modules.iter().map(|(name, _)| name.clone()).collect();
        let jobs = modules.into_iter().map(|module| {
            let (trial, is_gone) = (self.clone(), is_gone.clone());
            Box::new(move || trial.module(&module, streams, &is_gone)) as Job<Found>
        });
        let outcomes = bounded::run(jobs.collect(), AT_A_TIME, limit);
        let (mut findings, mut skipped, mut slow) = (Vec::new(), 0, None);
        for (name, outcome) in names.iter().zip(outcomes) {
            let late =
                || vec![Finding::error(format!("module {name}"), format!("not tried within {}s", limit.as_secs()))];
            let outcome = outcome.unwrap_or_else(|| Found { findings: late(), ..Found::default() });
            findings.extend(outcome.findings);
            skipped += usize::from(outcome.is_skipped);
            slow = slow.or(outcome.slow_greeting);
        }
        if skipped > 0 {
            let text = format!("{skipped} other modules there were not tried, since the daemon cannot be reached");
            findings.push(Finding::error(format!("modules {}", node.host), text));
        }
        findings.extend(slow.map(|(host, took)| slow_greeting(&host, took)));
        findings
    }

    /// Every module of a node that pushes go to, with a device in it; with each of its devices if they are to be written to.
    fn modules(&self, node: &Node, held: &[Target]) -> Vec<Module> {
        let mut modules: BTreeMap<String, Vec<Attempt>> = BTreeMap::new();
        for target in node.targets() {
            // A template that is wrong for one is wrong for all, and has been found before.
            let Ok(module) = module::interpolate(&self.template, &target.device) else { continue };
            let is_same = |other: &&Target| other.device.id == target.device.id && other.policy == target.policy;
            let held = held.iter().find(is_same).map(|held| held.partition);
            let name = &target.device.device;
            let here = node.is_here.then(|| self.devices.join(name).join("tmp").join(PROBE));
            let attempt = Attempt { target: target.clone(), held, here };
            let attempts = modules.entry(module).or_default();
            match attempts.iter_mut().find(|known| self.probe.is_none() || known.target.device.device == *name) {
                None => attempts.push(attempt),
                Some(known) if known.held.is_none() && held.is_some() => *known = attempt,
                Some(_) => {}
            }
        }
        modules.into_iter().collect()
    }

    fn module(&self, (name, attempts): &Module, streams: usize, is_gone: &AtomicBool) -> Found {
        let mut found = Found::default();
        for attempt @ Attempt { target, .. } in attempts {
            if is_gone.load(Ordering::Relaxed) {
                found.is_skipped = found.findings.is_empty();
                return found;
            }
            let each = self.probe.is_some();
            let subject =
                if each { format!("module {name}/{}", target.device.device) } else { format!("module {name}") };
            match self.look(name, target) {
                Ok(seen) => {
                    let slowest = seen.greeting.filter(|took| *took > SLOW_GREETING);
                    found.slow_greeting = slowest.map(|took| (seen.host.clone(), took));
                    found.findings.push(self.attempt(subject, attempt, seen.nodelay));
                }
                Err(error) => {
                    let is_unreachable =
                        matches!(error, LookError::Io(_) | LookError::TimedOut(_) | LookError::NoGreeting(_));
                    is_gone.fetch_or(is_unreachable, Ordering::Relaxed);
                    found.findings.push(refused(subject, &error.to_string()));
                }
            }
        }
        if let Some(Attempt { target, .. }) = attempts.first().filter(|_| !is_gone.load(Ordering::Relaxed)) {
            found.findings.extend(self.crowd(name, target, streams));
        }
        found
    }

    fn attempt(&self, subject: String, attempt: &Attempt, nodelay: Option<bool>) -> Finding {
        let Attempt { target, held, .. } = attempt;
        let tried = patiently(|| self.rsync.try_target(self.empty.path(), target.policy, &target.device));
        let tried = match tried {
            Ok(tried) => tried,
            Err(error) => return refused(subject, &error.to_string()),
        };
        if let Some(fault) = self.wrong_place(target, *held) {
            return Finding::error(subject, fault);
        }
        let written = match &self.probe {
            None => "whether it may write there is not tried",
            Some((probe, writes)) => match self.write(probe, writes, attempt) {
                Ok(Written::Elsewhere(fault)) => return Finding::error(subject, fault),
                Ok(Written::Told(written)) => written,
                Err(error) => return refused(subject, &format!("cannot be written to: {error}")),
            },
        };
        judge(subject, tried, nodelay, written)
    }

    /// What shows that the module is not where the object server has its devices. A module that shows nothing shows no
    /// fault either.
    fn wrong_place(&self, target: &Target, held: Option<Partition>) -> Option<String> {
        let device = &target.device.device;
        let (place, fault) = match held {
            Some(partition) => (
                Place::Partition(partition),
                format!(
                    "serves another folder than the object server, which has something in partition {partition} of \
                     {device}: there is no such partition in the module"
                ),
            ),
            None => (Place::Device, format!("has no folder {device}: does its path lead to the devices of that node?")),
        };
        let shown = patiently(|| self.rsync.shows(place, target.policy, &target.device).map_err(TrialError::from));
        matches!(shown, Ok(Some(false))).then_some(fault)
    }

    /// Writes the small file, and removes it.
    fn write(&self, probe: &TempDir, writes: &Writes, attempt: &Attempt) -> Result<Written, TrialError> {
        let Attempt { target: Target { device, policy, .. }, here, .. } = attempt;
        if patiently(|| self.rsync.shows(Place::Tmp, *policy, device).map_err(TrialError::from))? == Some(false) {
            return Ok(Written::Told(
                "whether it may write there is not known: it has no folder tmp before the first upload",
            ));
        }
        let probe = Probe { folder: probe.path(), name: PROBE, empty: self.empty.path() };
        let is_here = || here.as_ref().is_none_or(|here| here.try_exists().unwrap_or(true));
        let seen = writes.during(|| patiently(|| self.rsync.write_and_remove(&probe, *policy, device, is_here)));
        Ok(match (seen.transpose()?, here) {
            (Some(false), Some(here)) => Written::Elsewhere(format!(
                "serves another folder than this machine's devices: what is written there is not seen as {}",
                here.display()
            )),
            (Some(_), _) => Written::Told("a file was written and removed"),
            (None, _) => Written::Told("ended by a signal"),
        })
    }

    /// Looks at the module, or at the one that stands in for it where there is none of that name.
    fn look(&self, module: &str, target: &Target) -> Result<Seen, LookError> {
        let path = format!("{}/{}", target.device.device, target.policy.datadir());
        let look_at = |module: &str| {
            ModuleAddress::parse(module).map_or_else(|| Ok(Seen::default()), |at| patiently(|| look(&at, &path)))
        };
        match (look_at(module), self.stand_in(target)) {
            (Err(LookError::Refused(words)), Some(stand_in)) if is_unknown_module(&words) => look_at(&stand_in),
            (seen, _) => seen,
        }
    }

    fn stand_in(&self, target: &Target) -> Option<String> {
        self.fallback.as_ref().and_then(|template| module::interpolate(template, &target.device).ok())
    }

    /// Whether the module lets so many in at once as this node may send there.
    fn crowd(&self, module: &str, target: &Target, streams: usize) -> Option<Finding> {
        let crowd = |module: &str| {
            let at = ModuleAddress::parse(module)?;
            let mut refusal: Option<(usize, LookError)> = None;
            for _ in 0..TRIES {
                let (count, error) = rsyncd::open_at_once(&at, streams, PATIENCE).err()?;
                let is_full = is_crowded(&error.to_string());
                // The best count is that without those who have just gone.
                refusal = refusal.filter(|(best, _)| *best >= count).or(Some((count, error)));
                if !is_full {
                    break;
                }
                thread::sleep(BETWEEN_TRIES);
            }
            refusal
        };
        let (count, error) = match (crowd(module), self.stand_in(target)) {
            (Some((_, LookError::Refused(words))), Some(stand_in)) if is_unknown_module(&words) => crowd(&stand_in),
            (crowd, _) => crowd,
        }?;
        let text = format!(
            "{error} (at push {} of the {streams} that this node may make there at a time, by its concurrency): those \
             beyond fail, until a later pass",
            count + 1
        );
        is_crowded(&error.to_string()).then(|| Finding::warning(format!("connections {module}"), text))
    }
}

/// What became of writing.
enum Written {
    Told(&'static str),
    /// It is not where it belongs, for this reason.
    Elsewhere(String),
}

/// What a look at a module's daemon told.
#[derive(Default)]
struct Seen {
    host: String,
    nodelay: Option<bool>,
    greeting: Option<Duration>,
}

fn look(at: &ModuleAddress, path: &str) -> Result<Seen, LookError> {
    let mut seen = Seen { host: at.host.clone(), ..Seen::default() };
    for _ in 0..LOOKS {
        let look = rsyncd::look(at, path, PATIENCE)?;
        seen.nodelay = seen.nodelay.max(look.nodelay);
        let was_slow = seen.greeting.is_some_and(|greeting| greeting > SLOW_GREETING);
        seen.greeting = Some(seen.greeting.map_or(look.greeting, |before| before.min(look.greeting)));
        // One that is slow for once is busy; one that is slow twice is slow.
        if was_slow || (seen.nodelay == Some(true) && look.greeting <= SLOW_GREETING) {
            break;
        }
    }
    Ok(seen)
}

/// Tries again while the module is full, perhaps of those who have just gone.
fn patiently<T, E: std::fmt::Display>(attempt: impl Fn() -> Result<T, E>) -> Result<T, E> {
    for _ in 1..TRIES {
        match attempt() {
            Err(error) if is_crowded(&error.to_string()) => thread::sleep(BETWEEN_TRIES),
            outcome => return outcome,
        }
    }
    attempt()
}

fn is_crowded(text: &str) -> bool {
    text.contains("max connections")
}

/// A folder with the small file in it. The file has an attribute, as objects have, if there is a place that allows it: a peer
/// whose disks do not cannot take it either.
fn probe(other: &Path) -> io::Result<TempDir> {
    let usual = tempfile::tempdir();
    match usual.map(|folder| write_probe(&folder).map(|has_attribute| (folder, has_attribute))) {
        Ok(Ok((folder, true))) => Ok(folder),
        usual => match tempfile::tempdir_in(other).and_then(|folder| write_probe(&folder).map(|_| folder)) {
            Ok(folder) => Ok(folder),
            Err(_) => usual.and_then(|written| written).map(|(folder, _)| folder),
        },
    }
}

/// Writes the file; whether it has an attribute.
fn write_probe(folder: &TempDir) -> io::Result<bool> {
    let file = folder.path().join(PROBE);
    std::fs::write(&file, "Written by swift-object-replicator --check --write; it may be removed.\n")?;
    Ok(setxattr(&file, "user.swift.check", b"1", XattrFlags::empty()).is_ok())
}

/// A daemon that is busy now is none that does not work.
fn refused(subject: String, text: &str) -> Finding {
    if is_crowded(text) { Finding::warning(subject, text) } else { Finding::error(subject, text) }
}

fn slow_greeting(host: &str, took: Duration) -> Finding {
    let text = format!(
        "greets after {:.1}s, for which each push waits: perhaps it looks up the names of its visitors, which \
         \"reverse lookup = no\" in its rsyncd.conf keeps it from",
        took.as_secs_f64()
    );
    Finding::warning(format!("rsync of {host}"), text)
}

fn judge(subject: String, tried: rsync::Trial, nodelay: Option<bool>, write: &str) -> Finding {
    let took = format!("{} ms", tried.took.as_millis());
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
