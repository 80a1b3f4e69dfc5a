//! Pushes to real rsync daemons, and what happens with rsyncs that misbehave.

mod arguments;
mod compare;
mod ends;

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tempfile::TempDir;

use std::path::Path;

use super::client::DEFAULT_MODULE;
use super::*;
use crate::cause::Cause;
use crate::child::Children;
use crate::child::SpawnGate;
use crate::config::settings::RsyncSettings;
use crate::heartbeat::Heartbeat;
use crate::names::Partition;
use crate::names::{PolicyIndex, Suffix};
use crate::ring::Device;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const POLICY: PolicyIndex = PolicyIndex::new(1);

fn options() -> RsyncSettings {
    RsyncSettings {
        timeout: Duration::from_secs(60),
        io_timeout: "30".into(),
        bwlimit: "0".into(),
        compress: false,
        module: "rsync://{replication_ip}:{replication_port}/object/".into(),
        fallback_module: None,
        log_transfers: true,
        error_line_length: 0,
        nodelay: true,
        batch: 128,
    }
}

fn device_on(port: u16) -> Device {
    Device { replication_port: port, ..Device::sample() }
}

fn part(partition: u32, suffixes: &[&str]) -> PartSuffixes {
    let suffixes = suffixes.iter().map(|name| Suffix::from_name(name.as_bytes()).unwrap()).collect();
    PartSuffixes { partition: Partition::new(partition), suffixes }
}

fn write(path: impl AsRef<Path>, content: &str) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The files below a folder, with what is in them.
fn tree(folder: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// Some partitions of a local device: `<partition>/<suffix>/h/1.data`, with the file's path as its content.
struct Local {
    folder: TempDir,
    datadir: PathBuf,
}

impl Local {
    fn with(files: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let datadir = folder.path().join("sda/objects-1");
        for file in files {
            write(datadir.join(file), file);
        }
        Self { folder, datadir }
    }

    fn push<'a>(&'a self, parts: &'a [PartSuffixes], to: &'a Device) -> Push<'a> {
        Push::new(&self.datadir, POLICY, parts, to, false)
    }
}

/// A node with a device `sdb`, and an rsync daemon that serves the module `object`. The test is its inetd.
struct Node {
    folder: TempDir,
    device: Device,
}

impl Node {
    /// `settings` are further lines of the module's configuration.
    fn start(settings: &str) -> Self {
        let version = Command::new("rsync").arg("--version").output();
        assert!(version.is_ok(), "rsync is missing: install it with `apt-get install rsync`");
        let folder = TempDir::new().unwrap();
        let root = folder.path().display();
        fs::create_dir_all(folder.path().join("devices/sdb/objects-1")).unwrap();
        let ids = if rustix::process::geteuid().is_root() { "uid = 0\ngid = 0\n" } else { "" };
        let module = format!("[object]\npath = {root}/devices\nread only = no\nlock file = {root}/lock\n{settings}\n");
        let config = folder.path().join("rsyncd.conf");
        fs::write(&config, format!("use chroot = no\nlog file = {root}/log\n{ids}{module}")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let device = device_on(listener.local_addr().unwrap().port());
        thread::spawn(move || {
            for socket in listener.incoming() {
                let socket = OwnedFd::from(socket.unwrap());
                let mut daemon = Command::new("rsync");
                daemon.arg("--daemon").arg(format!("--config={}", config.display()));
                daemon.stdin(socket.try_clone().unwrap()).stdout(socket);
                let mut daemon = daemon.spawn().unwrap();
                thread::spawn(move || daemon.wait());
            }
        });
        Self { folder, device }
    }

    fn datadir(&self) -> PathBuf {
        self.folder.path().join("devices/sdb/objects-1")
    }
}

/// A stand-in for rsync: a shell script.
struct Script(TempDir);

impl Script {
    fn new(script: &str) -> Self {
        let folder = TempDir::new().unwrap();
        // Written by another process: a file that any thread of this one has open for writing cannot be run.
        let mut sh = Command::new("sh");
        sh.args(["-c", "printf '#!/bin/sh\ncd \"${0%%/*}\"\n%s\n' \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", script]);
        assert!(sh.arg(folder.path().join("rsync")).status().unwrap().success());
        Self(folder)
    }

    /// Where it is.
    fn program(&self) -> PathBuf {
        self.0.path().join("rsync")
    }

    /// What a push of one suffix of each of the partitions through the script ends with; with and without pidfd.
    fn push(
        &self,
        options: &RsyncSettings,
        partitions: &[u32],
        heartbeat: &dyn Heartbeat,
    ) -> [Result<Sent, PushError>; 2] {
        let files: Vec<_> = partitions.iter().map(|partition| format!("{partition}/abc/h/1.data")).collect();
        let local = Local::with(&files.iter().map(String::as_str).collect::<Vec<_>>());
        let parts: Vec<_> = partitions.iter().map(|partition| part(*partition, &["abc"])).collect();
        let (to, program) = (device_on(1), self.program());
        let push = |use_pidfd| {
            let children = Children::new(SpawnGate::default());
            let children = if use_pidfd { children } else { children.without_pidfd() };
            let rsync = Rsync { children, ..Rsync::new(options.clone()) }.with_program(&program);
            let outcome = rsync.push(&local.push(&parts, &to), heartbeat);
            assert_eq!(rsync.unreaped(), 0);
            outcome
        };
        let push = &push;
        thread::scope(|scope| {
            let both = [true, false].map(|use_pidfd| scope.spawn(move || push(use_pidfd)));
            both.map(|thread| thread.join().unwrap())
        })
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.path().join(file)).unwrap()
    }
}

fn limited_to(timeout: Duration) -> RsyncSettings {
    RsyncSettings { timeout, ..options() }
}

fn outcomes(script: &str, options: &RsyncSettings, partitions: &[u32]) -> [Result<Sent, PushError>; 2] {
    Script::new(script).push(options, partitions, &())
}

fn assert_failed<T: std::fmt::Debug>(outcome: &Result<T, PushError>, expected: (i32, Cause, Again)) {
    match outcome {
        Err(PushError::Failed { code, verdict }) => assert_eq!((*code, verdict.cause, verdict.again), expected),
        other => panic!("{other:?} instead of {expected:?}"),
    }
}

#[test]
fn one_partition_arrives_and_nothing_there_is_overwritten() {
    let (local, node) = (Local::with(&["1/abc/h/1.data", "1/abc/h/2.meta", "1/def/h/1.ts", "1/fff/h/1.data"]), {
        let node = Node::start("");
        write(node.datadir().join("1/abc/h/1.data"), "theirs");
        node
    });
    write(local.datadir.join("1/abc/h/.1.data.aB3xYz"), "rsync's own temporary file");
    let parts = [part(1, &["abc", "def", "000"])];
    Rsync::new(options()).push(&local.push(&parts, &node.device), &()).unwrap();
    let expected =
        [("1/abc/h/1.data", "theirs"), ("1/abc/h/2.meta", "1/abc/h/2.meta"), ("1/def/h/1.ts", "1/def/h/1.ts")];
    assert_eq!(tree(&node.datadir()), expected.map(|(name, content)| (name.into(), content.into())));
}

#[test]
fn several_partitions_arrive_in_one_run() {
    let node = Node::start("");
    let local =
        Local::with(&["1/abc/h/1.data", "1/def/h/1.data", "2/abc/h/1.data", "30/abc/h/1.data", "4/abc/h/1.data"]);
    write(node.datadir().join("2/000/h/1.data"), "theirs");
    let theirs = node.datadir().join("2");
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o710)).unwrap();
    let attribute = "user.of-the-folder";
    let has_attributes = xattr::set(local.datadir.join("2"), attribute, b"ours").is_ok();
    let parts = [part(1, &["abc"]), part(2, &["abc"]), part(30, &["abc", "fff"]), part(5, &["abc"])];
    let push = local.push(&parts, &node.device);
    assert_eq!(push.present().parts, [part(1, &["abc"]), part(2, &["abc"]), part(30, &["abc"])]);
    Rsync::new(options()).push(&push, &()).unwrap();
    let names: Vec<_> = tree(&node.datadir()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["1/abc/h/1.data", "2/000/h/1.data", "2/abc/h/1.data", "30/abc/h/1.data"]);
    let mode = theirs.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o710, "the partition's folder is left as it is");
    if has_attributes {
        assert_eq!(xattr::get(&theirs, attribute).unwrap(), None, "the partition's folder is left as it is");
    }
}

#[test]
fn nothing_is_written_where_the_target_has_no_datadir() {
    let (local, node) = (Local::with(&["1/abc/h/1.data", "2/abc/h/1.data"]), Node::start(""));
    for present in ["devices/sdb", "devices"] {
        fs::remove_dir_all(node.folder.path().join("devices")).unwrap();
        fs::create_dir_all(node.folder.path().join(present)).unwrap();
        for parts in [&[part(1, &["abc"])][..], &[part(1, &["abc"]), part(2, &["abc"])]] {
            let outcome = Rsync::new(options()).push(&local.push(parts, &node.device), &());
            assert_failed(&outcome, (11, Cause::Push, Again::No));
            assert_eq!(fs::read_dir(node.folder.path().join(present)).unwrap().count(), 0);
        }
    }
}

#[test]
fn a_busy_daemon_is_told_from_one_that_refuses() {
    let (local, node) = (Local::with(&["1/abc/h/1.data"]), Node::start("max connections = 1"));
    let parts = [part(1, &["abc"])];
    let mut other = TcpStream::connect(("127.0.0.1", node.device.replication_port)).unwrap();
    other.write_all(b"@RSYNCD: 30.0\nobject\n").unwrap();
    let mut said = String::new();
    while !said.contains("@RSYNCD: OK") {
        let mut bytes = [0; 256];
        let n = io::Read::read(&mut other, &mut bytes).unwrap();
        assert_ne!(n, 0, "{said}");
        said += &String::from_utf8_lossy(&bytes[..n]);
    }
    let push = local.push(&parts, &node.device);
    assert_failed(&Rsync::new(options()).push(&push, &()), (5, Cause::Busy, Again::Later));
    let other_module = RsyncSettings { module: "rsync://127.0.0.1:{replication_port}/none".into(), ..options() };
    let outcome = Rsync::new(other_module).push(&push, &());
    assert!(matches!(outcome, Err(PushError::NoModule(_))), "{outcome:?}");
}

#[test]
fn a_dead_node_is_the_targets_failure() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (local, to) = (Local::with(&["1/abc/h/1.data"]), device_on(port));
    assert_failed(
        &Rsync::new(options()).push(&local.push(&[part(1, &["abc"])], &to), &()),
        (10, Cause::Unreachable, Again::No),
    );
}

#[test]
fn nothing_is_run_for_nothing_b8_2() {
    let local = Local::with(&["1/abc/h/1.data", "2"]);
    let rsync = Rsync::new(options()).with_program("/nonexistent/rsync");
    let to = device_on(1);
    for parts in [&[][..], &[part(1, &[])], &[part(1, &["def"]), part(2, &["abc"]), part(3, &["abc"])]] {
        let error = rsync.push(&local.push(parts, &to), &()).unwrap_err();
        assert!(matches!(error, PushError::NothingToSend), "{error:?}");
        assert_eq!(rsync.compare(&local.push(parts, &to), &()).unwrap(), vec![Lacking::default(); parts.len()]);
    }
}

#[test]
fn what_cannot_be_looked_at_holds_back_nothing_else() {
    let (local, node) = (Local::with(&["1/abc/h/1.data", "3/abc/h/1.data"]), Node::start(""));
    symlink("2", local.datadir.join("2")).unwrap();
    symlink("eee", local.datadir.join("3/eee")).unwrap();
    let parts = [part(1, &["abc"]), part(2, &["abc"]), part(3, &["abc", "eee"])];
    let (rsync, push) = (Rsync::new(options()), local.push(&parts, &node.device));
    let sent = rsync.push(&push, &()).unwrap();
    let unseen: Vec<_> = sent.unseen.iter().map(|unseen| unseen.path.clone()).collect();
    assert_eq!(unseen, [local.datadir.join("2/abc"), local.datadir.join("3/eee")]);
    let names: Vec<_> = tree(&node.datadir()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["1/abc/h/1.data", "3/abc/h/1.data"]);
    let lacking = rsync.compare(&push, &()).unwrap();
    assert!(lacking[0].is_nothing());
    assert_eq!((lacking[1].missing, lacking[2].missing), (1, 1));
    let error = rsync.push(&local.push(&parts[1..2], &node.device), &()).unwrap_err();
    assert!(matches!(&error, PushError::Unseen(unseen) if unseen.len() == 1), "{error:?}");
    assert_eq!((error.cause(), error.is_of_a_run()), (Cause::Local, false));
}

#[test]
fn a_missing_rsync_is_an_error_that_names_it() {
    let local = Local::with(&["1/abc/h/1.data"]);
    let program = local.folder.path().join("no-rsync");
    let rsync = Rsync::new(options()).with_program(&program);
    let error = rsync.push(&local.push(&[part(1, &["abc"])], &device_on(1)), &()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot run {}: No such file or directory (os error 2)", program.display()));
    assert!(!error.is_of_a_run());
}

#[test]
fn rings_cannot_lead_rsync_astray_b13_6() {
    let local = Local::with(&["1/abc/h/1.data"]);
    let parts = [part(1, &["abc"])];
    for (module, device) in [
        ("{replication_ip}::object", ".."),
        ("{replication_ip}::object", "../../etc"),
        ("{replication_ip}::object", ""),
        ("{meta}", "sdb"),
        ("-{replication_ip}", "sdb"),
    ] {
        let rsync = Rsync::new(RsyncSettings { module: module.into(), ..options() });
        let to = Device { device: device.into(), ..device_on(1) };
        let error = rsync.push(&local.push(&parts, &to), &()).unwrap_err();
        assert!(matches!(error, PushError::Target { .. }) && !error.is_of_a_run(), "{error:?}");
    }
    let rsync = Rsync::new(RsyncSettings { module: "{bogus}::object".into(), ..options() });
    let error = rsync.push(&local.push(&parts, &device_on(1)), &()).unwrap_err();
    assert_eq!(error.to_string(), "Cannot interpolate rsync_module, invalid variable: 'bogus'");
}

#[test]
fn how_rsync_ends_says_what_another_attempt_is_good_for() {
    for (code, cause, again) in
        [(1, Cause::Push, Again::No), (23, Cause::Push, Again::Divided), (30, Cause::Timeout, Again::No)]
    {
        for outcome in outcomes(&format!("exit {code}"), &options(), &[1]) {
            assert_failed(&outcome, (code, cause, again));
        }
    }
    let full = "rsync: [receiver] mkstemp \"/1/.x\" (in object) failed: No space left on device (28)";
    for outcome in outcomes(&format!("echo '{full}' >&2; exit 23"), &options(), &[1, 2]) {
        assert_failed(&outcome, (23, Cause::Full, Again::Divided));
    }
    for outcome in outcomes(&format!("echo '{full}'; exit 23"), &options(), &[1, 2]) {
        assert_failed(&outcome, (23, Cause::Push, Again::Divided));
    }
    for outcome in outcomes("kill -9 $$", &options(), &[1]) {
        assert_failed(&outcome, (-9, Cause::Push, Again::Divided));
    }
}

#[test]
fn a_run_that_takes_too_long_is_killed_b8_9() {
    // The second one's end leaves a child that holds the pipe open.
    for script in ["echo $$ >> pids; exec sleep 600", "echo $$ >> pids; trap '' TERM; while :; do sleep 20; done"] {
        let script = Script::new(script);
        for outcome in script.push(&limited_to(Duration::from_secs(1)), &[1], &()) {
            assert!(matches!(outcome, Err(PushError::TimedOut { .. })), "{outcome:?}");
        }
        for pid in script.read("pids").lines() {
            assert!(!Path::new("/proc").join(pid).exists(), "{pid} was not reaped");
        }
    }
}

#[test]
fn endless_output_does_not_stretch_the_time() {
    for script in ["exec yes", "exec yes '<f+++++++++ 1/abc/h/1.data'"] {
        for outcome in outcomes(script, &limited_to(Duration::from_secs(1)), &[1, 2]) {
            assert!(matches!(outcome, Err(PushError::TimedOut { .. })), "{outcome:?}");
        }
    }
}

#[test]
fn the_time_limit_of_a_batch_begins_anew_with_each_partition() {
    let script = "for i in 1 2 3 4; do echo \"<f+++++++++ $i/abc/h/1.data\"; sleep 1; done";
    let limit = limited_to(Duration::from_secs(3));
    for outcome in outcomes(script, &limit, &[1, 2, 3, 4]) {
        outcome.unwrap();
    }
    for outcome in outcomes(script, &limit, &[1]) {
        assert!(matches!(outcome, Err(PushError::TimedOut { .. })), "{outcome:?}");
    }
}

#[test]
fn whoever_holds_the_pipe_open_after_rsyncs_end_is_not_waited_for() {
    for code in [0, 23] {
        let script = format!("sleep 30 & echo bye; exit {code}");
        for outcome in outcomes(&script, &limited_to(Duration::from_secs(10)), &[1]) {
            if code == 0 {
                assert!(outcome.is_ok());
            } else {
                assert_failed(&outcome, (23, Cause::Push, Again::Divided));
            }
        }
    }
}

#[test]
fn a_run_that_closes_its_output_is_still_waited_for() {
    for outcome in outcomes("exec >&- 2>&-; sleep 1; exit 24", &options(), &[1]) {
        assert_failed(&outcome, (24, Cause::Push, Again::Divided));
    }
}

#[test]
fn output_is_a_sign_of_life() {
    struct Count(AtomicUsize);
    impl Heartbeat for Count {
        fn beat(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let count = Count(AtomicUsize::new(0));
    for outcome in Script::new("echo one; echo two >&2").push(&options(), &[1], &count) {
        outcome.unwrap();
    }
    assert!(count.0.into_inner() >= 2, "one for each run at least");
}

#[test]
fn a_list_and_output_beyond_all_pipes_do_not_block_each_other() {
    let script = Script::new("yes | head -c 3000000; cat > list");
    let partitions: Vec<_> = (0..2_000).collect();
    let local = Local::with(&["0/abc/h/1.data"]);
    let folder = local.datadir.join("0");
    for partition in &partitions[1..] {
        symlink(&folder, local.datadir.join(partition.to_string())).unwrap();
    }
    let parts: Vec<_> = partitions.iter().map(|partition| part(*partition, &["abc"; 10])).collect();
    let rsync = Rsync::new(options()).with_program(script.program());
    rsync.push(&local.push(&parts, &device_on(1)), &()).unwrap();
    let list: String = partitions.iter().map(|partition| format!("{partition}/abc\0").repeat(10)).collect();
    assert!(list.len() > 128 << 10, "a pipe would hold it all");
    assert_eq!(script.read("list"), list);
}

#[test]
fn the_default_module_stands_in_for_an_empty_one() {
    for (module, expected) in [("", DEFAULT_MODULE), ("///", DEFAULT_MODULE), ("{ip}::x//", "{ip}::x")] {
        let rsync = Rsync::new(RsyncSettings { module: module.into(), ..options() });
        assert_eq!(rsync.options.module, expected);
    }
}
