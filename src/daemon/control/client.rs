//! One client of the socket: reads its request, and gives it the answer, without ever waiting for it.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::orders::wire::LONGEST_REQUEST;

/// How long a client may take, from its connection to the end of its answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// What is read at once.
const PIECE: usize = 16 << 10;

/// A client that is connected.
pub(super) struct Client {
    stream: UnixStream,
    received: Vec<u8>,
    /// What it has yet to be told; `None` while it has not asked.
    answer: Option<Vec<u8>>,
    deadline: Instant,
}

/// How far a client is.
pub(super) enum Step {
    /// There is more to come.
    Waiting,
    /// It has asked this: a line, without its end.
    Asked(Vec<u8>),
    /// Its line has no end.
    TooLong,
    /// It has its answer, or has gone.
    Over,
}

impl Client {
    /// One that has just connected.
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, received: Vec::new(), answer: None, deadline: Instant::now() + PATIENCE }
    }

    /// What is waited for.
    pub(super) fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        (self.stream.as_fd(), if self.answer.is_some() { PollFlags::OUT } else { PollFlags::IN })
    }

    /// Whether its time is over.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        now >= self.deadline
    }

    /// When its time is over.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Goes on as far as it can without waiting.
    pub(super) fn go_on(&mut self) -> Step {
        if self.answer.is_some() { self.write() } else { self.read() }
    }

    /// What it is to be told, and nothing more.
    pub(super) fn tell(&mut self, answer: Vec<u8>) -> Step {
        self.received = Vec::new();
        self.answer = Some(answer);
        self.write()
    }

    fn read(&mut self) -> Step {
        let mut piece = [0; PIECE];
        loop {
            let count = match self.stream.read(&mut piece) {
                Ok(0) => return Step::Over,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Waiting,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Step::Over,
            };
            let before = self.received.len();
            self.received.extend_from_slice(&piece[..count]);
            if let Some(end) = piece[..count].iter().position(|byte| *byte == b'\n') {
                self.received.truncate(before + end);
                return Step::Asked(std::mem::take(&mut self.received));
            }
            if self.received.len() > LONGEST_REQUEST {
                return Step::TooLong;
            }
        }
    }

    fn write(&mut self) -> Step {
        let Some(answer) = &mut self.answer else { return Step::Over };
        while !answer.is_empty() {
            match self.stream.write(answer) {
                Ok(0) => return Step::Over,
                Ok(count) => drop(answer.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Waiting,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Step::Over,
            }
        }
        Step::Over
    }
}
