//! Lines to syslog in the form of Python's `SysLogHandler` (B12.1, B12.2): `<PRI>`, the text, a NUL byte; no time, host or
//! process id.
//!
//! They go to a UDP host if one is set, else to the unix socket `log_address` (of either type) if there is one at start,
//! else to UDP port 514 of this host. A syslog daemon that restarts leaves us with a dead socket, so a failed send
//! connects anew and is repeated once. The crates for syslog write the header of RFC 3164 or 5424 and have no limit to
//! their waiting.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with, sockopt,
};

use super::outlet::{Outlet, Sink, WAIT};
use super::severity::Severity;
use super::udp::{Preference, UdpTarget};
use crate::config::settings::LogSettings;
use crate::locks::lock;

/// The port for syslog by UDP.
const PORT: u16 = 514;
/// A datagram too large for its socket is cut to the first of these sizes that it exceeds and that fits.
const TRUNCATED_SIZES: [usize; 3] = [60_000, 8_000, 1_000];

/// The way to syslog.
pub(crate) struct Syslog(Mutex<Outlet<Sender>>);

impl Syslog {
    /// The way that the settings describe; that nobody listens there yet is no error.
    pub(crate) fn new(settings: &LogSettings) -> Self {
        let sender = Sender { facility: facility(&settings.facility), transport: Transport::new(settings) };
        Self(Mutex::new(Outlet::new(&settings.name, sender)))
    }

    /// Sends a line, or counts it as lost.
    pub(crate) fn send(&self, severity: Severity, line: &str) {
        lock(&self.0).send(severity, line);
    }
}

/// The number of `LOG_LOCAL3` and the like; an unknown name means `LOG_LOCAL0`. Python's handler has its severities under
/// names of the same kind, so these are taken for facilities by mistake, there as here.
fn facility(name: &str) -> u8 {
    const NAMES: [&str; 24] = [
        "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP", "NTP",
        "SECURITY", "CONSOLE", "SOLCRON", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6",
        "LOCAL7",
    ];
    const SEVERITIES: [&str; 8] = ["EMERG", "ALERT", "CRIT", "ERR", "WARNING", "NOTICE", "INFO", "DEBUG"];
    let number = |name| [&NAMES[..], &SEVERITIES].iter().find_map(|names| names.iter().position(|n| *n == name));
    name.strip_prefix("LOG_").and_then(number).unwrap_or(16) as u8
}

/// What is wrong with `log_address`, if it is needed: then lines go to another place than it says.
pub(crate) fn complaint(settings: &LogSettings) -> Option<String> {
    let is_needed = settings.udp_host.as_deref().unwrap_or_default().is_empty();
    let address = &settings.address;
    (is_needed && !is_socket(address)).then(|| {
        format!("log_address = {address:?}: there is no such socket; the log goes to UDP port {PORT} of localhost")
    })
}

fn is_socket(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

struct Sender {
    facility: u8,
    transport: Transport,
}

enum Transport {
    Unix { path: PathBuf, socket: Option<UnixSocket> },
    Udp(UdpTarget),
}

impl Sink for Sender {
    fn deliver(&mut self, severity: Severity, line: &str, may_wait: bool) -> io::Result<()> {
        let priority = u32::from(self.facility) * 8 + severity as u32;
        self.transport.send(format!("<{priority}>{line}\0").as_bytes(), may_wait)
    }
}

impl Transport {
    fn new(settings: &LogSettings) -> Self {
        if let Some(host) = settings.udp_host.as_deref().filter(|host| !host.is_empty()) {
            return Self::Udp(UdpTarget::new(host, settings.udp_port, Preference::First));
        }
        if is_socket(&settings.address) {
            let path = PathBuf::from(&settings.address);
            let socket = UnixSocket::connect(&path).ok();
            return Self::Unix { path, socket };
        }
        Self::Udp(UdpTarget::new("localhost", PORT, Preference::First))
    }

    /// Sends what ends with a NUL byte, as much of it as goes into a datagram.
    fn send(&mut self, text: &[u8], may_wait: bool) -> io::Result<()> {
        let mut outcome = self.send_whole(text, may_wait);
        for size in TRUNCATED_SIZES.into_iter().filter(|size| text.len() > *size) {
            if !outcome.as_ref().is_err_and(is_too_large) {
                break;
            }
            outcome = self.send_whole(&truncated(text, size), may_wait);
        }
        outcome
    }

    fn send_whole(&mut self, text: &[u8], may_wait: bool) -> io::Result<()> {
        let (path, socket) = match self {
            Self::Udp(target) => return target.send(text),
            Self::Unix { path, socket } => (path, socket),
        };
        if let Some(connected) = socket {
            match connected.send(text, may_wait) {
                Err(error) if needs_new_socket(&error) => {}
                outcome => return outcome,
            }
        }
        // The old socket is closed first, whether there will be a new one or not.
        *socket = None;
        socket.insert(UnixSocket::connect(path)?).send(text, may_wait)
    }
}

fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// The beginning of the text in whole characters, with the NUL byte at its end.
fn truncated(text: &[u8], size: usize) -> Vec<u8> {
    let is_inside_character = |at: &usize| text[*at] & 0b1100_0000 == 0b1000_0000;
    let end = (0..size).rev().find(|at| !is_inside_character(at)).unwrap_or(0);
    let mut shorter = text[..end].to_vec();
    shorter.push(0);
    shorter
}

/// Whether after this error only a new socket can help.
fn needs_new_socket(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::WouldBlock && !is_too_large(error)
}

/// A connected unix socket, of datagrams or else of a stream.
struct UnixSocket(OwnedFd);

impl UnixSocket {
    /// Connects as a datagram socket, or else as a stream.
    fn connect(path: &Path) -> io::Result<Self> {
        Self::connect_as(SocketType::DGRAM, path).or_else(|_| Self::connect_as(SocketType::STREAM, path))
    }

    fn connect_as(kind: SocketType, path: &Path) -> io::Result<Self> {
        // Not blocking, since connecting to a stream whose backlog is full would wait.
        let fd = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        connect(&fd, &SocketAddrUnix::new(path)?)?;
        rustix::io::ioctl_fionbio(&fd, false)?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(WAIT))?;
        Ok(Self(fd))
    }

    fn send(&self, text: &[u8], may_wait: bool) -> io::Result<()> {
        let flags = if may_wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
        let mut rest = text;
        while !rest.is_empty() {
            match send(&self.0, rest, flags) {
                Ok(sent) => rest = &rest[sent..],
                Err(rustix::io::Errno::INTR) => {}
                // What follows half a line would be taken for its other half.
                Err(_) if rest.len() < text.len() => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::UdpSocket;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    fn settings(address: &Path) -> LogSettings {
        LogSettings {
            name: "name".to_owned(),
            level: "INFO".to_owned(),
            facility: "LOG_LOCAL0".to_owned(),
            address: address.to_str().unwrap().to_owned(),
            udp_host: None,
            udp_port: PORT,
            max_line_length: 0,
        }
    }

    fn received(socket: &UnixDatagram) -> String {
        // Should a line not come, the test fails instead of waiting.
        socket.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; 300_000];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn facilities_have_the_numbers_of_syslog() {
        for (name, number) in [
            ("LOG_EMERG", 0),
            ("LOG_ERR", 3),
            ("LOG_DEBUG", 7),
            ("LOG_KERN", 0),
            ("LOG_LPR", 6),
            ("LOG_AUTHPRIV", 10),
            ("LOG_LOCAL0", 16),
            ("LOG_LOCAL7", 23),
        ] {
            assert_eq!(facility(name), number);
        }
        for unknown in ["", "LOCAL3", "LOG_", "log_local3", "LOG_LOCAL8"] {
            assert_eq!(facility(unknown), 16, "{unknown:?}");
        }
    }

    #[test]
    fn a_syslog_daemon_that_comes_back_gets_the_lines_again_and_learns_of_the_lost_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let syslog = Syslog::new(&settings(&path));
        syslog.send(Severity::Info, "one");
        assert_eq!(received(&daemon), "<134>one\0");

        drop(daemon);
        syslog.send(Severity::Info, "two");
        fs::remove_file(&path).unwrap();
        syslog.send(Severity::Info, "three");

        let daemon = UnixDatagram::bind(&path).unwrap();
        syslog.send(Severity::Error, "four");
        assert_eq!(received(&daemon), "<132>name: 2 log lines before this one were lost\0");
        assert_eq!(received(&daemon), "<131>four\0");
    }

    #[test]
    fn a_restart_between_two_lines_loses_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let syslog = Syslog::new(&settings(&path));
        syslog.send(Severity::Info, "one");
        drop(daemon);
        fs::remove_file(&path).unwrap();
        let daemon = UnixDatagram::bind(&path).unwrap();
        syslog.send(Severity::Info, "two");
        assert_eq!(received(&daemon), "<134>two\0");
    }

    #[test]
    fn a_hanging_syslog_daemon_costs_lines_and_no_standstill() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let syslog = Syslog::new(&settings(&path));
        let lines = 5_000; // more than any queue of datagrams holds
        for number in 0..lines {
            syslog.send(Severity::Info, &number.to_string());
        }
        let mut taken = 0;
        daemon.set_nonblocking(true).unwrap();
        while daemon.recv(&mut [0; 100]).is_ok() {
            taken += 1;
        }
        assert!(taken > 0 && taken < lines, "{taken}");
        syslog.send(Severity::Info, "again");
        assert_eq!(received(&daemon), format!("<132>name: {} log lines before this one were lost\0", lines - taken));
        assert_eq!(received(&daemon), "<134>again\0");
    }

    #[test]
    fn what_is_too_large_for_a_datagram_is_cut_between_characters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        Syslog::new(&settings(&path)).send(Severity::Info, &"é".repeat(500_000));
        let text = received(&daemon);
        assert_eq!(text.len(), 60_000);
        assert!(text.starts_with("<134>éé") && text.ends_with("éé\0"), "{}", &text[..20]);

        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = receiver.local_addr().unwrap().port();
        let udp = LogSettings { udp_host: Some("127.0.0.1".to_owned()), udp_port: port, ..settings(&path) };
        Syslog::new(&udp).send(Severity::Debug, &"x".repeat(70_000));
        receiver.set_nonblocking(true).unwrap();
        assert_eq!(receiver.recv(&mut [0; 100_000]).unwrap(), 60_000);
    }

    #[test]
    fn a_stream_is_used_where_datagrams_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let listener = UnixListener::bind(&path).unwrap();
        let syslog = Syslog::new(&settings(&path));
        syslog.send(Severity::Notice, "one");
        syslog.send(Severity::Critical, "two");
        drop(syslog);
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        assert_eq!(text, "<133>one\0<130>two\0");
    }

    #[test]
    fn what_is_no_socket_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("missing")] {
            assert!(matches!(Transport::new(&settings(&path)), Transport::Udp(_)));
            assert!(complaint(&settings(&path)).unwrap().contains(path.to_str().unwrap()));
        }
        let udp = LogSettings { udp_host: Some("127.0.0.1".to_owned()), ..settings(&dir.path().join("missing")) };
        assert_eq!(complaint(&udp), None);
        let socket = dir.path().join("log");
        let _daemon = UnixDatagram::bind(&socket).unwrap();
        assert_eq!(complaint(&settings(&socket)), None);
    }
}
