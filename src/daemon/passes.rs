//! One pass, or one after the other, and what is published of each.
//!
//! With `replicator_workers` the local devices are in groups, each with a thread that goes its own way: own pass clock,
//! own statistics, own prefix in the log. None waits for another, so a disk that needs days does not delay the others'
//! next pass. (The reference has a process per group. Here they share rings, clients and the process, B5.20-B5.22.)

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, error, info};

use super::groups::{Groups, Shared};
use crate::config::settings::Settings;
use crate::notice;
use crate::pass::{Overrides, PassSummary, Replicator};
use crate::report::log::set_thread_prefix;
use crate::report::recon;
use crate::report::stats::{self, ReplicationStats};

/// How often the devices are looked at, and the figures of the groups are summed up (B5.22).
const ROUND: Duration = Duration::from_secs(5);

/// One pass (B5.19).
pub fn once(replicator: &mut Replicator, settings: &Settings, overrides: &Overrides) {
    let Some(groups) = groups(replicator, settings, overrides) else {
        return once_alone(replicator, settings, overrides);
    };
    thread::scope(|scope| {
        let count = groups.count();
        let groups = Shared::new(groups);
        for group in 0..count {
            let share = Arc::new(groups.of(group));
            let mut replicator = replicator.for_share(share.clone());
            spawn_scoped(scope, group, move || {
                set_thread_prefix(prefix(group, count));
                let devices = share.devices();
                let summary = script_pass(&mut replicator, overrides);
                if overrides.is_empty() {
                    publish_disks(settings, &summary, &devices);
                }
            });
        }
    });
    notice!("Finished {}", std::process::id());
    if let Some(devices) = replicator.local_devices() {
        publish_sum(settings, &devices);
    }
}

fn once_alone(replicator: &mut Replicator, settings: &Settings, overrides: &Overrides) {
    let summary = script_pass(replicator, overrides);
    // The figures of a part would pass for those of the whole.
    if overrides.is_empty() {
        publish(settings, &summary);
    }
}

fn script_pass(replicator: &mut Replicator, overrides: &Overrides) -> PassSummary {
    info!("Running object replicator in script mode.");
    let summary = replicator.run_pass(overrides);
    info!("Object replication complete (once). ({:.2} minutes)", summary.minutes());
    summary
}

/// Passes until the process ends (B5.18).
pub fn forever(replicator: &mut Replicator, settings: &Settings) -> ! {
    let Some(groups) = groups(replicator, settings, &Overrides::default()) else {
        info!("Starting object replicator in daemon mode.");
        loop {
            if let Some(summary) = daemon_pass(replicator) {
                publish(settings, &summary);
            }
            pause(settings);
        }
    };
    let count = groups.count();
    let groups = Shared::new(groups);
    let news = AtomicBool::new(false);
    thread::scope(|scope| {
        for group in 0..count {
            let share = Arc::new(groups.of(group));
            let mut replicator = replicator.for_share(share.clone());
            let news = &news;
            spawn_scoped(scope, group, move || {
                set_thread_prefix(prefix(group, count));
                info!("Starting object replicator in daemon mode.");
                loop {
                    let devices = share.devices();
                    if let Some(summary) = daemon_pass(&mut replicator) {
                        publish_disks(settings, &summary, &devices);
                        news.store(true, Ordering::Release);
                    }
                    pause(settings);
                }
            });
        }
        look_after(replicator, settings, &groups, &news)
    })
}

/// Keeps the groups in step with the rings, and the sum of their figures with what they publish.
fn look_after(replicator: &Replicator, settings: &Settings, groups: &Shared, news: &AtomicBool) -> ! {
    let first_sum = Instant::now() + settings.stats_interval;
    let mut former = Vec::new();
    loop {
        thread::sleep(ROUND);
        let Some(devices) = replicator.refreshed_local_devices() else { continue };
        groups.lock().adjust(&devices);
        let is_due = Instant::now() >= first_sum;
        if is_due && (news.swap(false, Ordering::Acquire) || former != devices) {
            publish_sum(settings, &devices);
            former = devices;
        }
    }
}

/// A pass of those that follow each other. One that broke off for a bug is in the log, and has no summary.
fn daemon_pass(replicator: &mut Replicator) -> Option<PassSummary> {
    info!("Starting object replication pass.");
    let summary = catch_unwind(AssertUnwindSafe(|| replicator.run_pass(&Overrides::default()))).ok()?;
    info!("Object replication complete. ({:.2} minutes)", summary.minutes());
    Some(summary)
}

fn pause(settings: &Settings) {
    debug!("Replication sleeping for {:?} seconds.", settings.interval.as_secs_f64());
    thread::sleep(settings.interval);
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

fn spawn_scoped<'scope>(scope: &'scope thread::Scope<'scope, '_>, group: usize, work: impl FnOnce() + Send + 'scope) {
    if let Err(error) = thread::Builder::new().name(format!("group-{group}")).spawn_scoped(scope, work) {
        error!("Cannot start the thread of group {}, so its devices are not replicated: {error}", group + 1);
    }
}

fn publish(settings: &Settings, summary: &PassSummary) {
    dump(settings, &summary.recon_entries());
}

/// What each of a group's devices did (B12.18); the sum waits until every one is there, so those that did nothing are
/// published too.
fn publish_disks(settings: &Settings, summary: &PassSummary, devices: &[String]) {
    let nothing = ReplicationStats::default();
    let disks: BTreeSet<_> = devices.iter().chain(summary.disks.keys()).collect();
    let disks = disks.into_iter().map(|disk| (disk.as_str(), summary.disks.get(disk).unwrap_or(&nothing)));
    dump(settings, &stats::disk_entries(disks, summary.end()));
}

/// The sum over all groups, once each device has been published.
fn publish_sum(settings: &Settings, devices: &[String]) {
    let devices: BTreeSet<_> = devices.iter().cloned().collect();
    match recon::load(&settings.recon_cache_path) {
        Ok(cache) => dump(settings, &stats::aggregate_entries(&cache, &devices)),
        Err(error) => error!("Exception reading recon cache: {error}"),
    }
}

fn dump(settings: &Settings, entries: &serde_json::Map<String, serde_json::Value>) {
    if let Err(error) = recon::dump(&settings.recon_cache_path, entries) {
        error!("Exception dumping recon cache: {error}");
    }
}
