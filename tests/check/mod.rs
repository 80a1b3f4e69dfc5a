//! `--check` on nodes of a real cluster: what is in order, what is not, and peers that do not answer.

mod peers;
mod rsyncd;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};

use serde_json::Value;

use crate::support::cluster::{Cluster, Disk, Spec, datadir};
use crate::support::guard::{ReadOnly, WithoutXattrs};
use crate::support::node::RSYNC_PORT;
use crate::support::object::time;
use crate::support::replicator::{Outcome, Pass, Which};

/// What a check came to.
struct Checked {
    outcome: Outcome,
    findings: Vec<Value>,
}

impl Checked {
    /// The text of the only finding about the subject; it must have this verdict.
    #[track_caller]
    fn finding(&self, verdict: &str, subject: &str) -> &str {
        let found: Vec<_> = self.findings.iter().filter(|finding| finding["subject"] == subject).collect();
        let [finding] = found[..] else { panic!("{subject}: {found:#?}\n{}", self.outcome.all()) };
        assert_eq!(finding["verdict"], verdict, "{finding}");
        finding["text"].as_str().expect("a text")
    }

    /// Every subject with an error, sorted.
    fn errors(&self) -> Vec<&str> {
        let errors = self.findings.iter().filter(|finding| finding["verdict"] == "error");
        let mut subjects: Vec<_> = errors.filter_map(|finding| finding["subject"].as_str()).collect();
        subjects.sort_unstable();
        subjects
    }
}

fn check(pass: Pass) -> Checked {
    let outcome = pass.words(&["--check", "--json"]).run();
    let json: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{e}: {}", outcome.all()));
    let findings = json["findings"].as_array().expect("a list").clone();
    let code = match json["verdict"].as_str() {
        Some("ok") => 0,
        Some("warning") => 1,
        _ => 2,
    };
    outcome.ended(code);
    Checked { outcome, findings }
}

fn on_node_0(cluster: &Cluster) -> Pass<'_> {
    cluster.pass(Which::Ours, 0)
}

#[test]
fn a_healthy_node_is_all_ok_but_for_what_its_configuration_asks_for() {
    let cluster = Spec::nodes(3).policy(1).lease();
    let object = cluster.object_in(0, 0);
    cluster.put(&cluster.home(0, 0, 0), &object, &time(1), b"here");
    let checked = check(on_node_0(&cluster));
    assert_eq!(checked.errors(), Vec::<&str>::new(), "{}", checked.outcome.all());
    for odd in ["mount_check = false", "user = root"] {
        let is_it = |finding: &Value| finding["verdict"] == "warning" && finding["text"].to_string().contains(odd);
        assert!(checked.findings.iter().any(is_it), "{odd}: {}", checked.outcome.all());
    }
    assert_eq!(checked.finding("ok", "swift.conf"), "hash path prefix and suffix; to replicate: policy-0, policy-1");
    assert!(
        checked
            .finding("ok", "ring object.ring.gz")
            .contains("16 partitions, 3 replicas, 3 devices, of which here: sda")
    );
    assert!(checked.finding("ok", "device sda").starts_with("there, writable, and "));
    assert_eq!(
        checked.finding("ok", "names sda/objects"),
        "the partitions of 1 hashes and the hashes of 1 names are right (a sample)"
    );
    assert_eq!(checked.finding("ok", "names sda/objects-1"), "nothing is stored there");
    for node in &cluster.nodes {
        assert!(checked.finding("ok", &format!("peer {}:6200", node.address)).starts_with("answers REPLICATE, in "));
        // The daemons of these tests have rsync's defaults.
        let module = checked.finding("warning", &format!("module {}::object", node.address));
        assert!(module.starts_with("answers a dry run, in "), "{module}");
        assert!(module.contains("\"socket options = TCP_NODELAY\" in its rsyncd.conf"), "{module}");
    }
    assert!(checked.outcome.syslog.is_empty(), "{}", checked.outcome.all());
    assert!(!cluster.nodes[0].recon().join("object.recon").exists());
}

#[test]
fn people_get_a_table_with_the_counts_below() {
    let cluster = Spec::nodes(3).lease();
    let outcome = on_node_0(&cluster).words(&["--check"]).run();
    outcome.ended(1);
    let lines: Vec<_> = outcome.stdout.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("ok       device sda ")), "{}", outcome.all());
    assert_eq!(lines.last(), Some(&"0 errors, 5 warnings"), "{}", outcome.all());
}

#[test]
fn peers_are_tried_by_writing_where_that_is_asked_for_and_nothing_stays() {
    let cluster = Spec::nodes(3).devices(2).lease();
    let tmp = |disk: &Disk| disk.path.join("tmp");
    cluster.disks().iter().for_each(|disk| fs::create_dir_all(tmp(disk)).expect("the device is writable"));
    let modules = |checked: &Checked| -> Vec<String> {
        let texts = checked.findings.iter().filter(|finding| finding["subject"].to_string().contains("module "));
        texts.map(|finding| finding["text"].as_str().expect("a text").to_owned()).collect()
    };
    let asked = modules(&check(on_node_0(&cluster)));
    assert!(asked.len() == 3 && asked.iter().all(|text| text.contains("whether it may write there is not tried")));
    let written = modules(&check(on_node_0(&cluster).words(&["--write"])));
    assert!(written.len() == 6 && written.iter().all(|text| text.contains("a file was written and removed")));
    for disk in cluster.disks() {
        assert_eq!(fs::read_dir(tmp(disk)).expect("it is there").count(), 0, "{}", disk.path.display());
    }

    // The folder is root's, and the daemon there works as another user.
    cluster.nodes[1].configure_rsync_module("uid = nobody\ngid = nogroup");
    let checked = check(on_node_0(&cluster).words(&["--write"]));
    let module = |device| format!("module {}::object/{device}", cluster.nodes[1].address);
    assert_eq!(checked.errors(), [module("sda"), module("sdb")]);
    let text = checked.finding("error", &module("sda"));
    assert!(text.starts_with("cannot be written to: rsync ends with code 23: "), "{text}");
    assert!(text.contains("Permission denied"), "{text}");
}

#[test]
fn what_the_daemons_user_cannot_write_and_hosts_without_addresses_are_named() {
    let cluster = Spec::nodes(3).lease();
    let recon = tempfile::tempdir().expect("a folder");
    fs::set_permissions(recon.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    let pass = on_node_0(&cluster).set("user", "nobody").set("recon_cache_path", recon.path().display());
    let pass = pass.set("log_udp_host", "nosuch.invalid").set("log_statsd_host", "nosuch.invalid");
    let checked = check(pass.set("metrics_textfile", recon.path().join("x.prom").display()));
    for key in ["recon_cache_path", "metrics_textfile"] {
        let text = checked.finding("error", key);
        assert!(text.ends_with(": nothing can be written there: Permission denied (os error 13)"), "{text}");
    }
    let cache = recon.path().join("object.recon");
    fs::write(&cache, "{}").expect("our own folder");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o600)).expect("our own file");
    chown(recon.path(), Some(65_534), None).expect("tests are root's");
    let again = check(on_node_0(&cluster).set("user", "nobody").set("recon_cache_path", recon.path().display()));
    let text = again.finding("error", "recon_cache_path");
    assert!(text.contains("object.recon: the figures of a pass cannot be written there: Permission denied"), "{text}");
    for key in ["log_udp_host", "log_statsd_host"] {
        assert!(checked.finding("warning", key).starts_with("nosuch.invalid: "), "{}", checked.outcome.all());
    }
}

#[test]
fn a_disk_without_user_xattrs_and_partitions_of_no_policy_are_errors() {
    let cluster = Spec::nodes(3).lease();
    let disk = cluster.home(0, 0, 0);
    fs::create_dir_all(disk.path.join("objects-7/12")).expect("the device is writable");
    let checked = check(on_node_0(&cluster));
    let text = checked.finding("error", "policy of objects-7");
    assert!(text.ends_with("/objects-7: partitions of a policy that swift.conf does not have; nobody replicates them"));

    let _without = WithoutXattrs::make(&disk.path);
    let checked = check(on_node_0(&cluster));
    let text = checked.finding("error", "device sda");
    assert!(text.starts_with("user xattrs, which hold the objects' metadata, cannot be used there: "), "{text}");
}

#[test]
fn servers_that_are_down_are_named() {
    let mut cluster = Spec::nodes(3).lease();
    cluster.nodes[1].stop_object_server();
    cluster.nodes[2].stop_rsync_daemon();
    let checked = check(on_node_0(&cluster));
    let (peer, module) =
        (format!("peer {}:6200", cluster.nodes[1].address), format!("module {}::object", cluster.nodes[2].address));
    assert_eq!(checked.errors(), [module.as_str(), peer.as_str()]);
    assert_eq!(checked.finding("error", &peer), "REPLICATE of sda: Connection refused");
    assert_eq!(checked.finding("error", &module), "Connection refused");
}

#[test]
fn a_peer_that_hangs_costs_a_limited_time() {
    let cluster = Spec::nodes(3).silent(&[1]).lease();
    let address = cluster.nodes[1].address;
    let hanging = [cluster.nodes[1].object_address(), (address, RSYNC_PORT).into()]
        .map(|address| TcpListener::bind(address).expect("nobody else listens there"));
    let checked = check(on_node_0(&cluster).set("http_timeout", 1));
    drop(hanging);
    assert_eq!(checked.finding("error", &format!("peer {address}:6200")), "REPLICATE of sda: Timeout (1s)");
    let text = checked.finding("error", &format!("module {address}::object"));
    assert_eq!(text, "no greeting within 10s: is it stuck in a reverse lookup?");
    assert_eq!(checked.errors().len(), 2, "{}", checked.outcome.all());
}

#[test]
fn modules_that_would_refuse_a_push_are_told_in_rsyncs_words() {
    let cluster = Spec::nodes(3).lease();
    cluster.nodes[0].configure_rsync_module("read only = yes");
    cluster.nodes[1].configure_rsync_module("hosts deny = *");
    cluster.nodes[2].configure_rsync_module("auth users = somebody\nsecrets file = /dev/null");
    let checked = check(on_node_0(&cluster));
    let text = |node: usize| checked.finding("error", &format!("module {}::object", cluster.nodes[node].address));
    assert!(text(0).contains("module is read only"), "{}", text(0));
    assert!(text(1).starts_with("the daemon says: @ERROR: access denied to object"), "{}", text(1));
    assert_eq!(text(2), "the module wants a password, and the replicator has none");
}

#[test]
fn objects_that_were_stored_with_other_salts_are_an_alarm() {
    let cluster = Spec::nodes(3).lease();
    let object = cluster.object_in(0, 0);
    cluster.put(&cluster.home(0, 0, 0), &object, &time(1), b"mine");
    fs::write(cluster.etc().join("swift.conf"), "[swift-hash]\nswift_hash_path_suffix = new\n").unwrap();
    let checked = check(on_node_0(&cluster));
    assert_eq!(checked.errors(), ["names sda/objects"]);
    let text = checked.finding("error", "names sda/objects");
    assert!(text.starts_with("DO NOT REPLICATE: ") && text.contains(&object.hash), "{text}");
    assert!(text.ends_with("(1 of 1 names do not fit): it was stored with other salts"), "{text}");
}

#[test]
fn objects_in_a_partition_that_is_not_theirs_are_an_alarm() {
    let cluster = Spec::nodes(3).lease();
    let object = cluster.object_in(0, 0);
    let home = cluster.home(0, 0, 0);
    cluster.put(&home, &object, &time(1), b"mine");
    fs::rename(home.partition(0, 0), home.partition(0, 1)).unwrap();
    let checked = check(on_node_0(&cluster));
    let text = checked.finding("error", "names sda/objects");
    assert!(text.contains("belongs in another partition by the ring's part power (1 of 1 hashes do)"), "{text}");
}

#[test]
fn damaged_metadata_are_a_warning() {
    let cluster = Spec::nodes(3).lease();
    let object = cluster.object_in(0, 0);
    let home = cluster.home(0, 0, 0);
    cluster.put(&home, &object, &time(1), b"mine");
    let file = object.folder(&home).join(&object.files(&home)[0]);
    xattr::set(&file, "user.swift.metadata", b"junk").unwrap();
    let checked = check(on_node_0(&cluster));
    assert!(checked.finding("warning", "names sda/objects").contains(&object.hash), "{}", checked.outcome.all());
}

#[test]
fn devices_that_cannot_be_used_are_named() {
    let cluster = Spec::nodes(3).devices(3).lease();
    let disks: Vec<_> = cluster.disks_of(0).cloned().collect();
    fs::remove_dir_all(&disks[0].path).unwrap();
    fs::create_dir(cluster.nodes[0].devices().join("sdx")).unwrap();
    let read_only = ReadOnly::make(&disks[1].path);
    let checked = check(on_node_0(&cluster));
    drop(read_only);
    assert_eq!(checked.finding("error", "device sda"), format!("{} is not a directory", disks[0].path.display()));
    let datadir = disks[1].path.join(datadir(0));
    assert!(
        checked.finding("error", "device sdb").starts_with(&format!("{} cannot be written to: ", datadir.display())),
        "{}",
        checked.outcome.all()
    );
    assert!(checked.finding("ok", "device sdc").contains("writable"));
    assert!(
        checked.finding("warning", "devices").ends_with("these folders are in no ring as devices of this machine: sdx")
    );
    fs::remove_dir(cluster.nodes[0].devices().join("sdx")).unwrap();
}

#[test]
fn a_device_that_is_not_mounted_is_an_error() {
    let cluster = Spec::nodes(3).lease();
    let checked = check(on_node_0(&cluster).set("mount_check", "yes"));
    assert!(checked.finding("error", "device sda").ends_with("sda is not mounted"));
}

#[test]
fn a_ring_without_a_device_of_this_machine_says_why() {
    let cluster = Spec::nodes(3).lease();
    let checked = check(on_node_0(&cluster).set("bind_port", 6299));
    let text = checked.finding("error", "ring object.ring.gz");
    let address = cluster.nodes[0].address;
    assert_eq!(
        text,
        format!(
            "none of its devices belongs to this machine (addresses {address}, port 6299); but there are devices here \
             with port 6200: is bind_port right?"
        )
    );
}

#[test]
fn rings_and_part_powers_are_judged() {
    let mut cluster = Spec::nodes(3).policy(1).lease();
    cluster.announce_next_part_power(0);
    fs::write(cluster.ring(1), b"no ring").unwrap();
    let checked = check(on_node_0(&cluster));
    assert!(checked.finding("warning", "ring object.ring.gz").contains("part power is being raised"));
    assert!(checked.finding("error", "ring object-1.ring.gz").starts_with("cannot load ring "));
}

#[test]
fn without_rsync_nothing_can_be_pushed() {
    let cluster = Spec::nodes(3).lease();
    let checked = check(on_node_0(&cluster).path("/nonexistent"));
    assert!(
        checked.finding("error", "rsync").starts_with("cannot run rsync: No such file"),
        "{}",
        checked.outcome.all()
    );
}
