//! Objects that broke off a conversation, and may do so again: they are sent last.
//!
//! Nobody is the worse for that, and all others are there before it happens. It is remembered for as long as the sender
//! lives; what is forgotten costs its neighbours one more conversation.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::format::object::ObjectHash;
use crate::locks::lock;

/// So many partitions are remembered, and so many objects of each.
const MAX: usize = 1024;

/// The objects, by the paths of their partitions; to be shared by all threads.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// So that nobody need lock anything while there are none.
    are_there: AtomicBool,
    partitions: Mutex<HashMap<PathBuf, BTreeSet<ObjectHash>>>,
}

impl Suspects {
    /// Those of a partition.
    pub(super) fn of(&self, partition: &Path) -> BTreeSet<ObjectHash> {
        if !self.are_there.load(Ordering::Relaxed) {
            return BTreeSet::new();
        }
        self.partitions().get(partition).cloned().unwrap_or_default()
    }

    /// Has this one sent last from now on. Where there are too many, the former ones are forgotten.
    pub(super) fn remember(&self, partition: &Path, hash: ObjectHash) {
        self.are_there.store(true, Ordering::Relaxed);
        let mut partitions = self.partitions();
        if partitions.len() >= MAX && !partitions.contains_key(partition) {
            partitions.clear();
        }
        let hashes = partitions.entry(partition.to_owned()).or_default();
        if hashes.len() >= MAX {
            hashes.clear();
        }
        hashes.insert(hash);
    }

    /// This one has arrived.
    pub(super) fn forget(&self, partition: &Path, hash: ObjectHash) {
        let mut partitions = self.partitions();
        if let Some(hashes) = partitions.get_mut(partition) {
            hashes.remove(&hash);
            if hashes.is_empty() {
                partitions.remove(partition);
            }
        }
        self.are_there.store(!partitions.is_empty(), Ordering::Relaxed);
    }

    fn partitions(&self) -> MutexGuard<'_, HashMap<PathBuf, BTreeSet<ObjectHash>>> {
        lock(&self.partitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: usize) -> ObjectHash {
        ObjectHash::from_name(format!("{number:032x}").as_bytes()).unwrap()
    }

    #[test]
    fn what_is_remembered_is_known_until_it_has_arrived() {
        let (suspects, part, other) = (Suspects::default(), Path::new("/srv/sda/objects/1"), Path::new("/srv/sdb"));
        assert!(suspects.of(part).is_empty());
        suspects.remember(part, hash(1));
        suspects.remember(part, hash(2));
        suspects.remember(other, hash(3));
        suspects.forget(part, hash(1));
        suspects.forget(part, hash(3));
        assert_eq!(suspects.of(part), BTreeSet::from([hash(2)]));
        assert_eq!(suspects.of(other), BTreeSet::from([hash(3)]));
    }

    #[test]
    fn not_more_than_so_many_are_remembered() {
        let suspects = Suspects::default();
        for at in 0..=MAX {
            suspects.remember(Path::new("/one"), hash(at));
            suspects.remember(Path::new(&format!("/{at}")), hash(1));
        }
        assert!(suspects.partitions().len() <= MAX);
        assert!(suspects.partitions().values().all(|hashes| hashes.len() <= MAX));
        assert_eq!(suspects.of(Path::new(&format!("/{MAX}"))), BTreeSet::from([hash(1)]));
    }
}
