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
//! An object that cannot be read, or turns out to be damaged before anything of it was sent, costs that object and not
//! the conversation. It is never among the [`Candidates`]. (To the reference it is: it would be removed from a hand-off.)

pub mod answer;
pub mod codec;
mod conversation;
mod failure;
mod offers;
mod outbox;
mod pace;
mod updates;
mod wire;

use std::collections::BTreeSet;
use std::time::Duration;

use log::{debug, error};

use self::conversation::Conversation;
use self::failure::{Failure, Limits, Step};
use self::offers::Offers;
pub use self::offers::{Candidate, Candidates};
use self::updates::Updates;
use super::node_string;
use crate::device::layout::PartitionDir;
use crate::device::object::ObjectReader;
use crate::device::survey::{Purpose, Survey};
use crate::format::object::{ObjectHash, Salts};
use crate::names::Suffix;
use crate::pulse::Pulse;
use crate::report::counts::Cause;
use crate::ring::Device;

/// How to push.
#[derive(Clone, Debug)]
pub struct SsyncOptions {
    /// To connect and send the request's head (`conn_timeout`).
    pub conn_timeout: Duration,
    /// To receive the answer's head, and to send any one message (`node_timeout`).
    pub node_timeout: Duration,
    /// To receive a line of the answer (`http_timeout`).
    pub http_timeout: Duration,
    /// The longest line of the answer that is read (`network_chunk_size`).
    pub network_chunk_size: usize,
    /// How many bytes of data go into a message (`disk_chunk_size`), within reason.
    pub disk_chunk_size: usize,
    /// How long tombstones are kept (`reclaim_age`).
    pub reclaim_age: Duration,
    /// What is hashed along with the names of objects.
    pub salts: Salts,
}

/// What goes where.
#[derive(Clone, Copy)]
pub struct SsyncPush<'a> {
    /// The partition.
    pub dir: &'a PartitionDir,
    /// What of it is pushed.
    pub suffixes: &'a [Suffix],
    /// The target.
    pub to: &'a Device,
    /// Only ask whether the target has these objects, and send nothing (B9.7).
    pub only: Option<&'a BTreeSet<ObjectHash>>,
    /// Whether the candidates come with what identifies their files, so that these can be removed: for hand-offs. Then
    /// the suffixes are cleaned before anything is offered (B6.18), which an update has done when it hashed them (B11.7).
    pub with_marks: bool,
}

/// What a push came to.
#[derive(Debug, Default)]
pub struct Synced {
    /// The objects that the target has confirmed to have.
    pub candidates: Candidates,
    /// How many objects were offered.
    pub available: usize,
    /// How many of them the target wanted.
    pub wanted: usize,
    /// How many entries of the suffixes were no objects, or could not be looked at, so that they were not offered.
    pub others: usize,
    /// How many objects went to quarantine (the metric `quarantines`).
    pub quarantined: u64,
    /// How many bytes of objects' data were sent.
    pub bytes: u64,
}

/// A push that failed. The log has the line already.
#[derive(Debug, thiserror::Error)]
#[error("{failure}")]
pub struct SsyncError {
    failure: Failure,
    /// How many objects went to quarantine all the same.
    pub quarantined: u64,
}

impl SsyncError {
    /// What a report calls it.
    pub fn cause(&self) -> Cause {
        self.failure.cause()
    }
}

/// Pushes objects; to be shared by all threads.
#[derive(Clone, Debug)]
pub struct Sender {
    options: SsyncOptions,
    limits: Limits,
}

impl Sender {
    /// A sender.
    pub fn new(options: SsyncOptions) -> Self {
        let limits = Limits { conn: options.conn_timeout, node: options.node_timeout, http: options.http_timeout };
        Self { options, limits }
    }

    /// Pushes the objects of some suffixes, or asks which of them the target has.
    ///
    /// # Errors
    /// If the conversation did not come to its end, in which case the target may have got some of the objects, but has
    /// confirmed none. That is logged here, in one line.
    pub fn sync(&self, push: &SsyncPush<'_>, pulse: &dyn Pulse) -> Result<Synced, SsyncError> {
        if push.suffixes.is_empty() {
            return Ok(Synced::default());
        }
        let mut quarantined = 0;
        match self.talk(push, pulse, &mut quarantined) {
            Ok(mut synced) => {
                synced.quarantined = quarantined;
                log_success(push, &synced);
                Ok(synced)
            }
            Err(failure) => {
                error!("{}/{} {failure}", node_string(push.to), push.dir.partition());
                Err(SsyncError { failure, quarantined })
            }
        }
    }

    fn talk(&self, push: &SsyncPush<'_>, pulse: &dyn Pulse, quarantined: &mut u64) -> Result<Synced, Failure> {
        let removal = Purpose::Removal { reclaim_age: self.options.reclaim_age };
        let survey = Survey::new(push.dir, if push.with_marks { removal } else { Purpose::Update })?;
        let (to, policy, partition) = (push.to, push.dir.policy(), push.dir.partition());
        let longest_line = self.options.network_chunk_size;
        let mut conversation = Conversation::open(to, policy, partition, self.limits, longest_line, pulse)?;
        let outcome = self.go_through(push, survey, &mut conversation, pulse, quarantined);
        conversation.hang_up();
        outcome
    }

    fn go_through(
        &self,
        push: &SsyncPush<'_>,
        mut survey: Survey<'_>,
        conversation: &mut Conversation<'_>,
        pulse: &dyn Pulse,
        quarantined: &mut u64,
    ) -> Result<Synced, Failure> {
        let mut bytes = 0;
        let mut offers = offer(push, &mut survey, conversation, pulse)?;
        read_wanted(&mut offers, conversation)?;
        if push.only.is_none() {
            let mut reader = ObjectReader::new(push.dir, &self.options.salts)?;
            let sent = self.send_wanted(push, &mut offers, &mut reader, conversation, pulse);
            *quarantined = reader.quarantined();
            bytes = sent?;
            read_outcome(conversation)?;
        }
        let (available, wanted, others) = (offers.len(), offers.wanted(), survey.others());
        Ok(Synced { candidates: offers.into_candidates(), available, wanted, others, quarantined: 0, bytes })
    }

    /// Sends what is wanted, in the receiver's order (B9.10); how many bytes of data that were.
    fn send_wanted(
        &self,
        push: &SsyncPush<'_>,
        offers: &mut Offers,
        reader: &mut ObjectReader<'_>,
        conversation: &mut Conversation<'_>,
        pulse: &dyn Pulse,
    ) -> Result<u64, Failure> {
        conversation.say(codec::UPDATES_START, Step::UpdatesStart);
        let mut updates = Updates::new(push, reader, conversation, self.options.disk_chunk_size);
        for nth in 0..offers.wanted() {
            let (hash, want) = offers.nth_wanted(nth);
            if let Some(marks) = updates.send(hash, want)? {
                offers.sent(nth, &marks);
            }
            pulse.beat();
        }
        let bytes = updates.finish();
        conversation.say(codec::UPDATES_END, Step::UpdatesEnd);
        Ok(bytes)
    }
}

/// Offers every object of the suffixes as it is found (B9.4-B9.7).
fn offer(
    push: &SsyncPush<'_>,
    survey: &mut Survey<'_>,
    conversation: &mut Conversation<'_>,
    pulse: &dyn Pulse,
) -> Result<Offers, Failure> {
    let mut offers = Offers::default();
    let (mut lines, mut bytes) = (0, 0);
    conversation.say(codec::MISSING_CHECK_START, Step::MissingCheckStart);
    for suffix in push.suffixes {
        survey.suffix(*suffix, |found| {
            pulse.beat();
            if push.only.is_some_and(|only| !only.contains(&found.hash)) {
                return Ok(());
            }
            let before = conversation.waiting();
            codec::offer(conversation.outgoing(), found.hash, &found.times);
            let length = conversation.waiting() - before;
            conversation.seal(Step::MissingCheckLine { lines, bytes });
            lines += 1;
            bytes += length as u64;
            offers.push(found);
            conversation.send_if_due().map(drop)
        })?;
    }
    conversation.say(codec::MISSING_CHECK_END, Step::MissingCheckEnd);
    offers.sort();
    Ok(offers)
}

/// Reads which of the objects the receiver wants (B9.8). It wants nothing that was not offered, and nothing twice.
fn read_wanted(offers: &mut Offers, conversation: &mut Conversation<'_>) -> Result<(), Failure> {
    conversation.expect(codec::MISSING_CHECK_START, Step::MissingCheckStartWait)?;
    for _ in 0..=offers.len() {
        let line = conversation.read_line(Step::MissingCheckLineWait)?;
        if line == codec::MISSING_CHECK_END {
            return Ok(());
        }
        let is_known = codec::parse_want(line).is_some_and(|(hash, want)| offers.want(hash, want));
        if !is_known {
            return Err(Failure::unexpected(line));
        }
    }
    Err(Failure::TooMuchWanted(offers.len()))
}

/// Reads whether all that was sent has arrived (B9.15).
fn read_outcome(conversation: &mut Conversation<'_>) -> Result<(), Failure> {
    conversation.expect(codec::UPDATES_START, Step::UpdatesStartWait)?;
    conversation.expect(codec::UPDATES_END, Step::UpdatesLineWait)
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

#[cfg(test)]
mod tests;
