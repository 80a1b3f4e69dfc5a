//! The replication policies with their rings: what a pass begins with, and what changes while it runs.
//!
//! Nobody waits for a ring: a batch keeps the view that it was made from, new batches get the newest one. A ring that
//! cannot be read any more stays in use for comparing and pushing; that its file is another one keeps every hand-off
//! from being removed (see `job/revert.rs`).

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use log::{error, info, warn};

use crate::clock::unix;
use crate::config::policies::{Policy, PolicyKind};
use crate::config::settings::Settings;
use crate::config::swift_conf::SwiftConf;
use crate::job::scope::{Overrides, Scope};
use crate::job::view::PolicyView;
use crate::locks::lock;
use crate::pass::seen_rings::SeenRings;
use crate::pass::unmatched::Known;
use crate::report::rings::RingStatus;
use crate::ring::local::Identity;
use crate::ring::store::{Refresh, RingFile};
use crate::ring::{Device, Ring, RingError};

/// Every replication policy with its ring file, in the order of `swift.conf` (B2.18).
#[derive(Debug)]
pub(crate) struct Policies {
    policies: Vec<Watched>,
    ring_ip: String,
    port: Option<i64>,
    seen: Arc<SeenRings>,
}

/// A policy and its ring file.
#[derive(Debug)]
struct Watched {
    policy: Policy,
    file: Arc<RingFile>,
    look: Mutex<LastLook>,
}

/// What came of the last look at a ring file.
#[derive(Debug, Default)]
struct LastLook {
    at: Option<SystemTime>,
    /// Since when the ring is in force.
    taken: Option<SystemTime>,
    /// What is wrong with the file, as the log was told, and since when.
    trouble: Option<(String, SystemTime)>,
}

impl Watched {
    /// Takes in the ring file if it has changed, and gives the ring to go on with. A file that cannot be read is told of
    /// when that begins, changes or is over, and not each time.
    fn look(&self, seen: &SeenRings) -> Option<Arc<Ring>> {
        let refreshed = self.file.refresh();
        let (ring, now) = (self.file.current(), SystemTime::now());
        if let (Refresh::Changed, Some(ring)) = (&refreshed, &ring) {
            seen.see(self.policy.index, ring);
        }
        let mut look = lock(&self.look);
        look.at = Some(now);
        let trouble = match refreshed {
            Refresh::Failed(error) => Some(error.to_string()),
            Refresh::Changed => {
                look.taken = Some(now);
                None
            }
            Refresh::Unchanged => None,
        };
        let before = look.trouble.take();
        if before.as_ref().map(|(error, _)| error) != trouble.as_ref() {
            let name = &self.policy.name;
            match (&trouble, &ring) {
                (Some(error), Some(_)) => {
                    error!("Policy '{name}' goes on with the ring that it had, and removes no hand-off: {error}");
                }
                (Some(error), None) => error!("Policy '{name}' is not replicated: {error}"),
                (None, _) => info!("The ring of policy '{name}' can be read again"),
            }
        }
        // The file may be missing first, and then half written: it is since the first of these that it cannot be read.
        let since = before.map_or(now, |(_, since)| since);
        look.trouble = trouble.map(|error| (error, since));
        ring
    }

    /// Reads the ring, if that was not done before.
    fn load(&self) -> Result<Arc<Ring>, RingError> {
        let ring = self.file.load()?;
        let mut look = lock(&self.look);
        let now = SystemTime::now();
        look.at.get_or_insert(now);
        look.taken.get_or_insert(now);
        Ok(ring)
    }

    /// What is known of the ring without another look.
    fn status(&self) -> RingStatus {
        let (ring, look) = (self.file.current(), lock(&self.look));
        let unusable = ring.as_ref().is_some_and(|ring| ring.next_part_power.is_some());
        RingStatus {
            policy: self.policy.index.number(),
            name: self.policy.name.clone(),
            md5: ring.as_ref().map(|ring| ring.digest.clone()),
            version: ring.as_ref().and_then(|ring| ring.version),
            modified: ring.as_ref().map(|ring| ring.modified()),
            since: look.taken.map(unix),
            is_part_power_changing: unusable,
            looked: look.at.map(unix),
            trouble: look.trouble.as_ref().map(|(error, _)| error.clone()),
            trouble_since: look.trouble.as_ref().map(|(_, since)| unix(*since)),
        }
    }
}

/// What happened to a policy's ring while a pass was running.
pub(crate) enum Change {
    /// The partitions mean other objects now, or are about to: what is left of the policy has to wait (B5.4).
    PartPower,
    /// There is a new ring; the devices that are local now but were not, and the other way round.
    Ring { view: Arc<PolicyView>, came: Vec<String>, went: Vec<String> },
}

impl Policies {
    /// The replication policies; their rings are looked for in `swift_dir`.
    pub(crate) fn new(settings: &Settings, swift_conf: &SwiftConf, seen: Arc<SeenRings>) -> Self {
        let policies = swift_conf
            .policies
            .iter()
            .filter(|policy| policy.kind == PolicyKind::Replication)
            .map(|policy| {
                let file = Arc::new(RingFile::new(settings.swift_dir.join(policy.index.ring_file())));
                Watched { policy: policy.clone(), file, look: Mutex::default() }
            })
            .collect();
        Self { policies, ring_ip: settings.ring_ip.clone(), port: settings.bind_port, seen }
    }

    /// Reads the rings, each with its outcome.
    pub(crate) fn load(&self) -> Vec<Result<Arc<Ring>, RingError>> {
        self.policies.iter().map(Watched::load).collect()
    }

    /// The rings that are in force, as the last look found them.
    pub(crate) fn rings(&self) -> Vec<RingStatus> {
        self.policies.iter().map(Watched::status).collect()
    }

    /// Tells of rings that are other ones than those which former policies went by.
    pub(crate) fn note_changes(&self) {
        for policy in &self.policies {
            policy.file.current().iter().for_each(|ring| self.seen.see(policy.policy.index, ring));
        }
    }

    /// Takes in ring files that have changed.
    pub(crate) fn refresh(&self) {
        self.policies.iter().for_each(|policy| drop(policy.look(&self.seen)));
    }

    /// Every policy as a pass begins with it, `None` where it is not replicated; the log says why.
    pub(crate) fn views(&self, scope: &Scope) -> Vec<Option<Arc<PolicyView>>> {
        match self.identity() {
            Some(identity) => self.policies.iter().map(|policy| self.view(policy, &identity, scope)).collect(),
            None => vec![None; self.policies.len()],
        }
    }

    fn identity(&self) -> Option<Identity> {
        Identity::new(&self.ring_ip, self.port)
            .inspect_err(|error| error!("Cannot find out this machine's addresses: {error}"))
            .ok()
    }

    fn view(&self, watched: &Watched, identity: &Identity, scope: &Scope) -> Option<Arc<PolicyView>> {
        let ring = watched.look(&self.seen)?;
        let Watched { policy, file, .. } = watched;
        if ring.next_part_power.is_some() {
            warn!("next_part_power set in policy '{}'. Skipping", policy.name);
            return None;
        }
        if !scope.overrides.wants_policy(policy.index) {
            return None;
        }
        let view = PolicyView::new(policy.clone(), file.clone(), ring, identity);
        if !view.local_devices().any(|device| scope.wants_device(&device.device)) {
            error!(
                "Can't find itself in policy with index {} with ips {} and with port {} in ring file, not replicating",
                policy.index,
                identity.ips().join(", "),
                self.port.map_or_else(|| "None".to_owned(), |port| port.to_string()),
            );
            return None;
        }
        Some(Arc::new(view))
    }

    /// Looks at the ring files of the policies in a running pass, and tells what has changed.
    pub(crate) fn changes(&self, views: &[Option<Arc<PolicyView>>]) -> Vec<(usize, Change)> {
        let in_use = self.policies.iter().zip(views).enumerate();
        in_use.filter_map(|(place, (policy, view))| Some((place, self.change(policy, view.as_ref()?)?))).collect()
    }

    fn change(&self, watched: &Watched, old: &PolicyView) -> Option<Change> {
        let name = &old.policy.name;
        // Another pass may have read the new ring already, so what counts is whether it is the one in use here.
        let ring = watched.look(&self.seen)?;
        if Arc::ptr_eq(&ring, &old.ring) {
            return None;
        }
        if ring.next_part_power.is_some() || ring.part_power() != old.ring.part_power() {
            warn!("The part power of policy '{name}' is being changed: what is left of it in this pass is skipped");
            return Some(Change::PartPower);
        }
        let view = PolicyView::new(old.policy.clone(), watched.file.clone(), ring, &self.identity()?);
        let (came, went) = (new_devices(old, &view), new_devices(&view, old));
        let listed = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        info!(
            "Ring change detected in policy '{name}': going on with the new ring; devices here that came: {}, went: {}",
            listed(&came),
            listed(&went)
        );
        Some(Change::Ring { view: Arc::new(view), came, went })
    }

    /// What a single pass may be restricted to that has these policies.
    pub(crate) fn known(&self, overrides: &Overrides) -> Known {
        let rings = self.policies.iter().filter_map(|policy| policy.file.current());
        let wants = |policy: &Watched| overrides.wants_policy(policy.policy.index);
        // If there is none of them, all that is here is more of a help.
        let is_any = self.policies.iter().any(wants);
        Known {
            devices: self.local_devices_of(|policy| wants(policy) || !is_any),
            policies: self.policies.iter().map(|policy| policy.policy.index.number().into()).collect(),
            partitions: rings.map(|ring| ring.partition_count().into()).max().unwrap_or_default(),
        }
    }

    /// The devices of other nodes, in all rings.
    pub(crate) fn peers(&self) -> Vec<Device> {
        let Some(identity) = self.identity() else { return Vec::new() };
        let mut peers = Vec::new();
        for ring in self.policies.iter().filter_map(|policy| policy.file.current()) {
            let local: HashSet<u32> = identity.local_devices(&ring).map(|device| device.id).collect();
            peers.extend(ring.devices.iter().flatten().filter(|device| !local.contains(&device.id)).cloned());
        }
        peers
    }

    /// The local devices of all policies, by name, each once (B5.20). `None` where it cannot be told which are local.
    pub(crate) fn local_devices(&self) -> Option<Vec<String>> {
        self.local_devices_of(|_| true)
    }

    fn local_devices_of(&self, is_wanted: impl Fn(&Watched) -> bool) -> Option<Vec<String>> {
        let identity = self.identity()?;
        let wanted = self.policies.iter().filter(|policy| is_wanted(policy));
        let rings = wanted.filter_map(|policy| policy.file.current());
        let mut names: Vec<_> = rings
            .flat_map(|ring| identity.local_devices(&ring).map(|device| device.device.clone()).collect::<Vec<_>>())
            .collect();
        names.sort_unstable();
        names.dedup();
        Some(names)
    }
}

/// Names of local devices that the new view has and the old one has not.
fn new_devices(old: &PolicyView, new: &PolicyView) -> Vec<String> {
    let is_new = |name: &str| !old.local_devices().any(|device| device.device == name);
    new.local_devices().map(|device| &device.device).filter(|name| is_new(name)).cloned().collect()
}
