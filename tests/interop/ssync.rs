//! Our SSYNC sender and real object servers.
//!
//! The sender is called as a library, on a device of one node, to push to a device of another one. What arrived is then
//! asked of the receiving server, and Swift's own auditor looks at it.

mod large;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use swift_object_replicator::cause::Cause;
use swift_object_replicator::config::settings::SsyncSettings;
use swift_object_replicator::device::layout::PartitionDir;
use swift_object_replicator::format::object::{ObjectHash, Salts};
use swift_object_replicator::heartbeat::Heartbeat;
use swift_object_replicator::names::{Partition, PolicyIndex, Suffix};
use swift_object_replicator::peer::ssync::{Sender, SsyncError, SsyncPush, Synced};
use swift_object_replicator::ring::Device;
use ureq::http::Request;

use crate::support::cluster::{Disk, HASH_PREFIX, HASH_SUFFIX, Lease, Spec};
use crate::support::guard::until;
use crate::support::node::OBJECT_PORT;
use crate::support::object::{Object, hex, time};
use crate::support::oracle::Oracle;
use crate::support::tree::{Tree, copy, restore};

/// Where everything happens: few partitions, so that many objects share one.
const PARTITION: u32 = 1;

/// Two nodes that both have every partition; objects are stored on the first and pushed to the second.
pub(super) struct Scene {
    pub(super) cluster: Lease,
    oracle: Oracle,
    policy: u32,
    pub(super) from: Disk,
    pub(super) to: Disk,
}

/// Names and values of metadata.
pub(super) type Items<'a> = &'a [(&'a str, &'a str)];

impl Scene {
    pub(super) fn new() -> Self {
        Self::of_policy(0)
    }

    fn of_policy(policy: u32) -> Self {
        let cluster = Spec::nodes(2).replicas(2.0).part_power(1).policy(1).lease();
        let (from, to) = (cluster.disks()[0].clone(), cluster.disks()[1].clone());
        Self { cluster, oracle: Oracle::start("ssync.py"), policy, from, to }
    }

    pub(super) fn object(&self) -> Object {
        self.cluster.object_in(self.policy, PARTITION)
    }

    /// An object whose name is like no other's.
    fn object_named(&self, name: &str) -> Object {
        let mut candidates = (0..).map(|n| format!("AUTH_test/stuff/{name}-{n}"));
        let object = |name: String| Object::new(&name, self.policy, self.cluster.part_power(self.policy));
        candidates.find_map(|name| Some(object(name)).filter(|object| object.partition == PARTITION)).expect("endless")
    }

    /// Writes a file of an object on the first node, as a Python 2 or an older Swift did.
    pub(super) fn write(
        &mut self,
        object: &Object,
        file: &str,
        body: &[u8],
        items: Items<'_>,
        python2: bool,
        xattr_size: usize,
    ) {
        let mut metadata: BTreeMap<&str, &str> = items.iter().copied().collect();
        let (name, length, etag) = (format!("/{}", object.name), body.len().to_string(), md5(body));
        metadata.insert("name", &name);
        if file.ends_with(".data") {
            for (key, value) in [("Content-Length", length.as_str()), ("ETag", &etag), ("Content-Type", "text/plain")] {
                metadata.entry(key).or_insert(value);
            }
        }
        let path = object.folder(&self.from).join(file);
        self.oracle.ask(&json!({
            "about": "store", "path": path, "body": hex(body), "metadata": metadata, "python2": python2,
            "xattr_size": xattr_size,
        }));
    }

    fn dir(&self) -> PartitionDir {
        let devices = self.from.path.parent().expect("a folder of devices");
        PartitionDir::new(devices, &self.from.name, PolicyIndex::new(self.policy), Partition::new(PARTITION))
    }

    fn suffixes(&self) -> Vec<Suffix> {
        suffixes_of(&self.dir())
    }

    pub(super) fn push(&self) -> Result<Synced, SsyncError> {
        self.push_to(&device(&self.to), None)
    }

    fn push_to(&self, to: &Device, only: Option<&BTreeSet<ObjectHash>>) -> Result<Synced, SsyncError> {
        let (dir, suffixes) = (self.dir(), self.suffixes());
        sender().sync(&SsyncPush { dir: &dir, drive: None, suffixes: &suffixes, to, only, with_marks: true }, &())
    }

    /// Pushes with the reference's sender.
    fn push_with_reference(&mut self) -> Value {
        let suffixes: Vec<_> = self.suffixes().iter().map(Suffix::to_string).collect();
        self.oracle.ask(&json!({
            "about": "sync", "devices": self.from.path.parent(), "device": self.from.name, "partition": PARTITION,
            "policy": self.policy, "ip": self.to.address, "port": OBJECT_PORT, "to": self.to.name,
            "suffixes": suffixes, "reclaim_age": 604_800, "only": null,
        }))
    }

    /// What the object server of a disk's node answers to a GET: status, headers, body.
    fn answer(&self, disk: &Disk, object: &Object) -> (u16, BTreeMap<String, Vec<u8>>, Vec<u8>) {
        let server = self.cluster.nodes[disk.node].object_address();
        let uri = format!("http://{server}/{}/{PARTITION}/{}", disk.name, quoted(&object.name));
        let request = Request::builder().uri(uri).header("X-Backend-Storage-Policy-Index", self.policy);
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = agent.run(request.body(()).expect("a request")).expect("the object server answers");
        let passing = ["date", "connection", "x-trans-id", "x-openstack-request-id"];
        let headers = response.headers().iter().filter(|(name, _)| !passing.contains(&name.as_str()));
        let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        let body = response.body_mut().read_to_vec().expect("all of it");
        (response.status().as_u16(), headers, body)
    }

    /// The metadata of each file of an object, as the reference reads them.
    fn metadata(&mut self, disk: &Disk, object: &Object) -> BTreeMap<String, Value> {
        let read = |path: &Path| {
            let attributes =
                (0..).map(|n| format!("user.swift.metadata{}", if n == 0 { String::new() } else { n.to_string() }));
            let pieces = attributes.map_while(|name| xattr::get(path, name).expect("attributes can be read"));
            pieces.flatten().collect::<Vec<u8>>()
        };
        let files = object.files(disk);
        let folder = object.folder(disk);
        let mut of =
            |file: &String| self.oracle.ask(&json!({"about": "metadata", "pickle": hex(&read(&folder.join(file)))}));
        files.iter().map(|file| (file.clone(), of(file))).collect()
    }

    /// Fails unless both nodes have the same of an object: files, metadata, and what the servers say.
    #[track_caller]
    fn assert_same(&mut self, object: &Object) {
        let (from, to) = (self.from.clone(), self.to.clone());
        assert_eq!(self.metadata(&to, object), self.metadata(&from, object), "{object:?}");
        assert_eq!(self.answer(&to, object), self.answer(&from, object), "{object:?}");
    }

    /// Fails if Swift's auditor finds anything wrong on the receiving node.
    #[track_caller]
    fn assert_audited(&self) {
        let said = self.cluster.nodes[self.to.node].run_tool("swift-object-auditor", &["once", "verbose"]);
        assert!(!said.contains("ERROR") && !said.contains("uarantined object"), "{said}");
        assert!(said.contains("Object audit (ALL)"), "it looked at nothing: {said}");
        assert!(!self.to.path.join("quarantined").exists());
    }

    pub(super) fn hash(object: &Object) -> ObjectHash {
        ObjectHash::from_name(object.hash.as_bytes()).expect("a hash")
    }
}

fn sender() -> Sender {
    let settings = SsyncSettings {
        conn_timeout: Duration::from_secs(5),
        // A busy machine may not answer for a long while.
        node_timeout: Duration::from_secs(120),
        http_timeout: Duration::from_secs(600),
        network_chunk_size: 65_536,
        disk_chunk_size: 65_536,
    };
    let salts = Salts { prefix: HASH_PREFIX.into(), suffix: HASH_SUFFIX.into() };
    Sender::new(&settings, Duration::from_secs(604_800), salts)
}

fn suffixes_of(dir: &PartitionDir) -> Vec<Suffix> {
    let entries = fs::read_dir(dir.path()).expect("a partition");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut suffixes: Vec<_> = entries.filter_map(|entry| Suffix::from_name(name(entry).as_encoded_bytes())).collect();
    suffixes.sort();
    suffixes
}

/// A disk as rings have it.
fn device(disk: &Disk) -> Device {
    let ip = disk.address.to_string();
    Device {
        id: disk.id,
        region: disk.region.into(),
        zone: 1,
        ip: ip.clone(),
        port: OBJECT_PORT,
        device: disk.name.clone(),
        weight: 100.0,
        meta: String::new(),
        replication_ip: ip,
        replication_port: OBJECT_PORT,
    }
}

pub(super) fn md5(body: &[u8]) -> String {
    hex(&Md5::digest(body))
}

fn quoted(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-~/".contains(&byte);
    name.bytes().map(|b| if is_plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The place of an object whose files are not the same afterwards.
const MERGED: usize = 5;

/// Stores one object of each kind, as Swift stores or has stored them.
fn store_every_kind(scene: &mut Scene) -> Vec<Object> {
    let (t1, t2, t3) = (time(1), time(2), time(3));
    let from = scene.from.clone();
    let mut objects: Vec<Object> = (0..12).map(|_| scene.object()).collect();
    let put = |scene: &Scene, object: &Object, body: &[u8]| scene.cluster.put(&from, object, &t1, body);

    put(scene, &objects[0], b"some data");
    put(scene, &objects[1], b"");
    put(scene, &objects[2], &vec![b'x'; 300_000]);
    put(scene, &objects[3], b"changed");
    scene.cluster.post(&from, &objects[3], &t2, &[("X-Object-Meta-Color", "blue")]);
    put(scene, &objects[4], b"typed");
    scene.cluster.post(&from, &objects[4], &t2, &[("Content-Type", "text/new"), ("X-Object-Meta-Color", "blue")]);
    scene.cluster.post(&from, &objects[4], &t3, &[("X-Object-Meta-Color", "red")]);
    // Two metadata files, the older one for its content type; they arrive as one.
    put(scene, &objects[MERGED], b"typed by an older file");
    let typed = [("X-Timestamp", t2.as_str()), ("Content-Type", "text/new"), ("Content-Type-Timestamp", t2.as_str())];
    scene.write(&objects[MERGED].clone(), &format!("{t2}+0.meta"), b"", &typed, false, 65_536);
    let plain = [("X-Timestamp", t3.as_str()), ("X-Object-Meta-Color", "red")];
    scene.write(&objects[MERGED].clone(), &format!("{t3}.meta"), b"", &plain, false, 65_536);
    put(scene, &objects[6], b"deleted");
    scene.cluster.delete(&from, &objects[6], &t2);
    scene.cluster.delete(&from, &objects[7], &t2);
    // As earlier versions of Swift wrote them.
    let items =
        [("X-Timestamp", t1.as_str()), ("X-Object-Meta-Farbe", "gr\u{c3}\u{bc}n"), ("X-Object-Sysmeta-Key", "v")];
    scene.write(&objects[8].clone(), &format!("{t1}.data"), b"split", &items, false, 100);
    let items = [("X-Timestamp", t1.as_str()), ("X-Object-Meta-Color", "blue"), ("X-Object-Meta-Empty", "")];
    scene.write(&objects[9].clone(), &format!("{t1}.data"), b"python 2", &items, true, 0);
    let items = [("X-Timestamp", t1.as_str()), ("X-Delete-At", "1500000000"), ("X-Static-Large-Object", "True")];
    scene.write(&objects[10].clone(), &format!("{t1}.data"), b"expired", &items, false, 65_536);
    scene.write(&objects[11].clone(), &format!("{t1}.data"), b"python 2", &[("X-Timestamp", &t1)], true, 0);
    let farbe = [("X-Timestamp", t2.as_str()), ("X-Object-Meta-Farbe", "grün")];
    scene.write(&objects[11].clone(), &format!("{t2}.meta"), b"", &farbe, true, 0);

    let named = scene.object_named("größe %25 \u{1f600}?a=b");
    let items = [("X-Timestamp", t1.as_str()), ("X-Object-Meta-A", "%0a")];
    scene.write(&named, &format!("{t1}.data"), b"named", &items, false, 65_536);
    objects.push(named);
    objects
}

/// Every kind of object, in one policy.
fn every_kind_arrives(policy: u32) {
    let mut scene = Scene::of_policy(policy);
    let objects = store_every_kind(&mut scene);
    let synced = scene.push().unwrap();
    assert_eq!((synced.available, synced.wanted, synced.others), (objects.len(), objects.len(), 0));
    assert_eq!(synced.candidates.len(), objects.len());
    for (n, object) in objects.iter().enumerate() {
        if n == MERGED {
            assert_eq!(scene.answer(&scene.to, object), scene.answer(&scene.from, object));
        } else {
            scene.assert_same(object);
        }
        let marks = &synced.candidates.get(Scene::hash(object)).expect("a candidate").marks;
        let mut names: Vec<_> = marks.iter().map(|(name, _)| name.to_str().expect("ASCII").to_owned()).collect();
        names.sort();
        assert_eq!(names, object.files(&scene.from));
    }
    scene.assert_audited();
    // Now there is nothing left to send.
    let again = scene.push().unwrap();
    assert_eq!((again.available, again.wanted), (objects.len(), 0));
    assert_eq!(again.candidates, synced.candidates);
}

#[test]
fn every_kind_of_object_arrives_as_it_was() {
    every_kind_arrives(0);
}

#[test]
fn every_kind_of_object_of_another_policy_arrives_as_it_was() {
    every_kind_arrives(1);
}

#[test]
fn both_senders_leave_the_same_behind() {
    let mut scene = Scene::new();
    let objects = store_every_kind(&mut scene);
    // The receiver has some of it, older or newer.
    scene.cluster.put(&scene.to, &objects[0], &time(0), b"older");
    scene.cluster.put(&scene.to, &objects[1], &time(5), b"newer");
    scene.cluster.put(&scene.to, &objects[3], &time(1), b"changed");
    scene.cluster.put(&scene.to, &objects[6], &time(1), b"deleted");
    let kept = tempfile::tempdir_in(scene.from.path.parent().expect("a folder")).expect("writable");
    let disks = [scene.from.path.clone(), scene.to.path.clone()];
    let saved = [kept.path().join("from"), kept.path().join("to")];
    disks.iter().zip(&saved).for_each(|(disk, saved)| copy(disk, saved));

    let answer = scene.push_with_reference();
    assert_eq!(answer["success"], json!(true), "{answer}");
    let theirs = disks.each_ref().map(|disk| Tree::of(disk));
    disks.iter().zip(&saved).for_each(|(disk, saved)| restore(saved, disk));
    let synced = scene.push().unwrap();
    let ours = disks.each_ref().map(|disk| Tree::of(disk));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours.differences(theirs), "");
    }
    let named: Vec<String> = serde_json::from_value(answer["candidates"].clone()).expect("hashes");
    let confirmed: Vec<_> = synced.candidates.iter().map(|candidate| candidate.hash.to_string()).collect();
    assert_eq!(confirmed, named);
}

#[test]
fn damaged_objects_stay_behind_and_the_others_arrive() {
    let mut scene = Scene::new();
    let objects: Vec<Object> = (0..5).map(|_| scene.object()).collect();
    let file = format!("{}.data", time(1));
    objects.iter().for_each(|object| scene.cluster.put(&scene.from, object, &time(1), b"some data"));
    let from = scene.from.clone();
    let path = |object: &Object| object.folder(&from).join(&file);
    fs::write(path(&objects[1]), b"evil data").unwrap();
    fs::write(path(&objects[2]), b"short").unwrap();
    xattr::set(path(&objects[3]), "user.swift.metadata_checksum", b"0123").unwrap();
    for name in ["user.swift.metadata", "user.swift.metadata_checksum"] {
        xattr::remove(path(&objects[4]), name).unwrap();
    }
    let synced = scene.push().unwrap();
    assert_eq!((synced.available, synced.wanted, synced.quarantined), (5, 5, 3));
    let confirmed: Vec<_> = synced.candidates.iter().map(|candidate| candidate.hash).collect();
    assert_eq!(confirmed, [Scene::hash(&objects[0])]);
    scene.assert_same(&objects[0]);
    for object in &objects[1..] {
        assert_eq!(object.files(&scene.to), [""; 0]);
    }
    let quarantined = fs::read_dir(scene.from.path.join("quarantined/objects")).unwrap().count();
    assert_eq!((quarantined, path(&objects[4]).exists()), (3, true));
    scene.assert_audited();
}

#[test]
fn damage_that_is_found_too_late_is_refused_by_the_receiver() {
    let mut scene = Scene::new();
    let (good, evil) = (scene.object(), scene.object());
    scene.cluster.put(&scene.from, &good, &time(1), b"some data");
    scene.cluster.put(&scene.from, &evil, &time(1), &vec![b'x'; 1 << 20]);
    let data = evil.folder(&scene.from).join(format!("{}.data", time(1)));
    let file = fs::File::options().write(true).open(data).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"y", 1000).unwrap();
    let error = scene.push().unwrap_err();
    assert_eq!(error.quarantined, 1);
    let line = "Unexpected response: \":ERROR: 500 b'ERROR: With :UPDATES: 1 failures to 1 successes'\"";
    assert_eq!(error.to_string(), line);
    assert_eq!(evil.files(&scene.to), [""; 0]);
    scene.assert_same(&good);
    scene.assert_audited();
    assert_eq!(scene.push().unwrap().candidates.len(), 1, "the other one is there");
}

#[test]
fn a_second_receiver_is_asked_before_anything_may_go() {
    let cluster = Spec::nodes(3).replicas(3.0).part_power(1).lease();
    let [from, to, other] = [0, 1, 2].map(|node| cluster.disks()[node].clone());
    let scene = Scene { cluster, oracle: Oracle::start("ssync.py"), policy: 0, from, to };
    let objects: Vec<Object> = (0..3).map(|_| scene.object()).collect();
    objects.iter().for_each(|object| scene.cluster.put(&scene.from, object, &time(1), b"some data"));
    scene.cluster.put(&other, &objects[0], &time(1), b"some data");
    scene.cluster.put(&other, &objects[1], &time(0), b"older data");
    let mut synced = scene.push().unwrap();
    assert_eq!(synced.candidates.len(), 3);
    let asked = scene.push_to(&device(&other), Some(&synced.candidates.hashes())).unwrap();
    assert_eq!((asked.available, asked.wanted), (3, 2));
    synced.candidates.retain_common(&asked.candidates);
    let common: Vec<_> = synced.candidates.iter().map(|candidate| candidate.hash).collect();
    assert_eq!(common, [Scene::hash(&objects[0])]);
    assert_eq!(objects[1].files(&other), [format!("{}.data", time(0))], "nothing was sent");
}

#[test]
fn a_receiver_that_is_busy_or_has_no_such_device_says_so() {
    let scene = Scene::new();
    scene.cluster.put(&scene.from, &scene.object(), &time(1), b"some data");
    let strange = Device { device: "sdz".to_owned(), ..device(&scene.to) };
    let error = scene.push_to(&strange, None).unwrap_err();
    assert!(error.to_string().starts_with("Expected status 200; got 507 (b'<html>"), "{error}");
    assert!(!error.is_busy() && error.cause() == Cause::Unmounted);

    let server = scene.cluster.nodes[scene.to.node].object_address();
    let mut others: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(server).unwrap()).collect();
    for (n, other) in others.iter_mut().enumerate() {
        // Each talks about a partition of its own, so that none waits for another's lock.
        let head = format!("SSYNC /{}/{} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", scene.to.name, 1000 + n);
        other.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"2\r\n\r\n\r\n") {
            let mut byte = [0];
            other.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
    }
    // A server takes four at once; the answer to a fifth is in its body.
    let error = scene.push().unwrap_err();
    assert!(error.to_string().starts_with("Unexpected response: \":ERROR: 503 b'<html>"), "{error}");
    assert!(error.is_busy());
    drop(others);
    assert!(until(Duration::from_secs(30), || scene.push().is_ok()), "it is free again");
}

/// Counts signs of life.
#[derive(Default)]
struct Beats(AtomicUsize);

impl Heartbeat for Beats {
    fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_receiver_that_dies_in_the_middle_of_an_object_gets_it_again() {
    let mut scene = Scene::new();
    let (small, large) = (scene.object(), scene.object());
    scene.cluster.put(&scene.from, &small, &time(1), b"some data");
    write_zeros(&scene.from, &large, 400 << 20);
    let (dir, suffixes, to) = (scene.dir(), scene.suffixes(), device(&scene.to));
    let beats = &Beats::default();
    let outcome = thread::scope(|scope| {
        let push = SsyncPush { dir: &dir, drive: None, suffixes: &suffixes, to: &to, only: None, with_marks: true };
        let pushing = scope.spawn(move || sender().sync(&push, beats));
        // Each is at most a piece of 64 KiB.
        assert!(until(Duration::from_secs(60), || beats.0.load(Ordering::Relaxed) > 1000), "nothing moves");
        scene.cluster.nodes[scene.to.node].stop_object_server();
        pushing.join().expect("no panic")
    });
    outcome.unwrap_err();
    assert_eq!(large.files(&scene.to), [""; 0]);

    scene.cluster.nodes[scene.to.node].start();
    scene.cluster.nodes[scene.to.node].wait();
    let synced = scene.push().unwrap();
    assert_eq!((synced.available, synced.candidates.len()), (2, 2));
    let (from, to) = (scene.from.clone(), scene.to.clone());
    scene.assert_same(&small);
    assert_eq!(scene.metadata(&to, &large), scene.metadata(&from, &large));
    scene.assert_audited();
}

/// Writes the data file of an object as a Python 2 did, with this ETag.
pub(super) fn write_with_etag(disk: &Disk, object: &Object, length: u64, etag: &str, stored_at: &str) -> fs::File {
    let items = [
        ("name", format!("/{}", object.name)),
        ("X-Timestamp", stored_at.to_owned()),
        ("Content-Type", "text/plain".to_owned()),
        ("Content-Length", length.to_string()),
        ("ETag", etag.to_owned()),
    ];
    let string = |text: &str| [b"U", &[u8::try_from(text.len()).expect("short")][..], text.as_bytes()].concat();
    let items = items.iter().flat_map(|(key, value)| [string(key), string(value)].concat());
    let pickle = [b"\x80\x02}q\x01(".to_vec(), items.collect(), b"u.".to_vec()].concat();
    fs::create_dir_all(object.folder(disk)).expect("the device is writable");
    let path = object.folder(disk).join(format!("{stored_at}.data"));
    let file = fs::File::create(&path).expect("the device is writable");
    xattr::set(&path, "user.swift.metadata", &pickle).expect("the device has xattrs");
    file
}

pub(super) fn write_data(disk: &Disk, object: &Object, body: &[u8]) {
    write_with_etag(disk, object, body.len() as u64, &md5(body), &time(1))
        .write_all(body)
        .expect("the device is writable");
}

/// Writes an object of so many zeros, which take no room.
fn write_zeros(disk: &Disk, object: &Object, length: u64) {
    let zeros = [0; 1 << 16];
    let mut hash = Md5::new();
    (0..length / zeros.len() as u64).for_each(|_| hash.update(zeros));
    let file = write_with_etag(disk, object, length, &hex(&hash.finalize()), &time(1));
    file.set_len(length).expect("the device is writable");
}
