//! The hashes of a partition's suffixes, as `hashes.pkl` and REPLICATE answers carry them.
//!
//! Both are Python dicts, so both keep the order in which keys came, and two of them are equal if the same keys have the
//! same values, whatever the order. Small maps are searched from front to end; larger ones keep a table with a slot for
//! each of the 4,096 suffixes that there can be, so that comparing two large partitions stays linear.

use crate::names::Suffix;

/// An MD5 digest: the hash of one suffix (B6.13).
pub type Digest = [u8; 16];

/// The suffixes of a local partition with their hashes, in the order in which they were learned.
///
/// `None` stands for a suffix that must be hashed again, or could not be (B6.11).
pub type SuffixHashes = SuffixMap<Option<Digest>>;

/// A peer's answer to REPLICATE: its suffixes with their hashes (B7.3).
pub type RemoteHashes = SuffixMap<RemoteHash>;

/// What a peer said of one suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteHash {
    /// The peer could not hash it, or has yet to.
    Unknown,
    /// The hash.
    Known(Digest),
    /// Something that no suffix hashes to; it differs from everything.
    Junk,
}

/// A map from suffixes to values that keeps the order of insertion, as a Python dict does.
#[derive(Clone, Debug, Default)]
pub struct SuffixMap<V> {
    entries: Vec<(Suffix, V)>,
    /// Where in `entries` a hex suffix stands, plus one; empty while the map is small.
    slots: Vec<u16>,
}

/// Up to this many entries are searched one by one.
const LINEAR: usize = 24;

/// A slot for each suffix of three hexadecimal digits.
const SLOTS: usize = 1 << 12;

impl<V> SuffixMap<V> {
    /// An empty map.
    pub const fn new() -> Self {
        Self { entries: Vec::new(), slots: Vec::new() }
    }

    /// How many suffixes there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no suffix.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of this suffix.
    pub fn get(&self, suffix: Suffix) -> Option<&V> {
        self.position(suffix).map(|at| &self.entries[at].1)
    }

    /// The suffixes with their values, in the order in which they came.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Suffix, &V)> + '_ {
        self.entries.iter().map(|(suffix, value)| (*suffix, value))
    }

    /// Sets the value of a suffix. One that was there keeps its place; a new one comes last.
    pub fn insert(&mut self, suffix: Suffix, value: V) {
        if let Some(at) = self.position(suffix) {
            self.entries[at].1 = value;
            return;
        }
        self.entries.push((suffix, value));
        let len = self.entries.len();
        if !self.slots.is_empty() {
            self.note_slot(len - 1);
        } else if len > LINEAR {
            self.build_slots();
        }
    }

    /// Keeps the suffixes for which `keep` holds; it may change their values.
    pub fn retain(&mut self, mut keep: impl FnMut(Suffix, &mut V) -> bool) {
        let before = self.entries.len();
        self.entries.retain_mut(|(suffix, value)| keep(*suffix, value));
        if self.entries.len() != before && !self.slots.is_empty() {
            self.build_slots();
        }
    }

    /// Removes a suffix.
    pub fn remove(&mut self, suffix: Suffix) {
        self.retain(|other, _| other != suffix);
    }

    fn position(&self, suffix: Suffix) -> Option<usize> {
        match slot(suffix) {
            Some(slot) if !self.slots.is_empty() => usize::from(self.slots[slot]).checked_sub(1),
            _ => self.entries.iter().position(|(other, _)| *other == suffix),
        }
    }

    fn build_slots(&mut self) {
        self.slots.clear();
        self.slots.resize(SLOTS, 0);
        (0..self.entries.len()).for_each(|at| self.note_slot(at));
    }

    fn note_slot(&mut self, at: usize) {
        let place = u16::try_from(at + 1);
        if let (Some(slot), Ok(place)) = (slot(self.entries[at].0), place) {
            self.slots[slot] = place;
        }
    }
}

/// The slot of a suffix of three hexadecimal digits: its value.
fn slot(suffix: Suffix) -> Option<usize> {
    suffix.is_hex().then(|| usize::from_str_radix(suffix.as_str(), 16).ok()).flatten()
}

impl SuffixHashes {
    /// The local suffixes whose value is not the peer's (B11.6), in local order: what has to be hashed again, and then
    /// pushed. A suffix that only the peer has is no difference; a local one without a hash equals only one that the
    /// peer has no hash of either (B6.11).
    pub fn differing(&self, remote: &RemoteHashes) -> Vec<Suffix> {
        self.iter().filter(|(suffix, local)| !same(**local, remote.get(*suffix))).map(|(suffix, _)| suffix).collect()
    }
}

fn same(local: Option<Digest>, remote: Option<&RemoteHash>) -> bool {
    match (local, remote) {
        (Some(local), Some(RemoteHash::Known(remote))) => local == *remote,
        (None, Some(RemoteHash::Unknown)) => true,
        _ => false,
    }
}

impl<V: PartialEq> PartialEq for SuffixMap<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(suffix, value)| other.get(suffix) == Some(value))
    }
}

impl<V> FromIterator<(Suffix, V)> for SuffixMap<V> {
    fn from_iter<I: IntoIterator<Item = (Suffix, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        entries.into_iter().for_each(|(suffix, value)| map.insert(suffix, value));
        map
    }
}
