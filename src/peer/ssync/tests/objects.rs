//! Sending: objects of all kinds, and what happens to them meanwhile.

use std::process::Command;

use super::*;

#[test]
fn objects_are_offered_sent_and_confirmed() {
    let fixture = Fixture::new();
    let whole = fixture.put("/a/c/whole", T1, b"data", &[("X-Object-Meta-Color", "blue")]);
    let changed = fixture.put("/a/c/changed", T1, b"", &[]);
    fixture.post("/a/c/changed", T2, &[("X-Object-Meta-Color", "red")]);
    let deleted = fixture.delete("/a/c/deleted", T2);
    let same = fixture.put("/a/c/same", T1, b"same", &[]);
    let wants = [format!("{whole} dm"), format!("{changed} m"), format!("{deleted} d")];
    let (to, thread) = receiver(move |receiver| receiver.talk(&wants));
    let (outcome, lines) = push(&fixture, &to);
    let (mut offered, sent) = thread.join().unwrap();

    offered.sort();
    let mut expected = [
        format!("{whole} {T1}\r\n"),
        format!("{changed} {T1} m:186a0\r\n"),
        format!("{deleted} {T2}\r\n"),
        format!("{same} {T1}\r\n"),
    ];
    expected.sort();
    assert_eq!(offered, expected);
    let etag = md5_hex(b"data");
    let put = format!(
        "PUT /a/c/whole\r\nContent-Length: 4\r\nContent-Type: text/plain\r\nETag: {etag}\r\n\
         X-Object-Meta-Color: blue\r\nX-Timestamp: {T1}\r\n\r\n"
    );
    let post = format!("POST /a/c/changed\r\nX-Object-Meta-Color: red\r\nX-Timestamp: {T2}\r\n\r\n");
    let delete = format!("DELETE /a/c/deleted\r\nX-Timestamp: {T2}\r\n\r\n");
    assert_eq!(sent, [&put, "data", &post, &delete]);

    let synced = outcome.unwrap();
    assert_eq!((synced.available, synced.wanted, synced.others, synced.quarantined), (4, 3, 0, 0));
    let mut all = vec![
        (whole, vec![format!("{T1}.data")]),
        (changed, vec![format!("{T1}.data"), format!("{T2}.meta")]),
        (deleted, vec![format!("{T2}.ts")]),
        (same, vec![format!("{T1}.data")]),
    ];
    all.sort();
    assert_eq!(candidates(&synced), all);
    let suffixes = fs::read_dir(fixture.dir.path()).unwrap().count();
    let line = format!(
        "DEBUG ssync completed ok: dev: sda, part: 7, policy: 0, num suffixes: {suffixes}, available: 4, sent: 3, \
         deletable: 4"
    );
    assert_eq!(lines, [line]);
}

#[test]
fn the_request_is_the_references() {
    let (fixture, _) = one_object();
    let (to, thread) = receiver(|receiver| receiver.head());
    push(&fixture, &to).0.unwrap_err();
    let expected = format!(
        "SSYNC /sdb/7 HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAccept-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\
         X-Backend-Storage-Policy-Index: 0\r\n\r\n",
        to.replication_port
    );
    assert_eq!(thread.join().unwrap(), expected);
}

#[test]
fn without_suffixes_nobody_is_asked() {
    let fixture = Fixture::new();
    let (outcome, lines) = push(&fixture, &device("127.0.0.1", 1));
    assert_eq!((outcome.unwrap().available, lines.len()), (0, 0));
}

#[test]
fn a_check_only_asks() {
    let fixture = Fixture::new();
    let there = fixture.put("/a/c/there", T1, b"data", &[]);
    let missing = fixture.put("/a/c/missing", T1, b"data", &[]);
    fixture.put("/a/c/unasked", T1, b"data", &[]);
    let wants = [format!("{missing} dm")];
    let (to, thread) = receiver(move |receiver| {
        let offered = receiver.offered(&wants);
        assert_eq!(receiver.message(), None, "that is all");
        offered
    });
    let only = BTreeSet::from([there, missing]);
    let (outcome, _) = push_only(&fixture, &to, Duration::from_secs(20), Some(&only));
    assert_eq!(thread.join().unwrap().len(), 2);
    let synced = outcome.unwrap();
    assert_eq!((synced.available, synced.wanted), (2, 1));
    assert_eq!(candidates(&synced), [(there, vec![format!("{T1}.data")])]);
}

#[test]
fn a_large_object_goes_out_in_pieces() {
    let fixture = Fixture::new();
    let body: Vec<u8> = (0..1_000_000_u32).map(|at| b"0123456789"[(at % 10) as usize]).collect();
    let hash = fixture.put("/a/c/large", T1, &body, &[]);
    let (to, thread) = receiver(move |receiver| receiver.talk(&[format!("{hash} d")]));
    assert_eq!(push(&fixture, &to).0.unwrap().candidates.len(), 1);
    let (_, sent) = thread.join().unwrap();
    assert_eq!(sent[1..].iter().map(String::len).collect::<Vec<_>>(), [[65_536; 15].as_slice(), &[16_960]].concat());
    assert!(sent[1..].concat().as_bytes() == body);
}

#[test]
fn a_damaged_object_is_left_out_and_the_others_go_on() {
    let fixture = Fixture::new();
    let good = fixture.put("/a/c/good", T1, b"good", &[]);
    let evil = fixture.put("/a/c/evil", T1, b"evil", &[("ETag", &md5_hex(b"good"))]);
    let short = fixture.put("/a/c/short", T1, b"short", &[("Content-Length", "6")]);
    let strange = fixture.put("/a/c/strange", T1, b"strange", &[("X-Object-Meta-A", "a\r\nb")]);
    let wants: Vec<_> = [evil, short, strange, good].iter().map(|hash| format!("{hash} d")).collect();
    let (to, thread) = receiver(move |receiver| receiver.talk(&wants));
    let (outcome, lines) = push(&fixture, &to);
    let (_, sent) = thread.join().unwrap();
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(sent[0].starts_with("PUT /a/c/good\r\n") && sent[1] == "good");
    let synced = outcome.unwrap();
    assert_eq!((synced.available, synced.wanted, synced.quarantined), (4, 4, 2));
    assert_eq!(candidates(&synced), [(good, vec![format!("{T1}.data")])]);
    let file = |name: &str| fixture.folder(name).join(format!("{T1}.data")).display().to_string();
    let expected = [
        format!(
            "WARN Quarantined object {}: ETag {} and file's md5 {} do not match",
            file("/a/c/evil"),
            md5_hex(b"good"),
            md5_hex(b"evil")
        ),
        format!(
            "WARN Quarantined object {}: metadata content-length 6 does not match actual object size 5",
            file("/a/c/short")
        ),
        format!(
            "ERROR 127.0.0.1:{}/sdb/7 Not sent: {}: its metadata X-Object-Meta-A contains a line break",
            to.replication_port,
            fixture.folder("/a/c/strange").display()
        ),
    ];
    assert_eq!(lines[..3], expected);
    assert!(!fixture.folder("/a/c/evil").exists() && fixture.folder("/a/c/strange").exists());
}

#[test]
fn damage_that_is_found_too_late_is_left_to_the_receiver() {
    let fixture = Fixture::new();
    let evil = fixture.put("/a/c/evil", T1, &vec![b'x'; 1 << 20], &[("ETag", &md5_hex(b"good"))]);
    let (to, thread) = receiver(move |receiver| {
        receiver.offered(&[format!("{evil} d")]);
        let sent = receiver.until(":UPDATES: END");
        receiver.say(":ERROR: 500 b'ERROR: With :UPDATES: 1 failures to 0 successes'");
        receiver.wait();
        sent
    });
    let (outcome, lines) = push(&fixture, &to);
    let error = outcome.unwrap_err();
    assert_eq!(error.quarantined, 1);
    let line = "Unexpected response: \":ERROR: 500 b'ERROR: With :UPDATES: 1 failures to 0 successes'\"";
    assert_eq!(error.to_string(), line);
    assert!(lines[0].contains(" do not match"), "{lines:?}");
    assert_eq!(thread.join().unwrap()[2..].iter().map(String::len).sum::<usize>(), 1 << 20, "all of it");
    assert!(!fixture.folder("/a/c/evil").exists());
}

#[test]
fn a_file_that_becomes_shorter_while_it_is_sent_ends_the_conversation() {
    let (fixture, want) = huge_object();
    let file = fixture.folder("/a/c/huge").join(format!("{T1}.data"));
    let (to, thread) = receiver(move |receiver| {
        receiver.offered(&[want]);
        receiver.message();
        fs::File::options().write(true).open(file).unwrap().set_len(HUGE as u64 - 9).unwrap();
        let mut received = 0;
        while let Some(message) = receiver.message() {
            received += message.len();
        }
        received
    });
    let (outcome, lines) = push(&fixture, &to);
    let error = outcome.unwrap_err();
    assert_eq!((error.quarantined, error.to_string().as_str()), (1, "Sent data length does not match content-length"));
    assert!(lines[0].ends_with(&format!("Bytes read: {}, does not match metadata: {HUGE}", HUGE - 9)), "{lines:?}");
    assert!(thread.join().unwrap() < HUGE, "the receiver cannot take it for complete");
}

#[test]
fn an_object_that_is_replaced_or_deleted_after_it_was_offered_is_no_candidate() {
    let fixture = Fixture::new();
    let replaced = fixture.put("/a/c/replaced", T1, b"old", &[]);
    let deleted = fixture.put("/a/c/deleted", T1, b"old", &[]);
    let gone = fixture.put("/a/c/gone", T1, b"old", &[]);
    let fixture = std::sync::Arc::new(fixture);
    let disk = std::sync::Arc::clone(&fixture);
    let (to, thread) = receiver(move |receiver| {
        receiver.head();
        receiver.raw(HEAD);
        receiver.until(":MISSING_CHECK: END");
        disk.put("/a/c/replaced", T2, b"new", &[]);
        disk.delete("/a/c/deleted", T2);
        fs::remove_dir_all(disk.folder("/a/c/gone")).unwrap();
        receiver.say(OK[1]);
        [replaced, deleted, gone].iter().for_each(|hash| receiver.say(&format!("{hash} dm")));
        receiver.say(OK[3]);
        assert_eq!(receiver.message().unwrap(), ":UPDATES: START\r\n");
        let sent = receiver.until(":UPDATES: END");
        receiver.say_all(&[":UPDATES: START", ":UPDATES: END"]);
        sent
    });
    let (outcome, lines) = push(&fixture, &to);
    let sent = thread.join().unwrap();
    assert!(sent[0].contains(&format!("X-Timestamp: {T2}")) && sent[1] == "new", "what is there now is sent: {sent:?}");
    assert!(sent[2].starts_with("DELETE /a/c/deleted"), "{sent:?}");
    assert_eq!(sent.len(), 3);
    let synced = outcome.unwrap();
    assert_eq!(candidates(&synced), []);
    assert!(lines[0].starts_with("DEBUG ") && lines[0].ends_with("is no longer there"), "{lines:?}");
}

#[test]
fn many_unreadable_objects_make_few_lines() {
    let fixture = Fixture::new();
    let hashes: Vec<_> = (0..30).map(|at| fixture.put(&format!("/a/c/{at}"), T1, b"", &[("name", "none")])).collect();
    let (to, thread) =
        receiver(move |receiver| receiver.talk(&hashes.iter().map(|hash| format!("{hash} d")).collect::<Vec<_>>()));
    let (outcome, lines) = push(&fixture, &to);
    assert_eq!(thread.join().unwrap().1, [""; 0]);
    assert!(outcome.unwrap().candidates.is_empty());
    assert_eq!(lines.len(), 12);
    assert_eq!(lines[10], format!("ERROR 127.0.0.1:{}/sdb/7 Not sent: 30 objects in all", to.replication_port));
}

#[test]
fn many_objects_are_offered_and_sent_in_order() {
    let fixture = Fixture::new();
    let mut hashes: Vec<_> = (0..500).map(|at| fixture.put(&format!("/a/c/{at}"), T1, b"data", &[])).collect();
    let (to, thread) = receiver(move |receiver| {
        receiver.head();
        receiver.raw(HEAD);
        let offered = receiver.until(":MISSING_CHECK: END");
        let wants: Vec<_> = offered[1..].iter().rev().map(|line| format!("{} d", &line[..32])).collect();
        receiver.say(OK[1]);
        receiver.raw(format!(
            "{:x}\r\n{}\r\n",
            wants.len() * 36,
            wants.iter().map(|want| format!("{want}\r\n")).collect::<String>()
        ));
        receiver.say(OK[3]);
        let sent = receiver.until(":UPDATES: END");
        receiver.say_all(&[":UPDATES: START", ":UPDATES: END"]);
        (wants, sent)
    });
    let synced = push(&fixture, &to).0.unwrap();
    assert_eq!((synced.available, synced.wanted), (500, 500));
    hashes.sort();
    assert_eq!(synced.candidates.iter().map(|candidate| candidate.hash).collect::<Vec<_>>(), hashes);
    let (wants, sent) = thread.join().unwrap();
    let names: Vec<_> =
        sent.iter().filter_map(|message| Some(message.strip_prefix("PUT ")?.split_once("\r\n")?.0)).collect();
    let in_order = wants.iter().zip(&names).all(|(want, name)| want[..32] == fixture.hash(name).to_string());
    assert!(in_order && names.len() == 500);
}

#[test]
fn nothing_is_sent_of_what_is_in_the_place_of_a_device_that_went() {
    let (fixture, want) = one_object();
    let devices = fixture.dir.device_path().parent().unwrap().to_owned();
    let device = fixture.dir.device_path().file_name().unwrap().to_str().unwrap().to_owned();
    let drive = Drive::check(&devices, &device, false).unwrap();
    let (at, away) = (devices.join(&device), devices.join("away"));
    let (to, thread) = receiver(move |receiver| {
        receiver.head();
        receiver.raw(HEAD);
        receiver.say("");
        receiver.until(":MISSING_CHECK: END");
        // What lies below has an object of the same name.
        fs::rename(&at, &away).unwrap();
        assert!(Command::new("cp").arg("-a").args([&away, &at]).status().unwrap().success());
        receiver.say_all(&[":MISSING_CHECK: START", &want, "", ":MISSING_CHECK: END"]);
        let mut sent = Vec::new();
        receiver.stream.read_to_end(&mut sent).unwrap();
        String::from_utf8_lossy(&sent).into_owned()
    });
    let suffixes = suffixes(&fixture);
    let dir = &fixture.dir;
    let push = SsyncPush { dir, drive: Some(&drive), suffixes: &suffixes, to: &to, only: None, with_marks: true };
    let outcome = sender(&fixture, Duration::from_secs(20)).sync(&push, &());
    let failed = outcome.unwrap_err();
    assert!(failed.to_string().contains("was unmounted or replaced while it was worked on"), "{failed}");
    assert_eq!((failed.cause(), failed.bytes), (Cause::Local, 0));
    let sent = thread.join().unwrap();
    assert!(!sent.contains("PUT") && !sent.contains("data"), "{sent:?}");
}
