//! What is to be thought of one node.
//!
//! A node that runs this program tells by which ring it listed each device, so no clocks are compared: its last pass is
//! one with this ring if every device of the ring was listed by a file of the same MD5. Of a node that runs Swift's own
//! only times are known: its last pass counts if it began after the ring file here was written, and nothing failed in
//! it, for a hand-off that could not be pushed is one of its failures.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::ask::{Answers, Server};
use crate::peer::recon::{Disk, Replication, RingSums};
use crate::rebalance::rings::PolicyRing;
use crate::report::holding::Holding;
use crate::report::rebalance::Rebalance;

/// A pass that is under way and of which nothing was heard for so many seconds has died.
const SILENCE: f64 = 900.0;
/// What a node says is cut off there.
const LONGEST_TEXT: usize = 200;

/// What is known here.
pub(super) struct Known<'a> {
    pub rings: &'a [PolicyRing],
    pub mount_check: bool,
    pub now: f64,
}

/// What the node's replicator is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Program {
    #[default]
    Unknown,
    /// This one.
    Ours,
    /// Swift's own, or a version of this one that does not count hand-offs.
    Other,
}

/// Whether a node is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub(super) enum State {
    #[default]
    Done,
    Wait(Vec<String>),
    Unknown(Vec<String>),
}

/// A node.
#[derive(Debug, Default, Serialize)]
pub(super) struct Judged {
    pub node: String,
    pub program: Program,
    #[serde(flatten)]
    pub state: State,
    /// Whether it has the rings that are here; `None`: it did not say.
    pub same_rings: Option<bool>,
    /// Hand-offs that are left; `None`: unknown.
    pub handoffs_left: Option<u64>,
    pub handoffs_stuck: Option<u64>,
    /// Until it is done; `None`: that cannot be told.
    pub seconds_left: Option<f64>,
    /// When its last pass ended, as Unix time, and how long that took.
    pub last_pass_ended: Option<f64>,
    pub last_pass_seconds: Option<f64>,
    /// Whether that pass was over everything and with the rings that are in force.
    pub last_pass_counts: bool,
    /// How long its last complete pass took, with whichever ring.
    pub complete_pass_seconds: Option<f64>,
    /// Of its last pass.
    pub failures: Option<u64>,
    /// Its fullest disk of the rings, and how full that is.
    pub fullest_disk: Option<(String, f64)>,
    #[serde(skip)]
    pub waits: Vec<String>,
    #[serde(skip)]
    pub unknown: Vec<String>,
}

impl Judged {
    /// Judges a node by what it answered.
    pub(super) fn new(server: &Server, answers: &Answers, known: &Known<'_>) -> Self {
        let mut judged = Self { node: server.name.clone(), ..Self::default() };
        match &answers.rings {
            Ok(sums) => judged.look_at_rings(server, sums, known),
            Err(error) => judged.cannot_be_told(error),
        }
        match &answers.replication {
            Ok(replication) => judged.look_at_passes(server, replication, known),
            Err(error) => judged.cannot_be_told(error),
        }
        judged.look_at_disks(server, answers, known);
        judged.state = match (&judged.unknown[..], &judged.waits[..]) {
            ([], []) => State::Done,
            ([], _) => State::Wait(judged.waits.clone()),
            _ => State::Unknown(judged.unknown.clone()),
        };
        if judged.state == State::Done {
            judged.seconds_left = Some(0.0);
        } else if judged.same_rings != Some(true) {
            // No pass brings it the ring.
            judged.seconds_left = None;
        }
        judged
    }

    fn look_at_disks(&mut self, server: &Server, answers: &Answers, known: &Known<'_>) {
        match &answers.usage {
            Ok(usage) => self.fullest_disk = fullest(server, &usage.0),
            Err(error) => self.cannot_be_told(error),
        }
        match &answers.unmounted {
            _ if !known.mount_check => {}
            Ok(unmounted) => {
                let gone = unmounted.0.iter().filter(|disk| server.has_device(&disk.device));
                let gone: BTreeSet<_> = gone.map(|disk| disk.device.as_str()).collect();
                let is_told = |device: &str| {
                    let prefix = format!("{device}: ");
                    self.unknown.iter().any(|line| line.starts_with(&prefix))
                };
                let new: Vec<_> = gone.into_iter().filter(|device| !is_told(device)).collect();
                self.unknown.extend(new.into_iter().map(|device| format!("{} is not mounted", text(device))));
            }
            Err(error) => self.cannot_be_told(error),
        }
    }

    /// One of its answers is missing, which is said once: who is silent is not asked on.
    fn cannot_be_told(&mut self, error: &str) {
        let error = text(error);
        if !self.unknown.contains(&error) {
            self.unknown.push(error);
        }
    }

    /// By their names, for the folder may be another one there.
    fn look_at_rings(&mut self, server: &Server, sums: &RingSums, known: &Known<'_>) {
        let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let theirs: BTreeMap<_, _> = sums.0.iter().map(|(path, md5)| (base(path), md5.as_deref())).collect();
        self.same_rings = Some(true);
        for ring in known.rings.iter().filter(|ring| server.devices.contains_key(&ring.index())) {
            let name = ring.view.policy.index.ring_file();
            match theirs.get(&name) {
                Some(Some(md5)) if *md5 == ring.view.ring.digest => continue,
                Some(Some(_)) => self.waits.push(format!("it has another {name}")),
                Some(None) => self.unknown.push(format!("it cannot read its {name}")),
                None => self.waits.push(format!("it does not have {name}, or its object server has not seen it yet")),
            }
            self.same_rings = Some(false);
        }
    }

    fn look_at_passes(&mut self, server: &Server, told: &Replication, known: &Known<'_>) {
        let last = told.object_replication_last.filter(|last| *last > 0.0);
        self.last_pass_ended = last;
        self.last_pass_seconds = told.object_replication_time.map(|minutes| minutes * 60.0).filter(|time| *time >= 0.0);
        let stats = told.replication_stats.as_ref();
        self.failures = stats.map(|stats| stats.failure);
        // Another program's pass since then makes it out of date: it stays in the cache.
        let is_ours = |told: &&Rebalance| told.ended + 1.0 >= last.unwrap_or_default();
        let ended = stats.and_then(|stats| stats.rebalance.as_ref()).filter(is_ours);
        let now = stats.and_then(|stats| stats.rebalance_now.as_ref()).filter(is_ours);
        let is_later = |pass: &&Rebalance| ended.is_none_or(|ended| pass.ended > ended.ended);
        let now = now.filter(|pass| known.now - pass.ended < SILENCE).filter(is_later);
        match (ended, now) {
            (None, None) => self.look_at_times(server, known),
            (ended, now) => self.look_at_holdings(server, ended, now, known),
        }
    }

    /// Swift's own replicator: only when its last pass was is known.
    fn look_at_times(&mut self, server: &Server, known: &Known<'_>) {
        self.program = Program::Other;
        let (Some(ended), Some(took)) = (self.last_pass_ended, self.last_pass_seconds) else {
            return self.waits.push("it tells of no pass".to_owned());
        };
        self.complete_pass_seconds = Some(took);
        let rings = known.rings.iter().filter(|ring| server.devices.contains_key(&ring.index()));
        let changed = rings.map(|ring| ring.changed).fold(0.0, f64::max);
        if ended - took < changed {
            self.waits.push("no pass that began after the ring was written has ended".to_owned());
            self.seconds_left = next_end(ended, took, known.now);
        } else if let Some(failures) = self.failures.filter(|failures| *failures > 0) {
            self.waits.push(format!("{failures} failures in its last pass: hand-offs may be left"));
        } else {
            self.last_pass_counts = true;
        }
    }

    /// This program: it tells what each device holds.
    fn look_at_holdings(
        &mut self,
        server: &Server,
        ended: Option<&Rebalance>,
        now: Option<&Rebalance>,
        known: &Known<'_>,
    ) {
        self.program = Program::Ours;
        let complete = ended.filter(|pass| pass.complete && !pass.handoffs_only);
        self.complete_pass_seconds = complete.map(|pass| pass.ended - pass.began).filter(|time| *time >= 0.0);
        if let Some(pass) = ended {
            (self.last_pass_ended, self.last_pass_seconds) = (Some(pass.ended), Some(pass.ended - pass.began));
        }
        let (mut left, mut stuck, mut times, mut with_ring) = (0_u64, 0_u64, Vec::new(), true);
        for (device, ring) in server.places(known) {
            let find = |pass: Option<&'_ Rebalance>| {
                let holdings = pass.and_then(|pass| pass.devices.get(device)).into_iter().flatten();
                holdings.into_iter().find(|holding| holding.policy == ring.index()).cloned()
            };
            let is_current = |holding: &Holding| holding.is_listed() && holding.ring == ring.view.ring.digest;
            let (then, newest) = (find(ended), find(now));
            with_ring &= then.as_ref().is_some_and(is_current);
            let as_of = if newest.as_ref().is_some_and(is_current) { now } else { ended };
            match newest.filter(is_current).or(then) {
                Some(holding) if is_current(&holding) => {
                    left = left.saturating_add(holding.left());
                    stuck = stuck.saturating_add(holding.all_stuck());
                    times.push(time_left(&holding, as_of.map_or(0.0, |pass| pass.ended)));
                }
                Some(Holding { trouble: Some(trouble), .. }) => {
                    self.unknown.push(format!("{device}: {}", text(&trouble)));
                }
                // Listed by another ring, or not at all yet.
                _ => times.push(None),
            }
        }
        (self.handoffs_left, self.handoffs_stuck) = (Some(left), Some(stuck));
        self.last_pass_counts = complete.is_some() && with_ring;
        self.say_what_is_left(left, stuck, ended, known);
        let until_gone = times.into_iter().collect::<Option<Vec<_>>>().map(|all| all.into_iter().fold(0.0, f64::max));
        let until_passed = match self.last_pass_counts {
            true => Some(0.0),
            false => ended.and_then(|pass| next_end(pass.ended, pass.ended - pass.began, known.now)),
        };
        self.seconds_left = until_gone.zip(until_passed).map(|(one, other)| one.max(other));
    }

    fn say_what_is_left(&mut self, left: u64, stuck: u64, ended: Option<&Rebalance>, known: &Known<'_>) {
        match (left, stuck) {
            (0, _) => {}
            (left, 0) => self.waits.push(format!("{left} hand-offs left")),
            (left, stuck) => self.waits.push(format!("{left} hand-offs left, {stuck} of them stuck")),
        }
        if self.last_pass_counts {
            return;
        }
        // What a device that is not known holds is what there is to say.
        if !self.unknown.is_empty() && ended.is_some_and(|pass| !pass.handoffs_only) {
            return;
        }
        let policies = if known.rings.len() > 1 { "rings" } else { "ring" };
        self.waits.push(match ended {
            None => "it has not ended a pass yet".to_owned(),
            Some(pass) if pass.handoffs_only => "its last pass was over hand-offs only".to_owned(),
            Some(pass) if !pass.complete => "its last pass was not complete".to_owned(),
            Some(_) => format!("no complete pass with the {policies} in force yet"),
        });
    }
}

impl Server {
    fn has_device(&self, name: &str) -> bool {
        self.devices.values().any(|devices| devices.contains(name))
    }

    /// Its devices, each with the rings that it is in.
    fn places<'a>(&'a self, known: &'a Known<'_>) -> impl Iterator<Item = (&'a str, &'a PolicyRing)> {
        let in_ring = |ring: &'a PolicyRing| {
            let devices = self.devices.get(&ring.index()).into_iter().flatten();
            devices.map(move |device| (device.as_str(), ring))
        };
        known.rings.iter().flat_map(in_ring)
    }
}

/// Until the hand-offs of a device are gone, by what has gone since it was listed.
fn time_left(holding: &Holding, as_of: f64) -> Option<f64> {
    let (left, seconds) = (holding.left(), as_of - holding.listed);
    match left {
        0 => Some(0.0),
        _ if holding.gone == 0 || seconds <= 0.0 || left <= holding.all_stuck() => None,
        left => Some(left as f64 * seconds / holding.gone as f64),
    }
}

/// Until the next pass has ended, if it takes as long as the last one.
fn next_end(ended: f64, took: f64, now: f64) -> Option<f64> {
    Some(ended + took - now).filter(|left| *left > 0.0)
}

/// The fullest of the node's disks that are in the rings.
fn fullest(server: &Server, disks: &[Disk]) -> Option<(String, f64)> {
    let share = |disk: &Disk| Some(disk.used.as_f64()? / disk.size.as_f64().filter(|size| *size > 0.0)?);
    let known = disks.iter().filter(|disk| server.has_device(&disk.device));
    let known = known.filter_map(|disk| Some((disk.device.clone(), share(disk)?.clamp(0.0, 1.0))));
    known.max_by(|a, b| a.1.total_cmp(&b.1))
}

/// What a node said, as far as anybody wants to read it.
fn text(said: &str) -> String {
    said.chars().take(LONGEST_TEXT).collect()
}

#[cfg(test)]
mod tests;
