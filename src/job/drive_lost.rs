//! Counts partitions that cannot be handled because their device is gone.

use super::tally::Tally;
use super::view::{Placement, PolicyView};
use crate::cause::Cause;
use crate::names::Partition;

/// Counts a partition that could not be begun, or be gone on with, since its device is not there.
pub(crate) fn fail_for_drive(view: &PolicyView, disk: &str, partition: Partition, tally: &mut Tally) {
    tally.counts.attempted += 1;
    tally.counts.flawed += 1;
    tally.counts.fail(Cause::Local);
    fail_all_targets(view, disk, partition, tally);
}

/// Counts every node that the partition would have been compared with or pushed to as failed.
pub(crate) fn fail_all_targets(view: &PolicyView, disk: &str, partition: Partition, tally: &mut Tally) {
    if let Ok(Placement::Here { others: targets } | Placement::Elsewhere { primaries: targets }) =
        view.placement(disk, partition)
    {
        tally.fail(targets);
    }
}
