//! Why something failed, in a few words that reports and metrics count by.
//!
//! The road of a failure, from where it happens to where it is counted:
//!
//! - *Who makes a cause.* The errors of `peer` (`cause()`), and jobs for what happens here. What rsync's exit codes and
//!   words mean stands in `peer/rsync/exit.rs` alone, what an SSYNC receiver's words mean in `peer/ssync/verdict.rs`.
//! - *Who logs.* A run of rsync and a conversation by SSYNC log their own bad end, in the reference's lines, for only they
//!   have all of what was said (`peer/rsync/client.rs`, `peer/ssync/rounds.rs`). All else `peer` returns, and the job logs
//!   it, once. `PushError::is_of_a_run` tells the two apart.
//! - *When a peer is skipped.* `peer/outage.rs` logs when that begins and when it is over. A request for hashes to compare
//!   with, or a push, that comes to nothing in between is counted, but not logged (`ReplicateError::is_put_off`). That a
//!   node could not be told of a push, or asked for a hand-off's proof, the job logs all the same: something stays for it.
//! - *Who counts.* The job, in its `Tally`: by cause for the report and the metrics (`counts`, `peers`), by node for the
//!   recon cache (`stats`), which counts as the reference does. Jobs that stood still or broke off are counted by `pass`.
//! - *What is skipped for a while.* A node, after three connections in a row that did not come about; one device of it,
//!   after three answers in a row that did not come in time or, to REPLICATE, made no sense. Each service for itself.
//!   A device that answers 503 or 529 to REPLICATE is asked again later. One that has no more than `target_reserve` free
//!   is not pushed to, cause [`Cause::Full`], until it has (`job/fullness.rs`).
//! - *What says nothing of a node.* What went wrong on this side before anything was asked (`Outages::not_asked`).
//! - *What ends pushes for the pass.* With rsync, [`Cause::Full`], after two partitions in a row for which a device had no
//!   room; [`Cause::Closed`] at once. After [`Cause::Busy`] it is still pushed to, but no turn is waited for any more.
//! - *What ends them for the job.* With SSYNC, [`Cause::Unreachable`] and [`Cause::Timeout`]; and for all nodes, a local
//!   device that is gone.
//! - *What never does.* Any other status that a node answers with, unmounted (507) among them; what is wrong with files,
//!   here or there; and [`Cause::Local`], which stands beside a peer's name in the report at most.
//! - *What becomes of it.* The partition stays as it is, and the next pass tries again. Nothing is removed after a failure
//!   but what enough other nodes are known to have (`job/revert.rs`).

use serde::{Deserialize, Serialize};

/// Why something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The peer could not be reached, or was left alone because of that.
    Unreachable,
    /// It was reached, but did not answer in time; or it was skipped because of that.
    Timeout,
    /// It answered that the device is not mounted there.
    Unmounted,
    /// It answered with another status, or with what cannot be understood.
    BadAnswer,
    /// Its rsync daemon serves as many as it may.
    Busy,
    /// Its object server wants to be asked later.
    #[serde(rename = "ratelimited")]
    RateLimited,
    /// Its disk is full, or has no more free than it is to keep (`target_reserve`).
    Full,
    /// Its rsync module is closed: it takes no connections at all.
    Closed,
    /// Its rsync daemon refuses: there is no such module, it is read only or not for us, or an option is not allowed.
    Refused,
    /// The push failed for another reason.
    Push,
    /// Not all that was pushed had arrived.
    Verify,
    /// A local device is not there, or could not be read or written.
    Local,
    /// The ring has no place for it, or what is there is no partition.
    Ring,
    /// No sign of life for too long.
    Stuck,
    /// A job broke off.
    Bug,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 15] = [
        Self::Unreachable,
        Self::Timeout,
        Self::Unmounted,
        Self::BadAnswer,
        Self::Busy,
        Self::RateLimited,
        Self::Full,
        Self::Closed,
        Self::Refused,
        Self::Push,
        Self::Verify,
        Self::Local,
        Self::Ring,
        Self::Stuck,
        Self::Bug,
    ];

    /// Whether it is about this node, whichever peer a partition was for.
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Local | Self::Ring | Self::Stuck | Self::Bug)
    }

    /// Its name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Unmounted => "unmounted",
            Self::BadAnswer => "bad_answer",
            Self::Busy => "busy",
            Self::RateLimited => "ratelimited",
            Self::Full => "full",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Push => "push",
            Self::Verify => "verify",
            Self::Local => "local",
            Self::Ring => "ring",
            Self::Stuck => "stuck",
            Self::Bug => "bug",
        }
    }

    /// What people read.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "no answer in time",
            Self::Unmounted => "not mounted there",
            Self::BadAnswer => "bad answer",
            Self::Busy => "busy",
            Self::RateLimited => "rate limited",
            Self::Full => "disk full",
            Self::Closed => "rsync module closed",
            Self::Refused => "refused by rsync daemon",
            Self::Push => "push failed",
            Self::Verify => "not arrived",
            Self::Local => "local disk",
            Self::Ring => "no place in the ring",
            Self::Stuck => "stuck",
            Self::Bug => "broke off",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_in_json_what_they_are_in_metrics() {
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.name());
        }
    }
}
