//! How an operator names a peer: `10.0.0.7`, `10.0.0.7:6200`, `10.0.0.7/sdc`, `[2001:db8::7]:6200/sdc`.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A node, or a device of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PeerName {
    /// An address, or a host's name, as the ring has it.
    host: String,
    /// `None`: whichever it is.
    port: Option<u16>,
    /// `None`: all devices of the node.
    device: Option<String>,
}

/// A device of a peer by its addresses in the ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddress<'a> {
    /// Where it is asked and pushed to.
    pub replication: (&'a str, u16),
    /// Where clients find it.
    pub public: (&'a str, u16),
    pub device: &'a str,
}

/// A text that names no peer.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} names no peer: write 10.0.0.7, 10.0.0.7:6200, 10.0.0.7/sdc or [2001:db8::7]:6200/sdc")]
pub(crate) struct BadPeerName(String);

impl PeerName {
    /// Reads what an operator wrote.
    ///
    /// # Errors
    /// [`BadPeerName`] if that is no name of a peer.
    pub(crate) fn parse(text: &str) -> Result<Self, BadPeerName> {
        let bad = || BadPeerName(text.to_owned());
        let (node, device) = match text.split_once('/') {
            Some((node, device)) => (node, Some(device.to_owned())),
            None => (text, None),
        };
        let (host, port) = match node.strip_prefix('[').map(|rest| rest.split_once(']').ok_or_else(bad)).transpose()? {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(bad)?)),
            // An address of several colons is IPv6 without a port.
            None if node.matches(':').count() > 1 => (node, None),
            None => node.split_once(':').map_or((node, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|port| port.parse().map_err(|_| bad())).transpose()?;
        let is_name = |name: &str| !name.is_empty() && !name.contains(|c: char| c == '/' || c.is_whitespace());
        if !is_name(host) || device.as_deref().is_some_and(|device| !is_name(device)) {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), port, device })
    }

    /// Whether the peer's device is, or is one of, what the name stands for.
    pub(crate) fn means(&self, peer: &PeerAddress<'_>) -> bool {
        let is_there =
            |(host, port): (&str, u16)| is_same_host(&self.host, host) && self.port.is_none_or(|wanted| wanted == port);
        self.device.as_deref().is_none_or(|device| device == peer.device)
            && (is_there(peer.replication) || is_there(peer.public))
    }
}

fn is_same_host(a: &str, b: &str) -> bool {
    match (a.parse::<IpAddr>(), b.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a.eq_ignore_ascii_case(b),
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host.contains(':'), self.port) {
            (true, Some(port)) => write!(f, "[{}]:{port}", self.host)?,
            (false, Some(port)) => write!(f, "{}:{port}", self.host)?,
            (_, None) => f.write_str(&self.host)?,
        }
        self.device.iter().try_for_each(|device| write!(f, "/{device}"))
    }
}

impl TryFrom<String> for PeerName {
    type Error = BadPeerName;

    fn try_from(text: String) -> Result<Self, BadPeerName> {
        Self::parse(&text)
    }
}

impl From<PeerName> for String {
    fn from(name: PeerName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(name: &str, replication: (&str, u16), device: &str) -> bool {
        let peer = PeerAddress { replication, public: ("192.0.2.9", 6000), device };
        PeerName::parse(name).unwrap().means(&peer)
    }

    #[test]
    fn a_node_has_all_its_devices_and_ports_and_a_device_only_itself() {
        let node = ("10.0.0.7", 6200);
        for name in ["10.0.0.7", "10.0.0.7:6200", "10.0.0.7/sdc", "10.0.0.7:6200/sdc", "192.0.2.9", "192.0.2.9:6000"] {
            assert!(means(name, node, "sdc"), "{name}");
        }
        for name in ["10.0.0.8", "10.0.0.7:6201", "10.0.0.7/sdd", "10.0.0.7:6000", "10.0.0.70"] {
            assert!(!means(name, node, "sdc"), "{name}");
        }
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        let node = ("2001:db8::7", 6200);
        for name in ["2001:db8::7", "[2001:db8::7]", "[2001:0db8:0::7]:6200/sdc", "2001:DB8::7/sdc"] {
            assert!(means(name, node, "sdc"), "{name}");
        }
        assert!(means("Storage7:6200", ("storage7", 6200), "sdc"));
    }

    #[test]
    fn what_names_nobody_is_refused_and_what_names_somebody_is_shown_as_it_was() {
        for name in ["", "/sdc", "10.0.0.7/", "10.0.0.7:x", "10.0.0.7:66000", "[::1", "[::1]6200", "a b", "a/b/c"] {
            assert!(PeerName::parse(name).is_err(), "{name}");
        }
        for name in ["10.0.0.7", "10.0.0.7:6200/sdc", "[::1]:6200/sdc", "::1/sdc"] {
            assert_eq!(PeerName::parse(name).unwrap().to_string(), name);
        }
    }
}
