//! Telling a node what it got, while the next one is pushed to.
//!
//! The node hashes what it is told of before it answers. A worker that waited for each answer would push nothing
//! meanwhile: with small objects, for a good part of its time. So a thread beside the worker does the telling, one node
//! at a time, and there is never more than one such thread to a worker. After the last push there is nothing to do
//! meanwhile, and the worker does it itself.

use std::panic;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::patience::Patience;
use super::slot::{Slot, Step};
use super::work::{STACK, Tools, Work};
use crate::heartbeat::Heartbeat as _;
use crate::log::{set_thread_prefix, thread_prefix};
use crate::names::{Partition, PolicyIndex, Suffix};
use crate::peer::replicate::ReplicateError;
use crate::ring::Device;

/// What a node got: suffixes of partitions.
#[derive(Clone)]
pub(super) struct Notice<'a> {
    pub node: &'a Device,
    pub parts: Vec<(Partition, &'a [Suffix])>,
}

/// What the node said to a part of the news.
pub(super) struct Reply {
    /// The status, if there was an answer.
    pub status: Result<u16, ReplicateError>,
    /// How long it took.
    pub took: Duration,
}

impl Notice<'_> {
    /// Tells the node, part by part, and waits for its answers.
    pub(super) fn tell(&self, work: &Work<'_>) -> Vec<Reply> {
        let step = |partition| work.step_with(self.node, partition, Step::Telling);
        self.tell_with(work.tools, work.view.policy.index, Waiting { patience: work.patience, slot: work.slot }, step)
    }

    fn tell_with(
        &self,
        tools: &Tools,
        policy: PolicyIndex,
        waiting: Waiting<'_>,
        before_each: impl Fn(Partition),
    ) -> Vec<Reply> {
        let tell = |&(partition, suffixes): &(Partition, &[Suffix])| {
            before_each(partition);
            let begun = Instant::now();
            let tell = || match tools.transfer.is_to_be_told() {
                true => tools.client.rehash(self.node, policy, partition, suffixes),
                false => Ok(200),
            };
            let status = waiting.patience.ask(&tools.client, self.node, waiting.slot, tell);
            Reply { status, took: begun.elapsed() }
        };
        self.parts.iter().map(tell).collect()
    }
}

/// How a busy node is waited for.
#[derive(Clone, Copy)]
struct Waiting<'a> {
    patience: &'a Patience,
    slot: &'a Slot,
}

/// A node that is being told, or has been.
pub(super) enum Notification<'scope, 'a> {
    /// It is, by a thread beside the worker.
    Underway { news: Notice<'a>, thread: ScopedJoinHandle<'scope, Vec<Reply>> },
    /// It has been.
    Over(Vec<Reply>),
}

impl<'scope, 'a: 'scope> Notification<'scope, 'a> {
    /// Begins to tell the node.
    pub(super) fn begin<'w: 'a>(scope: &'scope Scope<'scope, '_>, work: &Work<'w>, news: Notice<'a>) -> Self {
        if news.parts.is_empty() || !work.tools.transfer.is_to_be_told() {
            return Self::Over(news.tell(work));
        }
        let (tools, policy, prefix) = (work.tools, work.view.policy.index, thread_prefix());
        let waiting = Waiting { patience: work.patience, slot: work.slot };
        let told = news.clone();
        let tell = move || {
            set_thread_prefix(prefix);
            told.tell_with(tools, policy, waiting, |_| waiting.slot.beat())
        };
        match thread::Builder::new().name("telling".into()).stack_size(STACK).spawn_scoped(scope, tell) {
            Ok(thread) => Self::Underway { news, thread },
            // No thread is to be had.
            Err(_) => Self::Over(news.tell(work)),
        }
    }

    /// What the node said to each part, once it has.
    pub(super) fn answers(self, work: &Work<'_>) -> Vec<Reply> {
        match self {
            Self::Over(answers) => answers,
            Self::Underway { news, thread } => {
                if let Some((partition, _)) = news.parts.last() {
                    work.step_with(news.node, *partition, Step::Telling);
                }
                // It has gone wrong for this job, as if the worker had done it.
                thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
            }
        }
    }
}
