//! Tests of the partitions that go first.

use super::*;
use crate::orders::tests::order;

fn key(partition: u32) -> Key {
    (PolicyIndex::new(0), Partition::new(partition))
}

fn target(ip: &str, device: &str) -> Target {
    Target { ip: ip.into(), port: 6200, device: device.into() }
}

fn add<const COUNT: usize>(first: &First, found: [(&str, Vec<Key>); COUNT]) -> u64 {
    let number = first.announce("them".into(), order(None));
    first.found(number, found.map(|(device, keys)| (device.to_owned(), keys)), Looked::default());
    number
}

/// These partitions of `sda` are first.
fn first(partitions: std::ops::Range<u32>) -> (Arc<First>, u64) {
    let first = Arc::new(First::default());
    let number = add(&first, [("sda", partitions.map(key).collect())]);
    (first, number)
}

fn free(_: Key) -> Option<Vec<Target>> {
    Some(Vec::new())
}

fn numbers(first: &First) -> Vec<u32> {
    let shown = first.shown(100.0);
    shown.iter().flat_map(|order| order.left.iter().map(|left| left.partition)).collect()
}

#[test]
fn no_more_than_two_are_at_work_on_a_device_and_they_come_in_their_order() {
    let (first, _) = first(0..4);
    let [a, b] = [first.take("sda", free).unwrap(), first.take("sda", free).unwrap()];
    assert_eq!((a.key(), b.key()), (key(0), key(1)));
    assert!(first.take("sda", free).is_none() && first.take("sdb", free).is_none());
    a.end(Ok(()));
    assert_eq!(first.take("sda", free).unwrap().key(), key(2));
}

#[test]
fn no_more_than_two_are_at_work_with_a_peers_device_wherever_they_come_from() {
    let (first, _) = first(0..4);
    add(&first, [("sdb", vec![key(7), key(8)])]);
    let sdc = |_| Some(vec![target("10.0.0.7", "sdc")]);
    let held = [first.take("sda", sdc).unwrap(), first.take("sdb", sdc).unwrap()];
    assert!(first.take("sda", sdc).is_none() && first.take("sdb", sdc).is_none());
    let other = first.take("sda", |other| (other == key(3)).then(|| vec![target("10.0.0.7", "sdd")])).unwrap();
    assert_eq!(other.key(), key(3), "one behind it goes elsewhere");
    drop((held, other));
    assert!(first.take("sda", sdc).is_some());
}

#[test]
fn one_that_fails_has_its_next_turn_in_the_next_pass_and_one_that_succeeds_has_none() {
    let (first, number) = first(0..2);
    first.take("sda", free).unwrap().end(Err("1 timeout".into()));
    first.take("sda", free).unwrap().end(Ok(()));
    assert!(first.take("sda", free).is_none());
    let shown = first.find(number, 100.0).unwrap();
    assert_eq!((shown.total, shown.done, shown.failed, shown.is_tried()), (2, 1, 1, true));
    assert_eq!((shown.left[0].failures, shown.left[0].why.as_deref()), (1, Some("1 timeout")));
    first.begin_pass("sda");
    let ticket = first.take("sda", free).unwrap();
    assert!(first.find(number, 100.0).unwrap().left[0].is_at_work);
    ticket.end(Ok(()));
    assert!(first.is_empty() && first.shown(100.0).is_empty());
    let shown = first.find(number, 100.0).unwrap();
    assert_eq!(
        (shown.total, shown.done, shown.left),
        (2, 2, Vec::new()),
        "whoever waits for it can see that it is done"
    );
}

#[test]
fn a_job_that_breaks_off_or_hangs_keeps_nobody_from_its_targets_longer_than_it_lasts() {
    let (first, number) = first(0..1);
    let ticket = first.take("sda", |_| Some(vec![target("10.0.0.7", "sdc")])).unwrap();
    first.begin_pass("sda");
    assert!(first.take("sda", free).is_none(), "the job of the pass before is still at it");
    drop(ticket);
    assert_eq!(first.find(number, 100.0).unwrap().left[0].why.as_deref(), Some("it broke off"));
    first.begin_pass("sda");
    assert!(first.take("sda", free).is_some());
}

#[test]
fn what_is_ordered_twice_is_done_once_for_both_and_a_new_order_gives_a_new_turn() {
    let (first, one) = first(0..2);
    first.take("sda", free).unwrap().end(Err("1 timeout".into()));
    let two = add(&first, [("sda", vec![key(0), key(0), key(1)])]);
    assert_eq!(first.find(two, 100.0).unwrap().total, 2, "each counts once");
    assert!(!first.find(one, 100.0).unwrap().is_tried());
    let tickets = [first.take("sda", free).unwrap(), first.take("sda", free).unwrap()];
    let mut keys: Vec<_> = tickets.iter().map(Ticket::key).collect();
    keys.sort();
    assert_eq!(keys, [key(0), key(1)]);
    tickets.into_iter().for_each(|ticket| ticket.end(Ok(())));
    assert_eq!([one, two].map(|number| first.find(number, 100.0).unwrap().done), [2, 2]);
}

#[test]
fn what_cannot_be_begun_is_passed_over_and_fails_with_the_pass_if_there_is_a_reason() {
    let (first, number) = first(0..3);
    let ticket = first.take("sda", |other| (other == key(1)).then(Vec::new)).unwrap();
    assert_eq!(ticket.key(), key(1));
    first.end_pass("sda", |other| (other == key(0)).then(|| "the device hangs".to_owned()));
    ticket.end(Ok(()));
    let shown = first.find(number, 100.0).unwrap();
    assert_eq!((shown.done, shown.failed, shown.is_tried()), (1, 1, false));
    assert_eq!(shown.left[0].why.as_deref(), Some("the device hangs"));
    assert_eq!(first.take("sda", free).unwrap().key(), key(2), "it just had no turn");
}

#[test]
fn news_wake_a_pass_once() {
    let (first, _) = first(0..1);
    assert!(!first.take_news(|device| device == "sdb"));
    assert!(first.take_news(|_| true) && !first.take_news(|_| true));
    add(&first, [("sda", vec![key(5)])]);
    first.begin_pass("sda");
    assert!(!first.take_news(|_| true), "the pass sees it");
}

#[test]
fn devices_that_are_gone_take_what_is_first_with_them_but_for_what_is_at_work() {
    let (first, number) = first(0..2);
    let ticket = first.take("sda", free).unwrap();
    assert_eq!(first.keep_devices(|_| true), [""; 0]);
    assert_eq!(first.keep_devices(|device| device != "sda"), ["sda"]);
    assert_eq!((numbers(&first), first.take("sda", free).is_none()), (vec![0], true));
    ticket.end(Ok(()));
    assert!(first.is_empty());
    assert_eq!(first.find(number, 100.0).unwrap().done, 2);
}

#[test]
fn many_are_counted_and_few_are_named_those_that_failed_before_the_others() {
    let (first, number) = first(0..1000);
    first.take("sda", free).unwrap().end(Ok(()));
    let failed = first.take("sda", |other| (other == key(200)).then(Vec::new)).unwrap();
    failed.end(Err("1 timeout".into()));
    let shown = first.find(number, 100.0).unwrap();
    assert_eq!((shown.total, shown.done, shown.failed, shown.left.len()), (1000, 1, 1, 20));
    let named: Vec<_> = shown.left.iter().take(3).map(|left| left.partition).collect();
    assert_eq!(named, [200, 1, 2]);
}

#[test]
fn an_order_of_which_nothing_is_left_is_known_for_an_hour() {
    let (first, number) = first(0..1);
    first.take("sda", free).unwrap().end(Ok(()));
    assert!(first.find(number, 100.0).is_some() && first.find(number, 3700.0).is_some());
    assert!(first.find(number, 3701.0).is_none());
    let nothing = add(&first, []);
    assert!(first.find(nothing, 0.0).unwrap().is_tried());
}

#[test]
fn an_order_is_shown_while_its_partitions_are_looked_for_and_says_why_there_are_none() {
    let first = First::default();
    let number = first.announce("partitions 99".into(), order(None));
    let shown = first.shown(100.0);
    assert!(shown.len() == 1 && shown[0].is_looked_for && !shown[0].is_tried());
    first.refuse(number, "no such thing".into());
    assert!(first.shown(100.0).is_empty() && first.is_empty());
    let shown = first.find(number, 100.0).unwrap();
    assert_eq!((shown.refused.as_deref(), shown.is_tried()), (Some("no such thing"), true));
}
