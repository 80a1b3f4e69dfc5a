//! How long a receiver may be waited for in all, whatever it says meanwhile.
//!
//! The reference has a time limit for each message and each line, and none for a whole conversation: a receiver that
//! takes a byte or says a line whenever the limit is nearly over holds a worker, and the lock of a hand-off, for as long
//! as it likes. So the time that is spent waiting for it is counted, without what is done here, and held against what
//! there was for it to do: each message and each line allows it some more, and so do the bytes of data. Blank lines,
//! `100 Continue`s, and lines that do not come to an end allow it nothing.
//!
//! An honest receiver that is slow is not cut. What it may do in silence, with the whole limit of the reference for it,
//! is allowed for from the start: answering at all, comparing what it was offered (it reads that list as it comes, and
//! answers when it has read all of it), storing what it still has of the updates, and closing its list. For the rest it
//! needs milliseconds where a second is allowed, and a disk or a line that takes less than 32 KiB/s of a stream would
//! not keep up with its clients either.

use std::time::Duration;

use super::failure::TalkLimits;

/// What each line of the receiver's allows it, as does each message to it.
pub(super) const LINE: Duration = Duration::from_secs(1);

/// At how many bytes a second it may take what it is sent.
const SLOWEST: u32 = 32 << 10;

/// What it is allowed before anything was said.
pub(super) fn at_first(limits: &TalkLimits) -> Duration {
    limits.conn.saturating_add(limits.node).saturating_add(limits.http.saturating_mul(4))
}

/// What a message of so many bytes allows it.
pub(super) fn of_message(length: usize) -> Duration {
    LINE + Duration::from_secs(length as u64) / SLOWEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_message_allows_more_than_a_small_one() {
        assert_eq!(of_message(0), LINE);
        assert_eq!(of_message(64 << 10), LINE + Duration::from_secs(2));
        assert!(of_message(usize::MAX) > Duration::from_secs(1 << 40));
    }
}
