//! One run of a program as a process of its own, and what that cost.
//!
//! The benchmark's own binary starts the program, once more and in another role: the kernel adds up the CPU time of a
//! process's ended children, so the process in between must have no other child, and a program begins with the memory
//! figure of the one that starts it, so that one must be small. It also makes the mount namespace in which the program
//! finds its `/etc/swift`, which so costs the program nothing.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

/// The word on the command line that asks for the other role.
pub const ROLE: &str = "launch-and-measure";

/// What one run cost.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds from start to exit.
    pub wall: f64,
    /// Seconds of user and system time, of the process and of the children that it waited for.
    pub cpu: f64,
    /// The most memory that the process, or one of those children, had resident, in bytes.
    pub memory: f64,
}

/// Runs a program with `etc` as its `/etc/swift` to its end, which must be a good one; what it writes goes to `output`.
pub fn measure(etc: &Path, output: &Path, program: &Path, arguments: &[OsString]) -> Cost {
    let this = std::env::current_exe().expect("the running program's path");
    let log = File::create(output).expect("the run's folder is writable");
    let told = Command::new(this)
        .args([ROLE.as_ref(), etc.as_os_str(), program.as_os_str()])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(log)
        .output()
        .expect("this program starts once more");
    let said = || std::fs::read_to_string(output).unwrap_or_default();
    assert!(told.status.success(), "{} failed:\n{}", program.display(), said());
    serde_json::from_slice(&told.stdout).unwrap_or_else(|e| panic!("no figures: {e}\n{}", said()))
}

/// The other role: starts the program that the arguments name, waits, and writes its [`Cost`] to standard output.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (etc, program) = (arguments.next().expect("a folder"), arguments.next().expect("a program"));
    unshare(CloneFlags::CLONE_NEWNS).expect("benchmarks run as root");
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("benchmarks run as root");
    mount(Some(etc.as_os_str()), "/etc/swift", nothing, MsFlags::MS_BIND, nothing).expect("benchmarks run as root");

    let stderr = std::io::stderr();
    let output = std::os::fd::AsFd::as_fd(&stderr).try_clone_to_owned().expect("a descriptor is to be had");
    let started = Instant::now();
    let status = Command::new(program).args(arguments).stdout(output).status().expect("the program starts");
    let wall = started.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
    let cpu = (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6;
    let cost = Cost { wall, cpu, memory: usage.max_rss() as f64 * 1024.0 };
    println!("{}", serde_json::to_string(&cost).expect("plain numbers"));
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
