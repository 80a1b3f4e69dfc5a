//! Signals that end the process (B1.11), on a thread of their own, so that they work whatever the other threads are
//! stuck in; SIGHUP, which a daemon passes on (see `reload`) and which ends a single pass; and SIGUSR1, which logs what
//! every worker is doing. SIGINT stays ignored if it was when the process started, as shells do for background jobs, and
//! so does the SIGHUP of a single pass, as `nohup` does it.
//!
//! Children are ended with the process; no new ones are started meanwhile. Nothing here waits for long: neither for a
//! child that is just being started, nor for the log, since it may be the log's reader that hangs.

use std::sync::Arc;
use std::time::Duration;
use std::{io, process, thread};

use crossbeam_channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::{systemd, threads};
use crate::child::{self, SpawnGate};
use crate::pass::RunningPasses;
use crate::report::pass_report::INCOMPLETE;
use crate::report::status::RunningPass;
use crate::{notice, sys};

/// How long a child that is just being started is waited for.
const START: Duration = Duration::from_millis(500);
/// After this time the process ends, whatever has not been said.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What a shell says of a command that a hang-up has ended.
const HUNG_UP: i32 = 128 + SIGHUP;

/// What a hang-up is, and which exit code a signal leaves.
pub(super) enum Kind {
    /// A daemon: a hang-up is passed on.
    Daemon(Sender<()>),
    /// A single pass: a hang-up ends it as it ends any command.
    Once {
        /// Whether the exit code says that the pass was cut short.
        is_strict: bool,
    },
}

impl Kind {
    /// The exit code of a process that the signal has ended.
    fn exit_code(&self, signal: Option<i32>) -> i32 {
        match (self, signal) {
            (Self::Once { is_strict: true }, _) => INCOMPLETE.into(),
            (Self::Once { .. }, Some(SIGHUP)) => HUNG_UP,
            _ => 0,
        }
    }
}

/// Starts to listen; the process's children are started through `gate`, and `leave` is done at the end.
///
/// # Errors
/// The signals cannot be caught, or the thread cannot be started.
pub(super) fn watch(
    gate: SpawnGate,
    kind: Kind,
    board: Arc<RunningPasses>,
    leave: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGUSR1])?;
    if !sys::is_ignored(SIGINT)? {
        signals.add_signal(SIGINT)?;
    }
    if matches!(kind, Kind::Daemon(_)) || !sys::is_ignored(SIGHUP)? {
        signals.add_signal(SIGHUP)?;
    }
    threads::start("signals", move || {
        let is_end = |signal: &i32| {
            match (*signal, &kind) {
                // One that waits already will see whatever this one is about.
                (SIGHUP, Kind::Daemon(hang_ups)) => drop(hang_ups.try_send(())),
                (SIGUSR1, _) => tell_status(&board),
                _ => return true,
            }
            false
        };
        // This is the end, so there is no second one.
        let signal = signals.forever().find(is_end);
        let exit_code = kind.exit_code(signal);
        end_in_any_case(gate.clone(), exit_code);
        systemd::notify("STOPPING=1");
        tell_end(signal, &board);
        leave();
        end(&gate, exit_code)
    })
}

/// Logs which signal ends the process, and what it ends.
fn tell_end(signal: Option<i32>, board: &RunningPasses) {
    let name = match signal {
        Some(SIGTERM) => "SIGTERM",
        Some(SIGHUP) => "SIGHUP",
        _ => {
            notice!("User quit");
            tell_how_far(board, "SIGINT");
            return notice!("Exited {}", process::id());
        }
    };
    notice!("{name} received ({})", process::id());
    tell_how_far(board, name);
}

/// Logs how far the passes came that are cut short.
fn tell_how_far(board: &RunningPasses, signal: &str) {
    for pass in board.passes() {
        notice!("Report: pass cut short by {signal}: {}", pass.how_far());
    }
}

/// Logs what is going on.
fn tell_status(board: &RunningPasses) {
    let passes = board.passes();
    if passes.is_empty() {
        notice!("Status: no pass is under way");
    }
    let hanging = board.hanging();
    let hanging = hanging.iter().map(|worker| format!("hangs: {}", worker.doing()));
    for line in passes.iter().flat_map(RunningPass::lines).chain(hanging) {
        notice!("Status: {line}");
    }
}

fn end_in_any_case(gate: SpawnGate, exit_code: i32) {
    // Without this thread there is still the one that starts it.
    let _ = thread::Builder::new().name("end".to_owned()).spawn(move || {
        thread::sleep(LAST_WORDS);
        end(&gate, exit_code)
    });
}

/// Takes the children along. The process's own share of the signal finds it on the way out.
fn end(gate: &SpawnGate, exit_code: i32) -> ! {
    gate.stop(START);
    child::end();
    if exit_code == HUNG_UP {
        // Whoever waits for the process is to see that it was this signal (B1.11).
        let _ = emulate_default_handler(SIGHUP);
    }
    process::exit(exit_code)
}
