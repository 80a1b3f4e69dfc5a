//! `--check` on the peers: each of their devices, their clocks, their modules' places and room, and the file that
//! `--write` leaves nowhere.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use super::{Checked, check, on_node_0};
use crate::support::cluster::{Cluster, Spec};
use crate::support::guard::{WithoutXattrs, until};
use crate::support::object::time;
use crate::support::peer::{Reply, StubPeer};
use crate::support::replicator::Running;

impl Checked {
    /// Verdicts and texts of the findings about a subject.
    fn all(&self, subject: &str) -> Vec<(&str, &str)> {
        let found = self.findings.iter().filter(|finding| finding["subject"] == subject);
        found.filter_map(|finding| finding["verdict"].as_str().zip(finding["text"].as_str())).collect()
    }
}

#[test]
fn every_device_of_a_peer_is_asked() {
    let cluster = Spec::nodes(3).devices(3).policy(1).lease();
    let gone = cluster.disks_of(1).nth(1).expect("three devices").path.clone();
    fs::remove_dir_all(&gone).expect("the device is ours");
    let checked = check(on_node_0(&cluster));
    let found = checked.all(&format!("peer {}:6200", cluster.nodes[1].address));
    let [("ok", well), ("warning", unmounted)] = found[..] else { panic!("{found:?}") };
    assert!(well.ends_with(" ms at most, for 4 of its 6 devices"), "{well}");
    assert_eq!(unmounted, "its devices sdb, sdb/objects-1 responded as unmounted");
    let whole = checked.finding("ok", &format!("peer {}:6200", cluster.nodes[2].address));
    assert!(whole.ends_with(" ms at most, for each of its 6 devices"), "{whole}");
}

#[test]
fn a_clock_that_differs_is_told_with_its_direction_and_not_a_slow_answer() {
    let cluster = Spec::nodes(3).silent(&[1, 2]).lease();
    let answer = |status: &str, ahead: i64| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(now.saturating_add_signed(ahead));
        let Reply::Status(_, body) = Reply::nothing() else { unreachable!() };
        let head = format!(
            "HTTP/1.1 {status}\r\nDate: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            httpdate::fmt_http_date(date),
            body.len()
        );
        Reply::Raw([head.as_bytes(), &body].concat())
    };
    // A server that has no hashes to give has a clock, too.
    let _behind = StubPeer::start(cluster.nodes[1].object_address(), move |_| answer("501 Unsupported method", -3700));
    let _slow = StubPeer::start(cluster.nodes[2].object_address(), move |_| {
        let answer = answer("200 OK", 0);
        std::thread::sleep(Duration::from_secs(4));
        answer
    });
    let checked = check(on_node_0(&cluster).set("http_timeout", 9));
    let clock = |node: usize| format!("clock {}", cluster.nodes[node].address);
    let text = checked.finding("warning", &clock(1));
    assert!(text.starts_with("is about 1h 01m behind this machine's; timestamps decide which version"), "{text}");
    assert!(checked.all(&clock(0)).is_empty() && checked.all(&clock(2)).is_empty(), "{}", checked.outcome.all());
}

#[test]
fn a_module_that_leads_elsewhere_than_the_object_server_is_an_error_and_nothing_is_written_there() {
    let mut cluster = Spec::nodes(3).lease();
    let object = cluster.object_in(0, 0);
    cluster.put_everywhere(&object, &time(1), b"here");
    cluster.nodes[1].serve_another_tree(true);
    let empty = tempfile::tempdir().expect("a folder");
    cluster.nodes[2].serve(Some(empty.path().to_owned()));
    let module = |node: usize| format!("module {}::object", cluster.nodes[node].address);
    let checked = check(on_node_0(&cluster));
    let text = checked.finding("error", &module(1));
    assert!(text.starts_with("serves another folder than the object server, which has something in "), "{text}");
    assert!(checked.finding("error", &module(2)).contains("there is no such partition in the module"));
    assert_ne!(checked.all(&module(0))[0].0, "error");
    check(on_node_0(&cluster).words(&["--write"]));
    assert_eq!(fs::read_dir(empty.path()).expect("our own").count(), 0);
    cluster.nodes.iter_mut().for_each(|node| node.serve(None));
}

#[test]
fn a_module_without_the_devices_is_found_even_if_no_object_server_answers() {
    let mut cluster = Spec::nodes(3).lease();
    let empty = tempfile::tempdir().expect("a folder");
    cluster.nodes[1].serve(Some(empty.path().to_owned()));
    cluster.nodes[1].stop_object_server();
    let checked = check(on_node_0(&cluster));
    let text = checked.finding("error", &format!("module {}::object", cluster.nodes[1].address));
    assert!(text.starts_with("has no folder sda: "), "{text}");
    cluster.nodes[1].configure_rsync_module("write only = yes");
    let checked = check(on_node_0(&cluster));
    assert_eq!(checked.all(&format!("module {}::object", cluster.nodes[1].address)).len(), 1);
    cluster.nodes[1].serve(None);
}

#[test]
fn a_module_that_lets_in_fewer_than_this_node_sends_is_warned_of() {
    let cluster = Spec::nodes(3).lease();
    cluster.nodes[1].configure_rsync_module("max connections = 2");
    cluster.nodes[2].configure_rsync_module("max connections = 4");
    let checked = check(on_node_0(&cluster).set("concurrency", 4));
    let subject = |node: usize| format!("connections {}::object", cluster.nodes[node].address);
    let text = checked.finding("warning", &subject(1));
    assert!(
        text.contains("max connections (2) reached")
            && text.contains("(at push 3 of the 4 that this node may make there"),
        "{text}"
    );
    assert!(checked.all(&subject(2)).is_empty() && checked.all(&subject(0)).is_empty(), "{}", checked.outcome.all());
    assert_eq!(checked.errors(), Vec::<&str>::new());
}

#[test]
fn what_belongs_to_somebody_else_is_an_error() {
    let cluster = Spec::nodes(3).lease();
    let (object, home) = (cluster.object_in(0, 0), cluster.home(0, 0, 0));
    cluster.put(&home, &object, &time(1), b"here");
    assert!(check(on_node_0(&cluster)).finding("ok", "owner sda").ends_with(" looked at are root's (a sample)"));
    chown(home.partition(0, 0), Some(4711), None).expect("tests are root's");
    let checked = check(on_node_0(&cluster));
    let text = checked.finding("error", "owner sda");
    assert!(text.contains("/objects/0 belongs to user id 4711, not to root (option user), as 1 of "), "{text}");
}

#[test]
fn a_peer_whose_disk_has_no_user_xattrs_is_found_by_writing() {
    let mut cluster = Spec::nodes(3).lease();
    let disk = cluster.disks_of(1).next().expect("a device").path.clone();
    let without = WithoutXattrs::make(&disk);
    // A daemon sees what was mounted before it began.
    cluster.nodes[1].stop_rsync_daemon();
    cluster.nodes[1].start();
    cluster.nodes[1].wait();
    fs::create_dir_all(disk.join("tmp")).expect("the device is ours");
    let checked = check(on_node_0(&cluster).words(&["--write"]));
    let text = checked.finding("error", &format!("module {}::object/sda", cluster.nodes[1].address));
    assert!(text.starts_with("cannot be written to: rsync ends with code 23: ") && text.contains("xattr"), "{text}");
    assert_eq!(fs::read_dir(disk.join("tmp")).expect("ours").count(), 0);
    drop(without);
    cluster.nodes[1].stop_rsync_daemon();
}

#[test]
fn a_module_here_that_takes_what_is_written_elsewhere_is_found_by_writing() {
    let mut cluster = Spec::nodes(3).lease();
    let other = tempfile::tempdir().expect("a folder");
    for folder in ["sda/objects", "sda/tmp"] {
        fs::create_dir_all(other.path().join(folder)).expect("our own");
    }
    cluster.nodes[0].serve(Some(other.path().to_owned()));
    let checked = check(on_node_0(&cluster).words(&["--write"]));
    let text = checked.finding("error", &format!("module {}::object/sda", cluster.nodes[0].address));
    assert!(text.starts_with("serves another folder than this machine's devices: what is written there is"), "{text}");
    assert_eq!(fs::read_dir(other.path().join("sda/tmp")).expect("our own").count(), 0);
    // What is stored here tells it without a file.
    cluster.put(&cluster.home(0, 0, 0), &cluster.object_in(0, 0), &time(1), b"here");
    let checked = check(on_node_0(&cluster));
    let text = checked.finding("error", &format!("module {}::object", cluster.nodes[0].address));
    assert_eq!(text, "serves another folder than this machine's devices: it has no partition 0 of sda");
    cluster.nodes[0].serve(None);
}

/// The folder that the small file is written to at a node's only device.
fn tmp(cluster: &Cluster, node: usize) -> PathBuf {
    let tmp = cluster.disks_of(node).next().expect("a device").path.join("tmp");
    fs::create_dir_all(&tmp).expect("the device is ours");
    tmp
}

/// How many files are in a folder, but for those that rsync is just writing.
fn files(folder: &Path) -> usize {
    let names = fs::read_dir(folder).expect("ours").flatten().map(|entry| entry.file_name());
    names.filter(|name| !name.to_string_lossy().starts_with('.')).count()
}

/// A check that has just written to node 1, where every run of rsync takes its time before it begins; what is left there,
/// and a folder for what is left here.
fn check_that_writes(cluster: &Cluster) -> (Running, PathBuf, tempfile::TempDir) {
    cluster.nodes[1].configure_rsync_module("pre-xfer exec = /bin/sleep 0.7");
    let (tmp, here) = (tmp(cluster, 1), tempfile::tempdir().expect("a folder"));
    let check = on_node_0(cluster).words(&["--check", "--write"]).env("TMPDIR", here.path()).start();
    assert!(until(Duration::from_secs(100), || files(&tmp) > 0), "nothing is written: {}", check.console());
    (check, tmp, here)
}

#[test]
fn a_signal_ends_a_check_that_writes_once_nothing_is_left() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let cluster = Spec::nodes(3).lease();
        let (check, tmp, here) = check_that_writes(&cluster);
        check.signal(signal);
        let outcome = check.finish();
        let left_here = fs::read_dir(here.path()).expect("ours").count();
        assert_eq!((files(&tmp), left_here), (0, 0), "{signal:?}: {}", outcome.all());
        assert_eq!(outcome.stdout, "", "{signal:?}");
    }
}

#[test]
fn a_check_that_is_killed_leaves_nothing_either() {
    let cluster = Spec::nodes(3).lease();
    let (check, tmp, _here) = check_that_writes(&cluster);
    check.signal(Signal::KILL);
    drop(check.finish());
    assert!(until(Duration::from_secs(60), || files(&tmp) == 0), "the file is still there");
}

#[test]
fn where_nothing_may_be_removed_nothing_is_written() {
    let cluster = Spec::nodes(3).lease();
    let tmp = tmp(&cluster, 1);
    cluster.nodes[1].configure_rsync_module("refuse options = delete");
    let checked = check(on_node_0(&cluster).words(&["--write"]));
    let text = checked.finding("error", &format!("module {}::object/sda", cluster.nodes[1].address));
    assert!(text.starts_with("cannot be written to: "), "{text}");
    assert_eq!(files(&tmp), 0);
    // There is no such folder on the other devices, and none is made.
    let disk = cluster.disks_of(2).next().expect("a device");
    let text = checked.all(&format!("module {}::object/sda", cluster.nodes[2].address))[0].1;
    assert!(text.contains("it has no folder tmp before the first upload") != disk.path.join("tmp").exists(), "{text}");
}
