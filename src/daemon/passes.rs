//! One pass, or one after the other, and what is published of each.
//!
//! With `replicator_workers` the local devices are in groups, each with a thread that goes its own way: own pass clock,
//! own statistics, own prefix in the log. None waits for another, so a disk that needs days does not delay the others'
//! next pass. (The reference has a process per group. Here they share rings, clients and the process, B5.20-B5.22.)

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, info};

use super::control::Control;
use super::group_threads::{GroupThreads, Seat};
use super::groups::{Groups, Shared};
use super::publish::{Publisher, log_report};
use super::reload::{LoadedConfig, Pending};
use crate::config::settings::Settings;
use crate::job::scope::Overrides;
use crate::log::set_thread_prefix;
use crate::notice;
use crate::pass::{PassSummary, Replicator};
use crate::report::pass_report::PassReport;

/// How often the devices are looked at, and the figures of the groups are summed up (B5.22).
const ROUND: Duration = Duration::from_secs(5);

/// How often groups that have been told to end are looked at.
const JOIN: Duration = Duration::from_millis(20);

/// Makes one pass (B5.19) and returns its results; `None` if it panicked.
pub(super) fn once(
    replicator: &mut Replicator,
    settings: &Settings,
    overrides: &Overrides,
    publisher: &Publisher,
) -> Option<PassReport> {
    let Some(groups) = groups(replicator, settings, overrides) else {
        return Some(once_alone(replicator, overrides, publisher));
    };
    let reports = pass_of_groups(replicator, overrides, publisher, groups);
    notice!("Finished {}", std::process::id());
    if let Some(devices) = replicator.local_devices() {
        publisher.sum(&devices);
    }
    reports.into_iter().reduce(|mut sum, report| {
        sum.merge(report);
        sum
    })
}

/// Makes one pass of each group and returns the results of each.
fn pass_of_groups(
    replicator: &mut Replicator,
    overrides: &Overrides,
    publisher: &Publisher,
    groups: Groups,
) -> Vec<PassReport> {
    let count = groups.count();
    let groups = Shared::new(groups);
    let seats = seats(replicator, &groups);
    // The groups' threads are heard of instead.
    replicator.registration().beat_after(Duration::MAX);
    thread::scope(|scope| {
        let pass = |seat: &Seat| {
            set_thread_prefix(prefix(seat.group, count));
            let (devices, mut replicator) = (seat.share.devices(), seat.replicator());
            let summary = script_pass(&mut replicator, overrides);
            if overrides.is_empty() {
                publisher.pass_of_group(seat.group, &summary, &devices);
            }
            replicator.registration().beat_after(Duration::MAX);
            summary.report
        };
        let started: Vec<_> = seats.iter().map(|seat| (seat, seat.start(scope, move || pass(seat)))).collect();
        let alone: Vec<_> = started.iter().filter(|(_, thread)| thread.is_err()).map(|(seat, _)| *seat).collect();
        // Those for which no thread is to be had have their turn in this one.
        let reports: Vec<_> = alone.into_iter().map(pass).collect();
        set_thread_prefix("");
        let threads = started.into_iter().filter_map(|(_, thread)| thread.ok());
        threads.filter_map(|thread| thread.join().ok()).chain(reports).collect()
    })
}

fn once_alone(replicator: &mut Replicator, overrides: &Overrides, publisher: &Publisher) -> PassReport {
    let summary = script_pass(replicator, overrides);
    // The figures of a part would pass for those of the whole.
    if overrides.is_empty() {
        publisher.whole_pass(&summary, replicator.local_devices().as_deref());
    }
    summary.report
}

fn script_pass(replicator: &mut Replicator, overrides: &Overrides) -> PassSummary {
    info!("Running object replicator in script mode.");
    let summary = replicator.run_pass(overrides);
    info!("Object replication{} complete (once). ({:.2} minutes)", of_what(&summary), summary.minutes());
    log_report(&summary.report);
    summary
}

/// Passes until the process ends (B5.18), by one configuration after the other.
pub(super) fn forever(mut loaded: LoadedConfig, next: &Pending, publisher: &Publisher, control: &Control) -> ! {
    loop {
        let LoadedConfig { settings, mut replicator } = loaded;
        replicator.take_force();
        control.renew(&settings, replicator.policies());
        passes(&mut replicator, &settings, publisher);
        let leftover = replicator.finish();
        // Without it there would have been no interrupt.
        loaded = loop {
            match next.take() {
                Some(loaded) => break loaded,
                None => thread::sleep(ROUND),
            }
        };
        loaded.replicator.registration().sign();
        loaded.replicator.adopt(leftover);
        loaded.replicator.show_rings();
        crate::log::renew(&loaded.settings.log);
        publisher.renew(&loaded.settings);
    }
}

/// Passes by one configuration, until there is another.
fn passes(replicator: &mut Replicator, settings: &Settings, publisher: &Publisher) {
    match groups(replicator, settings, &Overrides::default()) {
        Some(groups) => passes_of_groups(replicator, settings, publisher, groups),
        None => passes_of_one(replicator, settings, publisher, |replicator, summary| {
            publisher.whole_pass(summary, replicator.local_devices().as_deref());
        }),
    }
}

fn passes_of_one(
    replicator: &mut Replicator,
    settings: &Settings,
    publisher: &Publisher,
    publish: impl Fn(&Replicator, &PassSummary),
) {
    info!("Starting object replicator in daemon mode.");
    loop {
        if replicator.rest_while_paused() {
            return;
        }
        match daemon_pass(replicator) {
            Some(summary) if summary.is_interrupted => return publisher.cut_short(&summary.report),
            Some(summary) => publish(replicator, &summary),
            None => publisher.broke_off(),
        }
        debug!("Replication sleeping for {:?} seconds.", settings.interval.as_secs_f64());
        if replicator.rest_before_pass(settings.interval) {
            return;
        }
    }
}

fn passes_of_groups(replicator: &mut Replicator, settings: &Settings, publisher: &Publisher, groups: Groups) {
    let count = groups.count();
    let groups = Shared::new(groups);
    let news = AtomicBool::new(false);
    let seats = seats(replicator, &groups);
    thread::scope(|scope| {
        let passes = |seat: &Seat| {
            set_thread_prefix(prefix(seat.group, count));
            let mut replicator = seat.replicator();
            replicator.registration().sign();
            passes_of_one(&mut replicator, settings, publisher, |_, summary| {
                publisher.pass_of_group(seat.group, summary, &seat.share.devices());
                news.store(true, Ordering::Release);
            });
            // There is nothing more to hear of it.
            replicator.registration().beat_after(Duration::MAX);
        };
        let mut threads = GroupThreads::new(&seats, |seat| seat.start(scope, move || passes(seat)));
        look_after(replicator, settings, publisher, &groups, &news, || threads.fill(|| replicator.is_to_end()));
        while !threads.have_ended() {
            replicator.registration().sign();
            thread::sleep(JOIN);
        }
    });
    seats.into_iter().for_each(|seat| replicator.adopt(seat.leave()));
}

fn seats(replicator: &mut Replicator, groups: &Shared) -> Vec<Seat> {
    let count = groups.lock().count();
    let seat = |group| Seat::new(group, groups.of(group), replicator);
    (0..count).map(seat).collect()
}

/// Keeps the groups in step with the rings, and the sum of their figures with what they publish, until there is another
/// configuration. In each round threads that are missing are started.
fn look_after(
    replicator: &Replicator,
    settings: &Settings,
    publisher: &Publisher,
    groups: &Shared,
    news: &AtomicBool,
    mut start_missing: impl FnMut(),
) {
    let first_sum = Instant::now() + settings.stats_interval;
    let mut former = Vec::new();
    loop {
        start_missing();
        if replicator.rest(ROUND) {
            return;
        }
        let Some(devices) = replicator.refreshed_local_devices() else { continue };
        groups.lock().adjust(&devices);
        let is_due = Instant::now() >= first_sum;
        if is_due && (news.swap(false, Ordering::Acquire) || former != devices) {
            publisher.sum(&devices);
            former = devices;
        }
    }
}

/// A pass of those that follow each other. One that broke off for a bug is in the log, and has no summary.
fn daemon_pass(replicator: &mut Replicator) -> Option<PassSummary> {
    info!("Starting object replication pass.");
    let summary = catch_unwind(AssertUnwindSafe(|| replicator.run_pass(&Overrides::default()))).ok()?;
    match summary.is_interrupted {
        true => {
            info!("Object replication pass ended early, for the new configuration. ({:.2} minutes)", summary.minutes());
        }
        false => info!("Object replication{} complete. ({:.2} minutes)", of_what(&summary), summary.minutes()),
    }
    log_report(&summary.report);
    Some(summary)
}

/// What a pass was over, if not over everything: who counts such lines must not count it.
fn of_what(summary: &PassSummary) -> &'static str {
    if summary.report.handoffs_only { " of hand-offs only" } else { "" }
}

/// The groups of the local devices that are asked for. `None`: one pass over whatever there is.
fn groups(replicator: &Replicator, settings: &Settings, overrides: &Overrides) -> Option<Groups> {
    if settings.replicator_workers == 0 {
        return None;
    }
    let mut devices = replicator.local_devices()?;
    devices.retain(|device| overrides.wants_device(device));
    Groups::deal(&devices, settings.replicator_workers)
}

fn prefix(group: usize, count: usize) -> String {
    format!("[worker {}/{count} pid={}] ", group + 1, std::process::id())
}
