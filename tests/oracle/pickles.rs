//! Pickles of suffix hashes: what Python writes is read as Python reads it, and what is written is what Python writes.

use fastrand::Rng;
use serde_json::{Value, json};
use swift_object_replicator::format::hashes::{RemoteHash, digest_from_hex, digest_to_hex};
use swift_object_replicator::format::pickle::{StoredHashes, decode_remote, decode_stored, encode_stored};
use swift_object_replicator::names::Suffix;

use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

const SEEDS: u64 = 150;

/// Pairs of suffixes and hashes, and sometimes what else is in such dicts.
fn pairs(rng: &mut Rng) -> Vec<(String, Value)> {
    let count = match rng.u8(..24) {
        0 => 0,
        1 => 1,
        2 => rng.usize(990..1010),
        3 => rng.usize(1990..2010),
        4 => 4096,
        _ => rng.usize(2..300),
    };
    let mut numbers: Vec<u16> = (0..4096).collect();
    rng.shuffle(&mut numbers);
    let mut pairs: Vec<_> = numbers[..count].iter().map(|number| (format!("{number:03x}"), hash(rng))).collect();
    if rng.bool() {
        pairs.insert(rng.usize(..=pairs.len()), ("valid".into(), rng.bool().into()));
    }
    if rng.u8(..6) == 0 {
        let odd = ["xyz", "ABC", "ab", "abcd", "", "updatedd"][rng.usize(..6)];
        pairs.insert(rng.usize(..=pairs.len()), (odd.into(), hash(rng)));
    }
    pairs
}

fn hash(rng: &mut Rng) -> Value {
    match rng.u8(..10) {
        0 => Value::Null,
        1 => ["", "junk", "0123456789ABCDEF0123456789ABCDEF"][rng.usize(..3)].into(),
        _ => format!("{:032x}", rng.u128(..)).into(),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("hexadecimal digits") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn is_suffix(name: &str) -> bool {
    Suffix::from_name(name.as_bytes()).is_some_and(Suffix::is_hex)
}

fn as_digest(value: &Value) -> Option<[u8; 16]> {
    digest_from_hex(value.as_str()?.as_bytes().try_into().ok()?)
}

/// What the reference makes of the pairs as the content of `hashes.pkl` (B6.4).
fn expected_stored(pairs: &[(String, Value)]) -> StoredHashes {
    if pairs.iter().any(|(key, _)| !is_suffix(key) && key != "valid" && key != "updated") {
        return StoredHashes::invalid();
    }
    let of_suffixes = pairs.iter().filter(|(key, _)| is_suffix(key));
    let hashes = of_suffixes.map(|(key, value)| (Suffix::from_name(key.as_bytes()).unwrap(), as_digest(value)));
    let valid = pairs.iter().find(|(key, _)| key == "valid").is_none_or(|(_, valid)| *valid == true);
    StoredHashes { hashes: hashes.collect(), valid, updated: -1.0 }
}

#[test]
fn what_python_writes_is_read_in_all_protocols() {
    let mut oracle = Oracle::start("pickles.py");
    for seed in (0..SEEDS).map(Seed::fixed) {
        let mut rng = seed.rng();
        let pairs = pairs(&mut rng);
        let python_2 = rng.u8(..4) == 0;
        let protocol = if python_2 { rng.u8(..2) * 2 } else { rng.u8(..6) };
        let question = json!({"do": "dump", "pairs": pairs, "protocol": protocol, "python_2": python_2,
                              "bytes": !python_2 && rng.u8(..5) == 0});
        let raw = unhex(oracle.ask(&question).as_str().expect("a pickle"));
        let context = format!("{seed}, protocol {protocol}, Python 2: {python_2}");
        assert_eq!(decode_stored(&raw).expect(&context), expected_stored(&pairs), "{context}");
        let remote = decode_remote(&raw).expect(&context);
        let suffixes = pairs.iter().filter_map(|(key, value)| Some((Suffix::from_name(key.as_bytes())?, value)));
        let mut count = 0;
        for (suffix, value) in suffixes {
            count += 1;
            let expected = match (value, as_digest(value)) {
                (Value::Null, _) => RemoteHash::Unknown,
                (_, Some(digest)) => RemoteHash::Known(digest),
                _ => RemoteHash::Junk,
            };
            assert_eq!(remote.get(suffix), Some(&expected), "{context}: {suffix}");
        }
        assert_eq!(remote.len(), count, "{context}");
    }
}

#[test]
fn what_is_written_is_what_python_writes() {
    let mut oracle = Oracle::start("pickles.py");
    for seed in (0..SEEDS).map(Seed::fixed) {
        let mut rng = seed.rng();
        let pairs: Vec<_> = pairs(&mut rng).into_iter().filter(|(key, _)| is_suffix(key)).collect();
        let stored =
            StoredHashes { valid: rng.bool(), updated: f64::from(rng.u32(..)) / 8.0, ..expected_stored(&pairs) };
        let raw = encode_stored(&stored);
        let mut written = vec![("valid".to_owned(), stored.valid.into())];
        written.extend(stored.hashes.iter().map(|(suffix, hash)| {
            (
                suffix.to_string(),
                hash.map_or(Value::Null, |digest| String::from_utf8_lossy(&digest_to_hex(&digest)).into()),
            )
        }));
        written.push(("updated".to_owned(), stored.updated.into()));
        let question = json!({"do": "dump", "pairs": written, "protocol": 2, "python_2": false, "bytes": false});
        assert_eq!(hex(&raw), oracle.ask(&question).as_str().unwrap(), "{seed}");
        let loaded = oracle.ask(&json!({"do": "load", "raw": hex(&raw)}));
        assert_eq!(loaded, json!(written), "{seed}");
    }
}

#[test]
fn damaged_pickles_are_read_as_the_reference_reads_them_or_not_at_all() {
    let mut oracle = Oracle::start("pickles.py");
    let mut read = 0;
    for seed in (0..SEEDS * 5).map(Seed::fixed) {
        let mut rng = seed.rng();
        let count = rng.usize(..4);
        let pairs: Vec<_> = (0..count).map(|at| (format!("{at:03x}"), hash(&mut rng))).collect();
        let question =
            json!({"do": "dump", "pairs": pairs, "protocol": rng.u8(..6), "python_2": false, "bytes": false});
        let mut raw = unhex(oracle.ask(&question).as_str().expect("a pickle"));
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..raw.len());
            match rng.u8(..3) {
                0 => raw[at] = rng.u8(..),
                1 => drop(raw.remove(at)),
                _ => raw.insert(at, rng.u8(..)),
            }
        }
        let Ok(ours) = decode_remote(&raw) else { continue };
        read += 1;
        let theirs = oracle.ask(&json!({"do": "load", "raw": hex(&raw)}));
        // The reference may choke on what stands in values or keys that mean nothing here.
        let Some(theirs) = theirs.as_array() else { continue };
        for pair in theirs {
            let Some(suffix) = pair[0].as_str().and_then(|key| Suffix::from_name(key.as_bytes())) else { continue };
            let expected = match (&pair[1], as_digest(&pair[1])) {
                (Value::Null, _) => RemoteHash::Unknown,
                (_, Some(digest)) => RemoteHash::Known(digest),
                _ => RemoteHash::Junk,
            };
            assert_eq!(ours.get(suffix), Some(&expected), "{seed}: {}", raw.escape_ascii());
        }
    }
    assert!(read > 100, "most of these were refused: {read}");
}
