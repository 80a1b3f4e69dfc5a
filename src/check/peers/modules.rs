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
use crate::bounded::{self, Job};
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
    probe: Option<(Small, Arc<Writes>)>,
}

/// A small file, in a folder of its own.
struct Small {
    folder: TempDir,
    /// Peers take it for a file of an upload that was given up. Nodes may be checked at the same time, and none of them is
    /// to remove another one's.
    name: String,
}

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
    /// Its folder, if it is a device of this machine.
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
        let empty = tempfile::tempdir()?;
        let probe = || -> io::Result<_> {
            let probe = Small::written(&settings.recon_cache_path)?;
            let folders = vec![empty.path().to_owned(), probe.folder.path().to_owned()];
            Ok((probe, Writes::watched(folders)?))
        };
        let probe = write.then(probe).transpose()?;
        let (template, fallback) = (settings.rsync.module.clone(), settings.rsync.fallback_module.clone());
        let (rsync, devices) = (Rsync::new(options(settings)), settings.devices.clone());
        Ok(Self { rsync, template, fallback, streams, devices, empty, probe })
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
            let here = node.is_here.then(|| self.devices.join(name));
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
        let Attempt { target, .. } = attempt;
        let tried = patiently(|| self.rsync.try_target(self.empty.path(), target.policy, &target.device));
        let tried = match tried {
            Ok(tried) => tried,
            Err(error) => return refused(subject, &error.to_string()),
        };
        if let Some(fault) = self.wrong_place(attempt) {
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
    fn wrong_place(&self, Attempt { target, held, here }: &Attempt) -> Option<String> {
        let device = &target.device.device;
        let known_here = || here.as_ref().and_then(|here| some_partition(&here.join(target.policy.datadir())));
        let (place, fault) = match (held, known_here()) {
            (_, Some(partition)) => (
                Place::Partition(partition),
                format!(
                    "serves another folder than this machine's devices: it has no partition {partition} of {device}"
                ),
            ),
            (Some(partition), None) => (
                Place::Partition(*partition),
                format!(
                    "serves another folder than the object server, which has something in partition {partition} of \
                     {device}: there is no such partition in the module"
                ),
            ),
            (None, None) => {
                (Place::Device, format!("has no folder {device}: does its path lead to the devices of that node?"))
            }
        };
        let shown = patiently(|| self.rsync.shows(place, target.policy, &target.device).map_err(TrialError::from));
        // A hand-off may have been moved away meanwhile.
        let is_still_so = match (place, here) {
            (Place::Partition(partition), Some(here)) => {
                here.join(target.policy.datadir()).join(partition.to_string()).exists()
            }
            _ => true,
        };
        (matches!(shown, Ok(Some(false))) && is_still_so).then_some(fault)
    }

    /// Writes the small file, and removes it.
    fn write(&self, probe: &Small, writes: &Writes, attempt: &Attempt) -> Result<Written, TrialError> {
        let Attempt { target: Target { device, policy, .. }, here, .. } = attempt;
        if patiently(|| self.rsync.shows(Place::Tmp, *policy, device).map_err(TrialError::from))? == Some(false) {
            return Ok(Written::Told(
                "whether it may write there is not known: it has no folder tmp before the first upload",
            ));
        }
        let probe = Probe { folder: probe.folder.path(), name: &probe.name, empty: self.empty.path() };
        let seen_at = here.as_ref().map(|here| here.join("tmp").join(probe.name));
        let is_here = || seen_at.as_ref().is_none_or(|file| file.try_exists().unwrap_or(true));
        let seen = writes.during(|| patiently(|| self.rsync.write_and_remove(&probe, *policy, device, is_here)));
        Ok(match (seen.transpose()?, &seen_at) {
            (Some(false), Some(file)) => Written::Elsewhere(format!(
                "serves another folder than this machine's devices: what is written there is not seen as {}",
                file.display()
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

/// A partition that is in this folder.
fn some_partition(datadir: &Path) -> Option<Partition> {
    let names = std::fs::read_dir(datadir).ok()?.flatten().map(|entry| entry.file_name());
    names.into_iter().find_map(|name| Partition::from_dir_name(&name))
}

fn is_crowded(text: &str) -> bool {
    text.contains("max connections")
}

impl Small {
    /// Writes it. It has an attribute, as objects have, if there is a place that allows it: a peer whose disks do not cannot
    /// take it either.
    fn written(other: &Path) -> io::Result<Self> {
        let usual = tempfile::tempdir().and_then(Self::write);
        if usual.as_ref().is_ok_and(|(_, has_attribute)| *has_attribute) {
            return usual.map(|(small, _)| small);
        }
        tempfile::tempdir_in(other).and_then(Self::write).or(usual).map(|(small, _)| small)
    }

    /// Writes it there; whether it has an attribute.
    fn write(folder: TempDir) -> io::Result<(Self, bool)> {
        let name = format!("swift-object-replicator-check.{:08x}", fastrand::u32(..));
        let file = folder.path().join(&name);
        std::fs::write(&file, "Written by swift-object-replicator --check --write; it may be removed.\n")?;
        let has_attribute = setxattr(&file, "user.swift.check", b"1", XattrFlags::empty()).is_ok();
        Ok((Self { folder, name }, has_attribute))
    }
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
