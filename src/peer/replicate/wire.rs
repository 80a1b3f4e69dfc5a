//! The connections below the REPLICATE client.
//!
//! ureq speaks HTTP; the sockets are ours, because its own pool cannot give what is wanted here: two time limits that
//! span several of its steps each (B7.2), idle connections that are closed in time though nobody asks for anything, and
//! word of a kept connection that turned out to be dead. It also spares every request on a kept connection the system
//! calls that set the same time limits again.
//!
//! A [`Wire`] is a connection during one request. When ureq has read the answer to its end and asks whether the
//! connection is still good, the wire gives its socket to the [`Idle`] ones as it is dropped.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use ureq::http::Uri;
use ureq::http::uri::Authority;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};
use ureq::{Timeout, config::Config};

use super::head::{Head, HeadError, MAX_WANTED};
use super::idle::Idle;
use crate::peer::connect::{ConnectError, connect};

/// So much is received at once: enough for a head, and for the hashes of a usual partition along with it.
const READ: usize = 16 << 10;
/// Room for that, and for what came before of the same head.
const INPUT: usize = READ + MAX_WANTED;
/// Enough for the longest request line that Swift's servers read, and the headers.
const OUTPUT: usize = 10 << 10;

/// How long the two halves of a request may take (B7.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLimits {
    /// To look the host up, connect and send.
    pub(super) request: Duration,
    /// To receive the whole answer.
    pub(super) answer: Duration,
}

/// The peer closed the connection before it answered anything.
#[derive(Debug, thiserror::Error)]
#[error("the connection was closed without an answer")]
pub(super) struct Closed {
    /// Whether the connection had served another request before: then the peer may well answer on a new one.
    pub(super) kept: bool,
}

/// What came is no head of an answer.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct NoHead(HeadError);

impl From<HeadError> for ureq::Error {
    fn from(error: HeadError) -> Self {
        Self::Other(Box::new(NoHead(error)))
    }
}

impl From<Closed> for ureq::Error {
    fn from(closed: Closed) -> Self {
        Self::Other(Box::new(closed))
    }
}

/// Connects to peers, or takes a connection that is kept. A request whose `max_idle_age` is zero gets a new one.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) limits: RequestLimits,
    pub(super) idle: Arc<Idle>,
}

impl Connector for Dialer {
    type Out = Wire;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Wire>, ureq::Error> {
        let deadline = Instant::now() + self.limits.request;
        let peer = details.uri.authority().ok_or_else(|| ureq::Error::BadUri(details.uri.to_string()))?;
        let wants_new = details.config.max_idle_age().is_zero();
        let kept = if wants_new { None } else { self.idle.take(peer) };
        let is_kept = kept.is_some();
        let (socket, buffers) = match kept {
            Some(kept) => kept,
            None => (self.dial(details.uri, deadline)?, LazyBuffers::new(INPUT, OUTPUT)),
        };
        Ok(Some(Wire {
            line: Some((socket, buffers)),
            peer: peer.clone(),
            idle: Arc::clone(&self.idle),
            answer_limit: self.limits.answer,
            deadline,
            kept: is_kept,
            stage: Stage::Asking,
            head: Some(Head::default()),
            reusable: false,
        }))
    }
}

impl Dialer {
    fn dial(&self, uri: &Uri, deadline: Instant) -> Result<TcpStream, ureq::Error> {
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
        let socket = connect(host, port, deadline).map_err(|error| match error {
            ConnectError::UnknownHost => ureq::Error::HostNotFound,
            ConnectError::TooLate => ureq::Error::Timeout(Timeout::Connect),
            ConnectError::Io(error) => error.into(),
        })?;
        socket.set_read_timeout(Some(self.limits.answer).filter(|limit| !limit.is_zero()))?;
        Ok(socket)
    }
}

fn left_until(deadline: Instant, timeout: Timeout) -> Result<Duration, ureq::Error> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ureq::Error::Timeout(timeout)) } else { Ok(left) }
}

/// Leaves the looking up to the [`Dialer`], which need not do it where a connection is kept.
#[derive(Debug)]
pub(super) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

/// A connection while it serves one request.
#[derive(Debug)]
pub(super) struct Wire {
    /// The socket and the buffers; taken when the wire is dropped.
    line: Option<(TcpStream, LazyBuffers)>,
    peer: Authority,
    idle: Arc<Idle>,
    answer_limit: Duration,
    /// When the stage must be over.
    deadline: Instant,
    kept: bool,
    stage: Stage,
    /// Until the answer's head has come to its end.
    head: Option<Head>,
    reusable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asking,
    Waiting,
    Answered,
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        &self.line.as_ref().expect("the line is there until the drop").0
    }

    fn lazy_buffers(&mut self) -> &mut LazyBuffers {
        &mut self.line.as_mut().expect("the line is there until the drop").1
    }

    /// Waits until the socket is ready for the events, or the stage's time is over.
    fn wait_for(&self, events: PollFlags, timeout: Timeout) -> Result<(), ureq::Error> {
        loop {
            let left = left_until(self.deadline, timeout)?;
            let limit = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(self.socket(), events)], limit.as_ref()) {
                Ok(0) => return Err(ureq::Error::Timeout(timeout)),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(io::Error::from(e).into()),
            }
        }
    }

    /// Receives something into the free part of the buffer; `None` if it has to be tried again.
    fn receive(&mut self) -> Result<Option<usize>, ureq::Error> {
        let (socket, buffers) = self.line.as_mut().expect("the line is there until the drop");
        let space = buffers.input_append_buf();
        let length = space.len().min(READ);
        match recv(&*socket, &mut space[..length], RecvFlags::empty()) {
            Ok((0, _)) if self.stage == Stage::Waiting => Err(Closed { kept: self.kept }.into()),
            Ok((count, _)) => {
                self.stage = Stage::Answered;
                Ok(Some(count))
            }
            Err(Errno::AGAIN) => Err(ureq::Error::Timeout(Timeout::RecvResponse)),
            Err(Errno::INTR) => self.wait_for(PollFlags::IN, Timeout::RecvResponse).map(|()| None),
            Err(e) => Err(self.failed(e)),
        }
    }

    /// The error of a socket on which nothing was answered yet.
    fn failed(&self, errno: Errno) -> ureq::Error {
        let gone = matches!(errno, Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED);
        if gone && self.kept && self.stage != Stage::Answered {
            return Closed { kept: true }.into();
        }
        io::Error::from(errno).into()
    }
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.lazy_buffers()
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let mut sent = 0;
        while sent < amount {
            let (socket, buffers) = self.line.as_mut().expect("the line is there until the drop");
            match send(&*socket, &buffers.output()[sent..amount], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(n) => sent += n,
                Err(Errno::AGAIN) => self.wait_for(PollFlags::OUT, Timeout::SendRequest)?,
                Err(Errno::INTR) => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        if self.stage == Stage::Asking {
            // The socket's own time limit serves the first read: it is as long as the whole answer may take.
            self.stage = Stage::Waiting;
            self.deadline = Instant::now() + self.answer_limit;
            left_until(self.deadline, Timeout::RecvResponse)?;
        } else {
            self.wait_for(PollFlags::IN, Timeout::RecvResponse)?;
        }
        loop {
            let Some(count) = self.receive()? else { continue };
            let Some(mut head) = self.head.take() else {
                self.lazy_buffers().input_appended(count);
                return Ok(count > 0);
            };
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            let space = self.lazy_buffers().input_append_buf();
            if let Some(used) = head.take_in(&space[..count])? {
                // The body's beginning may have come along with it.
                let wanted = head.wanted();
                space.copy_within(used..count, wanted.len());
                space[..wanted.len()].copy_from_slice(wanted);
                let count = wanted.len() + count - used;
                self.lazy_buffers().input_appended(count);
                return Ok(true);
            }
            self.head = Some(head);
            self.wait_for(PollFlags::IN, Timeout::RecvResponse)?;
        }
    }

    /// ureq asks this once the answer was read to its end and the connection could serve another request.
    fn is_open(&mut self) -> bool {
        self.reusable = true;
        true
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // What came behind the answer was not asked for, and must not be taken for the next one.
        let is_good = |(_, buffers): &(TcpStream, LazyBuffers)| self.reusable && buffers.input().is_empty();
        if let Some((socket, buffers)) = self.line.take().filter(is_good) {
            self.idle.put(self.peer.clone(), socket, buffers);
        }
    }
}
