use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::*;
use crate::cause::Cause;
use crate::config::settings::SsyncSettings;
use crate::device::drive::Drive;
use crate::device::fixture::{Fixture, logged, md5_hex};
use crate::device::object_files::FileMark;
use crate::format::object::ObjectHash;
use crate::names::Suffix;
use crate::ring::Device;

mod deadlines;
mod halves;
mod objects;
mod receivers;
mod rounds;

const T1: &str = "1700000001.00000";
const T2: &str = "1700000002.00000";
const HEAD: &str = "HTTP/1.1 200 OK\r\nX-Backend-Accept-No-Commit: True\r\nTransfer-Encoding: chunked\r\n\r\n";
const OK: &[&str] = &["", ":MISSING_CHECK: START", "", ":MISSING_CHECK: END"];

/// A receiver that does what a test wants: the connection of one sender.
struct Receiver {
    stream: BufReader<TcpStream>,
}

impl Receiver {
    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.stream.read_line(&mut head).unwrap() > 0, "{head:?}");
        }
        head
    }

    /// The next message; `None` after the last.
    fn message(&mut self) -> Option<String> {
        let mut size = String::new();
        self.stream.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or_else(|_| panic!("{size:?} is no size"));
        let mut message = vec![0; size + 2];
        self.stream.read_exact(&mut message).unwrap();
        assert!(message.ends_with(b"\r\n"), "a chunk ends with a line break");
        message.truncate(size);
        (size > 0).then(|| String::from_utf8_lossy(&message).into_owned())
    }

    /// The messages up to this one, which is left out.
    fn until(&mut self, last: &str) -> Vec<String> {
        let messages = std::iter::from_fn(|| self.message());
        messages.take_while(|message| message.trim_end() != last).collect()
    }

    fn raw(&mut self, text: impl AsRef<[u8]>) {
        // The sender may have gone, which is for the test to see.
        let _ = self.stream.get_mut().write_all(text.as_ref());
    }

    fn say(&mut self, line: &str) {
        self.raw(format!("{:x}\r\n{line}\r\n\r\n", line.len() + 2));
    }

    fn say_all(&mut self, lines: &[&str]) {
        lines.iter().for_each(|line| self.say(line));
    }

    /// Keeps the connection open, without a word, until the sender closes it.
    fn wait(&mut self) {
        let _ = self.stream.read_to_end(&mut Vec::new());
    }

    /// Goes through everything, wanting this: what was offered, and what was sent.
    fn talk(&mut self, wants: &[String]) -> (Vec<String>, Vec<String>) {
        let offered = self.offered(wants);
        assert_eq!(self.message().unwrap(), ":UPDATES: START\r\n");
        let sent = self.until(":UPDATES: END");
        self.say_all(&[":UPDATES: START", ":UPDATES: END"]);
        assert_eq!(self.message(), None);
        (offered, sent)
    }

    /// The first half of that.
    fn offered(&mut self, wants: &[String]) -> Vec<String> {
        self.head();
        self.raw(HEAD);
        self.say("");
        assert_eq!(self.message().unwrap(), ":MISSING_CHECK: START\r\n");
        let offered = self.until(":MISSING_CHECK: END");
        self.say(":MISSING_CHECK: START");
        wants.iter().for_each(|want| self.say(want));
        self.say_all(&["", ":MISSING_CHECK: END"]);
        offered
    }
}

/// Starts a receiver; also the device that it answers for.
fn receiver<T: Send + 'static>(script: impl FnOnce(&mut Receiver) -> T + Send + 'static) -> (Device, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let device = device("127.0.0.1", listener.local_addr().unwrap().port());
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut receiver = Receiver { stream: BufReader::new(stream) };
        let result = script(&mut receiver);
        let _ = receiver.stream.get_ref().shutdown(Shutdown::Both);
        result
    });
    (device, thread)
}

/// Starts a receiver of several conversations, one after the other.
fn receiver_of<T: Send + 'static>(scripts: Vec<Script<T>>) -> (Device, JoinHandle<Vec<T>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let device = device("127.0.0.1", listener.local_addr().unwrap().port());
    let thread = thread::spawn(move || {
        let talk = |script: Script<T>| {
            let (stream, _) = listener.accept().unwrap();
            let mut receiver = Receiver { stream: BufReader::new(stream) };
            let result = script(&mut receiver);
            let _ = receiver.stream.get_ref().shutdown(Shutdown::Both);
            result
        };
        scripts.into_iter().map(talk).collect()
    });
    (device, thread)
}

type Script<T> = Box<dyn FnOnce(&mut Receiver) -> T + Send>;

fn device(ip: &str, port: u16) -> Device {
    Device { id: 1, replication_ip: ip.to_owned(), replication_port: port, ..Device::sample() }
}

/// Pushes all of the fixture's objects; also the lines that are logged.
fn push(fixture: &Fixture, to: &Device) -> (Result<Synced, SsyncError>, Vec<String>) {
    push_within(fixture, to, Duration::from_secs(20))
}

fn push_within(fixture: &Fixture, to: &Device, limit: Duration) -> (Result<Synced, SsyncError>, Vec<String>) {
    push_only(fixture, to, limit, None)
}

fn push_only(
    fixture: &Fixture,
    to: &Device,
    limit: Duration,
    only: Option<&BTreeSet<ObjectHash>>,
) -> (Result<Synced, SsyncError>, Vec<String>) {
    push_by(&sender(fixture, limit), fixture, to, only)
}

fn sender(fixture: &Fixture, limit: Duration) -> Sender {
    Sender::new(
        &SsyncSettings {
            conn_timeout: limit,
            node_timeout: limit,
            http_timeout: limit,
            network_chunk_size: 4096,
            disk_chunk_size: 65_536,
        },
        Duration::from_secs(1 << 32),
        fixture.salts.clone(),
    )
}

fn push_by(
    sender: &Sender,
    fixture: &Fixture,
    to: &Device,
    only: Option<&BTreeSet<ObjectHash>>,
) -> (Result<Synced, SsyncError>, Vec<String>) {
    let suffixes = suffixes(fixture);
    let push = SsyncPush { dir: &fixture.dir, drive: None, suffixes: &suffixes, to, only, with_marks: true };
    logged(|| sender.sync(&push, &()))
}

fn suffixes(fixture: &Fixture) -> Vec<Suffix> {
    let mut suffixes: Vec<_> = fs::read_dir(fixture.dir.path())
        .unwrap()
        .filter_map(|entry| Suffix::from_name(entry.unwrap().file_name().as_encoded_bytes()))
        .collect();
    suffixes.sort();
    suffixes
}

/// A partition with one small object, and what is said to want it.
fn one_object() -> (Fixture, String) {
    let fixture = Fixture::new();
    let hash = fixture.put("/a/c/o", T1, b"data", &[]);
    (fixture, format!("{hash} dm"))
}

/// The names of the candidates' files, by object.
fn candidates(synced: &Synced) -> Vec<(ObjectHash, Vec<String>)> {
    let names = |marks: &[FileMark]| marks.iter().map(|(name, _)| name.to_str().unwrap().to_owned()).collect();
    synced.candidates.iter().map(|candidate| (candidate.hash, names(&candidate.marks))).collect()
}

/// Fails unless the push to a receiver that does this ends with this line.
#[track_caller]
fn assert_fails(script: impl FnOnce(&mut Receiver) + Send + 'static, line: &str) {
    assert_fails_within(Duration::from_secs(20), script, line);
}

#[track_caller]
fn assert_fails_within(limit: Duration, script: impl FnOnce(&mut Receiver) + Send + 'static, line: &str) {
    let (fixture, _) = one_object();
    let (to, thread) = receiver(script);
    let (outcome, lines) = push_within(&fixture, &to, limit);
    let error = outcome.unwrap_err();
    assert_eq!(error.to_string(), line);
    let level = if error.is_busy() { "INFO" } else { "ERROR" };
    assert_eq!(lines, [format!("{level} 127.0.0.1:{}/sdb/7 {line}", to.replication_port)]);
    thread.join().unwrap();
    assert!(fixture.folder("/a/c/o").exists());
}

/// More bytes than the buffers between two processes take.
const HUGE: usize = 24 << 20;

/// A partition with a huge object.
fn huge_object() -> (Fixture, String) {
    let fixture = Fixture::new();
    let hash = fixture.put("/a/c/huge", T1, &vec![b'x'; HUGE], &[]);
    (fixture, format!("{hash} d"))
}
