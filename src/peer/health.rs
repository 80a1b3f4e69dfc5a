//! Which peers are worth a request now.
//!
//! A host that is down answers nothing, and every attempt waits for its time limit: 200 hand-offs for it would take
//! hours. So after [`TRIES`] attempts in a row that found no host, a peer is left alone for [`REST`]; then one attempt
//! goes through as a probe, and its outcome decides. What is left out counts as failed, so nothing is removed for it.
//! The log has a line per change of state, not per attempt.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::ring::Device;

/// Attempts in a row without a connection after which a peer is left alone.
const TRIES: u32 = 3;

/// How long it is left alone.
const REST: Duration = Duration::from_secs(30);

/// What is known of the peers that could not be reached.
#[derive(Debug, Default)]
pub struct Health {
    /// How many peers are in the map, so that a healthy cluster costs no lock.
    troubled: AtomicUsize,
    peers: Mutex<HashMap<String, Trouble>>,
}

#[derive(Debug)]
struct Trouble {
    failures: u32,
    /// While this is ahead, the peer is left alone.
    rests_until: Option<Instant>,
}

impl Health {
    /// Whether to try the peer now.
    pub fn allows(&self, peer: &Device) -> bool {
        self.allows_at(peer, Instant::now())
    }

    fn allows_at(&self, peer: &Device, now: Instant) -> bool {
        if self.troubled.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let mut peers = self.lock();
        let Some(Trouble { rests_until: Some(until), .. }) = peers.get_mut(&address(peer)) else { return true };
        if now < *until {
            return false;
        }
        // This one is the probe; the others wait for what it finds.
        *until = now + REST;
        true
    }

    /// The peer was reached.
    pub fn reached(&self, peer: &Device) {
        if self.troubled.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut peers = self.lock();
        let address = address(peer);
        if let Some(trouble) = peers.remove(&address)
            && trouble.rests_until.is_some()
        {
            info!("Peer {address} can be reached again");
        }
        self.troubled.store(peers.len(), Ordering::Relaxed);
    }

    /// No connection to the peer came about.
    pub fn not_reached(&self, peer: &Device) {
        self.not_reached_at(peer, Instant::now());
    }

    fn not_reached_at(&self, peer: &Device, now: Instant) {
        let mut peers = self.lock();
        let address = address(peer);
        let trouble = peers.entry(address.clone()).or_insert(Trouble { failures: 0, rests_until: None });
        trouble.failures += 1;
        if trouble.failures >= TRIES {
            if trouble.rests_until.is_none() {
                warn!(
                    "Peer {address} could not be reached {TRIES} times in a row; it is left alone, but for an attempt \
                     every {} s",
                    REST.as_secs()
                );
            }
            trouble.rests_until = Some(now + REST);
        }
        self.troubled.store(peers.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Trouble>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A host: its object server and its rsync daemon are down together, and so are all its devices.
fn address(peer: &Device) -> String {
    format!("{}:{}", peer.replication_ip, peer.replication_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(ip: &str) -> Device {
        Device {
            id: 0,
            region: 1,
            zone: 1,
            ip: ip.into(),
            port: 6200,
            device: "sda".into(),
            weight: 1.0,
            meta: String::new(),
            replication_ip: ip.into(),
            replication_port: 6200,
        }
    }

    #[test]
    fn a_peer_is_left_alone_after_three_failures_in_a_row_and_then_probed_by_one() {
        let (health, dead, alive) = (Health::default(), peer("10.0.0.1"), peer("10.0.0.2"));
        let now = Instant::now();
        for _ in 0..3 {
            assert!(health.allows_at(&dead, now));
            health.not_reached_at(&dead, now);
        }
        assert!(!health.allows_at(&dead, now + REST / 2));
        assert!(health.allows_at(&alive, now));
        assert!(health.allows_at(&dead, now + REST), "the probe");
        assert!(!health.allows_at(&dead, now + REST), "only one");
        health.not_reached_at(&dead, now + REST);
        assert!(!health.allows_at(&dead, now + REST * 3 / 2));
        assert!(health.allows_at(&dead, now + REST * 2));
        health.reached(&dead);
        assert!(health.allows_at(&dead, now + REST * 2));
    }

    #[test]
    fn failures_count_only_in_a_row() {
        let (health, flaky) = (Health::default(), peer("10.0.0.1"));
        for _ in 0..10 {
            health.not_reached(&flaky);
            health.not_reached(&flaky);
            assert!(health.allows(&flaky));
            health.reached(&flaky);
        }
    }
}
