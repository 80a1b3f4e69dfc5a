//! All nodes together: real servers with real recon middleware, some of them down, old, or somebody else.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use super::ask;
use crate::support::cluster::{Cluster, Spec};
use crate::support::guard::PATIENCE;
use crate::support::node::OBJECT_PORT;
use crate::support::object::time;
use crate::support::replicator::Which;

const ALL: &[&str] = &["--cluster"];

fn put(cluster: &Cluster, node: usize, part: u32) {
    let disk = cluster.disks_of(node).next().expect("a device").clone();
    cluster.put(&disk, &cluster.object_in(0, part), &time(1), b"to be moved");
}

/// A pass over everything, which leaves what earlier passes told.
fn pass(cluster: &Cluster, which: Which, node: usize) {
    cluster.replicate(which, node).ended(0);
}

/// What is told of a node.
fn told(cluster: &Cluster, node: usize) -> Value {
    let told = ask(cluster, 0, &["--cluster", "--json"]).json();
    let name = cluster.nodes[node].object_address().to_string();
    let nodes = told["nodes"].as_array().expect("nodes");
    nodes.iter().find(|node| node["node"] == name.as_str()).unwrap_or_else(|| panic!("{told:#}")).clone()
}

#[test]
fn a_rebalance_is_followed_until_the_next_ring_may_be_pushed() {
    let mut cluster = Spec::nodes(3).replicas(1.0).lease();
    ask(&cluster, 0, ALL).ended(1).says("wait: it tells of no pass").says("\nWAIT, how long cannot be told: for 127.");
    (0..3).for_each(|node| pass(&cluster, Which::Ours, node));
    let said = ask(&cluster, 0, ALL);
    said.ended(0).says("\nPUSH the next ring: every node has this one, has made a complete pass with it, and has no");
    said.says("min_part_hours should be at least 1\n");

    // The next ring: nobody has made a pass with it, and what is there belongs elsewhere.
    let part = cluster.partitions_at(0, 0)[0];
    put(&cluster, 0, part);
    let partitions = cluster.partition_count(0) as usize;
    cluster.assign_ring(0, &[vec![2; partitions]]);
    ask(&cluster, 0, ALL).ended(1).says("wait: no complete pass with the ring in force yet");

    // A part of a pass is none.
    cluster.pass(Which::Ours, 1).words(&["-p", "1"]).run().ended(0);
    (0..2).for_each(|node| assert_eq!(told(&cluster, node)["last_pass_counts"], false));

    // One node is down, so that the hand-off cannot go.
    cluster.nodes[2].stop_object_server();
    cluster.nodes[2].stop_rsync_daemon();
    (0..2).for_each(|node| pass(&cluster, Which::Ours, node));
    let said = ask(&cluster, 0, ALL);
    said.ended(2).says("\nCANNOT TELL: nothing sure is known of 127.").says("Connection refused");
    let stuck = told(&cluster, 0);
    assert_eq!((&stuck["handoffs_left"], &stuck["handoffs_stuck"]), (&json!(1), &json!(1)));

    cluster.nodes[2].start();
    cluster.nodes[2].wait();
    pass(&cluster, Which::Ours, 2);
    let said = ask(&cluster, 0, ALL);
    said.ended(1).says("wait: 1 hand-offs left, 1 of them stuck\n").says("1 hand-offs left, 1 of them stuck)\n");
    pass(&cluster, Which::Ours, 0);
    ask(&cluster, 0, ALL).ended(0).says("\nPUSH the next ring");
    let summary = ask(&cluster, 0, &["--cluster", "--json"]).ended(0).json()["summary"].clone();
    assert_eq!(
        (&summary["verdict"], &summary["exit_code"], &summary["handoffs_left"]),
        (&json!("push"), &json!(0), &json!(0))
    );
}

#[test]
fn nodes_with_swifts_own_replicator_count_by_their_times_and_another_ring_is_found() {
    let mut cluster = Spec::nodes(3).replicas(1.0).lease();
    pass(&cluster, Which::Ours, 0);
    (1..3).for_each(|node| pass(&cluster, Which::Reference, node));
    let said = ask(&cluster, 0, ALL);
    said.ended(0)
        .says("done (hand-offs unknown there)")
        .says("(hand-offs are unknown on 2 nodes that do not run this program");
    assert_eq!((&told(&cluster, 1)["program"], &told(&cluster, 1)["handoffs_left"]), (&json!("other"), &Value::Null));

    // Swift's own takes over from this one: what this one told stays in the cache, and is out of date.
    let cache = cluster.nodes[0].recon().join("object.recon");
    let ours = fs::read_to_string(&cache).unwrap();
    let mut after: Value = serde_json::from_str(&ours).unwrap();
    after["object_replication_last"] = json!(after["object_replication_last"].as_f64().unwrap() + 100.0);
    fs::write(&cache, after.to_string() + "\n").unwrap();
    assert_eq!(told(&cluster, 0)["program"], "other");
    fs::write(&cache, ours).unwrap();

    // The same ring, written later: only who tells by which ring it listed is known to have made a pass with it.
    let ring = fs::read(cluster.ring(0)).unwrap();
    thread::sleep(std::time::Duration::from_millis(1100));
    fs::write(cluster.ring(0), ring).unwrap();
    ask(&cluster, 0, ALL)
        .ended(1)
        .says("wait: no pass that began after the ring was written has ended (hand-offs unknown");
    assert_eq!(told(&cluster, 0)["state"], "done");
    (1..3).for_each(|node| pass(&cluster, Which::Reference, node));
    ask(&cluster, 0, ALL).ended(0);

    // One node has the ring of last week.
    let old = tempfile::tempdir().expect("a folder");
    fs::write(old.path().join("object.ring.gz"), "another ring").unwrap();
    cluster.nodes[1].stop_object_server();
    let conf = cluster.nodes[1].conf(&[]);
    let with_old = conf.replace("[filter:recon]\n", &format!("[filter:recon]\nswift_dir = {}\n", old.path().display()));
    fs::write(cluster.nodes[1].server_conf(), with_old).unwrap();
    cluster.nodes[1].start();
    cluster.nodes[1].wait();
    let said = ask(&cluster, 0, ALL);
    said.ended(1).says(" OTHER ").says("it has another object.ring.gz");

    // And one has no recon.
    cluster.nodes[1].stop_object_server();
    fs::write(
        cluster.nodes[1].server_conf(),
        conf.replace("pipeline = recon object-server", "pipeline = object-server"),
    )
    .unwrap();
    cluster.nodes[1].start();
    cluster.nodes[1].wait();
    ask(&cluster, 0, ALL).ended(2).says("is recon in its pipeline?");
    fs::write(cluster.nodes[1].server_conf(), conf).unwrap();
    cluster.nodes[1].stop_object_server();
    cluster.nodes[1].start();
}

/// Answers at the place of a node, until this goes.
struct SomebodyElse {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for SomebodyElse {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// Answers at the place of a node: to each question what `answer` makes of its path.
fn somebody_else(cluster: &Cluster, node: usize, answer: impl Fn(&str) -> String + Send + 'static) -> SomebodyElse {
    let address = SocketAddr::from((cluster.nodes[node].address, OBJECT_PORT));
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    let listener = TcpListener::bind(address).expect("nobody is there");
    let thread = thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            if over.load(Ordering::Relaxed) {
                return;
            }
            let mut request = [0; 2000];
            let count = socket.read(&mut request).unwrap_or_default();
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            // Who has read enough does not wait for more.
            let _ = socket.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{}", answer(path)).as_bytes());
        }
    });
    SomebodyElse { address, is_over, thread: Some(thread) }
}

/// What is answered to a path, where the MD5 of the true rings are these.
type Answer = fn(&str, &str) -> String;

#[test]
fn what_somebody_else_answers_is_neither_believed_nor_waited_for_nor_shown_raw() {
    let sums = |cluster: &Cluster| cluster.recon(0, "ringmd5").to_string();
    let answers: [(&str, Answer); 4] = [
        ("unknown: its answer to ringmd5 cannot be understood", |_, _| "<html>".repeat(1000)),
        ("unknown: its answer is longer than ", |_, _| "[".repeat(5 << 20)),
        ("unknown: its answer to replication/object cannot be understood", |path, sums| match path {
            "/recon/ringmd5" => sums.to_owned(),
            _ => format!("{{\"replication_stats\": {}", "{\"rebalance\":".repeat(100_000)),
        }),
        ("#033[31mgone", |path, sums| {
            match path {
            "/recon/ringmd5" => sums.to_owned(),
            _ => json!({"object_replication_last": 1e300, "object_replication_time": -1e300, "replication_stats": {
                "failure": u64::MAX, "rebalance": {"ended": 1e301, "began": -1e308, "complete": true, "devices": {"sda": [
                    {"policy": 0, "trouble": format!("\u{1b}[31mgone{}", "x".repeat(100_000))}]}}}})
            .to_string(),
        }
        }),
    ];
    for (expected, answer) in answers {
        let cluster = Spec::nodes(2).replicas(1.0).silent(&[1]).lease();
        let sums = sums(&cluster);
        pass(&cluster, Which::Ours, 0);
        let _somebody = somebody_else(&cluster, 1, move |path| answer(path, &sums));
        let begun = Instant::now();
        let said = ask(&cluster, 0, ALL);
        said.ended(2).says(expected).says("\nCANNOT TELL: ");
        assert!(begun.elapsed() < PATIENCE && said.text.len() < 3000 && !said.text.contains('\u{1b}'), "{}", said.text);
    }
}
