//! A replicator that runs for long: what it says, what the system says of it, and signals to it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::guard::{PATIENCE, until};
use super::replicator::Running;

impl Running {
    /// How many lines of the console have this text.
    pub fn count(&self, text: &str) -> usize {
        self.console().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until this text was said.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        self.wait_for_times(text, 1);
    }

    /// Waits until so many lines had this text.
    #[track_caller]
    pub fn wait_for_times(&self, text: &str, times: usize) {
        let said = until(PATIENCE * 2, || self.count(text) >= times);
        assert!(said, "{text:?} was not said {times} times:\n{}", self.console());
    }

    /// Waits until so many more passes have begun and ended.
    #[track_caller]
    pub fn wait_for_passes(&self, passes: usize) {
        const END: &str = "Object replication complete. (";
        // The pass that is at work now began before.
        self.wait_for_times(END, self.count(END) + passes + 1);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// What `/proc` says of it.
    pub fn process(&self) -> Process {
        Process(self.id())
    }
}

fn pid(id: u32) -> Pid {
    i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id")
}

/// A process as `/proc` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(pub u32);

impl Process {
    fn read(self, name: &str) -> String {
        fs::read(format!("/proc/{}/{name}", self.0)).map_or_else(|_| String::new(), |text| lossy(&text))
    }

    /// The fields of `stat` behind the name: state, parent, group, session...
    fn stat(self) -> Vec<String> {
        let stat = self.read("stat");
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    }

    /// Whether it runs, or sleeps; a zombie does not.
    pub fn is_alive(self) -> bool {
        self.stat().first().is_some_and(|state| !matches!(state.as_str(), "Z" | "X"))
    }

    /// Kills it, if it is still there.
    pub fn kill(self) {
        let _ = kill_process(pid(self.0), Signal::KILL);
    }

    /// Its children, zombies among them.
    pub fn children(self) -> Vec<Self> {
        let parent = self.0.to_string();
        all().into_iter().filter(|process| process.stat().get(1) == Some(&parent)).collect()
    }

    /// Its children, theirs, and so on.
    pub fn descendants(self) -> Vec<Self> {
        let children = self.children();
        children.iter().flat_map(|child| child.descendants()).chain(children.iter().copied()).collect()
    }

    /// Who started it, or has inherited it.
    pub fn parent(self) -> Option<Self> {
        self.stat().get(1)?.parse().ok().map(Self)
    }

    /// Sends it a signal.
    pub fn signal(self, signal: Signal) {
        kill_process(pid(self.0), signal).expect("it runs");
    }

    /// Sends a signal to all of its process group.
    pub fn signal_group(self, signal: Signal) {
        let group = self.stat().get(2).and_then(|group| group.parse().ok()).expect("it runs");
        kill_process_group(pid(group), signal).expect("it runs");
    }

    /// The time that it has spent on processors, in user mode and in the kernel.
    pub fn cpu(self) -> Duration {
        // User and system time are the fields 14 and 15; the state is the third.
        let ticks: u64 = self.stat().iter().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10) // Linux counts in hundredths of a second for everyone
    }

    /// How many open files it has.
    pub fn descriptors(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0)).map_or(0, Iterator::count)
    }

    /// How many threads it has.
    pub fn threads(self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.0)).map_or(0, Iterator::count)
    }

    /// A number of `status`, like `VmRSS:` in kilobytes.
    pub fn status(self, name: &str) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it runs, and the line is there");
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    }

    /// A line of `limits`: the soft and the hard one.
    pub fn limit(self, name: &str) -> Vec<String> {
        let limits = self.read("limits");
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel knows the limit");
        line.split_whitespace().take(2).map(str::to_owned).collect()
    }

    /// The variables that it was started with.
    pub fn environment(self) -> Vec<String> {
        self.read("environ").split_terminator('\0').map(str::to_owned).collect()
    }

    /// The words that it was started with.
    pub fn words(self) -> Vec<String> {
        self.read("cmdline").split_terminator('\0').map(str::to_owned).collect()
    }

    /// Whether one of its threads waits for a file system.
    pub fn waits_for_a_disk(self) -> bool {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.0)) else { return false };
        let mut states = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        states.any(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('D')))
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("Linux has /proc");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Process).collect()
}

/// Living processes that were started with this word.
pub fn processes_with_word(word: &str) -> Vec<Process> {
    let has_it = |process: &Process| process.is_alive() && process.words().iter().any(|other| other == word);
    all().into_iter().filter(has_it).collect()
}

/// Living processes that have this variable with this value (`NAME=value`).
pub fn processes_with_variable(variable: &str) -> Vec<Process> {
    let has_it = |process: &Process| process.is_alive() && process.environment().iter().any(|other| other == variable);
    all().into_iter().filter(has_it).collect()
}

/// Living processes whose search path begins with this folder, as that of a replicator with a stand-in for rsync and of
/// its children does.
pub fn with_search_path(folder: &Path) -> Vec<Process> {
    let start = format!("PATH={}:", folder.display());
    let has_it = |process: &Process| process.environment().iter().any(|variable| variable.starts_with(&start));
    all().into_iter().filter(|process| process.is_alive() && has_it(process)).collect()
}

/// Fails unless all these are gone soon.
#[track_caller]
pub fn assert_gone(processes: &[Process]) {
    let gone = until(PATIENCE, || !processes.iter().any(|process| process.is_alive()));
    let left: Vec<_> = processes.iter().filter(|process| process.is_alive()).map(|process| process.words()).collect();
    assert!(gone, "still there: {left:?}");
}
