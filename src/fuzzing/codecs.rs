//! What stands on disks: pickles, names, rings, and the bookkeeping of a partition.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_pickle::{DeOptions, HashableValue, Value};

use super::{file, scratch};
use crate::device::hashes::{HashRequest, get_hashes};
use crate::device::layout::PartitionDir;
use crate::device::ondisk::{ObjectFile, choose, is_rsync_tempfile};
use crate::format::hashes::{Digest, RemoteHash, digest_to_hex};
use crate::format::metadata::{Metadata, append_latin1};
use crate::format::object::{ObjectHash, ObjectName, Salts};
use crate::format::pickle::{StoredHashes, decode_remote, decode_stored, encode_stored};
use crate::format::timestamp::Timestamp;
use crate::names::{Partition, PolicyIndex, Suffix};
use crate::ring::Ring;

/// The other reader of pickles takes memory as it likes.
const MAX_FOR_THE_OTHER: usize = 64 << 10;

/// The pickles of suffix hashes, of disks and of answers.
pub(super) fn hashes(bytes: &[u8]) {
    let theirs = pickled_dict(bytes);
    if let Ok(stored) = decode_stored(bytes) {
        let again = decode_stored(&encode_stored(&stored)).expect("what we write can be read");
        let same_time = again.updated == stored.updated || (again.updated.is_nan() && stored.updated.is_nan());
        assert!(same_time && (again.valid, &again.hashes) == (stored.valid, &stored.hashes), "{stored:?}, {again:?}");
        if let Some(theirs) = theirs.as_ref().filter(|_| stored != StoredHashes::invalid()) {
            let known = stored.hashes.iter().filter_map(|(suffix, hash)| Some((suffix, (*hash)?)));
            known.for_each(|(suffix, digest)| assert_has(theirs, suffix, &digest));
        }
    }
    if let Ok(remote) = decode_remote(bytes) {
        for (suffix, hash) in remote.iter() {
            if let (RemoteHash::Known(digest), Some(theirs)) = (hash, &theirs) {
                assert_has(theirs, suffix, digest);
            }
        }
    }
}

/// The items that the other reader finds; `None` where it is no judge.
fn pickled_dict(bytes: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let bytes = bytes.get(..bytes.len().min(MAX_FOR_THE_OTHER)).filter(|head| head.len() == bytes.len())?;
    if !each_place_is_used_once(bytes) || may_have_numbers_without_order(bytes) {
        return None;
    }
    let Ok(Value::Dict(dict)) = serde_pickle::value_from_slice(bytes, DeOptions::new().decode_strings()) else {
        return None;
    };
    let item = |(key, value): (HashableValue, Value)| Some((key_text(key)?, text(value).unwrap_or_default()));
    Some(dict.into_iter().filter_map(item).collect())
}

/// Whether no place of the pickle's memory is filled twice, as far as that can be seen. The other reader looks there only
/// when it has read everything, so it would find what came last.
fn each_place_is_used_once(bytes: &[u8]) -> bool {
    let mut places = BTreeSet::new();
    let after = |opcode: u8, length: usize| {
        let found = bytes.windows(1 + length).filter(move |window| window[0] == opcode);
        found.map(move |window| window[1..].iter().rev().fold(0, |place, byte| place << 8 | u64::from(*byte)))
    };
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"p"));
    let named = lines.filter_map(|line| str::from_utf8(line).ok()?.trim().parse().ok());
    let is_counted = bytes.contains(&0x94) && bytes.iter().any(|byte| b"qrp".contains(byte));
    !is_counted && after(b'q', 1).chain(after(b'r', 4)).chain(named).all(|place| places.insert(place))
}

/// Whether there may be numbers that the other reader cannot put in order, as it does with keys: what is no number, and
/// floats beside integers that no float can hold. It panics at some of them.
fn may_have_numbers_without_order(bytes: &[u8]) -> bool {
    let float = |window: &[u8]| f64::from_be_bytes(window[1..].try_into().expect("eight bytes are left"));
    let mut floats = bytes.windows(9).filter(|window| window[0] == b'G').map(float);
    let is_in_text = bytes.contains(&b'F');
    let has_large = bytes.iter().any(|byte| [0x8a, 0x8b, b'I', b'L'].contains(byte));
    is_in_text || floats.any(|float| float.is_nan() || has_large)
}

fn key_text(key: HashableValue) -> Option<Vec<u8>> {
    match key {
        HashableValue::String(text) => Some(text.into_bytes()),
        HashableValue::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

fn text(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.into_bytes()),
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

/// One of the values that the other reader has for a suffix must be this digest: a key may stand there as text and as
/// bytes.
fn assert_has(theirs: &[(Vec<u8>, Vec<u8>)], suffix: Suffix, digest: &Digest) {
    let hex = digest_to_hex(digest);
    let mut values = theirs.iter().filter(|(key, _)| key == suffix.as_str().as_bytes()).map(|(_, value)| value);
    assert!(values.any(|value| value.eq_ignore_ascii_case(&hex)), "{suffix:?} is another one: {theirs:?}");
}

/// The metadata of objects.
pub(super) fn metadata(bytes: &[u8]) {
    let Ok(metadata) = Metadata::decode(bytes) else { return };
    let items: Vec<_> = metadata.iter().collect();
    assert!(items.is_sorted_by(|one, other| one.0 < other.0), "sorted, each name once: {items:?}");
    let size: usize = items.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(size <= bytes.len() * 2 * MAX_COPIES, "{size} bytes out of {}", bytes.len());
    for (name, value) in &items {
        if let Ok(name) = str::from_utf8(name) {
            assert_eq!(metadata.get(name), Some(*value));
        }
        let mut latin1 = Vec::new();
        if append_latin1(value, &mut latin1) {
            let back: String = latin1.iter().copied().map(char::from).collect();
            assert!(back.as_bytes() == *value || latin1 == *value);
        }
    }
    let Some(theirs) = pickled_dict(bytes) else { return };
    for (name, value) in items.iter().filter(|(name, value)| name.is_ascii() && value.is_ascii()) {
        assert!(theirs.iter().any(|item| (&item.0[..], &item.1[..]) == (name, value)), "{name:?}: {theirs:?}");
    }
    if let Some(name) = metadata.get("name").and_then(ObjectName::parse) {
        let salts = Salts { prefix: b"before".to_vec(), suffix: b"after".to_vec() };
        assert!(ObjectHash::from_name(&salts.hash(name).to_hex()).is_some());
    }
}

/// So often a pickle may name a text that it holds once. More items are not read.
const MAX_COPIES: usize = 8192;

/// Names of files and folders.
pub(super) fn names(bytes: &[u8]) {
    if let Some(partition) = Partition::from_dir_name(OsStr::from_bytes(bytes)) {
        assert_eq!(partition.to_string().as_bytes(), bytes);
    }
    if let Some(suffix) = Suffix::from_name(bytes) {
        assert_eq!(suffix.as_str().as_bytes(), bytes);
        assert!(!suffix.is_hex() || u16::from_str_radix(suffix.as_str(), 16).is_ok());
    }
    if let Some(hash) = ObjectHash::from_name(bytes) {
        assert!(hash.to_hex().eq_ignore_ascii_case(bytes) && bytes.iter().all(u8::is_ascii_hexdigit));
    }
    for time in
        [Timestamp::parse(bytes).ok(), Timestamp::parse_pair(bytes).ok().map(|pair| pair.0)].into_iter().flatten()
    {
        assert_eq!(Timestamp::parse(time.to_string()), Ok(time));
        assert_eq!(time.write_internal(&mut [0; 33]), time.to_string().as_bytes());
    }
    let files: Vec<_> = bytes.split(|byte| *byte == 0).take(64).filter_map(|name| CString::new(name).ok()).collect();
    assert!(files.iter().all(|name| !is_rsync_tempfile(name.to_bytes()) || name.to_bytes().starts_with(b".")));
    let known: Vec<_> = files.iter().filter_map(|name| ObjectFile::parse(name)).collect();
    let count = known.len();
    let choice = choose(known);
    assert!(choice.obsolete.len() + choice.strays.len() <= count);
    assert!(choice.data.is_none() || choice.tombstone.is_none(), "there, or deleted: {choice:?}");
}

/// Ring files: as they are, or, behind a first byte that is odd, as what is compressed in one.
pub(super) fn rings(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let content = if first % 2 == 1 {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(rest).and_then(|()| gzip.finish()).expect("a Vec takes everything")
    } else {
        rest.to_vec()
    };
    let Ok(ring) = Ring::load(&file("object.ring.gz", &content)) else { return };
    let count = ring.partition_count();
    assert!(u64::from(count) <= 1 << ring.part_power());
    for number in [0, 1, count / 2, count.saturating_sub(1), count] {
        let partition = Partition::new(number);
        let Ok(primaries) = ring.primaries(partition) else { continue };
        assert!(primaries.len() as f64 <= ring.replica_count().ceil());
        let mut others = ring.handoffs(partition).take(8);
        assert!(others.all(|other| !primaries.iter().any(|primary| primary.id == other.id)));
    }
}

/// The two files that say what is known of a partition: `hashes.invalid`, and behind the first NUL byte `hashes.pkl`.
pub(super) fn invalidations(bytes: &[u8]) {
    let dir = PartitionDir::new(&scratch(), "sda", PolicyIndex::new(0), Partition::new(7));
    let _ = fs::remove_dir_all(dir.path());
    fs::create_dir_all(dir.path().join("abc")).expect("our own folder can be written to");
    let (invalid, stored) = super::split_at_byte(bytes, 0);
    fs::write(dir.path().join("hashes.invalid"), invalid).expect("our own folder can be written to");
    fs::write(dir.path().join("hashes.pkl"), stored).expect("our own folder can be written to");
    let request = HashRequest { recalculate: &[], listing: false, reclaim_age: Duration::from_secs(604_800) };
    let first = get_hashes(&dir, &request, &()).expect("junk is no error");
    let left = fs::read(dir.path().join("hashes.invalid")).expect("it is there");
    assert!(left.is_empty(), "what was invalid has been hashed: {left:?}");
    let again = get_hashes(&dir, &request, &()).expect("junk is no error");
    assert_eq!(again.hashes, first.hashes, "nothing has changed");
}
