//! What a daemon is doing now, in a file beside the recon cache that is replaced as a whole, and what an operator makes
//! of it.
//!
//! The daemon writes a [`Status`] every few seconds. Whoever [`read`]s it has to judge it, for the file outlives the
//! daemon: is the process that wrote it still that process, has it written lately, and does any of its passes or devices
//! stand still ([`Status::health`])?

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::files::{WriteError, replace};
use super::orders;
use super::pass_report::{PassReport, coverage};
use super::units::{duration, utc};
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
}

/// How far a device is in a pass that is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Progress {
    pub device: String,
    /// Partitions that were found so far.
    pub found: u64,
    pub attempted: u64,
    pub failures: u64,
    /// Whether all of its partitions are known.
    pub is_listed: bool,
    /// It hangs: a job of it has shown no sign of life for too long.
    pub set_aside: bool,
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
    /// It has made its pass and ended.
    Ended,
    /// It is gone, and was not done.
    Gone,
}

impl Health {
    /// 0: well, or done; 1: stuck; 2: gone.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Well | Self::Ended => 0,
            Self::Stuck(_) => 1,
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
        let slow = self.passes.iter().filter_map(|pass| pass.complaint(self.written));
        let complaints: Vec<_> =
            slow.chain(self.hanging.iter().map(|worker| format!("hangs: {}", worker.doing()))).collect();
        if complaints.is_empty() { Health::Well } else { Health::Stuck(complaints) }
    }

    /// The status for people.
    pub(crate) fn table(&self, now: f64, health: &Health) -> String {
        let mut text = String::new();
        // Nothing that is written to a string can fail.
        let _ = self.write_table(&mut text, now, health);
        text
    }

    fn write_table(&self, text: &mut String, now: f64, health: &Health) -> std::fmt::Result {
        let (pid, age) = (self.pid, duration(now - self.written));
        match health {
            Health::Well => writeln!(text, "Process {pid} is well, as of {age} ago.")?,
            Health::Stuck(complaints) => writeln!(text, "Process {pid} looks stuck:\n  {}", complaints.join("\n  "))?,
            Health::Ended => writeln!(text, "Process {pid} finished its pass {age} ago.")?,
            Health::Gone => writeln!(text, "Process {pid} is gone. This is what it last wrote, {age} ago:")?,
        }
        orders::out_of_the_ordinary(&self.orders).iter().try_for_each(|line| writeln!(text, "Orders: {line}"))?;
        if self.passes.is_empty() && *health != Health::Ended {
            writeln!(text, "No pass is under way.")?;
        }
        for pass in &self.passes {
            pass.write_table(text, self.written)?;
        }
        for report in &self.last {
            writeln!(text, "\nA pass ended {}:", utc(report.ended()))?;
            report.lines().iter().try_for_each(|line| writeln!(text, "  {line}"))?;
        }
        Ok(())
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
        format!("{prefix}{attempted} of {found} partitions done so far, {failures} failures since {}", utc(self.began))
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
            "\n{}A pass began {} and has run for {}:",
            self.prefix(),
            utc(self.began),
            duration(now - self.began)
        )?;
        writeln!(text, "  {:<12} {:>21} {:>7} {:>8}", "DEVICE", "PARTITIONS", "DONE", "FAILURES")?;
        for device in &self.devices {
            let percent = coverage(device.attempted, device.found) * 100.0;
            let note = match device {
                Progress { set_aside: true, .. } => "  hangs",
                Progress { is_listed: false, .. } => "  not listed yet",
                _ => "",
            };
            let partitions = format!("{}/{}", device.attempted, device.found);
            let name = printable(&device.device);
            writeln!(text, "  {name:<12} {partitions:>21} {percent:>6.1}% {:>8}{note}", device.failures)?;
        }
        self.workers.iter().try_for_each(|worker| writeln!(text, "  {}", worker.doing()))
    }
}

impl Worker {
    /// What it does, in a line: also what SIGUSR1 logs.
    pub(crate) fn doing(&self) -> String {
        let partition = self.partition.map_or_else(String::new, |partition| format!(", partition {partition}"));
        let peer = self.peer.as_ref().map_or_else(String::new, |peer| format!(" ({peer})"));
        let line = format!("device {}{partition}: {}{peer} for {}", self.device, self.step, duration(self.seconds));
        printable(&line).into_owned()
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::pass_report::Ending;
    use super::super::pass_report::example::report;
    use super::*;

    const NOW: f64 = 1_800_001_000.0;

    fn status() -> Status {
        let worker = Worker {
            device: "sdb".into(),
            partition: Some(12),
            step: "pushing".into(),
            peer: Some("10.0.0.2:6200/sda".into()),
            seconds: 37.0,
        };
        let device = Progress {
            device: "sdb".into(),
            found: 1200,
            attempted: 300,
            failures: 2,
            is_listed: true,
            set_aside: false,
        };
        let pass = RunningPass {
            group: String::new(),
            began: NOW - 600.0,
            moved: NOW - 3.5,
            workers: vec![worker],
            devices: vec![device],
        };
        let (passes, last) = (vec![pass], vec![report()]);
        Status { pid: 77, process_began: 5, written: NOW - 3.0, passes, last, ..Status::default() }
    }

    #[test]
    fn a_daemon_that_writes_and_moves_is_well() {
        let status = status();
        let health = status.health(NOW, Some(5));
        assert_eq!((&health, health.exit_code()), (&Health::Well, 0));
        let table = status.table(NOW, &health);
        let expected = "Process 77 is well, as of 3.0s ago.\n\n\
                        A pass began 2027-01-15 08:06:40 UTC and has run for 9m 57s:\n\
                        \x20 DEVICE                  PARTITIONS    DONE FAILURES\n\
                        \x20 sdb                       300/1200   25.0%        2\n\
                        \x20 device sdb, partition 12: pushing (10.0.0.2:6200/sda) for 37s\n\n\
                        A pass ended 2027-01-15 08:12:34 UTC:\n  Report: pass incomplete (";
        assert!(table.starts_with(expected), "{table}");
    }

    #[test]
    fn one_in_which_a_job_hangs_or_a_pass_does_not_move_looks_stuck() {
        let mut status = status();
        status.hanging = vec![Worker { seconds: 2000.0, ..status.passes[0].workers[0].clone() }];
        status.passes[0].moved = NOW - 103.0;
        let health = status.health(NOW, Some(5));
        let expected = [
            "the pass has not moved for 1m 40s",
            "hangs: device sdb, partition 12: pushing (10.0.0.2:6200/sda) for 33m 20s",
        ];
        assert_eq!(health, Health::Stuck(expected.map(str::to_owned).into()));
        assert_eq!(health.exit_code(), 1);
        assert!(status.table(NOW, &health).starts_with("Process 77 looks stuck:\n  the pass has not moved"));
    }

    #[test]
    fn one_that_does_not_write_any_more_looks_stuck_whatever_it_wrote() {
        let mut status = status();
        status.written = NOW - 100.0;
        let expected = Health::Stuck(vec!["it has written nothing for 1m 40s".to_owned()]);
        assert_eq!(status.health(NOW, Some(5)), expected);
    }

    #[test]
    fn a_dead_daemon_is_gone_even_if_its_id_is_in_use_again() {
        let status = status();
        for began in [None, Some(6)] {
            let health = status.health(NOW, began);
            assert_eq!((&health, health.exit_code()), (&Health::Gone, 2));
            let table = status.table(NOW, &health);
            assert!(table.starts_with("Process 77 is gone. This is what it last wrote, 3.0s ago:\n"), "{table}");
        }
        assert_eq!(process_began(u32::MAX), None);
        assert!(process_began(std::process::id()).is_some());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        while process_began(child.id()).is_some() {
            std::thread::yield_now();
        }
        assert!(Path::new(&format!("/proc/{}/stat", child.id())).exists(), "nobody has waited for it");
        child.wait().unwrap();
    }

    #[test]
    fn a_single_pass_that_has_ended_is_no_reason_to_worry() {
        let status = Status { has_ended: true, passes: Vec::new(), ..status() };
        let health = status.health(NOW + 1e6, None);
        assert_eq!((&health, health.exit_code()), (&Health::Ended, 0));
        assert!(status.table(NOW, &health).starts_with("Process 77 finished its pass 3.0s ago.\n\nA pass ended"));
    }

    #[test]
    fn texts_of_a_file_that_others_wrote_forge_no_lines_and_move_no_cursor() {
        let evil = "x\u{1b}[2J\r\nProcess 1 is well\u{9b}\u{202e}".to_owned();
        let mut status = status();
        let worker = Worker { device: evil.clone(), step: evil.clone(), peer: Some(evil.clone()), ..Worker::default() };
        status.hanging = vec![worker.clone()];
        status.passes[0].group = evil.clone();
        status.passes[0].workers = vec![worker];
        status.passes[0].devices[0].device = evil.clone();
        status.last[0].ending = Ending::Incomplete(vec![evil.clone()]);
        let counts = status.last[0].devices.remove("sdc").unwrap();
        status.last[0].devices.insert(evil.clone(), counts);
        let counts = status.last[0].peers.pop_last().unwrap().1;
        status.last[0].peers.insert(evil, counts);
        let table = status.table(NOW, &status.health(NOW, Some(5)));
        assert!(table.contains("x#033[2J#015#012Process 1 is well#302#233#342#200#256"), "{table}");
        assert_eq!(table.lines().map(printable).collect::<Vec<_>>().join("\n") + "\n", table);
        assert!(!table.lines().any(|line| line.starts_with("Process 1 ")), "{table}");
    }

    #[test]
    fn a_pipe_in_the_place_of_the_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let path = folder.path().join(Kind::Daemon.file());
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let error = read(folder.path(), Kind::Daemon).unwrap_err().to_string();
        assert!(error.ends_with("object-replicator.status: it is not a regular file"), "{error}");
    }

    #[test]
    fn what_was_written_is_read_back_and_junk_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path(), Kind::Daemon), Err(ReadError::Missing(_))));
        status().write(folder.path(), Kind::Daemon).unwrap();
        assert_eq!(read(folder.path(), Kind::Daemon).unwrap(), status());
        assert!(matches!(read(folder.path(), Kind::SinglePass), Err(ReadError::Missing(_))));
        fs::write(folder.path().join(Kind::Daemon.file()), "{").unwrap();
        let error = read(folder.path(), Kind::Daemon).unwrap_err().to_string();
        assert!(error.contains("object-replicator.status cannot be understood: "), "{error}");
    }
}
