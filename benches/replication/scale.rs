//! Devices with more and more partitions: what each of them costs.

use swift_object_replicator::format::hashes::SuffixHashes;
use swift_object_replicator::format::pickle::{StoredHashes, encode_stored};
use swift_object_replicator::names::Suffix;

use crate::Plan;
use crate::launch::Cost;
use crate::peers::StaticPeers;
use crate::report::{Bound, Case, Figure};
use crate::stage::{Runs, Stage, datadir};
use crate::support::cluster::Spec;
use crate::tree::build_partition;

const SUFFIXES: u32 = 8;

/// The name of the row, for the plot.
pub const ROW: &str = "scale";

/// Partitions and part powers.
const SIZES: [(u32, u32); 3] = [(1_000, 10), (10_000, 14), (100_000, 17)];
const QUICK_SIZES: [(u32, u32); 3] = [(1_000, 10), (4_000, 12), (16_000, 14)];

/// Partitions of eight suffixes that are in sync.
pub fn scale(plan: Plan) -> Vec<Case> {
    let sizes = if plan.quick { QUICK_SIZES } else { SIZES };
    let mut cases: Vec<Case> = Vec::new();
    for (partitions, power) in sizes {
        let runs = Runs { reference: if partitions > 1_000 { 1 } else { plan.slow().reference }, ..plan.usual() };
        let costs = in_sync(runs, partitions, power, SUFFIXES);
        let case = Case::new(&format!("in sync, {partitions} partitions"), costs).per(partitions);
        cases.push(match cases.first() {
            None => case.bound(Figure::Cpu, Bound::None),
            Some(first) => {
                let seconds = first.ours_median(Figure::Cpu) / f64::from(first.parts) * f64::from(partitions);
                case.bound(Figure::Cpu, Bound::Times(1.1, format!("that of {}", first.parts), seconds))
            }
        });
    }
    cases
}

/// Very many partitions with nothing in them: what a pass remembers of each.
pub fn memory(plan: Plan) -> Vec<Case> {
    let (partitions, power) = if plan.quick { (20_000, 15) } else { (100_000, 17) };
    let costs = in_sync(plan.slow(), partitions, power, 0);
    let case = Case::new(&format!("{partitions} empty partitions"), costs).per(partitions);
    vec![case.bound(Figure::Memory, Bound::Bytes(16e6)).bound(Figure::Cpu, Bound::Share(15.0))]
}

/// Passes over partitions that have the same hashes as their peers.
fn in_sync(runs: Runs, partitions: u32, part_power: u32, suffixes: u32) -> (Vec<Cost>, Vec<Cost>) {
    let cluster = Spec::nodes(3).part_power(part_power).silent(&[0, 1, 2]).lease();
    let hashes: SuffixHashes = (0..suffixes).map(|n| (suffix(n), Some([n as u8; 16]))).collect();
    let stored = StoredHashes { hashes, valid: true, updated: 1.0 };
    let (datadir, encoded) = (datadir(&cluster), encode_stored(&stored));
    (0..partitions).for_each(|number| build_partition(&datadir, number, &encoded));
    let _peers = StaticPeers::with(&cluster, &stored.hashes);
    let stage = Stage::new(&cluster).expect("attempted", partitions).expect("hashmatch", 2 * partitions);
    stage.compare(runs, || {}, || {})
}

fn suffix(number: u32) -> Suffix {
    Suffix::from_name(format!("{:03x}", number * 509 % 4096).as_bytes()).expect("three digits")
}
