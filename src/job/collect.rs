//! A lane's first job: look whether the device can be used, tidy it, and list its partitions (B5.7-B5.11).
//!
//! It runs in a worker like any other job, so that a device that hangs holds up nobody but itself.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use log::{error, warn};
use rustix::fs::statvfs;

use super::copies::Rank;
use super::scope::Overrides;
use super::slot::{Slot, Step};
use super::tally::Tally;
use super::view::{Placement, PolicyView};
use super::work::Tools;
use crate::cause::Cause;
use crate::clock::unix;
use crate::device::mount::check_drive;
use crate::device::tmp::unlink_older_than;
use crate::names::{Partition, PolicyIndex};
use crate::report::holding::Holding;
use crate::ring::Device;

/// Looks at one local device under all policies that have it.
pub(crate) struct Collect {
    pub disk: Arc<str>,
    /// Partitions of the device that took long in the last pass.
    pub slow: Vec<(PolicyIndex, Partition)>,
    /// The policies in whose rings the device is, each with its place in the pass's list.
    pub views: Vec<(usize, Arc<PolicyView>)>,
    pub overrides: Arc<Overrides>,
}

/// Partitions of one policy on one device that are handled alike.
#[derive(Debug)]
pub(crate) struct Queue {
    /// The policy's place in the pass's list.
    pub policy: usize,
    /// Whether the partitions belong elsewhere, as far as the ring said when they were listed.
    pub reverts: bool,
    /// Whether each of them is a job of its own.
    pub alone: bool,
    /// How much in danger they are, if they are known to be.
    pub rank: Option<Rank>,
    /// How many there were.
    pub whole: usize,
    /// Those that are left: neighbours have targets in common, where there are many to choose from, and are in random
    /// order otherwise.
    pub partitions: Vec<Partition>,
}

impl Queue {
    /// A queue of all of these, in the order in which they come.
    pub(crate) fn new(policy: usize, reverts: bool, alone: bool, partitions: Vec<Partition>) -> Self {
        Self { policy, reverts, alone, rank: None, whole: partitions.len(), partitions }
    }

    /// Lets these have their turn before the rest: partitions are taken from the end.
    pub(crate) fn begin_with(&mut self, policy: PolicyIndex, first: &HashSet<(PolicyIndex, Partition)>) {
        self.partitions.sort_by_key(|&partition| first.contains(&(policy, partition)));
    }
}

/// What the job found.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub queues: Vec<Queue>,
    /// Files where partitions should be; they are removed, and were part of what there was to do (B5.13).
    pub files: u64,
    /// How full the device is, in per cent, if that can be told.
    pub used: Option<f64>,
    /// Why nothing could be listed under some policy, if so.
    pub trouble: Option<String>,
}

/// Does the job: what there is to do on the device, and what was counted on the way.
pub(crate) fn run(collect: &Collect, tools: &Tools, slot: &Slot) -> (Collected, Tally) {
    let mut tally = Tally::default();
    let mut collected = Collected::default();
    for (policy, view) in &collect.views {
        slot.step(None, Step::CheckingDrive, None);
        let device = match check_drive(&tools.devices, &collect.disk, tools.mount_check) {
            Ok(device) => device,
            Err(unusable) => {
                warn!("{unusable}");
                tally.holding(view.policy.index).trouble = Some(unusable.to_string());
                tally.fail(view.ring.devices.iter().flatten());
                tally.counts.fail(Cause::Local);
                collected.trouble = Some(unusable.to_string());
                continue;
            }
        };
        collected.used = used(&device);
        slot.step(None, Step::Listing, None);
        tidy(&device.join(view.policy.index.tmpdir()), tools);
        let datadir = device.join(view.policy.index.datadir());
        match list(&datadir, collect, view, tools, &mut tally) {
            Ok(found) => {
                found.count(tally.holding(view.policy.index), view);
                collected.files += found.files;
                collected.queues.extend(found.into_queues(*policy, view.policy.index, &collect.slow));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Found::default().count(tally.holding(view.policy.index), view);
                create(&datadir, tools);
            }
            Err(error) => {
                let trouble = format!("Cannot list the partitions in {}: {error}", datadir.display());
                error!("{trouble}");
                tally.holding(view.policy.index).trouble = Some(trouble.clone());
                tally.fail(view.ring.devices.iter().flatten());
                tally.counts.fail(Cause::Local);
                collected.trouble = Some(trouble);
            }
        }
    }
    (collected, tally)
}

/// How full a device is for others than root, in per cent, as recon has it.
fn used(device: &Path) -> Option<f64> {
    let room = statvfs(device).ok().filter(|room| room.f_blocks > 0)?;
    Some(room.f_blocks.saturating_sub(room.f_bavail) as f64 / room.f_blocks as f64 * 100.0)
}

fn tidy(tmp: &Path, tools: &Tools) {
    if let Err(error) = unlink_older_than(tmp, tools.reclaim_age, tools.writes) {
        error!("Cannot remove old files from {}: {error}", tmp.display());
    }
}

/// Makes a missing datadir; peers can push to the device only once it is there. Only the last folder is made: should
/// the device have gone away, the folder of another file system must not be filled.
fn create(datadir: &Path, tools: &Tools) {
    if let Err(error) = tools.writes.create_folder(datadir) {
        error!("ERROR creating {}: {error}", datadir.display());
    }
}

#[derive(Default)]
struct Found {
    updates: Vec<Placed>,
    reverts: Vec<Placed>,
    /// Those of the updates that the ring gives to nobody.
    unplaced: u64,
    files: u64,
}

/// A partition, and what it has in common with others: the first two of its targets, in an order of the moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    targets: (u32, u32),
    partition: Partition,
}

/// An order of devices that is another one in each pass.
struct Shuffled(u32);

impl Shuffled {
    fn new() -> Self {
        // Multiplying by an odd number leaves no two alike.
        Self(fastrand::u32(..) | 1)
    }

    fn place(&self, partition: Partition, targets: &[&Device]) -> Placed {
        let (mut first, mut second) = (u32::MAX, u32::MAX);
        for target in targets {
            let rank = target.id.wrapping_add(1).wrapping_mul(self.0);
            (first, second) = (first.min(rank), second.min(rank.max(first)));
        }
        Placed { targets: (first, second), partition }
    }
}

impl Found {
    /// Notes how many there are, and by which ring that was told.
    fn count(&self, holding: &mut Holding, view: &PolicyView) {
        let (updates, handoffs) = (self.updates.len() as u64, self.reverts.len() as u64);
        holding.listed = unix(SystemTime::now());
        holding.ring.clone_from(&view.ring.digest);
        holding.partitions = updates + handoffs;
        holding.primaries = updates.saturating_sub(self.unplaced);
        holding.handoffs = handoffs;
    }

    fn into_queues(
        self,
        policy: usize,
        index: PolicyIndex,
        slow: &[(PolicyIndex, Partition)],
    ) -> impl Iterator<Item = Queue> {
        let is_slow = move |placed: &Placed| slow.contains(&(index, placed.partition));
        [(true, self.reverts), (false, self.updates)]
            .into_iter()
            .flat_map(move |(reverts, placed)| {
                let (alone, together): (Vec<_>, Vec<_>) = match slow {
                    [] => (Vec::new(), placed),
                    _ => placed.into_iter().partition(is_slow),
                };
                [(true, alone), (false, together)]
                    .map(|(alone, placed)| Queue::new(policy, reverts, alone, by_targets(placed)))
            })
            .filter(|queue| !queue.partitions.is_empty())
    }
}

/// Partitions with targets in common next to each other, in random order otherwise.
fn by_targets(mut placed: Vec<Placed>) -> Vec<Partition> {
    fastrand::shuffle(&mut placed);
    placed.sort_unstable_by_key(|placed| placed.targets);
    placed.iter().map(|placed| placed.partition).collect()
}

fn list(datadir: &Path, collect: &Collect, view: &PolicyView, tools: &Tools, tally: &mut Tally) -> io::Result<Found> {
    let mut found = Found::default();
    let devices = Shuffled::new();
    for entry in fs::read_dir(datadir)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_left_out(&name, &collect.overrides) {
            continue;
        }
        match Partition::from_dir_name(&name) {
            Some(partition) if !is_chosen(partition, collect, view) => {}
            Some(_) if is_file(&entry) => {
                found.files += 1;
                warn!("Removing partition directory which was a file: {}", entry.path().display());
                // One that cannot be removed is met again in the next pass.
                let _ = tools.writes.remove_file(&entry.path());
            }
            Some(partition) => match view.placement(&collect.disk, partition) {
                Ok(Placement::Elsewhere { primaries }) => found.reverts.push(devices.place(partition, &primaries)),
                Ok(Placement::Here { others }) => found.updates.push(devices.place(partition, &others)),
                // What the ring does not have is met again, and told, when its turn comes.
                Ok(Placement::Nowhere) | Err(_) => {
                    found.unplaced += 1;
                    found.updates.push(devices.place(partition, &[]));
                }
            },
            // Counted as the reference does, and never touched (B5.11).
            None => {
                tally.fail(view.ring.devices.iter().flatten());
                tally.counts.fail(Cause::Ring);
            }
        }
    }
    Ok(found)
}

fn is_chosen(partition: Partition, collect: &Collect, view: &PolicyView) -> bool {
    collect.overrides.choice.as_ref().is_none_or(|choice| choice.takes(view, &collect.disk, partition))
}

/// A partition must be a folder; regular files in such a place come from broken file systems, and are mostly empty.
fn is_file(entry: &fs::DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => fs::metadata(entry.path()).is_ok_and(|target| target.is_file()),
        kind => kind.is_ok_and(|kind| kind.is_file()),
    }
}

fn is_left_out(name: &OsStr, overrides: &Overrides) -> bool {
    let name = name.as_bytes();
    let not_asked_for = overrides.partitions.as_ref().is_some_and(|wanted| {
        name.iter().all(u8::is_ascii_digit)
            && !std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()).is_some_and(|n| wanted.contains(&n))
    });
    not_asked_for || (name.starts_with(b"auditor_status_") && name.ends_with(b".json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(name: &str, partitions: Option<Vec<u64>>) -> bool {
        is_left_out(OsStr::new(name), &Overrides { partitions, ..Overrides::default() })
    }

    fn device(id: u32) -> Device {
        Device { id, device: format!("sd{id}"), replication_ip: "10.0.0.1".into(), ..Device::sample() }
    }

    #[test]
    fn partitions_with_the_same_targets_are_neighbours() {
        let devices: Vec<_> = (0..3).map(device).collect();
        let targets = |partition: u32| match partition % 3 {
            0 => [&devices[0], &devices[1]],
            1 => [&devices[2], &devices[0]],
            _ => [&devices[1], &devices[2]],
        };
        let order = Shuffled::new();
        let place = |partition| order.place(Partition::new(partition), &targets(partition));
        let ordered = by_targets((0..90).map(place).collect());
        let mut kinds: Vec<_> = ordered.iter().map(|partition| partition.number() % 3).collect();
        kinds.dedup();
        assert_eq!(kinds.len(), 3);
        let first: Vec<_> = ordered[..30].iter().map(|partition| partition.number()).collect();
        assert!(!first.is_sorted(), "among themselves they come in any order");
    }

    #[test]
    fn only_partitions_that_were_asked_for_are_listed() {
        assert!(!left_out("7", None));
        assert!(!left_out("7", Some(vec![7, 9])));
        assert!(left_out("8", Some(vec![7, 9])));
        assert!(left_out("08", Some(vec![7, 9])));
        assert!(left_out("99999999999999999999999", Some(vec![7])));
        assert!(!left_out("-1", Some(vec![7])), "the reference does not take this for a number here");
    }

    #[test]
    fn what_is_to_come_first_is_at_the_end_of_a_queue() {
        let index = PolicyIndex::new(0);
        let mut queue = Queue::new(0, false, false, (0..6).map(Partition::new).collect());
        let first = [(index, 1), (index, 4), (PolicyIndex::new(1), 5)].map(|(index, n)| (index, Partition::new(n)));
        queue.begin_with(index, &HashSet::from(first));
        assert_eq!(queue.partitions.iter().map(|partition| partition.number()).collect::<Vec<_>>(), [0, 2, 3, 5, 1, 4]);
    }

    #[test]
    fn the_auditors_files_are_no_partitions() {
        assert!(left_out("auditor_status_ALL.json", None));
        assert!(!left_out("auditor_status_ALL", None));
    }
}
