//! The thread that takes orders: one loop over the socket and its clients, none of which it waits for.
//!
//! A client has a few seconds and a bounded line. There are never more than a few at a time: who comes when there are
//! gets the place of the one that has been silent for the longest. A client that asks at once is answered at once.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use super::Control;
use super::answer::Caller;
use super::client::{Client, Step};
use super::socket::{Socket, SocketError};
use crate::daemon::publish::Publisher;
use crate::orders::wire::{LONGEST_REQUEST, Request};
use crate::sys;

/// The most clients at a time.
const MOST_CLIENTS: usize = 32;
/// How often the hours and the terms of orders are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often the socket is looked after.
const LOOK: Duration = Duration::from_secs(5);

/// The thread's own state.
pub(super) struct Server {
    control: Arc<Control>,
    publisher: Arc<Publisher>,
    listens: bool,
    socket: Option<Socket>,
    /// Why there is none, as the log was told.
    trouble: Option<SocketError>,
    next_look: Instant,
    clients: Vec<(Client, Caller)>,
}

impl Server {
    pub(super) fn new(control: Arc<Control>, publisher: Arc<Publisher>, listens: bool) -> Self {
        let (next_look, clients) = (Instant::now(), Vec::new());
        Self { control, publisher, listens, socket: None, trouble: None, next_look, clients }
    }

    /// Serves as long as the process lives.
    pub(super) fn serve(mut self) -> ! {
        loop {
            if self.listens {
                self.look_after_socket();
            }
            let ready = self.wait();
            self.go_on_with(&ready);
            if ready.first() == Some(&true) {
                self.accept();
            }
            let now = Instant::now();
            self.clients.retain(|(client, _)| !client.is_late(now));
            if self.control.tell_changes() {
                self.publisher.refresh();
            }
        }
    }

    /// Makes the socket if there is none, or none any more where it is looked for. The log is told when that begins to
    /// fail, in another way, and when it works again.
    fn look_after_socket(&mut self) {
        let folder = self.control.folder();
        let is_well = self.socket.as_ref().is_some_and(|socket| socket.path.parent() == Some(&folder));
        if is_well && Instant::now() < self.next_look {
            return;
        }
        if !is_well && self.trouble.is_some() && Instant::now() < self.next_look {
            return;
        }
        self.next_look = Instant::now() + LOOK;
        if is_well && self.socket.as_ref().is_some_and(Socket::is_there) {
            return;
        }
        // Its lock would keep out the next one.
        self.socket = None;
        match self.control.place.listen(&folder) {
            Ok(socket) => {
                if self.trouble.take().is_some() {
                    info!("Orders are taken again");
                }
                self.socket = socket;
            }
            Err(error) => {
                if self.trouble.as_ref() != Some(&error) {
                    warn!("No orders (--pause, --set and the like) can be taken: {error}");
                }
                self.trouble = Some(error);
            }
        }
    }

    /// Waits until something can be done, for a moment at most; tells what: first the socket, then each client.
    fn wait(&self) -> Vec<bool> {
        let socket = self.socket.as_ref().map(|socket| (socket.listener.as_fd(), PollFlags::IN));
        let interests: Vec<(BorrowedFd<'_>, PollFlags)> =
            socket.into_iter().chain(self.clients.iter().map(|(client, _)| client.interest())).collect();
        let mut fds: Vec<_> = interests.iter().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let first_late = self.clients.iter().map(|(client, _)| client.deadline()).min();
        let until_late = first_late.map_or(TICK, |late| late.saturating_duration_since(Instant::now()));
        let timeout = Timespec::try_from(until_late.min(TICK)).ok();
        if poll(&mut fds, timeout.as_ref()).is_err() {
            thread::sleep(TICK);
            return Vec::new();
        }
        let ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let no_socket = self.socket.is_none().then_some(false);
        no_socket.into_iter().chain(ready).collect()
    }

    fn go_on_with(&mut self, ready: &[bool]) {
        let ready: Vec<_> = ready.iter().skip(1).copied().collect();
        let clients = std::mem::take(&mut self.clients);
        for (place, (mut client, caller)) in clients.into_iter().enumerate() {
            let step = if ready.get(place) == Some(&true) { client.go_on() } else { Step::Waiting };
            let step = match step {
                Step::Asked(line) => client.tell(self.answer_to(&line, &caller)),
                Step::TooLong => client.tell(self.refusal(&format!("a request has at most {LONGEST_REQUEST} bytes"))),
                step => step,
            };
            if matches!(step, Step::Waiting) {
                self.clients.push((client, caller));
            }
        }
    }

    fn accept(&mut self) {
        let Some(socket) = &self.socket else { return };
        // More than these wait for the next turn.
        for _ in 0..MOST_CLIENTS {
            match socket.listener.accept() {
                Ok((stream, _)) => {
                    let Some(caller) = caller_of(&stream) else { continue };
                    if self.clients.len() >= MOST_CLIENTS {
                        self.clients.remove(0);
                    }
                    self.clients.push((Client::new(stream), caller));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // Too many open files, say: the clients have to wait.
                Err(_) => return thread::sleep(TICK),
            }
        }
    }

    fn answer_to(&self, line: &[u8], caller: &Caller) -> Vec<u8> {
        let own = geteuid().as_raw();
        if caller.uid != 0 && caller.uid != own {
            let owner = sys::user_name(own).unwrap_or_else(|| own.to_string());
            return self.refusal(&format!("only root and {owner} may give orders"));
        }
        match serde_json::from_slice::<Request>(line) {
            Ok(request) => {
                let answer = self.control.answer(&request, caller);
                if !matches!(request, Request::Show {}) {
                    self.publisher.refresh();
                }
                line_of(&answer)
            }
            Err(error) => self.refusal(&format!(
                "the daemon, of version {}, does not understand the request: {error}",
                env!("CARGO_PKG_VERSION")
            )),
        }
    }

    fn refusal(&self, error: &str) -> Vec<u8> {
        let mut answer = self.control.empty_answer();
        answer.error = Some(error.to_owned());
        line_of(&answer)
    }
}

fn line_of(answer: &crate::orders::wire::Answer) -> Vec<u8> {
    // Names, numbers and texts: nothing in it can fail.
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Who is at the other end, by what the system says. The stream is one that is not waited for from now on.
fn caller_of(stream: &UnixStream) -> Option<Caller> {
    stream.set_nonblocking(true).ok()?;
    let uid = socket_peercred(stream).ok()?.uid.as_raw();
    Some(Caller { uid })
}
