//! Why it cannot be told which partitions are to go first.

use std::path::PathBuf;

use thiserror::Error;

use crate::names::PolicyIndex;
use crate::orders::peer_name::PeerName;
use crate::ring::RingError;
use crate::ring::moved::NotFormer;

/// Why it cannot be told which partitions are meant: one line.
#[derive(Debug, Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error("{} is no former state of the ring: {why}", path.display())]
    NotFormer { path: PathBuf, why: NotFormer },
    #[error("{} is a ring of policy {named}, by its name, and policy {asked} was asked for", path.display())]
    OtherPolicy { path: PathBuf, named: u64, asked: u64 },
    #[error("the name of {} does not tell of which policy it is the ring: name the policy with --policies", path.display())]
    WhichPolicy { path: PathBuf },
    #[error("--policies must name one policy, for a ring is of one only")]
    OnePolicy,
    #[error("there is no policy {number} that is replicated; those are {}", listed(known))]
    UnknownPolicy { number: u64, known: Vec<u64> },
    #[error("policy {0} is not replicated on this node now")]
    NotReplicated(PolicyIndex),
    #[error("no device of the rings is {0}")]
    NoSuchPeer(PeerName),
}

fn listed(numbers: &[u64]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
}
