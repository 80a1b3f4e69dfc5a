//! Which devices of a ring are on this machine (B4).
//!
//! Swift compares texts: the addresses that this machine goes by, and the `replication_ip` of a device, brought into
//! one form first. A numeric `ring_ip` stands for itself alone, exactly as it is written. Anything else (a wildcard, a
//! host name, nothing) stands for every address of every interface.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use log::warn;

use super::{Device, Ring};
use crate::locks::lock;
use crate::resolver::{self, ResolveError};
use crate::sys;

/// How long name servers are waited for, in all: passes and reloads wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// The addresses and the port that make a device local. Made anew for each pass, since addresses come and go (B4.4).
#[derive(Debug)]
pub struct Identity {
    ips: Vec<String>,
    port: Option<i64>,
    /// Devices of one machine have one host name, and a name server that does not answer takes seconds to say so.
    resolved: Mutex<HashMap<String, Vec<String>>>,
    /// When the time to wait for name servers is over.
    deadline: Instant,
}

impl Identity {
    /// This machine by its `ring_ip`, and by its port unless every device has a server of its own (B4.1, B4.2).
    ///
    /// # Errors
    /// The system's error if the addresses of the interfaces are needed and cannot be read.
    pub fn new(ring_ip: &str, port: Option<i64>) -> io::Result<Self> {
        let ips = match sys::numeric_address(ring_ip) {
            Some(ip) if !ip.is_unspecified() => vec![ring_ip.to_owned()],
            _ => sys::interface_addresses()?.into_iter().map(text).collect(),
        };
        Ok(Self { ips, port, resolved: Mutex::default(), deadline: Instant::now() + PATIENCE })
    }

    /// The addresses of this machine, as texts.
    pub fn ips(&self) -> &[String] {
        &self.ips
    }

    /// Whether a device is on this machine, by its replication address alone (B4.2).
    ///
    /// A host name is resolved, which can take its time; it is asked for once.
    pub fn is_local(&self, device: &Device) -> bool {
        if self.port.is_some_and(|port| port != i64::from(device.replication_port)) {
            return false;
        }
        let host = device.replication_ip.as_str();
        match host.parse() {
            Ok(IpAddr::V4(_)) => self.has(host),
            Ok(IpAddr::V6(ip)) => self.has(&ipv6_text(ip)),
            Err(_) if is_host_name(host) => self.is_local_host(host),
            Err(_) => self.has(host),
        }
    }

    /// The devices of a ring that are on this machine, in the ring's order.
    pub(crate) fn local_devices<'r>(&self, ring: &'r Ring) -> impl Iterator<Item = &'r Device> {
        ring.devices.iter().flatten().filter(|device| self.is_local(device))
    }

    fn has(&self, ip: &str) -> bool {
        self.ips.iter().any(|own| own == ip)
    }

    fn is_local_host(&self, host: &str) -> bool {
        let known = |candidates: &Vec<String>| candidates.iter().any(|ip| self.has(ip));
        let resolved = || lock(&self.resolved);
        if let Some(local) = resolved().get(host).map(known) {
            return local;
        }
        let candidates = resolve(host, self.deadline);
        let local = known(&candidates);
        resolved().insert(host.to_owned(), candidates);
        local
    }
}

/// Every address of a host; none if its name cannot be resolved (B4.3). Where name servers do not answer in time, what they
/// said last: a device must not come and go with them.
fn resolve(host: &str, deadline: Instant) -> Vec<String> {
    static LAST: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());
    let mut last = lock(&LAST);
    match resolver::addresses(host, deadline) {
        Ok(addresses) => {
            let addresses: Vec<_> = addresses.into_iter().map(text).collect();
            last.insert(host.to_owned(), addresses.clone());
            addresses
        }
        Err(ResolveError::Unknown) => {
            last.remove(host);
            Vec::new()
        }
        Err(error) => {
            let former = last.get(host).cloned().unwrap_or_default();
            warn!("Cannot look up {host}, a replication_ip of the ring: {error}; {}", taken_for(&former));
            former
        }
    }
}

fn taken_for(former: &[String]) -> String {
    if former.is_empty() {
        "its devices are taken for another machine's".to_owned()
    } else {
        format!("taken for {}, as before", former.join(", "))
    }
}

/// The text of an address as `inet_ntop` writes it, which Swift uses on both sides of the comparison.
fn text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => ipv6_text(ip),
    }
}

/// As Rust writes it, but for the old IPv4-compatible addresses, of which `inet_ntop` writes the end with dots.
fn ipv6_text(ip: Ipv6Addr) -> String {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            format!("::{}", Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => ip.to_string(),
    }
}

/// Whether a text can be the name of a host: labels of letters, digits and inner hyphens (B4.3).
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (1..=255).contains(&text.len()) && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(replication_ip: &str, replication_port: u16) -> Device {
        Device { device: "sda".into(), replication_ip: replication_ip.into(), replication_port, ..Device::sample() }
    }

    fn is_local(ring_ip: &str, replication_ip: &str) -> bool {
        Identity::new(ring_ip, Some(6200)).unwrap().is_local(&device(replication_ip, 6200))
    }

    #[test]
    fn a_numeric_ring_ip_stands_for_itself_as_it_is_written() {
        for ring_ip in ["10.1.2.3", "127.1", "0:0:0:0:0:0:0:1", "::ffff:10.0.0.1", "1"] {
            assert_eq!(Identity::new(ring_ip, None).unwrap().ips(), [ring_ip]);
        }
        assert!(is_local("10.1.2.3", "10.1.2.3"));
        assert!(!is_local("10.1.2.3", "10.1.2.4"));
        assert!(!is_local("10.1.2.3", "127.0.0.1"));
    }

    #[test]
    fn wildcards_names_and_nothing_stand_for_every_address() {
        for ring_ip in ["0.0.0.0", "::", "0", "0::0", "", "localhost", "no.such.host.invalid", "a\0b"] {
            let identity = Identity::new(ring_ip, None).unwrap();
            assert!(identity.ips().contains(&"127.0.0.1".to_owned()), "{ring_ip:?}: {:?}", identity.ips());
            assert!(identity.is_local(&device("127.0.0.1", 1)));
            assert!(!identity.is_local(&device("192.0.2.1", 1)));
        }
    }

    #[test]
    fn only_the_replication_address_and_port_count() {
        let by_ip = Identity::new("127.0.0.1", Some(6200)).unwrap();
        assert!(!by_ip.is_local(&device("10.0.0.1", 6200)), "its ip is 127.0.0.1, but not its replication_ip");
        let identity = Identity::new("10.0.0.1", Some(6200)).unwrap();
        assert!(identity.is_local(&device("10.0.0.1", 6200)));
        assert!(!identity.is_local(&device("10.0.0.1", 6201)));
        assert!(Identity::new("10.0.0.1", None).unwrap().is_local(&device("10.0.0.1", 6201)), "servers per port");
        assert!(!Identity::new("10.0.0.1", Some(-1)).unwrap().is_local(&device("10.0.0.1", u16::MAX)));
    }

    #[test]
    fn a_device_ip_is_brought_into_one_form_but_ring_ip_is_not() {
        assert!(is_local("::1", "0:0:0:0:0:0:0:1"));
        assert!(is_local("fe80::a", "FE80:0::000A"));
        assert!(!is_local("0:0:0:0:0:0:0:1", "::1"));
        assert!(!is_local("0:0:0:0:0:0:0:1", "0:0:0:0:0:0:0:1"));
        assert!(is_local("::1.2.3.4", "::102:304"), "inet_ntop writes the end of such addresses with dots");
        assert!(is_local("::1", "::0001"));
    }

    #[test]
    fn a_host_name_is_every_address_that_it_resolves_to() {
        let identity = Identity::new("127.0.0.1", None).unwrap();
        for _ in 0..2 {
            assert!(identity.is_local(&device("localhost", 6200)));
            assert!(!identity.is_local(&device("no-such-host.invalid", 6200)));
        }
        assert_eq!(identity.resolved.lock().unwrap().len(), 2);
    }

    #[test]
    fn what_is_neither_address_nor_name_is_compared_as_it_is() {
        for odd in ["", "-a", "a-", "under_score", "a..b", "1.2.3.4.", "a b", "[::1]", "10.0.0.1/8"] {
            assert!(!is_local("10.0.0.1", odd), "{odd:?}");
        }
        assert!(is_host_name("a-1.example."));
        assert!(!is_host_name(&"a".repeat(64)));
        assert!(!is_host_name(&"a.".repeat(128)));
    }
}
