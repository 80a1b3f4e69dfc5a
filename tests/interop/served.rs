//! What real object servers say of objects when our client asks for them one by one.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime};

use swift_object_replicator::config::settings::ReplicateSettings;
use swift_object_replicator::format::timestamp::Timestamp;
use swift_object_replicator::names::{Partition, PolicyIndex};
use swift_object_replicator::peer::replicate::{Client, ReplicateError, Served};
use swift_object_replicator::ring::Device;

use crate::support::cluster::{Disk, Lease, Spec};
use crate::support::node::OBJECT_PORT;
use crate::support::object::{Object, time};

/// A node with a real object server, and a client that asks it.
struct Asked {
    cluster: Lease,
    disk: Disk,
    client: Client,
}

impl Asked {
    fn new() -> Self {
        let cluster = Spec::nodes(1).replicas(1.0).lease();
        let disk = cluster.disks()[0].clone();
        let limit = Duration::from_secs(20);
        let settings = ReplicateSettings { conn_timeout: limit, http_timeout: limit };
        Self { cluster, disk, client: Client::new(&settings, "object-replicator 4711") }
    }

    fn with(name: &str, body: &[u8]) -> (Self, Object) {
        let asked = Self::new();
        let object = asked.object(name);
        asked.cluster.put(&asked.disk, &as_sent(&object), &time(1), body);
        (asked, object)
    }

    fn object(&self, name: &str) -> Object {
        Object::new(name, 0, self.cluster.part_power(0))
    }

    fn device(&self) -> Device {
        let ip = self.disk.address.to_string();
        Device {
            id: 0,
            region: 1,
            zone: 1,
            ip: ip.clone(),
            port: OBJECT_PORT,
            device: self.disk.name.clone(),
            weight: 1.0,
            meta: String::new(),
            replication_ip: ip,
            replication_port: OBJECT_PORT,
        }
    }

    fn ask(&self, object: &Object) -> Served {
        self.ask_as(object.partition, format!("/{}", object.name).as_bytes()).expect("the object server answers")
    }

    fn ask_as(&self, partition: u32, name: &[u8]) -> Result<Served, ReplicateError> {
        self.client.object(&self.device(), PolicyIndex::new(0), Partition::new(partition), name)
    }

    /// The object's only file.
    fn file(&self, object: &Object) -> PathBuf {
        let names = object.files(&self.disk);
        assert_eq!(names.len(), 1, "{names:?}");
        object.folder(&self.disk).join(&names[0])
    }

    fn quarantined(&self, object: &Object) -> bool {
        self.disk.path.join("quarantined/objects").join(&object.hash).is_dir()
    }
}

/// The object as a request names it.
fn as_sent(object: &Object) -> Object {
    let quote = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'/' | b'_' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    Object { name: object.name.bytes().map(quote).collect(), ..object.clone() }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a test's own time")
}

fn object_of(second: u32) -> Served {
    Served::Object { data: at(&time(second)), newest: at(&time(second)) }
}

#[test]
fn an_object_its_new_metadata_and_its_end_have_their_times() {
    let (asked, object) = Asked::with("AUTH_test/stuff/o", b"some data");
    assert_eq!(asked.ask(&asked.object("AUTH_test/stuff/another")), Served::Nothing);
    assert_eq!(asked.ask(&object), object_of(1));
    asked.cluster.post(&asked.disk, &object, &time(2), &[("X-Object-Meta-Colour", "blue")]);
    assert_eq!(asked.ask(&object), Served::Object { data: at(&time(1)), newest: at(&time(2)) });
    asked.cluster.delete(&asked.disk, &object, &time(3));
    assert_eq!(asked.ask(&object), Served::Deleted { at: at(&time(3)) });
    // An object of no bytes, and the connection is still in step.
    asked.cluster.put(&asked.disk, &object, &time(4), b"");
    assert_eq!(asked.ask(&object), object_of(4));
    assert_eq!(asked.ask(&object), object_of(4));
}

#[test]
fn times_with_offsets_are_told_with_them() {
    let asked = Asked::new();
    let object = asked.object("AUTH_test/stuff/moved");
    let (put, post) = (format!("{}_0000000000000001", time(1)), format!("{}_00000000000000a2", time(1)));
    asked.cluster.put(&asked.disk, &object, &put, b"data");
    assert_eq!(asked.ask(&object), Served::Object { data: at(&put), newest: at(&put) });
    asked.cluster.post(&asked.disk, &object, &post, &[]);
    assert_eq!(asked.ask(&object), Served::Object { data: at(&put), newest: at(&post) });
    let delete = format!("{}_00000000000000a3", time(1));
    asked.cluster.delete(&asked.disk, &object, &delete);
    assert_eq!(asked.ask(&object), Served::Deleted { at: at(&delete) });
}

#[test]
fn an_object_that_has_expired_is_served() {
    let (asked, object) = Asked::with("AUTH_test/stuff/short-lived", b"data");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    asked.cluster.post(&asked.disk, &object, &time(2), &[("X-Delete-At", &(now + 3).to_string())]);
    let begin = std::time::Instant::now();
    while asked.cluster.get(&asked.disk, &object).status != 404 {
        assert!(begin.elapsed() < Duration::from_secs(30), "it never expires");
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(asked.ask(&object), Served::Object { data: at(&time(1)), newest: at(&time(2)) });
}

#[test]
fn a_file_of_another_length_than_its_metadata_say_is_not_served_and_goes_to_quarantine() {
    for length in [0, 3, 100] {
        let (asked, object) = Asked::with("AUTH_test/stuff/cut", b"whole data");
        let file = fs::OpenOptions::new().write(true).open(asked.file(&object)).expect("the object's file");
        file.set_len(length).expect("a file of the test's own");
        assert_eq!(asked.ask(&object), Served::Nothing, "{length} bytes");
        assert!(asked.quarantined(&object), "{length} bytes");
        assert_eq!(asked.ask(&object), Served::Nothing);
    }
}

#[test]
fn a_file_without_metadata_is_not_served_and_goes_to_quarantine() {
    let (asked, object) = Asked::with("AUTH_test/stuff/bare", b"data");
    xattr::remove(asked.file(&object), "user.swift.metadata").expect("it has metadata");
    assert_eq!(asked.ask(&object), Served::Nothing);
    assert!(asked.quarantined(&object));
}

#[test]
fn a_file_whose_metadata_are_damaged_is_not_served_and_goes_to_quarantine() {
    let (asked, object) = Asked::with("AUTH_test/stuff/damaged", b"data");
    let file = asked.file(&object);
    let mut metadata = xattr::get(&file, "user.swift.metadata").expect("readable").expect("it has metadata");
    let place = metadata.windows(10).position(|bytes| bytes == b"text/plain").expect("its content type");
    metadata[place] ^= 1;
    xattr::set(&file, "user.swift.metadata", &metadata).expect("writable");
    assert_eq!(asked.ask(&object), Served::Nothing);
    assert!(asked.quarantined(&object));
}

/// The data are not looked at, as with a GET until the last byte was sent.
#[test]
fn a_file_of_the_right_length_with_other_data_is_served() {
    let (asked, object) = Asked::with("AUTH_test/stuff/rotten", b"whole data");
    fs::write(asked.file(&object), b"other data").expect("a file of the test's own");
    assert_eq!(asked.ask(&object), object_of(1));
}

#[test]
fn a_file_that_is_another_objects_tells_nothing() {
    let (asked, object) = Asked::with("AUTH_test/stuff/o", b"data");
    let other = asked.object("AUTH_test/stuff/other");
    fs::create_dir_all(other.folder(&asked.disk)).expect("a folder");
    let file = asked.file(&object);
    fs::hard_link(&file, other.folder(&asked.disk).join(file.file_name().expect("a file"))).expect("one file system");
    assert_eq!(asked.ask(&other), Served::CannotTell(403));
    assert_eq!(asked.ask(&object), object_of(1));
}

#[test]
fn names_of_any_bytes_are_asked_for_as_they_are() {
    let names = [
        "AUTH_test/stuff/with blank",
        "AUTH_test/stuff/a?b=c&d#e",
        "AUTH_test/stuff/100%25 %zz",
        "AUTH_test/stuff/two\nlines\r\n",
        "AUTH_test/stuff/\t\u{1}\u{7f}\\\"'<>^`{|}",
        "AUTH_test/stuff/żółw ☃ 𝔊",
        "AUTH_test/stuff/a//b/../c/./",
        "AUTH_test/stuff//",
        "AUTH_test/stuff/~._-+;:@=,!$*()[]",
        "AUTH tést/sto?ff/o",
    ];
    let asked = Asked::new();
    for name in names {
        let object = asked.object(name);
        assert_eq!(asked.ask(&object), Served::Nothing, "{name:?}");
        asked.cluster.put(&asked.disk, &as_sent(&object), &time(1), b"data");
        assert_eq!(object.files(&asked.disk).len(), 1, "{name:?}");
        assert_eq!(asked.ask(&object), object_of(1), "{name:?}");
    }
    let longest = asked.object(&format!("AUTH_test/stuff/{}", "ż".repeat(512)));
    asked.cluster.put(&asked.disk, &as_sent(&longest), &time(1), b"data");
    assert_eq!(asked.ask(&longest), object_of(1));
}

#[test]
fn what_is_no_name_is_no_request_or_tells_nothing() {
    let asked = Asked::new();
    assert_eq!(asked.ask_as(0, b"/AUTH_test/stuff/\xff\xfe").expect("an answer"), Served::CannotTell(412));
    assert_eq!(asked.ask_as(0, b"/AUTH_test/stuff").expect("an answer"), Served::CannotTell(400));
    for name in [&b""[..], b"AUTH_test/stuff/o", &[b'/'; 9000]] {
        let error = asked.ask_as(0, name).unwrap_err();
        assert!(matches!(error, ReplicateError::Request(_)), "{error:?}");
    }
}

#[test]
fn a_policy_that_the_server_does_not_know_tells_nothing() {
    let (asked, object) = Asked::with("AUTH_test/stuff/o", b"data");
    let name = format!("/{}", object.name);
    for _ in 0..2 {
        let policy = PolicyIndex::new(7);
        let answer = asked.client.object(&asked.device(), policy, Partition::new(object.partition), name.as_bytes());
        assert_eq!(answer.expect("an answer"), Served::CannotTell(503));
    }
}

#[test]
fn an_object_with_as_much_metadata_as_swift_takes_is_served() {
    let (asked, object) = Asked::with("AUTH_test/stuff/described", b"data");
    let names: Vec<_> = (0..90).map(|n| format!("X-Object-Meta-K{n:02}")).collect();
    let meta: Vec<_> = names.iter().map(|name| (name.as_str(), "v")).collect();
    asked.cluster.post(&asked.disk, &object, &time(2), &meta);
    assert_eq!(asked.ask(&object), Served::Object { data: at(&time(1)), newest: at(&time(2)) });
}
