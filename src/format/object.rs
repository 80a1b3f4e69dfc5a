//! What names an object: its path, and the hash of that path which names its folder on disk.

use std::fmt;

use md5::{Digest as _, Md5};

use super::hashes::{Digest, digest_from_hex, digest_to_hex};
use super::timestamp::Timestamp;
use crate::names::Suffix;

/// The hash of an object's name: 32 hexadecimal digits, the name of the folder that holds the object's files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectHash(Digest);

impl ObjectHash {
    /// The hash that a folder's name stands for, if it is 32 lower-case hexadecimal digits.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        digest_from_hex(name.try_into().ok()?).map(Self)
    }

    /// Its digits, as the folder's name has them.
    pub fn to_hex(self) -> [u8; 32] {
        digest_to_hex(&self.0)
    }

    /// The suffix whose folder holds the object's: the last three digits.
    pub fn suffix(self) -> Suffix {
        Suffix::from_name(&self.to_hex()[29..]).expect("hexadecimal digits make a suffix")
    }
}

impl fmt::Display for ObjectHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_hex()).expect("digits are ASCII"))
    }
}

impl fmt::Debug for ObjectHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectHash({self})")
    }
}

/// The secrets of `swift.conf` that are hashed along with every name (B2.11).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salts {
    /// `swift_hash_path_prefix`.
    pub prefix: Vec<u8>,
    /// `swift_hash_path_suffix`.
    pub suffix: Vec<u8>,
}

impl Salts {
    /// The hash of an object's name (B2.12).
    pub fn hash(&self, name: ObjectName<'_>) -> ObjectHash {
        let digest = Md5::new().chain_update(&self.prefix).chain_update(name.0).chain_update(&self.suffix).finalize();
        ObjectHash(digest.into())
    }
}

/// An object's full name: `/account/container/object`. The object's own name may contain slashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectName<'a>(&'a [u8]);

impl<'a> ObjectName<'a> {
    /// The name that the metadata of a file gives, if it is one: UTF-8, with three parts that are not empty.
    pub fn parse(name: &'a [u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(name).ok()?.splitn(4, '/');
        let starts_with_slash = parts.next() == Some("");
        let mut three_parts = (0..3).map(|_| parts.next());
        (starts_with_slash && three_parts.all(|part| part.is_some_and(|part| !part.is_empty()))).then_some(Self(name))
    }

    /// The name's bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// A copy that stands for itself.
    pub fn to_buf(self) -> ObjectNameBuf {
        ObjectNameBuf(self.0.to_owned())
    }

    /// Appends the name as it goes into a request: percent-quoted, but for slashes (B9.11).
    pub fn quote_into(self, out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        for &byte in self.0 {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'~' | b'/') {
                out.push(byte);
            } else {
                out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
}

/// An [`ObjectName`] that stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectNameBuf(Vec<u8>);

impl ObjectNameBuf {
    /// The name.
    pub fn as_name(&self) -> ObjectName<'_> {
        ObjectName(&self.0)
    }
}

/// When the parts of an object were written: what two nodes compare to find out who has the newer one (B9.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The data, or the tombstone in its place.
    pub data: Timestamp,
    /// The metadata, if it was written after the data.
    pub meta: Option<Timestamp>,
    /// The content type, if it was written after the data.
    pub content_type: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_32_lower_case_digits_and_ends_with_its_suffix() {
        let name = b"4c03f3f53e065aa1d93a854912c68b20";
        let hash = ObjectHash::from_name(name).unwrap();
        assert_eq!((&hash.to_hex(), hash.suffix().as_str()), (name, "b20"));
        assert_eq!(hash.to_string().as_bytes(), name);
        for junk in [&b""[..], b"../../../etc", b"4C03F3F53E065AA1D93A854912C68B20", &name[1..], b":ERROR:"] {
            assert_eq!(ObjectHash::from_name(junk), None, "{}", junk.escape_ascii());
        }
    }

    #[test]
    fn a_name_is_hashed_with_the_salts_of_the_cluster() {
        // md5("before/a/c/oafter")
        let salts = Salts { prefix: b"before".to_vec(), suffix: b"after".to_vec() };
        let name = ObjectName::parse(b"/a/c/o").unwrap();
        assert_eq!(salts.hash(name).to_string(), "dde9e8de7d865440101c3111238f2457");
    }

    #[test]
    fn a_name_has_three_parts_that_are_not_empty() {
        for name in ["/a/c/o", "/a/c/o/with/slashes", "/a/c//o", "/a/c/o/", "/ä/ç/ø"] {
            assert!(ObjectName::parse(name.as_bytes()).is_some(), "{name}");
        }
        for junk in [&b""[..], b"/", b"/a", b"/a/c", b"/a/c/", b"//c/o", b"/a//o", b"a/c/o", b"x/a/c/o", b"/a/c/\xff"] {
            assert_eq!(ObjectName::parse(junk), None, "{}", junk.escape_ascii());
        }
    }

    #[test]
    fn a_name_is_quoted_as_python_quotes_it() {
        let mut quoted = Vec::new();
        ObjectName::parse("/a b/c%/ø~é/_.-?#\r\n".as_bytes()).unwrap().quote_into(&mut quoted);
        assert_eq!(String::from_utf8(quoted).unwrap(), "/a%20b/c%25/%C3%B8~%C3%A9/_.-%3F%23%0D%0A");
    }
}
