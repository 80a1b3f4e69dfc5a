//! Answers with heads of every size and shape.

use super::*;
use crate::format::pickle;
use crate::ring::Device;
use std::time::Duration;

/// A server that begins each answer with `start`, and then says the same for ever, a piece at a time.
fn endless(start: &'static str, piece: &'static [u8], pause: Duration) -> Device {
    server(move |_, mut socket| {
        request(&mut socket);
        let _ = socket.write_all(start.as_bytes());
        while socket.write_all(piece).is_ok() {
            thread::sleep(pause);
        }
    })
}

fn with_headers(headers: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n", NO_HASHES.len());
    [head.as_bytes(), NO_HASHES].concat()
}

/// The reference takes 201 lines with the last one, which is empty, of up to 65,536 bytes.
#[test]
fn heads_that_the_reference_takes_are_taken() {
    let many: String = (0..199).map(|n| format!("X-Header-{n}: {}\r\n", "v".repeat(60))).collect();
    let long = format!("X-Long: {}\r\n", "v".repeat(65_000));
    let all_long: String = (0..199).map(|n| format!("X-Header-{n}: {}\r\n", "v".repeat(30_000))).collect();
    let strange = "no colon\r\nX-\u{1}: \u{1b}[2J\r\n folded\r\n".to_owned();
    for headers in [many, long, all_long, strange] {
        hashes(&client(), &answering(with_headers(&headers))).unwrap();
    }
    let lines_end_early = with_headers("X: y\r\n").split(|byte| *byte == b'\r').collect::<Vec<_>>().concat();
    hashes(&client(), &answering(lines_end_early)).unwrap();
}

#[test]
fn a_large_head_and_a_large_body_come_through_whole() {
    let suffixes: String = (0..4096).map(|n| format!("X\u{3}\0\0\0{n:03x}N")).collect();
    let body = [&b"\x80\x02}("[..], suffixes.as_bytes(), b"u."].concat();
    let head = format!("HTTP/1.1 200 OK\r\n{}Content-Length: {}\r\n\r\n", "X-A: b\r\n".repeat(190), body.len());
    let answer = [head.as_bytes(), &body].concat();
    for piece in [7, 1000, 16 << 10, usize::MAX] {
        let answer = answer.clone();
        let device = server(move |_, mut socket| {
            while request(&mut socket).is_some() {
                answer.chunks(piece).for_each(|piece| drop(socket.write_all(piece)));
            }
        });
        let client = client();
        for _ in 0..2 {
            assert_eq!(hashes(&client, &device).unwrap(), pickle::decode_remote(&body).unwrap(), "in {piece} bytes");
        }
        assert_eq!(client.idle.len(), 1);
    }
}

#[test]
fn interim_answers_are_not_the_answer() {
    let interim = "HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
    let device = server(move |_, mut socket| {
        while request(&mut socket).is_some() {
            let _ = socket.write_all(&[interim.as_bytes(), &response(200, NO_HASHES)].concat());
        }
    });
    let client = client();
    for _ in 0..2 {
        hashes(&client, &device).unwrap();
    }
    assert_eq!(client.idle.len(), 1);
}

#[test]
fn however_an_answer_does_not_end_it_is_given_up_after_http_timeout() {
    let (none, brief) = (Duration::ZERO, Duration::from_millis(20));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let peers = [
        endless("", b"HTTP/1.1 100 Continue\r\n\r\n", none),
        endless("", b"HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\n", brief),
        endless("", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", none),
        endless("HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", brief),
        endless("HTTP/1.1 200 OK\r\nX-A: ", b"b", brief),
        endless("HTTP/1", b"\t", brief),
        endless(chunked, b"1\r\nx\r\n", brief),
        endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-T: b\r\n", brief),
    ];
    for (number, peer) in peers.iter().enumerate() {
        let begin = std::time::Instant::now();
        hashes(&impatient_client(), peer).unwrap_err();
        assert!(begin.elapsed() < Duration::from_secs(8), "peer {number} was listened to for {:?}", begin.elapsed());
    }
}

#[test]
fn heads_without_end_are_cut() {
    let peers = [
        endless("HTTP/1.1 200 OK\r\n", &[b'x'; 1000], Duration::ZERO),
        endless("HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", Duration::ZERO),
        endless("HTTP/1.1 200 OK\r\n", b"X-Backend-Timestamp: 1\r\n", Duration::ZERO),
        endless("HTTP/1.1 ", &[b' '; 1000], Duration::ZERO),
        endless("", b"GET / HTTP/1.1\r\n", Duration::ZERO),
    ];
    for (number, peer) in peers.iter().enumerate() {
        let error = hashes(&client(), peer).unwrap_err();
        assert!(matches!(error, ReplicateError::NotHttp(_)), "peer {number}: {error:?}");
    }
}

#[test]
fn what_comes_behind_an_answer_is_not_taken_for_the_next_one() {
    let device = server(|number, mut socket| {
        while request(&mut socket).is_some() {
            let unasked = if number == 0 { response(507, b"") } else { Vec::new() };
            let _ = socket.write_all(&[response(200, NO_HASHES), unasked].concat());
        }
    });
    let client = client();
    for _ in 0..3 {
        hashes(&client, &device).unwrap();
    }
}

#[test]
fn a_body_that_follows_the_answer_to_a_head_does_not_confuse_the_next_request() {
    let device = server(|_, mut socket| {
        while let Some(request) = request(&mut socket) {
            let body = if request.starts_with("HEAD") {
                &b"HTTP/1.1 507 Lies\r\nContent-Length: 0\r\n\r\n"[..]
            } else {
                NO_HASHES
            };
            let _ = socket.write_all(&response(200, body));
        }
    });
    let client = client();
    for _ in 0..3 {
        let said = client.object(&device, POLICY, PARTITION, b"/a/c/o").unwrap();
        assert_eq!(said, Served::CannotTell(200));
        hashes(&client, &device).unwrap();
    }
}

#[test]
fn a_head_request_is_the_references_with_the_word_of_a_replicator() {
    let (device, seen) = good_server();
    client().object(&device, POLICY, PARTITION, b"/a/c/o ?%\n\xc3\xbc").unwrap();
    let request = seen.recv_timeout(PATIENCE).unwrap().unwrap();
    let mut lines: Vec<_> = request.split("\r\n").filter(|line| !line.is_empty()).map(str::to_owned).collect();
    assert_eq!(lines.remove(0), "HEAD /sd1/12/a/c/o%20%3F%25%0A%C3%BC HTTP/1.1");
    lines.iter_mut().for_each(|line| line.make_ascii_lowercase());
    lines.sort();
    let host = format!("host: 127.0.0.1:{}", device.replication_port);
    let expected = [
        "accept-encoding: identity",
        &host,
        "user-agent: object-replicator 4711",
        "x-backend-replication: true",
        "x-backend-storage-policy-index: 3",
    ];
    assert_eq!(lines, expected);
}
