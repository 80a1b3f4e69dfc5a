//! Datagrams to a host that may have a name, sent without waiting.
//!
//! The name is looked up at start, and again while datagrams are sent, so that a host may move, or get its name after we
//! started. A lookup can take as long as it likes, for it has its own thread; meanwhile the last address stays good. The
//! first one is waited for, but not for long: there is no address before it has ended.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::locks::lock;

/// How long an answer is good, and how long a failed lookup is not repeated.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(5);

/// How long the first lookup is waited for.
const FIRST_LOOKUP: Duration = Duration::from_secs(1);

/// Which of a host's addresses is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preference {
    /// The first one.
    First,
    /// The first of version 4, else the first of version 6.
    Version4,
}

/// Where datagrams go.
pub(super) struct UdpTarget(Arc<Host>);

/// A host, what is known of its address, and the sockets for either version of IP that this machine has.
struct Host {
    ipv4: Option<UdpSocket>,
    ipv6: Option<UdpSocket>,
    name: String,
    port: u16,
    preference: Preference,
    /// Whether the name is an address itself, which no lookup changes.
    is_literal: bool,
    known: Mutex<Known>,
    has_looked_up: Condvar,
}

struct Known {
    address: Option<SocketAddr>,
    /// What the last lookup said, where it failed.
    failure: Option<String>,
    next_lookup: Instant,
    in_lookup: bool,
}

impl UdpTarget {
    /// Looks the host up; that it has no address yet is no error.
    pub(super) fn new(name: &str, port: u16, preference: Preference) -> Self {
        let known = Known { address: None, failure: None, next_lookup: Instant::now(), in_lookup: false };
        let host = Host {
            ipv4: socket(Ipv4Addr::UNSPECIFIED.into()),
            ipv6: socket(Ipv6Addr::UNSPECIFIED.into()),
            name: name.to_owned(),
            port,
            preference,
            is_literal: name.parse::<IpAddr>().is_ok(),
            known: Mutex::new(known),
            has_looked_up: Condvar::new(),
        };
        Self::begin(host)
    }

    fn begin(host: Host) -> Self {
        let host = Arc::new(host);
        if host.is_literal {
            host.look_up();
        } else {
            let mut known = host.known();
            host.begin_lookup(&mut known);
            let lasts = |known: &mut Known| known.in_lookup;
            drop(host.has_looked_up.wait_timeout_while(known, FIRST_LOOKUP, lasts));
        }
        Self(host)
    }

    /// Where datagrams go at the moment, if the host has an address.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.0.known().address
    }

    /// Sends a datagram, or fails at once.
    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let address = self.0.address()?;
        let socket = self.0.socket_for(&address).ok_or(io::ErrorKind::Unsupported)?;
        socket.send_to(datagram, address).map(drop)
    }
}

impl Host {
    /// The last known address; once it is old, another thread begins to look for a new one.
    fn address(self: &Arc<Self>) -> io::Result<SocketAddr> {
        let mut known = self.known();
        if !self.is_literal && !known.in_lookup && Instant::now() >= known.next_lookup {
            self.begin_lookup(&mut known);
        }
        known.address.ok_or_else(|| io::Error::other(known.failure.clone().unwrap_or_default()))
    }

    /// Begins to look for an address; if no thread can be started, the next datagram tries again.
    fn begin_lookup(self: &Arc<Self>, known: &mut Known) {
        let host = Arc::clone(self);
        known.in_lookup = thread::Builder::new().name("lookup".to_owned()).spawn(move || host.look_up()).is_ok();
    }

    fn look_up(&self) {
        let outcome = (self.name.as_str(), self.port).to_socket_addrs().map(|addresses| self.choose(addresses));
        let mut known = self.known();
        match outcome {
            Ok(Some(address)) => known.address = Some(address),
            Ok(None) => known.failure = Some("No address associated with hostname".to_owned()),
            Err(error) => {
                let text = error.to_string();
                let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
                known.failure = Some(text.to_owned());
            }
        }
        known.in_lookup = false;
        known.next_lookup = Instant::now() + LOOKUP_INTERVAL;
        self.has_looked_up.notify_all();
    }

    fn choose(&self, addresses: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
        let mut addresses: Vec<_> = addresses.filter(|address| self.socket_for(address).is_some()).collect();
        if self.preference == Preference::Version4 {
            addresses.sort_by_key(SocketAddr::is_ipv6);
        }
        addresses.first().copied()
    }

    fn socket_for(&self, address: &SocketAddr) -> Option<&UdpSocket> {
        if address.is_ipv4() { self.ipv4.as_ref() } else { self.ipv6.as_ref() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

/// A socket that never waits, if the machine has this version of IP.
fn socket(any: IpAddr) -> Option<UdpSocket> {
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_arrive_by_both_versions_of_ip() {
        for any in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let Ok(receiver) = UdpSocket::bind((any, 0)) else { continue };
            let port = receiver.local_addr().unwrap().port();
            UdpTarget::new(&any.to_string(), port, Preference::Version4).send(b"datagram").unwrap();
            receiver.set_nonblocking(true).unwrap();
            let mut buffer = [0; 100];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"datagram");
        }
    }

    #[test]
    fn version_4_is_preferred_where_asked_for_and_what_the_machine_lacks_is_not_taken() {
        let addresses: [SocketAddr; 3] =
            ["[::1]:1".parse().unwrap(), "127.0.0.1:1".parse().unwrap(), "127.0.0.2:1".parse().unwrap()];
        let chosen = |preference| UdpTarget::new("127.0.0.1", 1, preference).0.choose(addresses.into_iter()).unwrap();
        assert_eq!(chosen(Preference::First), addresses[0]);
        assert_eq!(chosen(Preference::Version4), addresses[1]);
    }

    #[test]
    fn a_name_without_an_address_is_an_error_at_each_datagram_until_a_later_lookup_finds_one() {
        let target = UdpTarget::new("no-such-host.invalid", 1, Preference::First);
        target.0.known().next_lookup = Instant::now() + Duration::from_secs(3600);
        assert!(!target.send(b"").unwrap_err().to_string().is_empty());
        assert!(!target.0.known().in_lookup, "an answer is good for a while");

        target.0.known().next_lookup = Instant::now();
        target.send(b"").unwrap_err();
        while target.0.known().in_lookup {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(target.0.known().next_lookup > Instant::now(), "it was looked up again");
    }

    #[test]
    fn an_address_that_cannot_be_found_again_stays_good() {
        let target = UdpTarget::new("no-such-host.invalid", 1, Preference::First);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        target.0.known().address = Some(address);
        target.0.look_up();
        assert_eq!(target.address(), Some(address));
    }
}
