//! What runs of the tests leave behind: nothing, however they end (`tests/guarded`).

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::support::daemon::processes_with_variable;
use crate::support::guard::{PATIENCE, until};
use crate::support::oracle::project;

fn guarded(words: &[&str]) -> Command {
    let mut command = Command::new(project().join("tests/guarded"));
    command.args(words).env("SWIFT_TEST_GRACE", "5").stdin(Stdio::null());
    for variable in ["SWIFT_TEST_AROUND", "SWIFT_TEST_KEEP"] {
        command.env_remove(variable);
    }
    command
}

/// Leaves a process that nobody is the parent of, a mount, and files; says where.
const UNTIDY: &str = "mkdir $SWIFT_TEST_SCRATCH/disk && mount -t tmpfs tmpfs $SWIFT_TEST_SCRATCH/disk || exit 9
touch $TMPDIR/file
setsid sleep 600 </dev/null >/dev/null 2>&1 &
echo $SWIFT_TEST_SCRATCH\n";

/// A run that leaves all that, and goes on until it is ended.
struct Run {
    guard: Child,
    folder: PathBuf,
}

impl Run {
    fn start() -> Self {
        let script = format!("{UNTIDY}exec sleep 600 >/dev/null");
        let mut guard =
            guarded(&["sh", "-c", &script]).process_group(0).stdout(Stdio::piped()).spawn().expect("bash starts");
        let mut folder = String::new();
        let stdout = guard.stdout.take().expect("it is a pipe");
        BufReader::new(stdout).read_line(&mut folder).expect("the script says where it is");
        let run = Self { guard, folder: folder.trim().into() };
        assert!(run.folder.is_dir(), "{folder}");
        // One that is just starting its program has no environment yet.
        assert!(until(PATIENCE, || processes(&run.folder).len() == 2), "{folder}");
        run
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.guard)
    }
}

fn processes(run: &Path) -> Vec<u32> {
    let mark = format!("SWIFT_TEST_SCRATCH={}", run.display());
    processes_with_variable(&mark).into_iter().map(|process| process.0).collect()
}

fn temporary(run: &Path) -> PathBuf {
    let ending = run.extension().expect("a run's folder is run.XXXXXX").display().to_string();
    Path::new("/tmp").join(format!("swift-test.{ending}"))
}

#[track_caller]
fn assert_nothing_is_left_of(run: &Path) {
    assert!(!run.exists() && !temporary(run).exists(), "folders of {}", run.display());
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    assert!(!mounts.contains(&run.display().to_string()), "{mounts}");
    assert!(until(PATIENCE, || processes(run).is_empty()), "{:?}", processes(run));
}

#[test]
fn what_is_left_is_named_and_cleared_up_and_fails_the_run() {
    let output = guarded(&["sh", "-c", UNTIDY]).output().expect("bash starts");
    let run = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for left in [
        "process ",
        "sleep 600",
        &format!("mount at {}/disk", run.display()),
        &format!("{}/file", temporary(&run).display()),
    ] {
        assert!(said.lines().any(|line| line.starts_with("LEFT BEHIND: ") && line.contains(left)), "{left}: {said}");
    }
    assert_nothing_is_left_of(&run);
}

#[test]
fn tests_end_as_they_would_have_ended() {
    for code in [0, 101] {
        let status = guarded(&["sh", "-c", &format!("exit {code}")]).status().expect("bash starts");
        assert_eq!(status.code(), Some(code));
    }
}

#[test]
fn after_an_interrupt_nothing_is_left() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut run = Run::start();
        kill_process_group(run.pid(), signal).expect("it runs");
        assert_eq!(run.guard.wait().expect("the child is ours").code(), Some(130));
        assert_nothing_is_left_of(&run.folder);
    }
}

#[test]
fn after_an_interrupt_what_is_around_cargo_waits_for_the_cleaning() {
    let (script, guard) = (format!("{UNTIDY}exec sleep 600 >/dev/null"), project().join("tests/guarded"));
    // Like cargo, a shell that ends by the signal at once.
    let mut around = guarded(&["--around", "sh", "-c", "\"$@\"; exit", "sh"]);
    around.arg(guard).args(["sh", "-c", &script]).process_group(0).stdout(Stdio::piped());
    let mut around = around.spawn().expect("bash starts");
    let mut folder = String::new();
    BufReader::new(around.stdout.take().expect("a pipe")).read_line(&mut folder).expect("the script says where it is");
    kill_process_group(Pid::from_child(&around), Signal::INT).expect("it runs");
    assert!(!around.wait().expect("the child is ours").success());
    assert_nothing_is_left_of(Path::new(folder.trim()));
}

#[test]
fn behind_a_killed_run_the_next_one_clears_up_and_not_behind_one_that_lives() {
    let (mut dead, mut alive) = (Run::start(), Run::start());
    kill_process(dead.pid(), Signal::KILL).expect("it runs");
    dead.guard.wait().expect("the child is ours");
    assert!(guarded(&["true"]).status().expect("bash starts").success());
    assert_nothing_is_left_of(&dead.folder);
    assert!(alive.folder.join("disk").exists());
    assert_eq!(processes(&alive.folder).len(), 2);
    kill_process(alive.pid(), Signal::TERM).expect("it runs");
    alive.guard.wait().expect("the child is ours");
    assert_nothing_is_left_of(&alive.folder);
}

/// One that starts servers, a replicator that is killed, and a stand-in for rsync that outlives it.
#[test]
fn a_test_with_a_cluster_and_a_killed_replicator_leaves_nothing() {
    let program = std::env::current_exe().expect("the tests have a path");
    let test = "daemon::ends::after_kill_9_in_the_push_of_a_hand_off_its_lock_is_free";
    let words = [program.to_str().expect("a path in UTF-8"), "--exact", test];
    let output = guarded(&words).env("SWIFT_TEST_GRACE", "600").output().expect("bash starts");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
