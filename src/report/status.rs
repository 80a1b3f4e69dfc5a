//! What a daemon is doing now, in a file beside the recon cache that is replaced as a whole, and what an operator makes
//! of it.
//!
//! The daemon writes a [`Status`] every few seconds. Whoever [`read`]s it has to judge it, for the file outlives the
//! daemon: is the process that wrote it still that process, has it written lately, and does any of its passes or devices
//! stand still ([`Status::health`])?

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::files::{WriteError, replace};
use super::holding::{self, Holding};
use super::orders;
use super::pass_report::{PassReport, coverage};
use super::rings::RingStatus;
use super::units::{bytes, duration, utc};
use crate::orders::wire::Shown;
use crate::printable::printable;
use crate::regular::{self, Links};
use crate::sys::LivingProcess;

/// Whose status it is: each has a file of its own, so that a pass that somebody makes by hand does not hide the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Daemon,
    SinglePass,
}

impl Kind {
    /// The file's name, in the folder of the recon cache.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Daemon => "object-replicator.status",
            Self::SinglePass => "object-replicator.once.status",
        }
    }
}

/// How often the file is written, in seconds.
pub(crate) const PERIOD: f64 = 10.0;
/// Something that should happen every few seconds, and did not for so many, does not happen any more.
const SILENCE: f64 = 60.0;
/// More passes than this are shown as one.
const MOST_LAST: usize = 6;
/// More of a file is not read.
const MAX_BYTES: u64 = 64 << 20;

/// What a worker is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Worker {
    pub device: String,
    pub partition: Option<u32>,
    /// Like `pushing`.
    pub step: String,
    /// Whom to, if that is part of the step.
    pub peer: Option<String>,
    /// For how long.
    pub seconds: f64,
    /// Where the step is a push: of how many partitions, how many of them were begun, and the sizes of the files that
    /// were sent so far.
    pub partitions: u64,
    pub begun: u64,
    pub bytes: u64,
}

/// How far a device is in a pass that is under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Progress {
    pub device: String,
    /// Partitions that were found so far.
    pub found: u64,
    pub attempted: u64,
    /// What of the partitions at hand is done, and not counted yet, as so many whole ones.
    pub ahead: u64,
    pub failures: u64,
    /// Sizes of the files that were sent since the pass began.
    pub bytes: u64,
    /// Whether all of its partitions are known.
    pub is_listed: bool,
    /// It hangs: a job of it has shown no sign of life for too long.
    pub set_aside: bool,
    /// What the device holds, by policy.
    pub holdings: Vec<Holding>,
}

/// A pass that is under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunningPass {
    /// Like `[worker 1/2 pid=77]`; empty if there is only one.
    pub group: String,
    /// As Unix time.
    pub began: f64,
    /// When the pass last took stock, as Unix time; it does so every second.
    pub moved: f64,
    pub workers: Vec<Worker>,
    pub devices: Vec<Progress>,
    /// Only hand-offs have their turn.
    pub handoffs_only: bool,
}

/// A process at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub pid: u32,
    /// When the process began, in the kernel's ticks: with it the id means this process and no later one.
    pub process_began: u64,
    /// Of the program.
    pub version: String,
    /// When this was written, as Unix time.
    pub written: f64,
    /// The process had nothing more to do.
    pub has_ended: bool,
    /// The rings by which it replicates, one for each policy.
    pub rings: Vec<RingStatus>,
    /// One, or one for each group; none between passes.
    pub passes: Vec<RunningPass>,
    /// Jobs that show no sign of life for too long, also those of passes that have gone on without them.
    pub hanging: Vec<Worker>,
    /// What is paused, and the limits in force.
    pub orders: Shown,
    /// The last pass that has ended, of each group that has ended one; before them those of the former configuration, as
    /// long as there is none of this one.
    pub last: Vec<PassReport>,
}

/// What is to be thought of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Health {
    Well,
    /// It runs, but something stands still: what, in a line each.
    Stuck(Vec<String>),
    /// It moves, but cannot do all that it should: why, in a line each.
    Troubled(Vec<String>),
    /// It has made its pass and ended.
    Ended,
    /// It is gone, and was not done.
    Gone,
}

impl Health {
    /// 0: well, or done; 1: stuck or troubled; 2: gone.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Well | Self::Ended => 0,
            Self::Stuck(_) | Self::Troubled(_) => 1,
            Self::Gone => 2,
        }
    }
}

impl Status {
    /// Takes the place of the file in the folder of the recon cache.
    ///
    /// # Errors
    /// [`WriteError`] if no file can be made or written in that folder; the old one then is still there.
    pub(crate) fn write(&self, folder: &Path, kind: Kind) -> Result<(), WriteError> {
        // Names, numbers and texts: nothing in it can fail.
        let json = serde_json::to_string(self).unwrap_or_default() + "\n";
        replace(&folder.join(kind.file()), json.as_bytes())
    }

    /// Judges the process by what it wrote; `began` is when the process that has its id now began, if there is one.
    pub(crate) fn health(&self, now: f64, began: Option<u64>) -> Health {
        if self.has_ended {
            return Health::Ended;
        }
        if began != Some(self.process_began) {
            return Health::Gone;
        }
        let silence = now - self.written;
        if silence > SILENCE {
            return Health::Stuck(vec![format!("it has written nothing for {}", duration(silence))]);
        }
        // It writes every few seconds, so it would have written anew since the clock was set back.
        if silence < -SILENCE {
            let ahead = duration(-silence);
            return Health::Stuck(vec![format!(
                "what it wrote last is {ahead} ahead of the clock, and nothing came since"
            )]);
        }
        let rings = self.rings.iter().filter_map(|ring| ring.complaint(self.written));
        let troubles: Vec<_> = rings.map(|line| printable(&line).into_owned()).collect();
        let slow = self.passes.iter().filter_map(|pass| pass.complaint(self.written));
        let mut complaints: Vec<_> =
            slow.chain(self.hanging.iter().map(|worker| format!("hangs: {}", worker.doing()))).collect();
        match (complaints.is_empty(), troubles.is_empty()) {
            (true, true) => Health::Well,
            (true, false) => Health::Troubled(troubles),
            (false, _) => {
                complaints.extend(troubles);
                Health::Stuck(complaints)
            }
        }
    }

    /// Judges the process by what it wrote, and by what has its id now.
    pub(crate) fn health_now(&self, now: f64) -> Health {
        // If it is hidden from this user it may be another one by now; whether it still writes is seen all the same.
        let hidden = || is_hidden(self.pid).then_some(self.process_began);
        self.health(now, process_began(self.pid).or_else(hidden))
    }

    /// The status for people.
    pub(crate) fn table(&self, now: f64, health: &Health) -> String {
        let mut text = String::new();
        // Nothing that is written to a string can fail.
        let _ = self.write_table(&mut text, now, health);
        text
    }

    fn write_table(&self, text: &mut String, now: f64, health: &Health) -> std::fmt::Result {
        let (pid, age) = (self.pid, age(now - self.written));
        match health {
            Health::Well => writeln!(text, "Process {pid} is well, as of {age}.")?,
            Health::Stuck(complaints) => writeln!(text, "Process {pid} looks stuck:\n  {}", complaints.join("\n  "))?,
            Health::Troubled(troubles) => writeln!(text, "Process {pid} runs, but:\n  {}", troubles.join("\n  "))?,
            Health::Ended => writeln!(text, "Process {pid} finished its pass {age}.")?,
            Health::Gone => writeln!(text, "Process {pid} is gone. This is what it last wrote, {age}:")?,
        }
        orders::out_of_the_ordinary(&self.orders).iter().try_for_each(|line| writeln!(text, "Orders: {line}"))?;
        if self.passes.is_empty() && *health != Health::Ended {
            writeln!(text, "No pass is under way.")?;
        }
        for pass in &self.passes {
            pass.write_table(text, self.written)?;
        }
        if !self.rings.is_empty() {
            writeln!(text, "\nRings:")?;
        }
        self.rings.iter().try_for_each(|ring| writeln!(text, "  {}", printable(&ring.line(self.written))))?;
        let together = if self.last.len() > MOST_LAST { self.last_together() } else { None };
        let shown = match &together {
            Some(sum) => {
                writeln!(text, "\n{} passes, of as many groups, ended until {}:", self.last.len(), utc(sum.ended()))?;
                std::slice::from_ref(sum)
            }
            None => &self.last[..],
        };
        for report in shown {
            if together.is_none() {
                writeln!(text, "\nA pass ended {}:", utc(report.ended()))?;
            }
            report.lines().iter().try_for_each(|line| writeln!(text, "  {line}"))?;
        }
        Ok(())
    }

    /// All of the last passes in one: each group has its own, and there may be one for each device.
    fn last_together(&self) -> Option<PassReport> {
        self.last.iter().cloned().reduce(|mut sum, report| {
            sum.merge(report);
            sum
        })
    }
}

/// How old something is. Clocks are set back now and then.
fn age(seconds: f64) -> String {
    if seconds < -SILENCE {
        format!("{} ahead of the clock", duration(-seconds))
    } else {
        format!("{} ago", duration(seconds))
    }
}

impl RunningPass {
    fn complaint(&self, now: f64) -> Option<String> {
        let silence = now - self.moved;
        (silence > SILENCE).then(|| format!("{}the pass has not moved for {}", self.prefix(), duration(silence)))
    }

    /// What every worker is doing, in a line each, after one that says how far the pass is.
    pub(crate) fn lines(&self) -> Vec<String> {
        let prefix = self.prefix();
        let mut lines = vec![self.how_far()];
        lines.extend(self.workers.iter().map(|worker| format!("{prefix}{}", worker.doing())));
        lines
    }

    /// How far it is, in a line.
    pub(crate) fn how_far(&self) -> String {
        let prefix = self.prefix();
        let (found, attempted) = (self.sum(|device| device.found), self.sum(|device| device.attempted));
        let failures = self.sum(|device| device.failures);
        let sent = match self.sum(|device| device.bytes) {
            0 => String::new(),
            sent => format!(", {} sent", bytes(sent)),
        };
        let since = utc(self.began);
        format!("{prefix}{attempted} of {found} partitions done so far, {failures} failures since {since}{sent}")
    }

    fn sum(&self, figure: impl Fn(&Progress) -> u64) -> u64 {
        self.devices.iter().fold(0, |sum, device| sum.saturating_add(figure(device)))
    }

    fn prefix(&self) -> String {
        if self.group.is_empty() { String::new() } else { format!("{} ", printable(&self.group)) }
    }

    fn write_table(&self, text: &mut String, now: f64) -> std::fmt::Result {
        writeln!(
            text,
            "\n{}A pass{} began {} and has run for {}:",
            self.prefix(),
            if self.handoffs_only { " over hand-offs only" } else { "" },
            utc(self.began),
            duration(now - self.began)
        )?;
        writeln!(text, "  {:<12} {:>21} {:>7} {:>8} {:>10}", "DEVICE", "PARTITIONS", "DONE", "FAILURES", "SENT")?;
        for device in &self.devices {
            let percent = coverage(device.done(), device.found) * 100.0;
            let note = match device {
                Progress { set_aside: true, .. } => "  hangs",
                Progress { is_listed: false, .. } => "  not listed yet",
                _ => "",
            };
            let partitions = format!("{}/{}", device.attempted, device.found);
            let (name, failures, sent) = (printable(&device.device), device.failures, bytes(device.bytes));
            writeln!(text, "  {name:<12} {partitions:>21} {percent:>6.1}% {failures:>8} {sent:>10}{note}")?;
        }
        let holdings = self.devices.iter().map(|device| device.holdings.as_slice());
        holding::lines(holdings).iter().try_for_each(|line| writeln!(text, "  {}", printable(line)))?;
        self.workers.iter().try_for_each(|worker| writeln!(text, "  {}", worker.doing()))
    }
}

impl Progress {
    /// Partitions that are done, with those in part; never all of them before they are.
    pub(crate) fn done(&self) -> u64 {
        let most = self.found.saturating_sub(1).max(self.attempted);
        self.attempted.saturating_add(self.ahead).min(most)
    }
}

impl Worker {
    /// What it does, in a line: also what SIGUSR1 logs.
    pub(crate) fn doing(&self) -> String {
        let partition = self.partition.filter(|_| self.partitions < 2);
        let partition = partition.map_or_else(String::new, |partition| format!(", partition {partition}"));
        let peer = self.peer.as_ref().map_or_else(String::new, |peer| format!(" ({peer})"));
        let (step, time) = (self.step_with_figures(), duration(self.seconds));
        printable(&format!("device {}{partition}: {step}{peer} for {time}", self.device)).into_owned()
    }

    /// The step; of a push with how far it is.
    fn step_with_figures(&self) -> String {
        let sent = bytes(self.bytes);
        match (self.partitions, self.bytes) {
            (0 | 1, 0) => self.step.clone(),
            (0 | 1, _) => format!("{}, {sent} so far", self.step),
            (several, _) => format!("{} {several} partitions, {} begun, {sent} so far", self.step, self.begun),
        }
    }
}

/// A status file that says nothing: one line.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error("there is no {}: no whole pass has begun with this configuration", .0.display())]
    Missing(PathBuf),
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} cannot be understood: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
}

/// What a process of this kind wrote last into the folder of its recon cache.
///
/// # Errors
/// [`ReadError::Missing`] if there is no file, [`ReadError::Io`] if it cannot be read, is larger than a status can be,
/// or is not a regular file, and [`ReadError::Json`] if it does not hold a status.
pub(crate) fn read(folder: &Path, kind: Kind) -> Result<Status, ReadError> {
    let path = folder.join(kind.file());
    let content = regular::read(&path, Links::Refused, MAX_BYTES).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ReadError::Missing(path.clone()),
        _ => ReadError::Io { path: path.clone(), source },
    })?;
    serde_json::from_slice(&content).map_err(|source| ReadError::Json { path, source })
}

/// When a process began, in the kernel's ticks since it booted; `None` if there is none, or only the remains of one.
pub(crate) fn process_began(pid: u32) -> Option<u64> {
    LivingProcess::look_at(pid).map(|process| process.began)
}

/// Whether there is a process with this id of which this user is to know nothing (`hidepid` of /proc).
pub(crate) fn is_hidden(pid: u32) -> bool {
    let Err(error) = File::open(format!("/proc/{pid}/stat")) else { return false };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    match error.kind() {
        io::ErrorKind::PermissionDenied => true,
        io::ErrorKind::NotFound => pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::PERM)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
