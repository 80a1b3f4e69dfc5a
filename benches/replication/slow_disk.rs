//! Six devices, one of which takes its time: what that costs the other five.
//!
//! The delay is real to whoever opens a file or folder there: the kernel asks us first (fanotify), and we take that long
//! to say yes. When the others are done the peers tell: the device is in every request, and nginx logs the time.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::fcntl::AT_FDCWD;
use nix::sys::fanotify::{EventFFlags, Fanotify, FanotifyResponse, InitFlags, MarkFlags, MaskFlags, Response};
use swift_object_replicator::format::hashes::SuffixHashes;
use swift_object_replicator::format::pickle::{StoredHashes, encode_stored};

use crate::Plan;
use crate::launch::Cost;
use crate::peers::StaticPeers;
use crate::report::{Bound, Case, Figure};
use crate::stage::Stage;
use crate::support::cluster::{Lease, Spec};
use crate::support::replicator::Which;
use crate::tree::build_partition;

const DEVICES: u32 = 6;
/// The name of the last device, the slow one.
const SLOW: &str = "sdf";
/// Partitions of the slow device: enough to outlast the others.
const SLOW_PARTITIONS: u32 = 40;
/// What each opening there takes.
const DELAY: Duration = Duration::from_millis(200);
const POWER: u32 = 15;

/// The time of the other five, with the sixth as fast as they, and with it slow.
pub fn measure(plan: Plan) -> Vec<Case> {
    let each = if plan.quick { 400 } else { 2_000 };
    let scene = Scene::new(each);
    let name = |sixth: &str| format!("5 of 6 disks, the sixth {sixth}");
    let equal = Case::new(&name("as fast"), scene.compare(plan)).per(5 * each);
    let slow = {
        let _delay = Delay::of(&scene.cluster.disks_of(0).last().expect("six devices").path);
        Case::new(&name("200 ms per opening"), scene.compare(plan)).per(5 * each)
    };
    let limit = Bound::Times(1.2, "as fast".to_owned(), equal.ours_median(Figure::Wall));
    vec![equal.bound(Figure::Wall, Bound::None), slow.bound(Figure::Wall, limit)]
}

/// Three nodes of six devices; each partition is on the devices of one name.
struct Scene {
    cluster: Lease,
    peers: StaticPeers,
    partitions: u32,
}

impl Scene {
    fn new(each: u32) -> Self {
        let spec = Spec::nodes(3).devices(DEVICES as usize).part_power(POWER).in_memory(512).silent(&[0, 1, 2]);
        let mut cluster = spec.lease();
        let row = |node: u32| (0..1 << POWER).map(|partition| node * DEVICES + partition % DEVICES).collect();
        cluster.assign_ring(0, &[row(0), row(1), row(2)]);
        let hashes = SuffixHashes::new();
        let stored = encode_stored(&StoredHashes { hashes: hashes.clone(), valid: true, updated: 1.0 });
        let mut partitions = 0;
        for (device, disk) in (0..DEVICES).zip(cluster.disks_of(0)) {
            let count = if disk.name == SLOW { SLOW_PARTITIONS } else { each };
            for n in 0..count {
                build_partition(&disk.path.join("objects"), n * DEVICES + device, &stored);
            }
            partitions += count;
        }
        let peers = StaticPeers::with(&cluster, &hashes);
        Self { cluster, peers, partitions }
    }

    fn compare(&self, plan: Plan) -> (Vec<Cost>, Vec<Cost>) {
        let runs = plan.slow();
        let cost = |_| self.others_cost(Which::Reference);
        let reference = (0..runs.reference).map(cost).collect();
        (reference, (0..runs.ours).map(|_| self.others_cost(Which::Ours)).collect())
    }

    /// What a pass cost, its time that of the other devices alone.
    fn others_cost(&self, which: Which) -> Cost {
        let stage = Stage::new(&self.cluster).set("concurrency", DEVICES).expect("attempted", self.partitions);
        self.peers.forget_requests();
        let cost = stage.run(which);
        let requests = self.peers.requests();
        let others = requests.iter().filter(|request| request.device != SLOW).map(|request| request.time);
        let (first, last) = others.fold((f64::MAX, 0.0), |(first, last), time| (time.min(first), time.max(last)));
        eprintln!("    the other five: {:.3} s", last - first);
        Cost { wall: last - first, ..cost }
    }
}

/// A file system that is slow while this lives.
struct Delay {
    place: std::path::PathBuf,
    fanotify: Arc<Fanotify>,
}

impl Delay {
    fn of(place: &Path) -> Self {
        let events = EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC | EventFFlags::O_LARGEFILE;
        let flags = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC;
        let fanotify = Arc::new(Fanotify::init(flags, events).expect("a kernel that asks before files are opened"));
        let delay = Self { place: place.to_owned(), fanotify };
        delay.mark(MarkFlags::FAN_MARK_ADD);
        let fanotify = Arc::clone(&delay.fanotify);
        // It waits for events until the process ends.
        thread::spawn(move || {
            while let Ok(events) = fanotify.read_events() {
                for event in events {
                    let fanotify = Arc::clone(&fanotify);
                    thread::spawn(move || {
                        thread::sleep(DELAY);
                        let Some(opened) = event.fd() else { return };
                        let response = FanotifyResponse::new(opened, Response::FAN_ALLOW);
                        fanotify.write_response(response).expect("the kernel waits for it");
                    });
                }
            }
        });
        delay
    }

    fn mark(&self, how: MarkFlags) {
        let what = MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_ONDIR;
        let marked = self.fanotify.mark(how | MarkFlags::FAN_MARK_FILESYSTEM, what, AT_FDCWD, Some(&self.place));
        marked.expect("benchmarks run as root");
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.mark(MarkFlags::FAN_MARK_REMOVE);
    }
}
