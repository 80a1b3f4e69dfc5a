//! Pushes objects without rsync: the SSYNC sender (B9).
//!
//! One [`Sender`] serves all threads. For each push it connects to the node's object server and goes through the phases
//! of one conversation, each a function here:
//!
//! 1. *offer*: every object of the suffixes, with the times of its parts;
//! 2. *read what is wanted*: the receiver compares, and lists what it lacks;
//! 3. *send what is wanted*: a PUT, POST or DELETE for each, and the data;
//! 4. *read the outcome*: only now is it known that all of it arrived.
//!
//! The bytes are made in `codec` and taken apart in `answer`; `wire` moves them. Of what was offered only the hashes are
//! kept, and data pass through one buffer, which files are read into and the socket is fed from. Small messages wait in
//! it for others, but not for long: the receiver has a time limit of its own.
//!
//! What ends a conversation because of one object does not keep its neighbours from being sent: `rounds` holds another one.
//! A suffix that the receiver cannot look at does not either: `halves` finds out which it is.
//!
//! An object that cannot be read, or turns out to be damaged before anything of it was sent, costs that object and not
//! the conversation. It is never among the [`Candidates`]. (To the reference it is: it would be removed from a hand-off.)

pub mod answer;
mod broken_off;
pub mod codec;
mod conversation;
mod failure;
mod halves;
mod kept;
mod offers;
mod outbox;
mod pace;
mod push;
mod rounds;
mod sender;
mod suspects;
mod talk;
mod updates;
pub mod verdict;
mod wire;

use self::failure::TalkError;
use self::halves::Halves;
pub use self::kept::{Kept, KeptEntry, Why};
pub use self::offers::{Candidate, Candidates};
pub use self::push::{SsyncError, SsyncPush, Synced};
use self::rounds::{Rounds, log_failure};
pub use self::sender::Sender;
use crate::heartbeat::Heartbeat;

impl Sender {
    /// Pushes the objects of some suffixes, or asks which of them the target has.
    ///
    /// # Errors
    /// [`SsyncError`] if a conversation was not finished, or the target refused anything. The error holds what the
    /// target has confirmed nevertheless. The reason is logged here in one line: as an error, or at a lower level if
    /// the receiver is only busy, since it may be asked again. One more line is logged for each suffix that turns out
    /// to be the cause, and none if the target is being skipped and was not asked at all.
    pub fn sync(&self, push: &SsyncPush<'_>, heartbeat: &dyn Heartbeat) -> Result<Synced, SsyncError> {
        if push.suffixes.is_empty() {
            return Ok(Synced::default());
        }
        if !self.outages.may_ask(push.to) {
            return Err(SsyncError::from(TalkError::LeftAlone));
        }
        let outcome = Rounds::new(self, push).go_through(heartbeat);
        if let Err(failed) = &outcome {
            log_failure(push, failed);
        }
        self.broken_off.note(push.to, &outcome);
        match outcome {
            Err(failed) if failed.is_blind() && push.suffixes.len() > 1 => {
                Err(Halves::new(self, push, failed).go_through(heartbeat))
            }
            outcome => outcome,
        }
    }
}

#[cfg(test)]
mod tests;
