//! Asks a node's recon middleware, which stands before the object server, what it knows: one GET with a time limit each.
//!
//! Who answers may be anybody, so an answer is read up to a limit, by a deadline that no trickle of bytes moves, and kept
//! only as far as it is what was asked for. It is asked by HTTP/1.0: so the answer comes in one piece, and the connection
//! ends with it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::connect::{ConnectError, connect};
use crate::report::rebalance::Rebalance;

/// The longest head, and how many lines it may have.
const MAX_HEAD: usize = 64 << 10;
const MAX_LINES: usize = 200;
/// The longest body. What a node with a hundred disks and five policies has to say takes some 200 kB.
const MAX_BODY: usize = 2 << 20;

/// Why a node's answer says nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no whole answer in time")]
    TooLate,
    #[error(transparent)]
    Io(io::Error),
    #[error("its answer is longer than {MAX_BODY} bytes")]
    TooLong,
    #[error("it does not speak HTTP")]
    NoHttp,
    #[error("it answers {0} to {1}: is recon in its pipeline?")]
    Status(u16, &'static str),
    #[error("its answer to {0} cannot be understood")]
    NoSense(&'static str),
}

impl ReconError {
    /// Whether nobody is there who would answer another question.
    pub(crate) const fn is_silence(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::TooLate | Self::Io(_))
    }
}

impl From<io::Error> for ReconError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TooLate,
            _ => Self::Io(error),
        }
    }
}

/// What can be asked, with what is answered.
pub(crate) trait Question: DeserializeOwned {
    /// Below `/recon/`.
    const PATH: &'static str;
}

/// The MD5 of the ring files, by their paths there.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct RingSums(pub std::collections::BTreeMap<String, Option<String>>);

impl Question for RingSums {
    const PATH: &'static str = "ringmd5";
}

/// The figures of the last replication pass. Those that do not say otherwise are of any replicator.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Replication {
    pub replication_stats: Option<Stats>,
    /// How long it took, in minutes.
    pub object_replication_time: Option<f64>,
    /// When it ended, as Unix time.
    pub object_replication_last: Option<f64>,
}

/// What it counted, as far as it is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Stats {
    pub failure: u64,
    /// Ours only.
    pub rebalance: Option<Rebalance>,
    /// Ours only: a pass that is under way.
    pub rebalance_now: Option<Rebalance>,
}

impl Question for Replication {
    const PATH: &'static str = "replication/object";
}

/// How full the disks are.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Usage(pub Vec<Disk>);

/// A folder where disks are mounted. Of one that is not mounted, sizes are empty texts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Disk {
    pub device: String,
    pub size: Value,
    pub used: Value,
    pub avail: Value,
}

impl Question for Usage {
    const PATH: &'static str = "diskusage";
}

/// Folders where nothing is mounted.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Unmounted(pub Vec<UnmountedDisk>);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct UnmountedDisk {
    pub device: String,
}

impl Question for Unmounted {
    const PATH: &'static str = "unmounted";
}

/// Asks the node at this address; the answer must be there before so much time is over.
///
/// # Errors
/// [`ReconError`] if there is no connection, no whole answer in time, or one that is too long, is no success, or is not
/// what was asked for.
pub(crate) fn ask<Q: Question>(host: &str, port: u16, patience: Duration) -> Result<Q, ReconError> {
    let deadline = Instant::now() + patience;
    let mut socket = connect(host, port, deadline)?;
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let agent = concat!("swift-object-replicator ", env!("CARGO_PKG_VERSION"));
    let request = format!("GET /recon/{} HTTP/1.0\r\nHost: {authority}\r\nUser-Agent: {agent}\r\n\r\n", Q::PATH);
    socket.set_write_timeout(Some(left_until(deadline)?))?;
    socket.write_all(request.as_bytes())?;
    let answer = read(&mut socket, deadline)?;
    let (status, body) = split(&answer)?;
    match status {
        200 => serde_json::from_slice(body).map_err(|_| ReconError::NoSense(Q::PATH)),
        status => Err(ReconError::Status(status, Q::PATH)),
    }
}

/// All that comes until the end, or until the head says that it is all.
fn read(socket: &mut TcpStream, deadline: Instant) -> Result<Vec<u8>, ReconError> {
    let (mut answer, mut buffer, mut whole) = (Vec::new(), [0; 16 << 10], None);
    loop {
        if whole.is_none() {
            whole = size(&answer)?;
        }
        if whole.is_some_and(|whole| answer.len() >= whole) {
            return Ok(answer);
        }
        socket.set_read_timeout(Some(left_until(deadline)?))?;
        match socket.read(&mut buffer) {
            Ok(0) if whole.is_some_and(|whole| whole < usize::MAX) => {
                return Err(ReconError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(0) => return Ok(answer),
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        if answer.len() > MAX_HEAD + MAX_BODY {
            return Err(ReconError::TooLong);
        }
    }
}

/// How long the answer is to be, once its head is there; the largest number if its end is the connection's.
fn size(answer: &[u8]) -> Result<Option<usize>, ReconError> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    let mut head = httparse::Response::new(&mut lines);
    match head.parse(answer) {
        Ok(httparse::Status::Complete(length)) => {
            let told = head.headers.iter().find(|line| line.name.eq_ignore_ascii_case("content-length"));
            let Some(told) = told else { return Ok(Some(usize::MAX)) };
            let told = str::from_utf8(told.value).ok().and_then(|told| told.trim().parse::<usize>().ok());
            match told.ok_or(ReconError::NoHttp)? {
                body if body > MAX_BODY => Err(ReconError::TooLong),
                body => Ok(Some(length + body)),
            }
        }
        Ok(httparse::Status::Partial) if answer.len() < MAX_HEAD => Ok(None),
        Ok(httparse::Status::Partial) => Err(ReconError::TooLong),
        Err(_) => Err(ReconError::NoHttp),
    }
}

/// The status and the body.
fn split(answer: &[u8]) -> Result<(u16, &[u8]), ReconError> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    let mut head = httparse::Response::new(&mut lines);
    match head.parse(answer) {
        Ok(httparse::Status::Complete(length)) => Ok((head.code.ok_or(ReconError::NoHttp)?, &answer[length..])),
        _ => Err(ReconError::NoHttp),
    }
}

fn left_until(deadline: Instant) -> Result<Duration, ReconError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ReconError::TooLate) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Asks a server that answers so, and may then do something with the connection.
    fn answered(answer: impl AsRef<[u8]>, then: fn(TcpStream), patience: Duration) -> Result<RingSums, ReconError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = answer.as_ref().to_vec();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 1000];
            let count = socket.read(&mut request).unwrap();
            // Who has read enough does not wait for more.
            let _ = socket.write_all(&answer);
            then(socket);
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        let asked = ask::<RingSums>("127.0.0.1", port, patience);
        let request = server.join().unwrap();
        assert!(
            request.starts_with(&format!("GET /recon/ringmd5 HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n")),
            "{request}"
        );
        asked
    }

    fn at_once(answer: impl AsRef<[u8]>) -> Result<RingSums, ReconError> {
        answered(answer, drop, PATIENCE)
    }

    #[test]
    fn an_answer_ends_with_its_length_or_with_the_connection() {
        let expected = RingSums([("/a".to_owned(), Some("b".to_owned())), ("/c".to_owned(), None)].into());
        for head in ["HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"] {
            let sums = at_once(format!("{head}{{\"/a\": \"b\", \"/c\": null}}")).unwrap();
            assert_eq!(sums.0, expected.0);
        }
        // What is kept open is not waited for.
        answered("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", hold, PATIENCE).unwrap();
    }

    /// Keeps the connection open for longer than somebody waits.
    fn hold(socket: TcpStream) {
        thread::sleep(Duration::from_millis(600));
        drop(socket);
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let error = |answer: &str| at_once(answer).unwrap_err().to_string();
        assert_eq!(error("HTTP/1.1 404 Not Found\r\n\r\n"), "it answers 404 to ringmd5: is recon in its pipeline?");
        assert_eq!(error("SSH-2.0-OpenSSH\r\n"), "it does not speak HTTP");
        assert_eq!(error(""), "it does not speak HTTP");
        assert_eq!(error("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), "it does not speak HTTP");
        for body in ["[]", "{\"a\": 1}", "{", "\u{7}"] {
            assert_eq!(error(&format!("HTTP/1.0 200 OK\r\n\r\n{body}")), "its answer to ringmd5 cannot be understood");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(error(&format!("HTTP/1.0 200 OK\r\n\r\n{deep}")), "its answer to ringmd5 cannot be understood");
        assert!(at_once("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}").unwrap_err().is_silence(), "it broke off");
    }

    #[test]
    fn an_answer_without_end_is_left() {
        let endless = |head: &str| format!("{head}{}", " ".repeat(MAX_HEAD + MAX_BODY + 1));
        assert!(matches!(at_once(endless("HTTP/1.0 200 OK\r\n\r\n")), Err(ReconError::TooLong)));
        assert!(matches!(at_once(endless("HTTP/1.0 200 OK\r\nA: ")), Err(ReconError::TooLong)));
        let claims = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{{}}", usize::MAX);
        assert!(matches!(at_once(claims), Err(ReconError::TooLong)));
        let lines = "A: b\r\n".repeat(MAX_LINES + 1);
        assert!(matches!(at_once(format!("HTTP/1.0 200 OK\r\n{lines}\r\n{{}}")), Err(ReconError::NoHttp)));
    }

    #[test]
    fn one_that_trickles_or_says_nothing_is_not_waited_for() {
        let trickle = |mut socket: TcpStream| {
            while socket.write_all(b" ").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        };
        let begun = Instant::now();
        let asked = answered("HTTP/1.0 200 OK\r\n\r\n", trickle, Duration::from_millis(300));
        assert!(matches!(asked, Err(ReconError::TooLate)), "{asked:?}");
        assert!(begun.elapsed() < PATIENCE);
        assert!(answered("", hold, Duration::from_millis(200)).unwrap_err().is_silence());
        assert!(ask::<RingSums>("no-such-host.invalid", 1, PATIENCE).unwrap_err().is_silence());
    }
}
