//! Receivers that say something all the time, and nothing of it is of use.

use super::*;

const LIMIT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);

/// Says this again and again until the sender has gone, without a pause or with short ones.
fn for_ever(bytes: &'static [u8], pause: Duration) -> impl Fn(&mut Receiver) + Send {
    move |receiver| {
        while receiver.stream.get_mut().write_all(bytes).is_ok() {
            thread::sleep(pause);
        }
    }
}

/// Fails unless a receiver that says `first` after the request's head and then `drip` for ever is given up at once when
/// the limit is over.
#[track_caller]
fn assert_given_up(first: &'static str, drip: &'static [u8], pause: Duration, line: &str) {
    let script = move |receiver: &mut Receiver| {
        receiver.head();
        receiver.raw(first);
        for_ever(drip, pause)(receiver);
    };
    let begun = std::time::Instant::now();
    assert_fails_within(LIMIT, script, line);
    let took = begun.elapsed();
    assert!(took >= LIMIT && took < LIMIT * 4, "{took:?} with {}", drip.escape_ascii());
}

#[test]
fn a_receiver_that_only_says_continue_is_given_up() {
    for pause in [Duration::ZERO, PAUSE] {
        assert_given_up("", b"HTTP/1.1 100 Continue\r\n\r\n", pause, "1.0 second: connect receive");
    }
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_given_up() {
    assert_given_up("HTTP/1.1 200 OK\r\nX-Endless: ", b"x", PAUSE, "1.0 second: connect receive");
    assert_given_up("HTTP/1.1 200 OK\r\n", b"X-More: x\r\n", PAUSE, "1.0 second: connect receive");
}

#[test]
fn an_error_that_does_not_come_to_its_end_is_given_up() {
    let line = "1.0 second: connect receive";
    assert_given_up("HTTP/1.1 500 Oops\r\nContent-Length: 900\r\n\r\n", b"x", PAUSE, line);
    assert_given_up("HTTP/1.1 500 Oops\r\n\r\n", b"x", PAUSE, line);
    assert_given_up("HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", PAUSE, line);
    assert_given_up("HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"x", PAUSE, line);
}

#[test]
fn blank_lines_are_no_progress() {
    for said in [&[][..], &[""], &["", ":MISSING_CHECK: START"]] {
        let first = said.iter().map(|line| format!("{:x}\r\n{line}\r\n\r\n", line.len() + 2)).collect::<String>();
        let first: &'static str = format!("{HEAD}{first}").leak();
        let step = if said.len() < 2 { "missing_check start wait" } else { "missing_check line wait" };
        assert_given_up(first, b"2\r\n\r\n\r\n", PAUSE, &format!("1 second: {step}"));
    }
}

#[test]
fn blank_lines_in_place_of_the_outcome_are_no_progress() {
    for said in [&[][..], &[":UPDATES: START"]] {
        let script = move |receiver: &mut Receiver| {
            receiver.head();
            receiver.raw(HEAD);
            receiver.until(":MISSING_CHECK: END");
            receiver.say_all(OK);
            receiver.until(":UPDATES: END");
            receiver.say_all(said);
            for_ever(b"2\r\n\r\n\r\n", PAUSE)(receiver);
        };
        let step = if said.is_empty() { "updates start wait" } else { "updates line wait" };
        assert_fails_within(LIMIT, script, &format!("1 second: {step}"));
    }
}

#[test]
fn a_line_that_does_not_come_to_its_end_is_given_up() {
    let first: &'static str = HEAD.to_owned().leak();
    for drip in [&b"1\r\nx\r\n"[..], b"1 ;\r\nx\r\n", b"0000000001\r\n \r\n"] {
        assert_given_up(first, drip, PAUSE, "1 second: missing_check start wait");
    }
    let in_extension: &'static str = format!("{HEAD}2;").leak();
    assert_given_up(in_extension, b"x", PAUSE, "1 second: missing_check start wait");
}
