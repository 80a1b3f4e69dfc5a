//! Peers that misbehave: each costs its own failure and one line, and the next peer is served all the same.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::cluster::Spec;
use crate::support::guard::until;
use crate::support::object::time;
use crate::support::peer::{Reply, Request, StubPeer};
use crate::support::replicator::{Outcome, Pass, Which};
use crate::support::rsync::FakeRsync;

both! {
    a_peer_that_refuses,
    a_peer_that_never_answers,
    a_peer_that_closes_without_a_word,
    a_peer_that_answers_404,
    a_peer_that_answers_500,
    a_peer_that_answers_503,
    a_peer_that_redirects,
    a_peer_that_speaks_no_http,
    a_peer_that_sends_less_than_it_promised,
    a_peer_that_sends_junk_for_hashes,
    a_peer_that_sends_code_for_hashes,
}

/// One peer misbehaves (with `None` nobody is there), the other one is real; the partition has one object, and must
/// reach the real one.
fn with_bad_peer(which: Which, reply: Option<Reply>, memory: Option<u64>) -> (Outcome, String) {
    let cluster = Spec::nodes(3).silent(&[1]).lease();
    let object = cluster.object_in(0, 0);
    cluster.put(&cluster.home(0, 0, 0), &object, &time(1), b"for everybody");
    let stub = reply.map(|reply| {
        StubPeer::start(cluster.nodes[1].object_address(), move |request: &Request| {
            assert!(!request.after_push(), "nothing was pushed here");
            reply.clone()
        })
    });
    let pass = cluster.pass(which, 0).set("http_timeout", 2);
    let outcome = memory.into_iter().fold(pass, Pass::memory).run();
    outcome.ended(0).counts(&[("attempted", 1), ("rsync", 1), ("success", 1), ("failure", 1), ("suffix_count", 1)]);
    assert_eq!(outcome.counter_of_failures(&cluster.home(0, 0, 1)), 1);
    assert_eq!(cluster.get(&cluster.home(0, 0, 2), &object).body, b"for everybody");
    if let Some(stub) = stub {
        let requests = stub.requests();
        assert!(!requests.is_empty(), "the peer was not asked");
        assert!(requests.iter().all(|request| request.line == "REPLICATE /sda/0 HTTP/1.1"), "{requests:?}");
    }
    (outcome, cluster.home(0, 0, 1).node_string())
}

/// One line at ERROR names the peer, and says this.
#[track_caller]
fn one_line(which: Which, reply: Option<Reply>, reason: &str) {
    assert_one_line(&with_bad_peer(which, reply, None), reason);
}

#[track_caller]
fn assert_one_line((outcome, peer): &(Outcome, String), reason: &str) {
    let lines: Vec<_> = outcome.syslog.iter().filter(|line| line.severity() == 3).collect();
    assert!(lines.len() == 1 && lines[0].text.contains(peer) && lines[0].text.contains(reason), "{}", outcome.all());
}

fn a_peer_that_refuses(which: Which) {
    one_line(which, None, ": Connection refused");
}

fn a_peer_that_never_answers(which: Which) {
    one_line(which, Some(Reply::Hang), ": Timeout (2s)");
}

fn a_peer_that_closes_without_a_word(which: Which) {
    one_line(which, Some(Reply::Close), "Error syncing with node: ");
}

fn a_peer_that_answers_404(which: Which) {
    one_line(which, Some(Reply::Status(404, b"<html>".to_vec())), "Invalid response 404 from ");
}

fn a_peer_that_answers_500(which: Which) {
    one_line(which, Some(Reply::Status(500, b"Traceback".to_vec())), "Invalid response 500 from ");
}

fn a_peer_that_answers_503(which: Which) {
    one_line(which, Some(Reply::Status(503, b"No policy with index 0".to_vec())), "Invalid response 503 from ");
}

fn a_peer_that_redirects(which: Which) {
    let elsewhere = b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n".to_vec();
    one_line(which, Some(Reply::Raw(elsewhere)), "Invalid response 301 from ");
}

fn a_peer_that_speaks_no_http(which: Which) {
    one_line(which, Some(Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())), "Error syncing with node: ");
}

fn a_peer_that_sends_less_than_it_promised(which: Which) {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n\x80\x02}q\0.".to_vec();
    one_line(which, Some(Reply::Raw(half)), "Error syncing with node: ");
}

fn a_peer_that_sends_junk_for_hashes(which: Which) {
    one_line(which, Some(Reply::hashes(b"<html>It works!</html>")), "Error syncing with node: ");
}

fn a_peer_that_sends_code_for_hashes(which: Which) {
    let mark = tempfile::tempdir().expect("a folder");
    let file = mark.path().join("was-here");
    let bomb = format!("cos\nsystem\n(S'touch {}'\ntR.", file.display());
    one_line(which, Some(Reply::hashes(bomb.as_bytes())), "Error syncing with node: ");
    assert!(!file.exists(), "the peer's code was run");
}

/// Both peers of a partition with one object, in place of object servers; an rsync that only says that all is well.
fn with_stubs(rsync: &FakeRsync, reply: impl Fn(usize, &Request) -> Reply + Clone + Send + Sync + 'static) -> Outcome {
    let cluster = Spec::nodes(3).silent(&[1, 2]).lease();
    let object = cluster.object_in(0, 0);
    cluster.put(&cluster.home(0, 0, 0), &object, &time(1), b"for everybody");
    let _stubs = [1, 2].map(|node| {
        let reply = reply.clone();
        StubPeer::start(cluster.nodes[node].object_address(), move |request| reply(node, request))
    });
    cluster.pass(Which::Ours, 0).rsync(rsync).run()
}

/// It hashes what it got before it answers, and nobody waits for that. (The reference does.)
#[test]
fn a_peer_is_told_while_the_next_one_is_pushed_to() {
    let rsync = FakeRsync::doing("exit 0");
    let runs = rsync.folder().join("runs");
    let in_time = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&in_time);
    let outcome = with_stubs(&rsync, move |_, request| {
        if request.after_push() {
            let both_have_begun = || fs::read_dir(&runs).expect("the stand-in's folder").count() == 2;
            seen.fetch_and(until(Duration::from_secs(20), both_have_begun), Ordering::Relaxed);
        }
        Reply::nothing()
    });
    outcome.clean().counts(&[("rsync", 2), ("success", 2), ("failure", 0), ("suffix_sync", 2)]);
    assert!(in_time.load(Ordering::Relaxed), "the second push waited for the first one's peer");
}

#[test]
fn a_peer_that_cannot_be_told_is_the_one_that_failed() {
    for bad in [1, 2] {
        let rsync = FakeRsync::doing("exit 0");
        let outcome = with_stubs(&rsync, move |node, request| match request.after_push() && node == bad {
            true => Reply::Close,
            false => Reply::nothing(),
        });
        outcome.ended(0).counts(&[("rsync", 2), ("success", 1), ("failure", 1), ("suffix_sync", 1)]);
        let errors: Vec<_> = outcome.syslog.iter().filter(|line| line.severity() == 3).collect();
        assert_eq!(errors.len(), 1, "{}", outcome.all());
    }
}

/// The same, with far less memory than the peer would like the replicator to take.
#[track_caller]
fn in_bounded_memory(reply: Reply) {
    assert_one_line(&with_bad_peer(Which::Ours, Some(reply), Some(200 << 20)), "Error syncing with node: ");
}

#[test]
fn a_peer_that_sends_without_end() {
    in_bounded_memory(Reply::Endless);
}

#[test]
fn a_peer_whose_hashes_nest_too_deep() {
    let mut deep = b"\x80\x02".to_vec();
    deep.extend(std::iter::repeat_n(b']', 100_000));
    deep.extend(std::iter::repeat_n(b'a', 99_999));
    deep.push(b'.');
    in_bounded_memory(Reply::hashes(&deep));
}

#[test]
fn a_peer_whose_hashes_are_all_marks() {
    in_bounded_memory(Reply::hashes(&vec![b'('; 1 << 20]));
}

#[test]
fn a_peer_whose_hashes_claim_a_gigabyte() {
    in_bounded_memory(Reply::hashes(b"\x80\x02}q\0X\xff\xff\xff\x3f"));
}
