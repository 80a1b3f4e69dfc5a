//! What the kernel knows of a connection.

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;
use std::{io, mem};

/// The round trip as the kernel has measured it so far; right after connecting, that of the handshake.
///
/// # Errors
/// That of getsockopt(2).
pub fn round_trip(socket: &TcpStream) -> io::Result<Duration> {
    // SAFETY: all of its fields are integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).unwrap_or(0);
    // SAFETY: the pointers are to `info` and its length, which outlive the call; a kernel that knows less writes less.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut length)
    };
    if done == 0 { Ok(Duration::from_micros(info.tcpi_rtt.into())) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_round_trip_of_loopback_is_short_and_not_zero() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let round_trip = round_trip(&socket).unwrap();
        assert!(!round_trip.is_zero() && round_trip < Duration::from_secs(10), "{round_trip:?}");
    }
}
