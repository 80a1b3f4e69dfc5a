//! The local devices: there, writable, with room, and filled by this cluster.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Access, access, statvfs};
use rustix::io::Errno;

use super::finding::Finding;
use super::names::{self, Sample};
use super::rings::PolicyRing;
use super::surroundings::unknown_policies;
use crate::bounded::{self, Job};
use crate::config::settings::Settings;
use crate::config::swift_conf::SwiftConf;
use crate::device::mount::check_drive;
use crate::format::object::Salts;
use crate::names::PolicyIndex;
use crate::ring::Ring;

/// How long a disk may take; one that works needs a second at most.
const PATIENCE: Duration = Duration::from_secs(30);
/// A device that is fuller than this is about to be full.
const FULL: u64 = 95;

/// Looks at every local device of the rings.
pub(super) fn check(settings: &Settings, rings: &[PolicyRing], swift_conf: &Arc<SwiftConf>) -> Vec<Finding> {
    let mut devices: BTreeMap<String, Vec<(PolicyIndex, Arc<Ring>)>> = BTreeMap::new();
    for ring in rings {
        for device in ring.local_devices() {
            devices.entry(device.device.clone()).or_default().push((ring.policy.index, ring.ring.clone()));
        }
    }
    let names: Vec<_> = devices.keys().cloned().collect();
    let jobs = devices.into_iter().map(|(name, rings)| {
        let (folder, mount_check, swift_conf) = (settings.devices.clone(), settings.mount_check, swift_conf.clone());
        Box::new(move || check_device(&folder, &name, mount_check, &rings, &swift_conf)) as Job<_>
    });
    let outcomes = bounded::run(jobs.collect(), names.len(), PATIENCE);
    let mut findings = Vec::new();
    for (name, outcome) in names.iter().zip(outcomes) {
        findings.extend(outcome.unwrap_or_else(|| vec![Finding::error(subject(name), hanging())]));
    }
    findings.extend(strangers(&settings.devices, &names));
    findings
}

fn subject(device: &str) -> String {
    format!("device {device}")
}

fn hanging() -> String {
    format!("does not answer within {}s", PATIENCE.as_secs())
}

fn check_device(
    devices: &Path,
    name: &str,
    mount_check: bool,
    rings: &[(PolicyIndex, Arc<Ring>)],
    swift_conf: &SwiftConf,
) -> Vec<Finding> {
    let device = match check_drive(devices, name, mount_check) {
        Ok(device) => device,
        Err(unusable) => return vec![Finding::error(subject(name), unusable.to_string())],
    };
    let datadirs: Vec<_> = rings.iter().map(|(policy, ring)| (device.join(policy.datadir()), ring)).collect();
    let mut findings = vec![state(name, &device, datadirs.iter().map(|(datadir, _)| datadir))];
    findings.extend(unknown_policies(&device, swift_conf));
    let salts = Salts { prefix: swift_conf.hash_path_prefix.clone(), suffix: swift_conf.hash_path_suffix.clone() };
    for (datadir, ring) in &datadirs {
        let subject = format!("names {}", datadir.strip_prefix(devices).unwrap_or(datadir).display());
        findings.push(judge(subject, names::sample(datadir, ring, &salts)));
    }
    findings
}

/// Whether a device can be written to, and for how long.
fn state<'a>(name: &str, device: &'a PathBuf, datadirs: impl Iterator<Item = &'a PathBuf>) -> Finding {
    for folder in datadirs.chain([device]) {
        match access(folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
            // A datadir is made by the first pass.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                let error = io::Error::from(errno);
                return Finding::error(subject(name), format!("{} cannot be written to: {error}", folder.display()));
            }
        }
    }
    if let Err(error) = has_user_xattrs(device) {
        let text = format!("user xattrs, which hold the objects' metadata, cannot be used there: {error}");
        return Finding::error(subject(name), text);
    }
    match statvfs(device) {
        Ok(stat) if stat.f_bavail == 0 && stat.f_blocks > 0 => {
            Finding::error(subject(name), "is full: no block is left for its user")
        }
        Ok(stat) if stat.f_files > 0 && stat.f_favail == 0 => Finding::error(subject(name), "has no inodes left"),
        Ok(stat) => {
            let usable = stat.f_blocks.saturating_sub(stat.f_bfree) + stat.f_bavail;
            let full = (usable - stat.f_bavail.min(usable)) * 100 / usable.max(1);
            let text = format!("there, writable, and {full}% full");
            if full >= FULL { Finding::warning(subject(name), text) } else { Finding::ok(subject(name), text) }
        }
        Err(errno) => Finding::error(subject(name), format!("cannot be examined: {}", io::Error::from(errno))),
    }
}

/// Whether the file system has extended attributes of users. To read one that is not there changes nothing.
fn has_user_xattrs(device: &Path) -> io::Result<()> {
    match rustix::fs::getxattr(device, "user.swift.metadata", &mut [0_u8; 0][..]) {
        Ok(_) | Err(Errno::NODATA | Errno::RANGE) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn judge(subject: String, sample: io::Result<Sample>) -> Finding {
    let sample = match sample {
        Ok(sample) => sample,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::ok(subject, "there is no such folder yet; the first pass makes it");
        }
        Err(error) => return Finding::error(subject, format!("cannot be listed: {error}")),
    };
    if let Some(path) = &sample.misnamed {
        let text = format!(
            "DO NOT REPLICATE: {}, whose object's name and the salts of swift.conf give another hash ({} of {} names do \
             not fit): it was stored with other salts",
            path.display(),
            sample.misnamed_count,
            sample.names
        );
        return Finding::error(subject, text);
    }
    if let Some(path) = &sample.misplaced {
        let text = format!(
            "DO NOT REPLICATE: {} belongs in another partition by the ring's part power ({} of {} hashes do): it was \
             stored with another one",
            path.display(),
            sample.misplaced_count,
            sample.hashes
        );
        return Finding::error(subject, text);
    }
    if let Some((path, error)) = &sample.unreadable {
        return Finding::warning(subject, format!("{}: {error}", path.display()));
    }
    match (sample.hashes, sample.names) {
        (0, _) => Finding::ok(subject, "nothing is stored there"),
        (hashes, names) => Finding::ok(
            subject,
            format!("the partitions of {hashes} hashes and the hashes of {names} names are right (a sample)"),
        ),
    }
}

/// Folders beside the devices that no ring knows: forgotten, or misspelt.
fn strangers(devices: &Path, known: &[String]) -> Option<Finding> {
    let entries = fs::read_dir(devices).ok()?.flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut strangers: Vec<_> = folders
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !known.contains(name) && !name.starts_with('.') && name != "lost+found")
        .collect();
    strangers.sort();
    (!strangers.is_empty()).then(|| {
        let text = format!(
            "{}: these folders are in no ring as devices of this machine: {}",
            devices.display(),
            strangers.join(", ")
        );
        Finding::warning("devices", text)
    })
}
