//! Receivers that do not do what they should.

use super::*;

#[test]
fn a_receiver_that_does_not_want_to_talk_is_quoted() {
    for status in [404, 409, 500, 503, 507] {
        let body = format!("<html>{status}</html>");
        let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let script = move |receiver: &mut Receiver| {
            receiver.head();
            receiver.raw(answer);
            receiver.wait();
        };
        assert_fails(script, &format!("Expected status 200; got {status} (b'{body}')"));
    }
    for (rest, shown) in [
        ("\r\nuntil the end", "until the end"),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\npiece\r\n3\r\nbye\r\n0\r\n\r\n", "piecebye"),
        ("Content-Length: 0\r\n\r\n", ""),
        ("Content-Length: 9\r\n\r\nshort", "short"),
    ] {
        let script = move |receiver: &mut Receiver| {
            receiver.head();
            receiver.raw(format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\n{rest}"));
        };
        assert_fails(script, &format!("Expected status 200; got 503 (b'{shown}')"));
    }
}

#[test]
fn a_long_error_is_cut_and_an_endless_one_is_not_read() {
    let script = |receiver: &mut Receiver| {
        receiver.head();
        receiver.raw("HTTP/1.1 500 Oops\r\n\r\n");
        receiver.raw(vec![b'x'; 1 << 20]);
    };
    assert_fails(script, &format!("Expected status 200; got 500 (b'{}...')", "x".repeat(1024)));
}

#[test]
fn what_is_no_http_is_told() {
    for (answer, line) in [
        ("", "RemoteDisconnected('Remote end closed connection without response')"),
        ("HTTP/1.1 200", "RemoteDisconnected('Remote end closed connection without response')"),
        ("220 smtp.example.com ESMTP\r\n", "the answer is not HTTP: invalid HTTP version"),
    ] {
        let script = move |receiver: &mut Receiver| {
            receiver.head();
            receiver.raw(answer);
        };
        assert_fails(script, &format!("EXCEPTION in ssync.Sender: {line}"));
    }
    let endless = |receiver: &mut Receiver| {
        receiver.head();
        receiver.raw("HTTP/1.1 200 OK\r\nX-Endless: ");
        receiver.raw(vec![b'x'; 1 << 20]);
    };
    assert_fails(endless, "EXCEPTION in ssync.Sender: the answer is not HTTP: too many headers");
}

#[test]
fn as_many_headers_are_read_as_the_reference_reads() {
    let (fixture, want) = one_object();
    let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", format!("X-Filler: {}\r\n", "x".repeat(900)).repeat(200));
    let (to, thread) = receiver(move |receiver| {
        receiver.head();
        receiver.raw(head);
        receiver.until(":MISSING_CHECK: END");
        receiver.say_all(&[OK[1], &want, OK[3]]);
        receiver.until(":UPDATES: END");
        receiver.say_all(&[":UPDATES: START", ":UPDATES: END"]);
    });
    assert_eq!(push(&fixture, &to).0.unwrap().candidates.len(), 1);
    thread.join().unwrap();
}

/// What a receiver does before it is asked for the outcome, and what it says then.
fn after_lines(
    said: &'static [&'static str],
    end: impl FnOnce(&mut Receiver) + Send + 'static,
) -> impl FnOnce(&mut Receiver) + Send {
    move |receiver| {
        receiver.head();
        receiver.raw(HEAD);
        receiver.until(":MISSING_CHECK: END");
        let missing_check = said.iter().position(|line| *line == ":MISSING_CHECK: END").map_or(said.len(), |at| at + 1);
        receiver.say_all(&said[..missing_check]);
        if missing_check < said.len() {
            receiver.until(":UPDATES: END");
            receiver.say_all(&said[missing_check..]);
        }
        end(receiver);
    }
}

const ALL: &[&str] = &["", ":MISSING_CHECK: START", "", ":MISSING_CHECK: END", "", ":UPDATES: START", ""];

#[test]
fn a_receiver_that_hangs_up_after_any_line_is_told() {
    for count in 0..=ALL.len() {
        // After its last line it reads to the end, so that the sender finds out by reading.
        assert_fails(
            after_lines(&ALL[..count], |receiver| {
                receiver.raw("0\r\n\r\n");
                receiver.wait();
            }),
            "Early disconnect",
        );
    }
}

#[test]
fn a_receiver_that_stalls_after_any_line_is_told() {
    let steps = [
        "missing_check start wait",
        "missing_check start wait",
        "missing_check line wait",
        "missing_check line wait",
        "updates start wait",
        "updates start wait",
        "updates line wait",
        "updates line wait",
    ];
    let limit = Duration::from_secs(2);
    thread::scope(|scope| {
        for (count, step) in steps.iter().enumerate() {
            let script = after_lines(&ALL[..count], Receiver::wait);
            scope.spawn(move || assert_fails_within(limit, script, &format!("2 seconds: {step}")));
        }
        let script = |receiver: &mut Receiver| {
            receiver.head();
            receiver.raw("HTTP/1.1 200 OK\r\n");
            receiver.wait();
        };
        scope.spawn(move || assert_fails_within(limit, script, "2.0 seconds: connect receive"));
    });
}

#[test]
fn a_receiver_that_says_something_else_is_quoted() {
    for count in [0, 1, 2, 4, 5, 6] {
        for (junk, shown) in
            [(":ERROR: 503 b'busy'", "\":ERROR: 503 b'busy'\""), ("<html>", "'<html>'"), ("\u{fc}", "b'\\xc3\\xbc'")]
        {
            let script = after_lines(&ALL[..count], move |receiver| {
                if count == 4 {
                    receiver.until(":UPDATES: END");
                }
                receiver.say(junk);
                receiver.wait();
            });
            assert_fails(script, &format!("Unexpected response: {shown}"));
        }
    }
}

#[test]
fn garbage_in_place_of_chunks_ends_the_conversation() {
    for count in [0, 1, 2] {
        let script = after_lines(&ALL[..count], |receiver| {
            receiver.raw([0, 1, 2, 0xff, b'\n']);
            receiver.wait();
        });
        assert_fails(script, "Early disconnect");
    }
}

#[test]
fn an_endless_line_and_endless_blank_lines_are_not_read_to_their_end() {
    for count in [1, 2] {
        let script =
            after_lines(&ALL[..count], |receiver| receiver.raw([b"fffffff\r\n".as_slice(), &[b'x'; 1 << 20]].concat()));
        assert_fails(script, &format!("Unexpected response: '{}...'", "x".repeat(1024)));
        let script = after_lines(&ALL[..count], |receiver| receiver.raw("2\r\n\r\n\r\n".repeat(100_000)));
        assert_fails(script, "Unexpected response: ''");
    }
}

#[test]
fn only_what_was_offered_can_be_wanted() {
    let (fixture, want) = one_object();
    let other = format!("{} dm", fixture.hash("/a/c/other"));
    let unexpected = |line: &str| format!("Unexpected response: '{line}'");
    for (wants, line) in [
        (vec![other.clone()], unexpected(&other)),
        (vec!["../../../../../../etc/passwd dm".to_owned()], unexpected("../../../../../../etc/passwd dm")),
        (
            vec![want.clone(), want.clone()],
            "Unexpected response: more is wanted than the 1 objects that were offered".to_owned(),
        ),
    ] {
        let (to, thread) = receiver(move |receiver| {
            receiver.offered(&wants);
            receiver.wait();
        });
        assert_eq!(push(&fixture, &to).0.unwrap_err().to_string(), line);
        thread.join().unwrap();
    }
}

#[test]
fn unknown_parts_are_no_matter() {
    let (fixture, want) = one_object();
    let (to, thread) = receiver(move |receiver| receiver.talk(&[want.replace("dm", "xyz q=1")]));
    assert_eq!(push(&fixture, &to).0.unwrap().wanted, 1);
    let (_, sent) = thread.join().unwrap();
    assert_eq!(sent[1], "data", "an old receiver means the data");
}

#[test]
fn nobody_there_and_no_such_host_are_told() {
    let (fixture, _) = one_object();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let failed = |to: &Device| push(&fixture, to).0.unwrap_err().to_string();
    assert_eq!(failed(&device("127.0.0.1", port)), "EXCEPTION in ssync.Sender: Connection refused");
    let nowhere = failed(&device("nowhere.invalid", port));
    assert_eq!(nowhere, "EXCEPTION in ssync.Sender: no address found for \"nowhere.invalid\"");
    let strange = Device { device: "sd b\r\n".to_owned(), ..device("127.0.0.1", port) };
    assert_eq!(failed(&strange), "EXCEPTION in ssync.Sender: no request can be made for device \"sd b\\r\\n\"");
}

#[test]
fn a_host_can_be_given_by_name() {
    let (fixture, want) = one_object();
    let (to, thread) = receiver(move |receiver| receiver.talk(&[want]));
    let to = Device { replication_ip: "localhost".to_owned(), ..to };
    assert_eq!(push(&fixture, &to).0.unwrap().candidates.len(), 1);
    thread.join().unwrap();
}

#[test]
fn a_receiver_that_stops_reading_is_given_up() {
    let (fixture, want) = huge_object();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (to, thread) = receiver(move |receiver| {
        receiver.offered(&[want]);
        let _ = released.recv();
    });
    let (outcome, _) = push_within(&fixture, &to, Duration::from_secs(1));
    assert_eq!(outcome.unwrap_err().to_string(), "1.0 second: send_put chunk");
    drop(release);
    thread.join().unwrap();
}

#[test]
fn a_receiver_that_only_talks_is_given_up() {
    let (fixture, want) = huge_object();
    let (to, thread) = receiver(move |receiver| {
        receiver.offered(&[want]);
        let _ = receiver.stream.get_ref().set_write_timeout(Some(Duration::from_secs(3)));
        // Until nobody reads it.
        while receiver.stream.get_mut().write_all(&b"2\r\n\r\n\r\n".repeat(10_000)).is_ok() {}
    });
    let (outcome, _) = push_within(&fixture, &to, Duration::from_secs(1));
    assert_eq!(outcome.unwrap_err().to_string(), "1.0 second: send_put chunk");
    thread.join().unwrap();
}

#[test]
fn a_receiver_that_hangs_up_while_data_are_sent_is_told() {
    for last_words in [&b""[..], b"junk\n", b"9\r\nwhatever\n\r\n"] {
        let (fixture, want) = huge_object();
        let (to, thread) = receiver(move |receiver| {
            receiver.offered(&[want]);
            receiver.message();
            receiver.raw(last_words);
        });
        let (outcome, _) = push(&fixture, &to);
        let line = outcome.unwrap_err().to_string();
        let broken = ["Early disconnect", "EXCEPTION in ssync.Sender: Broken pipe"];
        let expected = line.ends_with("Connection reset") || broken.contains(&line.as_str());
        assert!(expected, "{line}");
        thread.join().unwrap();
    }
}

#[test]
fn a_receiver_that_gives_up_while_data_are_sent_is_quoted() {
    let (fixture, want) = huge_object();
    let (to, thread) = receiver(move |receiver| {
        receiver.offered(&[want]);
        receiver.message();
        receiver.say(":ERROR: 0 'Too many 1 failures to 0 successes'");
    });
    let (outcome, _) = push(&fixture, &to);
    let line = "Unexpected response: \":ERROR: 0 'Too many 1 failures to 0 successes'\"";
    assert_eq!(outcome.unwrap_err().to_string(), line);
    thread.join().unwrap();
}
