//! The pushes at the end of a round: all that goes to one node in one run, and what became of it.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use super::candidate::Candidate;
use crate::job::notify::{Notice, Notification, Reply};
use crate::job::outcome::Pushed;
use crate::job::work::Work;
use crate::peer::rsync::PartSuffixes;
use crate::ring::Device;

/// What goes to one node in one run: each candidate's place in the list, with its suffixes.
pub(super) struct Due<'r> {
    node: &'r Device,
    candidates: Vec<usize>,
    parts: Vec<PartSuffixes>,
    suffixes: usize,
}

/// The most suffixes of one run.
const MAX_SUFFIXES: usize = 4_096;

impl<'r> Due<'r> {
    fn has_room_for(&self, suffixes: usize, rsync_batch: usize) -> bool {
        self.parts.len() < rsync_batch && self.suffixes + suffixes <= MAX_SUFFIXES
    }

    /// The node is paused, so nothing is pushed to it.
    fn leave_out(&self, work: &mut Work<'r>, candidates: &mut [Candidate<'r>]) {
        for &index in &self.candidates {
            candidates[index].leave_out(self.node);
            candidates[index].under_way -= 1;
            candidates[index].finish_if_done(work);
        }
    }
}

/// Takes what the candidates have noted, by node, in the order in which nodes first came up.
pub(super) fn due_pushes<'r>(candidates: &mut [Candidate<'r>], rsync_batch: usize) -> Vec<Due<'r>> {
    let mut pushes: Vec<Due<'r>> = Vec::new();
    // Where the last run for a node stands, by the node's id.
    let mut open: HashMap<u32, usize> = HashMap::new();
    for (index, candidate) in candidates.iter_mut().enumerate() {
        candidate.under_way = candidate.due.len();
        for (node, suffixes) in candidate.due.drain(..) {
            let place = match open.get(&node.id) {
                Some(&place) if pushes[place].has_room_for(suffixes.len(), rsync_batch) => place,
                _ => {
                    pushes.push(Due { node, candidates: Vec::new(), parts: Vec::new(), suffixes: 0 });
                    pushes.len() - 1
                }
            };
            open.insert(node.id, place);
            let due = &mut pushes[place];
            due.suffixes += suffixes.len();
            due.candidates.push(index);
            due.parts.push(PartSuffixes { partition: candidate.partition, suffixes });
        }
    }
    pushes
}

/// Pushes all that is due, one run after the other. Each node is told what it got while the next run is under way.
pub(super) fn push_all<'r>(work: &mut Work<'r>, candidates: &mut [Candidate<'r>], pushes: &[Due<'r>]) {
    let all = pushes.iter().map(|due| due.parts.len()).sum();
    work.slot.divide(candidates.iter().filter(|candidate| candidate.under_way > 0).count(), all);
    thread::scope(|scope| {
        let mut before: Option<(Sent<'_, 'r>, Notification<'_, '_>)> = None;
        for (number, due) in pushes.iter().enumerate() {
            if work.custody.is_revoked() {
                return;
            }
            if work.is_paused() {
                break;
            }
            if work.is_peer_paused(due.node) {
                due.leave_out(work, candidates);
                continue;
            }
            work.hand_over_now();
            let sent = Sent::push(work, due);
            if let Some((sent, telling)) = before.take() {
                sent.settle(work, candidates, telling.answers(work));
            }
            let news = sent.news();
            match number + 1 == pushes.len() {
                true => sent.settle(work, candidates, news.tell(work)),
                false => before = Some((sent, Notification::begin(scope, work, news))),
            }
        }
        if let Some((sent, telling)) = before {
            sent.settle(work, candidates, telling.answers(work));
        }
    });
}

/// A run that was made.
struct Sent<'p, 'r> {
    due: &'p Due<'r>,
    /// The result for each part.
    outcomes: Vec<Pushed>,
    /// A part's share of the time.
    each: Duration,
}

impl<'p, 'r> Sent<'p, 'r> {
    fn push(work: &mut Work<'r>, due: &'p Due<'r>) -> Self {
        work.tally.stats.rsync += due.parts.len() as u64;
        let begun = Instant::now();
        let outcomes = work.tools.transfer.update(work, due.node, &due.parts);
        let spent = begun.elapsed();
        work.tally.peer(work.name_of(due.node)).seconds += spent.as_secs_f64();
        Self { due, outcomes, each: spent / due.parts.len() as u32 }
    }

    fn news(&self) -> Notice<'p> {
        let news = self.due.parts.iter().zip(&self.outcomes).filter(|(_, outcome)| outcome.is_news());
        Notice { node: self.due.node, parts: news.map(|(part, _)| (part.partition, &part.suffixes[..])).collect() }
    }

    /// Takes note of what became of each part; the answers are those to the news, in order.
    fn settle(self, work: &mut Work<'r>, candidates: &mut [Candidate<'r>], answers: Vec<Reply>) {
        let mut answers = answers.into_iter();
        for ((&index, part), outcome) in self.due.candidates.iter().zip(&self.due.parts).zip(self.outcomes) {
            let answer = if outcome.is_news() { answers.next() } else { None };
            let took = answer.as_ref().map_or(Duration::ZERO, |answer| answer.took);
            let failed = answer.and_then(|answer| answer.status.err());
            candidates[index].pushed(work, self.due.node, &part.suffixes, outcome, failed);
            candidates[index].spent += self.each + took;
            candidates[index].under_way -= 1;
            candidates[index].finish_if_done(work);
        }
    }
}
