//! What is on the devices, read from their file systems: no server has to run, and a device need not be mounted where
//! the servers look for it.
//!
//! Processes change the devices at the same time, so everything that is listed may be gone when it is looked at.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::model::{Deed, Moment, State};
use super::whole;
use super::world::World;
use crate::support::cluster::{Disk, datadir};

/// What a device has of a partition: the objects by their hashes.
pub type Copies = HashMap<String, State>;

/// What a device has of a partition now, as far as it could be served.
pub fn copies(world: &World, disk: &Disk, policy: u32, part: u32) -> Copies {
    let folders = suffixes(disk, policy, part).into_iter().flat_map(|suffix| folders_in(&suffix));
    let state = |folder: &Path| whole::state(world.thing(&name(folder))?, folder);
    folders.filter_map(|folder| Some((name(&folder), state(&folder)?))).collect()
}

/// Adds what another census of the same partition found.
pub fn merge(copies: &mut Copies, others: Copies) {
    for (hash, state) in others {
        copies.entry(hash).or_default().merge(&state);
    }
}

/// The partitions of a policy that a device has a folder for.
pub fn partitions(disk: &Disk, policy: u32) -> Vec<u32> {
    folders_in(&disk.path.join(datadir(policy))).iter().filter_map(|folder| name(folder).parse().ok()).collect()
}

/// The suffixes of a partition.
fn suffixes(disk: &Disk, policy: u32, part: u32) -> Vec<PathBuf> {
    let mut folders = folders_in(&disk.partition(policy, part));
    folders.retain(|folder| name(folder).len() == 3);
    folders
}

/// What the folder of an object holds by the names in it; nothing if there is no file of an object.
pub fn state(folder: &Path) -> Option<State> {
    state_of(folder, |_, _, _| true)
}

/// What those files of an object's folder come to that count.
pub fn state_of(folder: &Path, counts: impl Fn(&Path, Moment, Deed) -> bool) -> Option<State> {
    let mut state = State::default();
    for file in entries(folder) {
        if let Some((at, deed)) = parse(&name(&file)).filter(|&(at, deed)| counts(&file, at, deed)) {
            state.learn(at, deed);
        }
    }
    (state != State::default()).then_some(state)
}

/// What a file of an object is.
pub fn parse(name: &str) -> Option<(Moment, Deed)> {
    let (stem, extension) = name.rsplit_once('.')?;
    let deed = match extension {
        "data" => Deed::Put,
        "meta" => Deed::Post,
        "ts" => Deed::Delete,
        _ => return None,
    };
    Some((Moment::parse(stem)?, deed))
}

/// Whether it is a file that some process left half-written: rsync's, or that of a `hashes.pkl`.
pub fn is_temporary(name: &str) -> bool {
    let of_rsync = name.starts_with('.') && !name.starts_with(".lock") && name.matches('.').count() > 2;
    of_rsync || name.starts_with("tmp") || name.ends_with(".tmp")
}

/// Every file below a folder.
pub fn files_below(root: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// The folders in a folder.
pub fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let mut folders = entries(folder);
    folders.retain(|path| path.is_dir());
    folders
}

/// What is in a folder.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// The last part of a path.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_objects_are_told_from_what_processes_leave() {
        assert_eq!(parse("1700000000.00100.data"), Some((Moment(170_000_000_000_100), Deed::Put)));
        assert_eq!(parse("1700000000.00100.ts").map(|(_, deed)| deed), Some(Deed::Delete));
        for left in [".1700000000.00100.data.Xa9_zQ", ".1700000000.00100.ts.AbCdEf", "tmpa8b2", ".hashes.pkl.123.tmp"] {
            assert!(is_temporary(left) && parse(left).is_none(), "{left}");
        }
        for kept in ["1700000000.00100.data", ".lock", ".lock-replication", "hashes.pkl", "hashes.invalid"] {
            assert!(!is_temporary(kept), "{kept}");
        }
    }
}
