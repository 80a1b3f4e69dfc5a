//! A signal that ends a check which writes waits until what was written is removed again, so that whoever sent it finds
//! nothing when the process is gone. A second one does not wait: then the removal goes on without this process.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::locks::lock;
use crate::sys;

/// How long a removal is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is being written to peers.
#[derive(Debug, Default)]
pub(super) struct Writes {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// Nothing new begins.
    is_over: bool,
}

impl Writes {
    /// None yet, and a thread that listens for signals. These folders are removed before a signal ends the process.
    ///
    /// # Errors
    /// The system's error if signals cannot be caught, or there is no thread to be had.
    pub(super) fn watched(folders: Vec<PathBuf>) -> io::Result<Arc<Self>> {
        let mut signals = Signals::new([SIGTERM])?;
        for signal in [SIGINT, SIGHUP] {
            // As `nohup` and shells leave it to processes in the background.
            if !sys::is_ignored(signal)? {
                signals.add_signal(signal)?;
            }
        }
        let writes = Arc::new(Self::default());
        let watched = writes.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for (number, signal) in signals.forever().enumerate() {
                let (watched, folders) = (watched.clone(), folders.clone());
                let end = move || {
                    // A removal that goes on needs them.
                    if watched.finish(if number == 0 { PATIENCE } else { Duration::ZERO }) {
                        folders.iter().for_each(|folder| drop(fs::remove_dir_all(folder)));
                    }
                    let _ = emulate_default_handler(signal);
                };
                // Should there be no thread, nobody waits.
                if thread::Builder::new().spawn(end).is_err() {
                    let _ = emulate_default_handler(signal);
                }
            }
        })?;
        Ok(writes)
    }

    /// Writes and removes something; `None` if the process is about to end, so that nothing was begun.
    pub(super) fn during<T>(&self, write: impl FnOnce() -> T) -> Option<T> {
        {
            let mut state = lock(&self.state);
            if state.is_over {
                return None;
            }
            state.running += 1;
        }
        let _running = Running(self);
        Some(write())
    }

    /// Waits for what was begun and has been given up, and after a signal for the end that it brings.
    pub(super) fn settle(&self) {
        let state = lock(&self.state);
        let left = self.changed.wait_timeout_while(state, PATIENCE, |state| state.running > 0);
        let is_over = left.unwrap_or_else(PoisonError::into_inner).0.is_over;
        if is_over {
            thread::sleep(PATIENCE);
        }
    }

    /// Lets nothing new begin, and waits for what was begun, but not for long; whether nothing is left of it.
    fn finish(&self, patience: Duration) -> bool {
        let mut state = lock(&self.state);
        state.is_over = true;
        let left = self.changed.wait_timeout_while(state, patience, |state| state.running > 0);
        left.unwrap_or_else(PoisonError::into_inner).0.running == 0
    }
}

/// Something is being written, as long as this is there.
struct Running<'a>(&'a Writes);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).running -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_end_waits_for_what_was_begun_and_nothing_begins_after_it() {
        let writes = Arc::new(Writes::default());
        let (begun, release) = (crossbeam_channel::bounded(0), crossbeam_channel::bounded::<()>(0));
        let write = thread::spawn({
            let (writes, begun, release) = (writes.clone(), begun.0, release.1);
            move || {
                writes.during(|| {
                    begun.send(()).unwrap();
                    release.recv().unwrap();
                })
            }
        });
        begun.1.recv().unwrap();
        let begin = Instant::now();
        assert!(!writes.finish(Duration::from_millis(50)));
        assert!(begin.elapsed() >= Duration::from_millis(50));
        assert_eq!(writes.during(|| ()), None);
        release.0.send(()).unwrap();
        assert!(writes.finish(Duration::from_secs(60)));
        assert!(begin.elapsed() < Duration::from_secs(50));
        assert_eq!(write.join().unwrap(), Some(()));
    }
}
