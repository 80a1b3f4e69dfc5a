//! What the passes of this process are doing now, for whoever asks: a signal, the status file, a progress bar.
//!
//! A pass puts itself on the board while it runs, with the slots of its workers, and writes there how far each device is
//! about once a second. Whoever looks waits for a few instructions at most, and keeps no worker waiting.
//!
//! What it has counted of each peer is much more, so it is written only if somebody wants it, and less often.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::lanes::{Lane, Lanes};
use super::policies::Policies;
use crate::clock::unix;
use crate::job::slot::{Ahead, Doing};
use crate::locks::lock;
use crate::pass::watchdog::{Slots, StuckJob};
use crate::report::metrics::Counted;
use crate::report::rings::RingStatus;
use crate::report::status::{Progress, RunningPass, Worker};

/// How often a pass writes how far it is.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);

/// How often it writes what it has counted, if somebody wants that.
const COUNTED_PERIOD: Duration = Duration::from_secs(5);

/// The passes that are under way, and the jobs that hang, whichever pass they were of.
#[derive(Debug, Default)]
pub(crate) struct RunningPasses {
    passes: Mutex<Vec<Arc<Entry>>>,
    hanging: Mutex<Vec<StuckJob>>,
    /// Those by which passes are made.
    policies: Mutex<Option<Arc<Policies>>>,
    /// Somebody wants to know what passes count.
    is_counted: AtomicBool,
}

/// A pass as it stands on the board.
#[derive(Debug)]
struct Entry {
    /// The prefix of its thread in the log.
    group: Arc<str>,
    began: SystemTime,
    slots: Arc<Slots>,
    state: Mutex<Shown>,
}

#[derive(Debug)]
struct Shown {
    written: Instant,
    devices: Vec<Progress>,
    /// What was shown last of each: partitions and bytes, those that were not counted yet among them.
    shown: Vec<(u64, u64)>,
    /// What was counted, and when that was written.
    counted: Option<(Instant, Arc<Counted>)>,
    handoffs_only: bool,
}

/// A pass's place on the board, until this goes.
pub(crate) struct Post {
    board: Arc<RunningPasses>,
    pass: Arc<Entry>,
}

impl RunningPasses {
    /// Puts a pass on the board.
    pub(crate) fn post(self: &Arc<Self>, group: Arc<str>, slots: Arc<Slots>, lanes: &Lanes) -> Post {
        let state = Mutex::new(Shown::new(lanes));
        let pass = Arc::new(Entry { group, began: SystemTime::now(), slots, state });
        lock(&self.passes).push(pass.clone());
        Post { board: self.clone(), pass }
    }

    /// From now on passes are made by the rings of these policies.
    pub(crate) fn go_by(&self, policies: Arc<Policies>) {
        *lock(&self.policies) = Some(policies);
    }

    /// The rings in force. No file is looked at for this.
    pub(crate) fn rings(&self) -> Vec<RingStatus> {
        let policies = lock(&self.policies).clone();
        policies.map(|policies| policies.rings()).unwrap_or_default()
    }

    /// A job hangs.
    pub(crate) fn hangs(&self, job: &StuckJob) {
        let mut hanging = lock(&self.hanging);
        // It may have moved, and hang again.
        hanging.retain(|known| !known.is_same(job));
        hanging.push(job.clone());
    }

    /// The jobs that hang, until they come back.
    pub(crate) fn hanging(&self) -> Vec<Worker> {
        let mut hanging = lock(&self.hanging);
        hanging.retain(StuckJob::is_at_work);
        hanging.iter().map(|job| worker(job.doing.clone())).collect()
    }

    /// The names of the devices of this node, unless it cannot be told which they are. Name servers may be asked.
    pub(crate) fn local_devices(&self) -> Option<Vec<String>> {
        let policies = lock(&self.policies).clone();
        policies?.local_devices()
    }

    /// From now on passes write what they count.
    pub(crate) fn want_counts(&self) {
        self.is_counted.store(true, Ordering::Relaxed);
    }

    /// What the passes that are under way have counted, by the prefixes of their threads in the log.
    pub(crate) fn counted(&self) -> Vec<(Arc<str>, Arc<Counted>)> {
        let passes = lock(&self.passes);
        let counted = passes.iter().map(|pass| (pass.group.clone(), lock(&pass.state).counted.clone()));
        counted.filter_map(|(group, counted)| Some((group, counted?.1))).collect()
    }

    /// The passes that are under way, in the order of their groups.
    pub(crate) fn passes(&self) -> Vec<RunningPass> {
        let mut passes: Vec<_> = lock(&self.passes).iter().map(|pass| pass.look()).collect();
        passes.sort_by(|a, b| a.group.cmp(&b.group));
        passes
    }
}

impl Post {
    /// Writes how far the pass is, unless that was done a moment ago.
    pub(crate) fn update(&self, lanes: &Lanes) {
        if self.is_due() {
            let devices = progress(lanes);
            let handoffs_only = lanes.is_handoffs_only();
            let counted = self.counts_are_due().then(|| (Instant::now(), Arc::new(counted(lanes))));
            let mut state = lock(&self.pass.state);
            (state.written, state.devices, state.handoffs_only) = (Instant::now(), devices, handoffs_only);
            state.counted = counted.or(state.counted.take());
        }
    }

    fn counts_are_due(&self) -> bool {
        let is_due = |(written, _): &(Instant, _)| written.elapsed() >= COUNTED_PERIOD;
        self.board.is_counted.load(Ordering::Relaxed) && lock(&self.pass.state).counted.as_ref().is_none_or(is_due)
    }

    /// When it is time to write again.
    pub(crate) fn due(&self) -> Instant {
        lock(&self.pass.state).written + PERIOD
    }

    fn is_due(&self) -> bool {
        Instant::now() >= self.due()
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        lock(&self.board.passes).retain(|pass| !Arc::ptr_eq(pass, &self.pass));
    }
}

impl Entry {
    fn look(&self) -> RunningPass {
        let (mut workers, mut ahead) = (Vec::new(), Vec::new());
        for slot in self.slots.all() {
            if let Some(doing) = slot.doing() {
                ahead.push((doing.lane, slot.ahead()));
                workers.push(worker(doing));
            }
        }
        let mut state = lock(&self.state);
        RunningPass {
            group: self.group.trim().to_owned(),
            began: unix(self.began),
            moved: unix(SystemTime::now()) - state.written.elapsed().as_secs_f64(),
            workers,
            devices: state.with(&ahead),
            handoffs_only: state.handoffs_only,
        }
    }
}

impl Shown {
    fn new(lanes: &Lanes) -> Self {
        let (written, handoffs_only) = (Instant::now(), lanes.is_handoffs_only());
        Self { written, devices: progress(lanes), shown: Vec::new(), counted: None, handoffs_only }
    }

    /// The devices, with what jobs have done and not told the pass yet. What they tell takes a moment to get here, so
    /// nothing is less than it was.
    fn with(&mut self, ahead: &[(usize, Ahead)]) -> Vec<Progress> {
        let mut devices = self.devices.clone();
        self.shown.resize(devices.len(), (0, 0));
        for (lane, ahead) in ahead {
            if let Some(device) = devices.get_mut(*lane) {
                device.ahead += ahead.partitions;
                device.bytes += ahead.bytes;
            }
        }
        for (device, (done, bytes)) in devices.iter_mut().zip(&mut self.shown) {
            // A partition may be counted twice over: one that the ring gives back, or that failed with several targets.
            *done = (*done).max(device.attempted + device.ahead).min(device.found.max(device.attempted));
            *bytes = (*bytes).max(device.bytes);
            (device.ahead, device.bytes) = (*done - device.attempted.min(*done), *bytes);
        }
        devices
    }
}

fn progress(lanes: &Lanes) -> Vec<Progress> {
    let of = |lane: &Lane| Progress {
        device: lane.disk.to_string(),
        found: lane.found,
        attempted: lane.tally.counts.attempted,
        ahead: 0,
        bytes: lane.tally.counts.bytes,
        failures: lane.tally.counts.failures(),
        is_listed: lane.is_listed(),
        set_aside: lane.is_closed(),
        holdings: lane.tally.holdings.clone(),
    };
    lanes.iter().map(of).collect()
}

fn counted(lanes: &Lanes) -> Counted {
    let mut counted = Counted::default();
    for lane in lanes.iter() {
        counted.devices.insert(lane.disk.to_string(), lane.tally.counts.clone());
        for (name, counts) in &lane.tally.peers {
            match counted.peers.get_mut(&**name) {
                Some(sum) => sum.merge(counts),
                None => drop(counted.peers.insert(name.to_string(), counts.clone())),
            }
        }
    }
    counted
}

fn worker(doing: Doing) -> Worker {
    Worker {
        device: doing.disk.to_string(),
        partition: doing.partition.map(|partition| partition.number()),
        step: doing.step.to_string(),
        peer: doing.peer.as_deref().map(str::to_owned),
        seconds: doing.since.elapsed().as_secs_f64(),
        partitions: doing.pushing.partitions,
        begun: doing.pushing.begun,
        bytes: doing.pushing.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::BatchLimits;
    use super::*;
    use crate::heartbeat::Heartbeat as _;
    use crate::job::custody::Custody;
    use crate::job::slot::{Slot, Step};
    use crate::job::tally::Tally;
    use crate::names::{Partition, PolicyIndex};

    #[test]
    fn a_pass_is_on_the_board_while_it_runs_with_what_its_workers_do() {
        let board = Arc::new(RunningPasses::default());
        let mut lanes = Lanes::new(false, BatchLimits { updates: 1, reverts: 1 }, 1);
        lanes.add("sda", 0);
        let slots = Arc::new(Slots::default());
        let [(_, slot), _idle] = [slots.add(), slots.add()];
        let post = board.post(Arc::from("[worker 1/2 pid=7] "), slots, &lanes);
        slot.begin(0, &Arc::from("sda"), None);
        slot.step(Some(Partition::new(12)), Step::Pushing, Some(Arc::from("10.0.0.2:6200/sdb")));

        let [pass] = &board.passes()[..] else { panic!("one pass runs") };
        assert_eq!(pass.group, "[worker 1/2 pid=7]");
        assert!(!pass.devices[0].is_listed && !pass.devices[0].set_aside);
        let [worker] = &pass.workers[..] else { panic!("one worker is at work: {pass:?}") };
        assert_eq!((worker.device.as_str(), worker.partition), ("sda", Some(12)));
        assert_eq!((worker.step.as_str(), worker.peer.as_deref()), ("pushing", Some("10.0.0.2:6200/sdb")));
        drop(post);
        assert_eq!(board.passes(), []);
    }

    #[test]
    fn a_batch_moves_while_it_is_pushed_and_nothing_goes_back() {
        let board = Arc::new(RunningPasses::default());
        let mut lanes = Lanes::new(false, BatchLimits { updates: 8, reverts: 1 }, 1);
        lanes.add("sda", 0);
        lanes.leave_out(0, 10);
        let slots = Arc::new(Slots::default());
        let (_, slot) = slots.add();
        let post = board.post(Arc::from(""), slots, &lanes);
        let custody = Custody::new(PolicyIndex::new(0), (0..8).map(Partition::new).collect());
        slot.begin(0, &Arc::from("sda"), Some(Arc::new(custody)));
        slot.divide(8, 16);
        slot.step(Some(Partition::new(0)), Step::Pushing, None);
        slot.push_of(8);
        slot.pushes(4, 1000);
        let look = || board.passes().remove(0);
        let pass = look();
        assert_eq!((pass.devices[0].attempted, pass.devices[0].ahead, pass.devices[0].bytes), (0, 2, 1000));
        assert_eq!((pass.workers[0].partitions, pass.workers[0].begun, pass.workers[0].bytes), (8, 4, 1000));
        // The job has told what it counted, and nobody has looked at the lanes since.
        slot.handed_over();
        slot.end();
        assert_eq!((look().devices[0].ahead, look().devices[0].bytes), (2, 1000));
        let mut tally = Tally::default();
        (tally.counts.attempted, tally.counts.bytes) = (8, 1200);
        lanes.count_in(0, tally);
        lock(&post.pass.state).devices = progress(&lanes);
        assert_eq!((look().devices[0].attempted, look().devices[0].ahead, look().devices[0].bytes), (8, 0, 1200));
    }

    #[test]
    fn a_job_that_hangs_is_known_until_it_comes_back_whatever_becomes_of_its_pass() {
        let board = RunningPasses::default();
        let slot = Arc::new(Slot::default());
        slot.begin(0, &Arc::from("sda"), None);
        board.hangs(&StuckJob::new(slot.clone()).unwrap());
        assert_eq!(board.hanging()[0].device, "sda");
        slot.end();
        slot.begin(0, &Arc::from("sda"), None);
        assert_eq!(board.hanging(), [], "this is another job");
    }
}
