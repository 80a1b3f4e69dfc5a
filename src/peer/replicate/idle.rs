//! Connections that wait for the next request: one per peer for two seconds, more of them for a moment only.
//!
//! Swift's object servers have 1,024 places for clients, and an idle one takes a place. So a connection beyond the first
//! is kept just as long as requests to this peer follow each other: several threads that ask the same peer need not
//! connect for each request, and a peer that is asked now and then sees one connection. A thread closes what is due
//! while there is anything to close; it ends when nothing is left, and comes back with the next connection.

use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use ureq::http::uri::Authority;
use ureq::unversioned::transport::LazyBuffers;

use crate::locks::lock;

/// How long a connection may wait.
pub(super) const MAX_IDLE: Duration = Duration::from_secs(2);
/// How long one may wait that is not the peer's only one.
const MAX_SPARE: Duration = Duration::from_millis(100);

/// The idle connections of a client, by the peer's address.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// By peer, the longest waiting first.
    kept: HashMap<Authority, Vec<Kept>>,
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
    /// A connection to the peer, if there is one that is still good.
    pub(super) fn take(&self, peer: &Authority) -> Option<(TcpStream, LazyBuffers)> {
        let Kept { socket, buffers, due } = self.state().kept.get_mut(peer)?.pop()?;
        (Instant::now() < due && is_silent(&socket)).then_some((socket, buffers))
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(super) fn put(self: &Arc<Self>, peer: Authority, socket: TcpStream, buffers: LazyBuffers) {
        let mut state = self.state();
        if !state.closing && !Self::start_closing(Arc::downgrade(self)) {
            return;
        }
        state.closing = true;
        let kept = state.kept.entry(peer).or_default();
        let due = Instant::now() + if kept.is_empty() { MAX_IDLE } else { MAX_SPARE };
        kept.push(Kept { socket, buffers, due });
    }

    /// Closes them all.
    pub(super) fn close(&self) {
        let kept = std::mem::take(&mut self.state().kept);
        drop(kept);
    }

    /// The number of kept connections.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state().kept.values().map(Vec::len).sum()
    }

    fn state(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here leaves the state half changed.
        lock(&self.0)
    }

    fn start_closing(idle: Weak<Self>) -> bool {
        let close_what_is_due = move || {
            while let Some(wait) = idle.upgrade().and_then(|idle| idle.close_due()) {
                // A spare one may come meanwhile.
                thread::sleep(wait.min(MAX_SPARE));
            }
        };
        thread::Builder::new().name("idle-connections".into()).stack_size(64 << 10).spawn(close_what_is_due).is_ok()
    }

    /// Closes what waited long enough, and tells how long the rest has; `None` ends the thread.
    fn close_due(&self) -> Option<Duration> {
        let mut state = self.state();
        let now = Instant::now();
        state.kept.retain(|_, kept| {
            kept.retain(|kept| kept.due > now);
            !kept.is_empty()
        });
        let next = state.kept.values().flatten().map(|kept| kept.due - now).min();
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn connections(count: usize) -> (Authority, Vec<TcpStream>, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sockets = (0..count).map(|_| TcpStream::connect(address).unwrap()).collect();
        (address.to_string().parse().unwrap(), sockets, listener)
    }

    #[test]
    fn a_peers_first_connection_waits_and_others_for_a_moment_only() {
        let (peer, sockets, _listener) = connections(3);
        let idle = Arc::new(Idle::default());
        let before = Instant::now();
        for socket in sockets {
            idle.put(peer.clone(), socket, LazyBuffers::new(1, 1));
        }
        let after = Instant::now();
        let due: Vec<_> = idle.state().kept.values().flatten().map(|kept| kept.due).collect();
        assert!(due[0] >= before + MAX_IDLE);
        assert!(due[1..].iter().all(|due| *due <= after + MAX_SPARE), "{due:?} at {after:?}");
    }

    #[test]
    fn what_is_due_is_closed_and_the_last_one_ends_the_thread() {
        let (peer, sockets, _listener) = connections(2);
        let idle = Idle::default();
        let dues = [Duration::from_secs(3600), Duration::ZERO].map(|wait| Instant::now() + wait);
        let kept = sockets.into_iter().zip(dues);
        let kept = kept.map(|(socket, due)| Kept { socket, buffers: LazyBuffers::new(1, 1), due }).collect();
        idle.state().kept.insert(peer.clone(), kept);
        assert!(idle.close_due().is_some());
        assert_eq!(idle.len(), 1);
        assert!(idle.take(&peer).is_some(), "the first one is still good");
        assert_eq!(idle.close_due(), None);
    }
}
