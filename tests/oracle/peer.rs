//! What goes to peers, and what is logged of it, held against the reference.

use std::cell::RefCell;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use swift_object_replicator::config::settings::{ReplicateSettings, RsyncSettings};
use swift_object_replicator::names::{Partition, PolicyIndex, Suffix};
use swift_object_replicator::peer::module::interpolate;
use swift_object_replicator::peer::node_string;
use swift_object_replicator::peer::replicate::Client;
use swift_object_replicator::peer::rsync::{PartSuffixes, Push, Rsync};
use swift_object_replicator::ring::Device;
use tempfile::TempDir;

use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

fn device(rng: &mut Rng) -> Device {
    let ips =
        ["10.1.2.3", "fe80::1", "::", "::ffff:10.0.0.1", "1::2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::1%lo", "node-3"];
    let names = ["sda", "d 1", "dé", "nvme0n1", "x'y", "a%b?c#d~e"];
    let metas = ["", "rack4", "it's", "a\tb\\", "\"q\" 'p'", "日本\u{301}\u{200b}", "{zone}"];
    Device {
        id: 0,
        region: rng.i64(0..20),
        zone: *rng.choice(&[0, 1, 12, -3, 48_879, 2_000_000]).unwrap(),
        ip: (*rng.choice(&ips).unwrap()).into(),
        port: rng.u16(..),
        device: (*rng.choice(&names).unwrap()).into(),
        weight: 1.0,
        meta: (*rng.choice(&metas).unwrap()).into(),
        replication_ip: (*rng.choice(&ips).unwrap()).into(),
        replication_port: rng.u16(..),
    }
}

fn as_json(device: &Device) -> Value {
    json!({
        "id": device.id, "region": device.region, "zone": device.zone, "ip": device.ip, "port": device.port,
        "device": device.device, "weight": device.weight, "meta": device.meta,
        "replication_ip": device.replication_ip, "replication_port": device.replication_port,
    })
}

/// A template of fields, braces and text; most are valid.
fn template(rng: &mut Rng) -> String {
    let text = ["::object", "/", "_", "{{", "}}", "x", " ", "é", "rsync://"];
    let broken = ["{", "}", "{}", "{0}", "{bogus}", "{ip", "{ip!", "{zone:", "{ip.x}", "{a[0]}", "{ip!rr}", "{i{p}}"];
    (0..rng.usize(1..6))
        .map(|_| match rng.u8(0..20) {
            0 => (*rng.choice(&broken).unwrap()).to_owned(),
            1..8 => (*rng.choice(&text).unwrap()).to_owned(),
            _ => field(rng, true),
        })
        .collect()
}

fn field(rng: &mut Rng, may_nest: bool) -> String {
    let names = ["ip", "port", "replication_ip", "replication_port", "region", "zone", "device", "meta"];
    let name = rng.choice(&names).unwrap();
    let index = *rng.choice(&["", "", "", "", "", "", "[0]", "[1]", "[99]", "[-1]"]).unwrap();
    let conversion = *rng.choice(&["", "", "", "!s", "!r", "!a"]).unwrap();
    let spec = if rng.bool() { format!(":{}", spec(rng, may_nest)) } else { String::new() };
    format!("{{{name}{index}{conversion}{spec}}}")
}

/// A format spec; the float types are left out, as they are in ours.
fn spec(rng: &mut Rng, may_nest: bool) -> String {
    let mut pick = |choices: &[&str]| (*rng.choice(choices).unwrap()).to_owned();
    let mut spec = pick(&["", "", "", "<", ">", "^", "=", "*<", "0>", "é^", "x=", "0=", "}>"]);
    spec += &pick(&["", "", "", "", "+", "-", " "]);
    spec += &pick(&["", "", "", "", "", "", "z", "#"]);
    spec += &pick(&["", "", "0", "00"]);
    spec += &pick(&["", "1", "5", "12", "40"]);
    spec += &pick(&["", "", "", "", ",", "_", ",_"]);
    spec += &pick(&["", "", "", "", "", "", ".0", ".2", "."]);
    spec += &pick(&["", "", "", "s", "d", "d", "b", "o", "x", "X", "c", "n", "q", "dd"]);
    if may_nest && rng.u8(0..6) == 0 {
        let too_deep = rng.u8(0..4) == 0;
        spec.insert_str(0, &field(rng, too_deep));
    }
    spec
}

/// Whether a field stands within a field.
fn nests(template: &str) -> bool {
    let plain = template.replace("{{", "").replace("}}", "");
    let mut depth = 0_i32;
    plain.chars().any(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth > 1
    })
}

fn is_refused_format<T, E: ToString>(ours: &Result<T, E>) -> bool {
    ours.as_ref().is_err_and(|error| error.to_string().contains("a format that does not fit the field"))
}

#[test]
fn modules_are_the_references_b8_3() {
    let seed = Seed::of_this_run();
    let (mut rng, mut oracle) = (seed.rng(), Oracle::start("peer.py"));
    let (mut modules, mut failures) = (0, 0);
    for _ in 0..3000 {
        let (device, template) = (device(&mut rng), template(&mut rng));
        let ours = interpolate(&template, &device);
        // Python fills a field of any width until there is no memory left, or counts to it for hours. Only a field within
        // a field makes such a width here.
        if ours.as_ref().is_err_and(|error| error.to_string().contains("a width beyond")) {
            assert!(nests(&template), "{template:?} for {device:?} ({seed}): {ours:?}");
            continue;
        }
        let theirs = oracle.ask(&json!({"about": "module", "template": template, "device": as_json(&device)}));
        let context = format!("{template:?} for {device:?} ({seed}): {ours:?}");
        match theirs["module"].as_str() {
            // By way of a field within a field, a number may get one of the float types, which ours does not have.
            Some(module) if is_refused_format(&ours) && nests(&template) => {
                assert!(module.contains('.') || module.contains("e+"), "{context}: {module}");
            }
            Some(module) => {
                modules += 1;
                assert_eq!(ours.as_deref().ok(), Some(module), "{context}");
            }
            None => {
                failures += 1;
                let error = ours.expect_err(&context).to_string();
                if let Some(text) = theirs["error"].as_str() {
                    assert_eq!(error, text, "{context}");
                }
            }
        }
    }
    assert!(modules > 300 && failures > 300, "{modules} modules and {failures} failures ({seed})");
}

#[test]
fn a_port_that_is_half_of_a_surrogate_pair_makes_no_module() {
    let mut oracle = Oracle::start("peer.py");
    for (port, is_one) in [(0xd7ff, true), (0xd800, false), (0xdc80, false), (0xdfff, false), (0xe000, true)] {
        let device = Device { port, ..device(&mut Rng::with_seed(1)) };
        let template = "{ip}::{port:c}";
        let theirs = oracle.ask(&json!({"about": "module", "template": template, "device": as_json(&device)}));
        assert_eq!(
            (theirs["module"].is_string(), interpolate(template, &device).is_ok()),
            (is_one, is_one),
            "{port:x}"
        );
    }
}

#[test]
fn nodes_are_named_as_the_reference_names_them() {
    let seed = Seed::of_this_run();
    let (mut rng, mut oracle) = (seed.rng(), Oracle::start("peer.py"));
    for _ in 0..200 {
        let device = device(&mut rng);
        let theirs = oracle.ask(&json!({"about": "node_string", "device": as_json(&device)}));
        assert_eq!(Some(node_string(&device).as_str()), theirs.as_str(), "{seed}");
    }
}

/// A server that answers every request on every connection with 200 and an empty dict, and tells what was requested:
/// the request line, then the headers in alphabetical order, their names in lower case.
fn listening() -> (u16, std::sync::mpsc::Receiver<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, requests) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, tell) = (socket.unwrap(), tell.clone());
            thread::spawn(move || {
                let (mut text, mut byte) = (Vec::new(), [0]);
                while socket.read(&mut byte).is_ok_and(|n| n > 0) {
                    text.push(byte[0]);
                    if text.ends_with(b"\r\n\r\n") {
                        let request = String::from_utf8(std::mem::take(&mut text)).unwrap();
                        let mut lines = request.trim_end().split("\r\n").map(str::to_owned);
                        let request_line = lines.next();
                        let mut headers: Vec<_> = lines.map(|line| lower_name(&line)).collect();
                        headers.sort();
                        tell.send(request_line.into_iter().chain(headers).collect()).unwrap();
                        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n\x80\x02}q\0.").unwrap();
                    }
                }
            });
        }
    });
    (port, requests)
}

fn lower_name(header: &str) -> String {
    let (name, value) = header.split_once(": ").expect("a header");
    format!("{}: {value}", name.to_lowercase())
}

fn suffixes(rng: &mut Rng, count: usize) -> Vec<Suffix> {
    let odd = ["zzz", "a b", "ABC", "...", "a%c", "'\"'"];
    (0..count)
        .map(|_| match rng.u8(0..10) {
            0 => (*rng.choice(&odd).unwrap()).to_owned(),
            _ => format!("{:03x}", rng.u16(0..4096)),
        })
        .map(|name| Suffix::from_name(name.as_bytes()).unwrap())
        .collect()
}

#[test]
fn requests_are_the_references_b7_1() {
    let seed = Seed::of_this_run();
    let (mut rng, mut oracle) = (seed.rng(), Oracle::start("peer.py"));
    let (port, requests) = listening();
    let user_agent = "object-replicator 4711";
    let limit = Duration::from_secs(30);
    let client = Client::new(&ReplicateSettings { conn_timeout: limit, http_timeout: limit }, user_agent);
    for round in 0..200 {
        let device = Device { replication_ip: "127.0.0.1".into(), replication_port: port, ..device(&mut rng) };
        let (policy, partition) = (PolicyIndex::new(rng.u32(0..3)), Partition::new(rng.u32(0..1 << 20)));
        let count = rng.usize(1..40);
        let suffixes = (round % 2 == 0).then(|| suffixes(&mut rng, count));
        match &suffixes {
            Some(suffixes) => assert_eq!(client.rehash(&device, policy, partition, suffixes).unwrap(), 200),
            None => drop(client.hashes(&device, policy, partition).unwrap()),
        }
        let ours = requests.recv_timeout(limit).unwrap();
        let names = suffixes.as_ref().map(|suffixes| suffixes.iter().map(Suffix::as_str).collect::<Vec<_>>());
        let status = oracle.ask(&json!({
            "about": "replicate", "device": as_json(&device), "partition": partition.number(),
            "policy": policy.number(), "suffixes": names, "user_agent": user_agent,
        }));
        assert_eq!((status, &ours), (json!(200), &requests.recv_timeout(limit).unwrap()), "{seed}");
    }
}

/// What this thread logged, for the tests of this module.
struct Capture;

thread_local! {
    static LOGGED: RefCell<Vec<(String, String)>> = const { RefCell::new(Vec::new()) };
}

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        let line = (record.level().to_string(), record.args().to_string());
        LOGGED.with_borrow_mut(|lines| lines.push(line));
    }

    fn flush(&self) {}
}

fn capture_lines() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Capture).expect("no other module of the tests sets a logger");
        log::set_max_level(log::LevelFilter::Debug);
    });
    LOGGED.take();
}

/// A stand-in for rsync that notes its arguments in `args`, and takes its output and exit code from files beside it.
fn stand_in() -> TempDir {
    let folder = TempDir::new().unwrap();
    let script = "#!/bin/sh\ncd \"${0%/*}\"\nprintf '%s\\0' \"$@\" > args\ncat output >&2\nexit $(cat code)\n";
    // Written by another process: a file that any thread of this one has open for writing cannot be run.
    let mut sh = Command::new("sh");
    sh.args(["-c", "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", script]).arg(folder.path().join("rsync"));
    assert!(sh.status().unwrap().success());
    folder
}

/// Output as rsync might give it.
fn output(rng: &mut Rng) -> String {
    let lines = [
        "",
        "cd+++++++++ 0af/",
        "<f+++++++++ 0af/h/1.data",
        "<f+++++++++ 0af/h/%s 100% {}",
        ".d..t...... 0af/",
        "rsync: [sender] link_stat \"/x\" failed: No such file or directory (2)",
        "rsync error: some files/attrs were not transferred (code 23) at main.c(1338)",
        "  cd+ é",
        "a\rb",
    ];
    let mut output: String = (0..rng.usize(0..8)).map(|_| (*rng.choice(&lines).unwrap()).to_owned() + "\n").collect();
    if rng.u8(0..4) == 0 {
        output.pop();
    }
    output
}

fn lines_of(answer: &Value) -> Vec<(String, String)> {
    serde_json::from_value(answer["lines"].clone()).unwrap()
}

/// Puts the same for all durations in `Successful rsync of ... (0.012)`.
fn without_durations(lines: Vec<(String, String)>) -> Vec<(String, String)> {
    let is_duration = |text: &str| text.len() == 5 && text.starts_with("0.");
    let without = |(level, line): (String, String)| match line.strip_suffix(')').and_then(|l| l.rsplit_once(" (")) {
        Some((head, time)) if line.starts_with("Successful") && is_duration(time) => (level, format!("{head} (0.123)")),
        _ => (level, line),
    };
    lines.into_iter().map(without).collect()
}

/// The suffixes, and folders for most of them.
fn local_suffixes(rng: &mut Rng, partition: &Path) -> Vec<Suffix> {
    let count = rng.usize(1..6);
    let suffixes = suffixes(rng, count);
    for suffix in &suffixes {
        if rng.u8(0..4) > 0 {
            fs::create_dir_all(partition.join(suffix.as_str())).unwrap();
        }
    }
    suffixes
}

#[test]
fn pushes_run_and_are_logged_as_the_references_b8() {
    capture_lines();
    let seed = Seed::of_this_run();
    let (mut rng, mut oracle) = (seed.rng(), Oracle::start("peer.py"));
    let stand_in = stand_in();
    let file = |name: &str| stand_in.path().join(name);
    for round in 0..80 {
        let devices = TempDir::new().unwrap();
        let to = device(&mut rng);
        let (policy, partition) = (PolicyIndex::new(rng.u32(0..3)), Partition::new(rng.u32(0..5000)));
        let datadir = devices.path().join("sd'a é").join(policy.datadir());
        let path = datadir.join(partition.to_string());
        let suffixes = local_suffixes(&mut rng, &path);
        let code = if rng.bool() { 0 } else { rng.u8(1..36) };
        fs::write(file("output"), output(&mut rng)).unwrap();
        fs::write(file("code"), code.to_string()).unwrap();
        let options = RsyncSettings {
            timeout: Duration::from_secs(60),
            io_timeout: rng.u8(..).to_string(),
            bwlimit: (*rng.choice(&["0", "10m", "1.5"]).unwrap()).into(),
            compress: rng.bool(),
            module: (*rng.choice(&["{replication_ip}::object_{meta}", "{ip}:::{port}/"]).unwrap()).into(),
            fallback_module: None,
            log_transfers: rng.bool(),
            error_line_length: *rng.choice(&[0, 0, 1, 40, 200]).unwrap(),
            nodelay: false,
            batch: 128,
        };
        let across_regions = rng.bool();
        let question = json!({
            "about": "rsync", "path": stand_in.path(), "old_path": std::env::var("PATH").unwrap(),
            "device": as_json(&to), "suffixes": suffixes.iter().map(Suffix::as_str).collect::<Vec<_>>(),
            "job": {
                "path": path, "partition": partition.to_string(), "policy": policy.number(),
                "region": to.region + i64::from(across_regions),
            },
            "options": {
                "rsync_io_timeout": options.io_timeout, "rsync_bwlimit": options.bwlimit,
                "rsync_compress": options.compress, "rsync_module": options.module.trim_end_matches('/'),
                "rsync_timeout": 60, "log_rsync_transfers": options.log_transfers,
                "rsync_error_log_line_length": options.error_line_length,
            },
        });
        let theirs = oracle.ask(&question);
        let their_args = fs::read(file("args")).unwrap_or_default();
        fs::write(file("args"), "").unwrap();

        let rsync = Rsync::new(options).with_program(file("rsync"));
        let parts = [PartSuffixes { partition, suffixes }];
        LOGGED.take();
        let ours = rsync.push(&Push::new(&datadir, policy, &parts, &to, across_regions), &());

        let context = format!("round {round} of {seed}: {question}");
        assert_eq!(ours.is_ok(), theirs["success"] == json!(true), "{context} {ours:?}");
        let our_args = fs::read(file("args")).unwrap();
        assert_eq!(String::from_utf8_lossy(&our_args), String::from_utf8_lossy(&their_args), "{context}");
        assert_eq!(without_durations(LOGGED.take()), without_durations(lines_of(&theirs)), "{context}");
        fs::write(file("args"), "").unwrap();
    }
}

#[test]
fn killed_pushes_are_logged_as_the_references_b8_9() {
    capture_lines();
    let mut oracle = Oracle::start("peer.py");
    let stand_in = stand_in();
    fs::write(stand_in.path().join("output"), "cd+++++++++ 0af/\nsomething\n").unwrap();
    let sleeping = "#!/bin/sh\ncat \"${0%/*}/output\"\nexec sleep 600\n";
    let mut sh = Command::new("sh");
    sh.args(["-c", "printf %s \"$1\" > \"$2\"", "sh", sleeping]).arg(stand_in.path().join("rsync"));
    assert!(sh.status().unwrap().success());
    let devices = TempDir::new().unwrap();
    let datadir = devices.path().join("sda/objects");
    fs::create_dir_all(datadir.join("7/0af")).unwrap();
    let to = device(&mut Rng::with_seed(1));
    let question = json!({
        "about": "rsync", "path": stand_in.path(), "old_path": std::env::var("PATH").unwrap(),
        "device": as_json(&to), "suffixes": ["0af"],
        "job": {"path": datadir.join("7"), "partition": "7", "policy": 0, "region": to.region},
        "options": {
            "rsync_io_timeout": "30", "rsync_bwlimit": "0", "rsync_compress": false, "rsync_module": "{ip}::object",
            "rsync_timeout": 1, "log_rsync_transfers": true, "rsync_error_log_line_length": 0,
        },
    });
    let theirs = oracle.ask(&question);
    let options = RsyncSettings {
        timeout: Duration::from_secs(1),
        io_timeout: "30".into(),
        bwlimit: "0".into(),
        compress: false,
        module: "{ip}::object".into(),
        fallback_module: None,
        log_transfers: true,
        error_line_length: 0,
        nodelay: false,
        batch: 128,
    };
    let suffixes = vec![Suffix::from_name(b"0af").unwrap()];
    let parts = [PartSuffixes { partition: Partition::new(7), suffixes }];
    let push = Push::new(&datadir, PolicyIndex::new(0), &parts, &to, false);
    let ours = Rsync::new(options).with_program(stand_in.path().join("rsync")).push(&push, &());
    assert!(ours.is_err() && theirs["success"] == json!(false), "{ours:?} {theirs}");
    assert_eq!(LOGGED.take(), lines_of(&theirs));
}
