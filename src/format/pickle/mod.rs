//! The pickles of suffix hashes: `hashes.pkl` on disk (B6.2, B6.4), and the answers to REPLICATE (B7.3).
//!
//! Both are one flat dict, and both are written by others: by Swift under Python 2 and 3, in any protocol, or by a bad
//! disk or peer. `machine` reads what such a dict can be made of, and nothing else; `plain` does it faster for what
//! today's servers write; `writer` writes as Python does. Here stands what the items of the dict mean.

mod error;
mod machine;
mod plain;
mod writer;

pub use self::error::PickleError;
use self::machine::Value;
use self::writer::Writer;
use crate::format::hashes::{Digest, RemoteHash, RemoteHashes, SuffixHashes, digest_from_hex, digest_to_hex};
use crate::names::Suffix;

/// The longest pickle that is looked at. The longest honest one has 4,096 suffixes at some 60 bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// So many suffixes of an answer may have names that are not hexadecimal (B6.12); more are left out, for they are not
/// found as fast as the others.
const MAX_ODD: usize = 64;

/// What `hashes.pkl` says.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredHashes {
    /// The suffixes.
    pub hashes: SuffixHashes,
    /// Whether the list of suffixes can be trusted; if not, all of it is hashed again.
    pub valid: bool,
    /// When this was written, as Unix time; -1 if it does not say.
    pub updated: f64,
}

impl StoredHashes {
    /// What stands for a file that is not there, or that nobody can read (B6.4).
    pub const fn invalid() -> Self {
        Self { hashes: SuffixHashes::new(), valid: false, updated: -1.0 }
    }
}

/// Reads `hashes.pkl` (B6.4): suffixes, and `valid` and `updated`, which may be missing (old files are valid). With any
/// other key in it nothing of it is trusted.
///
/// A hash that is no MD5 digest is one to hash again. (The reference keeps it until it differs from a peer's.)
///
/// # Errors
/// [`PickleError`] if it is not a pickled dict within the limits.
pub fn decode_stored(bytes: &[u8]) -> Result<StoredHashes, PickleError> {
    let unread = StoredHashes { valid: true, ..StoredHashes::invalid() };
    let (stored, foreign_key) = read(bytes, (unread, false), |(stored, foreign_key), key, value| match key {
        Value::Text(b"valid") => stored.valid = value.is_truthy(),
        Value::Text(b"updated") => stored.updated = value.as_number().unwrap_or(-1.0),
        Value::Text(name) => match Suffix::from_name(name).filter(|suffix| suffix.is_hex()) {
            Some(suffix) => stored.hashes.insert(suffix, digest(value)),
            None => *foreign_key = true,
        },
        _ => *foreign_key = true,
    })?;
    Ok(if foreign_key { StoredHashes::invalid() } else { stored })
}

/// Reads the body of an answer to REPLICATE (B7.3). Keys that are no suffixes say nothing about any of ours.
///
/// # Errors
/// [`PickleError`] if it is not a pickled dict within the limits.
pub fn decode_remote(bytes: &[u8]) -> Result<RemoteHashes, PickleError> {
    let (hashes, _) = read(bytes, (RemoteHashes::new(), 0), |(hashes, odd), key, value| {
        let Value::Text(name) = key else { return };
        let Some(suffix) = Suffix::from_name(name) else { return };
        if !suffix.is_hex() {
            *odd += 1;
            if *odd > MAX_ODD {
                return;
            }
        }
        let hash = match value {
            Value::None => RemoteHash::Unknown,
            _ => digest(value).map_or(RemoteHash::Junk, RemoteHash::Known),
        };
        hashes.insert(suffix, hash);
    })?;
    Ok(hashes)
}

/// Adds each item of a pickled dict, in order, to what was empty. A key that comes twice is added twice.
fn read<T: Clone>(bytes: &[u8], empty: T, add: impl Fn(&mut T, Value, Value)) -> Result<T, PickleError> {
    if bytes.len() > MAX_BYTES {
        return Err(PickleError::TooLong(bytes.len()));
    }
    let mut dict = empty.clone();
    if !plain::read_dict(bytes, |key, value| add(&mut dict, key, value)) {
        dict = empty;
        machine::read_dict(bytes, |key, value| add(&mut dict, key, value))?;
    }
    Ok(dict)
}

/// Writes `hashes.pkl`: byte for byte the pickle of protocol 2 that Python 3 makes of the dict `valid`, suffixes,
/// `updated` (B6.2).
pub fn encode_stored(stored: &StoredHashes) -> Vec<u8> {
    let mut writer = Writer::start(stored.hashes.len() + 2);
    writer.key(b"valid");
    writer.bool(stored.valid);
    for (suffix, hash) in stored.hashes.iter() {
        writer.key(suffix.as_str().as_bytes());
        match hash {
            Some(digest) => writer.text(&digest_to_hex(digest)),
            None => writer.none(),
        }
    }
    writer.key(b"updated");
    writer.float(stored.updated);
    writer.finish()
}

fn digest(value: Value) -> Option<Digest> {
    digest_from_hex(value.as_text()?.try_into().ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &[u8] = b"0123456789abcdef0123456789abcdef";
    const DIGEST: Digest =
        [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];

    fn suffix(name: &str) -> Suffix {
        Suffix::from_name(name.as_bytes()).unwrap()
    }

    fn bytes(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    /// What Python 3 makes of `{'valid': True, 'abc': HEX, 'fed': None, 'updated': 12.5}` in protocol 2 (B6.2).
    fn worked() -> (StoredHashes, Vec<u8>) {
        let hashes = [(suffix("abc"), Some(DIGEST)), (suffix("fed"), None)].into_iter().collect();
        let pickle = bytes(&[
            b"\x80\x02}q\x00(X\x05\0\0\0validq\x01\x88X\x03\0\0\0abcq\x02X\x20\0\0\0",
            HEX,
            b"q\x03X\x03\0\0\0fedq\x04NX\x07\0\0\0updatedq\x05G\x40\x29\0\0\0\0\0\0u.",
        ]);
        (StoredHashes { hashes, valid: true, updated: 12.5 }, pickle)
    }

    #[test]
    fn hashes_are_written_as_python_writes_them() {
        let (stored, pickle) = worked();
        assert_eq!(encode_stored(&stored), pickle);
        assert_eq!(decode_stored(&pickle), Ok(stored));
    }

    #[test]
    fn every_protocol_and_python_2_are_read() {
        let expected = worked().0.hashes;
        let cases = [
            ("0", bytes(&[b"(dp0\nVabc\np1\nV", HEX, b"\np2\nsVfed\np3\nNs."])),
            ("0, Python 2", bytes(&[b"(dp1\nS'abc'\np2\nS'", HEX, b"'\np3\nsS'fed'\np4\nNs."])),
            ("1", bytes(&[b"}q\0(X\x03\0\0\0abcq\x01X\x20\0\0\0", HEX, b"q\x02X\x03\0\0\0fedq\x03Nu."])),
            ("2, Python 2", bytes(&[b"\x80\x02}q\x01(U\x03abcq\x02U\x20", HEX, b"q\x03U\x03fedNu."])),
            (
                "4",
                bytes(&[
                    b"\x80\x04\x95\x35\0\0\0\0\0\0\0}\x94(\x8c\x03abc\x94\x8c\x20",
                    HEX,
                    b"\x94\x8c\x03fed\x94Nu.",
                ]),
            ),
            ("3, a hash as bytes", bytes(&[b"\x80\x03}q\0(X\x03\0\0\0abcC\x20", HEX, b"X\x03\0\0\0fedNu."])),
            (
                "2, a hash as bytes",
                bytes(&[
                    b"\x80\x02}q\0(X\x03\0\0\0abcc_codecs\nencode\nX\x20\0\0\0",
                    HEX,
                    b"X\x06\0\0\0latin1\x86RX\x03\0\0\0fedNu.",
                ]),
            ),
            ("one item after the other", bytes(&[b"}X\x03\0\0\0abcX\x20\0\0\0", HEX, b"sX\x03\0\0\0fedNs."])),
        ];
        for (what, pickle) in cases {
            let stored = decode_stored(&pickle);
            assert_eq!(stored, Ok(StoredHashes { hashes: expected.clone(), valid: true, updated: -1.0 }), "{what}");
            let remote = decode_remote(&pickle).unwrap();
            assert_eq!(remote.get(suffix("abc")), Some(&RemoteHash::Known(DIGEST)), "{what}");
            assert_eq!(remote.get(suffix("fed")), Some(&RemoteHash::Unknown), "{what}");
        }
    }

    #[test]
    fn what_is_remembered_can_be_used_again() {
        let pickle =
            bytes(&[b"\x80\x02}q\0(X\x03\0\0\0abcq\x01X\x20\0\0\0", HEX, b"r\0\x01\0\0X\x03\0\0\0fedj\0\x01\0\0u."]);
        let remote = decode_remote(&pickle).unwrap();
        assert_eq!(remote.get(suffix("abc")), Some(&RemoteHash::Known(DIGEST)));
        assert_eq!(remote.get(suffix("fed")), Some(&RemoteHash::Known(DIGEST)));
    }

    #[test]
    fn one_foreign_key_spoils_a_stored_dict_and_says_nothing_in_an_answer() {
        for key in [
            &b"X\x03\0\0\0xyz"[..],
            b"X\x03\0\0\0ABC",
            b"X\x02\0\0\0ab",
            b"C\x03abc",
            b"K\x05",
            b"X\x02\0\0\0\xc3\xa9",
            b"N",
        ] {
            let pickle = bytes(&[b"\x80\x03}(", key, b"NX\x03\0\0\0abcX\x20\0\0\0", HEX, b"u."]);
            assert_eq!(decode_stored(&pickle), Ok(StoredHashes::invalid()), "{}", key.escape_ascii());
            let remote = decode_remote(&pickle).unwrap();
            assert_eq!(remote.get(suffix("abc")), Some(&RemoteHash::Known(DIGEST)), "{}", key.escape_ascii());
        }
    }

    #[test]
    fn a_hash_that_is_no_digest_is_hashed_again_and_differs_from_everything() {
        for value in [
            &b"X\x04\0\0\0junk"[..],
            b"K\x01",
            b"\x88",
            b"G\0\0\0\0\0\0\0\0",
            b"X\x20\0\0\0F123456789ABCDEF0123456789ABCDEF",
        ] {
            let pickle = bytes(&[b"\x80\x02}X\x03\0\0\0abc", value, b"s."]);
            assert_eq!(decode_stored(&pickle).unwrap().hashes.get(suffix("abc")), Some(&None));
            assert_eq!(decode_remote(&pickle).unwrap().get(suffix("abc")), Some(&RemoteHash::Junk));
        }
    }

    #[test]
    fn valid_is_whatever_python_takes_for_true() {
        let valid = |value: &[u8]| decode_stored(&bytes(&[b"\x80\x02}X\x05\0\0\0valid", value, b"s."])).unwrap().valid;
        for yes in [
            &b"\x88"[..],
            b"K\x01",
            b"I01\n",
            b"L5L\n",
            b"F0.5\n",
            b"X\x01\0\0\0x",
            b"\x8a\x01\xff",
            b"J\xff\xff\xff\xff",
        ] {
            assert!(valid(yes), "{}", yes.escape_ascii());
        }
        for no in
            [&b"\x89"[..], b"K\0", b"I00\n", b"L0L\n", b"X\0\0\0\0", b"N", b"\x8a\0", b"M\0\0", b"\x8b\x02\0\0\0\0\0"]
        {
            assert!(!valid(no), "{}", no.escape_ascii());
        }
        assert!(decode_stored(b"\x80\x02}.").unwrap().valid, "old files do not say it");
    }

    #[test]
    fn pickles_of_other_things_are_refused() {
        assert_eq!(decode_remote(b"\x80\x02N."), Err(PickleError::NotADict));
        assert_eq!(decode_remote(b"\x80\x02]."), Err(PickleError::Opcode(b']')));
        assert_eq!(decode_remote(b""), Err(PickleError::Truncated));
        assert_eq!(decode_remote(b"<html>"), Err(PickleError::Opcode(b'<')));
        let attack = decode_remote(b"cos\nsystem\n(S'id'\ntR.").unwrap_err();
        assert_eq!(attack.to_string(), "global 'os.system' is forbidden");
    }

    #[test]
    fn few_odd_suffixes_are_kept() {
        let mut pickle = b"\x80\x02}(".to_vec();
        (0..30_000).for_each(|at| pickle.extend_from_slice(format!("X\u{3}\0\0\0{:03}Nu(", at % 1000).as_bytes()));
        (0..100).for_each(|at| pickle.extend_from_slice(format!("X\u{3}\0\0\0~{at:02}N").as_bytes()));
        pickle.extend_from_slice(b"u.");
        let remote = decode_remote(&pickle).unwrap();
        assert_eq!(remote.len(), 1000 + MAX_ODD);
        assert!(remote.get(suffix("~63")).is_some() && remote.get(suffix("~64")).is_none());
    }

    #[test]
    fn bombs_are_refused() {
        assert_eq!(decode_remote(&vec![b'('; MAX_BYTES]), Err(PickleError::Malformed("too many marks")));
        assert_eq!(decode_remote(&vec![b'N'; MAX_BYTES]), Err(PickleError::Malformed("too many values at once")));
        assert_eq!(decode_remote(&vec![b'}'; MAX_BYTES]), Err(PickleError::Malformed("more than one dict")));
        assert_eq!(decode_remote(&vec![b'.'; MAX_BYTES + 1]), Err(PickleError::TooLong(MAX_BYTES + 1)));
        assert_eq!(decode_remote(b"Nr\xff\xff\xff\xff."), Err(PickleError::Malformed("too many things in the memo")));
        assert_eq!(decode_remote(b"X\xff\xff\xff\xff."), Err(PickleError::Truncated));
        assert_eq!(decode_remote(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), Err(PickleError::Truncated));
    }

    /// Bytes that look like a pickle at least from afar.
    fn pickle_like() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"}q\0(".to_vec()),
            Just(b"X\x03\0\0\0abcq\x01".to_vec()),
            Just(b"X\x05\0\0\0valid".to_vec()),
            Just(b"u".to_vec()),
            Just(b"s".to_vec()),
            Just(b"c_codecs\nencode\n".to_vec()),
            Just(b"X\x06\0\0\0latin1".to_vec()),
            Just(bytes(&[b"U\x20", HEX])),
            prop::sample::select(
                b"\x80\x95.(N\x88\x89IJKMLGFSTUVXBC\x8a\x8b\x8c\x8d\x8e}dsupqr\x94ghjct\x86R\n0'".to_vec()
            )
            .prop_map(|opcode| vec![opcode]),
            any::<u8>().prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(pickle in prop_oneof![any::<Vec<u8>>(), pickle_like()]) {
            let _ = (decode_stored(&pickle), decode_remote(&pickle));
        }

        #[test]
        fn no_damage_makes_it_panic(cut in 0..200_usize, at in 0..200_usize, byte: u8) {
            let mut pickle = worked().1;
            if let Some(place) = pickle.get_mut(at) {
                *place = byte;
            }
            pickle.truncate(pickle.len().saturating_sub(cut));
            let _ = (decode_stored(&pickle), decode_remote(&pickle));
        }

        #[test]
        fn what_was_written_is_read_again(
            entries in prop::collection::hash_map(0..4096_u16, any::<Option<Digest>>(), 0..40),
            valid: bool,
            updated: u32,
        ) {
            let named = entries.into_iter().map(|(number, digest)| (suffix(&format!("{number:03x}")), digest));
            let stored = StoredHashes { hashes: named.collect(), valid, updated: updated.into() };
            prop_assert_eq!(decode_stored(&encode_stored(&stored)), Ok(stored));
        }
    }

    proptest! {
        /// A library that reads and writes pickles of any kind, which is why it cannot be let near a peer's bytes, agrees
        /// on those of hashes.
        #[test]
        fn a_general_pickle_library_reads_and_writes_the_same(
            entries in proptest::collection::btree_map("[0-9a-f]{3}", proptest::option::of(any::<Digest>()), 0..40),
            protocol_3 in any::<bool>(),
        ) {
            use std::collections::BTreeMap;
            let hex = |hash: &Digest| String::from_utf8(digest_to_hex(hash).to_vec()).unwrap();
            let text: BTreeMap<_, _> = entries.iter().map(|(name, hash)| (name.clone(), hash.as_ref().map(hex))).collect();
            let hashes: SuffixHashes = entries.iter().map(|(name, hash)| (suffix(name), *hash)).collect();

            let options = if protocol_3 { serde_pickle::SerOptions::new() } else { serde_pickle::SerOptions::new().proto_v2() };
            let theirs = serde_pickle::to_vec(&text, options).unwrap();
            prop_assert_eq!(decode_stored(&theirs).unwrap().hashes, hashes.clone());

            let ours = encode_stored(&StoredHashes { hashes, valid: true, updated: 12.5 });
            let read: BTreeMap<String, serde_pickle::Value> =
                serde_pickle::from_slice(&ours, serde_pickle::DeOptions::new()).unwrap();
            for (name, hash) in &text {
                let expected = hash.clone().map_or(serde_pickle::Value::None, serde_pickle::Value::String);
                prop_assert_eq!(&read[name], &expected);
            }
        }
    }
}
