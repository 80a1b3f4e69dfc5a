//! One conversation with a receiver, phase by phase.

use std::collections::BTreeSet;

use super::codec;
use super::conversation::Conversation;
use super::failure::{TalkError, TalkStep};
use super::kept::{Kept, Why};
use super::offers::{Offers, Reached};
use super::push::SsyncPush;
use super::sender::Sender;
use super::updates::Updates;
use crate::device::object::ObjectReader;
use crate::device::survey::{Purpose, Survey};
use crate::format::object::ObjectHash;
use crate::heartbeat::Heartbeat;

/// How a conversation is held.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// These objects are not even offered.
    pub(super) aside: BTreeSet<ObjectHash>,
    /// These are sent after all others.
    pub(super) last: BTreeSet<ObjectHash>,
    /// What the receiver looked at before it broke off an earlier conversation.
    pub(super) tried: Tried,
    /// Whether nothing is sent.
    pub(super) only_asks: bool,
}

/// What a receiver looked at before it broke off a conversation, in that order. What of it is still wanted afterwards was
/// refused.
#[derive(Debug, Default)]
pub(super) enum Tried {
    #[default]
    Nothing,
    /// It looked at all of these.
    These(Vec<ObjectHash>),
    /// It broke off at one of these, and has stored those before it.
    SomeOf(Vec<ObjectHash>),
}

/// What has come of a conversation so far.
#[derive(Debug, Default)]
pub(super) struct Talk {
    pub(super) offers: Offers,
    pub(super) reached: Reached,
    /// Whether nothing was to be sent.
    pub(super) only_asked: bool,
    /// What was sent, in that order, with how many subrequests went out before it.
    pub(super) sent: Vec<(ObjectHash, u64)>,
    /// What could not be read to its end, so that the conversation had to end.
    pub(super) unread: Option<ObjectHash>,
    /// What was not offered.
    pub(super) kept: Kept,
    pub(super) others: usize,
    pub(super) bytes: u64,
    pub(super) quarantined: u64,
}

impl Sender {
    /// Holds a conversation.
    pub(super) fn talk(
        &self,
        push: &SsyncPush<'_>,
        course: &mut Course,
        talk: &mut Talk,
        heartbeat: &dyn Heartbeat,
    ) -> Result<(), TalkError> {
        let removal = Purpose::Removal { reclaim_age: self.reclaim_age };
        let survey = Survey::new(push.dir, if push.with_marks { removal } else { Purpose::Update })?;
        let (to, policy, partition) = (push.to, push.dir.policy(), push.dir.partition());
        let longest_line = self.settings.network_chunk_size;
        let mut conversation = Conversation::open(to, policy, partition, self.limits, longest_line, heartbeat)?;
        let outcome = self.go_through(push, survey, course, talk, &mut conversation, heartbeat);
        conversation.hang_up();
        outcome
    }

    fn go_through(
        &self,
        push: &SsyncPush<'_>,
        mut survey: Survey<'_>,
        course: &mut Course,
        talk: &mut Talk,
        conversation: &mut Conversation<'_>,
        heartbeat: &dyn Heartbeat,
    ) -> Result<(), TalkError> {
        talk.only_asked = push.only.is_some() || course.only_asks;
        let offered = offer(push, &mut survey, course, talk, conversation, heartbeat);
        talk.others = survey.others();
        talk.kept.add(survey.others(), survey.other_examples().iter().cloned(), Why::NotOffered);
        offered?;
        read_wanted(&mut talk.offers, conversation)?;
        talk.reached = Reached::Comparison;
        if !talk.only_asked {
            self.note_refused(push, course, &talk.offers);
            talk.offers.put_last(&course.last);
            let mut reader = ObjectReader::new(push.dir, &self.salts).map_err(TalkError::Unread)?;
            let sent = self.send_wanted(push, talk, &mut reader, conversation, heartbeat);
            talk.quarantined = reader.quarantined();
            sent?;
            read_outcome(conversation)?;
            talk.reached = Reached::Outcome;
        }
        Ok(())
    }

    /// Puts last what the receiver refused in an earlier conversation, now that it wants it again.
    fn note_refused(&self, push: &SsyncPush<'_>, course: &mut Course, offers: &Offers) {
        let (tried, limit) = match std::mem::take(&mut course.tried) {
            Tried::Nothing => return,
            Tried::These(tried) => (tried, usize::MAX),
            Tried::SomeOf(tried) => (tried, 1),
        };
        for hash in tried.into_iter().filter(|hash| offers.is_wanted(*hash)).take(limit) {
            self.suspects.remember(push.dir.path(), hash);
            course.last.insert(hash);
        }
    }

    /// Sends what is wanted, in the receiver's order (B9.10), but for what may break the conversation off.
    fn send_wanted(
        &self,
        push: &SsyncPush<'_>,
        talk: &mut Talk,
        reader: &mut ObjectReader<'_>,
        conversation: &mut Conversation<'_>,
        heartbeat: &dyn Heartbeat,
    ) -> Result<(), TalkError> {
        conversation.say(codec::UPDATES_START, TalkStep::UpdatesStart);
        let mut updates = Updates::new(push, reader, conversation, self.settings.disk_chunk_size);
        let outcome = send_all(talk, &mut updates, heartbeat);
        talk.bytes = updates.bytes();
        updates.finish();
        outcome?;
        conversation.say(codec::UPDATES_END, TalkStep::UpdatesEnd);
        Ok(())
    }
}

fn send_all(talk: &mut Talk, updates: &mut Updates<'_, '_, '_>, heartbeat: &dyn Heartbeat) -> Result<(), TalkError> {
    for nth in 0..talk.offers.wanted() {
        let (hash, want) = talk.offers.nth_wanted(nth);
        let (before, bytes) = (updates.subrequests(), updates.bytes());
        let sent = updates.send(hash, want);
        heartbeat.pushes(0, updates.bytes() - bytes);
        if updates.subrequests() > before {
            talk.sent.push((hash, before));
        }
        match sent {
            Ok(Some(marks)) => talk.offers.sent(nth, &marks),
            Ok(None) => talk.offers.not_sent(nth),
            Err(failure) => {
                if failure.is_one_objects() {
                    talk.unread = Some(hash);
                    talk.offers.not_sent(nth);
                }
                return Err(failure);
            }
        }
        heartbeat.beat();
    }
    Ok(())
}

/// Offers every object of the suffixes as it is found (B9.4-B9.7).
fn offer(
    push: &SsyncPush<'_>,
    survey: &mut Survey<'_>,
    course: &Course,
    talk: &mut Talk,
    conversation: &mut Conversation<'_>,
    heartbeat: &dyn Heartbeat,
) -> Result<(), TalkError> {
    let (mut lines, mut bytes) = (0, 0);
    conversation.say(codec::MISSING_CHECK_START, TalkStep::MissingCheckStart);
    for suffix in push.suffixes {
        survey.suffix(*suffix, |found| {
            heartbeat.beat();
            if push.only.is_some_and(|only| !only.contains(&found.hash)) {
                return Ok(());
            }
            if course.aside.contains(&found.hash) {
                talk.kept.add(1, [push.object_path(found.hash)], Why::NotSent);
                return Ok(());
            }
            let before = conversation.waiting();
            codec::offer(conversation.outgoing(), found.hash, &found.times);
            let length = conversation.waiting() - before;
            conversation.seal(TalkStep::MissingCheckLine { lines, bytes });
            lines += 1;
            bytes += length as u64;
            talk.offers.push(found);
            conversation.send_if_due().map(drop)
        })?;
    }
    conversation.say(codec::MISSING_CHECK_END, TalkStep::MissingCheckEnd);
    talk.offers.sort();
    Ok(())
}

/// Reads which of the objects the receiver wants (B9.8). It wants nothing that was not offered, and nothing twice.
fn read_wanted(offers: &mut Offers, conversation: &mut Conversation<'_>) -> Result<(), TalkError> {
    conversation.expect(codec::MISSING_CHECK_START, TalkStep::MissingCheckStartWait)?;
    for _ in 0..=offers.len() {
        let line = conversation.read_line(TalkStep::MissingCheckLineWait)?;
        if line == codec::MISSING_CHECK_END {
            return Ok(());
        }
        let is_known = codec::parse_want(line).is_some_and(|(hash, want)| offers.want(hash, want));
        if !is_known {
            return Err(TalkError::unexpected(line));
        }
    }
    Err(TalkError::TooMuchWanted(offers.len()))
}

/// Reads whether all that was sent has arrived (B9.15).
fn read_outcome(conversation: &mut Conversation<'_>) -> Result<(), TalkError> {
    conversation.expect(codec::UPDATES_START, TalkStep::UpdatesStartWait)?;
    conversation.expect(codec::UPDATES_END, TalkStep::UpdatesLineWait)
}
