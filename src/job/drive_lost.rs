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
    tally.copies.lacks(view.policy.index, partition, None);
    fail_all_targets(view, disk, partition, Cause::Local, tally);
}

/// Counts every node that the partition would have been compared with or pushed to as failed, for this cause.
pub(crate) fn fail_all_targets(view: &PolicyView, disk: &str, partition: Partition, cause: Cause, tally: &mut Tally) {
    match view.placement(disk, partition) {
        Ok(Placement::Here { others }) => tally.fail(others),
        Ok(Placement::Elsewhere { primaries }) => {
            tally.fail(primaries);
            tally.holding(view.policy.index).stays(Some(cause));
        }
        Ok(Placement::Nowhere) | Err(_) => {}
    }
}
