//! Peers that cannot be reached are left alone for a while.
//!
//! A dead node costs every request to it the time to connect, and every push half a minute. So after three failures in a
//! row nothing is asked of it for 30 s; then one request is let through, and what becomes of that decides how it goes
//! on. What is skipped has failed for whoever wanted it; the log gets one line when a peer goes, and one when it is back.
//!
//! A node has several services, of which one may be dead while another works. So whoever talks to a service has its own
//! [`Outages`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::authority;
use crate::ring::Device;

/// How many failures in a row it takes.
const FAILURES: u32 = 3;
/// For how long a peer is left alone.
const REST: Duration = Duration::from_secs(30);

/// At which peers a service cannot be reached; to be shared by all threads.
#[derive(Debug)]
pub struct Outages {
    /// What stands before the peer in the log.
    service: &'static str,
    rest: Duration,
    /// How many peers are in trouble, so that nobody need lock anything while none is.
    count: AtomicUsize,
    peers: Mutex<HashMap<String, Trouble>>,
}

#[derive(Debug, Default)]
struct Trouble {
    failures: u32,
    /// Until when the peer is left alone, if it failed often enough.
    rests_until: Option<Instant>,
}

impl Default for Outages {
    fn default() -> Self {
        Self::of("")
    }
}

impl Outages {
    /// No outages yet of a service, which the log calls by these words before the peer's address.
    pub fn of(service: &'static str) -> Self {
        Self { service, rest: REST, count: AtomicUsize::new(0), peers: Mutex::default() }
    }

    /// Whether the device's node is left alone just now. Unlike [`may_ask`](Self::may_ask) this is no promise to ask.
    pub fn is_resting(&self, to: &Device) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let rests_until = self.peers().get(&authority(to)).and_then(|trouble| trouble.rests_until);
        rests_until.is_some_and(|end| Instant::now() < end)
    }

    /// Whether anything may be asked of the device's node now.
    ///
    /// After a rest only the first one who asks this gets a yes, and the node rests on for the others.
    pub fn may_ask(&self, to: &Device) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let mut peers = self.peers();
        let Some(rests_until) = peers.get_mut(&authority(to)).and_then(|trouble| trouble.rests_until.as_mut()) else {
            return true;
        };
        let now = Instant::now();
        let is_over = *rests_until <= now;
        if is_over {
            *rests_until = now + self.rest;
        }
        is_over
    }

    /// Notes that the device's node was reached, whatever it said.
    pub fn reached(&self, to: &Device) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut peers = self.peers();
        let peer = authority(to);
        let former = peers.remove(&peer);
        self.count.store(peers.len(), Ordering::Relaxed);
        drop(peers);
        if former.is_some_and(|trouble| trouble.rests_until.is_some()) {
            log::info!("{}{peer} is reached again", self.service);
        }
    }

    /// Notes that the device's node took a connection, and then did not answer.
    pub fn unanswered(&self, to: &Device) {
        // per device
        self.unreachable(to);
    }

    /// Notes that no connection to the device's node came about.
    pub fn unreachable(&self, to: &Device) {
        let peer = authority(to);
        let mut peers = self.peers();
        let trouble = peers.entry(peer.clone()).or_default();
        trouble.failures = trouble.failures.saturating_add(1);
        let goes = trouble.failures >= FAILURES && trouble.rests_until.is_none();
        if trouble.failures >= FAILURES {
            trouble.rests_until = Some(Instant::now() + self.rest);
        }
        self.count.store(peers.len(), Ordering::Relaxed);
        drop(peers);
        if goes {
            let (service, rest) = (self.service, self.rest.as_secs());
            log::error!("{service}{peer} cannot be reached: it is left alone, but for one attempt every {rest}s");
        }
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<String, Trouble>> {
        // Nothing in here leaves the map half changed.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn device(ip: &str) -> Device {
        Device { replication_ip: ip.into(), ..Device::sample() }
    }

    #[test]
    fn three_failures_in_a_row_give_a_rest_to_all_of_the_node() {
        let (outages, dead, other) = (Outages::default(), device("10.0.0.1"), device("10.0.0.2"));
        for _ in 0..2 {
            outages.unreachable(&dead);
            assert!(outages.may_ask(&dead));
        }
        outages.unreachable(&dead);
        let same_node = Device { device: "sdc".into(), ..dead.clone() };
        assert!(!outages.may_ask(&dead) && !outages.may_ask(&same_node) && outages.may_ask(&other));
        assert!(outages.is_resting(&same_node) && !outages.is_resting(&other));
    }

    #[test]
    fn failures_with_success_between_them_give_no_rest() {
        let (outages, flaky) = (Outages::default(), device("10.0.0.1"));
        for _ in 0..5 {
            outages.unreachable(&flaky);
            outages.unreachable(&flaky);
            outages.reached(&flaky);
        }
        assert!(outages.may_ask(&flaky));
    }

    #[test]
    fn after_a_rest_one_attempt_decides() {
        let outages = Outages { rest: Duration::from_secs(1), ..Outages::default() };
        let dead = device("10.0.0.1");
        for _ in 0..FAILURES {
            outages.unreachable(&dead);
        }
        while outages.is_resting(&dead) {
            thread::sleep(Duration::from_millis(20));
        }
        assert!(!outages.is_resting(&dead), "who only looks takes nobody's attempt");
        while !outages.may_ask(&dead) {
            thread::sleep(Duration::from_millis(20));
        }
        assert!(!outages.may_ask(&dead), "one attempt, and no more");
        outages.unreachable(&dead);
        assert!(!outages.may_ask(&dead), "it failed");
        outages.reached(&dead);
        assert!(outages.may_ask(&dead) && outages.may_ask(&dead), "it is back");
    }
}
