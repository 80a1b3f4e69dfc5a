//! Finds the partitions of this node that are to go before all else.
//!
//! What somebody asks for is settled with the rings first, which makes [`Overrides`] of it: that is all that a single pass
//! needs. For passes that run, the devices are looked at then, for an answer has to say what is here. They are looked at side
//! by side, on threads that may hang with their device: nobody waits for them longer than a while, and a device that is
//! known to hang is left alone.

mod found;
mod refused;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use log::{error, info};

use super::policies::Policies;
use super::seen_rings::RingChange;
use crate::bounded;
use crate::config::settings::Settings;
use crate::device::mount::check_drive;
use crate::job::choice::Choice;
use crate::job::scope::{Overrides, Scope};
use crate::job::view::PolicyView;
use crate::locks::lock;
use crate::names::{Partition, PolicyIndex};
use crate::orders::Order;
use crate::orders::first::{First, Key, Looked};
use crate::orders::peer_name::PeerName;
use crate::ring::Ring;
use crate::ring::moved::Moved;
use found::{Found, listed_numbers};
pub(crate) use refused::Refused;

/// How long a device may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same where nobody waits for the answer.
const LONG_PATIENCE: Duration = Duration::from_secs(600);
/// So many devices are looked at at a time.
const AT_A_TIME: usize = 16;

/// What is to go first, as somebody asks for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// The partitions with the overrides' numbers.
    Named,
    /// What has moved since this was the ring.
    MovedSince(PathBuf),
    /// What goes to this peer.
    To(PeerName),
}

/// Looks for partitions by the configuration that is in force.
pub(crate) struct Finder {
    policies: Arc<Policies>,
    devices: PathBuf,
    mount_check: bool,
    moved_first: bool,
    /// The devices at which somebody is looking.
    looks: Arc<Mutex<HashSet<String>>>,
}

/// The finder that is in force, for those who outlive a configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct FinderInForce(Arc<Mutex<Option<Arc<Finder>>>>);

impl FinderInForce {
    /// The one that is in force, once there is any.
    pub(crate) fn get(&self) -> Option<Arc<Finder>> {
        lock(&self.0).clone()
    }

    pub(super) fn put(&self, finder: Finder) {
        *lock(&self.0) = Some(Arc::new(finder));
    }
}

impl std::fmt::Debug for Finder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finder").field("devices", &self.devices).finish_non_exhaustive()
    }
}

impl Finder {
    pub(super) fn new(settings: &Settings, policies: Arc<Policies>) -> Self {
        let Settings { devices, mount_check, moved_first, .. } = settings;
        let (devices, mount_check, moved_first) = (devices.clone(), *mount_check, *moved_first);
        Self { policies, devices, mount_check, moved_first, looks: Arc::default() }
    }

    /// Makes a restriction of what somebody asks for.
    ///
    /// # Errors
    /// [`Refused`] if it cannot be told which partitions those are.
    pub(crate) fn settle(&self, what: &What, overrides: Overrides) -> Result<Overrides, Refused> {
        let choice = match what {
            What::Named => return Ok(overrides),
            What::MovedSince(path) => self.moved_since(path, overrides.policies.as_deref())?,
            What::To(peer) => self.to(peer)?,
        };
        let policies = match &choice {
            Choice::Moved { policy, .. } => Some(vec![policy.number().into()]),
            Choice::To(_) => overrides.policies,
        };
        Ok(Overrides { policies, choice: Some(choice), ..overrides })
    }

    fn moved_since(&self, path: &Path, policies: Option<&[u64]>) -> Result<Choice, Refused> {
        let policy = self.policy_of(path, policies)?;
        let view = self.views(&Overrides::default()).into_iter().find(|view| view.policy.index == policy);
        let view = view.ok_or(Refused::NotReplicated(policy))?;
        let former = Ring::load(path)?;
        moved(policy, &former, &view).map_err(|why| Refused::NotFormer { path: path.to_owned(), why })
    }

    /// The policy of a former ring: the one that was asked for, or that the file's name tells, or the only one.
    fn policy_of(&self, path: &Path, asked: Option<&[u64]>) -> Result<PolicyIndex, Refused> {
        let known = self.policies.known(&Overrides::default()).policies;
        let named = policy_by_name(path);
        let number = match (asked, named) {
            (Some([asked]), Some(named)) if *asked != named => {
                return Err(Refused::OtherPolicy { path: path.to_owned(), named, asked: *asked });
            }
            (Some([asked]), _) => *asked,
            (Some(_), _) => return Err(Refused::OnePolicy),
            (None, Some(named)) => named,
            (None, None) => match known[..] {
                [only] => only,
                _ => return Err(Refused::WhichPolicy { path: path.to_owned() }),
            },
        };
        let index = u32::try_from(number).ok().filter(|_| known.contains(&number));
        index.map(PolicyIndex::new).ok_or(Refused::UnknownPolicy { number, known })
    }

    fn to(&self, peer: &PeerName) -> Result<Choice, Refused> {
        let views = self.views(&Overrides::default());
        let mut devices = views.iter().flat_map(|view| view.ring.devices.iter().flatten());
        match devices.any(|device| peer.means(&device.address())) {
            true => Ok(Choice::To(peer.clone())),
            false => Err(Refused::NoSuchPeer(peer.clone())),
        }
    }

    fn views(&self, overrides: &Overrides) -> Vec<Arc<PolicyView>> {
        let scope = Scope { overrides: Arc::new(overrides.clone()), share: None };
        self.policies.views(&scope).into_iter().flatten().collect()
    }

    /// What of the restriction is not there, in a line for each option.
    pub(crate) fn unmatched(&self, overrides: &Overrides) -> Vec<String> {
        self.policies.known(overrides).unmatched(overrides)
    }

    /// Looks which of these partitions the devices here have. `hanging` are devices that are known to hang.
    pub(crate) fn find(&self, overrides: &Overrides, hanging: &[String], patience: Duration) -> Found {
        let mut found = Found::default();
        let mut jobs: Vec<bounded::Job<Result<Vec<Key>, String>>> = Vec::new();
        let mut disks = Vec::new();
        let views = self.views(overrides);
        for disk in disks_of(&views, overrides) {
            let is_looked_at = || !lock(&self.looks).insert(disk.clone());
            if hanging.contains(&disk) || is_looked_at() {
                found.trouble.push(format!("{disk} hangs, so it cannot be told what it has"));
                continue;
            }
            let views: Vec<_> = views.iter().filter(|view| view.has_disk(&disk)).cloned().collect();
            let (devices, mount_check, looks) = (self.devices.clone(), self.mount_check, self.looks.clone());
            let (overrides, name) = (overrides.clone(), disk.clone());
            jobs.push(Box::new(move || {
                let listed = check_drive(&devices, &name, mount_check)
                    .map_err(|unusable| unusable.to_string())
                    .and_then(|device| list(&device, &name, &views, &overrides));
                lock(&looks).remove(&name);
                listed
            }));
            disks.push(disk);
        }
        for (disk, listed) in disks.into_iter().zip(bounded::run(jobs, AT_A_TIME, patience)) {
            match listed {
                Some(Ok(keys)) if keys.is_empty() => {}
                Some(Ok(keys)) => found.devices.push((disk, keys)),
                Some(Err(trouble)) => found.trouble.push(trouble),
                None => found.trouble.push(format!("{disk} has not said within {patience:?} what it has")),
            }
        }
        found
    }

    /// Looks for what somebody asks for, and lets it go first by the order with this number. That takes as long as devices
    /// and the disk of a former ring take to answer.
    pub(crate) fn carry_out(&self, what: &What, asked: Overrides, hanging: &[String], first: &First, number: u64) {
        let overrides = match self.settle(what, asked) {
            Ok(overrides) => overrides,
            Err(refused) => return first.refuse(number, refused.to_string()),
        };
        let mut lines: Vec<_> =
            self.unmatched(&overrides).into_iter().map(|line| format!("Nothing matches {line}")).collect();
        let found = self.find(&overrides, hanging, PATIENCE);
        let is_nothing = *what == What::Named && found.total() == 0;
        let is_doubtful = is_nothing || !lines.is_empty() || !found.trouble.is_empty();
        lines.insert(0, found.line_about(&overrides));
        lines.extend(found.trouble);
        first.found(number, found.devices, Looked { lines, is_doubtful });
    }

    /// If that is configured, lets what a change of ring has moved go first.
    pub(crate) fn ring_changed(&self, change: &RingChange, first: &First, hanging: &[String], now: f64) {
        let RingChange { policy, former } = change;
        let policies = Some(vec![policy.number().into()]);
        let overrides = Overrides { policies, ..Overrides::default() };
        let views = if self.moved_first { self.views(&overrides) } else { Vec::new() };
        let Some(view) = views.first() else { return };
        let choice = match moved(*policy, former, view) {
            Ok(choice) => choice,
            Err(why) => {
                return error!("What the new ring of policy {policy} moved does not go first: the former ring: {why}");
            }
        };
        let overrides = Overrides { choice: Some(choice), ..overrides };
        let found = self.find(&overrides, hanging, LONG_PATIENCE);
        for trouble in &found.trouble {
            error!("What the new ring of policy {policy} moved cannot all go first: {trouble}");
        }
        info!("The new ring of policy {policy}: {}", found.line_about(&overrides));
        if found.total() > 0 {
            let order = Order { by: "moved_first".to_owned(), since: now, ..Order::default() };
            let number = first.announce(format!("what the new {} moved", policy.ring_file()), order);
            first.found(number, found.devices, Looked::default());
        }
    }
}

/// What an order asks for, in a few words.
pub(crate) fn in_words(what: &What, asked: &Overrides) -> String {
    let text = match what {
        What::Named => format!("partitions {}", listed_numbers(asked.partitions.as_deref().unwrap_or_default())),
        What::MovedSince(path) => format!("what moved since {}", path.display()),
        What::To(peer) => format!("what goes to {peer}"),
    };
    let policies = asked.policies.iter().map(|policies| format!(", of policies {}", listed_numbers(policies)));
    let devices = asked.devices.iter().map(|devices| format!(", on {}", devices.join(",")));
    [text].into_iter().chain(policies).chain(devices).collect()
}

fn moved(policy: PolicyIndex, former: &Ring, view: &PolicyView) -> Result<Choice, crate::ring::moved::NotFormer> {
    let here: Vec<_> = view.local_devices().map(|device| device.id).collect();
    let moved = Moved::between(former, &view.ring, &here)?;
    Ok(Choice::Moved { policy, moved: Arc::new(moved) })
}

/// The names of the local devices that are asked for, each once.
fn disks_of(views: &[Arc<PolicyView>], overrides: &Overrides) -> Vec<String> {
    let local = views.iter().flat_map(|view| view.local_devices()).map(|device| &device.device);
    let mut disks: Vec<_> = local.filter(|name| overrides.wants_device(name)).cloned().collect();
    disks.sort_unstable();
    disks.dedup();
    disks
}

/// The policy of which a file of this name is the ring, as Swift names it, with whatever a backup has before it.
fn policy_by_name(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".ring.gz")?;
    match name.rsplit('.').next()?.strip_prefix("object")? {
        "" => Some(0),
        rest => rest.strip_prefix('-')?.parse().ok(),
    }
}

/// The partitions of a device that are meant.
fn list(device: &Path, disk: &str, views: &[Arc<PolicyView>], overrides: &Overrides) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for view in views {
        let policy = view.policy.index;
        let datadir = device.join(policy.datadir());
        let partitions = match &overrides.partitions {
            Some(numbers) => named(&datadir, numbers),
            None => listed(&datadir).map_err(|error| format!("Cannot list {}: {error}", datadir.display()))?,
        };
        let is_meant = |partition: &Partition| match &overrides.choice {
            Some(choice) => choice.takes(view, disk, *partition),
            None => true,
        };
        keys.extend(partitions.into_iter().filter(is_meant).map(|partition| (policy, partition)));
    }
    Ok(keys)
}

/// Those with these numbers, each once.
fn named(datadir: &Path, numbers: &[u64]) -> Vec<Partition> {
    let mut numbers: Vec<_> = numbers.iter().filter_map(|number| u32::try_from(*number).ok()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.into_iter().filter(|number| datadir.join(number.to_string()).is_dir()).map(Partition::new).collect()
}

/// All of a folder; a pass passes over what is no folder.
fn listed(datadir: &Path) -> std::io::Result<Vec<Partition>> {
    let entries = match std::fs::read_dir(datadir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut partitions = Vec::new();
    for entry in entries {
        partitions.extend(Partition::from_dir_name(&entry?.file_name()));
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests;
