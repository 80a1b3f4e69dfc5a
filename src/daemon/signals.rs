//! Signals that end the process (B1.11), on a thread of their own, so that they work whatever the other threads are
//! stuck in; and SIGHUP, which is passed on (see `reload`), and SIGUSR1, which logs what every worker is doing. SIGINT
//! stays ignored if it was when the process started, as shells do for background jobs.
//!
//! Children are in this process's group, and are ended with it; no new ones are started meanwhile. Nothing here waits
//! for long: neither for a child that is just being started, nor for the log, since it may be the log's reader that
//! hangs.

use std::sync::Arc;
use std::time::Duration;
use std::{io, process, thread};

use crossbeam_channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::{systemd, threads};
use crate::child::{self, SpawnGate};
use crate::pass::RunningPasses;
use crate::report::status::RunningPass;
use crate::{notice, sys};

/// How long a child that is just being started is waited for.
const START: Duration = Duration::from_millis(500);
/// After this time the process ends, whatever has not been said.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Starts to listen; the process's children are started through `gate`. Without anyone who takes hang-ups, they end the
/// process as they do by default, or are ignored if they were at the start.
pub(super) fn watch(gate: SpawnGate, hang_ups: Option<Sender<()>>, board: Arc<RunningPasses>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGUSR1])?;
    if !sys::is_ignored(SIGINT)? {
        signals.add_signal(SIGINT)?;
    }
    if hang_ups.is_some() {
        signals.add_signal(SIGHUP)?;
    }
    threads::start("signals", move || {
        let is_end = |signal: &i32| {
            match (*signal, &hang_ups) {
                // One that waits already will see whatever this one is about.
                (SIGHUP, Some(hang_ups)) => drop(hang_ups.try_send(())),
                (SIGUSR1, _) => tell_status(&board),
                _ => return true,
            }
            false
        };
        // This is the end, so there is no second one.
        let signal = signals.forever().find(is_end);
        end_in_any_case(gate.clone());
        systemd::notify("STOPPING=1");
        match signal {
            Some(SIGTERM) => notice!("SIGTERM received ({})", process::id()),
            _ => {
                notice!("User quit");
                notice!("Exited {}", process::id());
            }
        }
        end(&gate)
    })
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

fn end_in_any_case(gate: SpawnGate) {
    // Without this thread there is still the one that starts it.
    let _ = thread::Builder::new().name("end".to_owned()).spawn(move || {
        thread::sleep(LAST_WORDS);
        end(&gate)
    });
}

/// Takes the children along. The process's own share of the signal finds it on the way out.
fn end(gate: &SpawnGate) -> ! {
    gate.stop(START);
    child::end();
    process::exit(0)
}
