//! Ends all children when the process is about to end.
//!
//! First they get SIGTERM. After it an rsync still sends what it has in its buffers, which takes minutes if
//! `rsync_bwlimit` is small, and a stopped one (SIGSTOP) does not act on it at all. Nobody would wait for them once
//! this process is gone. So those that have not ended soon are killed; the next process pushes again what they were
//! pushing.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal};

use crate::sys::{self, LivingProcess};

/// How long they may take to end after SIGTERM.
const GRACE: Duration = Duration::from_millis(500);
/// How often they are looked for meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// Ends all children of this process, which must not start any more. In a session of its own all of its group is
/// asked, so whatever the children have started too; its own share of the signal must have a handler. In the session of
/// a terminal the group may hold the script that started this process, so there only the children are asked.
pub(crate) fn end() {
    if sys::leads_session() {
        let _ = rustix::process::kill_current_process_group(Signal::TERM);
    } else {
        living().into_iter().for_each(|child| send(child, Signal::TERM));
    }
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        if living().is_empty() {
            return;
        }
        thread::sleep(LOOK);
    }
    living().into_iter().for_each(|child| send(child, Signal::KILL));
}

/// The children that run. The dead ones are left to those who started them, or to init.
fn living() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw).filter(|pid| is_living_child(*pid)).collect()
}

/// Whether this is a child that runs.
fn is_living_child(pid: Pid) -> bool {
    LivingProcess::look_at(pid.as_raw_pid().cast_unsigned())
        .is_some_and(|process| process.parent == getpid().as_raw_pid())
}

fn send(pid: Pid, signal: Signal) {
    match pidfd_open(pid, PidfdFlags::empty()) {
        // If it still is our child, this descriptor is that child's and nobody else's.
        Ok(child) if is_living_child(pid) => drop(pidfd_send_signal(&child, signal)),
        Ok(_) => {}
        // Linux before 5.3.
        Err(_) => drop(kill_process(pid, signal)),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_is_seen_until_it_is_dead_and_killed_at_once() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(living().contains(&pid));
        assert!(!living().contains(&getpid()), "it is nobody's child of ours");
        send(pid, Signal::KILL);
        assert!(!child.wait().unwrap().success());
        assert!(!living().contains(&pid));
    }
}
