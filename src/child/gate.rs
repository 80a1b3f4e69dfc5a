//! Every child is started through a gate, which is closed before the process ends.
//!
//! A process that is about to end ends its children first. A child that another thread starts just then would be left
//! behind, so no more may be started from then on.

use std::io;
use std::process::{Child, Command};
use std::sync::{Arc, RwLock, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use crate::locks::read;

/// Starts children until it is told to stop; to be shared by all threads.
#[derive(Clone, Debug, Default)]
pub struct SpawnGate(Arc<RwLock<()>>);

impl SpawnGate {
    /// Starts a child. Once nothing may be started any more this waits for the process's end.
    pub fn start(&self, command: &mut Command) -> io::Result<Child> {
        let _allowed = read(&self.0);
        command.spawn()
    }

    /// Lets nothing be started from now on, for good, and waits for what is just being started, but not longer than
    /// `patience`: the program may lie on a file system that hangs.
    pub fn stop(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        loop {
            match self.0.try_write() {
                Ok(guard) => return std::mem::forget(guard),
                Err(TryLockError::Poisoned(poisoned)) => return std::mem::forget(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                Err(TryLockError::WouldBlock) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_started_after_the_end() {
        let gate = SpawnGate::default();
        assert!(gate.start(&mut Command::new("true")).unwrap().wait().unwrap().success());
        gate.stop(Duration::ZERO);
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let (late, mut touch) = (gate.clone(), Command::new("touch"));
        touch.arg(&mark);
        let waiting = thread::spawn(move || late.start(&mut touch).map(drop));
        gate.stop(Duration::ZERO);
        assert!(!waiting.is_finished() && !mark.exists());
    }

    #[test]
    fn a_start_that_hangs_is_not_waited_for() {
        let gate = SpawnGate::default();
        let _hangs = gate.0.read().unwrap();
        gate.stop(Duration::from_millis(20));
    }
}
