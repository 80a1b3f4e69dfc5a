//! Metadata, messages and lines of SSYNC, held against the reference's sender and receiver.

use fastrand::Rng;
use serde_json::{Value, json};
use swift_object_replicator::format::metadata::{Metadata, append_latin1};
use swift_object_replicator::format::object::{ObjectHash, ObjectName, Salts, Times};
use swift_object_replicator::format::timestamp::Timestamp;
use swift_object_replicator::peer::ssync::answer::{Lines, NextLine};
use swift_object_replicator::peer::ssync::codec;
use swift_object_replicator::peer::ssync::verdict::Verdict;

use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

const ROUNDS: usize = 400;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("hexadecimal digits") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn unhex_value(value: &Value) -> Vec<u8> {
    unhex(value.as_str().expect("a text"))
}

/// Some bytes: text as Swift stores it, other text, or anything.
fn bytes(rng: &mut Rng) -> Vec<u8> {
    let pieces = ["", "blue", "1700000011.00011", "caf\u{c3}\u{a9}", "é", "€", "x", " ", "\u{85}", "𝄞", "a: b", "%"];
    match rng.u8(..8) {
        0 => (0..rng.usize(..9)).map(|_| rng.u8(..)).collect(),
        1 => vec![b'x'; rng.usize(..400)],
        _ => (0..rng.usize(..4)).flat_map(|_| rng.choice(&pieces).expect("pieces").bytes()).collect(),
    }
}

/// Names and values of metadata, as bytes.
fn items(rng: &mut Rng) -> Vec<(Vec<u8>, Vec<u8>)> {
    let keys = ["name", "ETag", "Content-Length", "content-length", "Content-Type", "X-Timestamp", "A", "é", "Zz"];
    let mut items: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for _ in 0..rng.usize(..12) {
        let key = match rng.u8(..4) {
            0 => format!("X-Object-Meta-{}", rng.u8(..)).into_bytes(),
            1 => bytes(rng),
            _ => rng.choice(&keys).expect("keys").as_bytes().to_vec(),
        };
        if items.iter().all(|(other, _)| *other != key) {
            items.push((key, bytes(rng)));
        }
    }
    items
}

/// A pickle of metadata as some version of Swift stored it.
fn pickle(rng: &mut Rng, oracle: &mut Oracle) -> Vec<u8> {
    let items = items(rng);
    if rng.u8(..4) == 0 {
        let string = |text: &Vec<u8>| [b"T", &(text.len() as u32).to_le_bytes()[..], text].concat();
        let body = items.iter().flat_map(|(key, value)| [string(key), b"q\x02".to_vec(), string(value)].concat());
        return [b"\x80\x02}q\x01(".to_vec(), body.collect(), b"u.".to_vec()].concat();
    }
    let items: Vec<_> = items.iter().map(|(key, value)| [hex(key), hex(value)]).collect();
    // Protocol 2 is what Swift uses; others could come.
    let protocol = *rng.choice(&[2, 2, 2, 3, 4, 5]).expect("protocols");
    unhex_value(&oracle.ask(&json!({"about": "dump", "items": items, "protocol": protocol})))
}

/// What both say of a pickle must agree, and nothing may be called damaged that the reference can read.
fn assert_same_metadata(oracle: &mut Oracle, pickle: &[u8], seed: &Seed) {
    let theirs = oracle.ask(&json!({"about": "metadata", "pickle": hex(pickle)}));
    match Metadata::decode(pickle) {
        Ok(metadata) => {
            let mut ours: Vec<_> = metadata.iter().map(|(key, value)| json!([hex(key), hex(value)])).collect();
            ours.sort_by_key(Value::to_string);
            let mut theirs = theirs.as_array().cloned().unwrap_or_else(|| panic!("{seed}: {}", hex(pickle)));
            theirs.sort_by_key(Value::to_string);
            assert_eq!(ours, theirs, "{seed}: {}", hex(pickle));
        }
        Err(error) if error.is_corrupt() => assert_eq!(theirs, Value::Null, "{seed}: {error}: {}", hex(pickle)),
        Err(_) => {}
    }
}

#[test]
fn metadata_are_read_as_the_reference_reads_them() {
    let seed = Seed::of_this_run();
    let (mut rng, mut oracle) = (seed.rng(), Oracle::start("ssync.py"));
    for _ in 0..ROUNDS {
        let pickle = pickle(&mut rng, &mut oracle);
        Metadata::decode(&pickle).unwrap_or_else(|error| panic!("{seed}: {error}: {}", hex(&pickle)));
        assert_same_metadata(&mut oracle, &pickle, &seed);
    }
}

#[test]
fn no_metadata_are_called_damaged_that_the_reference_can_read() {
    let seed = Seed::of_this_run();
    let (mut rng, mut oracle) = (seed.rng(), Oracle::start("ssync.py"));
    for _ in 0..ROUNDS {
        let mut pickle = pickle(&mut rng, &mut oracle);
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..pickle.len());
            match rng.u8(..5) {
                0 => pickle.truncate(at),
                1 => drop(pickle.remove(at)),
                2 => pickle.insert(at, *rng.choice(b"(}us.q\x94h0N]X)\x86R\x85tK\x8cUc").expect("opcodes")),
                3 => pickle[at] = rng.u8(..),
                _ => pickle[at] ^= 1 << rng.u8(..8),
            }
            if pickle.is_empty() {
                break;
            }
        }
        assert_same_metadata(&mut oracle, &pickle, &seed);
    }
}

#[test]
fn subrequests_are_the_references() {
    let seed = Seed::of_this_run();
    let (mut rng, mut oracle) = (seed.rng(), Oracle::start("ssync.py"));
    let name = ObjectName::parse(b"/a/c/o").expect("a name");
    for _ in 0..ROUNDS {
        let pickle = pickle(&mut rng, &mut oracle);
        let metadata = Metadata::decode(&pickle).expect("a pickle of metadata");
        for method in ["PUT", "POST"] {
            let theirs = oracle.ask(&json!({"about": "subrequest", "method": method, "pickle": hex(&pickle)}));
            let mut ours = Vec::new();
            let written = match method {
                "PUT" => codec::put(&mut ours, name, &metadata, 0),
                _ => codec::post(&mut ours, name, &metadata),
            };
            match written {
                Ok(()) => assert_eq!(json!(hex(&ours)), theirs, "{seed}"),
                Err(codec::HeaderError::NotLatin1(_)) => assert_eq!(theirs, Value::Null, "{seed}"),
                // The reference sends what the receiver takes for something else.
                Err(codec::HeaderError::LineBreak(_)) => {}
            }
        }
    }
}

#[test]
fn a_text_goes_out_as_latin_1_or_not_at_all() {
    let seed = Seed::of_this_run();
    let (mut rng, mut oracle) = (seed.rng(), Oracle::start("ssync.py"));
    for _ in 0..ROUNDS {
        let value = bytes(&mut rng);
        let items = json!([[hex(b"A"), hex(&value)]]);
        let pickle = unhex_value(&oracle.ask(&json!({"about": "dump", "items": items, "protocol": 2})));
        let theirs = oracle.ask(&json!({"about": "subrequest", "method": "POST", "pickle": hex(&pickle)}));
        let mut ours = Vec::new();
        let is_latin1 = append_latin1(Metadata::decode(&pickle).expect("metadata").get("A").expect("A"), &mut ours);
        assert_eq!(is_latin1, theirs.is_string(), "{seed}");
        if is_latin1 {
            let expected = [b"A: ".as_slice(), &ours, b"\r\n"].concat();
            let sent = unhex_value(&theirs);
            assert!(sent.windows(expected.len()).any(|part| part == expected), "{seed}: {}", sent.escape_ascii());
        }
    }
}

fn timestamp(rng: &mut Rng) -> Timestamp {
    let fraction = if rng.bool() { rng.u32(..100_000) } else { 0 };
    let offset = match rng.u8(..4) {
        0 => format!("_{:x}", rng.u64(..)),
        1 => format!("_{:x}", rng.u64(..3)),
        _ => String::new(),
    };
    let seconds = if rng.u8(..8) == 0 { rng.u64(..10_000_000_000) } else { 1_700_000_000 + rng.u64(..3) };
    Timestamp::parse(format!("{seconds:010}.{fraction:05}{offset}")).expect("a timestamp")
}

#[test]
fn offers_are_the_references_and_are_read_by_its_receiver() {
    let seed = Seed::of_this_run();
    let (mut rng, mut oracle) = (seed.rng(), Oracle::start("ssync.py"));
    for _ in 0..ROUNDS {
        let hash = ObjectHash::from_name(format!("{:032x}", rng.u128(..)).as_bytes()).expect("a hash");
        let data = timestamp(&mut rng);
        let later = |rng: &mut Rng| match rng.u8(..5) {
            0 => None,
            1 => Some(data),
            2 => Some(Timestamp::ZERO),
            _ => Some(timestamp(rng)),
        };
        let times = Times { data, meta: later(&mut rng), content_type: later(&mut rng) };
        let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let theirs = oracle.ask(&json!({
            "about": "missing", "hash": hash.to_string(),
            "times": {"ts_data": text(Some(data)), "ts_meta": text(times.meta), "ts_ctype": text(times.content_type)},
        }));
        let mut chunk = Vec::new();
        codec::offer(&mut chunk, hash, &times);
        let chunk = String::from_utf8(chunk).expect("ASCII");
        let line = chunk.split_once("\r\n").expect("a chunk").1.strip_suffix("\r\n\r\n").expect("a line in a chunk");
        assert_eq!(json!(line), theirs["line"], "{seed}: {times:?}");
        // What the receiver understands, where it is told of a part.
        let is_told = |key| line.contains(key);
        assert_eq!(theirs["read"][0], json!(data.to_string()), "{seed}");
        if let Some(meta) = times.meta.filter(|_| is_told("m:")) {
            assert_eq!(theirs["read"][1], json!(meta.to_string()), "{seed}: {line}");
        }
        if let Some(content_type) = times.content_type.filter(|_| is_told("t:")) {
            assert_eq!(theirs["read"][2], json!(content_type.to_string()), "{seed}: {line}");
        }
    }
}

#[test]
fn wants_are_read_as_the_reference_reads_them() {
    let seed = Seed::of_this_run();
    let (mut rng, mut oracle) = (seed.rng(), Oracle::start("ssync.py"));
    let hash = "4c03f3f53e065aa1d93a854912c68b20";
    for _ in 0..ROUNDS {
        let word = |rng: &mut Rng| -> String {
            (0..rng.usize(1..4)).map(|_| *rng.choice(b"dmxD,").expect("letters") as char).collect()
        };
        let parts: Vec<String> = (0..rng.usize(..3)).map(|_| word(&mut rng)).collect();
        let theirs = oracle.ask(&json!({"about": "wanted", "parts": parts}));
        let (_, want) = codec::parse_want(format!("{hash} {}", parts.join(" ")).as_bytes()).expect("a want");
        let has = |part: &str| theirs[part] == json!(true);
        assert_eq!((want.data, want.meta), (has("data"), has("meta")), "{seed}: {parts:?}");
    }
}

#[test]
fn names_are_hashed_and_quoted_as_the_reference_does() {
    let seed = Seed::of_this_run();
    let (mut rng, mut oracle) = (seed.rng(), Oracle::start("ssync.py"));
    let salts = Salts { prefix: b"before".to_vec(), suffix: b"after".to_vec() };
    for _ in 0..ROUNDS {
        let pieces = ["/", "a", "/c", "/o", "é", "%", " ", "//", "~", "\n", "?", "\u{7f}"];
        let mut name: Vec<u8> = b"/".to_vec();
        (0..rng.usize(..9)).for_each(|_| name.extend_from_slice(rng.choice(&pieces).expect("pieces").as_bytes()));
        if rng.u8(..9) == 0 {
            name.push(rng.u8(..));
        }
        let theirs = oracle.ask(&json!({"about": "name", "name": hex(&name)}));
        let ours = ObjectName::parse(&name).map(|name| {
            let mut quoted = Vec::new();
            name.quote_into(&mut quoted);
            json!([salts.hash(name).to_string(), String::from_utf8(quoted).expect("ASCII")])
        });
        assert_eq!(json!(ours), theirs, "{seed}: {}", name.escape_ascii());
    }
}

#[test]
fn lines_are_read_as_the_reference_reads_them() {
    let seed = Seed::of_this_run();
    let (mut rng, mut oracle) = (seed.rng(), Oracle::start("ssync.py"));
    for _ in 0..ROUNDS {
        let mut answer = Vec::new();
        for _ in 0..rng.usize(..8) {
            let text: String =
                (0..rng.usize(..20)).map(|_| *rng.choice(b"ab \r\n\n").expect("letters") as char).collect();
            let extension = *rng.choice(&["", "", ";x=1"]).expect("extensions");
            answer.extend_from_slice(format!("{:x}{extension}\r\n{text}\r\n", text.len()).as_bytes());
        }
        match rng.u8(..4) {
            0 => {
                answer.truncate(rng.usize(..=answer.len()));
                // To the reference a size that is cut off is one.
                let line = answer.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                if answer[line..].starts_with(b"0") {
                    answer.truncate(line);
                }
            }
            1 => answer.extend_from_slice(b"junk\r\n"),
            _ => answer.extend_from_slice(b"0\r\n\r\n"),
        }
        let size = rng.usize(1..24);
        let theirs = oracle.ask(&json!({"about": "lines", "answer": hex(&answer), "size": size}));
        let (mut lines, mut input, mut found) = (Lines::new(size), &answer[..], Vec::new());
        let is_whole = loop {
            match lines.next(&mut input) {
                Ok(NextLine::Line(line)) => found.push(hex(line)),
                Ok(NextLine::End) => break true,
                Ok(NextLine::NeedsMore) | Err(_) => break false,
            }
        };
        assert_eq!(json!([found, is_whole]), theirs, "{seed}: {}", answer.escape_ascii());
    }
}

#[test]
fn what_the_references_receiver_says_when_it_gives_up_is_understood() {
    let mut oracle = Oracle::start("ssync.py");
    let mut last_line = |statuses: &[u16], threshold: u32, busy: bool, locked: bool, junk: &str| {
        let said = oracle.ask(&json!({
            "about": "receiver", "statuses": statuses, "threshold": threshold, "busy": busy, "locked": locked,
            "junk": junk,
        }));
        let lines: Vec<_> = said.as_array().expect("a list").iter().map(unhex_value).collect();
        let line = lines.last().expect("a line").trim_ascii().to_vec();
        (Verdict::parse(&line), line.escape_ascii().to_string())
    };
    let mut assert_is = |statuses: &[u16], threshold, busy, locked, junk, expected| {
        let (verdict, line) = last_line(statuses, threshold, busy, locked, junk);
        assert_eq!(verdict, expected, "{line}");
    };
    assert_is(&[204, 404, 204], 100, false, false, "", None);
    assert_is(&[], 100, true, false, "", Some(Verdict::Busy));
    assert_is(&[], 100, false, true, "", Some(Verdict::Busy));
    assert_is(&[204, 409, 404, 507], 100, false, false, "", Some(Verdict::Refused { refused: 2, done: 2 }));
    assert_is(&[204, 403, 403, 204], 2, false, false, "", Some(Verdict::BrokeOff { after: Some(3) }));
    assert_is(&[204], 100, false, false, "DELETE\r\n", Some(Verdict::BrokeOff { after: None }));
    let strange = "PUT /a/c/o\r\nContent-Length: it's\r\n\r\n";
    assert_is(&[204], 100, false, false, strange, Some(Verdict::BrokeOff { after: None }));
}
