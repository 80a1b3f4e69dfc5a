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
#[derive(Clone, Debug)]
pub struct SuffixMap<V> {
    entries: Vec<(Suffix, V)>,
    /// Where in `entries` a hex suffix stands, plus one; empty while the map is small.
    slots: Vec<u32>,
}

impl<V> Default for SuffixMap<V> {
    fn default() -> Self {
        Self { entries: Vec::new(), slots: Vec::new() }
    }
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
        self.position(suffix, slot(suffix)).map(|at| &self.entries[at].1)
    }

    /// The suffixes with their values, in the order in which they came.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Suffix, &V)> + '_ {
        self.entries.iter().map(|(suffix, value)| (*suffix, value))
    }

    /// Sets the value of a suffix. One that was there keeps its place; a new one comes last.
    pub fn insert(&mut self, suffix: Suffix, value: V) {
        let slot = slot(suffix);
        if let Some(at) = self.position(suffix, slot) {
            self.entries[at].1 = value;
            return;
        }
        self.entries.push((suffix, value));
        if !self.slots.is_empty() {
            self.note(slot, self.entries.len());
        } else if self.entries.len() > LINEAR {
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

    fn position(&self, suffix: Suffix, slot: Option<usize>) -> Option<usize> {
        match slot {
            Some(slot) if !self.slots.is_empty() => (self.slots[slot] as usize).checked_sub(1),
            _ => self.entries.iter().position(|(other, _)| *other == suffix),
        }
    }

    fn build_slots(&mut self) {
        self.slots.clear();
        self.slots.resize(SLOTS, 0);
        for at in 0..self.entries.len() {
            self.note(slot(self.entries[at].0), at + 1);
        }
    }

    /// Notes that the suffix of this slot is the `place`th entry, counted from one.
    fn note(&mut self, slot: Option<usize>, place: usize) {
        if let Some(slot) = slot {
            self.slots[slot] = place as u32;
        }
    }
}

/// The slot of a suffix of three hexadecimal digits: its value.
fn slot(suffix: Suffix) -> Option<usize> {
    suffix.as_str().bytes().try_fold(0, |slot, digit| match digit {
        b'0'..=b'9' => Some(slot << 4 | usize::from(digit - b'0')),
        b'a'..=b'f' => Some(slot << 4 | usize::from(digit - b'a' + 10)),
        _ => None,
    })
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

/// The digest that this spells in lower-case hexadecimal digits.
pub fn digest_from_hex(text: &[u8; 32]) -> Option<Digest> {
    // Without tables and branches, so that the compiler makes vector code of it: each of a partition's hashes passes
    // here. What is no digit gets some value too, but that value's digit is another character.
    let values = text.map(|digit| (digit & 15).wrapping_add((digit >> 6) * 9));
    // Letters after f have values beyond 15.
    let wrong =
        text.iter().zip(&values).fold(0, |wrong, (digit, value)| wrong | (digit ^ hex_digit(*value)) | (value & 0xf0));
    let digest = std::array::from_fn(|at| values[2 * at] << 4 | values[2 * at + 1] & 15);
    (wrong == 0).then_some(digest)
}

/// The digest in lower-case hexadecimal digits, as it goes into pickles.
pub fn digest_to_hex(digest: &Digest) -> [u8; 32] {
    std::array::from_fn(|at| {
        let byte = digest[at / 2];
        hex_digit(if at % 2 == 0 { byte >> 4 } else { byte & 15 })
    })
}

fn hex_digit(value: u8) -> u8 {
    value.wrapping_add(if value > 9 { b'a' - 10 } else { b'0' })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suffix(number: usize) -> Suffix {
        Suffix::from_name(format!("{number:03x}").as_bytes()).unwrap()
    }

    #[test]
    fn the_order_of_insertion_is_kept_and_makes_no_difference() {
        for count in [3, LINEAR, LINEAR + 1, 4096] {
            let forward: SuffixMap<usize> = (0..count).map(|number| (suffix(number), number)).collect();
            let backward: SuffixMap<usize> = (0..count).rev().map(|number| (suffix(number), number)).collect();
            assert!(forward.iter().map(|(_, value)| *value).eq(0..count));
            assert!(backward.iter().map(|(_, value)| *value).eq((0..count).rev()));
            assert_eq!(forward, backward);
        }
    }

    #[test]
    fn keys_can_come_twice_and_go_whatever_the_size() {
        for count in [5, LINEAR + 1, 4096] {
            let mut map: SuffixMap<usize> = (0..count).map(|number| (suffix(number), number)).collect();
            let odd = Suffix::from_name(b"xyz").unwrap();
            map.insert(odd, 7);
            map.insert(suffix(2), 99);
            map.insert(odd, 8);
            map.remove(suffix(1));
            assert_eq!(map.len(), count);
            assert_eq!((map.get(suffix(0)), map.get(suffix(1)), map.get(suffix(2))), (Some(&0), None, Some(&99)));
            assert_eq!((map.get(suffix(count - 1)), map.get(odd)), (Some(&(count - 1)), Some(&8)));
            assert_eq!(map.iter().last().unwrap().0, odd);
        }
    }

    #[test]
    fn what_differs_from_the_peer_is_what_it_lacks_or_has_otherwise() {
        let (ours, theirs) = ([1; 16], [2; 16]);
        let cases = [
            (Some(ours), Some(RemoteHash::Known(ours)), false),
            (Some(ours), Some(RemoteHash::Known(theirs)), true),
            (Some(ours), Some(RemoteHash::Unknown), true),
            (Some(ours), Some(RemoteHash::Junk), true),
            (Some(ours), None, true),
            (None, Some(RemoteHash::Unknown), false),
            (None, Some(RemoteHash::Known(theirs)), true),
            (None, Some(RemoteHash::Junk), true),
            (None, None, true),
        ];
        for (local, remote, differs) in cases {
            let local: SuffixHashes = [(suffix(1), local)].into_iter().collect();
            let remote: RemoteHashes = remote.map(|remote| (suffix(1), remote)).into_iter().collect();
            assert_eq!(
                local.differing(&remote),
                if differs { vec![suffix(1)] } else { vec![] },
                "{local:?} {remote:?}"
            );
        }
        let remote = [(suffix(9), RemoteHash::Known(theirs))].into_iter().collect();
        assert_eq!(SuffixHashes::new().differing(&remote), [], "what only the peer has is its own affair");
    }

    #[test]
    fn digests_are_lower_case_hex() {
        let digest: Digest = std::array::from_fn(|at| (at * 17) as u8);
        assert_eq!(&digest_to_hex(&digest), b"00112233445566778899aabbccddeeff");
        assert_eq!(digest_from_hex(b"00112233445566778899aabbccddeeff"), Some(digest));
        assert_eq!(digest_from_hex(b"00112233445566778899AABBCCDDEEFF"), None);
        assert_eq!(digest_from_hex(b"0011223344556677889 aabbccddeeff"), None);
    }

    #[test]
    fn nothing_but_0_to_9_and_a_to_f_is_a_digit() {
        for place in 0..32 {
            for byte in 0..=u8::MAX {
                let mut text = *b"00112233445566778899aabbccddeeff";
                text[place] = byte;
                let is_digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                assert_eq!(digest_from_hex(&text).is_some(), is_digit, "{byte:#04x} at {place}");
                assert!(digest_from_hex(&text).is_none_or(|digest| digest_to_hex(&digest) == text));
            }
        }
    }
}
