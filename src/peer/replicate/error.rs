//! Why a request failed, and whose fault that is.

use std::io;
use std::time::Duration;

use crate::cause::Cause;
use crate::format::pickle::PickleError;
use crate::python;

/// Why a peer gave no hashes. The texts are those that the reference logs, where it has short ones (B11.8).
#[derive(Debug, thiserror::Error)]
pub enum ReplicateError {
    /// The device is not mounted there (status 507).
    #[error("responded as unmounted")]
    Unmounted,
    /// Any other status but 200.
    #[error("Invalid response {0}")]
    Status(u16),
    /// The node could not be reached before: it is skipped for now, and nothing was sent.
    #[error("not asked: it could not be reached")]
    LeftAlone,
    /// The device did not answer before: it is skipped for now, and nothing was sent.
    #[error("not asked: it did not answer")]
    Silent,
    /// The device is too busy (status 503 or 529): it is to be asked again later.
    #[error("Invalid response {status}")]
    Busy {
        /// What it answered.
        status: u16,
        /// How long to wait, as it says itself.
        retry_after: Option<Duration>,
    },
    /// The device was too busy before, and the time to ask again has not come: nothing was sent.
    #[error("not asked: it is too busy")]
    Later,
    /// `conn_timeout` went by.
    #[error("Timeout ({}s)", python::repr_float(.0.as_secs_f64()))]
    NoConnection(Duration),
    /// `http_timeout` went by.
    #[error("Timeout ({}s)", .0.as_secs())]
    NoAnswer(Duration),
    /// The host's name is not known.
    #[error("no address found for {0:?}")]
    UnknownHost(String),
    /// Connecting, sending or receiving failed.
    #[error("{}", python::error_text(.0))]
    Io(#[source] io::Error),
    /// The connection was closed before an answer.
    #[error("RemoteDisconnected('Remote end closed connection without response')")]
    Closed,
    /// The connection was closed within the answer.
    #[error("the connection was closed in the middle of the answer")]
    CutShort,
    /// More than any honest peer has to say.
    #[error("the answer is longer than {0} bytes")]
    TooLong(u64),
    /// What came is not HTTP.
    #[error("the answer is not HTTP: {0}")]
    NotHttp(String),
    /// The body holds no hashes.
    #[error("the hashes in the answer cannot be read: {0}")]
    Pickle(#[source] PickleError),
    /// The ring's address and device make no URL.
    #[error("the request cannot be made: {0}")]
    Request(String),
}

impl ReplicateError {
    /// Whether nothing is to be asked of the device for a while. The log tells when that begins, and when it is over
    /// (`peer/outage.rs`); single requests that fail meanwhile are not logged.
    pub fn is_put_off(&self) -> bool {
        matches!(self, Self::LeftAlone | Self::Silent | Self::Busy { .. } | Self::Later)
    }

    /// Whether the device is too busy, and is to be asked again later.
    pub fn is_later(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Later)
    }

    /// What a report calls it.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Unmounted => Cause::Unmounted,
            Self::NoAnswer(_) | Self::Silent => Cause::Timeout,
            Self::Busy { .. } | Self::Later => Cause::RateLimited,
            error if error.is_unreachable() => Cause::Unreachable,
            _ => Cause::BadAnswer,
        }
    }

    /// Whether the peer could not even be reached: every request to it would end like this one.
    pub fn is_unreachable(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut};
        match self {
            Self::LeftAlone | Self::NoConnection(_) | Self::UnknownHost(_) => true,
            Self::Io(e) => {
                matches!(e.kind(), ConnectionRefused | HostUnreachable | NetworkDown | NetworkUnreachable | TimedOut)
            }
            _ => false,
        }
    }

    /// Whether a connection came about, and over it no answer, or one that cannot be understood. That is the device's
    /// fault and not the node's: its other disks may be well.
    pub(super) fn is_unanswered(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match self {
            Self::NoAnswer(_) | Self::Closed | Self::CutShort | Self::TooLong(_) => true,
            Self::NotHttp(_) | Self::Pickle(_) => true,
            Self::Io(e) => matches!(e.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof),
            _ => false,
        }
    }
}
