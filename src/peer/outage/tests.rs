//! What rests, for how long, and what ends it.

use std::thread;

use super::*;

fn device(ip: &str, name: &str) -> Device {
    Device { replication_ip: ip.into(), device: name.into(), ..Device::sample() }
}

/// Outages that rest for a moment only.
fn brief() -> Outages {
    Outages { rest: Duration::from_millis(300), ..Outages::default() }
}

fn times(count: u32, what: impl Fn()) {
    (0..count).for_each(|_| what());
}

/// Waits until something holds; it has to within a few seconds.
#[track_caller]
fn until(holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "this never came about");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn three_failed_connections_in_a_row_give_a_rest_to_all_of_the_node() {
    let (outages, dead, other) = (Outages::default(), device("10.0.0.1", "sdb"), device("10.0.0.2", "sdb"));
    for _ in 0..2 {
        outages.unreachable(&dead);
        assert!(outages.may_ask(&dead));
    }
    outages.unreachable(&dead);
    let same_node = device("10.0.0.1", "sdc");
    assert!(!outages.may_ask(&dead) && !outages.may_ask(&same_node) && outages.may_ask(&other));
    assert!(outages.is_resting(&same_node) && !outages.is_resting(&other));
}

#[test]
fn failed_connections_for_several_devices_add_up() {
    let outages = Outages::default();
    for name in ["sdb", "sdc", "sdd"] {
        outages.unreachable(&device("10.0.0.1", name));
    }
    assert!(outages.is_resting(&device("10.0.0.1", "sde")));
}

#[test]
fn no_answers_give_a_rest_to_the_device_alone() {
    let outages = Outages::default();
    let (bad, good) = (device("10.0.0.1", "sdb"), device("10.0.0.1", "sdc"));
    times(2, || outages.unanswered(&bad));
    assert!(outages.may_ask(&bad));
    times(100, || outages.unanswered(&bad));
    assert!(!outages.may_ask(&bad) && outages.is_resting(&bad));
    times(10, || assert!(outages.may_ask(&good) && !outages.is_resting(&good)));
}

#[test]
fn however_many_devices_are_silent_the_others_are_asked() {
    let outages = Outages::default();
    for name in ["sdb", "sdc", "sdd", "sde"] {
        times(5, || outages.unanswered(&device("10.0.0.1", name)));
        assert!(outages.is_resting(&device("10.0.0.1", name)));
    }
    assert!(outages.may_ask(&device("10.0.0.1", "sdf")));
}

#[test]
fn a_device_that_answers_does_not_end_the_rest_of_another() {
    let outages = Outages::default();
    let (bad, good) = (device("10.0.0.1", "sdb"), device("10.0.0.1", "sdc"));
    for _ in 0..3 {
        outages.unanswered(&bad);
        outages.reached(&good);
    }
    assert!(!outages.may_ask(&bad) && outages.may_ask(&good));
    outages.reached(&good);
    assert!(!outages.may_ask(&bad));
    outages.reached(&bad);
    assert!(outages.may_ask(&bad));
}

#[test]
fn an_answer_of_one_device_ends_the_rest_of_its_node() {
    let outages = Outages::default();
    times(3, || outages.unreachable(&device("10.0.0.1", "sdb")));
    outages.reached(&device("10.0.0.1", "sdc"));
    assert!(outages.may_ask(&device("10.0.0.1", "sdb")));
}

#[test]
fn silence_says_that_the_node_can_be_reached() {
    let outages = Outages::default();
    let (silent, other) = (device("10.0.0.1", "sdb"), device("10.0.0.1", "sdc"));
    times(3, || outages.unreachable(&silent));
    outages.unanswered(&silent);
    assert!(outages.may_ask(&other) && outages.may_ask(&silent));
}

#[test]
fn failures_with_success_between_them_give_no_rest() {
    let (outages, flaky) = (Outages::default(), device("10.0.0.1", "sdb"));
    for _ in 0..5 {
        times(2, || outages.unreachable(&flaky));
        outages.reached(&flaky);
        times(2, || outages.unanswered(&flaky));
        outages.reached(&flaky);
    }
    assert!(outages.may_ask(&flaky));
    assert_eq!(outages.count.load(Ordering::Relaxed), 0, "nothing is remembered of what is well");
}

#[test]
fn after_a_rest_one_attempt_decides() {
    type Fail = fn(&Outages, &Device);
    for fail in [Outages::unreachable as Fail, Outages::unanswered] {
        let (outages, dead) = (brief(), device("10.0.0.1", "sdb"));
        times(FAILURES, || fail(&outages, &dead));
        until(|| !outages.is_resting(&dead));
        assert!(!outages.is_resting(&dead), "who only looks takes nobody's attempt");
        until(|| outages.may_ask(&dead));
        assert!(!outages.may_ask(&dead), "one attempt, and no more");
        fail(&outages, &dead);
        assert!(!outages.may_ask(&dead), "it failed");
        outages.reached(&dead);
        assert!(outages.may_ask(&dead) && outages.may_ask(&dead), "it is back");
    }
}

#[test]
fn of_many_threads_one_makes_the_attempt() {
    let (outages, dead) = (brief(), device("10.0.0.1", "sdb"));
    times(FAILURES, || outages.unanswered(&dead));
    until(|| !outages.is_resting(&dead));
    let granted = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| granted.fetch_add(usize::from(outages.may_ask(&dead)), Ordering::Relaxed));
        }
    });
    assert_eq!(granted.into_inner(), 1);
}

/// An attempt that takes half a second, at a peer that rests for a moment only, and the times between attempts.
#[test]
fn a_silent_device_takes_a_fifth_of_a_worker_at_most() {
    let outages =
        Outages { rest: Duration::from_millis(1), ..Outages::default() }.with_patience(Duration::from_secs(60));
    let silent = device("10.0.0.1", "sdb");
    times(FAILURES, || outages.unanswered(&silent));
    let rests_until = outages.nodes()["10.0.0.1:6200"].devices["sdb"].no_answer.rests_until;
    let rest = rests_until.unwrap() - Instant::now();
    assert!(rest > Duration::from_secs(230) && rest <= Duration::from_secs(240), "{rest:?}");
}

#[test]
fn while_an_attempt_hangs_no_other_is_made() {
    let outages = brief().with_patience(Duration::from_millis(150));
    let silent = device("10.0.0.1", "sdb");
    times(FAILURES, || outages.unanswered(&silent));
    let slow = Outages { patience: Duration::from_secs(60), ..outages };
    until(|| slow.may_ask(&silent));
    thread::sleep(slow.rest + Duration::from_millis(100));
    assert!(!slow.may_ask(&silent), "the first attempt may still be waiting");
}

#[test]
fn silent_devices_of_a_node_take_turns_until_one_of_them_answers() {
    let outages = brief();
    let devices: Vec<_> = ["sdb", "sdc", "sdd"].iter().map(|name| device("10.0.0.1", name)).collect();
    for device in &devices {
        times(FAILURES, || outages.unanswered(device));
    }
    let other_node = device("10.0.0.2", "sdb");
    times(FAILURES, || outages.unanswered(&other_node));
    until(|| devices.iter().chain([&other_node]).all(|device| !outages.is_resting(device)));
    let slow = Outages { patience: Duration::from_secs(60), ..outages };
    assert!(slow.may_ask(&devices[0]));
    assert!(!slow.may_ask(&devices[1]) && !slow.may_ask(&devices[2]), "their turn is later");
    assert!(slow.may_ask(&other_node), "each node for itself");
    slow.reached(&devices[0]);
    assert!(slow.may_ask(&devices[1]) && !slow.may_ask(&devices[2]), "one of the others may be well too");
    slow.reached(&devices[1]);
    assert!(slow.may_ask(&devices[2]));
}

#[test]
fn an_attempt_that_was_not_made_leaves_its_turn_to_the_next_one() {
    let outages = brief().with_patience(Duration::from_millis(150));
    let (dead, silent) = (device("10.0.0.1", "sdb"), device("10.0.0.2", "sdb"));
    times(FAILURES, || outages.unreachable(&dead));
    times(FAILURES, || outages.unanswered(&silent));
    until(|| !outages.is_resting(&dead) && !outages.is_resting(&silent));
    let slow = Outages { rest: Duration::from_secs(60), patience: Duration::from_secs(60), ..outages };
    for peer in [&dead, &silent] {
        assert!(slow.may_ask(peer) && !slow.may_ask(peer), "one attempt, and no more");
        slow.not_asked(peer);
        assert!(slow.may_ask(peer) && !slow.may_ask(peer), "the same again");
    }
}

#[test]
fn what_was_not_asked_says_nothing_of_the_node() {
    let (outages, dead) = (Outages::default(), device("10.0.0.1", "sdb"));
    outages.not_asked(&dead);
    assert_eq!(outages.count.load(Ordering::Relaxed), 0);
    times(FAILURES - 1, || outages.unreachable(&dead));
    outages.not_asked(&dead);
    assert!(outages.may_ask(&dead) && outages.may_ask(&dead), "it does not rest yet");
    outages.unreachable(&dead);
    assert!(outages.is_resting(&dead), "no failure was forgotten");
}

#[test]
fn a_device_with_its_hands_full_is_asked_after_ever_longer_pauses() {
    let now = Instant::now();
    let mut pause = Pause::after(None, now, None);
    let mut lengths = Vec::new();
    for _ in 0..8 {
        lengths.push(pause.length.as_secs());
        let meanwhile = Pause::after(Some(pause), pause.until - Duration::from_millis(1), None);
        assert_eq!(meanwhile.length, pause.length, "several were told at the same time");
        pause = Pause::after(Some(pause), pause.until, None);
    }
    assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
    let as_told = |seconds| Pause::after(None, now, Some(Duration::from_secs(seconds))).length.as_secs();
    assert_eq!([0, 5, 1_000_000].map(as_told), [1, 5, 60], "what it says itself counts, within reason");
}

#[test]
fn a_device_with_its_hands_full_does_not_rest_and_no_other_waits_for_it() {
    let outages = Outages::default();
    let (full, other) = (device("10.0.0.1", "sdb"), device("10.0.0.1", "sdc"));
    assert_eq!(outages.wait_for(&full), None);
    outages.busy(&full, 529, None);
    assert_eq!(outages.permission(&full), Permission::Later);
    assert!(!outages.is_resting(&full) && outages.may_ask(&other));
    let wait = outages.wait_for(&full).expect("a second or less");
    assert!(wait <= FIRST_PAUSE, "{wait:?}");
    until(|| outages.wait_for(&full).is_none());
    assert!(outages.may_ask(&full) && outages.may_ask(&full), "then all may ask");
    outages.busy(&full, 529, None);
    assert!(outages.wait_for(&full).expect("twice as long") > FIRST_PAUSE);
}

#[test]
fn an_answer_ends_no_pause_but_makes_the_next_one_short_again() {
    let (outages, full) = (Outages::default(), device("10.0.0.1", "sdb"));
    outages.busy(&full, 529, Some(Duration::from_secs(20)));
    outages.reached(&full);
    assert_eq!(outages.permission(&full), Permission::Later, "it was asked before the pause began");
    let go_by = |time: Duration| {
        let mut nodes = outages.nodes();
        let pause = nodes.get_mut("10.0.0.1:6200")?.devices.get_mut("sdb")?.pause.as_mut()?;
        pause.until = pause.until.checked_sub(time)?;
        Some(())
    };
    if go_by(Duration::from_secs(20)).is_none() {
        return;
    }
    outages.reached(&full);
    assert!(outages.may_ask(&full) && outages.wait_for(&full).is_none());
    outages.busy(&full, 529, None);
    assert!(outages.wait_for(&full).is_some_and(|wait| wait <= FIRST_PAUSE));
    assert_eq!(outages.count.load(Ordering::Relaxed), 1, "it is not over yet");
    if go_by(FIRST_PAUSE + CALM).is_none() {
        return;
    }
    outages.reached(&full);
    assert_eq!(outages.count.load(Ordering::Relaxed), 0, "now it is");
}

#[test]
fn trouble_of_long_ago_is_forgotten() {
    let outages = Outages::default();
    times(FAILURES, || outages.unreachable(&device("10.0.0.1", "sdb")));
    let Some(long_ago) = Instant::now().checked_sub(MEMORY) else { return };
    outages.nodes().get_mut("10.0.0.1:6200").unwrap().last = long_ago;
    outages.unreachable(&device("10.0.0.2", "sdb"));
    assert_eq!(outages.nodes().keys().collect::<Vec<_>>(), ["10.0.0.2:6200"]);
    assert_eq!(outages.count.load(Ordering::Relaxed), 1);
}
