//! The client against servers that behave, and against servers that do not.

use std::io::Read as _;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::net::{AddressFamily, SocketType};

use super::target::rehash_targets;
use super::target::target;
use super::*;
use crate::cause::Cause;
use crate::config::settings::ReplicateSettings;
use crate::format::hashes::RemoteHashes;
use crate::format::pickle;
use crate::names::Partition;
use crate::names::PolicyIndex;
use crate::names::Suffix;
use crate::peer::authority;
use crate::ring::Device;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The pickle of an empty dict, as Swift sends it (B7.3).
const NO_HASHES: &[u8] = b"\x80\x02}q\x00.";
const POLICY: PolicyIndex = PolicyIndex::new(3);
const PARTITION: Partition = Partition::new(12);
/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

fn device_at(address: SocketAddr) -> Device {
    Device {
        device: "sd1".into(),
        replication_ip: address.ip().to_string(),
        replication_port: address.port(),
        ..Device::sample()
    }
}

/// A server that hands every connection, with its number, to `serve`, each on its own thread.
fn server(serve: impl Fn(usize, TcpStream) + Clone + Send + 'static) -> Device {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let device = device_at(listener.local_addr().unwrap());
    thread::spawn(move || {
        for (number, socket) in listener.incoming().enumerate() {
            let serve = serve.clone();
            thread::spawn(move || serve(number, socket.unwrap()));
        }
    });
    device
}

/// A server that gives the same bytes as the answer to every request, and then closes.
fn answering(bytes: impl Into<Vec<u8>>) -> Device {
    let bytes = bytes.into();
    server(move |_, mut socket| {
        request(&mut socket);
        let _ = socket.write_all(&bytes);
    })
}

/// Reads one request; `None` at the connection's end.
fn request(socket: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        if socket.read(&mut byte).ok()? == 0 {
            return None;
        }
        text.push(byte[0]);
    }
    Some(String::from_utf8(text).unwrap())
}

fn response(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Serves good answers on one connection, and tells of its requests and its end.
fn serve_well(mut socket: TcpStream, seen: &std::sync::mpsc::Sender<Option<String>>) {
    loop {
        let request = request(&mut socket);
        let ended = request.is_none();
        let _ = seen.send(request);
        if ended || socket.write_all(&response(200, NO_HASHES)).is_err() {
            return;
        }
    }
}

fn good_server() -> (Device, Receiver<Option<String>>) {
    let (tell, seen) = channel();
    (server(move |_, socket| serve_well(socket, &tell)), seen)
}

fn client() -> Client {
    client_with(Duration::from_secs(20), Duration::from_secs(20))
}

fn client_with(conn_timeout: Duration, http_timeout: Duration) -> Client {
    Client::new(&ReplicateSettings { conn_timeout, http_timeout }, "object-replicator 4711")
}

fn impatient_client() -> Client {
    client_with(Duration::from_secs(20), Duration::from_secs(1))
}

fn hashes(client: &Client, to: &Device) -> Result<RemoteHashes, ReplicateError> {
    client.hashes(to, POLICY, PARTITION)
}

fn failure(client: &Client, to: &Device) -> String {
    hashes(client, to).unwrap_err().to_string()
}

#[test]
fn a_request_is_the_references_b7_1() {
    let (device, seen) = good_server();
    assert_eq!(hashes(&client(), &device).unwrap(), pickle::decode_remote(NO_HASHES).unwrap());
    let request = seen.recv_timeout(PATIENCE).unwrap().unwrap();
    let mut lines: Vec<_> = request.split("\r\n").map(str::to_lowercase).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.remove(0), "replicate /sd1/12 http/1.1");
    lines.sort();
    let host = format!("host: 127.0.0.1:{}", device.replication_port);
    let expected = [
        "accept-encoding: identity",
        "content-length: 0",
        &host,
        "user-agent: object-replicator 4711",
        "x-backend-storage-policy-index: 3",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn targets_are_quoted_as_python_does_it() {
    let mut device = device_at("127.0.0.1:1".parse().unwrap());
    device.device = "s d/ü~%?#".into();
    assert_eq!(target(&device, PARTITION), "/s%20d/%C3%BC~%25%3F%23/12");
    let suffixes: Vec<_> = ["0af", "a b", "..."].iter().map(|s| Suffix::from_name(s.as_bytes()).unwrap()).collect();
    assert_eq!(rehash_targets(&device, PARTITION, &suffixes), ["/s%20d/%C3%BC~%25%3F%23/12/0af-a%20b-..."]);
    assert_eq!(rehash_targets(&device, PARTITION, &[]), ["/s%20d/%C3%BC~%25%3F%23/12/"]);
}

#[test]
fn a_list_too_long_for_one_request_line_is_told_in_several_requests() {
    let (device, seen) = good_server();
    let suffixes: Vec<_> = (0..4096).map(|n| Suffix::from_name(format!("{n:03x}").as_bytes()).unwrap()).collect();
    assert_eq!(client().rehash(&device, POLICY, PARTITION, &suffixes).unwrap(), 200);
    let mut told = String::new();
    for request in seen.try_iter().flatten() {
        let line = request.lines().next().unwrap();
        assert!(line.len() + 2 < 8192, "Swift's servers answer longer lines with 414");
        let list = line.strip_prefix("REPLICATE /sd1/12/").unwrap().strip_suffix(" HTTP/1.1").unwrap();
        told = told + list + "-";
    }
    let all: Vec<_> = suffixes.iter().map(Suffix::as_str).collect();
    assert_eq!(told, all.join("-") + "-");
}

#[test]
fn the_first_bad_status_of_a_rehash_is_the_result() {
    let suffixes = [Suffix::from_name(b"abc").unwrap()];
    for status in [200, 404, 500, 507] {
        let device = answering(response(status, b"whatever"));
        assert_eq!(client().rehash(&device, POLICY, PARTITION, &suffixes).unwrap(), status);
    }
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let (device, seen) = good_server();
    let client = client();
    for _ in 0..3 {
        hashes(&client, &device).unwrap();
    }
    client.close_idle();
    let ends = [(); 4].map(|()| seen.recv_timeout(PATIENCE).unwrap().is_none());
    assert_eq!(ends, [false, false, false, true], "three requests, and then the end, on the same connection");
}

#[test]
fn an_error_with_a_short_body_leaves_the_connection_usable() {
    let (tell, seen) = channel();
    let device = server(move |number, mut socket| {
        while request(&mut socket).is_some() {
            let _ = tell.send(number);
            socket.write_all(&response(503, b"No policy with index 3")).unwrap();
        }
    });
    let client = client();
    for _ in 0..2 {
        assert!(matches!(hashes(&client, &device), Err(ReplicateError::Status(503))));
    }
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [0, 0]);
}

#[test]
fn an_idle_connection_is_closed_though_nobody_asks_for_anything() {
    let (device, seen) = good_server();
    let client = client();
    hashes(&client, &device).unwrap();
    assert_eq!(client.idle.len(), 1);
    assert!(seen.recv_timeout(PATIENCE).unwrap().is_some());
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), None, "the server sees the end of the connection");
    hashes(&client, &device).unwrap();
    assert_eq!(client.idle.len(), 1, "and the next one is kept again");
}

#[test]
fn a_kept_connection_that_the_server_drops_costs_one_more_attempt() {
    let device = server(|number, mut socket| {
        request(&mut socket);
        socket.write_all(&response(200, NO_HASHES)).unwrap();
        if number == 0 {
            // Closing with something unread resets the connection, under the request that is on its way.
            let _ = socket.peek(&mut [0]);
        } else {
            while request(&mut socket).is_some() {}
        }
    });
    let client = client();
    hashes(&client, &device).unwrap();
    hashes(&client, &device).unwrap();
    assert_eq!(client.idle.len(), 1);
}

#[test]
fn a_new_connection_that_the_server_drops_is_an_error() {
    let device = server(|number, mut socket| {
        request(&mut socket);
        if number == 0 {
            socket.write_all(&response(200, NO_HASHES)).unwrap();
            request(&mut socket);
        }
    });
    let client = client();
    hashes(&client, &device).unwrap();
    let error = hashes(&client, &device).unwrap_err();
    assert_eq!(error.to_string(), "RemoteDisconnected('Remote end closed connection without response')");
}

#[test]
fn what_a_server_says_unasked_is_no_answer_to_the_next_request() {
    let (said, is_said) = channel();
    let is_idle = Arc::new(std::sync::Barrier::new(2));
    let barrier = Arc::clone(&is_idle);
    let device = server(move |number, mut socket| {
        request(&mut socket);
        socket.write_all(&response(200, NO_HASHES)).unwrap();
        if number == 0 {
            barrier.wait();
            socket.write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n").unwrap();
            said.send(()).unwrap();
        }
        request(&mut socket);
    });
    let client = client();
    hashes(&client, &device).unwrap();
    is_idle.wait();
    is_said.recv_timeout(PATIENCE).unwrap();
    hashes(&client, &device).unwrap();
}

#[test]
fn statuses_are_values_and_redirects_are_not_followed() {
    let (elsewhere, seen) = good_server();
    let status_of = |head: &str| hashes(&client(), &answering(format!("{head}\r\n\r\n"))).unwrap_err();
    assert!(matches!(status_of("HTTP/1.1 507 Insufficient Storage\r\nContent-Length: 0"), ReplicateError::Unmounted));
    assert!(matches!(status_of("HTTP/1.1 404 Not Found\r\nContent-Length: 0"), ReplicateError::Status(404)));
    assert!(matches!(status_of("HTTP/1.0 500 Oops"), ReplicateError::Status(500)));
    assert!(matches!(status_of("HTTP/1.1 201 Created\r\nContent-Length: 0"), ReplicateError::Status(201)));
    let location = format!("http://{}/sd1/12", authority(&elsewhere));
    for status in [301, 302, 307, 308] {
        let head = format!("HTTP/1.1 {status} Gone away\r\nLocation: {location}\r\nContent-Length: 0");
        assert!(matches!(status_of(&head), ReplicateError::Status(s) if s == status));
    }
    assert!(seen.try_recv().is_err());
}

#[test]
fn every_framing_of_http_is_read() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\x80\x02\r\n4;x=y\r\n}q\0.\r\n0\r\n\r\n";
    assert!(hashes(&client(), &answering(*chunked)).is_ok());
    let until_the_end = [b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\n", NO_HASHES].concat();
    assert!(hashes(&client(), &answering(until_the_end)).is_ok());
}

#[test]
fn a_peer_that_hangs_anywhere_is_given_up_after_http_timeout() {
    let whole = response(200, NO_HASHES);
    for length in [0, 10, whole.len() - NO_HASHES.len(), whole.len() - 1] {
        let part = whole[..length].to_vec();
        let device = server(move |_, mut socket| {
            request(&mut socket);
            socket.write_all(&part).unwrap();
            request(&mut socket);
        });
        assert_eq!(failure(&impatient_client(), &device), "Timeout (1s)", "after {length} bytes");
    }
}

#[test]
fn an_answer_that_drips_without_end_is_given_up_after_http_timeout() {
    for head in ["HTTP/1.1 200 OK\r\nX-Drip: ", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"] {
        let device = server(move |_, mut socket| {
            request(&mut socket);
            socket.write_all(head.as_bytes()).unwrap();
            while socket.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        assert_eq!(failure(&impatient_client(), &device), "Timeout (1s)");
    }
}

#[test]
fn a_peer_that_takes_no_connection_is_given_up_after_conn_timeout() {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    // Nobody accepts, so the queue is full once connecting takes longer than a moment.
    let mut queued = Vec::new();
    while let Ok(socket) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queued.push(socket);
    }
    let error = hashes(&client_with(Duration::from_millis(500), Duration::from_secs(20)), &device_at(address));
    let error = error.unwrap_err();
    assert_eq!(error.to_string(), "Timeout (0.5s)");
    assert!(error.is_unreachable());
}

#[test]
fn limits_of_zero_seconds_are_over_at_once() {
    let (device, _) = good_server();
    let none = Duration::ZERO;
    assert_eq!(failure(&client_with(none, Duration::from_secs(20)), &device), "Timeout (0.0s)");
    assert_eq!(failure(&client_with(Duration::from_secs(20), none), &device), "Timeout (0s)");
}

#[test]
fn a_refused_connection_has_the_references_text() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = hashes(&client(), &device_at(address)).unwrap_err();
    assert_eq!(error.to_string(), "Connection refused");
    assert!(error.is_unreachable());
}

#[test]
fn what_is_no_http_is_an_error() {
    let nothing = hashes(&client(), &answering("")).unwrap_err();
    assert!(matches!(nothing, ReplicateError::Closed), "{nothing:?}");
    for garbage in ["\0\x01\x02\x03\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"] {
        let error = hashes(&client(), &answering(garbage)).unwrap_err();
        assert!(matches!(error, ReplicateError::NotHttp(_)), "{garbage:?} gave {error:?}");
    }
    let bad_chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n";
    let error = hashes(&client(), &answering(bad_chunk)).unwrap_err();
    assert!(matches!(error, ReplicateError::NotHttp(_)), "{error:?}");
}

#[test]
fn heads_and_bodies_without_end_are_cut() {
    let endless = |head: &'static str| {
        server(move |_, mut socket| {
            request(&mut socket);
            let _ = socket.write_all(head.as_bytes());
            while socket.write_all(&[b'x'; 1000]).is_ok() {}
        })
    };
    let error = hashes(&client(), &endless("HTTP/1.1 200 OK\r\nX-Endless: ")).unwrap_err();
    assert!(matches!(error, ReplicateError::NotHttp(_)), "{error:?}");
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n"] {
        assert_eq!(failure(&client(), &endless(head)), "the answer is longer than 4194304 bytes");
    }
    // The body of an error is not even looked at.
    assert_eq!(failure(&client(), &endless("HTTP/1.1 503 No\r\n\r\n")), "Invalid response 503");
}

#[test]
fn a_body_that_ends_too_early_is_an_error() {
    let whole = response(200, NO_HASHES);
    let device = answering(&whole[..whole.len() - 1]);
    let error = hashes(&client(), &device).unwrap_err();
    assert!(matches!(error, ReplicateError::CutShort), "{error:?}");
    let device = answering("HTTP/1.1 200 OK\r\nContent-Le");
    let error = hashes(&client(), &device).unwrap_err();
    assert!(matches!(error, ReplicateError::CutShort), "{error:?}");
}

#[test]
fn a_body_without_hashes_is_an_error() {
    for body in [&b"<html>It works!</html>"[..], b"", b"\x80\x02cos\nsystem\nq\0.", &[b'('; 100_000]] {
        let error = hashes(&client(), &answering(response(200, body))).unwrap_err();
        assert!(matches!(error, ReplicateError::Pickle(_)), "{error:?}");
    }
}

#[test]
fn host_names_and_ipv6_addresses_are_connected_to() {
    let (mut device, _seen) = good_server();
    device.replication_ip = "localhost".into();
    hashes(&client(), &device).unwrap();
    device.replication_ip = "no-such-host.invalid".into();
    let error = hashes(&client(), &device).unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
    let device = device_at(listener.local_addr().unwrap());
    let host = thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        let request = request(&mut socket).unwrap();
        socket.write_all(&response(200, NO_HASHES)).unwrap();
        request.lines().find(|line| line.to_lowercase().starts_with("host:")).map(str::to_owned)
    });
    hashes(&client(), &device).unwrap();
    let host = host.join().unwrap().unwrap().to_lowercase();
    assert_eq!(host, format!("host: [::1]:{}", device.replication_port));
}

#[test]
fn an_address_that_makes_no_url_is_an_error_and_no_panic() {
    let mut device = device_at("127.0.0.1:1".parse().unwrap());
    for ip in ["", "a b", "host/path", "user@host", "[", "::1%lo", "\n"] {
        device.replication_ip = ip.into();
        let error = hashes(&client(), &device).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn reports_tell_a_peer_that_is_not_there_from_one_that_answers_badly() {
    let second = Duration::from_secs(1);
    let refused = ReplicateError::Io(io::ErrorKind::ConnectionRefused.into());
    for unreachable in [ReplicateError::LeftAlone, ReplicateError::NoConnection(second), refused] {
        assert_eq!(unreachable.cause(), Cause::Unreachable, "{unreachable}");
    }
    assert_eq!(ReplicateError::NoAnswer(second).cause(), Cause::Timeout);
    assert_eq!(ReplicateError::Unmounted.cause(), Cause::Unmounted);
    for bad in [ReplicateError::Status(500), ReplicateError::CutShort, ReplicateError::TooLong(7)] {
        assert_eq!(bad.cause(), Cause::BadAnswer, "{bad}");
    }
}

mod heads;
mod outages;
