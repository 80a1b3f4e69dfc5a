//! A look at a peer's rsync daemon: does it answer, does it know the module, does it set TCP_NODELAY?
//!
//! The beginning of a push is played up to where the daemon has opened the module and says so: a greeting on both sides,
//! the module's name, the arguments. The daemon then sends one byte of flags and, as a write of its own, four bytes of
//! seed. With Nagle's algorithm the four wait until the one is acknowledged, and this side puts that off on purpose
//! (`TCP_QUICKACK`). So whether both come within less than the 40 ms that an acknowledgement can be put off tells whether
//! the daemon has set `TCP_NODELAY`, however far away it is. Then the connection is closed; nothing was asked for that
//! changes anything. The daemon logs a connection that closed unexpectedly.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_tcp_quickack;
use thiserror::Error;

use super::connect::{self, ConnectError};
use crate::{python, sys};

/// rsync's port.
const PORT: u16 = 873;
/// What this side claims to speak: old enough for every daemon, new enough to be sent flags.
const GREETING: &[u8] = b"@RSYNCD: 31.0\n";
/// The arguments of a dry run that would receive into the path after them, each with a NUL.
const ARGUMENTS: &[u8] = b"--server\0-ntre.iLsfxC\0.\0";
/// Flags and seed.
const SETUP: usize = 5;
/// Linux puts acknowledgements off for 40 ms at least, so what comes sooner was not waiting for one.
const NO_WAIT: Duration = Duration::from_millis(30);
/// A gap that is longer than this, for which Nagle's algorithm is the only likely reason.
const WAIT: Duration = Duration::from_millis(20);
/// The longest line, and the most lines, that a daemon greets with.
const MAX_LINE: usize = 1024;
const MAX_LINES: usize = 1000;

/// Where a module is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleAddress {
    pub host: String,
    pub port: u16,
    pub module: String,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The protocol's version, as the daemon greets with it.
    pub version: String,
    /// How long its greeting took. Before it, the daemon looks up the visitor's name, unless it is told not to.
    pub greeting: Duration,
    /// Whether the daemon sets `TCP_NODELAY`; `None` if the conversation ended before that, or this machine was too
    /// busy to tell.
    pub nodelay: Option<bool>,
}

/// Why a module cannot be pushed to: what comes after its name.
#[derive(Debug, Error)]
pub enum LookError {
    #[error("{}", python::error_text(.0))]
    Io(#[from] io::Error),
    #[error("no answer within {}s", .0.as_secs())]
    TimedOut(Duration),
    #[error("no greeting within {}s: is it stuck in a reverse lookup?", .0.as_secs())]
    NoGreeting(Duration),
    #[error("there is no rsync daemon, but something that says {0:?}")]
    NotRsync(String),
    /// In the daemon's words.
    #[error("the daemon says: {0}")]
    Refused(String),
    #[error("the module wants a password, and the replicator has none")]
    Password,
}

impl ModuleAddress {
    /// The address in a module's name as rsync takes it: `[user@]host::module[/path]`, or `rsync://` before it. `None`
    /// for what is no daemon's module, such as a path.
    pub fn parse(target: &str) -> Option<Self> {
        let (authority, path, port) = match target.strip_prefix("rsync://") {
            Some(rest) => {
                let (authority, path) = rest.split_once('/')?;
                let (authority, port) = split_port(authority)?;
                (authority, path, port)
            }
            None => {
                let (authority, path) = split_double_colon(target)?;
                (authority, path, PORT)
            }
        };
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let module = path.split('/').next().unwrap_or_default();
        let valid = !host.is_empty() && !module.is_empty() && !module.contains(['\n', '\0']);
        valid.then(|| Self { host: host.to_owned(), port, module: module.to_owned() })
    }
}

/// `host::path`, where the host may be an IPv6 address in brackets.
fn split_double_colon(target: &str) -> Option<(&str, &str)> {
    let brackets = target.find(']').map_or(0, |end| end + 1);
    let colons = brackets + target[brackets..].find("::")?;
    let host = &target[..colons];
    (!host.contains('/')).then_some((host, &target[colons + 2..]))
}

/// `host:port` or `host`.
fn split_port(authority: &str) -> Option<(&str, u16)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => Some((host, port.parse().ok()?)),
        _ => Some((authority, PORT)),
    }
}

/// Looks at the module, and at `path` in it, for at most `limit`.
///
/// # Errors
/// [`LookError`] if the daemon cannot be reached or does not answer in time, is not an rsync daemon, refuses the
/// module, or asks for a password.
pub fn look(at: &ModuleAddress, path: &str, limit: Duration) -> Result<Look, LookError> {
    let deadline = Instant::now() + limit;
    let socket = connect(at, limit)?;
    let round_trip = sys::round_trip(&socket)?;
    let mut conversation = Conversation { socket, deadline, limit };
    let begin = Instant::now();
    let version = conversation.greet()?;
    let greeting = begin.elapsed();
    conversation.open(&at.module)?;
    let setup = conversation.set_up(&at.module, path)?;
    Ok(Look { version, greeting, nodelay: setup.and_then(|setup| setup.nodelay(round_trip)) })
}

/// Opens a module so many times at once, for at most `limit`, and leaves it again: whether the daemon lets that many in.
///
/// # Errors
/// How many times it opened, and the [`LookError`] of the next time.
pub fn open_at_once(at: &ModuleAddress, times: usize, limit: Duration) -> Result<(), (usize, LookError)> {
    let deadline = Instant::now() + limit;
    let mut open = Vec::new();
    while open.len() < times {
        let next = connect(at, deadline.saturating_duration_since(Instant::now())).and_then(|socket| {
            let mut conversation = Conversation { socket, deadline, limit };
            conversation.greet()?;
            conversation.open(&at.module)?;
            Ok(conversation)
        });
        match next {
            Ok(conversation) => open.push(conversation),
            Err(error) => return Err((open.len(), error)),
        }
    }
    Ok(())
}

/// When flags and seed were seen.
struct Setup {
    /// From the arguments to the last of them.
    took: Duration,
    /// From the first to the last of them.
    gap: Duration,
}

impl Setup {
    fn nodelay(&self, round_trip: Duration) -> Option<bool> {
        if self.took < round_trip + NO_WAIT {
            Some(true)
        } else if self.gap > WAIT {
            Some(false)
        } else {
            // Something took long, and both were seen only afterwards.
            None
        }
    }
}

fn connect(to: &ModuleAddress, limit: Duration) -> Result<TcpStream, LookError> {
    Ok(connect::connect(&to.host, to.port, Instant::now() + limit).map_err(|error| match error {
        ConnectError::UnknownHost => io::Error::other("the host has no address"),
        ConnectError::TooLate => io::ErrorKind::TimedOut.into(),
        ConnectError::Io(error) => error,
    })?)
}

struct Conversation {
    socket: TcpStream,
    deadline: Instant,
    limit: Duration,
}

impl Conversation {
    /// The version in the daemon's greeting, which is answered.
    fn greet(&mut self) -> Result<String, LookError> {
        let greeting = self.line().map_err(|error| match error {
            LookError::TimedOut(limit) => LookError::NoGreeting(limit),
            error => error,
        })?;
        let Some(version) = greeting.strip_prefix("@RSYNCD: ") else {
            return Err(match greeting.strip_prefix("@ERROR") {
                Some(_) => LookError::Refused(greeting),
                None => LookError::NotRsync(greeting),
            });
        };
        self.socket.write_all(GREETING)?;
        Ok(version.split(' ').next().unwrap_or_default().to_owned())
    }

    /// Asks for the module; what a daemon shows all its visitors is passed over.
    fn open(&mut self, module: &str) -> Result<(), LookError> {
        self.socket.write_all(format!("{module}\n").as_bytes())?;
        for _ in 0..MAX_LINES {
            let line = self.line()?;
            if line == "@RSYNCD: OK" {
                return Ok(());
            }
            if line.starts_with("@RSYNCD: AUTHREQD") {
                return Err(LookError::Password);
            }
            if line.starts_with("@ERROR") || line == "@RSYNCD: EXIT" {
                return Err(LookError::Refused(line));
            }
        }
        Err(LookError::NotRsync("a greeting without end".to_owned()))
    }

    /// Waits for flags and seed; `None` if they did not come.
    fn set_up(&mut self, module: &str, path: &str) -> Result<Option<Setup>, LookError> {
        self.put_off_acknowledgements();
        let begin = Instant::now();
        self.socket.write_all(&[ARGUMENTS, module.as_bytes(), b"/", path.as_bytes(), b"\0\0"].concat())?;
        let mut received = 0;
        let mut first = None;
        while received < SETUP {
            let mut buffer = [0; SETUP];
            match self.read(&mut buffer[received..])? {
                0 => return Ok(None),
                read => received += read,
            }
            first.get_or_insert_with(Instant::now);
            self.put_off_acknowledgements();
        }
        Ok(first.map(|first| Setup { took: begin.elapsed(), gap: first.elapsed() }))
    }

    /// The kernel forgets this by itself, so it is said before every wait. Where it cannot be said, the gap tells nothing
    /// new, for then acknowledgements may come at once.
    fn put_off_acknowledgements(&self) {
        let _ = set_tcp_quickack(&self.socket, false);
    }

    /// A line without its end, read byte by byte: what comes after it must stay where it is.
    fn line(&mut self) -> Result<String, LookError> {
        let mut line = Vec::new();
        while line.len() < MAX_LINE {
            let mut byte = [0];
            if self.read(&mut byte)? == 0 && line.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            match byte {
                [b'\n' | 0] => break,
                [byte] => line.push(byte),
            }
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LookError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(LookError::TimedOut(self.limit));
        }
        self.socket.set_read_timeout(Some(left))?;
        self.socket.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => LookError::TimedOut(self.limit),
            _ => error.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn parsed(target: &str) -> Option<(String, u16, String)> {
        ModuleAddress::parse(target).map(|at| (at.host, at.port, at.module))
    }

    fn address(host: &str, port: u16, module: &str) -> Option<(String, u16, String)> {
        Some((host.to_owned(), port, module.to_owned()))
    }

    #[test]
    fn every_form_of_a_daemons_module_is_understood() {
        assert_eq!(parsed("10.0.0.1::object"), address("10.0.0.1", 873, "object"));
        assert_eq!(parsed("u@node-1::object/a/b"), address("node-1", 873, "object"));
        assert_eq!(parsed("[fe80::1]::object6200"), address("fe80::1", 873, "object6200"));
        assert_eq!(parsed("rsync://10.0.0.1/object_sda"), address("10.0.0.1", 873, "object_sda"));
        assert_eq!(parsed("rsync://u@[::1]:8730/o/x"), address("::1", 8730, "o"));
        for other in
            ["", "object", "/srv/object", "host:path", "./a::b", "::object", "host::", "rsync://host", "rsync:///o"]
        {
            assert_eq!(parsed(other), None, "{other}");
        }
    }

    /// What is seen of a daemon that does this with its visitor.
    fn seen(daemon: impl FnOnce(BufReader<TcpStream>) + Send + 'static) -> Result<Look, LookError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = ModuleAddress {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            module: "object".into(),
        };
        thread::spawn(move || daemon(BufReader::new(listener.accept().unwrap().0)));
        look(&at, "sda/objects", Duration::from_secs(2))
    }

    fn say(visitor: &mut BufReader<TcpStream>, bytes: &[u8]) {
        visitor.get_mut().write_all(bytes).unwrap();
    }

    fn hear(visitor: &mut BufReader<TcpStream>) -> String {
        let mut line = String::new();
        visitor.read_line(&mut line).unwrap();
        line
    }

    #[test]
    fn only_what_cannot_have_waited_is_taken_for_nodelay() {
        let ms = Duration::from_millis;
        let nodelay = |took, gap, round_trip| Setup { took: ms(took), gap: ms(gap) }.nodelay(ms(round_trip));
        assert_eq!(nodelay(5, 0, 0), Some(true));
        assert_eq!(nodelay(120, 0, 110), Some(true));
        assert_eq!(nodelay(45, 40, 0), Some(false));
        assert_eq!(nodelay(270, 150, 110), Some(false));
        assert_eq!(nodelay(60, 0, 0), None);
    }

    #[test]
    fn a_daemon_that_sends_both_at_once_has_nodelay() {
        let look = seen(|mut visitor| {
            say(&mut visitor, b"@RSYNCD: 32.0 sha512 md5\n");
            assert_eq!(hear(&mut visitor), "@RSYNCD: 31.0\n");
            assert_eq!(hear(&mut visitor), "object\n");
            say(&mut visitor, b"Welcome!\n\n@RSYNCD: OK\n");
            let mut arguments = Vec::new();
            while !arguments.ends_with(b"\0\0") {
                arguments.push(0);
                visitor.read_exact(arguments.last_mut().map(std::slice::from_mut).unwrap()).unwrap();
            }
            assert!(arguments.ends_with(b"\0.\0object/sda/objects\0\0"), "{}", arguments.escape_ascii());
            say(&mut visitor, b"\x3fseed");
        });
        let look = look.unwrap();
        assert_eq!((look.version.as_str(), look.nodelay), ("32.0", Some(true)));
    }

    /// What is seen of a daemon that says this and listens to the end.
    fn seen_after(words: &'static [u8]) -> LookError {
        let look = seen(|mut visitor| {
            say(&mut visitor, words);
            while !hear(&mut visitor).is_empty() {}
        });
        look.unwrap_err()
    }

    #[test]
    fn a_refusal_is_told_in_the_daemons_words() {
        let error = seen_after(b"@RSYNCD: 31.0\n@ERROR: Unknown module 'object'\n");
        assert_eq!(error.to_string(), "the daemon says: @ERROR: Unknown module 'object'");
        let error = seen_after(b"@ERROR: max connections (2) reached\n");
        assert_eq!(error.to_string(), "the daemon says: @ERROR: max connections (2) reached");
        let error = seen_after(b"@RSYNCD: 31.0\n@RSYNCD: AUTHREQD xyz\n");
        assert!(matches!(error, LookError::Password));
    }

    #[test]
    fn what_is_no_daemon_is_not_taken_for_one() {
        let error = seen_after(b"SSH-2.0-OpenSSH_9.2\r\n");
        assert_eq!(error.to_string(), "there is no rsync daemon, but something that says \"SSH-2.0-OpenSSH_9.2\"");
        assert!(matches!(seen(drop).unwrap_err(), LookError::Io(_)));
    }

    #[test]
    fn a_daemon_that_hangs_up_after_opening_tells_nothing_of_its_sockets() {
        let look = seen(|mut visitor| {
            say(&mut visitor, b"@RSYNCD: 31.0\n@RSYNCD: OK\n");
            let _ = (hear(&mut visitor), hear(&mut visitor));
            let mut rest = [0; 64];
            let _ = visitor.read(&mut rest);
        });
        assert_eq!(look.unwrap().nodelay, None);
    }

    #[test]
    fn silence_has_an_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let at = ModuleAddress { host: "127.0.0.1".into(), port, module: "object".into() };
        let error = look(&at, "", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, LookError::NoGreeting(_)), "{error}");
    }

    #[test]
    fn a_slow_greeting_is_measured() {
        let look = seen(|mut visitor| {
            thread::sleep(Duration::from_millis(300));
            say(&mut visitor, b"@RSYNCD: 31.0\n@RSYNCD: OK\n");
            let _ = (hear(&mut visitor), hear(&mut visitor));
        });
        assert!(look.unwrap().greeting >= Duration::from_millis(250));
    }
}
