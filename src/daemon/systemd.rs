//! Telling a service manager how things stand (B1.20): a datagram to the socket that it named, and always one to the
//! socket where `swift-reload` may wait for this process.
//!
//! A service manager that wants to be told regularly that all is well (`WatchdogSec=`) is told so as long as the
//! threads that run passes and watch jobs give their signs of life in time ([`Heartbeats`]). A job that hangs does not
//! stop that: the pass notices it, and leaves out only its partition or device.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::thread;
use std::time::Duration;

use log::{debug, error, info};
use rustix::time::{ClockId, clock_gettime};

use super::threads;
use crate::heartbeats::Heartbeats;

/// Sends a message like `READY=1`. Nobody has to listen.
pub(super) fn notify(message: &str) {
    let swift_reload = format!("swift-notifications\0{}", process::id());
    let told = SocketAddr::from_abstract_name(swift_reload).and_then(|socket| send(&socket, message));
    match told {
        Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => failed(&error),
        _ => {}
    }
    notify_manager(message);
}

fn notify_manager(message: &str) {
    if let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())
        && let Err(error) = address(&name).and_then(|socket| send(&socket, message))
    {
        failed(&error);
    }
}

/// The message that begins a reload; `READY=1` ends it.
pub(super) fn reloading() -> String {
    let now = clock_gettime(ClockId::Monotonic);
    format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1_000)
}

/// How long the service manager waits for `WATCHDOG=1` before it takes the process for dead; `None` if it does not wait.
pub(super) fn watchdog_limit() -> Option<Duration> {
    let variable = |name| std::env::var(name).ok();
    limit_for(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), process::id())
}

fn limit_for(microseconds: Option<String>, for_process: Option<String>, process: u32) -> Option<Duration> {
    let is_for_us = for_process.is_none_or(|id| id.parse() == Ok(process));
    let microseconds = microseconds?.parse().ok().filter(|microseconds| *microseconds > 0 && is_for_us)?;
    Some(Duration::from_micros(microseconds))
}

/// Starts to tell the service manager that all is well, as long as it is.
pub(super) fn feed_watchdog(limit: Duration, heartbeats: Heartbeats) -> io::Result<()> {
    let feed = move || {
        let mut missed = None;
        loop {
            let overdue = heartbeats.overdue();
            match &overdue {
                None => notify_manager("WATCHDOG=1"),
                Some(thread) if overdue != missed => {
                    error!("Nothing is heard of {thread}, so the service manager is no longer told that all is well");
                }
                Some(_) => {}
            }
            if missed.is_some() && overdue.is_none() {
                info!("The service manager is told again that all is well");
            }
            missed = overdue;
            thread::sleep(limit / 4);
        }
    };
    threads::start("systemd", feed)
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
    fn the_watchdog_is_fed_if_the_manager_waits_for_this_process() {
        let limit = |microseconds: Option<&str>, process: Option<&str>| {
            limit_for(microseconds.map(str::to_owned), process.map(str::to_owned), 7)
        };
        assert_eq!(limit(Some("3000000"), None), Some(Duration::from_secs(3)));
        assert_eq!(limit(Some("3000000"), Some("7")), Some(Duration::from_secs(3)));
        for (microseconds, process) in [
            (None, None),
            (Some("0"), None),
            (Some("many"), None),
            (Some("3000000"), Some("8")),
            (Some("1"), Some("x")),
        ] {
            assert_eq!(limit(microseconds, process), None, "{microseconds:?} {process:?}");
        }
    }

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
