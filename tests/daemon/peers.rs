//! Peers that are down or hang: a few attempts, and not one per partition.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with, sockopt};

use super::{fake_partition, partitions_of, put_everywhere_on, put_in};
use crate::support::cluster::{Lease, Spec};
use crate::support::node::RSYNC_PORT;
use crate::support::peer::{Reply, StubPeer};
use crate::support::replicator::{Outcome, Which};
use crate::support::rsync::FakeRsync;

/// An address that swallows whoever wants to connect: a listener that takes nobody, with its queue full.
struct BlackHole {
    _sockets: Vec<OwnedFd>,
}

impl BlackHole {
    fn at(address: SocketAddr) -> Self {
        let socket = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("a socket")
        };
        let listener = socket();
        sockopt::set_socket_reuseaddr(&listener, true).expect("a usual option");
        bind(&listener, &address).expect("the node's own server does not run");
        listen(&listener, 0).expect("nobody else listens here");
        let mut sockets = vec![listener];
        for _ in 0..4 {
            let client = socket();
            // The first is queued; the others see how it is.
            let _ = connect(&client, &address);
            sockets.push(client);
        }
        Self { _sockets: sockets }
    }
}

const HANDOFFS: u32 = 200;

/// Two hundred hand-offs whose only primary is the device of the second node, which does not run.
fn two_hundred_handoffs() -> Lease {
    let mut cluster = Spec::nodes(2).silent(&[1]).replicas(1.0).part_power(8).lease();
    cluster.assign_ring(0, &[vec![1; 256]]);
    (0..HANDOFFS).for_each(|part| fake_partition(&cluster.disks()[0], part));
    cluster
}

/// All stay, each has failed, and there were few attempts: three, and one more in each half minute.
#[track_caller]
fn assert_left_alone(cluster: &Lease, outcome: &Outcome, attempts: usize) {
    let handoffs = i64::from(HANDOFFS);
    outcome.ended(0).counts(&[("attempted", handoffs), ("failure", handoffs), ("success", 0), ("remove", 0)]);
    let allowed = 3 + 1 + usize::try_from(outcome.elapsed.as_secs() / 30).expect("a short run");
    assert!((3..=allowed).contains(&attempts), "{attempts} attempts\n{}", outcome.all());
    assert_eq!(outcome.count(": skipped; retried every 30s"), 1, "{}", outcome.all());
    let disk = &cluster.disks()[0];
    assert!((0..HANDOFFS).all(|part| disk.partition(0, part).is_dir()));
}

#[test]
fn a_black_hole_with_two_hundred_hand_offs() {
    let cluster = two_hundred_handoffs();
    let dead = &cluster.nodes[1];
    let _holes = [BlackHole::at(dead.object_address()), BlackHole::at((dead.address, RSYNC_PORT).into())];
    let rsync = FakeRsync::recording();
    let pass = cluster.pass(Which::Ours, 0).set("rsync_batch", 1).set("rsync_io_timeout", 1).set("conn_timeout", "0.3");
    let outcome = pass.rsync(&rsync).run();
    assert_left_alone(&cluster, &outcome, rsync.pushes().len());
}

#[test]
fn an_rsync_daemon_that_hangs_with_two_hundred_hand_offs() {
    let cluster = two_hundred_handoffs();
    let stub = StubPeer::start((cluster.nodes[1].address, RSYNC_PORT).into(), |_| Reply::Hang);
    let rsync = FakeRsync::recording();
    let pass = cluster.pass(Which::Ours, 0).set("rsync_batch", 1).set("rsync_io_timeout", 1);
    let outcome = pass.rsync(&rsync).run();
    outcome.says("rsync of ");
    assert_left_alone(&cluster, &outcome, rsync.pushes().len());
    drop(stub);
}

#[test]
fn a_full_target_is_tried_twice_and_the_others_get_everything() {
    let cluster = Spec::nodes(3).lease();
    let disk = cluster.disks()[0].clone();
    let objects = put_everywhere_on(&cluster, &disk);
    let full = &cluster.disks()[1];
    let said = "rsync: [receiver] write failed on \"sda/objects/1\" (in object): No space left on device (28)";
    let shell = format!("case \"$*\" in *{}::*) echo '{said}' >&2; exit 11;; esac", full.address);
    let rsync = FakeRsync::doing(&format!("{shell}\nexec \"$rsync\" \"$@\""));
    let outcome = cluster.pass(Which::Ours, 0).set("rsync_batch", 1).rsync(&rsync).run();
    let parts = i64::try_from(objects.len()).expect("few partitions");
    outcome.ended(0).counts(&[("success", parts), ("failure", parts), ("rsync", 2 * parts)]);
    let line = format!("{} is full: nothing more is pushed to it in this pass", full.node_string());
    assert_eq!((outcome.count(&line), outcome.count(said)), (1, 2), "{}", outcome.all());
    assert!(objects.iter().all(|object| !object.files(&cluster.disks()[2]).is_empty()));
}

/// One that swallows pushes only is still asked for its hashes, and one that answers no questions is soon left alone.
#[test]
fn each_service_of_a_node_is_left_alone_for_itself() {
    let cluster = Spec::nodes(2).silent(&[1]).replicas(2.0).lease();
    let disk = cluster.disks()[0].clone();
    let parts = partitions_of(&cluster, &disk);
    parts.iter().for_each(|&part| drop(put_in(&cluster, &disk, part)));
    let peer = StubPeer::start(cluster.nodes[1].object_address(), |_| Reply::nothing());
    let outcome = cluster.pass(Which::Ours, 0).set("rsync_batch", 1).rsync(&FakeRsync::doing("exit 10")).run();
    outcome.ended(0).says("rsync of ");
    let asked = peer.requests().iter().filter(|request| !request.after_push()).count();
    assert_eq!(asked, parts.len(), "{}", outcome.all());
    drop(peer);

    let peer = StubPeer::start(cluster.nodes[1].object_address(), |_| Reply::Hang);
    let outcome = cluster.pass(Which::Ours, 0).set("http_timeout", 1).run();
    let allowed = 4 + usize::try_from(outcome.elapsed.as_secs() / 30).expect("a short run");
    assert!((3..=allowed).contains(&peer.requests().len()), "{}", outcome.all());
    outcome.ended(0).counts(&[("failure", i64::try_from(parts.len()).expect("few partitions"))]);
}

/// One disk of a peer hangs: it costs three time limits, and every partition of the peer's other disk is compared and
/// pushed.
#[test]
fn a_disk_of_a_peer_that_hangs_costs_its_own_partitions_only() {
    let cluster = Spec::nodes(2).devices(2).silent(&[1]).replicas(2.0).part_power(6).lease();
    for disk in cluster.disks_of(0) {
        partitions_of(&cluster, disk).into_iter().for_each(|part| fake_partition(disk, part));
    }
    let [good, bad] = ["sda", "sdb"].map(|name| cluster.disks_of(1).find(|disk| disk.name == name).expect("two disks"));
    let peer = StubPeer::start(cluster.nodes[1].object_address(), |request| match request.path() {
        path if path.starts_with("/sdb/") => Reply::Hang,
        _ => Reply::nothing(),
    });
    let pass = cluster.pass(Which::Ours, 0).set("http_timeout", 1).set("rsync_batch", 1);
    let outcome = pass.rsync(&FakeRsync::doing("exit 0")).run();
    let asked = |device: &str| {
        let requests = peer.requests();
        let questions = requests.iter().filter(|request| !request.after_push());
        questions.filter(|request| request.path().starts_with(device)).count()
    };
    let allowed = 4 + usize::try_from(outcome.elapsed.as_secs() / 30).expect("a short run");
    assert!((3..=allowed).contains(&asked("/sdb/")), "{}", outcome.all());
    let healthy = partitions_of(&cluster, good).len();
    assert_eq!(asked("/sda/"), healthy, "{}", outcome.all());
    let line = format!("{} does not answer: skipped; retried every 30s", bad.node_string());
    assert_eq!((outcome.count(&line), outcome.count("cannot be reached")), (1, 0), "{}", outcome.all());
    let [pushed, failed] = [good, bad].map(|disk| i64::try_from(partitions_of(&cluster, disk).len()).expect("few"));
    outcome.ended(0).says(&format!("{}: {failed} no answer in time", bad.node_string()));
    outcome.counts(&[("rsync", pushed), ("success", pushed), ("failure", failed)]);
}

/// It says so once, and there is no error for each of its partitions.
#[test]
fn a_device_that_is_too_busy_is_left_in_peace_for_a_while() {
    let cluster = Spec::nodes(2).silent(&[1]).replicas(2.0).part_power(6).lease();
    let disk = cluster.disks()[0].clone();
    partitions_of(&cluster, &disk).into_iter().for_each(|part| fake_partition(&disk, part));
    let peer =
        StubPeer::start(cluster.nodes[1].object_address(), |_| Reply::Status(529, b"Too Many Backend Requests".into()));
    let outcome = cluster.pass(Which::Ours, 0).rsync(&FakeRsync::doing("exit 0")).run();
    outcome.ended(0);
    // After 0, 1, 3, 7, ... s.
    let allowed = 1 + usize::try_from(outcome.elapsed.as_secs()).expect("a short run");
    assert!((1..=allowed).contains(&peer.requests().len()), "{}", outcome.all());
    assert_eq!(outcome.count("is too busy (status 529): asked again later"), 1, "{}", outcome.all());
    assert!(outcome.syslog.iter().all(|line| line.severity() > 3), "{}", outcome.all());
}
