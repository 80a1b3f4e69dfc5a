//! What is done about the ways in which runs end.

use super::*;
use crate::heartbeat::Heartbeat;
use crate::names::Partition;
use crate::ring::Device;
use std::process::Command;
use std::time::Duration;

fn durable<'a>(local: &'a Local, parts: &'a [PartSuffixes], to: &'a Device) -> Push<'a> {
    Push { durable: true, ..local.push(parts, to) }
}

#[test]
fn files_are_durable_where_both_ends_know_how() {
    let (local, node) = (Local::with(&["1/abc/h/1.data", "2/abc/h/1.data"]), Node::start(""));
    for parts in [&[part(1, &["abc"])][..], &[part(1, &["abc"]), part(2, &["abc"])]] {
        let rsync = Rsync::new(options());
        assert_eq!(rsync.fsync_known(&node.device), None);
        assert!(!rsync.push(&local.push(parts, &node.device), &()).unwrap().durable, "not asked for");
        fs::remove_dir_all(node.datadir().join("1")).unwrap();
        let sent = rsync.push(&durable(&local, parts, &node.device), &()).unwrap();
        assert_eq!((sent.durable, sent.files), (true, 1));
        assert_eq!(rsync.fsync_known(&node.device), Some(true));
    }
}

#[test]
fn a_daemon_without_fsync_gets_the_files_all_the_same() {
    let (local, node) = (Local::with(&["1/abc/h/1.data"]), Node::start("refuse options = fsync"));
    let parts = [part(1, &["abc"])];
    let rsync = Rsync::new(options());
    for _ in 0..2 {
        assert!(!rsync.push(&durable(&local, &parts, &node.device), &()).unwrap().durable);
        assert_eq!(rsync.fsync_known(&node.device), Some(false));
        assert_eq!(tree(&node.datadir()).len(), 1);
        fs::remove_dir_all(node.datadir().join("1")).unwrap();
    }
    let other = Node::start("");
    assert!(rsync.push(&durable(&local, &parts, &other.device), &()).unwrap().durable, "it is that node's affair");
}

#[test]
fn an_old_rsync_is_not_asked_for_fsync_again() {
    for (said, here) in [
        (
            "rsync: --fsync: unknown option\\nrsync error: syntax or usage error (code 1) at main.c(1) [client=3.1.3]",
            true,
        ),
        (
            "rsync: on remote machine: --fsync: unknown option\\nrsync error: requested action not supported (code 4) at x",
            false,
        ),
    ] {
        let script = Script::new(&format!(
            "echo \"$@\" >> runs; case \"$*\" in *--fsync*) printf '{said}\\n' >&2; exit {} ;; esac",
            if here { 1 } else { 4 }
        ));
        let local = Local::with(&["1/abc/h/1.data"]);
        let rsync = Rsync::new(options()).with_program(script.program());
        let (parts, to, other) = ([part(1, &["abc"])], device_on(1), device_on(2));
        for to in [&to, &to, &other] {
            assert!(!rsync.push(&durable(&local, &parts, to), &()).unwrap().durable);
        }
        // Once with the option and three times without; of another daemon nothing is known.
        assert_eq!(script.read("runs").lines().count(), if here { 4 } else { 5 });
        assert_eq!(rsync.fsync_known(&device_on(3)), here.then_some(false));
    }
}

#[test]
fn a_failed_fsync_is_a_failure() {
    let error = "rsync: [receiver] fsync failed on \\\"/sdb/1\\\" (in object): Input/output error (5)";
    let script = Script::new(&format!("echo \"$@\" >> runs; echo \"{error}\" >&2; exit 11"));
    let local = Local::with(&["1/abc/h/1.data"]);
    let rsync = Rsync::new(options()).with_program(script.program());
    let outcome = rsync.push(&durable(&local, &[part(1, &["abc"])], &device_on(1)), &());
    assert!(matches!(outcome, Err(PushError::Failed { code: 11, .. })), "{outcome:?}");
    assert_eq!(script.read("runs").lines().count(), 1);
}

#[test]
fn a_node_without_a_module_for_its_port_has_the_usual_one() {
    let (local, node) = (Local::with(&["1/abc/h/1.data"]), Node::start(""));
    let host = "rsync://{replication_ip}:{replication_port}";
    let with_port = RsyncSettings {
        module: format!("{host}/object{{replication_port}}"),
        fallback_module: Some(format!("{host}/object")),
        ..options()
    };
    let (rsync, parts) = (Rsync::new(with_port.clone()), [part(1, &["abc"])]);
    let push = local.push(&parts, &node.device);
    assert_eq!(rsync.push(&push, &()).unwrap().files, 1);
    assert!(rsync.compare(&push, &()).unwrap()[0].is_nothing());
    assert_eq!(rsync.template_for(&node.device), format!("{host}/object"));
    let neither = RsyncSettings { fallback_module: Some(format!("{host}/none")), ..with_port };
    let outcome = Rsync::new(neither).push(&push, &());
    assert!(matches!(outcome, Err(PushError::NoModule(_))), "{outcome:?}");
}

#[test]
fn a_closed_module_is_told_from_a_busy_one() {
    let (local, node) = (Local::with(&["1/abc/h/1.data"]), Node::start("max connections = -1"));
    let outcome = Rsync::new(options()).push(&local.push(&[part(1, &["abc"])], &node.device), &());
    assert_failed(&outcome, (5, Cause::Closed, Again::No));
}

#[test]
fn a_refusal_is_one_on_either_stream() {
    for stream in [1, 2] {
        let script = format!("echo '@ERROR: max connections (3) reached -- try again later' >&{stream}; exit 5");
        for outcome in outcomes(&script, &options(), &[1]) {
            assert_failed(&outcome, (5, Cause::Busy, Again::Later));
        }
    }
}

#[test]
fn partitions_of_others_do_not_stretch_the_time() {
    let script = "i=10; while :; do i=$((i + 1)); echo \"<f+++++++++ $i/abc/h/1.data\"; sleep 0.1; done";
    for outcome in outcomes(script, &limited_to(Duration::from_secs(1)), &[1, 2]) {
        let Err(PushError::TimedOut { reached, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(reached.begun, []);
    }
}

#[test]
fn a_flood_is_not_read_for_all_that_it_is_worth() {
    struct Count(AtomicUsize);
    impl Heartbeat for Count {
        fn beat(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    for script in ["exec yes", "exec yes >&2"] {
        let count = Count(AtomicUsize::new(0));
        for outcome in Script::new(script).push(&limited_to(Duration::from_secs(3)), &[1], &count) {
            assert!(matches!(outcome, Err(PushError::TimedOut { .. })), "{outcome:?}");
        }
        let pieces = count.0.into_inner();
        assert!(pieces < 1_000, "{pieces} times up to 32 KiB were read by two runs of 3 s");
    }
}

/// How far a run of two partitions came that is killed while it does this in the local datadir.
fn reached(action: &str) -> Reached {
    let local = Local::with(&["1/abc/h/1.data", "2/abc/h/1.data"]);
    let fifo = local.datadir.join("2/abc/h/2.data");
    assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
    let script = Script::new(&format!("echo '<f+++++++++ 1/abc/h/1.data'; cd \"$OLDPWD\"; {action}"));
    let rsync = Rsync::new(limited_to(Duration::from_secs(1))).with_program(script.program());
    let parts = [part(1, &["abc"]), part(2, &["abc"])];
    match rsync.push(&local.push(&parts, &device_on(1)), &()) {
        Err(PushError::TimedOut { reached, .. }) => reached,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_that_hangs_over_a_file_here_tells_over_which() {
    let two = Some(Partition::new(2));
    let begun = vec![Partition::new(1)];
    // The first one hangs in opening it, by name; the second one in reading it, by descriptor.
    for action in ["exec cat 2/abc/h/2.data", "exec cat <> 2/abc/h/2.data"] {
        assert_eq!(reached(action), Reached { begun: begun.clone(), suspect: two }, "{action}");
    }
    assert_eq!(reached("exec sleep 600"), Reached { begun, suspect: None });
}
