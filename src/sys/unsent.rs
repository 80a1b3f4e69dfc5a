//! How much a connection takes from us before it can send that on.

use std::ffi::c_int;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Has the kernel take no more than about so many bytes before they can be sent on. What is on its way to the peer is not
/// limited.
///
/// # Errors
/// That of setsockopt(2): kernels before Linux 3.12 do not have this option.
pub fn limit_unsent(socket: &TcpStream, bytes: u32) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    let length = size_of_val(&bytes) as libc::socklen_t;
    // SAFETY: the descriptor is open as long as the socket is borrowed, and the value is a whole int that is only read.
    let answer = unsafe {
        let value = (&raw const bytes).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, value, length)
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    /// What a connection takes whose peer reads nothing.
    fn taken(limit: Option<u32>) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _peer = listener.accept().unwrap();
        if let Some(limit) = limit {
            limit_unsent(&socket, limit).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| socket.write(&[0; 4096]).ok()).sum()
    }

    #[test]
    fn a_limited_connection_takes_less() {
        let (limited, unlimited) = (taken(Some(64 << 10)), taken(None));
        assert!(limited < unlimited / 2, "{limited} and {unlimited}");
    }
}
