//! Connections that wait for the next request: one per peer, for two seconds at most.
//!
//! Swift's object servers have 1,024 places for clients, and an idle one takes a place. So a thread closes what is due
//! while there is anything to close; it ends when nothing is left, and comes back with the next connection.

use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use ureq::http::uri::Authority;
use ureq::unversioned::transport::LazyBuffers;

/// How long a connection may wait.
pub(super) const MAX_IDLE: Duration = Duration::from_secs(2);

/// The idle connections of a client, by the peer's address.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    kept: HashMap<Authority, Kept>,
    /// Whether the closing thread runs.
    closing: bool,
}

#[derive(Debug)]
struct Kept {
    socket: TcpStream,
    buffers: LazyBuffers,
    due: Instant,
}

impl Idle {
    /// The connection to the peer, if there is one that is still good.
    pub(super) fn take(&self, peer: &Authority) -> Option<(TcpStream, LazyBuffers)> {
        let Kept { socket, buffers, due } = self.state().kept.remove(peer)?;
        (Instant::now() < due && is_silent(&socket)).then_some((socket, buffers))
    }

    /// Keeps a connection whose last answer was read to its end, instead of the one that was kept before.
    pub(super) fn put(self: &Arc<Self>, peer: Authority, socket: TcpStream, buffers: LazyBuffers) {
        let mut state = self.state();
        if !state.closing && !Self::start_closing(Arc::downgrade(self)) {
            return;
        }
        state.closing = true;
        let former = state.kept.insert(peer, Kept { socket, buffers, due: Instant::now() + MAX_IDLE });
        drop(state);
        drop(former);
    }

    /// Closes them all.
    pub(super) fn close(&self) {
        let kept = std::mem::take(&mut self.state().kept);
        drop(kept);
    }

    /// The number of kept connections.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state().kept.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here leaves the state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_closing(idle: Weak<Self>) -> bool {
        let close_what_is_due = move || {
            while let Some(wait) = idle.upgrade().and_then(|idle| idle.close_due()) {
                thread::sleep(wait);
            }
        };
        thread::Builder::new().name("idle-connections".into()).stack_size(64 << 10).spawn(close_what_is_due).is_ok()
    }

    /// Closes what waited long enough, and tells how long the rest has; `None` ends the thread.
    fn close_due(&self) -> Option<Duration> {
        let mut state = self.state();
        let now = Instant::now();
        state.kept.retain(|_, kept| kept.due > now);
        let next = state.kept.values().map(|kept| kept.due - now).min();
        state.closing = next.is_some();
        next
    }
}

/// Whether nothing came on a connection on which nothing was asked: neither its end, nor an answer to no question (a
/// server that gives up waiting may say so, and that must not be taken for an answer to the next request).
fn is_silent(socket: &TcpStream) -> bool {
    let mut byte = [0; 1];
    matches!(recv(socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT), Err(Errno::AGAIN))
}
