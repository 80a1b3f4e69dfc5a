//! Serves the metrics over HTTP (`metrics_listen`), for a Prometheus that fetches them itself.
//!
//! It answers `GET /metrics` and nothing else, closes every connection after its answer, and is never in the daemon's way:
//! at most a few connections are open at once, each on a thread of its own, and each ends in time whatever the other side
//! does. What is served is made at most once a second, however often it is asked for.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::threads;

/// More connections at once get a refusal.
const CONNECTIONS: usize = 4;
/// A longer head of a request is refused.
const MAX_HEAD: usize = 8192;
/// More headers are refused.
const MAX_HEADERS: usize = 64;
/// What a connection may take, from its beginning to its end.
const LIMIT: Duration = Duration::from_secs(10);
/// How long the other side is listened to after the answer: a connection that is closed with something unread is reset,
/// which may cost the answer's end.
const LAST_LISTENING: Duration = Duration::from_millis(500);
/// So much is written at once.
const PIECE: usize = 65_536;
/// How often an address that cannot be listened on is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// Serves this text, made anew for each answer, on this address. Where that cannot be had, it is warned of and tried
/// again: the passes do not need it.
pub(super) fn start(address: SocketAddr, text: impl Fn() -> Arc<str> + Send + Sync + 'static) {
    let text: Arc<Text> = Arc::new(text);
    let started = threads::start("listen", move || serve(&listen(address), &text, LIMIT));
    if let Err(error) = started {
        warn!("Cannot start the thread that serves the metrics: {error}");
    }
}

type Text = dyn Fn() -> Arc<str> + Send + Sync;

/// Listens on the address, as soon as that is possible.
fn listen(address: SocketAddr) -> TcpListener {
    let mut is_told = false;
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => {
                info!("The metrics are served at http://{address}/metrics");
                return listener;
            }
            Err(error) if !is_told => {
                warn!("The metrics are not served, which is tried again: cannot listen on {address}: {error}");
                is_told = true;
            }
            Err(_) => {}
        }
        thread::sleep(TRY_AGAIN);
    }
}

/// Answers whoever connects.
fn serve(listener: &TcpListener, text: &Arc<Text>, limit: Duration) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else {
            // There are too many open files, most likely.
            thread::sleep(LAST_LISTENING);
            continue;
        };
        let Some(place) = Place::take(&open) else {
            // It fits into the socket's empty buffer, so nobody waits here.
            let _ = stream.set_nonblocking(true).and_then(|()| stream.write_all(&Answer::BUSY.head(0)));
            continue;
        };
        let text = text.clone();
        let talk = move || {
            let _place = place;
            // Whoever went away does not want to know.
            let _ = talk(&mut stream, &*text, Instant::now() + limit);
        };
        // Without a thread the connection is closed, and its place is free again.
        let _ = thread::Builder::new().name("metrics of one".to_owned()).spawn(talk);
    }
}

/// One of the connections that may be open at once, until this goes.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(open.clone());
        (open.fetch_add(1, Ordering::Relaxed) < CONNECTIONS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer(&'static str, &'static str);

impl Answer {
    const METRICS: Self = Self("200 OK", "");
    const MALFORMED: Self = Self("400 Bad Request", "");
    const NOT_THERE: Self = Self("404 Not Found", "");
    const NOT_ALLOWED: Self = Self("405 Method Not Allowed", "Allow: GET\r\n");
    const TOO_LARGE: Self = Self("431 Request Header Fields Too Large", "");
    const BUSY: Self = Self("503 Service Unavailable", "");

    fn head(self, length: usize) -> Vec<u8> {
        let Self(status, more) = self;
        let kind = "text/plain; version=0.0.4; charset=utf-8";
        let head = format!(
            "HTTP/1.1 {status}\r\n{more}Content-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        head.into_bytes()
    }
}

/// One request and its answer.
fn talk(stream: &mut TcpStream, text: &Text, deadline: Instant) -> io::Result<()> {
    let answer = request(stream, deadline)?;
    let body = if answer == Answer::METRICS { text() } else { Arc::from("") };
    let head = answer.head(body.len());
    for piece in [&head[..]].into_iter().chain(body.as_bytes().chunks(PIECE)) {
        write_all(stream, piece, deadline)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut rest = [0; MAX_HEAD];
    let last = deadline.min(Instant::now() + LAST_LISTENING);
    while read(stream, &mut rest, last)? > 0 {}
    Ok(())
}

/// Reads a request's head, and says what it gets.
fn request(stream: &mut TcpStream, deadline: Instant) -> io::Result<Answer> {
    let mut head = [0; MAX_HEAD];
    let mut length = 0;
    while length < MAX_HEAD {
        match read(stream, &mut head[length..], deadline)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head[..length]) {
            Ok(httparse::Status::Partial) => {}
            Ok(httparse::Status::Complete(_)) => {
                let path = request.path.and_then(|path| path.split('?').next());
                return Ok(match (request.method, path) {
                    (Some("GET"), Some("/metrics")) => Answer::METRICS,
                    (_, Some("/metrics")) => Answer::NOT_ALLOWED,
                    _ => Answer::NOT_THERE,
                });
            }
            Err(httparse::Error::TooManyHeaders) => return Ok(Answer::TOO_LARGE),
            Err(_) => return Ok(Answer::MALFORMED),
        }
    }
    Ok(Answer::TOO_LARGE)
}

fn read(stream: &mut TcpStream, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
    stream.set_read_timeout(Some(left(deadline)?))?;
    stream.read(buffer)
}

/// Writes a piece, however slowly the other side takes it, until the time is over.
fn write_all(stream: &mut TcpStream, mut piece: &[u8], deadline: Instant) -> io::Result<()> {
    while !piece.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(piece)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => piece = &piece[written..],
        }
    }
    Ok(())
}

/// The time that is left, which is some.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of this text with this limit for each connection.
    fn server(text: &str, limit: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let text: Arc<str> = Arc::from(text);
        let text: Arc<Text> = Arc::new(move || text.clone());
        thread::spawn(move || serve(&listener, &text, limit));
        address
    }

    /// All that comes after this request.
    fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_metrics_are_got_with_their_length_and_type_and_the_connection_ends() {
        let text = "a 1\n".repeat(100_000);
        let address = server(&text, LIMIT);
        for request in ["GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "GET /metrics?x=1 HTTP/1.0\r\n\r\n"] {
            let answer = ask(address, request.as_bytes());
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(head.contains("Content-Length: 400000\r\nConnection: close"), "{head}");
            assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
            assert!(body == text);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let address = server("a 1\n", LIMIT);
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(MAX_HEADERS + 1));
        for (request, status) in [
            ("POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "405 Method Not Allowed\r\nAllow: GET"),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", "405 "),
            ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("GET /metrics/../etc/passwd HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("GET http://a/metrics HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("nonsense\r\n\r\n", "400 Bad Request"),
            ("GET /metrics HTTP/9\r\n\r\n", "400 Bad Request"),
            (&long, "431 "),
            (&many, "431 "),
        ] {
            let answer = ask(address, request.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
            assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        }
    }

    #[test]
    fn who_says_nothing_or_reads_nothing_is_given_up_and_keeps_nobody_out_for_long() {
        let limit = Duration::from_millis(400);
        let address = server(&"x".repeat(64 << 20), limit);
        let silent: Vec<_> = (1..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut deaf = TcpStream::connect(address).unwrap();
        deaf.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        thread::sleep(limit / 4);
        let refusal = ask(address, b"");
        assert!(refusal.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refusal}");
        thread::sleep(limit);
        for mut stream in silent {
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            assert_eq!(stream.read(&mut [0; 10]).unwrap_or_default(), 0, "it is closed");
        }
        assert!(ask(address, b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    }
}
