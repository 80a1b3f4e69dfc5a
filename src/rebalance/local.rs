//! This node: what its devices hold, from the one who knows best.

use std::collections::BTreeMap;

use serde::Serialize;

use super::listing::{self, Question};
use super::rings::{PolicyRing, Rings};
use crate::config::settings::Settings;
use crate::report::holding::Holding;
use crate::report::status::{self, Health, Kind, ReadError, Status};

/// What is known of this node.
#[derive(Serialize)]
pub(super) struct Node {
    /// The replicator that runs with this configuration, if one does.
    pub process: Option<Process>,
    /// Why it cannot be told whether one does.
    pub process_unknown: Option<String>,
    /// The rings that are in force.
    pub rings: Vec<RingState>,
    pub devices: Vec<Row>,
    /// A line for each policy whose ring cannot be read.
    pub unreadable_rings: Vec<String>,
    /// Why no device of the rings is here, if so.
    pub nothing_here: Option<String>,
    pub total: Total,
}

/// A replicator that runs.
#[derive(Serialize)]
pub(super) struct Process {
    pub pid: u32,
    /// A daemon, or a single pass.
    pub daemon: bool,
    /// When it wrote its status, as Unix time.
    pub written: f64,
    /// Why it looks stuck, if it does.
    pub stuck: Vec<String>,
    /// What it cannot do, though it moves.
    pub troubles: Vec<String>,
}

/// The ring of a policy.
#[derive(Debug, Serialize)]
pub(super) struct RingState {
    pub policy: u32,
    pub policy_name: String,
    /// Of the file.
    pub md5: String,
    /// When the file was written, as Unix time.
    pub changed: f64,
}

impl RingState {
    fn new(ring: &PolicyRing) -> Self {
        let PolicyRing { view, changed } = ring;
        let (policy, policy_name) = (ring.index(), view.policy.name.clone());
        Self { policy, policy_name, md5: view.ring.digest.clone(), changed: *changed }
    }
}

/// All devices together.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Total {
    pub handoffs_left: u64,
    /// As far as it is known.
    pub handoffs_stuck: u64,
    /// Until the last hand-off is gone; `None`: that cannot be told.
    pub seconds_left: Option<f64>,
    /// Devices of which nothing is known.
    pub unknown_devices: usize,
}

/// From where something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    RunningPass,
    LastPass,
    Listing,
}

/// A device under one policy. What is `None` is not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Row {
    pub device: String,
    pub policy: u32,
    pub policy_name: String,
    pub known_from: Option<Source>,
    /// As Unix time.
    pub as_of: Option<f64>,
    /// Why nothing is known.
    pub trouble: Option<String>,
    pub partitions: Option<u64>,
    pub primaries: Option<u64>,
    pub handoffs_left: Option<u64>,
    /// Those that something failed with in this pass, or the last, by cause.
    pub handoffs_stuck: Option<BTreeMap<String, u64>>,
    /// Those that had their turn and stay for now, though nothing failed.
    pub handoffs_waiting: Option<u64>,
    /// Hand-offs that went, since the device was listed.
    pub handoffs_per_hour: Option<f64>,
    /// Until the last hand-off is gone, if they go on like that.
    pub seconds_left: Option<f64>,
    /// For people.
    #[serde(skip)]
    pub causes: String,
}

impl Row {
    fn new(device: &str, ring: &PolicyRing) -> Self {
        let (device, policy, policy_name) = (device.to_owned(), ring.index(), ring.view.policy.name.clone());
        Self { device, policy, policy_name, ..Self::default() }
    }

    /// Takes in what is known since then.
    fn know(&mut self, holding: &Holding, source: Source, as_of: f64) {
        let left = holding.left();
        (self.known_from, self.as_of) = (Some(source), Some(as_of));
        (self.partitions, self.primaries) = (Some(holding.partitions), Some(holding.primaries));
        self.handoffs_left = Some(left);
        self.seconds_left = (left == 0).then_some(0.0);
        if source == Source::Listing {
            return;
        }
        self.handoffs_stuck = Some(holding.stuck.clone());
        self.handoffs_waiting = Some(holding.waiting);
        self.causes = holding.causes();
        let rate = rate(holding, as_of);
        self.handoffs_per_hour = rate.map(|rate| rate * 3600.0);
        // Between passes nothing moves, and what is stuck does not either.
        if source == Source::RunningPass && left > holding.all_stuck().saturating_add(holding.waiting) {
            self.seconds_left = rate.map(|rate| left as f64 / rate);
        }
    }
}

/// Hand-offs that went per second since the device was listed, if any did.
fn rate(holding: &Holding, as_of: f64) -> Option<f64> {
    let seconds = as_of - holding.listed;
    (holding.gone > 0 && seconds > 0.0).then(|| holding.gone as f64 / seconds)
}

impl Node {
    /// Whether everything could be told.
    pub(super) fn is_known(&self) -> bool {
        self.total.unknown_devices == 0 && self.unreadable_rings.is_empty() && self.nothing_here.is_none()
    }
}

impl Total {
    fn of(rows: &[Row]) -> Self {
        let left = |row: &Row| row.handoffs_left.unwrap_or_default();
        let stuck = rows.iter().filter_map(|row| row.handoffs_stuck.as_ref()).flat_map(BTreeMap::values);
        let unknown_devices = rows.iter().filter(|row| row.handoffs_left.is_none()).count();
        // The devices go side by side, so the slowest counts.
        let times = rows.iter().map(|row| row.seconds_left);
        Self {
            handoffs_left: rows.iter().map(left).fold(0, u64::saturating_add),
            handoffs_stuck: stuck.fold(0, |sum, count| sum.saturating_add(*count)),
            seconds_left: times.collect::<Option<Vec<_>>>().map(|times| times.into_iter().fold(0.0, f64::max)),
            unknown_devices,
        }
    }
}

/// Looks at all devices of this node.
pub(super) fn look(settings: &Settings, rings: &Rings, now: f64) -> Node {
    let (running, process_unknown) = running(settings, now);
    let mut rows = Vec::new();
    let mut questions = Vec::new();
    for ring in &rings.policies {
        for device in ring.local_devices() {
            let mut row = Row::new(&device, ring);
            match running.as_ref().and_then(|(_, status)| known(status, &device, ring)) {
                Some((holding, source, as_of)) => row.know(holding, source, as_of),
                None => questions.push((rows.len(), Question::new(settings, &device, &ring.view))),
            }
            rows.push(row);
        }
    }
    let (places, questions): (Vec<_>, Vec<_>) = questions.into_iter().unzip();
    for (place, answer) in places.into_iter().zip(listing::list(questions)) {
        match answer {
            Ok(holding) => rows[place].know(&holding, Source::Listing, holding.listed),
            Err(trouble) => rows[place].trouble = Some(trouble),
        }
    }
    rows.sort_by(|a, b| (&a.device, a.policy).cmp(&(&b.device, b.policy)));
    let (process, unreadable_rings) = (running.map(|(process, _)| process), rings.unreadable.clone());
    let in_force = rings.policies.iter().map(RingState::new).collect();
    let nothing_here = rows.is_empty().then(|| rings.nothing_here.clone());
    let mut node = Node {
        process,
        process_unknown,
        rings: in_force,
        total: Total::of(&rows),
        devices: rows,
        unreadable_rings,
        nothing_here,
    };
    // What is not known may take any time.
    node.total.seconds_left = node.total.seconds_left.filter(|_| node.is_known());
    node
}

/// The status of the daemon that runs, or else of the single pass that does; or why it cannot be told whether one does.
fn running(settings: &Settings, now: f64) -> (Option<(Process, Status)>, Option<String>) {
    let mut unknown = None;
    for kind in [Kind::Daemon, Kind::SinglePass] {
        match status::read(&settings.recon_cache_path, kind) {
            Ok(status) => {
                if let Some(process) = Process::new(&status, kind, now) {
                    return (Some((process, status)), None);
                }
            }
            Err(ReadError::Missing(_)) => {}
            Err(error) => drop(unknown.get_or_insert_with(|| error.to_string())),
        }
    }
    (None, unknown)
}

impl Process {
    /// `None` if it has ended, or is gone.
    fn new(status: &Status, kind: Kind, now: f64) -> Option<Self> {
        let (stuck, troubles) = match status.health_now(now) {
            Health::Well => (Vec::new(), Vec::new()),
            Health::Stuck(complaints) => (complaints, Vec::new()),
            Health::Troubled(troubles) => (Vec::new(), troubles),
            Health::Ended | Health::Gone => return None,
        };
        Some(Self { pid: status.pid, daemon: kind == Kind::Daemon, written: status.written, stuck, troubles })
    }
}

/// What the running process knows of a device by the ring that is in force: from the pass that is under way, or from the
/// last one. What it was told by another ring says nothing of the hand-offs that there are now.
fn known<'s>(status: &'s Status, device: &str, ring: &PolicyRing) -> Option<(&'s Holding, Source, f64)> {
    let is_it = |holding: &&Holding| {
        holding.policy == ring.index() && holding.is_listed() && holding.ring == ring.view.ring.digest
    };
    let running = status.passes.iter().flat_map(|pass| &pass.devices).filter(|progress| progress.device == device);
    let running = running.flat_map(|progress| &progress.holdings).find(is_it);
    if let Some(holding) = running {
        return Some((holding, Source::RunningPass, status.written));
    }
    let last = status.last.iter().rev().filter_map(|report| Some((report.devices.get(device)?, report.ended())));
    let mut last = last.flat_map(|(found, ended)| found.holdings.iter().map(move |holding| (holding, ended)));
    last.find(|(holding, _)| is_it(holding)).map(|(holding, ended)| (holding, Source::LastPass, ended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Cause;
    use crate::report::rings::RingStatus;

    fn known(holding: &Holding, source: Source) -> Row {
        let mut row = Row::default();
        row.know(holding, source, 1100.0);
        row
    }

    #[test]
    fn the_time_left_follows_from_the_hand_offs_own_rate_where_they_move() {
        let mut holding = Holding { listed: 1000.0, partitions: 90, handoffs: 60, gone: 20, ..Holding::default() };
        let moving = known(&holding, Source::RunningPass);
        assert_eq!(
            (moving.handoffs_left, moving.handoffs_per_hour, moving.seconds_left),
            (Some(40), Some(720.0), Some(200.0))
        );
        assert_eq!(known(&holding, Source::LastPass).seconds_left, None, "nothing moves between passes");
        assert_eq!(known(&holding, Source::Listing).handoffs_stuck, None, "a listing does not tell what is stuck");
        (0..40).for_each(|_| holding.stays(Some(Cause::Full)));
        let stuck = known(&holding, Source::RunningPass);
        assert_eq!((stuck.seconds_left, stuck.causes.as_str()), (None, "40 disk full"));
        holding.gone = 60;
        assert_eq!(known(&holding, Source::LastPass).seconds_left, Some(0.0));
        holding = Holding { listed: 1000.0, handoffs: 5, ..Holding::default() };
        assert_eq!(known(&holding, Source::RunningPass).seconds_left, None, "none has gone yet");
    }

    /// What is found of a process that has written these files.
    fn found(files: &[(Kind, &str)]) -> (Option<Process>, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let conf = folder.path().join("o.conf");
        std::fs::write(&conf, format!("[object-replicator]\nrecon_cache_path = {}\n", folder.path().display()))
            .unwrap();
        files.iter().for_each(|(kind, text)| std::fs::write(folder.path().join(kind.file()), text).unwrap());
        let (found, unknown) = running(&crate::config::settings::load(&conf).unwrap().settings, NOW);
        (found.map(|(process, _)| process), unknown)
    }

    const NOW: f64 = 5000.0;

    /// The status of this process.
    fn status() -> Status {
        let pid = std::process::id();
        let process_began = status::process_began(pid).unwrap();
        Status { pid, process_began, written: NOW - 1.0, ..Status::default() }
    }

    #[test]
    fn a_process_that_cannot_read_a_ring_runs_all_the_same() {
        let mut status = status();
        status.rings = vec![RingStatus { trouble: Some("no such file".into()), ..RingStatus::default() }];
        let (process, unknown) = found(&[(Kind::Daemon, &serde_json::to_string(&status).unwrap())]);
        let process = process.unwrap();
        assert!(process.daemon && process.stuck.is_empty() && unknown.is_none());
        assert!(process.troubles.len() == 1 && process.troubles[0].contains("no such file"), "{:?}", process.troubles);
    }

    #[test]
    fn a_status_that_cannot_be_read_is_not_taken_for_none() {
        let (process, unknown) = found(&[(Kind::Daemon, "{")]);
        assert!(process.is_none() && unknown.is_some_and(|why| why.contains("cannot be understood")));
        let status = serde_json::to_string(&status()).unwrap();
        let (process, unknown) = found(&[(Kind::Daemon, "{"), (Kind::SinglePass, &status)]);
        assert!(!process.unwrap().daemon && unknown.is_none());
        assert!(found(&[]).1.is_none());
    }

    #[test]
    fn what_is_not_known_is_never_counted_as_nothing() {
        let done = known(&Holding { listed: 1000.0, ..Holding::default() }, Source::Listing);
        let unknown = Row { trouble: Some("not mounted".into()), ..Row::default() };
        let total = Total::of(&[done.clone(), unknown]);
        assert_eq!(total, Total { unknown_devices: 1, ..Total::default() });
        assert_eq!(Total::of(&[done]), Total { seconds_left: Some(0.0), ..Total::default() });
    }
}
