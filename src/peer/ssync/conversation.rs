//! One conversation with a receiver, as far as it is messages and lines: opening it, what waits to be sent, what is read.

use std::time::{Duration, Instant};

use super::answer::{Chunks, Lines, NextLine, Piece};
use super::codec;
use super::failure::{MAX_SHOWN, TalkError, TalkLimits, TalkStep};
use super::outbox::Outbox;
use super::pace;
use super::wire::Wire;
use crate::heartbeat::Heartbeat;
use crate::names::{Partition, PolicyIndex};
use crate::peer::authority;
use crate::ring::Device;

/// So many bytes are sent at once if they are there.
const ENOUGH: usize = 32 << 10;
/// No message waits longer than this for others: the receiver has a time limit for the next one.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// What the head of the answer may take.
const MAX_HEAD: usize = 256 << 10;
/// How many headers it may have: as many as the reference takes. Swift's have six.
const MAX_HEADERS: usize = 200;
/// So often more is read of what a receiver said before it hung up.
const MAX_LAST_WORDS: usize = 16;
/// So many blank lines are ignored where they may be.
const MAX_BLANKS: usize = 1000;

/// An open conversation.
pub(super) struct Conversation<'p> {
    wire: Wire<'p>,
    limits: TalkLimits,
    outbox: Outbox,
    last_sent: Instant,
    lines: Lines,
    /// The last line that was read.
    line: Vec<u8>,
}

impl<'p> Conversation<'p> {
    /// Connects and sends the request's head (B9.2), and waits for the answer's (B9.3).
    pub(super) fn open(
        to: &Device,
        policy: PolicyIndex,
        partition: Partition,
        limits: TalkLimits,
        longest_line: usize,
        heartbeat: &'p dyn Heartbeat,
    ) -> Result<Self, TalkError> {
        let head = request_head(to, policy, partition)?;
        let deadline = Instant::now() + limits.conn;
        let wire = Wire::connect(to, limits, deadline, heartbeat)?;
        let (lines, last_sent) = (Lines::new(longest_line), Instant::now());
        let mut conversation = Self { wire, limits, outbox: Outbox::default(), last_sent, lines, line: Vec::new() };
        conversation.outbox.bytes().extend_from_slice(head.as_bytes());
        conversation.outbox.seal(TalkStep::ConnectSend);
        conversation.wire.send_before(&mut conversation.outbox, deadline)?;
        conversation.receive_head()?;
        Ok(conversation)
    }

    /// Reads the head of the answer; only 200 is a reason to go on.
    fn receive_head(&mut self) -> Result<(), TalkError> {
        let deadline = Instant::now() + self.limits.node;
        loop {
            match parse_head(self.wire.incoming())? {
                Some(head) => {
                    self.wire.consume(head.length);
                    match head.status {
                        200 => return Ok(()),
                        // The real answer follows.
                        100 => {}
                        status => {
                            let body = self.receive_error(head.body, deadline)?;
                            return Err(TalkError::status(status, &body));
                        }
                    }
                }
                None if self.wire.has_ended() => return Err(TalkError::NoAnswer),
                None if self.wire.incoming().len() >= MAX_HEAD => {
                    return Err(TalkError::NotHttp(httparse::Error::TooManyHeaders));
                }
                None => self.wire.receive(deadline, TalkStep::ConnectReceive)?,
            }
        }
    }

    /// Reads the body of an error, as far as it is shown.
    fn receive_error(&mut self, framing: Body, deadline: Instant) -> Result<Vec<u8>, TalkError> {
        let mut chunks = Chunks::default();
        let mut body = Vec::new();
        loop {
            let available = self.wire.incoming();
            let mut input = available;
            let is_over = match framing {
                Body::Chunked => loop {
                    match chunks.peek(&mut input) {
                        Ok(Piece::Data(data)) if body.len() <= MAX_SHOWN => {
                            let count = data.len();
                            body.extend_from_slice(data);
                            chunks.consume(&mut input, count);
                        }
                        Ok(Piece::NeedsMore) => break false,
                        Ok(_) | Err(_) => break true,
                    }
                },
                Body::Plain { length } => {
                    body.extend_from_slice(input);
                    input = &[];
                    body.len() > MAX_SHOWN || length.is_some_and(|length| body.len() as u64 >= length)
                }
            };
            let used = available.len() - input.len();
            self.wire.consume(used);
            if is_over || self.wire.has_ended() {
                body.truncate(MAX_SHOWN + 1);
                return Ok(body);
            }
            self.wire.receive(deadline, TalkStep::ConnectReceive)?;
        }
    }

    /// Where the next message is to be appended; [`seal`](Self::seal) completes it.
    pub(super) fn outgoing(&mut self) -> &mut Vec<u8> {
        self.outbox.bytes()
    }

    /// Room for so many bytes of data, which belong to the next message.
    pub(super) fn room(&mut self, length: usize) -> &mut [u8] {
        self.outbox.room(length)
    }

    /// Completes a message. It is sent when there are enough, or when something else asks for it.
    pub(super) fn seal(&mut self, step: TalkStep) {
        let length = self.outbox.seal(step);
        self.wire.be_patient(pace::of_message(length));
    }

    /// Appends and completes a message of one line.
    pub(super) fn say(&mut self, line: &[u8], step: TalkStep) {
        codec::marker(self.outbox.bytes(), line);
        self.seal(step);
    }

    /// How many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.outbox.len()
    }

    /// Takes back what was appended after the first so many bytes, which must end a message.
    pub(super) fn withdraw(&mut self, length: usize) {
        self.outbox.truncate(length);
    }

    /// Sends what waits, if it is enough or has waited for long. Whether anything was sent.
    pub(super) fn send_if_due(&mut self) -> Result<bool, TalkError> {
        let is_due = self.outbox.len() >= ENOUGH || self.last_sent.elapsed() > LONGEST_WAIT;
        if is_due {
            self.send()?;
        }
        Ok(is_due)
    }

    /// Sends what waits.
    pub(super) fn send(&mut self) -> Result<(), TalkError> {
        let sent = self.wire.send(&mut self.outbox);
        self.last_sent = Instant::now();
        sent.map_err(|failure| self.explain(failure))
    }

    /// A receiver that gives up says why before it closes the connection, so look for that (B9.24).
    fn explain(&mut self, failure: TalkError) -> TalkError {
        if matches!(failure, TalkError::Timeout { .. }) {
            return failure;
        }
        // Without waiting: all that it said has come. An honest one says little.
        for _ in 0..MAX_LAST_WORDS {
            if self.wire.take_in().is_err() || self.wire.incoming().is_empty() {
                break;
            }
            loop {
                match self.next_line() {
                    Ok(true) if self.line.starts_with(b":ERROR:") => return TalkError::unexpected(&self.line),
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) => return failure,
                }
            }
        }
        failure
    }

    /// Reads lines until one is this, and ignores blank ones (B9.8, B9.15).
    pub(super) fn expect(&mut self, expected: &[u8], step: TalkStep) -> Result<(), TalkError> {
        let line = self.read_line(step)?;
        if line == expected { Ok(()) } else { Err(TalkError::unexpected(line)) }
    }

    /// Reads the next line that is not blank. Blank ones say nothing, so they do not make it come any later.
    pub(super) fn read_line(&mut self, step: TalkStep) -> Result<&[u8], TalkError> {
        self.send()?;
        // Only a line that has to be waited for needs to know the time.
        let mut deadline = None;
        for _ in 0..MAX_BLANKS {
            while !self.next_line()? {
                let until = *deadline.get_or_insert_with(|| Instant::now() + step.limit(&self.limits));
                self.wire.receive(until, step)?;
            }
            if !self.line.is_empty() {
                self.wire.be_patient(pace::LINE);
                return Ok(&self.line);
            }
        }
        Err(TalkError::unexpected(b""))
    }

    /// Takes the next line from what has come; false if more has to come.
    fn next_line(&mut self) -> Result<bool, TalkError> {
        let available = self.wire.incoming();
        let mut input = available;
        let progress = self.lines.next(&mut input).map_err(|_| TalkError::EarlyDisconnect)?;
        let is_complete = match progress {
            NextLine::Line(line) => {
                self.line.clear();
                self.line.extend_from_slice(line);
                true
            }
            NextLine::NeedsMore => false,
            NextLine::End => return Err(TalkError::EarlyDisconnect),
        };
        let used = available.len() - input.len();
        self.wire.consume(used);
        Ok(is_complete)
    }

    /// Ends the conversation, well or not (B9.16).
    pub(super) fn hang_up(self) {
        self.wire.hang_up(codec::LAST_CHUNK);
    }
}

/// The request, up to its body.
fn request_head(to: &Device, policy: PolicyIndex, partition: Partition) -> Result<String, TalkError> {
    let device = &to.device;
    if !device.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TalkError::Device(device.clone()));
    }
    let authority = authority(to);
    // Python's HTTP client leaves out the port that goes without saying.
    let host = authority.strip_suffix(":80").unwrap_or(&authority);
    Ok(format!(
        "SSYNC /{device}/{partition} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: identity\r\n\
         Transfer-Encoding: chunked\r\nX-Backend-Storage-Policy-Index: {policy}\r\n\r\n"
    ))
}

/// How a body is framed.
#[derive(Clone, Copy)]
enum Body {
    Chunked,
    Plain { length: Option<u64> },
}

/// What is of interest in the head of an answer.
struct Head {
    length: usize,
    status: u16,
    body: Body,
}

/// Reads the head of an answer; `None` if it has not come in whole.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, TalkError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes).map_err(TalkError::NotHttp)? else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let body = match header("Transfer-Encoding") {
        Some(encoding) if encoding.eq_ignore_ascii_case("chunked") => Body::Chunked,
        _ => Body::Plain { length: header("Content-Length").and_then(|length| length.parse().ok()) },
    };
    Ok(Some(Head { length, status: response.code.unwrap_or_default(), body }))
}
