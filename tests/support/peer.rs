//! A node that answers as a test wants it to, in place of an object server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The first line.
    pub line: String,
    /// The lines after it, as they were sent.
    pub headers: Vec<String>,
}

impl Request {
    /// The path of the request: `/device/partition` or `/device/partition/suf-fix`.
    pub fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// Whether this is the request after a push, which names suffixes.
    pub fn after_push(&self) -> bool {
        self.path().matches('/').count() > 2
    }
}

/// What the peer does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers with this status and body.
    Status(u16, Vec<u8>),
    /// Sends these bytes, whatever they are, and closes.
    Raw(Vec<u8>),
    /// Closes without a word.
    Close,
    /// Never answers; ends when the other side does.
    Hang,
    /// Promises a body and sends it without end.
    Endless,
}

impl Reply {
    /// 200 with this pickle.
    pub fn hashes(pickle: &[u8]) -> Self {
        Self::Status(200, pickle.to_vec())
    }

    /// 200 with no hashes at all: the peer has nothing of the partition.
    pub fn nothing() -> Self {
        Self::hashes(b"\x80\x02}q\0.")
    }
}

/// A peer that listens at an object server's address until it is dropped.
pub struct StubPeer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    closing: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl StubPeer {
    /// Listens at `address` and answers every request with what `reply` makes of it.
    pub fn start(address: SocketAddr, reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let socket = TcpListener::bind(address).expect("the node's own server does not run");
        let (requests, closing) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<AtomicBool>::default());
        let (seen, over, reply) = (Arc::clone(&requests), Arc::clone(&closing), Arc::new(reply));
        let listener = std::thread::spawn(move || {
            for stream in socket.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let (stream, seen, reply) = (stream.expect("a connection"), Arc::clone(&seen), Arc::clone(&reply));
                std::thread::spawn(move || serve(&stream, &seen, &*reply));
            }
        });
        Self { address, requests, closing, listener: Some(listener) }
    }

    /// The requests that came.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for StubPeer {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        // The listener only looks when somebody comes.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

/// Answers requests of one connection until either side has enough; errors only mean that the other side left.
fn serve(stream: &TcpStream, seen: &Mutex<Vec<Request>>, reply: &dyn Fn(&Request) -> Reply) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        if !answer(stream, reply(&request)) {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = || {
        let mut text = String::new();
        let read = reader.read_line(&mut text).ok()?;
        (read > 0).then(|| text.trim_end().to_owned())
    };
    let first = line()?;
    let headers = std::iter::from_fn(|| line().filter(|text| !text.is_empty())).collect();
    Some(Request { line: first, headers })
}

/// Does what the reply says; whether the connection may go on.
fn answer(mut stream: &TcpStream, reply: Reply) -> bool {
    match reply {
        Reply::Status(status, body) => {
            let date = httpdate::fmt_http_date(SystemTime::now());
            let head = format!("HTTP/1.1 {status} Whatever\r\nDate: {date}\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), &body].concat()).is_ok()
        }
        Reply::Raw(bytes) => {
            let _ = stream.write_all(&bytes);
            false
        }
        Reply::Close => false,
        Reply::Hang => {
            let _ = stream.read(&mut [0]);
            false
        }
        Reply::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let chunk = [b"10000\r\n".as_slice(), &[b'('; 0x10000], b"\r\n"].concat();
            while stream.write_all(&chunk).is_ok() {}
            false
        }
    }
}
