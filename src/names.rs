//! The field's words as types: partition, policy index, suffix.
//!
//! They are what file names, ring lookups and requests to peers have in common, so they stand below all of those.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// A partition of a ring: a number below the ring's partition count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u32);

impl Partition {
    /// The partition with this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The partition's number.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The partition that a folder's name stands for, if the name is a canonical decimal number.
    ///
    /// `07`, `-1`, `1_0` and ` 7` are numbers to the reference (B5.11) but name no partition here: what the name means
    /// and what a later lookup of the number would find are different folders.
    pub fn from_dir_name(name: &OsStr) -> Option<Self> {
        let digits = name.as_bytes();
        let canonical = matches!(digits, [b'0'] | [b'1'..=b'9', ..]) && digits.iter().all(u8::is_ascii_digit);
        if !canonical {
            return None;
        }
        std::str::from_utf8(digits).ok()?.parse().ok().map(Self)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The index of a storage policy; policy 0 has the plain names, policy N the names with `-N` (B2.17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyIndex(u32);

impl PolicyIndex {
    /// The policy with this index.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// The index itself.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The folder of a device that holds the policy's partitions: `objects` or `objects-N`.
    pub fn datadir(self) -> String {
        self.name_of("objects")
    }

    /// The folder of a device where the policy's files are written before they get their name: `tmp` or `tmp-N`.
    pub fn tmpdir(self) -> String {
        self.name_of("tmp")
    }

    /// The policy's ring file in `swift_dir`: `object.ring.gz` or `object-N.ring.gz`.
    pub fn ring_file(self) -> String {
        format!("{}.ring.gz", self.name_of("object"))
    }

    fn name_of(self, base: &str) -> String {
        match self.0 {
            0 => base.to_owned(),
            n => format!("{base}-{n}"),
        }
    }
}

impl fmt::Display for PolicyIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A suffix: the folder between a partition and its hash dirs, named after the last three digits of the hashes in it.
///
/// Any three ASCII characters that can be a file name are held, since the reference treats every folder with a name of
/// three characters as a suffix (B6.12, B10.3); [`Suffix::is_hex`] tells the real ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Suffix([u8; 3]);

impl Suffix {
    /// The suffix with this name, if the name is three ASCII characters without `/` and NUL.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let name: [u8; 3] = name.try_into().ok()?;
        name.iter().all(|c| c.is_ascii() && !matches!(c, b'/' | 0)).then_some(Self(name))
    }

    /// Whether these are three lower-case hexadecimal digits, as in the hash of an object.
    pub fn is_hex(self) -> bool {
        self.0.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// The suffix's name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a suffix is ASCII")
    }
}

impl fmt::Display for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Suffix({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_decimal_names_are_partitions() {
        let partition = |name: &str| Partition::from_dir_name(OsStr::new(name)).map(Partition::number);
        assert_eq!(partition("0"), Some(0));
        assert_eq!(partition("65535"), Some(65_535));
        for junk in
            ["", "07", "00", "-1", "+1", "1_0", " 7", "7 ", "٣", "a", "1.0", "4294967296", "99999999999999999999"]
        {
            assert_eq!(partition(junk), None, "{junk:?}");
        }
    }

    #[test]
    fn policy_zero_has_the_plain_names() {
        let (zero, three) = (PolicyIndex::new(0), PolicyIndex::new(3));
        assert_eq!((zero.datadir(), three.datadir()), ("objects".into(), "objects-3".into()));
        assert_eq!((zero.tmpdir(), three.tmpdir()), ("tmp".into(), "tmp-3".into()));
        assert_eq!((zero.ring_file(), three.ring_file()), ("object.ring.gz".into(), "object-3.ring.gz".into()));
    }

    #[test]
    fn a_suffix_is_three_ascii_characters_and_real_ones_are_hex() {
        assert!(Suffix::from_name(b"0af").unwrap().is_hex());
        assert!(!Suffix::from_name(b"0AF").unwrap().is_hex());
        assert!(!Suffix::from_name(b"xyz").unwrap().is_hex());
        for junk in [&b"ab"[..], b"abcd", b"a/c", b"a\0c", "äb".as_bytes()] {
            assert_eq!(Suffix::from_name(junk), None);
        }
    }
}
