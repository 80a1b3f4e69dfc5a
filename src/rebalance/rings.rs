//! The rings of the replication policies, and which of their devices are this node's.

use std::fs;
use std::sync::Arc;

use crate::clock::unix;
use crate::config::policies::{Policy, PolicyKind};
use crate::config::settings::Settings;
use crate::config::swift_conf::SwiftConf;
use crate::job::view::PolicyView;
use crate::ring::local::Identity;
use crate::ring::store::RingFile;

/// The rings that can be read, and what is wrong with the others.
pub(super) struct Rings {
    pub policies: Vec<PolicyRing>,
    /// A line for each policy whose ring cannot be read, so that nothing is known of it.
    pub unreadable: Vec<String>,
    /// What to say where none of the rings' devices is this node's.
    pub nothing_here: String,
}

/// A policy with its ring.
#[derive(Clone)]
pub(super) struct PolicyRing {
    pub view: Arc<PolicyView>,
    /// When the ring file was written, as Unix time.
    pub changed: f64,
}

impl Rings {
    /// Reads the rings of all replication policies.
    ///
    /// # Errors
    /// A line that says why this machine's addresses cannot be found out, or that there is nothing to replicate.
    pub(super) fn load(settings: &Settings, swift_conf: &SwiftConf) -> Result<Self, String> {
        let identity = Identity::new(&settings.ring_ip, settings.bind_port)
            .map_err(|error| format!("cannot find out this machine's addresses: {error}"))?;
        let nothing_here = nothing_here(settings, &identity);
        let mut rings = Self { policies: Vec::new(), unreadable: Vec::new(), nothing_here };
        for policy in swift_conf.policies.iter().filter(|policy| policy.kind == PolicyKind::Replication) {
            match PolicyRing::load(settings, policy, &identity) {
                Ok(ring) => rings.policies.push(ring),
                Err(error) => rings.unreadable.push(format!("policy {}: {error}", policy.index)),
            }
        }
        match (&rings.policies[..], &rings.unreadable[..]) {
            ([], []) => Err("swift.conf has no policy that is replicated".to_owned()),
            ([], unreadable) => Err(unreadable.join("; ")),
            _ => Ok(rings),
        }
    }
}

fn nothing_here(settings: &Settings, identity: &Identity) -> String {
    let addresses = identity.ips().join(", ");
    let port = settings.bind_port.map_or_else(|| "any".to_owned(), |port| port.to_string());
    format!("no device of the rings belongs to this machine (addresses {addresses}, port {port})")
}

impl PolicyRing {
    fn load(settings: &Settings, policy: &Policy, identity: &Identity) -> Result<Self, String> {
        let path = settings.swift_dir.join(policy.index.ring_file());
        let file = Arc::new(RingFile::new(&path));
        let ring = file.load().map_err(|error| error.to_string())?;
        let changed = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let changed = changed.map(unix).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { view: Arc::new(PolicyView::new(policy.clone(), file, ring, identity)), changed })
    }

    /// The policy's index.
    pub(super) fn index(&self) -> u32 {
        self.view.policy.index.number()
    }

    /// The names of this node's devices in the ring, each once.
    pub(super) fn local_devices(&self) -> Vec<String> {
        let mut names: Vec<_> = self.view.local_devices().map(|device| device.device.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
