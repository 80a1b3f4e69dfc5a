//! The typed options (B2, section 2b): what the reference's constructor makes of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use swift_object_replicator::config::settings::{self, Settings, SyncMethod};

use super::{Dice, Outcomes};
use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

const INTEGERS: [&str; 9] = ["1", "5", "+7", "007", "1_0", "123456", "0", "-3", "99999999999999999999"];
const POSITIVE: [&str; 4] = ["1", "5", "+7", "1_0"];
const FLOATS: [&str; 9] = ["1", "2.5", "1e3", "-1", "0", ".5", "1_0.5", "inf", "1e300"];
const RATES: [&str; 4] = ["1", "0.5", "1e-3", "0"];
const PORTS: [&str; 4] = ["1", "514", "65535", "0"];
const FLAGS: [&str; 9] = ["yes", "no", "True", "FALSE", "1", "0", "on", "", "enabled"];
const TEXTS: [&str; 5] = ["/srv/x", "10.0.0.1", "é", "", "x # y"];
const MODULES: [&str; 6] = ["", "/", "{ip}::m", "{ip}::m//", "rsync://{ip}/x/", "//"];
const BAD: [&str; 6] = ["x", "1.5.2", "5 # x", "1__0", "0x10", "1,5"];
const NOTHING: [&str; 0] = [];

/// Options, good values, and whether bad ones are to be tried.
const OPTIONS: [(&str, &[&str], bool); 47] = [
    ("devices", &TEXTS, false),
    ("mount_check", &FLAGS, false),
    ("swift_dir", &TEXTS, false),
    ("bind_ip", &TEXTS, false),
    ("ring_ip", &TEXTS, false),
    ("servers_per_port", &["0", "", "2", "-1"], true),
    ("bind_port", &INTEGERS, true),
    ("concurrency", &POSITIVE, true),
    ("replicator_workers", &INTEGERS, true),
    ("stats_interval", &FLOATS, true),
    ("ring_check_interval", &FLOATS, true),
    ("interval", &["", "2", "0", "2.5"], true),
    ("run_pause", &["", "3", "0"], true),
    ("rsync_timeout", &INTEGERS, true),
    ("rsync_io_timeout", &TEXTS, false),
    ("rsync_bwlimit", &TEXTS, false),
    ("rsync_compress", &FLAGS, false),
    ("rsync_module", &MODULES, false),
    ("log_rsync_transfers", &FLAGS, false),
    ("rsync_error_log_line_length", &INTEGERS, true),
    ("sync_method", &["rsync", ""], true),
    ("http_timeout", &INTEGERS, true),
    ("conn_timeout", &FLOATS, true),
    ("node_timeout", &FLOATS, true),
    ("network_chunk_size", &POSITIVE, true),
    ("disk_chunk_size", &POSITIVE, true),
    ("recon_cache_path", &TEXTS, false),
    ("handoffs_first", &FLAGS, false),
    ("handoff_delete", &["auto", "AUTO", "0", "1", "2"], true),
    ("reclaim_age", &INTEGERS, true),
    ("commit_window", &["0", "1.5", "-0.0", "inf"], true),
    ("keep_cache_size", &INTEGERS, true),
    ("mb_per_sync", &INTEGERS, true),
    ("replication_lock_timeout", &INTEGERS, true),
    ("replication_concurrency_per_device", &INTEGERS, true),
    ("replication_one_per_device", &FLAGS, false),
    ("fallocate_reserve", &["1%", "5", "-1", "1e1 %"], true),
    ("splice", &FLAGS, false),
    ("user", &TEXTS, false),
    ("daemonize", &FLAGS, false),
    ("log_name", &["x", "é"], false),
    ("log_statsd_host", &["", "127.0.0.1"], false),
    ("log_statsd_port", &PORTS, true),
    ("log_statsd_default_sample_rate", &RATES, true),
    ("log_statsd_sample_rate_factor", &RATES, true),
    ("statsd_emit_legacy", &FLAGS, false),
    ("lockup_timeout", &NOTHING, false),
];

fn file(dice: &mut Dice) -> String {
    let (mut defaults, mut own) = ("[DEFAULT]\n".to_owned(), "[object-replicator]\n".to_owned());
    let mut wrong = dice.once_in(3);
    for (option, good, may_be_bad) in OPTIONS {
        if good.is_empty() || !dice.once_in(4) {
            continue;
        }
        let is_bad = may_be_bad && std::mem::take(&mut wrong);
        let value = if is_bad { dice.pick(&BAD) } else { dice.pick(good) };
        let line = format!("{option} = {value}\n");
        if dice.once_in(3) {
            defaults += &line;
        } else {
            own += &line;
        }
    }
    defaults + &own
}

/// Python's numbers as ours count: not below 0, and times not beyond a century.
fn seconds(number: &str) -> String {
    let number: f64 = number.parse().expect("a number");
    Duration::try_from_secs_f64(number.clamp(0.0, CENTURY)).expect("not negative").as_secs_f64().to_string()
}

const CENTURY: f64 = 100.0 * 365.0 * 24.0 * 3600.0;

fn count(number: &str) -> String {
    if number.starts_with('-') { "0".to_owned() } else { held(number) }
}

fn held(number: &str) -> String {
    number.parse::<i64>().unwrap_or(i64::MAX).to_string()
}

fn python_bool(value: bool) -> String {
    if value { "True" } else { "False" }.to_owned()
}

fn ours(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let settings = settings::load(path).map_err(|error| error.to_string())?.settings;
    let method = match settings.sync_method {
        SyncMethod::Rsync => "rsync",
        SyncMethod::Ssync => "ssync",
    };
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut put = |name: &str, value: String| drop(found.insert(name.to_owned(), value));
    for (name, time) in times(&settings) {
        put(name, time.as_secs_f64().to_string());
    }
    for (name, flag) in [
        ("mount_check", settings.mount_check),
        ("rsync_compress", settings.rsync.compress),
        ("log_rsync_transfers", settings.rsync.log_transfers),
        ("handoffs_first", settings.handoffs.first),
        ("once", !settings.daemonize),
        ("statsd_emit_legacy", settings.statsd.emit_legacy),
    ] {
        put(name, python_bool(flag));
    }
    for (name, number) in [
        ("concurrency", settings.concurrency),
        ("replicator_workers", settings.replicator_workers),
        ("network_chunk_size", settings.ssync.network_chunk_size),
        ("disk_chunk_size", settings.ssync.disk_chunk_size),
        ("rsync_error_log_line_length", settings.rsync.error_line_length),
        ("handoff_delete", settings.handoffs.delete),
        ("statsd_port", settings.statsd.port.into()),
    ] {
        put(name, number.to_string());
    }
    for (name, rate) in
        [("statsd_rate", settings.statsd.default_sample_rate), ("statsd_factor", settings.statsd.sample_rate_factor)]
    {
        put(name, rate.to_string());
    }
    for (name, text) in [
        ("devices_dir", settings.devices.display().to_string()),
        ("swift_dir", settings.swift_dir.display().to_string()),
        ("recon_cache_path", settings.recon_cache_path.display().to_string()),
        ("ring_ip", settings.ring_ip),
        ("rsync_io_timeout", settings.rsync.io_timeout),
        ("rsync_bwlimit", settings.rsync.bwlimit),
        ("rsync_module", settings.rsync.module),
        ("user", settings.user),
        ("log_name", settings.log.name),
        ("sync_method", method.to_owned()),
        ("statsd_host", settings.statsd.host.unwrap_or_default()),
        ("port", settings.bind_port.map_or_else(|| "None".to_owned(), |port| port.to_string())),
    ] {
        put(name, text);
    }
    Ok(found)
}

fn times(settings: &Settings) -> [(&'static str, Duration); 8] {
    [
        ("stats_interval", settings.stats_interval),
        ("ring_check_interval", settings.ring_check_interval),
        ("interval", settings.interval),
        ("rsync_timeout", settings.rsync.timeout),
        ("http_timeout", settings.replicate.http_timeout),
        ("conn_timeout", settings.replicate.conn_timeout),
        ("node_timeout", settings.ssync.node_timeout),
        ("reclaim_age", settings.reclaim_age),
    ]
}

fn reference(oracle: &mut Oracle, path: &Path) -> Result<BTreeMap<String, String>, String> {
    let answer = oracle.ask(&json!({ "settings": path }));
    let Some(found) = answer.get("ok") else {
        return Err(answer["error"].to_string());
    };
    let mut found: BTreeMap<String, String> = serde_json::from_value(found.clone()).expect("a map of texts");
    for (name, value) in &mut found {
        *value = match name.as_str() {
            "stats_interval"
            | "ring_check_interval"
            | "interval"
            | "rsync_timeout"
            | "http_timeout"
            | "conn_timeout"
            | "node_timeout"
            | "reclaim_age" => seconds(value),
            "replicator_workers" | "rsync_error_log_line_length" => count(value),
            "port" if value != "None" => held(value),
            "statsd_rate" | "statsd_factor" => value.parse::<f64>().expect("a number").to_string(),
            "statsd_host" if value == "None" => String::new(),
            _ => continue,
        };
    }
    Ok(found)
}

#[test]
fn options_mean_the_same_to_both_or_are_refused_by_both() {
    let mut oracle = Oracle::start("config_daemon.py");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("o.conf");
    let mut outcomes = Outcomes::default();
    for seed in (0..300).map(Seed::fixed) {
        let text = file(&mut Dice::new(&seed));
        std::fs::write(&path, &text).unwrap();
        outcomes.compare(&ours(&path), &reference(&mut oracle, &path), || format!("{seed}\n{text}"));
    }
    outcomes.assert_both_reached(60);
}
