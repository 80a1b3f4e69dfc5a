//! Peers without their disk (507): their part falls to hand-offs.

use crate::support::cluster::{Disk, Lease, Spec};
use crate::support::object::time;
use crate::support::peer::{Reply, StubPeer};
use crate::support::replicator::{Outcome, Which};
use crate::support::rsync::FakeRsync;

both! {
    hand_offs_take_the_place_of_unmounted_primaries,
    only_unmounted_primaries_are_replaced,
    hand_offs_may_run_out,
    handoff_delete_walks_only_as_far_as_it_must,
}

/// One real node; the four others answer as a test likes, and take every push.
struct Walk {
    cluster: Lease,
    part: u32,
}

impl Walk {
    fn new() -> Self {
        let cluster = Spec::nodes(5).silent(&[1, 2, 3, 4]).lease();
        let part = cluster.partitions_at(0, 0)[0];
        cluster.put(&cluster.home(0, part, 0), &cluster.object_in(0, part), &time(1), b"x");
        Self { cluster, part }
    }

    fn stubs(&self, disks: &[Disk], status: u16) -> Vec<StubPeer> {
        let reply = move |_: &_| if status == 200 { Reply::nothing() } else { Reply::Status(status, Vec::new()) };
        disks.iter().map(|disk| StubPeer::start(self.cluster.nodes[disk.node].object_address(), reply)).collect()
    }

    fn primaries(&self) -> Vec<Disk> {
        self.cluster.peers(0, self.part, 0)
    }

    fn handoffs(&self) -> Vec<Disk> {
        self.cluster.handoffs(0, self.part)
    }

    fn run(&self, which: Which, handoff_delete: u32) -> Outcome {
        let rsync = FakeRsync::doing("exit 0");
        self.cluster.pass(which, 0).set("handoff_delete", handoff_delete).rsync(&rsync).run()
    }
}

/// How many requests each stub got: questions, and words after a push.
fn requests(stubs: &[StubPeer]) -> Vec<(usize, usize)> {
    let count = |stub: &StubPeer| {
        let requests = stub.requests();
        let after = requests.iter().filter(|request| request.after_push()).count();
        (requests.len() - after, after)
    };
    stubs.iter().map(count).collect()
}

fn hand_offs_take_the_place_of_unmounted_primaries(which: Which) {
    let walk = Walk::new();
    let (primaries, handoffs) = (walk.stubs(&walk.primaries(), 507), walk.stubs(&walk.handoffs(), 200));
    let outcome = walk.run(which, 0);
    outcome.ended(0).counts(&[("rsync", 2), ("success", 2), ("failure", 2)]);
    for disk in walk.primaries() {
        outcome.says(&format!("{} responded as unmounted", disk.node_string()));
    }
    assert_eq!(requests(&primaries), [(1, 0), (1, 0)]);
    assert_eq!(requests(&handoffs), [(1, 1), (1, 1)]);
}

fn only_unmounted_primaries_are_replaced(which: Which) {
    let walk = Walk::new();
    let (primaries, handoffs) = (walk.stubs(&walk.primaries(), 500), walk.stubs(&walk.handoffs(), 200));
    let outcome = walk.run(which, 0);
    outcome.ended(0).counts(&[("rsync", 0), ("success", 0), ("failure", 2), ("suffix_count", 1)]);
    for disk in walk.primaries() {
        outcome.says(&format!("Invalid response 500 from {}", disk.node_string()));
    }
    assert_eq!(requests(&primaries), [(1, 0), (1, 0)]);
    assert_eq!(requests(&handoffs), [(0, 0), (0, 0)]);
}

fn hand_offs_may_run_out(which: Which) {
    let walk = Walk::new();
    let stubs = [walk.stubs(&walk.primaries(), 507), walk.stubs(&walk.handoffs(), 507)];
    let outcome = walk.run(which, 0);
    let part = walk.part;
    outcome.ended(0).says(&format!("Ran out of handoffs while replicating partition {part} of policy 0"));
    outcome.counts(&[("success", 0), ("failure", 4), ("suffix_count", 0)]);
    assert!(stubs.iter().all(|stubs| requests(stubs) == [(1, 0), (1, 0)]));
}

fn handoff_delete_walks_only_as_far_as_it_must(which: Which) {
    let walk = Walk::new();
    let (primaries, handoffs) = (walk.stubs(&walk.primaries(), 507), walk.stubs(&walk.handoffs(), 200));
    // One copy is here; one more is enough for two.
    let outcome = walk.run(which, 2);
    outcome.ended(0).counts(&[("rsync", 1), ("success", 1), ("failure", 2)]);
    assert_eq!(requests(&primaries), [(1, 0), (1, 0)]);
    assert_eq!(requests(&handoffs), [(1, 1), (0, 0)]);
}
