//! Letting go of whoever started the process: session, folder, file mode mask, and stdio (B1.12, B1.14).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{Mode, OFlags};
use thiserror::Error;

/// What could not be let go of.
#[derive(Debug, Error)]
#[error("unable to {step}: {error}")]
pub struct DetachError {
    step: &'static str,
    error: io::Error,
}

/// Becomes the leader of a session and group of its own, in `/`, with a usual mask.
///
/// A single pass that was started on a terminal stays in the terminal's session, so that ^C reaches it there, also when a
/// script, `flock` or `sudo` started it.
///
/// # Errors
/// The folder cannot be changed.
pub(super) fn leave_session(once: bool) -> Result<(), DetachError> {
    if !(once && has_terminal()) {
        // Fails for the leader of a group, who has what it is for: a group that SIGTERM can be sent to.
        let _ = rustix::process::setsid();
    }
    rustix::process::chdir("/").map_err(failed("change to folder /"))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// Whether the session is a terminal's.
fn has_terminal() -> bool {
    File::options().read(true).custom_flags(OFlags::NOCTTY.bits().cast_signed()).open("/dev/tty").is_ok()
}

/// Points stdio to `/dev/null`, so that who started the process and reads its output sees the end of it.
///
/// With `keep_stderr` that stays, for the console's log.
pub(super) fn release_stdio(keep_stderr: bool) -> Result<(), DetachError> {
    let null = File::options().read(true).write(true).open("/dev/null");
    let null: OwnedFd = null.map_err(failed("open /dev/null"))?.into();
    let detached = rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| if keep_stderr { Ok(()) } else { rustix::stdio::dup2_stderr(&null) });
    detached.map_err(failed("redirect stdio"))
}

fn failed<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> DetachError {
    move |error| DetachError { step, error: error.into() }
}
