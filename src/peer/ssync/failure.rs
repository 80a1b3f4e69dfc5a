//! Why a conversation ended early, in the words of the reference's log (B9.18, B9.19).

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

use super::verdict::Verdict;
use crate::cause::Cause;
use crate::device::mount::DriveError;
use crate::device::survey::SurveyError;
use crate::python::{self, error_text};

/// How long the steps of a conversation may take.
#[derive(Clone, Copy, Debug)]
pub struct TalkLimits {
    /// To connect and send the request's head (`conn_timeout`).
    pub conn: Duration,
    /// To receive the answer's head, and to send any one message (`node_timeout`).
    pub node: Duration,
    /// To receive a line (`http_timeout`).
    pub http: Duration,
}

/// A step that has a time limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TalkStep {
    ConnectSend,
    ConnectReceive,
    MissingCheckStart,
    /// An offer, after so many that were sent.
    MissingCheckLine {
        lines: u64,
        bytes: u64,
    },
    MissingCheckEnd,
    MissingCheckStartWait,
    MissingCheckLineWait,
    UpdatesStart,
    Put,
    PutChunk,
    Post,
    Delete,
    UpdatesEnd,
    UpdatesStartWait,
    UpdatesLineWait,
}

impl TalkStep {
    /// How long the step may take.
    pub fn limit(self, limits: &TalkLimits) -> Duration {
        match self {
            Self::ConnectSend => limits.conn,
            _ if self.waits_for_a_line() => limits.http,
            _ => limits.node,
        }
    }

    fn waits_for_a_line(self) -> bool {
        matches!(
            self,
            Self::MissingCheckStartWait | Self::MissingCheckLineWait | Self::UpdatesStartWait | Self::UpdatesLineWait
        )
    }

    /// What went wrong if the step took too long.
    pub fn timeout(self, limits: &TalkLimits) -> TalkError {
        let limit = self.limit(limits);
        // `http_timeout` is a whole number to the reference, the others are not.
        let seconds =
            if self.waits_for_a_line() { limit.as_secs().to_string() } else { python::repr_float(limit.as_secs_f64()) };
        let unit = if limit == Duration::from_secs(1) { "second" } else { "seconds" };
        TalkError::Timeout { limit: format!("{seconds} {unit}"), step: self }
    }
}

impl fmt::Display for TalkStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectSend => "connect send",
            Self::ConnectReceive => "connect receive",
            Self::MissingCheckStart => "missing_check start",
            Self::MissingCheckLine { lines, bytes } => {
                return write!(f, "missing_check send line: {lines} lines ({bytes} bytes) sent");
            }
            Self::MissingCheckEnd => "missing_check end",
            Self::MissingCheckStartWait => "missing_check start wait",
            Self::MissingCheckLineWait => "missing_check line wait",
            Self::UpdatesStart => "updates start",
            Self::Put => "send_put",
            Self::PutChunk => "send_put chunk",
            Self::Post => "send_post",
            Self::Delete => "send_delete",
            Self::UpdatesEnd => "updates end",
            Self::UpdatesStartWait => "updates start wait",
            Self::UpdatesLineWait => "updates line wait",
        })
    }
}

/// Why a conversation failed. The texts are those that the reference logs after the node and the partition.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    /// A step took too long.
    #[error("{limit}: {step}")]
    Timeout {
        /// The limit, as text.
        limit: String,
        /// The step.
        step: TalkStep,
    },
    /// Each step was in time, but all of them together were not.
    #[error("Too slow in all: {0}")]
    TooSlow(TalkStep),
    /// The receiver does not want to talk.
    #[error("Expected status 200; got {status} ({body})")]
    Status {
        /// The status.
        status: u16,
        /// What it says, as Python shows bytes.
        body: String,
    },
    /// The receiver closed the connection, or what it sends is no body in chunks.
    #[error("Early disconnect")]
    EarlyDisconnect,
    /// The receiver said something else than was asked for. The text is quoted as Python does.
    #[error("Unexpected response: {shown}")]
    Unexpected {
        /// What it said, as Python shows it.
        shown: String,
        /// What that means, if it is known.
        verdict: Option<Verdict>,
    },
    /// The receiver wants more objects than it was offered.
    #[error("Unexpected response: more is wanted than the {0} objects that were offered")]
    TooMuchWanted(usize),
    /// The node is skipped for a while, since it did not answer before.
    #[error("skipped for a while, since it did not answer before")]
    LeftAlone,
    /// A file became shorter while it was sent.
    #[error("Sent data length does not match content-length")]
    ShortData,
    /// The receiver closed the connection without any answer.
    #[error("EXCEPTION in ssync.Sender: RemoteDisconnected('Remote end closed connection without response')")]
    NoAnswer,
    /// What came is not HTTP.
    #[error("EXCEPTION in ssync.Sender: the answer is not HTTP: {0}")]
    NotHttp(httparse::Error),
    /// No connection came about.
    #[error("EXCEPTION in ssync.Sender: {}", error_text(.0))]
    Connect(#[source] io::Error),
    /// The connection failed later.
    #[error("EXCEPTION in ssync.Sender: {}", error_text(.0))]
    Io(#[from] io::Error),
    /// An object could not be read to its end, after a part of it was sent; or none can be read.
    #[error("EXCEPTION in ssync.Sender: {}", error_text(.0))]
    Unread(#[source] io::Error),
    /// The node's name is not known.
    #[error("EXCEPTION in ssync.Sender: no address found for {0:?}")]
    UnknownHost(String),
    /// The ring's device makes no request.
    #[error("EXCEPTION in ssync.Sender: no request can be made for device {0:?}")]
    Device(String),
    /// The device went while it was sent from.
    #[error("EXCEPTION in ssync.Sender: {0}")]
    Drive(#[source] DriveError),
    /// The partition cannot be read.
    #[error("EXCEPTION in ssync.Sender: {0}")]
    Partition(#[from] SurveyError),
}

/// How far a conversation came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// The receiver was not asked, for a reason of ours.
    NotTried,
    /// No connection came about.
    None,
    /// It took the connection, and then said nothing in time.
    Unanswered,
    /// It answered, whatever it said.
    Reached,
}

/// Whether a connection was not even tried, for a want of descriptors, ports or memory here.
fn is_ours(error: &io::Error) -> bool {
    const OURS: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::ADDRNOTAVAIL];
    Errno::from_io_error(error).is_some_and(|errno| OURS.contains(&errno))
}

impl TalkError {
    /// The receiver said this line where another one was expected.
    pub fn unexpected(line: &[u8]) -> Self {
        let (shown, rest) = line.split_at(line.len().min(MAX_SHOWN));
        let mut shown = shown.to_vec();
        if !rest.is_empty() {
            shown.extend_from_slice(b"...");
        }
        let shown = match std::str::from_utf8(&shown) {
            Ok(text) if line.is_ascii() => python::repr_str(text),
            _ => repr_bytes(&shown),
        };
        Self::Unexpected { shown, verdict: Verdict::parse(line) }
    }

    /// What the receiver said of itself when it gave up.
    pub fn verdict(&self) -> Option<Verdict> {
        match self {
            // Also to a request that asks for too much at a time.
            Self::Status { status: 503 | 529, .. } => Some(Verdict::Busy),
            Self::Unexpected { verdict, .. } => *verdict,
            _ => None,
        }
    }

    /// Whether one object that could not be read is to blame, and nobody else.
    pub fn is_one_objects(&self) -> bool {
        matches!(self, Self::ShortData | Self::Unread(_))
    }

    /// What the failure says of the receiver.
    pub fn contact(&self) -> Contact {
        match self {
            Self::LeftAlone | Self::Device(_) | Self::Partition(_) => Contact::NotTried,
            Self::Connect(error) if is_ours(error) => Contact::NotTried,
            Self::Timeout { step: TalkStep::ConnectSend, .. } | Self::UnknownHost(_) | Self::Connect(_) => {
                Contact::None
            }
            Self::Timeout { .. } | Self::TooSlow(_) => Contact::Unanswered,
            _ => Contact::Reached,
        }
    }

    /// What a report calls it.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Connect(error) if is_ours(error) => Cause::Local,
            Self::Timeout { step: TalkStep::ConnectSend, .. } => Cause::Unreachable,
            Self::UnknownHost(_) | Self::Connect(_) | Self::LeftAlone => Cause::Unreachable,
            _ if self.verdict() == Some(Verdict::Busy) => Cause::Busy,
            Self::Timeout { .. } | Self::TooSlow(_) => Cause::Timeout,
            Self::Status { status: 507, .. } => Cause::Unmounted,
            Self::Unexpected { verdict: Some(_), .. } => Cause::Push,
            Self::Status { .. } | Self::Unexpected { .. } | Self::TooMuchWanted(_) | Self::NotHttp(_) => {
                Cause::BadAnswer
            }
            Self::Drive(_) | Self::Partition(_) | Self::ShortData | Self::Unread(_) => Cause::Local,
            Self::EarlyDisconnect | Self::NoAnswer | Self::Io(_) | Self::Device(_) => Cause::Push,
        }
    }

    /// The receiver answered with this status, and this body, or the beginning of it.
    pub fn status(status: u16, body: &[u8]) -> Self {
        let body =
            if body.len() > MAX_SHOWN { repr_bytes(&[&body[..MAX_SHOWN], b"..."].concat()) } else { repr_bytes(body) };
        Self::Status { status, body }
    }
}

/// Not more than this is shown of what the receiver said.
pub(super) const MAX_SHOWN: usize = 1024;

/// Bytes as Python's `repr` gives them.
fn repr_bytes(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    let mut repr = format!("b{quote}");
    for &byte in bytes {
        match byte {
            b'\n' => repr.push_str("\\n"),
            b'\r' => repr.push_str("\\r"),
            b'\t' => repr.push_str("\\t"),
            b'\\' => repr.push_str("\\\\"),
            b' '..=b'~' if char::from(byte) == quote => repr.extend(['\\', quote]),
            b' '..=b'~' => repr.push(char::from(byte)),
            byte => repr.push_str(&format!("\\x{byte:02x}")),
        }
    }
    repr.push(quote);
    repr
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(node: f64, http: u64) -> TalkLimits {
        TalkLimits {
            conn: Duration::from_secs_f64(0.5),
            node: Duration::from_secs_f64(node),
            http: Duration::from_secs(http),
        }
    }

    #[test]
    fn timeouts_have_the_words_of_the_reference() {
        let limits_of_one = limits(1.0, 1);
        assert_eq!(TalkStep::ConnectSend.timeout(&limits_of_one).to_string(), "0.5 seconds: connect send");
        assert_eq!(TalkStep::ConnectReceive.timeout(&limits_of_one).to_string(), "1.0 second: connect receive");
        assert_eq!(TalkStep::UpdatesLineWait.timeout(&limits_of_one).to_string(), "1 second: updates line wait");
        let line = TalkStep::MissingCheckLine { lines: 3, bytes: 160 };
        let expected = "10.0 seconds: missing_check send line: 3 lines (160 bytes) sent";
        assert_eq!(line.timeout(&limits(10.0, 60)).to_string(), expected);
        let wait = TalkStep::MissingCheckStartWait.timeout(&limits(10.0, 60)).to_string();
        assert_eq!(wait, "60 seconds: missing_check start wait");
    }

    #[test]
    fn reports_tell_who_is_to_blame() {
        let timeout = |step: TalkStep| step.timeout(&limits(10.0, 60)).cause();
        assert_eq!(timeout(TalkStep::ConnectSend), Cause::Unreachable);
        assert_eq!(timeout(TalkStep::UpdatesLineWait), Cause::Timeout);
        assert_eq!(TalkError::Connect(Errno::CONNREFUSED.into()).cause(), Cause::Unreachable);
        assert_eq!(TalkError::Connect(Errno::HOSTUNREACH.into()).cause(), Cause::Unreachable);
        assert_eq!(TalkError::Connect(Errno::MFILE.into()).cause(), Cause::Local);
        assert_eq!(TalkError::Unread(Errno::UCLEAN.into()).cause(), Cause::Local);
        assert_eq!(TalkError::status(503, b"").cause(), Cause::Busy);
        assert_eq!(TalkError::unexpected(b":ERROR: 503 b'busy'").cause(), Cause::Busy);
        let refused = b":ERROR: 500 b'ERROR: With :UPDATES: 1 failures to 1 successes'";
        assert_eq!(TalkError::unexpected(refused).cause(), Cause::Push);
        assert_eq!(TalkError::Io(io::ErrorKind::BrokenPipe.into()).cause(), Cause::Push);
        assert_eq!(TalkError::status(507, b"").cause(), Cause::Unmounted);
        assert_eq!(TalkError::status(500, b"").cause(), Cause::BadAnswer);
        assert_eq!(TalkError::unexpected(b"what?").cause(), Cause::BadAnswer);
    }

    #[test]
    fn what_the_receiver_said_is_shown_as_python_shows_it() {
        let unexpected = |line: &[u8]| TalkError::unexpected(line).to_string();
        assert_eq!(
            unexpected(b":ERROR: 500 b'ERROR: With :UPDATES: 1 failures to 1 successes'"),
            "Unexpected response: \":ERROR: 500 b'ERROR: With :UPDATES: 1 failures to 1 successes'\""
        );
        assert_eq!(unexpected(b"caf\xc3\xa9\t'\\\x00"), "Unexpected response: b\"caf\\xc3\\xa9\\t'\\\\\\x00\"");
        assert_eq!(unexpected(b"'\""), "Unexpected response: '\\'\"'");
        assert_eq!(unexpected(&[b'a'; 2000]).len(), "Unexpected response: '...'".len() + 1024);
        assert_eq!(TalkError::status(507, b"<html>\r\n").to_string(), "Expected status 200; got 507 (b'<html>\\r\\n')");
        assert_eq!(TalkError::status(500, b"").to_string(), "Expected status 200; got 500 (b'')");
        assert_eq!(TalkError::status(500, b"'\"'").to_string(), "Expected status 200; got 500 (b'\\'\"\\'')");
        let long = TalkError::status(500, &[b'a'; 1025]).to_string();
        assert!(long.ends_with("aaa...')") && long.len() == "Expected status 200; got 500 (b'...')".len() + 1024);
    }
}
