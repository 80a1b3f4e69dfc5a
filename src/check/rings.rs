//! The rings, and which of their devices are this machine's.

use std::sync::Arc;
use std::time::Duration;

use super::finding::Finding;
use crate::bounded::{self, Job};
use crate::config::policies::{Policy, PolicyKind};
use crate::config::settings::Settings;
use crate::config::swift_conf::SwiftConf;
use crate::ring::local::Identity;
use crate::ring::{Device, Ring};

/// Host names in a ring are looked up, and a name server may hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A replication policy's ring.
#[derive(Debug)]
pub(super) struct PolicyRing {
    pub policy: Policy,
    pub ring: Arc<Ring>,
    /// The ids of the devices that are this machine's.
    pub local: Vec<u32>,
}

impl PolicyRing {
    /// The devices that are this machine's.
    pub(super) fn local_devices(&self) -> impl Iterator<Item = &Device> {
        self.ring.devices.iter().flatten().filter(|device| self.local.contains(&device.id))
    }
}

/// Reads the rings of all replication policies; those that can be used.
pub(super) fn load(settings: &Settings, swift_conf: &SwiftConf, findings: &mut Vec<Finding>) -> Vec<PolicyRing> {
    let identity = match Identity::new(&settings.ring_ip, settings.bind_port) {
        Ok(identity) => Arc::new(identity),
        Err(error) => {
            findings.push(Finding::error("addresses", format!("cannot find out this machine's addresses: {error}")));
            return Vec::new();
        }
    };
    findings.extend(foreign_ring_ip(settings));
    let policies: Vec<_> = swift_conf.policies.iter().filter(|p| p.kind == PolicyKind::Replication).cloned().collect();
    let subjects: Vec<_> = policies.iter().map(|policy| format!("ring {}", policy.index.ring_file())).collect();
    let jobs = policies.into_iter().map(|policy| {
        let (identity, path) = (identity.clone(), settings.swift_dir.join(policy.index.ring_file()));
        Box::new(move || {
            let ring = Ring::load(&path)?;
            let local = identity.local_devices(&ring).map(|device| device.id).collect();
            Ok(PolicyRing { policy, ring: Arc::new(ring), local })
        }) as Job<_>
    });
    let mut rings = Vec::new();
    for (subject, read) in subjects.into_iter().zip(bounded::run(jobs.collect(), 4, PATIENCE)) {
        match read {
            Some(Ok(ring)) => {
                findings.push(judge(subject, &ring, settings, &identity));
                rings.push(ring);
            }
            Some(Err(error)) => findings.push(Finding::error(subject, crate::ring::RingError::to_string(&error))),
            None => findings.push(Finding::error(subject, hanging())),
        }
    }
    rings
}

fn hanging() -> String {
    format!("could not be read, and its devices' hosts not be looked up, within {}s", PATIENCE.as_secs())
}

fn judge(subject: String, ring: &PolicyRing, settings: &Settings, identity: &Identity) -> Finding {
    let local: Vec<_> = ring.local_devices().map(|device| device.device.as_str()).collect();
    let PolicyRing { policy, ring, .. } = ring;
    if ring.next_part_power.is_some() {
        return Finding::warning(subject, "its part power is being raised: the policy is not replicated meanwhile");
    }
    if local.is_empty() {
        return Finding::error(subject, nothing_here(ring, settings, identity));
    }
    let devices = ring.devices.iter().flatten().count();
    let text = format!(
        "policy {}: {} partitions, {} replicas, {devices} devices, of which here: {}",
        policy.name,
        ring.partition_count(),
        ring.replica_count(),
        local.join(", ")
    );
    Finding::ok(subject, text)
}

/// Why none of the ring's devices is this machine's, as far as that can be seen.
fn nothing_here(ring: &Ring, settings: &Settings, identity: &Identity) -> String {
    let addresses = identity.ips().join(", ");
    let port = settings.bind_port.map_or_else(|| "any".to_owned(), |port| port.to_string());
    let mut other_ports: Vec<_> = Identity::new(&settings.ring_ip, None).map_or_else(
        |_| Vec::new(),
        |any_port| any_port.local_devices(ring).map(|device| device.replication_port).collect(),
    );
    other_ports.sort_unstable();
    other_ports.dedup();
    let hint = match &other_ports[..] {
        [] => String::new(),
        ports => {
            let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            format!("; but there are devices here with port {ports}: is bind_port right?")
        }
    };
    format!("none of its devices belongs to this machine (addresses {addresses}, port {port}){hint}")
}

/// A `ring_ip` that this machine does not have.
fn foreign_ring_ip(settings: &Settings) -> Option<Finding> {
    let own = Identity::new("", None).ok()?;
    let ip: std::net::IpAddr = settings.ring_ip.parse().ok()?;
    // All of 127.0.0.0/8 is here, though only one of it stands at an interface.
    let foreign = !ip.is_unspecified() && !ip.is_loopback() && !own.ips().contains(&settings.ring_ip);
    foreign.then(|| {
        let text =
            format!("ring_ip or bind_ip is {}, but this machine has only {}", settings.ring_ip, own.ips().join(", "));
        Finding::warning("addresses", text)
    })
}
