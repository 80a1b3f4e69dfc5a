//! Waits for orphaned processes if this process is process 1, as it is where it is the only service of a container.
//!
//! If an rsync dies and leaves processes of its own behind, the system makes them children of process 1. When they end
//! they are zombies until somebody waits for them. Our own children are waited for at once, so a zombie that has been
//! there for longer is an orphan.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, getpid, waitid};

use super::threads;
use crate::sys::zombie;

/// How often zombies are looked for.
const LOOK: Duration = Duration::from_secs(10);

/// A zombie that is seen in this many looks is an orphan: whoever waits for a child does so sooner.
const LOOKS: u32 = 3;

/// Starts to reap orphans if this is process 1.
pub(super) fn reap() -> io::Result<()> {
    if !getpid().is_init() {
        return Ok(());
    }
    threads::start("orphans", || {
        let mut seen = Seen::default();
        loop {
            thread::sleep(LOOK);
            seen.look();
        }
    })
}

/// Zombies among our children, by their ids and the times when they began, with the looks in which they were met.
#[derive(Default)]
struct Seen(HashMap<(i32, u64), u32>);

impl Seen {
    fn look(&mut self) {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        self.look_at(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()));
    }

    /// Looks at the processes with these ids.
    fn look_at(&mut self, pids: impl Iterator<Item = i32>) {
        let met = pids.filter_map(|pid| Some((pid, zombie(pid, getpid().as_raw_pid())?)));
        let looks = |key| self.0.get(&key).map_or(1, |looks| looks + 1);
        let met: HashMap<_, _> = met.map(|key| (key, looks(key))).collect();
        for pid in met.iter().filter(|(_, looks)| **looks >= LOOKS).filter_map(|((pid, _), _)| Pid::from_raw(*pid)) {
            // One that is not there any more was waited for.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
        self.0 = met;
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn dead_child() -> Child {
        let child = Command::new("true").spawn().unwrap();
        let pid = child.id().cast_signed();
        while zombie(pid, getpid().as_raw_pid()).is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        child
    }

    #[test]
    fn a_zombie_that_nobody_waits_for_is_reaped_after_some_looks() {
        let mut orphan = dead_child();
        // Other tests' children die at the same time.
        let pid = orphan.id().cast_signed();
        let mut seen = Seen::default();
        (1..LOOKS).for_each(|_| seen.look_at([pid].into_iter()));
        assert!(zombie(pid, getpid().as_raw_pid()).is_some(), "somebody may yet wait for it");
        seen.look_at([pid].into_iter());
        assert_eq!(zombie(pid, getpid().as_raw_pid()), None);
        orphan.wait().unwrap_err();
    }

    #[test]
    fn a_child_that_lives_is_left_alone() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let mut seen = Seen::default();
        let pid = child.id().cast_signed();
        (0..=LOOKS).for_each(|_| seen.look_at([pid].into_iter()));
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
