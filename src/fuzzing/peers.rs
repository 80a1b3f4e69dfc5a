//! What other nodes and rsync say, and the templates that lead to them.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use super::{file, scratch, split_at_byte};
use crate::config::settings::{ReplicateSettings, RsyncSettings, SsyncSettings};
use crate::device::layout::PartitionDir;
use crate::format::object::{ObjectHash, ObjectName, Salts};
use crate::format::pickle::decode_remote;
use crate::names::{Partition, PolicyIndex, Suffix};
use crate::peer::module::interpolate;
use crate::peer::replicate::Client;
use crate::peer::rsync::{PartSuffixes, Push, Rsync};
use crate::peer::ssync::answer::{Lines, NextLine};
use crate::peer::ssync::codec::parse_want;
use crate::peer::ssync::{Sender, SsyncPush};
use crate::ring::Device;

const POLICY: PolicyIndex = PolicyIndex::new(0);
const PARTITION: Partition = Partition::new(7);
/// Nobody here is slow, so nothing takes longer.
const LIMIT: Duration = Duration::from_secs(2);

fn device(name: &str, at: SocketAddr) -> Device {
    Device {
        id: 1,
        region: 1,
        zone: 2,
        ip: at.ip().to_string(),
        port: at.port(),
        device: name.to_owned(),
        weight: 1.0,
        meta: name.to_owned(),
        replication_ip: at.ip().to_string(),
        replication_port: at.port(),
    }
}

/// A template of modules, and behind a NUL byte the name of a device.
pub(super) fn modules(bytes: &[u8]) {
    let (template, name) = split_at_byte(bytes, 0);
    let (template, name) = (String::from_utf8_lossy(template), String::from_utf8_lossy(name));
    let to = device(&name, SocketAddr::from(([127, 0, 0, 1], 6200)));
    match interpolate(&template, &to) {
        Ok(module) if !template.contains(['{', '}']) => assert_eq!(module, template),
        Ok(module) => {
            let fields = template.matches('{').count();
            let most = template.len() + fields * (1024 * 4 + 12 * name.len() + 64);
            assert!(module.len() <= most, "{} bytes", module.len());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// What rsync says: its exit code, what goes to stdout, and behind a NUL byte what goes to stderr.
pub(super) fn rsync_output(bytes: &[u8]) {
    let Some((code, output)) = bytes.split_first() else { return };
    let (stdout, stderr) = split_at_byte(output, 0);
    file("stdout", stdout);
    file("stderr", stderr);
    file("code", code.to_string().as_bytes());
    let datadir = scratch().join("objects");
    fs::create_dir_all(datadir.join("7/abc")).expect("our own folder can be written to");
    let options = RsyncSettings {
        timeout: LIMIT,
        io_timeout: "30".to_owned(),
        bwlimit: "0".to_owned(),
        compress: false,
        fallback_module: None,
        module: "{replication_ip}::object".to_owned(),
        log_transfers: true,
        error_line_length: 0,
        nodelay: true,
        batch: 128,
    };
    let abc = Suffix::from_name(b"abc").expect("it is one");
    let parts = [PartSuffixes { partition: PARTITION, suffixes: vec![abc] }];
    let to = device("sda", SocketAddr::from(([127, 0, 0, 1], 6200)));
    let push = Push::new(&datadir, POLICY, &parts, &to, false);
    let rsync = Rsync::new(options).with_program(SPEAKER);
    let pushed = rsync.push(&push, &());
    assert!(*code == 0 || pushed.is_err(), "it did not end well, whatever it said");
}

/// A program that says what stands in the files above the folder that it is started in.
const SPEAKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/speak");

/// A socket at a free port. Connections that have ended keep their ports for a minute, so there may be none: then it waits,
/// for less than a fuzzer takes for a hang.
fn listener() -> TcpListener {
    for _ in 0..150 {
        match TcpListener::bind("127.0.0.1:0") {
            Err(error) if error.kind() == ErrorKind::AddrInUse => thread::sleep(Duration::from_millis(100)),
            bound => return bound.expect("this machine has a loopback address"),
        }
    }
    panic!("no port of 127.0.0.1 became free in 15 seconds");
}

/// A node that answers one request with these bytes, and then hears the rest of it.
fn answering(bytes: &[u8]) -> Device {
    let listener = listener();
    let to = device("sda", listener.local_addr().expect("it has one"));
    let bytes = bytes.to_vec();
    thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        // The other side may hang up whenever it has heard enough.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.set_read_timeout(Some(LIMIT));
        let _ = std::io::copy(&mut stream.take(1 << 20), &mut std::io::sink());
    });
    to
}

/// The answer to REPLICATE, over a socket.
pub(super) fn replicate(bytes: &[u8]) {
    let settings = ReplicateSettings { conn_timeout: LIMIT, http_timeout: LIMIT };
    let told = Client::new(&settings, "fuzzer").hashes(&answering(bytes), POLICY, PARTITION);
    let Some(body) = plain_body(bytes) else { return };
    match (told, decode_remote(body)) {
        (Ok(told), Ok(read)) => assert_eq!(told, read),
        (Ok(told), Err(error)) => panic!("{told:?} out of what cannot be read: {error}"),
        (Err(error), Ok(_)) => panic!("{error} for a good answer"),
        (Err(_), Err(_)) => {}
    }
}

/// The body of an answer that leaves no room for opinions: status 200, and one length.
fn plain_body(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(b"HTTP/1.1 200 OK\r\nContent-Length: ")?;
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    let length: usize = str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    let digits = rest[..end].iter().all(u8::is_ascii_digit) && end < 8;
    rest[end..].strip_prefix(b"\r\n\r\n")?.get(..length).filter(|_| digits)
}

/// The answer to SSYNC: its lines as they come in one piece and byte by byte, its words, and a whole conversation over a
/// socket.
pub(super) fn ssync(bytes: &[u8]) {
    assert_eq!(lines(bytes, bytes.len().max(1)), lines(bytes, 1));
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some((hash, want)) = parse_want(line) {
            let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            assert!(words.next().is_some_and(|word| word.eq_ignore_ascii_case(&hash.to_hex())) && want.anything());
        }
    }
    let salts = Salts { prefix: b"before".to_vec(), suffix: b"after".to_vec() };
    let (dir, hash) = partition_of_one(&salts);
    let options = SsyncSettings {
        conn_timeout: LIMIT,
        node_timeout: LIMIT,
        http_timeout: LIMIT,
        network_chunk_size: 65_536,
        disk_chunk_size: 65_536,
    };
    let to = answering(bytes);
    let suffixes = [hash.suffix()];
    let push = SsyncPush { dir: &dir, drive: None, suffixes: &suffixes, to: &to, only: None, with_marks: false };
    if let Ok(synced) = Sender::new(&options, Duration::from_secs(604_800), salts).sync(&push, &()) {
        assert!(synced.wanted <= synced.available && synced.candidates.len() <= synced.available);
    }
}

/// The lines that come out of an answer that arrives in pieces of this size, and how it ended.
fn lines(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, bool) {
    let mut lines = Lines::new(1000);
    let mut found = Vec::new();
    for piece in bytes.chunks(piece) {
        let mut input = piece;
        loop {
            match lines.next(&mut input) {
                Ok(NextLine::Line(line)) => found.push(line.to_vec()),
                Ok(NextLine::NeedsMore) => break,
                Ok(NextLine::End) => return (found, true),
                Err(_) => return (found, false),
            }
        }
    }
    (found, true)
}

/// A partition with an object in it, where the file system takes its metadata.
fn partition_of_one(salts: &Salts) -> (PartitionDir, ObjectHash) {
    let dir = PartitionDir::new(&scratch(), "sda", POLICY, PARTITION);
    let hash = salts.hash(ObjectName::parse(b"/a/c/o").expect("it is one"));
    let folder = dir.suffix_path(hash.suffix()).join(hash.to_string());
    let path = folder.join("1700000001.00000.data");
    if !path.exists() {
        let pickle = b"(dS'name'\nS'/a/c/o'\nsS'X-Timestamp'\nS'1700000001.00000'\nsS'Content-Length'\nS'4'\n\
                       sS'ETag'\nS'8d777f385d3dfec8815d20f7496026dc'\nsS'Content-Type'\nS'x'\ns.";
        fs::create_dir_all(&folder).and_then(|()| fs::write(&path, "data")).expect("our own folder can be written to");
        // Where there are no attributes, nothing is offered.
        let _ = rustix::fs::setxattr(&path, "user.swift.metadata", pickle, rustix::fs::XattrFlags::empty());
    }
    (dir, hash)
}
