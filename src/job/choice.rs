//! Partitions that are meant by what the rings say of them, and not by their numbers.

use std::sync::Arc;

use super::view::{Placement, PolicyView};
use crate::names::{Partition, PolicyIndex};
use crate::orders::peer_name::PeerName;
use crate::ring::moved::Moved;

/// What partitions have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A new ring of the policy has moved them.
    Moved { policy: PolicyIndex, moved: Arc<Moved> },
    /// They go to this peer: it has a copy, or is to have one.
    To(PeerName),
}

impl Choice {
    /// Whether the partition is meant, as far as the local device of this name has it.
    pub(crate) fn takes(&self, view: &PolicyView, disk: &str, partition: Partition) -> bool {
        match self {
            Self::Moved { policy, moved } => {
                let own = view.local_devices().filter(|device| device.device == disk);
                *policy == view.policy.index && own.into_iter().any(|device| moved.concerns(device.id, partition))
            }
            Self::To(peer) => match view.placement(disk, partition) {
                Ok(Placement::Here { others: targets } | Placement::Elsewhere { primaries: targets }) => {
                    targets.into_iter().any(|target| peer.means(&target.address()))
                }
                Ok(Placement::Nowhere) | Err(_) => false,
            },
        }
    }
}
