//! Passes while clients write: nothing is lost, and no suffix that changed keeps its old hash.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;

use crate::support::cluster::{Cluster, Disk, Spec};
use crate::support::object::{Object, time};
use crate::support::replicator::Which;
use crate::support::seed::Seed;
use crate::support::tree::hashes;

both! {
    writes_and_deletions_during_passes_reach_every_primary,
}

/// What a client does between two requests. Without it the passes would starve: servers, clients and replicators share
/// the machine.
fn think() {
    thread::sleep(Duration::from_millis(5));
}

/// What a client knows of an object when it is done: the last step, and whether that stored something.
struct Fate {
    object: Object,
    step: u32,
    stored: bool,
}

/// Does `work`, and tells the others to stop when that is done, or has failed.
fn while_others_work(stop: &AtomicBool, work: impl FnOnce()) {
    struct Raise<'a>(&'a AtomicBool);
    impl Drop for Raise<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let _raise = Raise(stop);
    work();
}

/// Stores and deletes objects, each time on some of their devices only, until it is told to stop; counts its steps.
fn scribble(cluster: &Cluster, objects: &[Object], steps: &AtomicU32, stop: &AtomicBool, mut rng: Rng) -> Vec<Fate> {
    let mut fates: Vec<Fate> =
        objects.iter().map(|object| Fate { object: object.clone(), step: 0, stored: false }).collect();
    while !stop.load(Ordering::Relaxed) {
        let fate = &mut fates[rng.usize(..objects.len())];
        let mut reached = cluster.primaries(0, fate.object.partition);
        rng.shuffle(&mut reached);
        reached.truncate(rng.usize(1..=reached.len()));
        fate.step += 1;
        steps.fetch_add(1, Ordering::Relaxed);
        fate.stored = rng.u32(0..3) > 0;
        for disk in &reached {
            let (object, time) = (&fate.object, time(fate.step));
            let status = match fate.stored {
                true => cluster.try_put(disk, object, &time, fate.step.to_string().as_bytes()),
                false => cluster.try_delete(disk, object, &time),
            };
            // 409: a pass was faster and brought the same from another device.
            assert!(matches!(status, 201 | 204 | 404 | 409), "{object:?} on {disk:?}: {status}");
        }
        think();
    }
    fates
}

fn pass_on_every_node(cluster: &Cluster, which: Which) -> i64 {
    let passes = (0..cluster.nodes.len()).map(|node| cluster.pass(which, node).set("concurrency", 2).start());
    let passes: Vec<_> = passes.collect();
    let outcomes: Vec<_> = passes.into_iter().map(|pass| pass.finish()).collect();
    outcomes.iter().map(|outcome| outcome.ended(0).counter("rsync")).sum()
}

fn writes_and_deletions_during_passes_reach_every_primary(which: Which) {
    let cluster = Spec::nodes(3).part_power(2).lease();
    let names = |_| (0..8).map(|n| cluster.object_in(0, n % 4)).collect::<Vec<_>>();
    let objects = [0, 1].map(names);
    let (steps, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let seed = Seed::of_this_run();
    let mut rng = seed.rng();
    let fates: Vec<Fate> = thread::scope(|scope| {
        let (cluster, steps, stop) = (&cluster, &steps, &stop);
        let clients = objects.each_ref().map(|objects| {
            let rng = rng.fork();
            scope.spawn(move || scribble(cluster, objects, steps, stop, rng))
        });
        while_others_work(stop, || {
            let mut rounds = 0;
            while rounds < 3 || steps.load(Ordering::Relaxed) < 100 {
                pass_on_every_node(cluster, which);
                rounds += 1;
            }
        });
        clients.into_iter().flat_map(|client| client.join().expect("a client's requests work")).collect()
    });
    // The last writes travel on; then there is nothing left to push.
    let rounds = (0..4).take_while(|_| pass_on_every_node(&cluster, which) > 0).count();
    assert!(rounds < 4, "there is always something left to push");
    for fate in fates.iter().filter(|fate| fate.step > 0) {
        for disk in cluster.primaries(0, fate.object.partition) {
            let answer = cluster.get(&disk, &fate.object);
            match fate.stored {
                true => assert_eq!(answer.body, fate.step.to_string().as_bytes(), "{:?} on {disk:?}", fate.object),
                false => assert_eq!(answer.status, 404, "{:?} on {disk:?}", fate.object),
            }
        }
    }
    for part in 0..4 {
        cluster.primaries(0, part).iter().for_each(|disk| assert_hashes_are_true(&cluster, disk, part));
    }
}

/// The hashes that the partition's files keep are those that it has when nothing is known of it.
fn assert_hashes_are_true(cluster: &Cluster, disk: &Disk, part: u32) {
    let folder = disk.partition(0, part);
    cluster.hashes(disk, 0, part);
    let kept = hashes(&folder.join("hashes.pkl"));
    for file in ["hashes.pkl", "hashes.invalid"] {
        fs::remove_file(folder.join(file)).expect("a partition in use has both");
    }
    cluster.hashes(disk, 0, part);
    assert_eq!(kept, hashes(&folder.join("hashes.pkl")), "an invalidation was lost in {}", folder.display());
}

#[test]
fn what_is_stored_on_a_hand_off_while_it_is_moved_is_not_lost() {
    let cluster = Spec::nodes(4).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    let stop = AtomicBool::new(false);
    let stored: Vec<Object> = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut stored = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let object = cluster.object_in(0, part);
                // A folder may vanish under the server's hands: then it says so, and the proxy takes another node.
                if cluster.try_put(&disk, &object, &time(1), object.name.as_bytes()) == 201 {
                    stored.push(object);
                }
                think();
            }
            stored
        });
        while_others_work(&stop, || {
            for _ in 0..10 {
                cluster.replicate(Which::Ours, 0).ended(0);
            }
        });
        client.join().expect("the client's requests are answered")
    });
    cluster.replicate(Which::Ours, 0).clean();
    assert!(stored.len() > 10, "next to nothing was stored: {}", stored.len());
    cluster.assert_gone(&disk, 0, part);
    for object in &stored {
        for primary in cluster.primaries(0, part) {
            assert_eq!(cluster.get(&primary, object).body, object.name.as_bytes(), "{object:?} on {primary:?}");
        }
    }
}
