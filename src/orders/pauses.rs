//! What is paused: everything, local devices, peers.

use serde::{Deserialize, Serialize};

use super::Order;
use super::peer_name::{PeerAddress, PeerName};

/// What can be paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Subject {
    /// All local devices.
    Everything,
    /// A local device.
    Device(String),
    /// A node, or a device of one.
    Peer(PeerName),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Device(name) => write!(f, "device {name}"),
            Self::Peer(name) => write!(f, "peer {name}"),
        }
    }
}

/// Something that is paused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pause {
    pub what: Subject,
    #[serde(flatten)]
    pub order: Order,
}

/// All that is paused.
#[derive(Debug, Default)]
pub(super) struct Pauses(Vec<Pause>);

impl Pauses {
    pub(super) fn add(&mut self, pause: Pause) {
        self.0.retain(|other| other.what != pause.what);
        self.0.push(pause);
    }

    /// Ends the pauses of these, or all if none is named.
    pub(super) fn end(&mut self, what: &[Subject]) -> Vec<Pause> {
        self.0.extract_if(.., |pause| what.is_empty() || what.contains(&pause.what)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that hold, in the order in which they came.
    pub(super) fn in_force(&self, now: f64) -> impl Iterator<Item = &Pause> {
        self.0.iter().filter(move |pause| pause.order.holds(now))
    }

    pub(super) fn of_everything(&self, now: f64) -> Option<&Pause> {
        self.in_force(now).find(|pause| pause.what == Subject::Everything)
    }

    /// The device's own pause tells more than that of everything.
    pub(super) fn of_device(&self, device: &str, now: f64) -> Option<&Pause> {
        let is_device = |pause: &&Pause| matches!(&pause.what, Subject::Device(name) if name == device);
        self.in_force(now).find(is_device).or_else(|| self.of_everything(now))
    }

    pub(super) fn of_peer(&self, peer: &PeerAddress<'_>, now: f64) -> Option<&Pause> {
        self.in_force(now).find(|pause| matches!(&pause.what, Subject::Peer(name) if name.means(peer)))
    }

    /// Takes out those whose time is over.
    pub(super) fn expire(&mut self, now: f64) -> Vec<Pause> {
        self.0.extract_if(.., |pause| !pause.order.holds(now)).collect()
    }
}
