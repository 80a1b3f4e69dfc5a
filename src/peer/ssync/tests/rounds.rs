//! One object, one partition or one receiver that fails, and what becomes of the others.

use rustix::io::Errno;

use super::*;
use crate::device::object_data::faults;

const REFUSED: &str = ":ERROR: 500 b'ERROR: With :UPDATES: 1 failures to 2 successes'";

/// Wants these, reads the updates up to the end of one that starts so (or of all), and says this. What was sent.
fn refusing(wants: Vec<String>, until: Option<String>, line: &'static str) -> Script<Vec<String>> {
    Box::new(move |receiver| {
        receiver.offered(&wants);
        assert_eq!(receiver.message().unwrap(), ":UPDATES: START\r\n");
        let mut sent = Vec::new();
        while let Some(message) = receiver.message().filter(|message| message != ":UPDATES: END\r\n") {
            let is_last = until.as_ref().is_some_and(|start| message.starts_with(start));
            sent.push(message);
            if is_last {
                receiver.message();
                break;
            }
        }
        receiver.say(line);
        sent
    })
}

/// Goes through all of it, wanting these. What was sent.
fn taking(wants: Vec<String>) -> Script<Vec<String>> {
    Box::new(move |receiver| receiver.talk(&wants).1)
}

/// Wants these, and expects nothing. What was offered.
fn asked(wants: Vec<String>) -> Script<Vec<String>> {
    Box::new(move |receiver| {
        let offered = receiver.offered(&wants);
        assert_eq!(receiver.message(), None, "nothing is sent");
        offered
    })
}

/// The names of what was sent, of messages.
fn names(sent: &[String]) -> Vec<&str> {
    sent.iter()
        .filter_map(|message| message.strip_prefix("PUT /a/c/")?.split_once('\r').map(|(name, _)| name))
        .collect()
}

fn wants(fixture: &Fixture, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("{} d", fixture.hash(&format!("/a/c/{name}")))).collect()
}

/// A partition with small objects of these names.
fn small_objects(names: &[&str]) -> Fixture {
    let fixture = Fixture::new();
    for name in names {
        fixture.put(&format!("/a/c/{name}"), T1, b"data", &[]);
    }
    fixture
}

fn confirmed(fixture: &Fixture, error: &SsyncError, names: &[&str]) -> bool {
    let hashes: BTreeSet<_> = names.iter().map(|name| fixture.hash(&format!("/a/c/{name}"))).collect();
    let have_marks = error.confirmed.iter().all(|candidate| !candidate.marks.is_empty());
    error.confirmed.hashes() == hashes && have_marks
}

fn kept(fixture: &Fixture, kept: &Kept, names: &[&str], why: Why) {
    let entry = |name: &&str| KeptEntry { path: fixture.folder(&format!("/a/c/{name}")), why };
    assert_eq!(kept.count, names.len());
    assert_eq!(kept.examples, names.iter().map(entry).collect::<Vec<_>>());
}

#[test]
fn what_the_receiver_did_not_want_is_confirmed_though_it_refuses_the_rest() {
    let fixture = small_objects(&["there", "refused"]);
    let wanted = wants(&fixture, &["refused"]);
    let scripts = vec![refusing(wanted.clone(), None, REFUSED), asked(wanted)];
    let (to, thread) = receiver_of(scripts);
    let (outcome, lines) = push(&fixture, &to);
    thread.join().unwrap();
    let error = outcome.unwrap_err();
    assert!(confirmed(&fixture, &error, &["there"]), "{:?}", error.confirmed);
    kept(&fixture, &error.kept, &["refused"], Why::Refused);
    assert_eq!(error.kept.unsent, 0);
    assert_eq!((error.refused(), error.cause(), error.bytes), (Some((1, 2)), Cause::Push, 4));
    assert_eq!(lines.len(), 1, "{lines:?}");
}

/// Nobody says so after a conversation that broke off, so a hand-off's objects are asked for once more.
#[test]
fn what_arrived_beside_a_refused_object_is_confirmed_at_once() {
    let fixture = small_objects(&["one", "refused", "other"]);
    let scripts = vec![
        refusing(wants(&fixture, &["one", "refused", "other"]), None, REFUSED),
        asked(wants(&fixture, &["refused"])),
    ];
    let (to, thread) = receiver_of(scripts);
    let error = push(&fixture, &to).0.unwrap_err();
    assert_eq!(thread.join().unwrap()[1].len(), 3, "all are offered");
    assert!(confirmed(&fixture, &error, &["one", "other"]));
    kept(&fixture, &error.kept, &["refused"], Why::Refused);
}

#[test]
fn an_update_does_not_ask_again() {
    let fixture = small_objects(&["one", "refused"]);
    let (to, thread) = receiver_of(vec![refusing(wants(&fixture, &["one", "refused"]), None, REFUSED)]);
    let suffixes = suffixes(&fixture);
    let push =
        SsyncPush { dir: &fixture.dir, drive: None, suffixes: &suffixes, to: &to, only: None, with_marks: false };
    let (outcome, lines) = logged(|| sender(&fixture, Duration::from_secs(20)).sync(&push, &()));
    thread.join().unwrap();
    let error = outcome.unwrap_err();
    assert_eq!((error.confirmed.len(), error.kept.count, lines.len()), (0, 2, 1));
}

#[test]
fn what_the_receiver_did_not_want_is_confirmed_though_the_connection_is_lost() {
    let fixture = small_objects(&["there", "lost"]);
    let wanted = wants(&fixture, &["lost"]);
    let (to, thread) = receiver(move |receiver| {
        receiver.offered(&wanted);
        receiver.until(":UPDATES: END");
        receiver.raw("0\r\n\r\n");
        receiver.wait();
    });
    let error = push(&fixture, &to).0.unwrap_err();
    thread.join().unwrap();
    assert_eq!(error.to_string(), "Early disconnect");
    assert!(confirmed(&fixture, &error, &["there"]));
}

#[test]
fn nothing_is_confirmed_before_the_list_of_what_is_wanted_has_come_in_whole() {
    let fixture = small_objects(&["one", "other"]);
    let wanted = wants(&fixture, &["one"]);
    let (to, thread) = receiver(move |receiver| {
        receiver.head();
        receiver.raw(HEAD);
        receiver.until(":MISSING_CHECK: END");
        receiver.say(OK[1]);
        receiver.say(&wanted[0]);
    });
    let error = push(&fixture, &to).0.unwrap_err();
    thread.join().unwrap();
    assert!(error.confirmed.is_empty());
    assert_eq!(error.kept.count, 2);
}

/// Beyond so many bytes nothing can be read.
const READABLE: u64 = 128 << 10;

#[test]
fn the_neighbours_of_an_object_that_cannot_be_read_to_its_end_go_at_once() {
    let fixture = small_objects(&["before", "after"]);
    let bad = fixture.put("/a/c/bad", T1, &vec![b'x'; 1 << 20], &[]);
    let sender = sender(&fixture, Duration::from_secs(20));
    for errno in [Errno::UCLEAN, Errno::NOMEM] {
        let wanted = wants(&fixture, &["before", "bad", "after"]);
        let breaking: Script<Vec<String>> = Box::new(move |receiver| {
            receiver.offered(&wanted);
            receiver.message();
            let mut sent = Vec::new();
            sent.extend(std::iter::from_fn(|| receiver.message()));
            sent
        });
        let (to, thread) = receiver_of(vec![breaking, taking(wants(&fixture, &["after"]))]);
        let (outcome, lines) = faults::beyond(READABLE, errno, || push_by(&sender, &fixture, &to, None));
        let sent = thread.join().unwrap();
        // It is sent last once it is known; then nothing is left for the second conversation.
        let expected: &[&str] = if errno == Errno::UCLEAN { &["before", "bad"] } else { &["before", "after", "bad"] };
        assert_eq!(names(&sent[0]), expected);
        assert_eq!(names(&sent[1]), ["after"]);
        let error = outcome.unwrap_err();
        assert!(confirmed(&fixture, &error, &["before", "after"]));
        kept(&fixture, &error.kept, &["bad"], Why::NotSent);
        assert_eq!(error.kept.unsent, 1);
        assert_eq!((error.cause(), lines.len()), (Cause::Local, 2), "{lines:?}");
        assert!(lines[0].contains("Not sent: ") && lines[0].contains(&bad.to_string()));
        assert!(lines[1].contains("EXCEPTION in ssync.Sender: "));
    }
    // Once it can be read it is like any other.
    let (to, thread) = receiver_of(vec![taking(wants(&fixture, &["bad", "after"]))]);
    push_by(&sender, &fixture, &to, None).0.unwrap();
    assert_eq!(names(&thread.join().unwrap()[0]), ["after", "bad"]);
    let (to, thread) = receiver_of(vec![taking(wants(&fixture, &["bad", "after"]))]);
    push_by(&sender, &fixture, &to, None).0.unwrap();
    assert_eq!(names(&thread.join().unwrap()[0]), ["bad", "after"], "all is forgotten");
}

#[test]
fn many_that_cannot_be_read_to_their_end_are_too_many_for_one_push_only() {
    let fixture = small_objects(&["good"]);
    let bad: Vec<_> = (0..9).map(|at| format!("bad{at}")).collect();
    for name in &bad {
        fixture.put(&format!("/a/c/{name}"), T1, &vec![b'x'; 1 << 20], &[]);
    }
    let sender = sender(&fixture, Duration::from_secs(20));
    let order: Vec<_> = bad.iter().map(String::as_str).chain(["good"]).collect();
    let mut arrived = Vec::new();
    for _ in 0..2 {
        // Wants whatever is offered, in this order, the good one last.
        let order = wants(&fixture, &order);
        let breaking = || -> Script<Vec<String>> {
            let order = order.clone();
            Box::new(move |receiver| {
                receiver.head();
                receiver.raw(HEAD);
                let offered = receiver.until(":MISSING_CHECK: END").concat();
                receiver.say(OK[1]);
                order.iter().filter(|want| offered.contains(&want[..32])).for_each(|want| receiver.say(want));
                receiver.say(OK[3]);
                std::iter::from_fn(|| receiver.message()).collect()
            })
        };
        let (to, thread) = receiver_of((0..8).map(|_| breaking()).collect());
        faults::beyond(READABLE, Errno::UCLEAN, || push_by(&sender, &fixture, &to, None)).0.unwrap_err();
        // Whoever is not talked to any more waits for somebody.
        while !thread.is_finished() {
            drop(TcpStream::connect(("127.0.0.1", to.replication_port)));
            thread::sleep(Duration::from_millis(10));
        }
        arrived.push(thread.join().is_ok_and(|sent| names(&sent.concat()).contains(&"good")));
    }
    assert_eq!(arrived[1..], [true]);
}

#[test]
fn after_too_many_refusals_the_rest_is_sent_first() {
    let fixture = small_objects(&["taken", "refused", "next", "last"]);
    let too_many = ":ERROR: 0 'Too many 1 failures to 1 successes'";
    let scripts = vec![
        refusing(wants(&fixture, &["taken", "refused", "next", "last"]), Some("PUT /a/c/refused".to_owned()), too_many),
        refusing(wants(&fixture, &["refused", "next", "last"]), None, REFUSED),
        asked(wants(&fixture, &["refused"])),
    ];
    let (to, thread) = receiver_of(scripts);
    let (outcome, lines) = push(&fixture, &to);
    let sent = thread.join().unwrap();
    assert_eq!(names(&sent[1]), ["next", "last", "refused"]);
    let error = outcome.unwrap_err();
    assert!(confirmed(&fixture, &error, &["taken", "next", "last"]));
    kept(&fixture, &error.kept, &["refused"], Why::Refused);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[test]
fn an_object_that_the_receiver_breaks_off_at_is_sent_last() {
    let fixture = small_objects(&["taken", "strange", "next"]);
    let strange = ":ERROR: 0 \"invalid literal for int() with base 10: b'x'\"";
    let until = || Some("PUT /a/c/strange".to_owned());
    let scripts = vec![
        refusing(wants(&fixture, &["taken", "strange", "next"]), until(), strange),
        refusing(wants(&fixture, &["strange", "next"]), until(), strange),
        asked(wants(&fixture, &["strange"])),
    ];
    let (to, thread) = receiver_of(scripts);
    let error = push(&fixture, &to).0.unwrap_err();
    assert_eq!(names(&thread.join().unwrap()[1]), ["next", "strange"]);
    assert!(confirmed(&fixture, &error, &["taken", "next"]));
}

/// A receiver that serves one conversation at a time has not noticed the end of the last one yet.
#[test]
fn another_conversation_waits_for_its_turn() {
    let fixture = small_objects(&["one", "refused"]);
    let busy: Script<Vec<String>> = Box::new(|receiver| {
        receiver.head();
        receiver.raw(HEAD);
        receiver.say(":ERROR: 503 b'busy'");
        Vec::new()
    });
    let refusing = refusing(wants(&fixture, &["one", "refused"]), None, REFUSED);
    let (to, thread) = receiver_of(vec![refusing, busy, asked(wants(&fixture, &["refused"]))]);
    let (outcome, lines) = push(&fixture, &to);
    thread.join().unwrap();
    let error = outcome.unwrap_err();
    assert!(confirmed(&fixture, &error, &["one"]) && !error.is_busy());
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[test]
fn a_busy_receiver_may_be_asked_again() {
    let lines = [
        ":ERROR: 503 b'<html><h1>Service Unavailable</h1></html>'",
        ":ERROR: 0 '15 seconds: /srv/node/sdb/objects/7/.lock-replication'",
    ];
    for line in lines {
        let (fixture, _) = one_object();
        let (to, thread) = receiver(move |receiver| {
            receiver.head();
            receiver.raw(HEAD);
            receiver.say_all(&["", line]);
        });
        let (outcome, lines) = push(&fixture, &to);
        thread.join().unwrap();
        let error = outcome.unwrap_err();
        assert!(error.is_busy() && error.cause() == Cause::Busy, "{line}");
        assert!(lines.len() == 1 && lines[0].starts_with("INFO "), "{lines:?}");
    }
    for (status, is_busy) in [(503, true), (529, true), (507, false), (500, false)] {
        let (fixture, _) = one_object();
        let (to, thread) = receiver(move |receiver| {
            receiver.head();
            receiver.raw(format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"));
        });
        assert_eq!(push(&fixture, &to).0.unwrap_err().is_busy(), is_busy, "{status}");
        thread.join().unwrap();
    }
}

#[test]
fn a_receiver_that_takes_connections_and_says_nothing_is_left_alone() {
    let (fixture, _) = one_object();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = device("127.0.0.1", listener.local_addr().unwrap().port());
    let sender = sender(&fixture, Duration::from_millis(200));
    assert_eq!(sender.longest_silence(), Duration::from_millis(600));
    for _ in 0..3 {
        let (outcome, lines) = push_by(&sender, &fixture, &to, None);
        assert_eq!(outcome.unwrap_err().to_string(), "0.2 seconds: connect receive");
        assert!(!lines.is_empty());
    }
    let begun = std::time::Instant::now();
    let (outcome, lines) = push_by(&sender, &fixture, &to, None);
    let error = outcome.unwrap_err();
    assert_eq!((error.cause(), lines.len()), (Cause::Unreachable, 0), "{lines:?}");
    assert!(begun.elapsed() < Duration::from_millis(200));
    assert!(sender.outages().is_resting(&to));
}

#[test]
fn what_has_nothing_to_do_with_the_receiver_does_not_count_against_it() {
    let (fixture, _) = one_object();
    let sender = sender(&fixture, Duration::from_secs(20));
    fs::remove_dir_all(fixture.dir.path()).unwrap();
    let suffixes = [fixture.hash("/a/c/o").suffix()];
    let to = device("127.0.0.1", 1);
    let push = SsyncPush { dir: &fixture.dir, drive: None, suffixes: &suffixes, to: &to, only: None, with_marks: true };
    for _ in 0..4 {
        let (outcome, _) = logged(|| sender.sync(&push, &()));
        assert_eq!(outcome.unwrap_err().cause(), Cause::Local);
    }
    assert!(!sender.outages().is_resting(&to));
    // The one attempt after a rest, if it comes to nothing here, is not lost for others.
    (0..3).for_each(|_| sender.outages().unreachable(&to));
    assert!(!sender.outages().may_ask(&to));
    let (outcome, _) = logged(|| Rounds::new(&sender, &push).go_through(&()));
    assert_eq!(outcome.unwrap_err().cause(), Cause::Local);
    assert!(sender.outages().may_ask(&to));
}

#[test]
fn what_is_no_object_and_what_the_target_lacks_are_named() {
    let (fixture, want) = one_object();
    let suffix = fixture.dir.suffix_path(fixture.hash("/a/c/o").suffix());
    for at in 0..5 {
        fs::create_dir(suffix.join(format!("junk{at}"))).unwrap();
    }
    let wants = [want];
    let (to, thread) = receiver(move |receiver| receiver.offered(&wants));
    let only = BTreeSet::from([fixture.hash("/a/c/o")]);
    let synced = push_only(&fixture, &to, Duration::from_secs(20), Some(&only)).0.unwrap();
    thread.join().unwrap();
    assert_eq!((synced.kept.count, synced.kept.examples.len(), synced.others), (6, 3, 5));
    assert!(synced.kept.examples.iter().all(|entry| entry.why == Why::NotOffered && entry.path.starts_with(&suffix)));

    let clean = small_objects(&["o"]);
    let wanted = self::wants(&clean, &["o"]);
    let (to, thread) = receiver(move |receiver| receiver.offered(&wanted));
    let synced = push_only(&clean, &to, Duration::from_secs(20), Some(&only)).0.unwrap();
    thread.join().unwrap();
    kept(&clean, &synced.kept, &["o"], Why::Lacking);
}
