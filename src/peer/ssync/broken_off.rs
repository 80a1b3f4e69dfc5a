//! Devices of peers that break off every conversation before they have compared anything.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::offers::Reached;
use super::push::{SsyncError, Synced};
use crate::locks::lock;
use crate::peer::node_string;
use crate::ring::Device;

/// How many conversations in a row were broken off by a device before it had compared anything; to be shared by all
/// threads. Of those that got further nothing is remembered.
#[derive(Debug, Default)]
pub(super) struct BrokenOff {
    /// So that nobody need lock anything while there are none.
    are_there: AtomicBool,
    devices: Mutex<HashMap<String, usize>>,
}

impl BrokenOff {
    /// Takes note of what became of a push. One to which the device said nothing, or which it had no time for, says nothing.
    pub(super) fn note(&self, to: &Device, outcome: &Result<Synced, SsyncError>) {
        let has_compared = outcome.as_ref().map_or_else(|failed| failed.reached != Reached::Nothing, |_| true);
        if outcome.as_ref().is_err_and(SsyncError::is_blind) {
            self.are_there.store(true, Ordering::Relaxed);
            *self.devices().entry(node_string(to)).or_default() += 1;
        } else if has_compared && self.are_there.load(Ordering::Relaxed) {
            let mut devices = self.devices();
            devices.remove(&node_string(to));
            self.are_there.store(!devices.is_empty(), Ordering::Relaxed);
        }
    }

    /// How many there were.
    pub(super) fn in_a_row(&self, to: &Device) -> usize {
        self.devices().get(&node_string(to)).copied().unwrap_or_default()
    }

    fn devices(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        lock(&self.devices)
    }
}
