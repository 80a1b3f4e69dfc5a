//! Tests of what is thought of a node.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::config::policies::{Policy, PolicyKind};
use crate::job::view::PolicyView;
use crate::names::PolicyIndex;
use crate::peer::recon::{Unmounted, Usage};
use crate::ring::local::Identity;
use crate::ring::store::RingFile;
use crate::ring::testing::{device, ring_1};

const CHANGED: f64 = 1000.0;
const NOW: f64 = 5000.0;

/// The ring of policy 0, with a device on the node 10.0.0.1.
fn ring() -> PolicyRing {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("object.ring.gz");
    fs::write(&path, ring_1(&[device(0, 1, 1, "10.0.0.1")], 0, 1, &[0])).unwrap();
    let file = Arc::new(RingFile::new(path));
    let policy = Policy {
        index: PolicyIndex::new(0),
        name: "gold".to_owned(),
        aliases: Vec::new(),
        kind: PolicyKind::Replication,
        is_default: true,
        is_deprecated: false,
    };
    let identity = Identity::new("10.0.0.9", None).unwrap();
    let ring = file.load().unwrap();
    PolicyRing { view: Arc::new(PolicyView::new(policy, file, ring, &identity)), changed: CHANGED }
}

/// What is thought of the node if it answers so to the question for its last pass.
fn judge(ring: &PolicyRing, replication: serde_json::Value, unmounted: &[&str], mount_check: bool) -> Judged {
    judge_answers(ring, &answers(ring, replication, unmounted), mount_check)
}

fn judge_answers(ring: &PolicyRing, answers: &Answers, mount_check: bool) -> Judged {
    let rings = std::slice::from_ref(ring);
    let [server] = &super::super::ask::servers(rings)[..] else { panic!("one node") };
    assert_eq!(server.devices, [(0, BTreeSet::from(["sd0".to_owned()]))].into());
    Judged::new(server, answers, &Known { rings, mount_check, now: NOW })
}

fn answers(ring: &PolicyRing, replication: serde_json::Value, unmounted: &[&str]) -> Answers {
    let unmounted = unmounted.iter().map(|device| json!({"device": device, "mounted": false})).collect();
    let usage = json!([{"device": "sd0", "size": 200, "used": 150}, {"device": "other", "size": 1, "used": 1},
        {"device": "sd0", "size": "", "used": ""}]);
    let sums = json!({"/elsewhere/object.ring.gz": ring.view.ring.digest, "/elsewhere/object-7.ring.gz": "x"});
    Answers {
        rings: Ok(serde_json::from_value::<RingSums>(sums).unwrap()),
        replication: serde_json::from_value(replication).map_err(|error| error.to_string()),
        usage: Ok(serde_json::from_value::<Usage>(usage).unwrap()),
        unmounted: Ok(serde_json::from_value::<Unmounted>(serde_json::Value::Array(unmounted)).unwrap()),
    }
}

/// A pass of this program, from 3000 to 4000, with this many hand-offs of which so many went.
fn ours(ring: &PolicyRing, handoffs: u64, gone: u64) -> serde_json::Value {
    let holding =
        json!({"policy": 0, "listed": 3000.0, "ring": ring.view.ring.digest, "handoffs": handoffs, "gone": gone});
    json!({"began": 3000.0, "ended": 4000.0, "complete": true, "devices": {"sd0": [holding]}})
}

fn told(rebalance: &serde_json::Value) -> serde_json::Value {
    json!({"replication_stats": {"failure": 0, "rebalance": rebalance}, "object_replication_last": 4000.0,
        "object_replication_time": 1000.0 / 60.0})
}

fn wait(why: &str) -> State {
    State::Wait(vec![why.to_owned()])
}

#[test]
fn a_complete_pass_with_this_ring_and_nothing_left_is_done() {
    let ring = ring();
    let done = judge(&ring, told(&ours(&ring, 7, 7)), &[], true);
    assert_eq!((&done.state, &done.program, done.last_pass_counts), (&State::Done, &Program::Ours, true));
    assert_eq!((done.handoffs_left, done.complete_pass_seconds), (Some(0), Some(1000.0)));
    assert_eq!(done.fullest_disk, Some(("sd0".to_owned(), 0.75)));

    let left = judge(&ring, told(&ours(&ring, 30, 10)), &[], true);
    assert_eq!((&left.state, left.seconds_left), (&wait("20 hand-offs left"), Some(2000.0)));
}

#[test]
fn no_other_pass_counts_as_a_complete_one() {
    let ring = ring();
    let pass = |key: &str, value: serde_json::Value| {
        let mut pass = ours(&ring, 0, 0);
        pass[key] = value;
        judge(&ring, told(&pass), &[], true)
    };
    assert_eq!(pass("complete", json!(false)).state, wait("its last pass was not complete"));
    assert_eq!(pass("handoffs_only", json!(true)).state, wait("its last pass was over hand-offs only"));
    // A device that came with this ring, or was listed by another one.
    let no_pass = wait("no complete pass with the ring in force yet");
    assert_eq!(pass("devices", json!({})).state, no_pass);
    let other = json!({"sd0": [{"policy": 0, "listed": 3000.0, "ring": "another"}]});
    assert_eq!(pass("devices", other).state, no_pass);
    let trouble = pass("devices", json!({"sd0": [{"policy": 0, "trouble": "not mounted"}]}));
    assert_eq!(trouble.state, State::Unknown(vec!["sd0: not mounted".to_owned()]));
}

#[test]
fn a_pass_that_is_under_way_says_what_is_left_now_unless_it_has_died() {
    let ring = ring();
    let mut answer = told(&ours(&ring, 0, 0));
    let mut now = ours(&ring, 50, 25);
    (now["listed"], now["complete"]) = (json!(4500.0), json!(false));
    now["devices"]["sd0"][0]["listed"] = json!(4500.0);
    for (ended, expected) in [(4900.0, Some(25)), (4050.0, Some(0)), (3999.0, Some(0))] {
        now["ended"] = json!(ended);
        answer["replication_stats"]["rebalance_now"] = now.clone();
        let judged = judge(&ring, answer.clone(), &[], true);
        assert_eq!(judged.handoffs_left, expected, "as of {ended}");
    }
    answer["replication_stats"].as_object_mut().unwrap().remove("rebalance");
    answer["replication_stats"]["rebalance_now"]["ended"] = json!(4900.0);
    let first = judge(&ring, answer, &[], true);
    let expected = ["25 hand-offs left", "it has not ended a pass yet"].map(str::to_owned).to_vec();
    assert_eq!(first.state, State::Wait(expected));
}

#[test]
fn swifts_own_is_done_after_a_pass_without_failures_since_the_ring() {
    let ring = ring();
    let last = |began: f64, ended: f64, failure: u64| {
        json!({"object_replication_last": ended, "object_replication_time": (ended - began) / 60.0,
            "replication_stats": {"failure": failure, "attempted": 7}})
    };
    let done = judge(&ring, last(1001.0, 2000.0, 0), &[], true);
    assert_eq!((&done.state, &done.program, done.handoffs_left), (&State::Done, &Program::Other, None));
    let before = judge(&ring, last(900.0, 4900.0, 0), &[], true);
    assert_eq!(before.state, wait("no pass that began after the ring was written has ended"));
    assert_eq!(before.seconds_left.map(f64::round), Some(3900.0));
    let failed = judge(&ring, last(1001.0, 2000.0, 3), &[], true);
    assert_eq!(failed.state, wait("3 failures in its last pass: hand-offs may be left"));
    assert_eq!(judge(&ring, json!({}), &[], true).state, wait("it tells of no pass"));
    // What this program told before Swift's own made a pass is out of date.
    let mut after = last(4100.0, 4500.0, 0);
    after["replication_stats"]["rebalance"] = ours(&ring, 9, 0);
    assert_eq!(judge(&ring, after, &[], true).state, State::Done);
}

#[test]
fn a_disk_that_is_not_mounted_there_keeps_the_node_from_being_known() {
    let ring = ring();
    let answer = told(&ours(&ring, 0, 0));
    let gone = judge(&ring, answer.clone(), &["sd0", "spare"], true);
    assert_eq!(gone.state, State::Unknown(vec!["sd0 is not mounted".to_owned()]));
    assert_eq!(judge(&ring, answer, &["sd0"], false).state, State::Done, "where mounts are not checked");
}

#[test]
fn a_disk_that_is_not_mounted_is_named_though_another_one_begins_like_it() {
    let ring = ring();
    let rings = std::slice::from_ref(&ring);
    let mut servers = super::super::ask::servers(rings);
    servers[0].devices.insert(0, BTreeSet::from(["sd0", "sd01"].map(str::to_owned)));
    let mut pass = ours(&ring, 0, 0);
    pass["devices"]["sd01"] = json!([{"policy": 0, "trouble": "Input/output error"}]);
    let answers = answers(&ring, told(&pass), &["sd0", "sd01", "sd0"]);
    let judged = Judged::new(&servers[0], &answers, &Known { rings, mount_check: true, now: NOW });
    let expected = ["sd01: Input/output error", "sd0 is not mounted"].map(str::to_owned).to_vec();
    assert_eq!(judged.state, State::Unknown(expected));
}

#[test]
fn a_node_of_which_an_answer_is_missing_is_not_known() {
    let ring = ring();
    let answer = || answers(&ring, told(&ours(&ring, 0, 0)), &[]);
    let unknown = |why: &str| State::Unknown(vec![why.to_owned()]);
    let late = "no whole answer in time";
    let no_unmounted = Answers { unmounted: Err(late.to_owned()), ..answer() };
    assert_eq!(judge_answers(&ring, &no_unmounted, true).state, unknown(late));
    assert_eq!(judge_answers(&ring, &no_unmounted, false).state, State::Done, "where mounts are not checked");
    let neither = Answers { usage: Err(late.to_owned()), ..no_unmounted };
    assert_eq!(judge_answers(&ring, &neither, true).state, unknown(late), "it is said once");
    let garbage = Answers { usage: Err("garbage".to_owned()), ..answer() };
    assert_eq!(judge_answers(&ring, &garbage, false).state, unknown("garbage"));
}

#[test]
fn no_time_is_told_for_a_node_that_has_another_ring() {
    let ring = ring();
    for theirs in [json!({"/a/object.ring.gz": "another"}), json!({})] {
        let rings = Ok(serde_json::from_value(theirs).unwrap());
        let answers = Answers { rings, ..answers(&ring, told(&ours(&ring, 0, 0)), &[]) };
        let judged = judge_answers(&ring, &answers, true);
        assert!(matches!(judged.state, State::Wait(_)), "{:?}", judged.state);
        assert_eq!((judged.same_rings, judged.seconds_left), (Some(false), None));
    }
}
