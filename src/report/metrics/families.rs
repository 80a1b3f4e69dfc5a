//! Which metrics there are: the name of each family without the prefix, its type, and what it is.

/// What every name begins with.
pub(super) const PREFIX: &str = "swift_object_replicator";

pub(super) const COMPLETED: &str = "device_last_completed_pass_timestamp_seconds";
pub(super) const COVERAGE: &str = "device_last_pass_coverage_ratio";
pub(super) const DURATION: &str = "device_last_pass_duration_seconds";
pub(super) const FOUND: &str = "device_found_partitions";
pub(super) const HANGING: &str = "device_hanging_jobs";
pub(super) const LEFT: &str = "device_left_partitions";
pub(super) const RUNNING: &str = "device_running_pass_seconds";
pub(super) const OLDEST: &str = "oldest_completed_pass_timestamp_seconds";
pub(super) const PASSES: &str = "passes_total";
pub(super) const BUILD: &str = "build_info";
pub(super) const RING_MODIFIED: &str = "ring_modified_timestamp_seconds";
pub(super) const RING_READABLE: &str = "ring_readable";
pub(super) const WRITTEN: &str = "written_timestamp_seconds";

/// Gauges of what a device holds of a policy.
pub(super) const LISTED: &str = "device_listed_timestamp_seconds";
pub(super) const PARTITIONS: &str = "device_partitions";
pub(super) const PRIMARIES: &str = "device_primary_partitions";
pub(super) const HANDOFFS_FOUND: &str = "device_handoffs_found";
pub(super) const HANDOFFS_LEFT: &str = "device_handoffs_left";
pub(super) const HANDOFFS_WAITING: &str = "device_handoffs_waiting";
pub(super) const HANDOFFS_STUCK: &str = "device_handoffs_stuck";

/// Gauges of how safe its partitions are.
pub(super) const COPIES: &str = "partitions_by_confirmed_copies";
pub(super) const OLDEST_SUCCESS: &str = "oldest_success_age_seconds";

/// Where the values of a family come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It only grows; whoever begins goes on from what the file says.
    Counter,
    /// Of the last pass that has ended; it stays in the file until there is another one.
    LastPass,
    /// What is so while the text is made.
    Now,
}

impl Source {
    /// The type as Prometheus names it.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::LastPass | Self::Now => "gauge",
        }
    }
}

/// Every family, in the order of the text.
pub(super) const FAMILIES: [(&str, Source, &str); 34] = [
    (BUILD, Source::Now, "The version of the replicator that wrote this; always 1."),
    (WRITTEN, Source::Now, "When this was written. It grows old where nobody writes it any more."),
    ("device_attempted_partitions_total", Source::Counter, "Partitions of a local device that were begun."),
    (
        "device_failures_total",
        Source::Counter,
        "Failures with partitions of a local device, by cause, and by the side that it is about.",
    ),
    ("device_in_sync_partitions_total", Source::Counter, "Partitions of a local device in which nothing differed."),
    ("device_pushed_partitions_total", Source::Counter, "Partitions of a local device of which something was pushed."),
    ("device_removed_handoffs_total", Source::Counter, "Hand-offs that were removed from a local device."),
    ("device_sent_bytes_total", Source::Counter, "Sizes of the files that were sent from a local device."),
    ("device_work_seconds_total", Source::Counter, "Seconds that workers spent on a local device."),
    ("peer_attempted_partitions_total", Source::Counter, "Partitions that a peer was asked about or sent."),
    ("peer_failures_total", Source::Counter, "Failures with a peer, by cause."),
    ("peer_pushed_partitions_total", Source::Counter, "Partitions of which something was pushed to a peer."),
    ("peer_sent_bytes_total", Source::Counter, "Sizes of the files that were sent to a peer."),
    ("peer_work_seconds_total", Source::Counter, "Seconds that workers spent with a peer."),
    (PASSES, Source::Counter, "Passes that have ended; groups of workers count each their own."),
    (
        COMPLETED,
        Source::LastPass,
        "When the last pass ended that had its turn with every partition of a local device; 0: none.",
    ),
    (COVERAGE, Source::LastPass, "Which part of a local device's partitions its last pass attempted."),
    (DURATION, Source::LastPass, "How long the last pass over a local device took."),
    (FOUND, Source::LastPass, "Partitions of a local device that the pass under way has listed, or else its last one."),
    (LEFT, Source::LastPass, "Those of them that the pass under way has not attempted yet, or that its last one left."),
    (
        LISTED,
        Source::LastPass,
        "When a local device's partitions of a policy were listed; what it holds is known from then on.",
    ),
    (PARTITIONS, Source::LastPass, "Partitions of a policy on a local device."),
    (PRIMARIES, Source::LastPass, "Partitions of a policy on a local device of which it is a primary."),
    (HANDOFFS_FOUND, Source::LastPass, "Hand-offs of a policy that were on a local device when it was listed."),
    (HANDOFFS_LEFT, Source::LastPass, "Hand-offs of a policy that are left on a local device."),
    (
        HANDOFFS_WAITING,
        Source::LastPass,
        "Hand-offs of a policy that had their turn and stay on a local device for now, though nothing failed.",
    ),
    (
        HANDOFFS_STUCK,
        Source::LastPass,
        "Hand-offs of a policy that something failed with and that stay on a local device, by cause.",
    ),
    (
        COPIES,
        Source::LastPass,
        "Partitions that a local device's last pass attempted, by how many copies of them are known: the one here, and \
         those of nodes that had the same or confirmed a push.",
    ),
    (
        OLDEST_SUCCESS,
        Source::Now,
        "For how long the partition of a local device was not found whole that was so longest ago; since the process \
         began, if it never was.",
    ),
    (HANGING, Source::Now, "Jobs on a local device that have shown no sign of life for too long."),
    (RUNNING, Source::Now, "How long the pass that is under way over a local device has run; 0: none is."),
    (OLDEST, Source::Now, "The oldest of the devices' last completed passes; 0: a device has none."),
    (RING_MODIFIED, Source::Now, "The modification time of the ring file that is in force for a policy."),
    (RING_READABLE, Source::Now, "Whether the ring file of a policy could be read when it was last looked at."),
];

/// The family of this name, without the prefix.
pub(super) fn source_of(family: &str) -> Option<Source> {
    FAMILIES.iter().find(|(name, ..)| *name == family).map(|(_, source, _)| *source)
}
