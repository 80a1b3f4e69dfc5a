//! As many conversations as it takes for one object not to hold back its neighbours.
//!
//! Two things about a single object end a whole conversation: it cannot be read to its end after a part of it has gone
//! out, so that the receiver must not take it for complete; or the receiver breaks off, since it cannot take it, or
//! since it has refused too many (B9.23). What would have come next has then not been sent, and would not be in any
//! pass. So another conversation follows at once:
//! - without the object that cannot be read; and from now on, in other pushes too, it is sent last ([`super::suspects`]);
//! - with what was refused at the end. Which that is the receiver does not say. But it tells how many updates it has looked
//!   at, and what of these it wants again it has refused. If it does not tell, it broke off at the first that it wants
//!   again.
//!
//! A hand-off's objects are asked for once more when some were refused, so that the others are known to be there. The
//! number of conversations is limited; each leaves fewer objects to be sent, so the next pass goes on from there. What
//! else ends a conversation (no answer, a lost connection) is not tried again here. Where the receiver breaks off before it
//! has compared anything, [`super::halves`] goes on.
//!
//! All of this comes after a failure, and does not make up for it: the push has failed, and says what is confirmed.

use std::thread;
use std::time::Duration;

use log::{debug, error, info};

use super::failure::{Contact, TalkError};
use super::kept::{Kept, Why};
use super::offers::Reached;
use super::push::{SsyncError, SsyncPush, Synced};
use super::sender::Sender;
use super::talk::{Course, Talk, Tried};
use super::verdict::Verdict;
use crate::heartbeat::Heartbeat;
use crate::peer::node_string;

/// At most so many conversations are held for one push.
const MAX_TALKS: usize = 8;
/// A receiver that serves one conversation at a time is busy until it has noticed the end of the last one.
const TURNS: u32 = 3;
/// How long it takes at most to notice that.
const TURN: Duration = Duration::from_secs(1);

/// The conversations of one push.
pub(super) struct Rounds<'s> {
    sender: &'s Sender,
    push: &'s SsyncPush<'s>,
    course: Course,
    /// Why the first conversation failed.
    failure: Option<TalkError>,
    /// The last conversation in which the receiver compared anything, or else the last.
    talk: Talk,
    /// Whether no other conversation of ours came right before, with the end of which the receiver may still be busy.
    is_first: bool,
    bytes: u64,
    quarantined: u64,
}

impl<'s> Rounds<'s> {
    pub(super) fn new(sender: &'s Sender, push: &'s SsyncPush<'s>) -> Self {
        let course = Course { last: sender.suspects.of(push.dir.path()), ..Course::default() };
        Self { sender, push, course, failure: None, talk: Talk::default(), is_first: true, bytes: 0, quarantined: 0 }
    }

    /// Those of a push that comes right after another one of the same partition.
    pub(super) fn after_another(sender: &'s Sender, push: &'s SsyncPush<'s>) -> Self {
        Self { is_first: false, ..Self::new(sender, push) }
    }

    pub(super) fn go_through(mut self, heartbeat: &dyn Heartbeat) -> Result<Synced, SsyncError> {
        for number in 1..=MAX_TALKS {
            let (outcome, talk) = self.talk(number, heartbeat);
            self.bytes += talk.bytes;
            self.quarantined += talk.quarantined;
            let goes_on = outcome.as_ref().is_err_and(|failure| self.change_course(failure, &talk, number));
            if talk.reached != Reached::Nothing || self.talk.reached == Reached::Nothing {
                self.talk = talk;
            }
            if let Err(failure) = outcome {
                self.failure.get_or_insert(failure);
            }
            if !goes_on {
                break;
            }
        }
        self.finish()
    }

    /// Holds a conversation; one after another waits a little until the receiver is done with that.
    fn talk(&mut self, number: usize, heartbeat: &dyn Heartbeat) -> (Result<(), TalkError>, Talk) {
        for turn in 1.. {
            let mut talk = Talk::default();
            let outcome = self.sender.talk(self.push, &mut self.course, &mut talk, heartbeat);
            self.note(&outcome);
            let is_busy = outcome.as_ref().is_err_and(|failure| failure.verdict() == Some(Verdict::Busy));
            if (self.is_first && number == 1) || turn > TURNS || !is_busy {
                return (outcome, talk);
            }
            thread::sleep(TURN);
        }
        unreachable!("the last turn has returned")
    }

    /// Takes note of what the conversation says of the node.
    fn note(&self, outcome: &Result<(), TalkError>) {
        let (outages, to) = (&self.sender.outages, self.push.to);
        match outcome.as_ref().err().map_or(Contact::Reached, TalkError::contact) {
            Contact::NotTried => outages.not_asked(to),
            Contact::None => outages.unreachable(to),
            Contact::Unanswered => outages.unanswered(to),
            Contact::Reached => outages.reached(to),
        }
    }

    /// How the next conversation is to be held after this one failed; false if there is none to be held.
    fn change_course(&mut self, failure: &TalkError, talk: &Talk, number: usize) -> bool {
        let is_handoff = self.push.with_marks && self.push.only.is_none();
        if self.course.only_asks || number == MAX_TALKS {
            return false;
        }
        // The last conversation but one leaves time for the question what is there.
        self.course.only_asks = number + 1 == MAX_TALKS;
        if let Some(hash) = talk.unread {
            self.sender.suspects.remember(self.push.dir.path(), hash);
            self.course.aside.insert(hash);
            return is_handoff || (!self.course.only_asks && talk.offers.all_wanted().last() != Some(hash));
        }
        if talk.reached == Reached::Nothing || talk.sent.is_empty() {
            return false;
        }
        let goes_on = match failure.verdict() {
            Some(Verdict::BrokeOff { after }) => self.put_last(talk, after),
            Some(Verdict::Refused { .. }) => false,
            _ => return false,
        };
        self.course.only_asks |= !goes_on;
        !self.course.only_asks || is_handoff
    }

    /// Has the next conversation send last what the receiver broke this one off for; false if nothing else is left.
    fn put_last(&mut self, talk: &Talk, after: Option<u64>) -> bool {
        let order = |until: u64| talk.sent.iter().take_while(move |(_, before)| *before < until).map(|(hash, _)| *hash);
        let fresh = talk.offers.all_wanted().filter(|hash| !self.course.last.contains(hash)).count();
        let (tried, others) = match after {
            Some(after) => {
                let tried: Vec<_> = order(after).collect();
                let fresh_tried = tried.iter().filter(|hash| !self.course.last.contains(hash)).count();
                (Tried::These(tried), fresh - fresh_tried)
            }
            None => (Tried::SomeOf(order(u64::MAX).collect()), fresh.saturating_sub(1)),
        };
        self.course.tried = tried;
        others > 0
    }

    fn finish(self) -> Result<Synced, SsyncError> {
        let Self { sender, push, course, failure, talk, bytes, quarantined, .. } = self;
        if talk.reached == Reached::Outcome {
            course.last.difference(&course.aside).for_each(|hash| sender.suspects.forget(push.dir.path(), *hash));
        }
        let only_asked = push.only.is_some();
        let kept = kept(push, &talk);
        let Talk { offers, reached, others, .. } = talk;
        let (available, wanted) = (offers.len(), offers.wanted());
        // To be asked is all that there is to it.
        let reached = if only_asked && failure.is_none() { Reached::Outcome } else { reached };
        let candidates = offers.into_candidates(reached);
        let Some(failure) = failure else {
            let synced = Synced { candidates, available, wanted, others, quarantined, bytes, kept };
            log_success(push, &synced);
            return Ok(synced);
        };
        let is_unread = failure.is_one_objects() && kept.count == kept.unsent;
        let is_about_objects = is_unread || matches!(failure.verdict(), Some(Verdict::Refused { .. }));
        let failure = Box::new(failure);
        Err(SsyncError { failure, confirmed: candidates, kept, quarantined, bytes, reached, is_about_objects })
    }
}

/// What is not confirmed, or may not be removed though it is.
fn kept(push: &SsyncPush<'_>, talk: &Talk) -> Kept {
    let mut kept = talk.kept.clone();
    let if_not_sent = match talk.only_asked {
        true if push.only.is_some() => Why::Lacking,
        // Asked for once more after it was refused.
        true => Why::Refused,
        false => Why::NotReached,
    };
    for (hash, why) in talk.offers.unconfirmed(talk.reached, if_not_sent) {
        kept.add(1, [push.object_path(hash)], why);
    }
    if push.with_marks {
        for hash in talk.offers.unmarked(talk.reached) {
            kept.add(1, [push.object_path(hash)], Why::NotRemovable);
        }
    }
    kept
}

/// Logs why a push failed; of a busy receiver, which may be asked again, it is only a note.
pub(super) fn log_failure(push: &SsyncPush<'_>, failed: &SsyncError) {
    let line = format_args!("{}/{} {failed}", node_string(push.to), push.dir.partition());
    match failed.is_busy() {
        true => info!("{line}"),
        false => error!("{line}"),
    }
}

fn log_success(push: &SsyncPush<'_>, synced: &Synced) {
    debug!(
        "ssync completed ok: dev: {}, part: {}, policy: {}, num suffixes: {}, available: {}, sent: {}, deletable: {}",
        push.dir.device(),
        push.dir.partition(),
        push.dir.policy(),
        push.suffixes.len(),
        synced.available,
        synced.wanted,
        synced.candidates.len()
    );
}
