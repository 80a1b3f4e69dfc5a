//! Looking at processes: whose children they are, and what they have open.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// A process, as `/proc/PID/stat` tells it.
#[derive(Debug)]
pub struct Process {
    pub id: u32,
    pub name: String,
    /// `Z` is a zombie.
    pub state: char,
    pub parent: u32,
}

impl Process {
    fn read(id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let (head, tail) = stat.rsplit_once(") ")?;
        let mut words = tail.split(' ');
        let (state, parent) = (words.next()?.chars().next()?, words.next()?.parse().ok()?);
        Some(Self { id, name: head.split_once('(')?.1.to_owned(), state, parent })
    }

    /// Its arguments, with spaces between them.
    pub fn command_line(&self) -> String {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.id)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    }
}

/// Every process of this machine.
pub fn all() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries.filter_map(|entry| Process::read(entry.ok()?.file_name().to_str()?.parse().ok()?))
}

/// The children of a process.
pub fn children(parent: u32) -> impl Iterator<Item = Process> {
    all().filter(move |process| process.parent == parent)
}

/// Kills an rsync that a replicator runs; whether there was one.
pub fn kill_an_rsync_of(replicator: u32) -> bool {
    let Some(rsync) = children(replicator).find(|child| child.name == "rsync") else { return false };
    let id = i32::try_from(rsync.id).ok().and_then(Pid::from_raw).expect("an id of a process");
    kill_process(id, Signal::KILL).is_ok()
}

/// What a process has open.
pub fn open_files(id: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{id}/fd")) else { return Vec::new() };
    entries.filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned())).collect()
}

/// The rsyncs of a cluster that push something.
pub fn pushes(folder: &Path) -> Vec<Process> {
    let folder = folder.to_string_lossy();
    let is_push = |process: &Process| {
        let line = process.command_line();
        process.name == "rsync" && line.contains(&*folder) && !line.contains("--daemon")
    };
    all().filter(is_push).collect()
}
