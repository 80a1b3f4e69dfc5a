//! `moved_first`: what a change of ring has moved goes before all else.

use std::time::SystemTime;

use super::{Failure, threads};
use crate::clock::unix;
use crate::pass::ProcessState;

/// Waits for changes of rings, on a thread of its own, since devices are looked at.
pub(super) fn follow_rings(lasting: &ProcessState) -> Result<(), Failure> {
    let (changes, lasting) = (lasting.rings.listen(), lasting.clone());
    let follow = move || {
        for change in changes {
            if let Some(finder) = lasting.finder.get() {
                finder.ring_changed(&change, &lasting.orders.first, &hanging(&lasting), unix(SystemTime::now()));
            }
        }
    };
    threads::start("moved", follow).map_err(|error| Failure::Thread { job: "what rings move", error })
}

/// The devices that are known to hang.
pub(super) fn hanging(lasting: &ProcessState) -> Vec<String> {
    lasting
        .board
        .hanging()
        .into_iter()
        .filter(|worker| worker.partition.is_none())
        .map(|worker| worker.device)
        .collect()
}
