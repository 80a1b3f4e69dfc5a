//! A device with very many partitions: what a pass remembers of each.

use swift_object_replicator::format::hashes::SuffixHashes;
use swift_object_replicator::format::pickle::{StoredHashes, encode_stored};

use crate::Plan;
use crate::peers::StaticPeers;
use crate::report::{Bound, Case, Figure};
use crate::stage::{Stage, datadir};
use crate::support::cluster::Spec;
use crate::tree::build_partitions;

const POWER: u32 = 17;
const PARTITIONS: u32 = 100_000;

/// A hundred thousand partitions with nothing in them.
pub fn measure(plan: Plan) -> Vec<Case> {
    let cluster = Spec::nodes(3).part_power(POWER).silent(&[0, 1, 2]).lease();
    let nothing = StoredHashes { hashes: SuffixHashes::new(), valid: true, updated: 1.0 };
    build_partitions(&datadir(&cluster), PARTITIONS, Some(&encode_stored(&nothing)));
    let _peers = StaticPeers::that_say(&cluster, EMPTY_DICT);
    let stage = Stage::new(&cluster).expect("attempted", PARTITIONS).expect("hashmatch", 2 * PARTITIONS);
    // The reference takes minutes.
    let costs = stage.compare(Plan { runs: if plan.quick { 1 } else { plan.runs.min(3) }, ..plan }, || {});
    let case = Case::new("100,000 empty partitions", costs).per(PARTITIONS);
    vec![case.bound(Figure::Memory, Bound::Bytes(16e6)).bound(Figure::Cpu, Bound::Share(15.0))]
}

/// The answer of an object server whose partition is empty.
const EMPTY_DICT: &[u8] = b"\x80\x02}q\x00.";
