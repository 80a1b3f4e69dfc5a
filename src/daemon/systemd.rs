//! Telling a service manager how things stand (B1.20): a datagram to the socket that it named, and always one to the
//! socket where `swift-reload` may wait for this process.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;

use log::debug;

/// Sends a message like `READY=1`. Nobody has to listen.
pub fn notify(message: &str) {
    let swift_reload = format!("swift-notifications\0{}", process::id());
    let told = SocketAddr::from_abstract_name(swift_reload).and_then(|socket| send(&socket, message));
    match told {
        Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => failed(&error),
        _ => {}
    }
    if let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())
        && let Err(error) = address(&name).and_then(|socket| send(&socket, message))
    {
        failed(&error);
    }
}

fn failed(error: &io::Error) {
    debug!("Systemd notification failed: {error}");
}

/// A path, or behind `@` the name of an abstract socket.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }
}

fn send(to: &SocketAddr, message: &str) -> io::Result<()> {
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), to).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_paths_or_abstract() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let abstract_name = format!("test-of-notify-{}", process::id());
        let listeners = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap(),
                format!("@{abstract_name}").into(),
            ),
        ];
        for (listener, name) in listeners {
            send(&address(&name).unwrap(), "READY=1").unwrap();
            let mut message = [0; 16];
            let length = listener.recv(&mut message).unwrap();
            assert_eq!(&message[..length], b"READY=1");
        }
    }
}
