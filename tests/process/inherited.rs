//! What a process gets from whoever starts it, beside arguments: signals, limits, files, a folder, variables.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Ending, Home};

/// A daemon that was started behind these words, once it has made a pass.
struct Daemon {
    home: Home,
    child: Child,
}

impl Daemon {
    fn behind(starter: &[&str]) -> Self {
        let home = Home::new("interval = 600");
        let mut command = home.command_behind(starter, &[]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let daemon = Self { home, child };
        daemon.wait_until("a pass", || daemon.home.path("recon/object.recon").exists());
        daemon
    }

    #[track_caller]
    fn wait_until(&self, what: &str, happened: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !happened() {
            assert!(Instant::now() < deadline, "{what} did not happen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap_or_default()
    }

    /// The signals of a line of `/proc/PID/status`.
    fn has_signal(&self, line: &str, signal: Signal) -> bool {
        let status = self.proc("status");
        let mask = status.lines().find_map(|other| other.strip_prefix(line)).expect("the line is there");
        let mask = u64::from_str_radix(mask.trim_start_matches(':').trim(), 16).expect("a mask");
        mask >> (signal.as_raw() - 1) & 1 == 1
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ends(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_child_can_be_waited_for_where_its_end_was_ignored() {
    let daemon = Daemon::behind(&["env", "--ignore-signal=CHLD"]);
    assert!(!daemon.has_signal("SigIgn", Signal::CHILD));
}

#[test]
fn signals_that_were_blocked_or_ignored_end_it_all_the_same() {
    for starter in ["--block-signal=TERM,INT,HUP,USR1", "--ignore-signal=TERM,HUP,USR1"] {
        let mut daemon = Daemon::behind(&["env", starter]);
        assert!(!daemon.has_signal("SigBlk", Signal::TERM) && !daemon.has_signal("SigIgn", Signal::TERM));
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.ends(), Some(0), "{starter}");
    }
}

#[test]
fn an_interrupt_that_a_shell_keeps_from_it_stays_ignored() {
    let mut daemon = Daemon::behind(&["env", "--ignore-signal=INT"]);
    assert!(daemon.has_signal("SigIgn", Signal::INT));
    daemon.signal(Signal::INT);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ends(), Some(0));
}

#[test]
fn a_file_that_grows_beyond_its_limit_does_not_kill_it() {
    let home = Home::new("");
    let ending: Ending = home.command_behind(&["prlimit", "--fsize=1"], &["once", "-v"]).output().unwrap().into();
    assert_eq!(ending.code, Some(0), "{ending:?}");
    assert!(ending.stderr.contains("File too large"), "{ending:?}");
}

#[test]
fn no_file_takes_the_place_of_a_stream_that_was_closed() {
    let daemon = Daemon::behind(&["sh", "-c", "exec \"$@\" <&- >&- 2>&-", "sh"]);
    for fd in 0..3 {
        let target = fs::read_link(format!("/proc/{}/fd/{fd}", daemon.child.id())).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"), "{fd}");
    }
}

#[test]
fn children_get_no_file_that_it_got() {
    let daemon = Daemon::behind(&["sh", "-c", "exec 9>&1 && exec \"$@\"", "sh"]);
    let flags = daemon.proc("fdinfo/9");
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).expect("it was kept open");
    let flags = u32::from_str_radix(flags.trim(), 8).expect("octal");
    assert_ne!(flags & 0o2_000_000, 0, "it is closed in children: {flags:o}");
}

#[test]
fn a_small_soft_limit_of_open_files_is_raised() {
    let daemon = Daemon::behind(&["prlimit", "--nofile=64:1000"]);
    let limits = daemon.proc("limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("Linux has it");
    assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), ["1000", "1000"]);
}

#[test]
fn a_folder_that_is_gone_and_odd_variables_do_not_matter() {
    let home = Home::new("");
    let starter = ["sh", "-c", "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"", "sh"];
    let mut command: Command = home.command_behind(&starter, &["once"]);
    command.current_dir(home.path("")).env("X".repeat(1000), "y".repeat(100_000));
    command.env(OsString::from_vec(b"\xff\xfe".to_vec()), OsString::from_vec(b"\xff".to_vec()));
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "TERM", "TZ", "HOME", "RSYNC_RSH"] {
        command.env(name, OsString::from_vec(b"\xff/\xfe".to_vec()));
    }
    for number in 0..500 {
        command.env(format!("VARIABLE_{number}"), "value");
    }
    let ending: Ending = command.output().unwrap().into();
    assert_eq!((ending.code, ending.stderr.as_str()), (Some(0), ""));
}
