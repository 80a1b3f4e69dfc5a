//! What the demo and the benchmark leave when somebody interrupts them.

use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::guard::{Guarded, Mounts, PATIENCE, Scratch, until};
use crate::support::supervisor::supervise;

/// The variable that makes the test the program that is interrupted; it names a folder for what that has to say.
const INTERRUPTED: &str = "TEST_OF_SUPERVISOR";

#[test]
fn what_is_interrupted_has_left_no_process_and_no_folder_when_it_ends() {
    if let Some(folder) = std::env::var_os(INTERRUPTED) {
        supervise(|| work(Path::new(&folder)));
        return;
    }
    let told = tempfile::tempdir().unwrap();
    let this = "process::supervisor::what_is_interrupted_has_left_no_process_and_no_folder_when_it_ends";
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this, "--nocapture"])
        .env(INTERRUPTED, told.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let ready = told.path().join("ready");
    let started = until(PATIENCE, || ready.exists());
    let folder = PathBuf::from(fs::read_to_string(&ready).unwrap_or_default());
    let processes = ["server", "pass"].map(|name| fs::read_to_string(told.path().join(name)).unwrap_or_default());
    let processes = processes.map(|id| Path::new("/proc").join(id.trim()));
    let there = folder.exists() && processes.iter().all(|process| process.exists());
    // As a terminal does it: the group, which the work is not in.
    kill_process_group(Pid::from_child(&program), Signal::INT).expect("it runs");
    let status = program.wait().unwrap();
    assert!(started && there, "{folder:?} or one of {processes:?} was not there");
    assert_eq!(status.signal(), Some(2), "{status:?}");
    assert!(!folder.exists(), "{folder:?} is still there");
    processes.iter().for_each(|process| assert!(!process.exists(), "{process:?} still runs"));
}

/// A server with a keeper, a folder with a janitor, and something that nobody would end.
fn work(told: &Path) -> ExitCode {
    let scratch = Scratch::new("supervised");
    let server = told.join("server");
    let script = format!("echo $$ >{}; exec sleep 600", server.display());
    let _server = Guarded::start(&["sh", "-c", &script], Path::new(""), &told.join("output"), Mounts::Fixed);
    let mut pass = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
    fs::write(told.join("pass"), pass.id().to_string()).unwrap();
    until(PATIENCE, || fs::read_to_string(&server).is_ok_and(|id| id.ends_with('\n')));
    fs::write(told.join("ready.new"), scratch.path().display().to_string()).unwrap();
    fs::rename(told.join("ready.new"), told.join("ready")).unwrap();
    let _ = pass.wait();
    ExitCode::SUCCESS
}
