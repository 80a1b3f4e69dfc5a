//! Log lines, metrics, Python's forms of values, the lines and figures of a pass: byte for byte the reference's.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use log::{Level, Log, Record};
use serde_json::{Map, Value, json};
use swift_object_replicator::config::settings::{LogSettings, StatsdSettings};
use swift_object_replicator::log::statsd::{Labels, Statsd};
use swift_object_replicator::log::{CRITICAL, Logger, NOTICE, set_thread_prefix, thread_prefix};
use swift_object_replicator::python::{error_text, repr_float, repr_list, repr_str, round};
use swift_object_replicator::report::lines::{PassFigures, stats_lines};
use swift_object_replicator::report::recon;
use swift_object_replicator::report::stats::{
    PassEnd, ReplicationStats, aggregate_entries, disk_entries, pass_entries,
};
use swift_object_replicator::{critical, notice, root_error};

use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

/// Up to `max` characters, among them those that something could take amiss.
pub fn any_text(rng: &mut fastrand::Rng, max: usize) -> String {
    const PIECES: [&str; 16] =
        ["a", "Z", "7", " ", "\n", "\t", "\r", "'", "\"", "\\", "%s", "é", "€", "😀", "\u{1}", "#012"];
    (0..rng.usize(..=max)).map(|_| PIECES[rng.usize(..PIECES.len())]).collect()
}

/// One of the choices.
pub fn one_of<T, const N: usize>(choices: [T; N], rng: &mut fastrand::Rng) -> T {
    choices.into_iter().nth(rng.usize(..N)).expect("one of N")
}

/// A float from anywhere: of the usual sizes, or of any bits (but never infinite or NaN).
fn any_float(rng: &mut fastrand::Rng) -> f64 {
    let number = match rng.u8(..4) {
        0 => f64::from_bits(rng.u64(..)),
        1 => rng.f64() * 10_f64.powi(rng.i32(-8..18)),
        2 => (rng.f64() * 1e5).round() / 10_f64.powi(rng.i32(0..8)),
        _ => rng.u32(..) as f64,
    };
    if number.is_finite() { number } else { 0.1 }
}

fn ask<T: serde::de::DeserializeOwned>(oracle: &mut Oracle, operation: &str, arguments: Value) -> T {
    serde_json::from_value(oracle.ask(&json!([operation, arguments]))).expect("the answer has the right shape")
}

fn log_with(logger: &Logger, level: &str, message: &str) {
    let (level, target) = match level {
        "debug" => (Level::Debug, "swift_object_replicator"),
        "info" => (Level::Info, "swift_object_replicator::pass"),
        "notice" => (Level::Info, NOTICE),
        "warning" => (Level::Warn, "swift_object_replicator"),
        "error" => (Level::Error, "swift_object_replicator::peer::rsync"),
        _ => (Level::Error, CRITICAL),
    };
    logger.log(&Record::builder().level(level).target(target).args(format_args!("{message}")).build());
}

/// Everything that a socket has, given its `recv`; nobody sends any more.
fn drain(recv: impl Fn(&mut [u8]) -> io::Result<usize>) -> Vec<String> {
    let mut buffer = vec![0; 100_000];
    std::iter::from_fn(|| {
        let length = recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).expect("UTF-8"))
    })
    .collect()
}

/// Facilities that there are, and others.
const FACILITIES: &str = "\
    LOG_EMERG LOG_ALERT LOG_CRIT LOG_ERR LOG_WARNING LOG_NOTICE LOG_INFO LOG_DEBUG LOG_KERN LOG_USER LOG_MAIL \
    LOG_DAEMON LOG_AUTH LOG_SYSLOG LOG_LPR LOG_NEWS LOG_UUCP LOG_CRON LOG_AUTHPRIV LOG_FTP LOG_NTP \
    LOG_SECURITY LOG_CONSOLE LOG_SOLCRON LOG_LOCAL0 LOG_LOCAL1 LOG_LOCAL2 LOG_LOCAL3 LOG_LOCAL4 LOG_LOCAL5 \
    LOG_LOCAL6 LOG_LOCAL7 local3 \
";

fn facility(rng: &mut fastrand::Rng) -> String {
    let all: Vec<_> = FACILITIES.split_whitespace().chain([""]).collect();
    all[rng.usize(..all.len())].to_owned()
}

#[test]
fn log_lines_are_the_references_to_the_byte() {
    const LOG_LEVELS: [&str; 12] =
        ["DEBUG", "info", "Warning", "WARN", "ERROR", "critical", "FATAL", "NOTICE", "", "bogus", "NOTSET", "DEBUG"];
    const LEVELS: [&str; 6] = ["debug", "info", "notice", "warning", "error", "critical"];

    let seed = Seed::of_this_run();
    let mut rng = seed.rng();
    let mut oracle = Oracle::start("report.py");
    let dir = tempfile::tempdir().unwrap();
    let address = dir.path().join("log");
    let unix = UnixDatagram::bind(&address).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    unix.set_nonblocking(true).unwrap();
    udp.set_nonblocking(true).unwrap();
    let udp_port = udp.local_addr().unwrap().port();

    for _ in 0..300 {
        let settings = LogSettings {
            name: one_of(["object-replicator", "ö-r", "two\nlines"], &mut rng).to_owned(),
            level: one_of(LOG_LEVELS, &mut rng).to_owned(),
            facility: facility(&mut rng),
            address: address.to_str().unwrap().to_owned(),
            udp_host: one_of([None, Some(""), Some("127.0.0.1"), Some("localhost")], &mut rng).map(str::to_owned),
            udp_port,
            max_line_length: one_of([0, 0, rng.usize(1..12), rng.usize(12..100)], &mut rng),
        };
        let by_udp = settings.udp_host.as_deref().is_some_and(|host| !host.is_empty());
        if settings.udp_host.as_deref() == Some("localhost") && !first_address_is_ipv4("localhost") {
            continue;
        }
        let prefix = one_of(["", "[worker 1/2 pid=7] "], &mut rng);
        // Few enough that any queue of datagrams holds them. Control characters are sent as they are by the reference, but
        // for line breaks; the syslog daemon writes them as we do.
        let message = |rng: &mut fastrand::Rng| any_text(rng, 60).replace(['\t', '\r', '\u{1}'], "");
        let records: Vec<_> = (0..rng.usize(1..8)).map(|_| (one_of(LEVELS, &mut rng), message(&mut rng))).collect();

        let mut conf = json!({
            "log_name": settings.name, "log_level": settings.level, "log_facility": settings.facility,
            "log_address": settings.address, "log_udp_port": udp_port,
            "log_max_line_length": settings.max_line_length.to_string(),
        });
        if let Some(host) = &settings.udp_host {
            conf["log_udp_host"] = host.as_str().into();
        }
        let console: String = ask(&mut oracle, "log", json!({"conf": conf, "prefix": prefix, "records": records}));
        let drained = || if by_udp { drain(|buffer| udp.recv(buffer)) } else { drain(|buffer| unix.recv(buffer)) };
        let expected = drained();

        let logger = Logger::new(&settings, false);
        set_thread_prefix(prefix);
        for (level, message) in &records {
            log_with(&logger, level, message);
        }
        let sent = drained();
        assert_eq!(sent, expected, "{settings:?} {records:?}");
        // The console's lines are the same without priority and NUL.
        let as_on_console = |text: &String| text.split_once('>').unwrap().1.replace('\0', "\n");
        assert_eq!(expected.iter().map(as_on_console).collect::<String>(), console);
    }
}

fn first_address_is_ipv4(host: &str) -> bool {
    use std::net::ToSocketAddrs;
    (host, 1).to_socket_addrs().is_ok_and(|mut addresses| addresses.next().is_some_and(|address| address.is_ipv4()))
}

/// What [`process_that_logs`] does with its log.
const TASK: &str = "LOGGING_TASK";

/// Starts this binary again, as a process that logs to its stderr; nothing else is written there.
fn logging_process(task: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "oracle::report::process_that_logs", "--include-ignored", "--nocapture"])
        .env(TASK, task)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

#[test]
#[ignore = "a part of other tests, which start it as a process of its own"]
fn process_that_logs() {
    let Ok(task) = std::env::var(TASK) else { return };
    let settings = LogSettings {
        name: "object-replicator".to_owned(),
        level: "DEBUG".to_owned(),
        facility: "LOG_LOCAL0".to_owned(),
        address: "/missing".to_owned(),
        udp_host: Some("127.0.0.1".to_owned()),
        udp_port: 9,
        max_line_length: 0,
    };
    swift_object_replicator::log::init(&settings, true).unwrap();
    assert!(swift_object_replicator::log::init(&settings, true).is_err());
    if task == "flood" {
        (0..1000).for_each(|number| notice!("{number} {}", "x".repeat(1000)));
        return;
    }
    log::debug!(target: "swift_object_replicator::a", "debug {}", 1);
    log::info!(target: "swift_object_replicator::a", "info");
    notice!("Starting {}", 7);
    log::warn!(target: "swift_object_replicator::a", "two\nlines");
    log::error!(target: "swift_object_replicator", "{}", "long".repeat(2000));
    critical!("critical");
    root_error!("Quarantined {}\nobject", 1);
    log::error!(target: "ureq::pool", "of another crate");
    log::error!(target: "swift_object_replicator_too", "of another crate");
    set_thread_prefix("[worker 1/2 pid=7] ");
    let prefix = thread_prefix();
    let worker = thread::spawn(move || {
        log::info!(target: "swift_object_replicator", "no prefix unless asked for");
        set_thread_prefix(prefix);
        log::info!(target: "swift_object_replicator", "inherited");
        panic!("in two\nlines");
    });
    assert!(worker.join().is_err());
}

#[test]
fn the_console_has_the_references_lines_and_nothing_else() {
    let console = logging_process("each level").output().unwrap().stderr;
    let console = String::from_utf8(console).unwrap();
    let (lines, panic) = console.split_once("object-replicator: [worker 1/2 pid=7] UNCAUGHT EXCEPTION#012").unwrap();

    let conf =
        json!({"log_name": "object-replicator", "log_level": "DEBUG", "log_udp_host": "127.0.0.1", "log_udp_port": 9});
    let mut oracle = Oracle::start("report.py");
    let mut logged = |prefix: &str, records: Value| -> String {
        ask(&mut oracle, "log", json!({"conf": conf, "prefix": prefix, "records": records}))
    };
    let expected = [
        logged(
            "",
            json!([
                ["debug", "debug 1"],
                ["info", "info"],
                ["notice", "Starting 7"],
                ["warning", "two\nlines"],
                ["error", "long".repeat(2000)],
                ["critical", "critical"],
                ["root", "Quarantined 1\nobject"],
                ["info", "no prefix unless asked for"]
            ]),
        ),
        logged("[worker 1/2 pid=7] ", json!([["info", "inherited"]])),
    ];
    assert_eq!(lines, expected.concat());
    assert!(panic.contains("report.rs") && panic.ends_with("in two#012lines\n"), "{panic}");
    assert_eq!(panic.lines().count(), 1);
}

#[test]
fn a_console_that_nobody_reads_costs_lines_and_no_standstill() {
    let mut process = logging_process("flood").spawn().unwrap();
    assert!(process.wait().unwrap().success());
    let mut console = String::new();
    process.stderr.unwrap().read_to_string(&mut console).unwrap();
    assert!((2..1000).contains(&console.lines().count()), "{}", console.len());
    assert!(console.starts_with("object-replicator: 0 xxx"));
}

#[test]
fn well_known_errors_have_the_references_words() {
    let codes = [
        libc::EIO,
        libc::ENOSPC,
        libc::ECONNREFUSED,
        libc::ECONNRESET,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::ETIMEDOUT,
        libc::EPIPE,
    ];
    let lines: Vec<String> = ask(&mut Oracle::start("report.py"), "exceptions", json!({"codes": codes}));
    let texts = codes.map(|code| format!("message: {}", error_text(&io::Error::from_raw_os_error(code))));
    assert_eq!(texts.as_slice(), lines);
}

#[test]
fn metrics_are_the_references_to_the_byte() {
    const NO_LABELS: Labels<'_> = Labels { device: "", policy: 0 };
    const NAMES: [&str; 4] = ["partition.update.count.sda", "suffix.hashes", "partition.update.timing", "ü"];
    let seed = Seed::of_this_run();
    let mut rng = seed.rng();
    let mut oracle = Oracle::start("report.py");
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_nonblocking(true).unwrap();
    let port = receiver.local_addr().unwrap().port();

    for _ in 0..100 {
        let settings = StatsdSettings {
            host: one_of([None, Some(""), Some("127.0.0.1"), Some("127.0.0.1"), Some("localhost")], &mut rng)
                .map(str::to_owned),
            port,
            default_sample_rate: one_of([1.0, 1.0, 2.0, 0.5, rng.f64()], &mut rng),
            sample_rate_factor: one_of([1.0, 1.0, 1.5, rng.f64()], &mut rng),
            metric_prefix: one_of(["", "pre", "a.b"], &mut rng).to_owned(),
            emit_legacy: rng.u8(..8) > 0,
            labels: None,
        };
        let log_name = one_of(["object-replicator", "foo", ""], &mut rng);
        let statsd = Statsd::new(&settings, log_name);
        let conf = conf_of(&settings);
        let rate = settings.default_sample_rate * settings.sample_rate_factor;
        for _ in 0..10 {
            let name = one_of(NAMES, &mut rng);
            let took = Duration::from_nanos(rng.u64(..) >> rng.u32(8..64));
            let by = rng.i64(-3..1000);
            let call = match rng.u8(..3) {
                0 => json!(["increment", name]),
                1 => json!(["update_stats", name, by]),
                _ => json!(["timing", name, took.as_secs_f64() * 1000.0]),
            };
            ask::<Value>(&mut oracle, "statsd", json!({"conf": conf, "log_name": log_name, "calls": [call]}));
            let expected = drain(|buffer| receiver.recv(buffer));
            match call[0].as_str().unwrap() {
                "increment" => statsd.increment(name, "", NO_LABELS),
                "update_stats" => statsd.update(name, "", NO_LABELS, by),
                _ => statsd.timing(name, "", NO_LABELS, took),
            }
            let sent = drain(|buffer| receiver.recv(buffer));
            // The reference was made to send whatever the sample rate is.
            if rate >= 1.0 || !sent.is_empty() {
                assert_eq!(sent, expected, "{settings:?} {call}");
            }
        }
    }
}

fn conf_of(settings: &StatsdSettings) -> Value {
    let mut conf = json!({
        "log_statsd_port": settings.port.to_string(),
        "log_statsd_default_sample_rate": settings.default_sample_rate.to_string(),
        "log_statsd_sample_rate_factor": settings.sample_rate_factor.to_string(),
        "log_statsd_metric_prefix": settings.metric_prefix,
        "statsd_emit_legacy": settings.emit_legacy.to_string(),
    });
    if let Some(host) = &settings.host {
        conf["log_statsd_host"] = host.as_str().into();
    }
    conf
}

#[test]
fn values_have_pythons_repr() {
    let seed = Seed::of_this_run();
    let mut rng = seed.rng();
    let mut floats: Vec<f64> = (0..20_000).map(|_| any_float(&mut rng)).collect();
    floats.extend([0.0, -0.0, 1e-5, 1e-4, 1e15, 1e16, 1e22, 5e-324, f64::MAX, 1795500561.76, 0.00005, 2.675, 1e300]);
    let strings: Vec<_> = (0..1000).map(|_| any_text(&mut rng, 20)).collect();
    let lists: Vec<Vec<_>> = (0..100).map(|_| (0..rng.usize(..5)).map(|_| any_text(&mut rng, 10)).collect()).collect();

    let bits: Vec<_> = floats.iter().map(|number| number.to_bits()).collect();
    let answer: Value =
        ask(&mut Oracle::start("report.py"), "reprs", json!({"floats": bits, "strings": strings, "lists": lists}));
    let ours = json!({
        "floats": floats.iter().map(|number| repr_float(*number)).collect::<Vec<_>>(),
        "rounded": floats.iter().map(|number| repr_float(round(*number, 4))).collect::<Vec<_>>(),
        "strings": strings.iter().map(|string| repr_str(string)).collect::<Vec<_>>(),
        "lists": lists.iter().map(|list| repr_list(list)).collect::<Vec<_>>(),
    });
    for kind in ["floats", "rounded", "strings", "lists"] {
        for (own, reference) in ours[kind].as_array().unwrap().iter().zip(answer[kind].as_array().unwrap()) {
            assert_eq!(own, reference, "{kind}");
        }
    }
}

#[test]
fn repr_escapes_the_characters_that_python_escapes() {
    let answer: Map<String, Value> = ask(&mut Oracle::start("report.py"), "unprintable", json!({}));
    let codes = |key: &str| -> BTreeSet<u32> { serde_json::from_value(answer[key].clone()).unwrap() };
    let (unprintable, unassigned) = (codes("unprintable"), codes("unassigned"));
    assert!(unprintable.len() > 100_000);
    // What this Python's version of Unicode does not know may be printable to ours.
    for c in (' '..=char::MAX).filter(|c| !unassigned.contains(&u32::from(*c)) && *c != '\\') {
        let is_escaped = repr_str(&c.to_string()).contains('\\');
        assert_eq!(is_escaped, unprintable.contains(&u32::from(c)), "{:x}", u32::from(c));
    }
}

#[test]
fn the_lines_of_a_pass_are_the_references() {
    let seed = Seed::of_this_run();
    let mut rng = seed.rng();
    let mut oracle = Oracle::start("report.py");
    for _ in 0..1000 {
        let total = rng.u64(1..100_000) >> rng.u32(..17);
        let total = total.max(1);
        let attempted = rng.u64(..=total);
        let last_attempted = if rng.bool() { 0 } else { rng.u64(..=attempted) };
        let elapsed = one_of([0.0, rng.f64() / 100.0, rng.f64() * 1e4, rng.f64() * 1e7], &mut rng);
        let suffix_count = one_of([0, rng.u64(1..10_000)], &mut rng);
        let mut partition_times: Vec<_> = (0..rng.usize(1..20)).map(|_| rng.f64() * 100.0).collect();
        let counters = json!({
            "attempted": attempted, "success": rng.u64(..1000), "failure": rng.u64(..1000),
            "suffix_count": suffix_count, "suffix_hash": rng.u64(..10_000), "suffix_sync": rng.u64(..10_000),
        });
        let expected: Vec<String> = ask(
            &mut oracle,
            "stats_lines",
            json!({"counters": counters, "last_attempted": last_attempted, "total": total, "elapsed": elapsed,
                   "partition_times": partition_times}),
        );
        let count = |key: &str| counters[key].as_u64().unwrap();
        let lines = stats_lines(PassFigures {
            attempted,
            last_attempted,
            total,
            elapsed,
            success: count("success"),
            failure: count("failure"),
            suffix_count,
            suffix_hash: count("suffix_hash"),
            suffix_sync: count("suffix_sync"),
            partition_times: &mut partition_times,
        });
        assert_eq!(lines, expected, "{counters}");
    }
}

/// A device's counters, and the nodes that failed it.
fn any_stats(rng: &mut fastrand::Rng) -> (ReplicationStats, Vec<(&'static str, &'static str)>) {
    let stats = ReplicationStats {
        attempted: rng.u64(..100),
        failure: rng.u64(..3),
        hashmatch: rng.u64(..100),
        remove: rng.u64(..100),
        rsync: rng.u64(..100),
        success: rng.u64(..100),
        suffix_count: rng.u64(..100),
        suffix_hash: rng.u64(..100),
        suffix_sync: rng.u64(..100),
        ..Default::default()
    };
    let failures = (0..one_of([0, 0, 1, 5], rng))
        .map(|_| (one_of(["10.0.0.1", "10.0.0.2", "fe80::1"], rng), one_of(["sda", "sdb"], rng)))
        .collect();
    (stats, failures)
}

#[test]
fn the_figures_of_a_pass_reach_the_recon_cache_as_the_references_do() {
    const DEVICES: [&str; 4] = ["sda", "sdb", "sdc", "sdd"];
    let seed = Seed::of_this_run();
    let mut rng = seed.rng();
    let mut oracle = Oracle::start("report.py");
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = theirs.path().join("object.recon");
    let contents = |dir: &Path| fs::read_to_string(dir.join("object.recon")).unwrap();

    for _ in 0..200 {
        let end = PassEnd { minutes: rng.f64() * 100.0, time: 1.7e9 + rng.f64() };
        let workers = rng.bool();
        let devices = &DEVICES[rng.usize(..3)..];
        let (mut disks, mut failures, mut stats) = (Map::new(), Map::new(), Vec::new());
        for device in devices {
            let (mut counted, failed) = any_stats(&mut rng);
            let mut counters = json!(counted);
            counters.as_object_mut().unwrap().remove("failure_nodes");
            disks.insert((*device).to_owned(), counters);
            failures.insert((*device).to_owned(), json!(failed));
            failed.iter().for_each(|(ip, failed)| counted.add_failure(ip, failed));
            stats.push((*device, counted));
        }

        ask::<Value>(
            &mut oracle,
            "pass_stats",
            json!({"path": path, "failures": failures, "disks": disks,
            "minutes": end.minutes, "end": end.time, "workers": workers}),
        );
        let entries = if workers {
            disk_entries(stats.iter().map(|(device, counted)| (*device, counted)), end)
        } else {
            let mut total = ReplicationStats::default();
            stats.iter().for_each(|(_, counted)| total.merge(counted));
            pass_entries(&total, end)
        };
        recon::dump(ours.path(), &entries).unwrap();
        assert_eq!(contents(ours.path()), contents(theirs.path()));

        let local: BTreeSet<_> =
            DEVICES.iter().filter(|_| rng.u8(..8) > 0).map(|device| (*device).to_owned()).collect();
        if local.is_empty() {
            continue; // the reference then has no smallest time, and fails to write it
        }
        ask::<Value>(&mut oracle, "aggregate", json!({"path": path, "local_devices": local}));
        let entries = aggregate_entries(&recon::load(ours.path()).unwrap(), &local);
        recon::dump(ours.path(), &entries).unwrap();
        assert_eq!(contents(ours.path()), contents(theirs.path()), "{local:?}");
    }
}
