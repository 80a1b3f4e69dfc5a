//! What a node says that its devices have free: `GET /recon/diskusage` at its object server's address, which the recon
//! middleware answers that Swift's object servers usually have.
//!
//! The answer is read as far as it is understood: a device that is not mounted, or of which it says something else than
//! two numbers, is left out.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::connect::connect;
use crate::ring::Device;

/// How long a node may take for the whole answer.
const LIMIT: Duration = Duration::from_secs(3);
/// More of an answer is not read. A device takes about 100 bytes of it.
const MAX_ANSWER: usize = 1 << 20;
/// Lines of an answer's head.
const MAX_LINES: usize = 64;

/// The room on a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub size: u64,
    /// What others than root can have of it.
    pub free: u64,
}

/// The room on a node's devices, by their names.
pub(crate) type Rooms = HashMap<String, Room>;

/// Asks the node of a device. `None` if it does not say within a few seconds.
pub(crate) fn ask(of: &Device) -> Option<Rooms> {
    parse(&get(&of.ip, of.port, Instant::now() + LIMIT)?)
}

/// The body of a good answer.
fn get(host: &str, port: u16, deadline: Instant) -> Option<Vec<u8>> {
    let mut socket = connect(host, port, deadline).ok()?;
    let left = || Some(deadline.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero());
    socket.set_write_timeout(Some(left()?)).ok()?;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let request = format!("GET /recon/diskusage HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 16 << 10]);
    loop {
        socket.set_read_timeout(Some(left()?)).ok()?;
        match socket.read(&mut buffer).ok()? {
            0 => return body(&answer),
            read if answer.len() + read > MAX_ANSWER => return None,
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
}

/// The body of an answer that is whole, and good.
fn body(answer: &[u8]) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_LINES];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(begin) = head.parse(answer).ok()? else { return None };
    let body = &answer[begin..];
    let named = |name: &str| head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let length = match named("content-length") {
        Some(header) => std::str::from_utf8(header.value).ok()?.trim().parse().ok()?,
        None => body.len(),
    };
    (head.code == Some(200)).then(|| body.get(..length).map(<[u8]>::to_vec))?
}

/// The list that recon gives.
fn parse(body: &[u8]) -> Option<Rooms> {
    let Value::Array(entries) = serde_json::from_slice(body).ok()? else { return None };
    let room = |entry: &Value| {
        let number = |key: &str| entry.get(key)?.as_u64();
        let name = entry.get("device")?.as_str()?.to_owned();
        Some((name, Room { size: number("size")?, free: number("avail")? }))
    };
    Some(entries.iter().filter_map(room).collect())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    #[test]
    fn devices_that_are_mounted_have_room_and_others_are_left_out() {
        let said = br#"[{"device": "sdb1", "avail": 99, "mounted": true, "used": 1, "size": 100},
            {"device": "sdc1", "avail": "", "mounted": false, "used": "", "size": ""},
            {"device": "sdd1", "avail": -5, "mounted": true, "used": 1, "size": 100},
            {"device": 7, "avail": 5, "size": 100}, "junk", null]"#;
        assert_eq!(parse(said), Some(HashMap::from([("sdb1".to_owned(), Room { size: 100, free: 99 })])));
        for junk in [&b""[..], b"{}", b"null", b"[", b"\xff"] {
            assert_eq!(parse(junk), None);
        }
    }

    /// What is made of an answer with these bytes, after which the connection is closed or kept open.
    fn asked(answer: &[u8]) -> Option<Vec<u8>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut socket, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let read = socket.read(&mut request).unwrap();
                assert!(request[..read].starts_with(b"GET /recon/diskusage HTTP/1.0\r\nHost: 127.0.0.1:"));
                // It may have closed, for it was too much.
                let _ = socket.write_all(answer);
            });
            get("127.0.0.1", port, Instant::now() + Duration::from_secs(20))
        })
    }

    #[test]
    fn only_a_good_and_whole_answer_counts() {
        assert_eq!(asked(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]").as_deref(), Some(&b"[]"[..]));
        assert_eq!(asked(b"HTTP/1.0 200 OK\r\n\r\n[]").as_deref(), Some(&b"[]"[..]));
        let endless = [&b"HTTP/1.0 200 OK\r\n\r\n"[..], &vec![b'['; MAX_ANSWER]].concat();
        for bad in [
            &b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n[]"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[]",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n[]",
            b"HTTP/1.1 200 OK\r\nContent-",
            b"SSH-2.0\r\n",
            b"",
            &endless,
        ] {
            assert_eq!(asked(bad), None, "{:?}", String::from_utf8_lossy(&bad[..bad.len().min(60)]));
        }
    }

    #[test]
    fn a_node_that_says_nothing_is_not_waited_for_any_longer_than_the_limit() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let begun = Instant::now();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(get("127.0.0.1", port, begun + Duration::from_millis(300)), None);
        assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(15));
    }
}
