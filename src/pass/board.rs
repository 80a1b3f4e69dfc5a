//! What the passes of this process are doing now, for whoever asks: a signal, the status file, a progress bar.
//!
//! A pass puts itself on the board while it runs, with the slots of its workers, and writes there how far each device is
//! about once a second. Whoever looks waits for a few instructions at most, and keeps no worker waiting.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::lanes::{Lane, Lanes};
use crate::clock::unix;
use crate::job::slot::Doing;
use crate::locks::lock;
use crate::pass::watchdog::{Slots, StuckJob};
use crate::report::status::{Progress, RunningPass, Worker};

/// How often a pass writes how far it is.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);

/// The passes that are under way, and the jobs that hang, whichever pass they were of.
#[derive(Debug, Default)]
pub(crate) struct RunningPasses {
    passes: Mutex<Vec<Arc<Entry>>>,
    hanging: Mutex<Vec<StuckJob>>,
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
    handoffs_only: bool,
}

impl Shown {
    fn new(lanes: &Lanes) -> Self {
        Self { written: Instant::now(), devices: progress(lanes), handoffs_only: lanes.is_handoffs_only() }
    }
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
            let shown = Shown::new(lanes);
            *lock(&self.pass.state) = shown;
        }
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
        let workers = self.slots.all().iter().filter_map(|slot| slot.doing()).map(worker).collect();
        let state = lock(&self.state);
        RunningPass {
            group: self.group.trim().to_owned(),
            began: unix(self.began),
            moved: unix(SystemTime::now()) - state.written.elapsed().as_secs_f64(),
            workers,
            devices: state.devices.clone(),
            handoffs_only: state.handoffs_only,
        }
    }
}

fn progress(lanes: &Lanes) -> Vec<Progress> {
    let of = |lane: &Lane| Progress {
        device: lane.disk.to_string(),
        found: lane.found,
        attempted: lane.tally.counts.attempted,
        failures: lane.tally.counts.failures(),
        is_listed: lane.is_listed(),
        set_aside: lane.is_closed(),
        holdings: lane.tally.holdings.clone(),
    };
    lanes.iter().map(of).collect()
}

fn worker(doing: Doing) -> Worker {
    Worker {
        device: doing.disk.to_string(),
        partition: doing.partition.map(|partition| partition.number()),
        step: doing.step.to_string(),
        peer: doing.peer.as_deref().map(str::to_owned),
        seconds: doing.since.elapsed().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::BatchLimits;
    use super::*;
    use crate::job::slot::{Slot, Step};
    use crate::names::Partition;

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
