//! What a daemon is doing now, in a file beside the recon cache that is replaced as a whole, and what an operator makes
//! of it.
//!
//! The daemon writes a [`Status`] every few seconds. [`read`] judges it, for the file outlives the daemon: is the process
//! that wrote it still that process, has it written lately, and does any of its workers stand still?

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{WriteError, replace};
use super::html::utc;
use super::pass_report::{PassReport, duration};

/// The file's name, in the folder of the recon cache.
pub const FILE: &str = "object-replicator.status";
/// How often the file is to be written, in seconds.
pub const PERIOD: f64 = 10.0;
/// A daemon that has not written for so many periods does not get to it.
const MISSED: f64 = 6.0;
/// More of a file is not read.
const MAX_BYTES: u64 = 16 << 20;

/// What a worker is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    pub device: String,
    pub partition: Option<u32>,
    /// Like `pushing`.
    pub step: String,
    /// Whom to, if that is part of the step.
    pub peer: Option<String>,
    /// Since when, as Unix time.
    pub since: f64,
}

/// How far a device is in the running pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    pub device: String,
    pub found: u64,
    pub attempted: u64,
    pub failures: u64,
    /// It was set aside: it does not answer.
    pub set_aside: bool,
}

/// A daemon at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    pub pid: u32,
    /// When the process began, in the kernel's ticks: with it the id means this process and no later one.
    pub process_began: u64,
    /// When this was written, as Unix time.
    pub written: f64,
    /// `lockup_timeout`.
    pub lockup_timeout: f64,
    /// When the running pass began; none between passes.
    pub pass_began: Option<f64>,
    pub workers: Vec<Worker>,
    pub devices: Vec<Progress>,
    pub last_pass: Option<PassReport>,
}

/// What is to be thought of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Well,
    /// It runs, but something stands still: what, in a line each.
    Stuck(Vec<String>),
    /// The process is gone.
    Gone,
}

impl Status {
    /// Takes the place of the file in the folder of the recon cache.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), WriteError> {
        let json = serde_json::to_string(self).unwrap_or_default() + "\n";
        replace(&folder.join(FILE), json.as_bytes())
    }

    /// Judges the daemon by what it wrote; `began` is when the process with its id began, if there is one.
    pub fn health(&self, now: f64, began: Option<u64>) -> Health {
        if began != Some(self.process_began) {
            return Health::Gone;
        }
        let mut complaints = Vec::new();
        let silence = now - self.written;
        if silence > PERIOD * MISSED {
            complaints.push(format!("nothing was written for {}", duration(silence)));
        }
        for worker in self.workers.iter().filter(|worker| now - worker.since > self.lockup_timeout) {
            complaints.push(format!("no progress for {}: {}", duration(now - worker.since), worker.doing()));
        }
        if complaints.is_empty() { Health::Well } else { Health::Stuck(complaints) }
    }

    /// The status for people.
    pub fn table(&self, now: f64, health: &Health) -> String {
        let mut text = String::new();
        let pid = self.pid;
        let _ = match health {
            Health::Well => writeln!(text, "Process {pid} is well; written {} ago.", duration(now - self.written)),
            Health::Stuck(complaints) => {
                writeln!(text, "Process {pid} looks stuck:\n  {}", complaints.join("\n  "))
            }
            Health::Gone => writeln!(text, "Process {pid} is gone; this is what it did at {}:", utc(self.written)),
        };
        let _ = match self.pass_began {
            Some(began) => writeln!(text, "A pass runs since {} ({}).", utc(began), duration(self.written - began)),
            None => writeln!(text, "No pass is running."),
        };
        for Progress { device, found, attempted, failures, set_aside } in &self.devices {
            let percent = if *found == 0 { 100.0 } else { *attempted as f64 / *found as f64 * 100.0 };
            let note = if *set_aside { ", set aside" } else { "" };
            let _ = writeln!(text, "  {device:<12} {attempted}/{found} ({percent:.1}%), {failures} failures{note}");
        }
        for worker in &self.workers {
            let _ = writeln!(text, "  {} since {}", worker.doing(), duration(self.written - worker.since));
        }
        if let Some(last) = &self.last_pass {
            let _ = writeln!(text, "The last pass ended {}:", utc(last.began + last.took));
            last.lines().iter().for_each(|line| {
                let _ = writeln!(text, "  {line}");
            });
        }
        text
    }

    /// 0: well; 1: stuck; 2: gone.
    pub const fn exit_code(health: &Health) -> u8 {
        match health {
            Health::Well => 0,
            Health::Stuck(_) => 1,
            Health::Gone => 2,
        }
    }
}

impl Worker {
    /// What it does, in a line: also what SIGUSR1 logs.
    pub fn doing(&self) -> String {
        let partition = self.partition.map_or_else(String::new, |partition| format!(", partition {partition}"));
        let peer = self.peer.as_ref().map_or_else(String::new, |peer| format!(", {peer}"));
        format!("{}{partition}: {}{peer}", self.device, self.step)
    }
}

/// A status file that says nothing: one line.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{}: there is no such file, so no daemon has run with this configuration", .0.display())]
    Missing(PathBuf),
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} cannot be understood: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
}

/// What a daemon wrote last into the folder of its recon cache.
///
/// # Errors
/// There is nothing that could be read.
pub fn read(folder: &Path) -> Result<Status, ReadError> {
    let path = folder.join(FILE);
    let content = read_bounded(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ReadError::Missing(path.clone()),
        _ => ReadError::Io { path: path.clone(), source },
    })?;
    serde_json::from_slice(&content).map_err(|source| ReadError::Json { path, source })
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut content = Vec::new();
    fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

/// When a process began, in the kernel's ticks since it booted; `None` if there is none.
pub fn process_began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in brackets, and may hold any.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::pass_report::example::report;
    use super::*;

    const NOW: f64 = 1_800_001_000.0;

    fn status() -> Status {
        let worker = Worker {
            device: "sdb".into(),
            partition: Some(12),
            step: "pushing".into(),
            peer: Some("10.0.0.2:6200/sda".into()),
            since: NOW - 40.0,
        };
        let progress = Progress { device: "sdb".into(), found: 1200, attempted: 300, failures: 2, set_aside: false };
        Status {
            pid: 77,
            process_began: 5,
            written: NOW - 3.0,
            lockup_timeout: 1800.0,
            pass_began: Some(NOW - 600.0),
            workers: vec![worker],
            devices: vec![progress],
            last_pass: Some(report()),
        }
    }

    #[test]
    fn a_daemon_that_writes_and_moves_is_well() {
        let status = status();
        let health = status.health(NOW, Some(5));
        assert_eq!((&health, Status::exit_code(&health)), (&Health::Well, 0));
        let table = status.table(NOW, &health);
        assert!(table.starts_with("Process 77 is well; written 3.0s ago.\nA pass runs since "), "{table}");
        assert!(table.contains("  sdb          300/1200 (25.0%), 2 failures\n"), "{table}");
        assert!(table.contains("  sdb, partition 12: pushing, 10.0.0.2:6200/sda since 37s\n"), "{table}");
        assert!(table.contains("The last pass ended 2027-01-15 08:12:34 UTC:\n  Pass incomplete"), "{table}");
    }

    #[test]
    fn one_that_does_not_move_or_write_looks_stuck() {
        let mut status = status();
        status.workers[0].since = NOW - 2000.0;
        status.written = NOW - 100.0;
        let health = status.health(NOW, Some(5));
        let expected = [
            "nothing was written for 1m 40s",
            "no progress for 33m 20s: sdb, partition 12: pushing, 10.0.0.2:6200/sda",
        ];
        assert_eq!(health, Health::Stuck(expected.map(str::to_owned).into()));
        assert_eq!(Status::exit_code(&health), 1);
        assert!(status.table(NOW, &health).starts_with("Process 77 looks stuck:\n  nothing was written"));
    }

    #[test]
    fn a_dead_daemon_is_gone_even_if_its_id_is_in_use_again() {
        let status = status();
        for began in [None, Some(6)] {
            let health = status.health(NOW, began);
            assert_eq!((&health, Status::exit_code(&health)), (&Health::Gone, 2));
            assert!(status.table(NOW, &health).starts_with("Process 77 is gone; this is what it did at 2027-01-15 "));
        }
        assert_eq!(process_began(u32::MAX), None);
        assert!(process_began(std::process::id()).is_some());
    }

    #[test]
    fn what_was_written_is_read_back_and_junk_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(ReadError::Missing(_))));
        status().write(folder.path()).unwrap();
        assert_eq!(read(folder.path()).unwrap(), status());
        fs::write(folder.path().join(FILE), "{").unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("object-replicator.status cannot be understood: "), "{error}");
    }
}
