//! The connection to a receiver, both directions at once.
//!
//! The protocol has the two sides take turns, but a receiver that gives up says why at any time, and one that breaks the
//! rules may talk all the time. So whenever a message cannot be sent at once, what comes meanwhile is taken in, up to a
//! limit; beyond it the receiver has to wait. If it does not read either, the message's own time limit ends the matter.
//!
//! Each wait has an end, which is looked at whenever there is a reason to wait or to read on: a receiver that sends
//! something all the time does not move it. And all waits of a conversation together have an end ([`super::pace`]).

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_quickack;
use rustix::net::{RecvFlags, SendFlags};

use super::failure::{TalkError, TalkLimits, TalkStep};
use super::outbox::Outbox;
use super::pace;
use crate::heartbeat::Heartbeat;
use crate::peer::connect::{ConnectError, connect};
use crate::ring::Device;
use crate::sys;

/// So much of what the receiver says may wait to be read.
const MAX_WAITING: usize = 64 << 10;
/// So much waits in the kernel to be sent. By default it takes megabytes, which are ten thousand small objects: a receiver
/// that still has to store those would not answer in time when it is asked for the outcome.
const MAX_UNSENT: u32 = 128 << 10;
/// So much is read at once.
const READ: usize = 16 << 10;

/// A connection.
pub(super) struct Wire<'p> {
    socket: TcpStream,
    limits: TalkLimits,
    /// What came and has not been used up.
    incoming: Vec<u8>,
    used: usize,
    /// Whether the receiver has closed its side.
    has_ended: bool,
    /// Whether the last message was sent in part.
    is_cut: bool,
    /// How much longer the receiver may be waited for, in all.
    patience: Duration,
    heartbeat: &'p dyn Heartbeat,
}

impl<'p> Wire<'p> {
    /// Connects to a device's node.
    pub(super) fn connect(
        to: &Device,
        limits: TalkLimits,
        deadline: Instant,
        heartbeat: &'p dyn Heartbeat,
    ) -> Result<Self, TalkError> {
        let socket = connect(&to.replication_ip, to.replication_port, deadline).map_err(|error| match error {
            ConnectError::UnknownHost => TalkError::UnknownHost(to.replication_ip.clone()),
            ConnectError::TooLate => TalkStep::ConnectSend.timeout(&limits),
            ConnectError::Io(error) => TalkError::Connect(error),
        })?;
        socket.set_nonblocking(true)?;
        // Where the kernel cannot, everything is as with the reference.
        let _ = sys::limit_unsent(&socket, MAX_UNSENT);
        let (incoming, used, patience) = (Vec::new(), 0, pace::at_first(&limits));
        Ok(Self { socket, limits, incoming, used, has_ended: false, is_cut: false, patience, heartbeat })
    }

    /// There is more for the receiver to do, which may take so much longer.
    pub(super) fn be_patient(&mut self, longer: Duration) {
        self.patience = self.patience.saturating_add(longer);
    }

    /// Sends all messages, each within its own time limit. What could not be sent is forgotten.
    pub(super) fn send(&mut self, outbox: &mut Outbox) -> Result<(), TalkError> {
        let sent = self.send_by(outbox, |step, limits| Instant::now() + step.limit(limits));
        outbox.clear();
        sent
    }

    /// Sends all messages before the deadline.
    pub(super) fn send_before(&mut self, outbox: &mut Outbox, deadline: Instant) -> Result<(), TalkError> {
        let sent = self.send_by(outbox, |_, _| deadline);
        outbox.clear();
        sent
    }

    fn send_by(
        &mut self,
        outbox: &Outbox,
        deadline: impl Fn(TalkStep, &TalkLimits) -> Instant,
    ) -> Result<(), TalkError> {
        let mut sent = 0;
        let outcome = self.push(outbox, &mut sent, deadline);
        self.is_cut = sent != 0 && outbox.messages().iter().all(|(end, _)| *end != sent);
        outcome
    }

    fn push(
        &mut self,
        outbox: &Outbox,
        sent: &mut usize,
        deadline: impl Fn(TalkStep, &TalkLimits) -> Instant,
    ) -> Result<(), TalkError> {
        for (end, step) in outbox.messages() {
            // Looked at only by a message that has to wait.
            let mut until = None;
            while *sent < *end {
                let parts = outbox.after(*sent);
                match rustix::net::sendmsg(&self.socket, &parts, &mut Default::default(), SendFlags::NOSIGNAL) {
                    Ok(count) => {
                        *sent += count;
                        self.heartbeat.beat();
                    }
                    Err(Errno::AGAIN) => {
                        let until = *until.get_or_insert_with(|| deadline(*step, &self.limits));
                        self.wait_to_send(until, *step)?;
                    }
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(io::Error::from(errno).into()),
                }
            }
        }
        Ok(())
    }

    /// Waits until something can be sent; takes in what comes meanwhile.
    fn wait_to_send(&mut self, until: Instant, step: TalkStep) -> Result<(), TalkError> {
        let has_room = self.incoming.len() - self.used < MAX_WAITING;
        let events = if has_room { PollFlags::OUT | PollFlags::IN } else { PollFlags::OUT };
        let ready = self.wait(events, until, step)?;
        if ready.contains(PollFlags::IN) {
            self.take_in()?;
            if self.has_ended {
                // Nobody who has hung up wants to hear more.
                return Err(TalkError::EarlyDisconnect);
            }
        }
        Ok(())
    }

    /// Waits for more to come, and takes it in.
    ///
    /// That something has come is no reason to go on for ever: after the deadline nothing more is taken in.
    pub(super) fn receive(&mut self, until: Instant, step: TalkStep) -> Result<(), TalkError> {
        if self.has_ended {
            return Err(TalkError::EarlyDisconnect);
        }
        if Instant::now() >= until {
            return Err(step.timeout(&self.limits));
        }
        let before = self.incoming.len() - self.used;
        loop {
            self.take_in()?;
            if self.has_ended || self.incoming.len() - self.used > before {
                return Ok(());
            }
            self.acknowledge();
            self.wait(PollFlags::IN, until, step)?;
        }
    }

    /// Has the kernel say at once that what came has come. It would wait some 40 ms for something to say it along with; a
    /// receiver that waits for it to send its next line (Nagle's algorithm) takes that time for every line.
    fn acknowledge(&self) {
        // Where the kernel will not, all goes on as slowly as with the reference.
        let _ = set_tcp_quickack(&self.socket, true);
    }

    /// Takes in what has come, without waiting.
    pub(super) fn take_in(&mut self) -> Result<(), TalkError> {
        self.incoming.drain(..self.used);
        self.used = 0;
        self.incoming.reserve(READ);
        loop {
            match rustix::net::recv(&self.socket, spare_capacity(&mut self.incoming), RecvFlags::empty()) {
                Ok((0, _)) => self.has_ended = true,
                Ok(_) => self.heartbeat.beat(),
                Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
            return Ok(());
        }
    }

    fn wait(&mut self, events: PollFlags, until: Instant, step: TalkStep) -> Result<PollFlags, TalkError> {
        loop {
            let begun = Instant::now();
            let left = until.saturating_duration_since(begun);
            if left.is_zero() {
                return Err(step.timeout(&self.limits));
            }
            if self.patience.is_zero() {
                return Err(TalkError::TooSlow(step));
            }
            let mut fds = [PollFd::new(&self.socket, events)];
            let polled = poll(&mut fds, Timespec::try_from(left.min(self.patience)).ok().as_ref());
            let found = fds[0].revents();
            // What is done here meanwhile is no fault of the receiver's: only waiting counts.
            self.patience = self.patience.saturating_sub(begun.elapsed());
            match polled {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(found),
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
        }
    }

    /// What has come and has not been used up.
    pub(super) fn incoming(&self) -> &[u8] {
        &self.incoming[self.used..]
    }

    /// Whether the receiver has closed its side, so that no more will come.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Uses up some bytes of what has come.
    pub(super) fn consume(&mut self, count: usize) {
        self.used += count;
    }

    /// Sends a last word if that is possible without waiting; then closes.
    pub(super) fn hang_up(self, last_word: &[u8]) {
        if !self.is_cut {
            let _ = rustix::net::send(&self.socket, last_word, SendFlags::NOSIGNAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn limits(limit: Duration) -> TalkLimits {
        TalkLimits { conn: limit, node: limit, http: limit }
    }

    #[test]
    fn a_receiver_that_is_too_slow_in_all_is_given_up_whatever_a_step_may_take() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = Device {
            replication_ip: "127.0.0.1".to_owned(),
            replication_port: listener.local_addr().unwrap().port(),
            ..Device::sample()
        };
        let until = Instant::now() + Duration::from_secs(60);
        let mut wire = Wire::connect(&to, limits(Duration::from_secs(60)), until, &()).unwrap();
        assert_eq!(wire.patience, Duration::from_secs(360));
        wire.patience = Duration::from_millis(50);
        for allowed in [50, 100] {
            let begun = Instant::now();
            let failure = wire.receive(until, TalkStep::MissingCheckLineWait).unwrap_err();
            assert_eq!(failure.to_string(), "Too slow in all: missing_check line wait");
            assert!(begun.elapsed() >= Duration::from_millis(allowed), "{:?}", begun.elapsed());
            // There is no more, until there is more to do.
            assert!(wire.patience.is_zero());
            wire.be_patient(Duration::from_millis(100));
        }
        // What is done here meanwhile does not count.
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(wire.patience, Duration::from_millis(100));
    }
}
