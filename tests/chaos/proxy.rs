//! A node's front for the replicators of others: passes their requests on to its object server, or misbehaves.
//!
//! The rings name its port for replication, and the object server's own for clients. Only requests for hashes are ever
//! answered with lies: one that says "look again at what I pushed" and is answered with 200 has reached the server.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::plan::Manner;
use crate::support::node::OBJECT_PORT;

/// The port that the rings name for replication.
pub const REPLICATION_PORT: u16 = 6201;

/// For how long a peer that stalls says nothing; replicators wait less.
const STALL: Duration = Duration::from_secs(12);

/// The front of one node. It listens for as long as the process lives.
pub struct Proxy(Arc<Shared>);

struct Shared {
    server: (Ipv4Addr, u16),
    manner: Mutex<Option<Manner>>,
    /// A device for which the node answers otherwise than for its others.
    special: Mutex<Option<(String, Said)>>,
    /// The first answer for each partition since lies were last told, or ever.
    old_answers: Mutex<HashMap<String, Vec<u8>>>,
}

impl Proxy {
    /// Listens at the node's address.
    pub fn start(address: Ipv4Addr) -> Self {
        let socket = TcpListener::bind((address, REPLICATION_PORT)).expect("the address is the node's own");
        let shared = Arc::new(Shared {
            server: (address, OBJECT_PORT),
            manner: Mutex::default(),
            special: Mutex::default(),
            old_answers: Mutex::default(),
        });
        let front = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                let front = Arc::clone(&front);
                // Either side may leave at any time.
                thread::spawn(move || front.serve(&stream).unwrap_or_default());
            }
        });
        Self(shared)
    }

    /// What it says of the device with this name from now on; `None`: the truth of all.
    pub fn say_of(&self, device: Option<(&str, Said)>) {
        *lock(&self.0.special) = device.map(|(name, said)| (name.to_owned(), said));
    }

    /// How it treats requests from now on; `None`: well.
    pub fn behave(&self, manner: Option<Manner>) {
        *lock(&self.0.manner) = manner;
        if manner.is_none() {
            lock(&self.0.old_answers).clear();
        }
    }
}

/// What an object server says of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing, and it keeps the connection.
    Nothing,
    /// Nothing, and it closes the connection.
    Closes,
    Status(&'static str),
    /// 200, and something that is no pickle.
    Junk,
}

impl Said {
    /// What is sent, after a while; `None`: the connection ends.
    fn answer(self) -> Option<Message> {
        match self {
            Self::Nothing => {
                thread::sleep(STALL);
                None
            }
            Self::Closes => None,
            Self::Status(status) => Some(Message::answer(status, b"the test says so".to_vec())),
            Self::Junk => Some(Message::answer("200 OK", b"(i__main__\nJunk\np0\n".to_vec())),
        }
    }
}

/// One message of HTTP: its head, and its body.
struct Message {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Message {
    fn read(from: &mut BufReader<impl io::Read>) -> io::Result<Self> {
        Self::read_with_body(from, true)
    }

    /// An answer to a HEAD has no body, whatever length it tells.
    fn read_with_body(from: &mut BufReader<impl io::Read>, has_body: bool) -> io::Result<Self> {
        let (mut head, mut length) = (Vec::new(), 0);
        loop {
            let mut line = Vec::new();
            if from.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            head.extend_from_slice(&line);
            let line = String::from_utf8_lossy(&line).trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; if has_body { length } else { 0 }];
        from.read_exact(&mut body)?;
        Ok(Self { head, body })
    }

    fn answer(status: &str, body: Vec<u8>) -> Self {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        Self { head: head.into_bytes(), body }
    }

    fn write(&self, mut to: &TcpStream) -> io::Result<()> {
        to.write_all(&[&self.head[..], &self.body].concat())
    }

    /// Whether it is a request whose answer has no body.
    fn is_head(&self) -> bool {
        self.head.starts_with(b"HEAD ")
    }

    /// As an answer to this request.
    fn to(mut self, request: &Self) -> Self {
        if request.is_head() {
            self.body.clear();
        }
        self
    }

    /// The path of a request.
    fn path(&self) -> String {
        String::from_utf8_lossy(&self.head).split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// The device that a request is about.
    fn device(&self) -> String {
        self.path().split('/').nth(1).unwrap_or_default().to_owned()
    }

    /// What tells a partition from others: the path, and the policy, which stands in a header.
    fn partition(&self) -> String {
        let head = String::from_utf8_lossy(&self.head).to_ascii_lowercase();
        let policy = head.lines().find(|line| line.starts_with("x-backend-storage-policy-index"));
        format!("{} {}", self.path(), policy.unwrap_or_default())
    }
}

impl Shared {
    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        let mut requests = BufReader::new(client);
        let mut server: Option<BufReader<TcpStream>> = None;
        loop {
            let request = Message::read(&mut requests)?;
            let manner = *lock(&self.manner);
            let wants_hashes = request.path().matches('/').count() == 2;
            let special = lock(&self.special).clone().filter(|(device, _)| request.device() == *device);
            if let Some((_, said)) = special {
                match said.answer() {
                    Some(answer) => answer.to(&request).write(client)?,
                    None => return Ok(()),
                }
                continue;
            }
            let answer = match manner {
                Some(Manner::Stalls) => {
                    thread::sleep(STALL);
                    return Ok(());
                }
                Some(Manner::Resets) => return client.shutdown(Shutdown::Both),
                Some(Manner::Says503) => Message::answer("503 Service Unavailable", b"later".to_vec()),
                Some(Manner::Says507) => Message::answer("507 Insufficient Storage", b"no disk".to_vec()),
                _ if request.head.starts_with(b"SSYNC ") => return self.let_converse(&request, &mut requests, client),
                Some(Manner::MadeUpHashes) if wants_hashes => {
                    Message::answer("200 OK", made_up_hashes(&request.partition()))
                }
                Some(Manner::StaleHashes) if wants_hashes && self.old_answer(&request).is_some() => {
                    Message::answer("200 OK", self.old_answer(&request).unwrap_or_default())
                }
                _ => {
                    let answer = self.pass_on(&request, &mut server)?;
                    if wants_hashes && answer.head.starts_with(b"HTTP/1.1 200") {
                        lock(&self.old_answers).entry(request.partition()).or_insert_with(|| answer.body.clone());
                    }
                    answer
                }
            };
            answer.to(&request).write(client)?;
        }
    }

    /// Lets the two sides talk as they like, until one of them has enough.
    fn let_converse(
        &self,
        request: &Message,
        mut rest: &mut (impl io::Read + Send),
        client: &TcpStream,
    ) -> io::Result<()> {
        let server = TcpStream::connect(self.server)?;
        request.write(&server)?;
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = io::copy(&mut rest, &mut &server);
                let _ = server.shutdown(Shutdown::Write);
            });
            let _ = io::copy(&mut &server, &mut &*client);
            let _ = client.shutdown(Shutdown::Both);
        });
        Ok(())
    }

    fn old_answer(&self, request: &Message) -> Option<Vec<u8>> {
        lock(&self.old_answers).get(&request.partition()).cloned()
    }

    /// Asks the real server, over the connection that is there already, if there is one.
    fn pass_on(&self, request: &Message, server: &mut Option<BufReader<TcpStream>>) -> io::Result<Message> {
        let connection = match server {
            Some(connection) => connection,
            None => server.insert(BufReader::new(TcpStream::connect(self.server)?)),
        };
        request.write(connection.get_ref())?;
        Message::read_with_body(connection, !request.is_head())
    }
}

/// A pickle of a few suffixes with hashes that nothing has: the same for a partition, whenever it is asked for.
fn made_up_hashes(partition: &str) -> Vec<u8> {
    let seed = partition.bytes().fold(0, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut rng = fastrand::Rng::with_seed(seed);
    let text = |text: String| [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let mut pickle = b"\x80\x02}(".to_vec();
    for _ in 0..rng.usize(0..6) {
        pickle.extend(text(format!("{:03x}", rng.u32(0..4096))));
        pickle.extend(text(format!("{:032x}", rng.u128(..))));
    }
    pickle.extend(b"u.");
    pickle
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
