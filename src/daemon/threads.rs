//! Starts the threads that run as long as the process does.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use log::warn;

use crate::locks::lock;

/// For how long a thread that cannot be started is tried again.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Starts a thread. If the system cannot start one, that is tried again for some seconds.
///
/// # Errors
/// The system's last error if no thread could be started in that time.
pub(super) fn start(name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut is_told = false;
    // Whatever becomes of an attempt, the work is not lost.
    let work = Arc::new(Mutex::new(Some(work)));
    loop {
        let work = work.clone();
        let take_and_do = move || {
            let work = lock(&work).take();
            if let Some(work) = work {
                work();
            }
        };
        match thread::Builder::new().name(name.to_owned()).spawn(take_and_do) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(error) if !is_told => {
                warn!("Cannot start the thread {name:?}, which is tried again: {error}");
                is_told = true;
            }
            Err(_) => {}
        }
        thread::sleep(TRY_AGAIN);
    }
}
