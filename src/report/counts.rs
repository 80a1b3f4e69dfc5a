//! What is counted of partitions for a pass's report: on a local device, or towards a peer's.
//!
//! Jobs count for themselves and are added up, so nothing here is shared or locked. These counts are finer than those of
//! the recon cache ([`super::stats`]), which stay what they are to the reference.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cause::Cause;

/// Counts of partitions, on a device or towards a peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Partitions that were begun; towards a peer, that it was to be asked about.
    pub attempted: u64,
    /// Those of them in which nothing differed.
    pub in_sync: u64,
    /// Those of which something was pushed, and arrived.
    pub pushed: u64,
    /// Hand-offs that were removed once they had arrived.
    pub removed: u64,
    /// Those of the attempted that failed in any way, here or with any of their targets. (Reports of earlier versions, and
    /// what is counted of peers, do not have it.)
    pub flawed: u64,
    /// Failures, by cause; a partition may have one for each peer.
    pub failed: BTreeMap<Cause, u64>,
    /// Sizes of the files that were sent. (What goes over the wire may be less, by compression, or more.)
    pub bytes: u64,
    /// What workers spent on it, in seconds.
    pub seconds: f64,
}

impl Counts {
    /// All failures.
    pub fn failures(&self) -> u64 {
        self.failed.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Partitions of which nothing failed: those in sync, and those that were pushed to all who lacked something.
    pub(crate) fn whole(&self) -> (u64, u64) {
        let whole = self.attempted.saturating_sub(self.flawed);
        let in_sync = self.in_sync.min(whole);
        (in_sync, self.pushed.min(whole - in_sync))
    }

    /// Counts one more failure.
    pub fn fail(&mut self, cause: Cause) {
        self.fail_times(cause, 1);
    }

    /// Counts so many more failures.
    pub fn fail_times(&mut self, cause: Cause, count: u64) {
        if count > 0 {
            let failed = self.failed.entry(cause).or_default();
            *failed = failed.saturating_add(count);
        }
    }

    /// Those of them that are about this node.
    pub(crate) fn local_failures(&self) -> u64 {
        let local = self.failed.iter().filter(|(cause, _)| cause.is_local());
        local.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Adds others.
    pub fn merge(&mut self, other: &Self) {
        // What was read from a file may be any number.
        for (own, more) in [
            (&mut self.attempted, other.attempted),
            (&mut self.in_sync, other.in_sync),
            (&mut self.pushed, other.pushed),
            (&mut self.removed, other.removed),
            (&mut self.flawed, other.flawed),
            (&mut self.bytes, other.bytes),
        ] {
            *own = own.saturating_add(more);
        }
        self.seconds += other.seconds;
        for (&cause, &count) in &other.failed {
            self.fail_times(cause, count);
        }
    }

    /// The failures by cause, the most frequent first: `14 unreachable, 4 push failed`.
    pub fn causes(&self) -> String {
        self.causes_that(|_| true)
    }

    /// Only those that are about this node: `4 local disk`.
    pub fn local_causes(&self) -> String {
        self.causes_that(Cause::is_local)
    }

    /// Those about this node, then those about its peers, told apart: `4 local disk; with peers: 2 disk full`.
    pub fn causes_by_side(&self) -> String {
        let (here, there) = (self.local_causes(), self.causes_that(|cause| !cause.is_local()));
        let there = if there.is_empty() { there } else { format!("with peers: {there}") };
        [here, there].into_iter().filter(|causes| !causes.is_empty()).collect::<Vec<_>>().join("; ")
    }

    fn causes_that(&self, is_wanted: impl Fn(Cause) -> bool) -> String {
        let mut causes: Vec<_> =
            self.failed.iter().filter(|(cause, count)| **count > 0 && is_wanted(**cause)).collect();
        causes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        causes.iter().map(|(cause, count)| format!("{count} {}", cause.text())).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_name_the_most_frequent_cause_first() {
        let mut sum = Counts { attempted: 3, in_sync: 1, bytes: 7, ..Counts::default() };
        sum.fail(Cause::Push);
        let mut other = Counts { attempted: 2, pushed: 1, removed: 1, seconds: 0.5, ..Counts::default() };
        other.fail_times(Cause::Unreachable, 4);
        other.fail_times(Cause::Full, 0);
        sum.merge(&other);
        assert_eq!((sum.attempted, sum.in_sync, sum.pushed, sum.removed, sum.bytes), (5, 1, 1, 1, 7));
        assert_eq!((sum.failures(), sum.causes().as_str()), (5, "4 unreachable, 1 push failed"));
        assert_eq!(
            (sum.local_causes().as_str(), sum.causes_by_side().as_str()),
            ("", "with peers: 4 unreachable, 1 push failed")
        );
        sum.fail(Cause::Local);
        sum.fail(Cause::Full);
        let expected = "1 local disk; with peers: 4 unreachable, 1 disk full, 1 push failed";
        assert_eq!((sum.local_causes().as_str(), sum.causes_by_side().as_str()), ("1 local disk", expected));
    }
}
