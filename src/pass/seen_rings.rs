//! The rings that passes went by last, whatever their configuration, so that a change shows also where a reload comes with
//! it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::locks::lock;
use crate::names::PolicyIndex;
use crate::ring::Ring;

/// A ring has changed.
#[derive(Debug)]
pub(crate) struct RingChange {
    pub policy: PolicyIndex,
    /// The ring before it.
    pub former: Arc<Ring>,
}

/// The rings that were seen last.
#[derive(Debug, Default)]
pub(crate) struct SeenRings {
    rings: Mutex<HashMap<PolicyIndex, Arc<Ring>>>,
    changes: Mutex<Option<Sender<RingChange>>>,
}

impl SeenRings {
    /// The changes from now on.
    pub(crate) fn listen(&self) -> Receiver<RingChange> {
        let (sender, receiver) = unbounded();
        *lock(&self.changes) = Some(sender);
        receiver
    }

    /// This is the policy's ring now.
    pub(super) fn see(&self, policy: PolicyIndex, ring: &Arc<Ring>) {
        let former = lock(&self.rings).insert(policy, ring.clone());
        let Some(former) = former.filter(|former| !former.is_of_same_file(ring)) else { return };
        if let Some(changes) = &*lock(&self.changes) {
            // Nobody may want to know any more.
            let _ = changes.send(RingChange { policy, former });
        }
    }
}
