//! Ending passes early, so that others can follow them: jobs at work end, and nothing new is begun.

use std::convert::Infallible;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, never};

/// Ends passes when it is dropped.
#[derive(Debug)]
pub(crate) struct Interrupter {
    _open: Sender<Infallible>,
}

/// Tells a pass, or a wait for the next one, that it should end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Receiver<Infallible>);

impl Interrupter {
    /// A new one, and what passes are to look at.
    pub(crate) fn new() -> (Self, Interrupt) {
        let (open, receiver) = bounded(0);
        (Self { _open: open }, Interrupt(receiver))
    }
}

impl Default for Interrupt {
    /// One that never comes.
    fn default() -> Self {
        Self(never())
    }
}

impl Interrupt {
    /// Whether passes should come to an end.
    pub(crate) fn has_come(&self) -> bool {
        self.0.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Waits for so long, or until passes should come to an end; says whether they should.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        self.0.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }

    /// Ends when passes should; nothing ever comes from it.
    pub(crate) fn channel(&self) -> &Receiver<Infallible> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_to_all_who_wait_when_its_owner_lets_go() {
        let (interrupter, interrupt) = Interrupter::new();
        let other = interrupt.clone();
        assert!(!interrupt.has_come() && !interrupt.wait(Duration::from_millis(1)));
        let waiting = std::thread::spawn(move || other.wait(Duration::from_secs(600)));
        drop(interrupter);
        assert!(waiting.join().unwrap() && interrupt.has_come() && interrupt.wait(Duration::from_secs(600)));
        assert!(!Interrupt::default().has_come());
    }
}
