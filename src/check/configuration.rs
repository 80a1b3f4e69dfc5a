//! The configuration and `swift.conf`: what keeps the daemon from starting, what it would warn of, and values that it
//! accepts without a warning although nobody can have meant them.

use std::path::Path;
use std::time::Duration;

use super::finding::Finding;
use crate::config::ini::Item;
use crate::config::policies::PolicyKind;
use crate::config::settings::{self, Loaded, Settings};
use crate::config::swift_conf::{SwiftConf, SwiftConfError};
use crate::config::value;
use crate::peer::module;
use crate::ring::Device;

const SUBJECT: &str = "configuration";

/// Reads the configuration. Without settings there is nothing else to look at.
///
/// # Errors
/// Why it cannot be used, which is among the findings, too.
pub(super) fn load(path: &Path, findings: &mut Vec<Finding>) -> Result<Settings, String> {
    let read = settings::load(path).and_then(|loaded| Ok((loaded, settings::read(path)?.0)));
    let (Loaded { settings, warnings }, items) = match read {
        Ok(read) => read,
        Err(error) => {
            findings.push(Finding::error(SUBJECT, error.to_string()));
            return Err(error.to_string());
        }
    };
    let before = findings.len();
    findings.extend(warnings.into_iter().map(|warning| Finding::warning(SUBJECT, warning)));
    findings.extend(items.iter().flat_map(|item| suspicions(item, &settings)));
    findings.extend(missing_folders(&settings));
    if findings.len() == before {
        findings.push(Finding::ok(SUBJECT, format!("{}: every option is known and makes sense", path.display())));
    }
    Ok(settings)
}

/// Options with a truth value.
const BOOLEANS: [&str; 9] = [
    "daemonize",
    "handoff_verify",
    "handoffs_first",
    "log_rsync_transfers",
    "mount_check",
    "rsync_compress",
    "rsync_nodelay",
    "statsd_emit_legacy",
    "vm_test_mode",
];

/// What is odd about an option that can be used.
fn suspicions(item: &Item, settings: &Settings) -> Vec<Finding> {
    let Item { key, value, place, .. } = item;
    let mut found = Vec::new();
    let mut add = |is_error: bool, text: &str| {
        let text = format!("{place}: {key} = {value}: {text}");
        found.push(if is_error { Finding::error(SUBJECT, text) } else { Finding::warning(SUBJECT, text) });
    };
    if BOOLEANS.contains(&key.as_str()) && !value.is_empty() && value::truth(value).is_none() {
        add(false, "is neither true nor false, so it counts as false");
    }
    match key.as_str() {
        "log_level" if !is_level(value) => add(false, "is no level of the log, so it counts as INFO"),
        "rsync_io_timeout" if value.parse::<u32>().is_err() => add(true, "rsync takes whole seconds"),
        "rsync_bwlimit" if !value.starts_with(|c: char| c.is_ascii_digit()) => {
            add(true, "not a limit that rsync accepts");
        }
        "rsync_module" => {
            if let Err(error) = module::interpolate(&settings.rsync.module, &example()) {
                add(true, &error.to_string());
            }
        }
        "handoffs_first" if settings.handoffs.first => add(false, "is meant for emergencies only"),
        "handoff_delete" if settings.handoffs.delete > 0 => add(false, "is meant for emergencies only"),
        "handoff_verify" if !settings.handoffs.verify => {
            add(false, "partitions are removed without a look whether all of them has arrived");
        }
        "reclaim_age" if settings.reclaim_age < A_DAY => {
            add(false, "tombstones go before every replica has heard of a deletion, so what was deleted comes back");
        }
        "concurrency" if settings.concurrency > MANY => {
            add(false, "is more jobs at a time than any node has disks for");
        }
        "user" if value == "root" => add(false, "is more than a replicator needs"),
        "replicator_workers" if settings.replicator_workers > MANY => {
            add(false, "is more workers than any node has disks for");
        }
        "mount_check" if !settings.mount_check => {
            add(false, "what belongs on a device that is not mounted will fill the root disk");
        }
        "rsync_nodelay" if !settings.rsync.nodelay => add(false, "each push waits some 80 ms for nothing"),
        key => {
            if let Some(text) = odd_time(key, value) {
                add(false, text);
            }
        }
    }
    // A comment behind a number has been found already, as a bad number.
    if found.is_empty() && looks_like_a_comment(value) {
        found.push(Finding::warning(
            SUBJECT,
            format!("{place}: {key} = {value}: no comment may follow a value on its line, so all of this is the value"),
        ));
    }
    found
}

/// Tombstones are kept for a week by default.
const A_DAY: Duration = Duration::from_secs(86_400);
/// More than so many jobs at a time is a mistake.
const MANY: usize = 1000;

/// Times, the least of each that makes sense, in seconds, and what becomes of a lesser one.
const TIMES: [(&str, f64, &str); 11] = [
    ("interval", 0.0, ""),
    ("run_pause", 0.0, ""),
    ("stats_interval", 0.0, ""),
    ("ring_check_interval", 0.0, ""),
    ("conn_timeout", 0.05, "no peer can be connected to in that time"),
    ("http_timeout", 1.0, "no peer can give its hashes in that time"),
    ("node_timeout", 1.0, "no peer can answer in that time"),
    ("rsync_timeout", 10.0, "every run of rsync that has something to send is killed before it is done"),
    ("rsync_io_timeout", 1.0, "rsync waits for ever for a peer that is gone"),
    ("lockup_timeout", 60.0, "jobs that only take their time are taken for stuck"),
    ("reclaim_age", 0.0, ""),
];

/// What is odd about a time.
fn odd_time(key: &str, value: &str) -> Option<&'static str> {
    let (_, least, what) = TIMES.iter().find(|(time, ..)| *time == key)?;
    let seconds: f64 = value.trim().parse().ok()?;
    if seconds < 0.0 {
        return Some("is negative, so it counts as 0");
    }
    (seconds < *least).then_some(*what)
}

fn is_level(value: &str) -> bool {
    ["DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL"].iter().any(|l| value.eq_ignore_ascii_case(l))
}

fn looks_like_a_comment(value: &str) -> bool {
    value.contains(" #") || value.contains(" ;")
}

/// A device, to try the template of modules on.
fn example() -> Device {
    Device {
        id: 0,
        region: 1,
        zone: 1,
        ip: "192.0.2.1".into(),
        port: 6200,
        device: "sda".into(),
        weight: 1.0,
        meta: String::new(),
        replication_ip: "192.0.2.1".into(),
        replication_port: 6200,
    }
}

fn missing_folders(settings: &Settings) -> Vec<Finding> {
    let folders = [
        ("devices", &settings.devices),
        ("swift_dir", &settings.swift_dir),
        ("recon_cache_path", &settings.recon_cache_path),
    ];
    let missing = folders.into_iter().filter(|(_, folder)| !folder.is_dir());
    missing
        .map(|(key, folder)| Finding::error(SUBJECT, format!("{key}: {} is not a directory", folder.display())))
        .collect()
}

/// What is found of `swift.conf`.
pub(super) fn swift_conf(path: &Path, read: &Result<SwiftConf, SwiftConfError>) -> Vec<Finding> {
    const SUBJECT: &str = "swift.conf";
    let conf = match read {
        Ok(conf) => conf,
        Err(error) => return vec![Finding::error(SUBJECT, error.to_string())],
    };
    let mut findings = Vec::new();
    let salts = [("prefix", &conf.hash_path_prefix), ("suffix", &conf.hash_path_suffix)];
    for (name, salt) in salts {
        if salt.eq_ignore_ascii_case(b"changeme") {
            let text = format!("{}: swift_hash_path_{name} is still the example value \"changeme\"", path.display());
            findings.push(Finding::warning(SUBJECT, text));
        }
    }
    let set: Vec<_> = salts.iter().filter(|(_, salt)| !salt.is_empty()).map(|(name, _)| *name).collect();
    let replicated: Vec<_> =
        conf.policies.iter().filter(|policy| policy.kind == PolicyKind::Replication).map(|p| p.name.as_str()).collect();
    if replicated.is_empty() {
        findings.push(Finding::warning(SUBJECT, "no policy uses replication, so there is nothing to do"));
    }
    if findings.is_empty() {
        let policies = replicated.join(", ");
        findings.push(Finding::ok(SUBJECT, format!("hash path {}; to replicate: {policies}", set.join(" and "))));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    /// What is found of these options, without the folder of the file.
    fn found(options: &str) -> Vec<(Verdict, String)> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("o.conf");
        let here = folder.path().display();
        let folders = format!("devices = {here}\nswift_dir = {here}\nrecon_cache_path = {here}");
        std::fs::write(&file, format!("[DEFAULT]\n{folders}\n[object-replicator]\n{options}\n")).unwrap();
        let mut findings = Vec::new();
        let _ = load(&file, &mut findings);
        let short = |text: String| text.replace(&format!("{here}/"), "");
        findings.into_iter().map(|finding| (finding.verdict, short(finding.text))).collect()
    }

    fn warning(options: &str) -> String {
        match &found(options)[..] {
            [(Verdict::Warning, text)] => text.clone(),
            other => panic!("{options}: {other:?}"),
        }
    }

    fn error(options: &str) -> String {
        match &found(options)[..] {
            [(Verdict::Error, text)] => text.clone(),
            other => panic!("{options}: {other:?}"),
        }
    }

    #[test]
    fn a_good_configuration_is_ok() {
        assert_eq!(
            found("concurrency = 4"),
            [(Verdict::Ok, "o.conf: every option is known and makes sense".to_owned())]
        );
    }

    #[test]
    fn dead_and_unknown_options_are_named_with_file_and_line() {
        assert_eq!(warning("splice = yes"), "o.conf line 6: option splice has no effect on this replicator");
        assert_eq!(
            warning("\nconcurency = 4"),
            "o.conf line 7: \"concurency\" is not an option of the object replicator"
        );
        assert!(warning("set concurrency = 4").contains("line 6: \"set concurrency\" sets nothing"));
    }

    #[test]
    fn values_that_cannot_be_used_are_errors() {
        assert_eq!(
            error("concurrency = four"),
            "o.conf line 6: concurrency = \"four\": must be an integer of at least 1"
        );
        assert_eq!(error("rsync_io_timeout = 30s"), "o.conf line 6: rsync_io_timeout = 30s: rsync takes whole seconds");
        assert_eq!(
            error("rsync_bwlimit = none"),
            "o.conf line 6: rsync_bwlimit = none: not a limit that rsync accepts"
        );
        assert!(error("rsync_module = {bogus}::object").ends_with("invalid variable: 'bogus'"));
    }

    #[test]
    fn values_that_nobody_can_have_meant_are_warned_of() {
        assert!(warning("rsync_compress = enabled").ends_with("so it counts as false"));
        assert!(warning("log_level = NOTICE").ends_with("so it counts as INFO"));
        assert!(warning("handoffs_first = yes").ends_with("for emergencies only"));
        assert!(warning("handoff_delete = 2").ends_with("for emergencies only"));
        assert!(warning("rsync_compress = yes # for now").ends_with("so it counts as false"));
        assert!(warning("reclaim_age = 60").ends_with("what was deleted comes back"));
        assert!(warning("concurrency = 100000").ends_with("any node has disks for"));
        for time in
            ["interval", "stats_interval", "ring_check_interval", "node_timeout", "rsync_timeout", "http_timeout"]
        {
            assert!(warning(&format!("{time} = -5")).ends_with("it counts as 0"), "{time}");
        }
        assert!(warning("http_timeout = 0").ends_with("no peer can give its hashes in that time"));
        assert!(warning("rsync_io_timeout = 0").ends_with("waits for ever for a peer that is gone"));
        assert!(warning("lockup_timeout = 5").ends_with("are taken for stuck"));
        assert!(warning("replicator_workers = 100000").ends_with("any node has disks for"));
        assert!(warning("user = root").ends_with("more than a replicator needs"));
        assert!(warning("log_name = replicator ; ours").ends_with("all of this is the value"));
    }

    #[test]
    fn folders_must_be_there() {
        assert_eq!(error("devices = /no/such/folder"), "devices: /no/such/folder is not a directory");
    }

    fn swift_conf_found(text: &str) -> Vec<(Verdict, String)> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("swift.conf");
        std::fs::write(&file, text).unwrap();
        let findings = swift_conf(&file, &crate::config::swift_conf::load(&file));
        let short = |text: String| text.replace(&format!("{}/", folder.path().display()), "");
        findings.into_iter().map(|finding| (finding.verdict, short(finding.text))).collect()
    }

    #[test]
    fn salts_of_the_example_are_warned_of_and_missing_ones_are_an_error() {
        assert_eq!(
            swift_conf_found("[swift-hash]\nswift_hash_path_suffix = s\n[storage-policy:0]\nname = gold\n"),
            [(Verdict::Ok, "hash path suffix; to replicate: gold".to_owned())]
        );
        assert_eq!(
            swift_conf_found("[swift-hash]\nswift_hash_path_suffix = changeme\n"),
            [(
                Verdict::Warning,
                "swift.conf: swift_hash_path_suffix is still the example value \"changeme\"".to_owned()
            )]
        );
        assert_eq!(swift_conf_found("[swift-hash]\n")[0].0, Verdict::Error);
    }
}
