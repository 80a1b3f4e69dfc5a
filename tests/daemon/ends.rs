//! SIGTERM, SIGINT and `kill -9` while there is work: the process ends, its children go with it, and whoever starts again
//! finds nothing broken (B1.10, B1.11).
//!
//! Swift's tools wait 15 s for a daemon to end, so that is what "at once" means here.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{is_everywhere, put_everywhere_on, put_in};
use crate::support::cluster::{Lease, Spec};
use crate::support::daemon::{Process, assert_gone, with_search_path};
use crate::support::guard::{PATIENCE, until};
use crate::support::hang::Hang;
use crate::support::object::{Object, time};
use crate::support::replicator::{Outcome, Pass, Running, Which};
use crate::support::rsync::FakeRsync;

const HUNG_UP: i32 = 128 + 1;
const AT_ONCE: Duration = Duration::from_secs(15);

/// A cluster whose first node has an object that belongs on the others too.
fn with_an_object() -> (Lease, Object) {
    let cluster = Spec::nodes(3).lease();
    let object = put_in(&cluster, &cluster.home(0, 0, 0), 0);
    (cluster, object)
}

/// Waits until a child of the replicator does what `is_it` says.
#[track_caller]
fn child_of(running: &Running, is_it: impl Fn(Process) -> bool) -> Process {
    one_of(running, Process::children, is_it)
}

/// The same of any processes that have to do with the replicator.
#[track_caller]
fn one_of(running: &Running, which: impl Fn(Process) -> Vec<Process>, is_it: impl Fn(Process) -> bool) -> Process {
    let mut found = None;
    until(PATIENCE, || {
        found = which(running.process()).into_iter().find(|&process| process.is_alive() && is_it(process));
        found.is_some()
    });
    found.unwrap_or_else(|| panic!("there is no such process:\n{}", running.console()))
}

fn is_rsync(child: Process) -> bool {
    child.words().first().is_some_and(|word| word == "rsync") && child.words().len() > 2
}

/// Sends the signal; the outcome, once the process has ended.
#[track_caller]
fn ended_by(running: Running, signal: Signal) -> Outcome {
    let begin = Instant::now();
    running.signal(signal);
    let outcome = running.finish();
    assert!(begin.elapsed() < AT_ONCE, "it took {:?} to end:\n{}", begin.elapsed(), outcome.all());
    outcome.ended(0);
    outcome
}

/// A daemon in its third pass, whose push takes minutes: a real rsync with next to no bandwidth.
fn in_a_slow_push() -> (Lease, Object, Running, Process) {
    let cluster = Spec::nodes(3).lease();
    let daemon = cluster.pass(Which::Ours, 0).forever().set("interval", 0).set("rsync_bwlimit", 1).start();
    daemon.wait_for_passes(2);
    let object = cluster.object_in(0, 0);
    cluster.put(&cluster.home(0, 0, 0), &object, &time(1), &vec![b'x'; 300 << 10]);
    let rsync = child_of(&daemon, is_rsync);
    (cluster, object, daemon, rsync)
}

#[test]
fn after_two_passes_sigterm_in_a_push_takes_the_rsync_along() {
    let (cluster, object, daemon, rsync) = in_a_slow_push();
    let environment = rsync.environment();
    for variable in ["TZ=UTC+0", "HOME=/root"] {
        assert!(environment.iter().any(|set| set == variable), "{variable} is not in {environment:?}");
    }
    let outcome = ended_by(daemon, Signal::TERM);
    outcome.says("SIGTERM received (").does_not_say("Exited ");
    assert_gone(&[rsync]);
    cluster.replicate(Which::Ours, 0).clean();
    cluster.assert_everywhere(&object, &vec![b'x'; 300 << 10]);
}

#[test]
fn sigint_in_a_push_takes_the_rsync_along_and_says_goodbye() {
    let (_cluster, _object, daemon, rsync) = in_a_slow_push();
    ended_by(daemon, Signal::INT).says("User quit").says("Exited ");
    assert_gone(&[rsync]);
}

/// A single pass whose push takes as long as it likes.
fn in_a_push(configure: impl for<'a> Fn(Pass<'a>) -> Pass<'a>) -> (Lease, FakeRsync, Running) {
    let (cluster, _object) = with_an_object();
    let rsync = FakeRsync::doing("exec sleep 600");
    let running = configure(cluster.pass(Which::Ours, 0)).rsync(&rsync).start();
    (cluster, rsync, running)
}

fn is_sleep(process: Process) -> bool {
    process.words().first().is_some_and(|word| word == "sleep")
}

#[test]
fn a_single_pass_that_a_signal_cuts_short_says_how_far_it_came_and_strict_tells_by_its_code() {
    for (signal, name, plain) in
        [(Signal::TERM, "SIGTERM", 0), (Signal::INT, "SIGINT", 0), (Signal::HUP, "SIGHUP", HUNG_UP)]
    {
        for (words, code) in [(&["--strict"][..], 4), (&[], plain)] {
            let (_cluster, _rsync, running) = in_a_push(|pass| pass.words(words));
            let sleep = child_of(&running, is_sleep);
            running.signal(signal);
            let outcome = running.finish();
            // A shell says 128 and the signal's number of a command that a signal has ended.
            let ended = outcome.status.code().or(outcome.status.signal().map(|signal| 128 + signal));
            assert_eq!(ended, Some(code), "{}", outcome.all());
            outcome.says(&format!("Report: pass cut short by {name}: 0 of "));
            assert_gone(&[sleep]);
        }
    }
}

/// What the kernel does for ^C: the signal goes to the terminal's foreground group, in which the script is too.
#[test]
fn ctrl_c_ends_a_single_pass_that_a_script_on_a_terminal_started_and_its_rsync() {
    let (_cluster, _rsync, running) = in_a_push(|pass| pass.in_a_script(80));
    let sleep = one_of(&running, Process::descendants, is_sleep);
    sleep.signal_group(Signal::INT);
    let outcome = running.finish();
    assert!(outcome.elapsed < AT_ONCE, "{}", outcome.all());
    assert_gone(&[sleep]);
}

/// A script that started a single pass on a terminal is not ended with it.
#[test]
fn sigterm_ends_a_single_pass_and_its_rsync_but_not_the_script_that_started_it() {
    let (_cluster, _rsync, running) = in_a_push(|pass| pass.in_a_script(80));
    let sleep = one_of(&running, Process::descendants, is_sleep);
    sleep.parent().expect("the rsync runs").signal(Signal::TERM);
    let outcome = running.finish();
    assert!(outcome.stdout.contains("the script goes on"), "{}", outcome.all());
    assert_gone(&[sleep]);
}

/// A real one takes no notice for minutes if it has much to send and little bandwidth.
#[test]
fn an_rsync_that_takes_no_notice_of_sigterm_is_killed() {
    let (cluster, _object) = with_an_object();
    let rsync = FakeRsync::doing("trap '' TERM; exec sleep 600");
    let daemon = cluster.pass(Which::Ours, 0).forever().rsync(&rsync).start();
    let sleep = child_of(&daemon, is_sleep);
    ended_by(daemon, Signal::TERM);
    assert_gone(&[sleep]);
}

#[test]
fn after_kill_9_in_a_push_a_new_start_brings_all_home() {
    let (cluster, object, mut daemon, rsync) = in_a_slow_push();
    daemon.signal(Signal::KILL);
    assert!(until(PATIENCE, || daemon.ended()));
    cluster.replicate(Which::Ours, 0).clean();
    cluster.assert_everywhere(&object, &vec![b'x'; 300 << 10]);
    // What is left of the first push ends with its output, or is ended here.
    rsync.kill();
}

#[test]
fn after_kill_9_in_the_push_of_a_hand_off_its_lock_is_free() {
    let cluster = Spec::nodes(4).lease();
    let (part, disk) = cluster.misplaced_at(0, 0);
    let object = put_in(&cluster, &disk, part);
    let rsync = FakeRsync::doing("exec sleep 600");
    let mut daemon = cluster.pass(Which::Ours, 0).forever().rsync(&rsync).start();
    child_of(&daemon, is_sleep);
    daemon.signal(Signal::KILL);
    assert!(until(PATIENCE, || daemon.ended()));
    cluster.replicate(Which::Ours, 0).clean();
    cluster.assert_gone(&disk, 0, part);
    assert!(is_everywhere(&cluster, &object));
}

#[test]
fn no_rsync_is_born_after_the_last_one_was_ended() {
    let cluster = Spec::nodes(3).lease();
    put_everywhere_on(&cluster, &cluster.home(0, 0, 0));
    let rsync = FakeRsync::doing("exec sleep 600");
    for _ in 0..3 {
        let daemon = cluster.pass(Which::Ours, 0).plainly().forever().set("concurrency", 8).rsync(&rsync).start();
        // Before that its children are what sets the stage for it.
        daemon.wait_for("Starting object replication pass.");
        // The others are being started now.
        child_of(&daemon, |_| true);
        ended_by(daemon, Signal::TERM);
        let left = || with_search_path(rsync.folder());
        assert!(until(PATIENCE, || left().is_empty()), "still there: {:?}", left());
    }
}

/// A pass that cannot hash, for its disk hangs.
fn while_hashing(pass: Pass<'_>, hung: &std::path::Path) -> (Running, Hang) {
    let hang = Hang::at(hung);
    let running = pass.start();
    running.wait_for("Starting object replication pass.");
    let waits = || running.process().waits_for_a_disk();
    // A healthy disk may be waited for too, but not for so long.
    let waits = until(PATIENCE, || {
        waits() && {
            std::thread::sleep(Duration::from_millis(300));
            waits()
        }
    });
    assert!(waits, "nobody waits for the disk:\n{}", running.console());
    (running, hang)
}

#[test]
fn sigterm_ends_a_process_that_is_hashing_on_a_disk_that_hangs() {
    let (cluster, object) = with_an_object();
    let suffix = cluster.home(0, 0, 0).partition(0, 0).join(object.suffix());
    let (running, _hang) = while_hashing(cluster.pass(Which::Ours, 0).forever(), &suffix);
    ended_by(running, Signal::TERM).says("SIGTERM received (");
}

#[test]
fn sigterm_ends_a_process_with_a_stuck_worker() {
    let (cluster, _object) = with_an_object();
    let pass = cluster.pass(Which::Ours, 0).forever().set("lockup_timeout", 1).set("interval", 0);
    let (running, _hang) = while_hashing(pass, &cluster.home(0, 0, 0).partition(0, 0));
    running.wait_for("Lockup detected: device sda");
    running.wait_for_passes(2);
    ended_by(running, Signal::TERM).says("SIGTERM received (");
}

#[test]
fn a_log_that_nobody_reads_does_not_keep_the_process_from_ending() {
    let (cluster, _object) = with_an_object();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let _socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    let pass = cluster.pass(Which::Ours, 0).forever().set("interval", 0).set("log_level", "DEBUG");
    let running = pass.set("log_address", path.display()).start();
    running.wait_for_passes(30);
    ended_by(running, Signal::TERM);
}
