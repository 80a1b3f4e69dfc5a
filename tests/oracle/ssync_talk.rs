//! Whole conversations: the reference's sender and ours push the same partition to the same receiver, and send the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use swift_object_replicator::config::settings::SsyncSettings;
use swift_object_replicator::device::layout::PartitionDir;
use swift_object_replicator::format::object::{ObjectHash, ObjectName, Salts};
use swift_object_replicator::names::{Partition, PolicyIndex, Suffix};
use swift_object_replicator::peer::ssync::{Sender, SsyncPush};
use swift_object_replicator::ring::Device;

use crate::support::guard::Scratch;
use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

const ROUNDS: u64 = 12;
const PARTITION: u32 = 7;
const RECLAIM_AGE: u64 = 604_800;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn salts() -> Salts {
    Salts { prefix: b"before".to_vec(), suffix: b"after".to_vec() }
}

/// A folder of devices with one partition on one of them.
struct Devices {
    folder: Scratch,
    policy: u32,
}

impl Devices {
    fn new(policy: u32) -> Self {
        Self { folder: Scratch::new("talk"), policy }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn dir(&self) -> PartitionDir {
        PartitionDir::new(self.path(), "sda", PolicyIndex::new(self.policy), Partition::new(PARTITION))
    }

    /// The same again.
    fn copy(&self) -> Self {
        let copy = Self::new(self.policy);
        let copied = Command::new("cp").args(["-a", "-T"]).arg(self.path()).arg(copy.path()).status();
        assert!(copied.expect("cp starts").success());
        copy
    }

    fn suffixes(&self) -> Vec<Suffix> {
        let entries = fs::read_dir(self.dir().path()).expect("a partition");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut suffixes: Vec<_> =
            entries.filter_map(|entry| Suffix::from_name(name(entry).as_encoded_bytes())).collect();
        suffixes.sort();
        suffixes
    }

    /// The files of objects, in place and in quarantine.
    fn files(&self) -> BTreeSet<PathBuf> {
        let (mut files, mut folders) = (BTreeSet::new(), vec![self.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let entry = entry.expect("an entry");
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.file_type().expect("a type").is_dir() {
                    folders.push(entry.path());
                } else if !name.starts_with("hashes.") && !name.starts_with(".lock") {
                    files.insert(entry.path().strip_prefix(self.path()).expect("below").to_owned());
                }
            }
        }
        files
    }
}

/// Makes an object of some kind; what of it cannot be sent.
struct Maker<'r> {
    rng: &'r mut Rng,
    oracle: &'r mut Oracle,
    dir: PartitionDir,
    now: u64,
}

impl Maker<'_> {
    /// A time so many seconds ago.
    fn ago(&self, seconds: u64) -> String {
        format!("{:010}.00000", self.now - seconds)
    }

    fn store(&mut self, name: &str, file: &str, body: &[u8], metadata: &BTreeMap<String, String>) {
        let hash = salts().hash(ObjectName::parse(name.as_bytes()).expect("a name"));
        let path = self.dir.suffix_path(hash.suffix()).join(hash.to_string()).join(file);
        self.oracle.ask(&json!({
            "about": "store", "path": path, "body": hex(body), "metadata": metadata,
            "python2": self.rng.u8(..4) == 0, "xattr_size": *self.rng.choice(&[65_536, 254, 40]).expect("sizes"),
        }));
    }

    fn metadata(&mut self, name: &str, time: &str) -> BTreeMap<String, String> {
        let mut metadata =
            BTreeMap::from([("name".to_owned(), name.to_owned()), ("X-Timestamp".to_owned(), time.to_owned())]);
        for (key, value) in [("X-Object-Meta-Color", "blue"), ("X-Object-Meta-Size", ""), ("X-Object-Sysmeta-A", "b")] {
            if self.rng.bool() {
                metadata.insert(key.to_owned(), value.to_owned());
            }
        }
        metadata
    }

    fn put(&mut self, name: &str, time: &str, body: &[u8], changes: &[(&str, &str)]) {
        let mut metadata = self.metadata(name, time);
        metadata.insert("Content-Type".to_owned(), "text/plain".to_owned());
        metadata.insert("Content-Length".to_owned(), body.len().to_string());
        metadata.insert("ETag".to_owned(), hex(&Md5::digest(body)));
        metadata.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self.store(name, &format!("{time}.data"), body, &metadata);
    }

    fn post(&mut self, name: &str, file: &str, time: &str, changes: &[(&str, &str)]) {
        let mut metadata = self.metadata(name, time);
        metadata.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self.store(name, file, b"", &metadata);
    }

    fn object(&mut self, number: usize) {
        let base = *self.rng.choice(&["o", "with space", "é/ø", "a%b?c"]).expect("names");
        let name = format!("/AUTH_a/c/{base}-{number}");
        let length = *self.rng.choice(&[0, 1, 4, 1000, 65_535, 65_536, 65_537, 200_000]).expect("lengths");
        let body = vec![self.rng.u8(..); length];
        let (stored, changed, typed) = (self.ago(90), self.ago(30), self.ago(60));
        match self.rng.u8(..12) {
            0..=2 => self.put(&name, &stored, &body, &[]),
            3 => {
                self.put(&name, &stored, &body, &[]);
                self.post(&name, &format!("{changed}.meta"), &changed, &[]);
            }
            4 => {
                let file = format!("{typed}+0.meta");
                let content_type = [("Content-Type", "text/new"), ("Content-Type-Timestamp", typed.as_str())];
                self.put(&name, &stored, &body, &[]);
                self.post(&name, &file, &typed, &content_type);
                self.post(&name, &format!("{changed}.meta"), &changed, &[]);
            }
            5 => {
                let metadata = self.metadata(&name, &changed);
                self.put(&name, &stored, &body, &[]);
                self.store(&name, &format!("{changed}.ts"), b"", &metadata);
            }
            6 => {
                let old = self.ago(RECLAIM_AGE + 90);
                let metadata = self.metadata(&name, &old);
                self.store(&name, &format!("{old}.ts"), b"", &metadata);
            }
            7 => self.put(&name, &stored, &body, &[("X-Delete-At", "1")]),
            8 => self.put(&name, &stored, &body, &[("Content-Length", "7")]),
            9 => self.put(&name, &stored, &body, &[("X-Delete-At", "soon")]),
            10 => self.post(&name, &format!("{changed}.meta"), &changed, &[]),
            _ => {
                self.put(&name, &self.ago(120), b"older", &[]);
                self.put(&name, &stored, &body, &[]);
            }
        }
    }
}

/// What a sender sent.
#[derive(Debug, PartialEq)]
struct Sent {
    head: String,
    /// Sorted, since folders are listed in any order.
    offers: BTreeSet<String>,
    /// What came after the answer to the offers.
    updates: Vec<u8>,
}

/// A receiver that wants of each object what its hash and the seed say, and talks to one sender.
fn receive(listener: &TcpListener, seed: u64) -> Sent {
    let (stream, _) = listener.accept().expect("a sender");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).expect("a head") > 0);
    }
    say(&mut stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\r\n\r\n");
    let offers: BTreeSet<String> = std::iter::from_fn(|| message(&mut stream))
        .map(|message| String::from_utf8(message).expect("ASCII"))
        .take_while(|message| message != ":MISSING_CHECK: END\r\n")
        .skip(1)
        .collect();
    chunk(&mut stream, ":MISSING_CHECK: START\r\n");
    for offer in &offers {
        let hash = &offer[..32];
        let mut rng = Rng::with_seed(seed ^ u64::from_str_radix(&hash[..16], 16).expect("digits"));
        if let Some(want) = [Some(" dm"), Some(" d"), Some(" m"), Some(""), None][rng.usize(..5)] {
            chunk(&mut stream, &format!("{hash}{want}\r\n"));
        }
    }
    chunk(&mut stream, ":MISSING_CHECK: END\r\n");
    let mut updates = Vec::new();
    while !updates.ends_with(b"f\r\n:UPDATES: END\r\n\r\n") {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).expect("the sender sends");
        if read == 0 {
            // It only asked.
            return Sent { head, offers, updates };
        }
        updates.extend_from_slice(&part[..read]);
    }
    chunk(&mut stream, ":UPDATES: START\r\n");
    chunk(&mut stream, ":UPDATES: END\r\n");
    let _ = stream.read_to_end(&mut updates);
    Sent { head, offers, updates }
}

fn message(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut size = String::new();
    stream.read_line(&mut size).expect("a size");
    let mut message = vec![0; usize::from_str_radix(size.trim_end(), 16).expect("digits") + 2];
    stream.read_exact(&mut message).expect("a chunk");
    message.truncate(message.len() - 2);
    (!message.is_empty()).then_some(message)
}

fn say(stream: &mut BufReader<TcpStream>, text: &str) {
    stream.get_mut().write_all(text.as_bytes()).expect("the sender reads");
}

fn chunk(stream: &mut BufReader<TcpStream>, text: &str) {
    say(stream, &format!("{:x}\r\n{text}\r\n", text.len()));
}

fn listen(listener: &TcpListener, seed: u64) -> JoinHandle<Sent> {
    let listener = listener.try_clone().expect("a descriptor");
    thread::spawn(move || receive(&listener, seed))
}

/// Pushes with the reference's sender, or asks with it.
fn theirs(oracle: &mut Oracle, devices: &Devices, port: u16, only: Option<&BTreeSet<ObjectHash>>) -> Value {
    let suffixes: Vec<_> = devices.suffixes().iter().map(Suffix::to_string).collect();
    let only = only.map(|only| only.iter().map(ObjectHash::to_string).collect::<Vec<_>>());
    oracle.ask(&json!({
        "about": "sync", "devices": devices.path(), "device": "sda", "partition": PARTITION, "policy": devices.policy,
        "ip": "127.0.0.1", "port": port, "to": "sdb", "suffixes": suffixes, "reclaim_age": RECLAIM_AGE, "only": only,
    }))
}

/// Pushes with ours; the candidates' hashes, sorted.
fn ours(devices: &Devices, port: u16, only: Option<&BTreeSet<ObjectHash>>) -> Vec<String> {
    let limit = Duration::from_secs(20);
    let sender = Sender::new(
        &SsyncSettings {
            conn_timeout: limit,
            node_timeout: limit,
            http_timeout: limit,
            network_chunk_size: 65_536,
            disk_chunk_size: 65_536,
        },
        Duration::from_secs(RECLAIM_AGE),
        salts(),
    );
    let ip = "127.0.0.1".to_owned();
    let (device, meta) = ("sdb".to_owned(), String::new());
    let (id, region, zone, weight, replication_ip, replication_port) = (0, 1, 1, 1.0, ip.clone(), port);
    let to = Device { id, region, zone, ip, port, device, weight, meta, replication_ip, replication_port };
    let (dir, suffixes) = (devices.dir(), devices.suffixes());
    let push = SsyncPush { dir: &dir, drive: None, suffixes: &suffixes, to: &to, only, with_marks: true };
    let synced = sender.sync(&push, &()).expect("the receiver is a good one");
    synced.candidates.iter().map(|candidate| candidate.hash.to_string()).collect()
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

#[test]
fn both_senders_send_the_same() {
    let run = Seed::of_this_run();
    let mut oracle = Oracle::start("ssync.py");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    for round in 0..ROUNDS {
        let seed = run.value().wrapping_add(round);
        let mut rng = Rng::with_seed(seed);
        let context = format!("round {round} of {run}");
        let devices = Devices::new(rng.u32(..2));
        let count = rng.usize(1..20);
        let mut maker = Maker { rng: &mut rng, oracle: &mut oracle, dir: devices.dir(), now: now() };
        (0..count).for_each(|number| maker.object(number));
        let copy = devices.copy();

        let receiver = listen(&listener, seed);
        let answer = theirs(&mut oracle, &devices, port, None);
        let their_sent = receiver.join().expect("the reference's sender is a good one");
        assert_eq!(answer["success"], json!(true), "{context}: {answer}");
        let receiver = listen(&listener, seed);
        let candidates = ours(&copy, port, None);
        let our_sent = receiver.join().expect("a good sender");

        assert_eq!((&our_sent.head, &our_sent.offers), (&their_sent.head, &their_sent.offers), "{context}");
        let shown = |sent: &Sent| sent.updates.escape_ascii().to_string();
        assert!(
            our_sent.updates == their_sent.updates,
            "{context}\nours {}\ntheirs {}",
            shown(&our_sent),
            shown(&their_sent)
        );
        assert_eq!(copy.files(), devices.files(), "{context}");
        // The reference also names what it could not send.
        let named: BTreeSet<String> = serde_json::from_value(answer["candidates"].clone()).expect("hashes");
        let quarantined = answer["lines"].as_array().expect("lines").iter().filter(|line| line[0] == "METRIC").count();
        assert!(candidates.iter().all(|hash| named.contains(hash)), "{context}");
        assert_eq!(candidates.len() + quarantined, named.len(), "{context}: {candidates:?} {answer}");
    }
}

#[test]
fn both_senders_ask_the_same() {
    let run = Seed::of_this_run();
    let mut oracle = Oracle::start("ssync.py");
    let (mut rng, seed) = (run.rng(), run.value());
    let devices = Devices::new(0);
    let mut maker = Maker { rng: &mut rng, oracle: &mut oracle, dir: devices.dir(), now: now() };
    (0..30).for_each(|number| maker.object(number));
    let all: Vec<ObjectHash> = devices
        .files()
        .iter()
        .filter_map(|file| ObjectHash::from_name(file.parent()?.file_name()?.as_encoded_bytes()))
        .collect();
    let only: BTreeSet<ObjectHash> = all.into_iter().filter(|_| rng.bool()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();

    let receiver = listen(&listener, seed);
    let answer = theirs(&mut oracle, &devices, port, Some(&only));
    let their_sent = receiver.join().expect("the reference's sender is a good one");
    let receiver = listen(&listener, seed);
    let candidates = ours(&devices, port, Some(&only));
    let our_sent = receiver.join().expect("a good sender");
    assert_eq!(our_sent, their_sent, "{run}");
    assert_eq!(json!(candidates), answer["candidates"], "{run}");
}
