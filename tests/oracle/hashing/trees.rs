//! Generated partitions, as nasty as disks, crashes and operators make them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use serde_json::{Value, json};
use swift_object_replicator::names::Suffix;

use crate::support::oracle::Oracle;
use crate::support::tree::age;

/// What a generated partition holds, and what is asked of it.
#[derive(Debug)]
pub struct Spec {
    entries: Vec<Entry>,
    hashes: Stored,
    invalidations: Option<Vec<u8>>,
    /// What is wrong with the invalidations.
    pub damage: Damage,
    pub recalculate: Vec<Suffix>,
    pub listing: bool,
}

/// Whether invalidations hold more than the reference takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    None,
    /// Lines that are torn or no text (a deliberate difference).
    Some,
}

/// Something below the partition's folder.
#[derive(Debug)]
enum Entry {
    File(PathBuf),
    Folder(PathBuf),
    /// A symlink and where it leads.
    Link(PathBuf, String),
}

/// What is in `hashes.pkl`.
#[derive(Debug)]
enum Stored {
    Nothing,
    Raw(Vec<u8>),
    Pickle { protocol: u8, pairs: Vec<(String, Value)> },
}

impl Spec {
    pub fn generate(rng: &mut Rng, now: u64, reclaim_age: u64) -> Self {
        let mut entries = Vec::new();
        let mut suffixes: Vec<String> = (0..rng.usize(..6)).map(|_| suffix_name(rng)).collect();
        suffixes.sort();
        suffixes.dedup();
        rng.shuffle(&mut suffixes);
        for (at, suffix) in suffixes.iter().enumerate() {
            let times = times(rng, now, reclaim_age);
            add_suffix(rng, &mut entries, suffix, at, &times);
        }
        for stray in ["foo", "auditor.tmp", "tmpAb12Cd34.tmp", "fool"] {
            if rng.u8(..8) == 0 {
                entries.push(Entry::File(stray.into()));
            }
        }
        if rng.u8(..8) == 0 {
            entries.push(Entry::Folder("folder/abc".into()));
        }
        let there = suffixes.clone();
        // Some that exist, and some that nobody has heard of.
        suffixes.extend(["0e0".to_owned(), "fff".to_owned()]);
        let (invalidations, damage) = invalidations(rng, &suffixes);
        let chosen: Vec<_> = suffixes.iter().filter(|_| rng.u8(..4) == 0).collect();
        let (mut hashes, listing) = (stored(rng, &suffixes), rng.bool());
        // Of what is not there the reference keeps a hash for ever, and here a listing forgets it.
        if let (Stored::Pickle { pairs, .. }, true) = (&mut hashes, listing) {
            pairs.retain(|(name, _)| name.len() != 3 || there.contains(name));
        }
        Self {
            hashes,
            entries,
            invalidations,
            damage,
            recalculate: chosen.iter().filter_map(|name| Suffix::from_name(name.as_bytes())).collect(),
            listing,
        }
    }

    /// Makes the partition's tree; the two files of hashes too if `known`.
    pub fn build(&self, devices: &Path, oracle: &mut Oracle, known: bool) {
        let partition = super::partition(devices).path().to_owned();
        fs::create_dir_all(&partition).unwrap();
        for entry in &self.entries {
            match entry {
                Entry::Folder(path) => fs::create_dir_all(partition.join(path)).unwrap(),
                Entry::File(path) => {
                    fs::create_dir_all(partition.join(path).parent().unwrap()).unwrap();
                    fs::write(partition.join(path), path.to_str().unwrap()).unwrap();
                }
                Entry::Link(path, to) => {
                    fs::create_dir_all(partition.join(path).parent().unwrap()).unwrap();
                    symlink(to, partition.join(path)).unwrap();
                }
            }
        }
        age(&partition);
        let hashes = partition.join("hashes.pkl");
        match &self.hashes {
            Stored::Raw(bytes) if known => fs::write(hashes, bytes).unwrap(),
            Stored::Pickle { protocol, pairs } if known => {
                oracle.ask(&json!({"do": "dump", "path": hashes, "protocol": protocol, "pairs": pairs}));
            }
            _ => {}
        }
        if let Some(lines) = &self.invalidations {
            fs::write(partition.join("hashes.invalid"), if known { lines.as_slice() } else { b"" }).unwrap();
        }
    }
}

fn suffix_name(rng: &mut Rng) -> String {
    match rng.u8(..12) {
        0 => ["xyz", "ABC", "0G0", "a b"][rng.usize(..4)].to_owned(),
        1 => ["ab", "abcd", "0123456789"][rng.usize(..3)].to_owned(),
        _ => format!("{:03x}", rng.u16(..4096)),
    }
}

fn add_suffix(rng: &mut Rng, entries: &mut Vec<Entry>, suffix: &str, at: usize, times: &[String]) {
    let base = PathBuf::from(suffix);
    entries.push(Entry::Folder(base.clone()));
    for number in 0..rng.u8(..5) {
        // The number makes the names of what is quarantined unique: the reference replaces what has the same name.
        let hash = format!("{:026x}{at:01x}{number:02x}{suffix}", rng.u64(..));
        let path = base.join(hash);
        match rng.u8(..14) {
            0 => entries.push(Entry::File(path)),
            1 => entries.push(Entry::Folder(path)),
            2 if rng.bool() => {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                entries.push(Entry::Link(path, name));
            }
            3 => entries.push(Entry::Link(path, "nowhere".into())),
            _ => add_object(rng, entries, &path, times),
        }
    }
}

fn add_object(rng: &mut Rng, entries: &mut Vec<Entry>, path: &Path, times: &[String]) {
    let mut names: Vec<_> = (0..rng.u8(1..7)).map(|_| file_name(rng, times)).collect();
    names.sort();
    names.dedup();
    rng.shuffle(&mut names);
    entries.push(Entry::Folder(path.to_owned()));
    let has_tombstone = names.iter().any(|name| name.ends_with(".ts"));
    for name in names {
        // A folder cannot be unlinked. (Beside a tombstone that may go it is a deliberate difference.)
        let is_folder = !has_tombstone && rng.u8(..40) == 0;
        entries.push(if is_folder { Entry::Folder(path.join(name)) } else { Entry::File(path.join(name)) });
    }
}

/// A few times, so that several files of an object share one: long ago, around the age at which things are reclaimed,
/// and now.
pub fn times(rng: &mut Rng, now: u64, reclaim_age: u64) -> Vec<String> {
    let base = match rng.u8(..4) {
        0 => 1_400_000_000,
        1 => now - reclaim_age - 1000,
        2 => now - reclaim_age + 1000,
        _ => now - rng.u64(..1000),
    };
    (0..4).map(|_| format!("{:010}.{:05}", base + rng.u64(..2) * 100, rng.u32(..3))).collect()
}

/// A name such as an object's directory holds; rarely one that it should not.
pub fn file_name(rng: &mut Rng, times: &[String]) -> String {
    loop {
        let name = likely_file_name(rng, times);
        if !matches!(name.as_str(), "" | "." | "..") {
            return name;
        }
    }
}

fn likely_file_name(rng: &mut Rng, times: &[String]) -> String {
    let mut stem = times[rng.usize(..times.len())].clone();
    if rng.u8(..5) == 0 {
        stem += &format!("_{:016x}", rng.u64(..3));
    }
    match rng.u8(..20) {
        0..=6 => format!("{stem}.data"),
        7..=12 => format!("{stem}{}.meta", delta(rng)),
        13..=16 => format!("{stem}.ts"),
        17 => stem + [".durable", ".foo", "", ".DATA", "#1#d.data"][rng.usize(..5)],
        18 => format!(".{stem}.data.Ab1_{:02}", rng.u8(..100)),
        // (Infinities make the reference fail: a deliberate difference.)
        _ => timestamp_text(rng).replace("1e400", "nan") + [".data", ".meta", ".ts", "", ".x"][rng.usize(..5)],
    }
}

fn delta(rng: &mut Rng) -> String {
    match rng.u8(..10) {
        0..=3 => String::new(),
        4 => "+0".to_owned(),
        5 => "-0".to_owned(),
        // A hundred seconds, as the times are apart.
        6 => ["+989680", "-989680"][rng.usize(..2)].to_owned(),
        7 => ["+", "-", "+1-1", "-1+x", "--1"][rng.usize(..5)].to_owned(),
        _ => format!("{}{:x}", ["+", "-"][rng.usize(..2)], rng.u32(..4)),
    }
}

/// A text that may be a timestamp to someone.
pub fn timestamp_text(rng: &mut Rng) -> String {
    const ODD: [&str; 24] = [
        "",
        "nan",
        "1e5",
        "1e-7",
        "1E+3",
        " 1.0",
        "1.0 ",
        ".5",
        "5.",
        "+5",
        "-5",
        "-0.0",
        "1_",
        "_1",
        "1_0x1F",
        "1_-1",
        "1_+1",
        "9999999999.99999",
        "9999999999.999995",
        "10000000000",
        "1__1",
        "0x10",
        "1.5.5",
        "1e400",
    ];
    const CHARACTERS: [&str; 20] =
        ["0", "1", "2", "5", "9", "0", "1", "9", ".", ".", "_", "+", "-", "e", "x", "a", "f", " ", "\t", "0x"];
    match rng.u8(..6) {
        0 => ODD[rng.usize(..ODD.len())].to_owned(),
        1 => format!("{}.{:05}", rng.u64(..20_000_000_000), rng.u32(..100_000)),
        2 => format!("{}.{:05}_{:x}", rng.u64(..10_000_000_000), rng.u32(..100_000), rng.u64(..)),
        3 => format!("{}.{:05}{}", rng.u64(..2), rng.u32(..4), delta(rng)),
        4 => format!("{:.7}", rng.f64() * 1e10),
        _ => (0..rng.usize(..10)).map(|_| CHARACTERS[rng.usize(..CHARACTERS.len())]).collect(),
    }
}

fn stored(rng: &mut Rng, suffixes: &[String]) -> Stored {
    match rng.u8(..12) {
        0..=2 => return Stored::Nothing,
        3 => return Stored::Raw((0..rng.u8(..20)).map(|_| rng.u8(..)).collect()),
        4 => return Stored::Raw(b"\x80\x02}q\0(X\x03\0\0\0abcq\x01N".to_vec()),
        _ => {}
    }
    let hash = |rng: &mut Rng| match rng.u8(..6) {
        0 => Value::Null,
        _ => format!("{:032x}", rng.u128(..)).into(),
    };
    let known = suffixes.iter().filter(|name| rng.u8(..3) > 0 && (name.len() == 3 || rng.u8(..4) == 0));
    let mut pairs: Vec<_> = known.cloned().collect::<Vec<_>>().into_iter().map(|name| (name, hash(rng))).collect();
    // One that nobody looks for keeps what it has.
    pairs.push(("1e1".to_owned(), format!("{:032x}", rng.u128(..)).into()));
    if rng.u8(..4) > 0 {
        pairs.insert(0, ("valid".into(), (rng.u8(..6) > 0).into()));
    }
    if rng.u8(..4) > 0 {
        pairs.push(("updated".into(), (f64::from(rng.u32(..)) / 8.0).into()));
    }
    Stored::Pickle { protocol: rng.u8(..6), pairs }
}

fn invalidations(rng: &mut Rng, suffixes: &[String]) -> (Option<Vec<u8>>, Damage) {
    let mut lines = Vec::new();
    let mut damage = Damage::None;
    match rng.u8(..10) {
        0..=2 => return (None, damage),
        3 => return (Some(lines), damage),
        _ => {}
    }
    for _ in 0..rng.u8(..5) {
        let line = match rng.u8(..16) {
            0 => "xyz",
            1 => "hello",
            2 => "",
            3 => "ABC",
            _ => &suffixes[rng.usize(..suffixes.len())],
        };
        let end = ["\n", "\n", "\n", "\r\n", " \n", "\r"][rng.usize(..6)];
        lines.extend_from_slice(format!("{line}{end}").as_bytes());
    }
    if rng.u8(..6) == 0 {
        let torn: &[&[u8]] = &[b"\xff\n", b"ab\n", b"abcabc\n", b"\0\0\0\0"];
        lines.extend_from_slice(torn[rng.usize(..torn.len())]);
        damage = Damage::Some;
    }
    let text = String::from_utf8_lossy(&lines).into_owned();
    // Names of odd folders can look as if they were torn.
    let torn = |line: &str| line.trim().len() != 3 && line.trim().bytes().all(|c| c.is_ascii_hexdigit());
    if text.split(['\n', '\r']).any(|line| !line.trim().is_empty() && torn(line)) {
        damage = Damage::Some;
    }
    (Some(lines), damage)
}

/// All that is in a devices' folder, but for the lock files, which one creates where the other needs none, and
/// `hashes.pkl`, which is compared by what it says.
pub fn snapshot(devices: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![devices.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            let name = path.strip_prefix(devices).unwrap().to_str().unwrap().to_owned();
            if name.ends_with("/.lock") || name.ends_with("/hashes.pkl") {
                continue;
            }
            if kind.is_dir() {
                found.insert(name, "folder".to_owned());
                folders.push(path);
            } else if kind.is_symlink() {
                found.insert(name, format!("link to {}", fs::read_link(path).unwrap().display()));
            } else {
                found.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}
