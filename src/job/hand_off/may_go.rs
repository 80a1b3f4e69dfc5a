//! Whether a hand-off that enough of its primaries have may be removed: each condition besides their number.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use log::{error, info, warn};

use super::{HandOff, Holder};
use crate::config::settings::HandoffFsync;
use crate::device::push_note;
use crate::format::object::ObjectHash;
use crate::job::outcome::Arrival;
use crate::job::work::Work;
use crate::peer::node_string;
use crate::ring::Device;

/// How long a removal waits after a push that the target was not told to write to its disk at once. Kernels write after
/// 30 s what is not asked for, and file systems put names on the disk every 5 to 30 s.
const UNTIL_WRITTEN: Duration = Duration::from_secs(120);

impl HandOff<'_> {
    /// Everything that must hold besides the number of holders. The question that costs most comes last, right before
    /// the removal.
    pub(super) fn may_go(&self, work: &Work<'_>) -> bool {
        work.has_drive()
            && (!self.is_damaged() || self.confirmed.is_some())
            && !self.is_irregular
            && self.has_room_at_targets(work)
            && self.lock.is_held(&self.dir)
            && self.is_durable(work)
            && self.is_still_served(work)
            && self.ring_is_current(work)
    }

    /// Whether no target that lacks it is known to have too little free for it (`target_reserve`). With `handoff_delete`
    /// the others may be enough, but what is removed here could not be made up for there.
    fn has_room_at_targets(&self, work: &Work<'_>) -> bool {
        let holds = |node: &Device| self.holders.iter().any(|holder| holder.node.id == node.id);
        let is_full = |node: &&&Device| !holds(node) && work.tools.fullness.was_full(node);
        match self.primaries.iter().find(is_full).filter(|_| !self.suffixes.is_empty()) {
            Some(node) => {
                info!("Partition {} is kept: {} is full", self.dir.path().display(), node_string(node));
                false
            }
            None => true,
        }
    }

    /// Whether enough holders have it on disk, by what was asked of them, or by now.
    fn is_durable(&self, work: &Work<'_>) -> bool {
        let count = |arrival: Arrival| self.holders.iter().filter(|holder| holder.arrival == arrival).count();
        let (enough, written) = (self.enough(work), count(Arrival::Written));
        if self.suffixes.is_empty() || work.tools.handoffs.fsync == HandoffFsync::No || written >= enough {
            return true;
        }
        let path = self.dir.path();
        let waiting = self.holders.iter().find(|holder| holder.arrival != Arrival::Written);
        let waiting = waiting.map(|holder| node_string(holder.node));
        let (shown, waiting) = (path.display(), waiting.unwrap_or_default());
        if work.tools.handoffs.fsync == HandoffFsync::Yes {
            error!(
                "Partition {shown} is kept: rsync at {waiting} or here does not support --fsync, and handoff_fsync = yes"
            );
            return false;
        }
        let names: Vec<_> = self.holders.iter().map(|holder| node_string(holder.node)).collect();
        let what = self.inventory.fingerprint(names.iter().map(String::as_str));
        match push_note::age(path, &what) {
            Some(age) if age >= UNTIL_WRITTEN && written + count(Arrival::Earlier) >= enough => return true,
            Some(_) if count(Arrival::JustNow) == 0 => {}
            _ => {
                if let Err(errno) = push_note::write(path, &what) {
                    error!("Cannot note at {shown} when it was pushed: {}", io::Error::from(errno));
                }
            }
        }
        info!(
            "Partition {shown} is kept for a later pass, at least {}s after this push: rsync at {waiting} or here does \
             not support --fsync",
            UNTIL_WRITTEN.as_secs()
        );
        false
    }

    /// Asks the holders once more, right before the removal. A node of another ring that runs Swift's own replicator may
    /// have taken this node for the partition's home, and removed what it was counted on to hold.
    fn is_still_served(&self, work: &Work<'_>) -> bool {
        let mut part = self.part();
        if let Some(confirmed) = &self.confirmed {
            // Of other suffixes nothing goes.
            let confirmed: BTreeSet<_> = confirmed.hashes().into_iter().map(ObjectHash::suffix).collect();
            part.suffixes.retain(|suffix| confirmed.contains(suffix));
        }
        if part.suffixes.is_empty() {
            return true;
        }
        let serves = |holder: &&Holder<'_>| work.tools.transfer.is_served(work, holder.node, &part);
        self.holders.iter().filter(serves).count() >= self.enough(work)
    }

    /// Whether the ring that named the primaries is still the one in force. Else the partition may belong here by now.
    fn ring_is_current(&self, work: &Work<'_>) -> bool {
        let (path, ring) = (self.dir.path().display(), work.view.ring.path.display());
        match work.view.is_current() {
            Ok(true) => return true,
            Ok(false) => info!("Partition {path} is kept: {ring} changed meanwhile"),
            Err(error) => warn!("Partition {path} is kept: cannot look at {ring}: {error}"),
        }
        false
    }
}
