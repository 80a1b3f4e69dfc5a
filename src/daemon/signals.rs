//! Signals that end the process (B1.11), on a thread of their own, so that they do whatever the others are stuck in.
//!
//! Children are in this process's group, and go with it; no new ones are started meanwhile. Nothing here waits for long:
//! not for a child that is just being started, and not for the log, whose reader may be what hangs.

use std::time::Duration;
use std::{io, process, thread};

use rustix::process::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::systemd;
use crate::notice;
use crate::peer::births::Births;

/// How long a child that is just being started is waited for.
const BIRTH: Duration = Duration::from_millis(500);
/// After this time the process ends, whatever has not been said.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Starts to listen; `births` are those of the process's children.
pub fn watch(births: Births) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        // Either way this is the end, so there is no second signal.
        let signal = signals.forever().next();
        end_in_any_case(births.clone());
        match signal {
            Some(SIGTERM) => notice!("SIGTERM received ({})", process::id()),
            _ => {
                notice!("User quit");
                systemd::notify("STOPPING=1");
                notice!("Exited {}", process::id());
            }
        }
        end(&births)
    })?;
    Ok(())
}

fn end_in_any_case(births: Births) {
    // Without this thread there is still the one that starts it.
    let _ = thread::Builder::new().name("end".to_owned()).spawn(move || {
        thread::sleep(LAST_WORDS);
        end(&births)
    });
}

/// Takes the children along. The process's own share of the signal finds it on the way out.
fn end(births: &Births) -> ! {
    births.stop(BIRTH);
    let _ = rustix::process::kill_current_process_group(Signal::TERM);
    process::exit(0)
}
