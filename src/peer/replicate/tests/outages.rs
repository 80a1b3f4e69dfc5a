//! Nodes that cannot be reached, devices that do not answer, devices that are busy.

use super::*;
use crate::names::Suffix;
use crate::ring::Device;
use std::io;
use std::time::Duration;

#[test]
fn a_peer_that_cannot_be_reached_is_left_alone() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (client, device) = (client(), device_at(address));
    for _ in 0..3 {
        assert_eq!(failure(&client, &device), "Connection refused");
    }
    let error = hashes(&client, &device).unwrap_err();
    assert!(matches!(error, ReplicateError::LeftAlone) && error.is_put_off(), "{error:?}");
    let (reachable, _seen) = good_server();
    hashes(&client, &reachable).unwrap();
    client.outages().reached(&device);
    assert_eq!(failure(&client, &device), "Connection refused");
}

/// A server that behaves well for all devices but `bad`, for which it does something else.
fn server_with_bad_disk(misbehave: impl Fn(TcpStream) + Clone + Send + 'static) -> (Device, Device) {
    let device = server(move |_, mut socket| {
        while let Some(request) = request(&mut socket) {
            if request.starts_with("REPLICATE /bad/") {
                return misbehave(socket);
            }
            let _ = socket.write_all(&response(200, NO_HASHES));
        }
    });
    let bad = Device { device: "bad".into(), ..device.clone() };
    (bad, device)
}

#[test]
fn a_disk_that_hangs_is_left_alone_and_the_others_of_its_node_are_not() {
    let (bad, good) = server_with_bad_disk(|mut socket| drop(request(&mut socket)));
    let client = impatient_client();
    for _ in 0..3 {
        assert_eq!(failure(&client, &bad), "Timeout (1s)");
    }
    let begin = std::time::Instant::now();
    for _ in 0..100 {
        assert!(matches!(hashes(&client, &bad), Err(ReplicateError::Silent)));
        hashes(&client, &good).unwrap();
    }
    assert!(begin.elapsed() < PATIENCE, "nothing waits for the disk that hangs");
    assert!(client.outages().is_resting(&bad) && !client.outages().is_resting(&good));
}

#[test]
fn several_workers_that_ask_a_disk_that_hangs_lose_one_time_limit() {
    let (bad, good) = server_with_bad_disk(|mut socket| drop(request(&mut socket)));
    let client = impatient_client();
    let begin = std::time::Instant::now();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| failure(&client, &bad));
        }
    });
    assert!(matches!(hashes(&client, &bad), Err(ReplicateError::Silent)), "after {:?}", begin.elapsed());
    hashes(&client, &good).unwrap();
}

#[test]
fn broken_answers_for_one_disk_cost_no_other_one() {
    let answers: [&'static [u8]; 5] = [
        b"",
        b"\x1b[31m hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n\x80\x02}q\0.",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<html",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    ];
    for answer in answers {
        let (bad, good) = server_with_bad_disk(move |mut socket| drop(socket.write_all(answer)));
        let client = client();
        for _ in 0..10 {
            hashes(&client, &bad).unwrap_err();
            hashes(&client, &good).unwrap();
        }
        let rests = client.outages().is_resting(&bad);
        assert_eq!(rests, !answer.starts_with(b"HTTP/1.1 500"), "a status is an answer; {answer:?}");
    }
}

#[test]
fn what_goes_wrong_on_this_side_is_nobodys_fault() {
    let (client, mut device) = (client(), device_at("127.0.0.1:1".parse().unwrap()));
    device.replication_ip = "a b".into();
    for _ in 0..5 {
        assert!(matches!(hashes(&client, &device), Err(ReplicateError::Request(_))));
    }
    let no_descriptor = ReplicateError::Io(io::Error::from(rustix::io::Errno::MFILE));
    assert!(!no_descriptor.is_unreachable() && !no_descriptor.is_unanswered());
}

#[test]
fn a_device_with_its_hands_full_is_asked_again_later() {
    for status in [503, 529] {
        let (bad, good) =
            server_with_bad_disk(move |mut socket| drop(socket.write_all(&response(status, b"Slow down"))));
        let client = client();
        let error = hashes(&client, &bad).unwrap_err();
        assert!(matches!(error, ReplicateError::Busy { status: s, retry_after: None } if s == status), "{error:?}");
        assert!(error.is_put_off(), "one line when it begins is enough");
        assert_eq!(error.cause(), Cause::RateLimited);
        let error = hashes(&client, &bad).unwrap_err();
        assert!(matches!(error, ReplicateError::Later) && error.is_put_off(), "{error:?}");
        hashes(&client, &good).unwrap();
        assert_eq!(client.wait_for(&good), None);
        thread::sleep(client.wait_for(&bad).expect("a second or less"));
        assert!(matches!(hashes(&client, &bad), Err(ReplicateError::Busy { .. })));
        assert!(client.wait_for(&bad).expect("two seconds") > Duration::from_secs(1));
        assert!(!client.outages().is_resting(&bad), "it may be pushed to");
        let suffixes = [Suffix::from_name(b"abc").unwrap()];
        assert_eq!(client.rehash(&bad, POLICY, PARTITION, &suffixes).unwrap(), status, "it is told all the same");
    }
}

#[test]
fn a_busy_device_may_say_itself_when_to_come_again() {
    let head = b"HTTP/1.1 529 Too Many Backend Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
    let device = answering(*head);
    let client = client();
    hashes(&client, &device).unwrap_err();
    let wait = client.wait_for(&device).expect("seven seconds");
    assert!(wait > Duration::from_secs(5) && wait <= Duration::from_secs(7), "{wait:?}");
}

#[test]
fn a_server_that_does_not_know_the_policy_is_not_busy() {
    let device = answering(response(503, b"No policy with index 3"));
    let client = client();
    for _ in 0..5 {
        assert!(matches!(hashes(&client, &device), Err(ReplicateError::Status(503))));
    }
}
