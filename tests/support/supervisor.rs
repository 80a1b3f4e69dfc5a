//! A process that stands over the one that works, and sees to it that nothing is left when it returns.
//!
//! On ^C a terminal signals its whole foreground group. The work runs in a group of its own, so that this process alone
//! is told: it kills the worker and becomes the parent of what that leaves behind. Keepers and janitors (see `guard`)
//! are shells that tidy up by themselves, and are waited for; whatever else there is, such as a replicator in the middle
//! of a pass, is killed. Were the supervisor itself killed, the kernel would kill the worker.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, set_child_subreaper,
    set_parent_process_death_signal, wait,
};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::guard::until;

/// How long it may take: on a busy disk tens of thousands of files are not removed within a minute.
const TIDYING: Duration = Duration::from_secs(600);
/// The variable that tells the worker that it is one.
const WORKER: &str = "SWIFT_SUPERVISED";

/// Runs `work` in a process of its own, which is this program once more, and returns when all that it started is gone.
pub fn supervise(work: impl FnOnce() -> ExitCode) -> ExitCode {
    if std::env::var_os(WORKER).is_some() {
        set_parent_process_death_signal(Some(Signal::KILL)).expect("the kernel can do that");
        return work();
    }
    set_child_subreaper(Some(getpid())).expect("the kernel can do that");
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGCHLD]).expect("signals can be waited for");
    let temporary = tempfile::tempdir().expect("a folder for temporary files can be made");
    let mut worker = start(temporary.path());
    let (status, interrupted) = watch(&mut worker, &mut signals);
    let mut gone = false;
    until(TIDYING, || {
        gone = !sweep();
        // Who asks a second time does not want to wait.
        gone || signals.pending().any(|signal| signal != SIGCHLD)
    });
    if !gone {
        eprintln!("Some of the processes that were started have not ended, or still remove their folders.");
    }
    // Nobody drops what a killed worker had there; and the signal below ends this process before it could.
    drop(temporary);
    if let Some(signal) = interrupted {
        if gone {
            eprintln!("\nInterrupted. What was started has ended, and its folders are removed.");
        }
        let _ = emulate_default_handler(signal);
    }
    if status.success() && gone { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start(temporary: &Path) -> Child {
    Command::new(std::env::current_exe().expect("the running program's path"))
        .args(std::env::args_os().skip(1))
        .env(WORKER, "yes")
        .env("TMPDIR", temporary)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("this program starts once more")
}

/// Waits for the worker's end, and brings it about if somebody wants that; who, is the other part of the answer.
fn watch(worker: &mut Child, signals: &mut Signals) -> (ExitStatus, Option<i32>) {
    let mut interrupted = None;
    loop {
        if let Some(status) = worker.try_wait().expect("the worker is our child") {
            return (status, interrupted);
        }
        for signal in signals.wait().filter(|signal| *signal != SIGCHLD) {
            interrupted = Some(signal);
            let _ = kill_process_group(Pid::from_child(worker), Signal::KILL);
        }
    }
}

/// Kills the children that do not end by themselves, and buries the dead; whether there are any left.
fn sweep() -> bool {
    for child in children() {
        let name = fs::read_to_string(format!("/proc/{}/comm", child.as_raw_nonzero())).unwrap_or_default();
        if name.trim() != "sh" {
            let _ = kill_process(child, Signal::KILL);
        }
    }
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => {
                std::thread::sleep(Duration::from_millis(10));
                return true;
            }
            Err(_) => return false,
        }
    }
}

fn children() -> Vec<Pid> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(pid).collect::<Vec<_>>()).collect()
}

fn pid(number: &str) -> Option<Pid> {
    Pid::from_raw(number.parse().ok()?)
}
