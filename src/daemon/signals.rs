//! Signals that end the process (B1.11), on a thread of their own, so that they do whatever the others are stuck in.

use std::{io, process, thread};

use rustix::process::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::systemd;
use crate::notice;

/// Starts to listen.
pub fn watch() -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        // Either way this is the end, so there is no second signal.
        match signals.forever().next() {
            Some(SIGTERM) => terminate(),
            _ => quit(),
        }
    })?;
    Ok(())
}

/// Takes the children along, who are in this process's group. Its own share of the signal finds it on the way out.
fn terminate() -> ! {
    notice!("SIGTERM received ({})", process::id());
    let _ = rustix::process::kill_current_process_group(Signal::TERM);
    process::exit(0)
}

fn quit() -> ! {
    notice!("User quit");
    systemd::notify("STOPPING=1");
    notice!("Exited {}", process::id());
    process::exit(0)
}
