//! Finds the address of another node and connects to it, within a time limit.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::resolver::{self, ResolveError};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The host's name has no address.
    #[error("no address found")]
    UnknownHost,
    /// The time was over before there was an address or a connection.
    #[error("no connection in time")]
    TooLate,
    /// The host refused, or the system could not do it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<ResolveError> for ConnectError {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Unknown => Self::UnknownHost,
            ResolveError::TooLate => Self::TooLate,
            ResolveError::Io(error) => Self::Io(error),
        }
    }
}

/// Connects to the first of the host's addresses that accepts a connection, with an equal share of the time for each.
/// The connection sends at once what it is given (`TCP_NODELAY`).
///
/// # Errors
/// [`ConnectError::UnknownHost`] if the host has no address, [`ConnectError::TooLate`] if there was no connection
/// before the deadline, else [`ConnectError::Io`] with the error of the last address.
pub(crate) fn connect(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, ConnectError> {
    let addresses = resolver::addresses(host, deadline)?;
    let mut error = ConnectError::UnknownHost;
    for (tried, ip) in addresses.iter().enumerate() {
        let share = left_until(deadline)? / (addresses.len() - tried) as u32;
        match TcpStream::connect_timeout(&SocketAddr::new(*ip, port), share) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            // The kernel's own limit has an errno; ours has none.
            Err(e) if e.kind() == io::ErrorKind::TimedOut && e.raw_os_error().is_none() => {
                error = ConnectError::TooLate;
            }
            Err(e) => error = e.into(),
        }
    }
    Err(error)
}

fn left_until(deadline: Instant) -> Result<Duration, ConnectError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ConnectError::TooLate) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn within(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn addresses_and_names_are_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            let socket = connect(host, port, within(20)).unwrap();
            assert!(socket.nodelay().unwrap(), "{host}");
        }
        assert!(matches!(connect("no-such-host.invalid", port, within(20)), Err(ConnectError::UnknownHost)));
        assert!(matches!(connect("127.0.0.1", port, Instant::now()), Err(ConnectError::TooLate)));
        drop(listener);
        let refused = connect("127.0.0.1", port, within(20)).unwrap_err();
        assert!(matches!(&refused, ConnectError::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused), "{refused:?}");
    }
}
