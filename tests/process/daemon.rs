//! How the process starts, what it is while it runs, and how it ends (B1.7-B1.21, B5.18, B5.19).

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{self, Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::Home;
use crate::support::oracle::venv;

/// A daemon that makes pass after pass.
pub(super) struct Daemon {
    pub(super) home: Home,
    pub(super) child: Child,
    log: Option<BufReader<process::ChildStderr>>,
}

impl Daemon {
    /// Starts it with these options and waits for the end of its first pass.
    pub(super) fn start(options: &str) -> Self {
        let mut daemon = Self::spawn(Home::new(options), &["-v"]);
        daemon.wait_for("Report: pass complete");
        daemon
    }

    pub(super) fn spawn(home: Home, arguments: &[&str]) -> Self {
        let command = home.command(arguments);
        Self::spawn_command(home, command)
    }

    pub(super) fn spawn_command(home: Home, mut command: Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("unshare starts");
        let log = child.stderr.take().map(BufReader::new);
        Self { home, child, log }
    }

    /// Its node, once it has ended.
    pub(super) fn into_home(mut self) -> Home {
        self.child.wait().unwrap();
        std::mem::replace(&mut self.home, Home::new(""))
    }

    /// Reads the log up to a line with this text, which is returned.
    pub(super) fn wait_for(&mut self, text: &str) -> String {
        let seen = self.read_up_to(text);
        seen.lines().next_back().unwrap_or_default().to_owned()
    }

    /// Reads the log up to a line with this text; all of that.
    pub(super) fn read_up_to(&mut self, text: &str) -> String {
        let log = self.log.as_mut().expect("the log is read here");
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            if log.read_line(&mut line).expect("the log is text") == 0 {
                panic!("the log ended before {text:?}:\n{seen}");
            }
            seen += &line;
            if line.contains(text) {
                return seen;
            }
        }
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.child.id()).into()
    }

    /// A line of `/proc/PID/status`, without its name.
    fn status(&self, name: &str) -> String {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the line is there");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Sends a signal; the exit status, and the rest of the log.
    pub(super) fn end(mut self, signal: Signal) -> (ExitStatus, String) {
        kill_process(self.pid(), signal).unwrap();
        let mut rest = String::new();
        self.log.take().expect("the log is read here").read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The messages of a console's log that are among `expected`, without numbers.
fn story(log: &str, expected: &[&str]) -> Vec<String> {
    let message = |line: &str| {
        let line = line.strip_prefix("object-replicator: ").unwrap_or_else(|| panic!("no log line: {line}"));
        line.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()
    };
    log.lines().map(message).filter(|message| expected.contains(&message.as_str())).collect()
}

#[test]
fn one_pass_tells_its_story_and_ends_with_code_0() {
    let home = Home::new("");
    let expected = [
        "Starting ",
        "Running object replicator in script mode.",
        "Object replication complete (once). (0.00 minutes)",
        "Exited ",
    ];
    for words in [&["once", "-v"][..], &["-o", "verbose", "junk"]] {
        let ending = home.run(words);
        assert_eq!((ending.code, ending.stdout.as_str()), (Some(0), ""), "{ending:?}");
        assert_eq!(ending.stderr.contains("The word 'junk'"), words.contains(&"junk"), "{ending:?}");
        assert_eq!(story(&ending.stderr, &expected), expected);
    }
    let ending = home.run(&["once"]);
    assert_eq!((ending.code, ending.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_configuration_can_ask_for_one_pass() {
    let ending = Home::new("daemonize = no").run(&["-v"]);
    assert_eq!(ending.code, Some(0));
    assert!(ending.stderr.contains("Running object replicator in script mode."), "{ending:?}");
}

#[test]
fn figures_are_left_only_by_a_pass_over_everything() {
    let home = Home::new("");
    for restriction in [["-d", "sda"], ["-p", "1"], ["-i", "0"]] {
        assert_eq!(home.run(&[&["once"], &restriction[..]].concat()).code, Some(0));
        assert!(!home.path("recon/object.recon").exists(), "{restriction:?}");
    }
    assert_eq!(home.run(&["once", "-d", " ,"]).code, Some(0));
    assert!(home.path("recon/object.recon").exists());
}

#[test]
fn figures_that_cannot_be_left_are_an_error_in_the_log_only() {
    let home = Home::new("");
    fs::remove_dir(home.path("recon")).unwrap();
    let ending = home.run(&["once", "-v"]);
    assert_eq!(ending.code, Some(0));
    assert!(ending.stderr.contains("Exception dumping recon cache: "), "{ending:?}");
}

#[test]
fn a_status_that_cannot_be_written_is_told_of_when_that_begins_and_when_it_is_over() {
    let home = Home::new("interval = 0.05");
    fs::remove_dir(home.path("recon")).unwrap();
    let mut daemon = Daemon::spawn(home, &["-v"]);
    let line = daemon.wait_for("No status: ");
    assert!(line.ends_with("/object-replicator.status: No such file or directory (os error 2)"), "{line}");
    for _ in 0..5 {
        let seen = daemon.read_up_to("Object replication complete.");
        assert!(!seen.contains("No status"), "{seen}");
    }
    fs::create_dir(daemon.home.path("recon")).unwrap();
    daemon.wait_for("The status is written again");
    let seen = daemon.read_up_to("Object replication complete.");
    assert!(!seen.contains("status"), "{seen}");
}

#[test]
fn handlers_in_python_are_said_not_to_be_called_wherever_they_are_named() {
    let home = Home::new("");
    let conf = fs::read_to_string(home.path("o.conf")).unwrap();
    home.write("o.conf", &conf.replacen("[DEFAULT]\n", "[DEFAULT]\nlog_custom_handlers = alerts.send\n", 1));
    let warning = "o.conf line 2: option log_custom_handlers is not supported by this replicator";
    assert_eq!(home.run(&["once", "-v"]).stderr.matches(warning).count(), 1);
    assert_eq!(home.run(&["--check"]).stdout.matches(warning).count(), 1);
}

#[test]
fn options_that_do_nothing_are_warned_of_once() {
    let home = Home::new("mb_per_sync = 5\nset log_level = DEBUG");
    let warnings = home.run(&["once", "-v"]).stderr;
    for warning in ["option mb_per_sync has no effect on this replicator", "write \"log_level\""] {
        assert_eq!(warnings.matches(warning).count(), 1, "{warnings}");
    }
}

#[test]
fn a_daemon_belongs_to_nobodys_session_or_folder() {
    let daemon = Daemon::start("interval = 600");
    assert_eq!(fs::read_link(daemon.proc("cwd")).unwrap(), PathBuf::from("/"));
    assert_eq!(daemon.status("Umask:"), "0022");
    assert_eq!(rustix::process::getsid(Some(daemon.pid())).unwrap(), daemon.pid());
    let target = |fd: &str| fs::read_link(daemon.proc("fd").join(fd)).unwrap();
    assert_eq!((target("0"), target("1")), ("/dev/null".into(), "/dev/null".into()));
    assert!(target("2").to_string_lossy().starts_with("pipe:"), "the console's log stays");
}

#[test]
fn who_reads_a_quiet_daemons_output_sees_its_end_at_once() {
    let mut daemon = Daemon::spawn(Home::new("interval = 600"), &[]);
    let mut output = String::new();
    daemon.child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    daemon.log.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(output, "");
    assert!(daemon.child.try_wait().unwrap().is_none(), "the daemon goes on");
}

#[test]
fn root_becomes_the_user_that_is_asked_for() {
    let daemon = Daemon::start("interval = 600\nuser = nobody");
    let (user, group) = ids_of("nobody");
    assert_eq!(daemon.status("Uid:"), [user.as_str(); 4].join(" "));
    assert_eq!(daemon.status("Gid:"), [group.as_str(); 4].join(" "));
    assert_eq!(daemon.status("Groups:"), group, "nobody is in no other group");
}

#[test]
fn who_is_not_root_cannot_become_another_user() {
    let home = Home::new("");
    let starter = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"];
    let ending: super::Ending = home.command_behind(&starter, &["once"]).output().unwrap().into();
    assert_eq!(ending.refusal(), "unable to become user \"root\": setgid: Operation not permitted (os error 1)");
}

/// The numbers of a user and its primary group.
fn ids_of(user: &str) -> (String, String) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let entry = passwd.lines().find(|line| line.starts_with(&format!("{user}:"))).expect("every Debian has nobody");
    let fields: Vec<_> = entry.split(':').collect();
    (fields[2].to_owned(), fields[3].to_owned())
}

#[test]
fn the_process_takes_the_priorities_that_are_asked_for() {
    let options =
        "interval = 600\nlog_level = DEBUG\nnice_priority = 5\nionice_class = IOPRIO_CLASS_BE\nionice_priority = 7";
    let mut daemon = Daemon::spawn(Home::new(options), &["-v"]);
    daemon.wait_for("set nice priority to 5");
    daemon.wait_for("set ionice class 2 priority 7");
    let stat = fs::read_to_string(daemon.proc("stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    assert_eq!(fields[16], "5", "the field is `nice`: {stat}");
    let ionice = Command::new("ionice").args(["-p", &daemon.child.id().to_string()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ionice.stdout), "best-effort: prio 7\n");
}

#[test]
fn priorities_that_cannot_be_set_are_logged_and_the_process_goes_on() {
    let ending =
        Home::new("nice_priority = x\nionice_class = IOPRIO_CLASS_BE\nionice_priority = -1").run(&["once", "-v"]);
    assert_eq!(ending.code, Some(0));
    assert!(ending.stderr.contains("nice_priority = \"x\": must be an integer; ignored"), "{ending:?}");
    assert!(ending.stderr.contains("Unable to modify ionice priority: "), "{ending:?}");
}

#[test]
fn a_service_manager_is_told_of_start_and_stop() {
    let home = Home::new("");
    let socket = home.path("notify");
    let listener = UnixDatagram::bind(&socket).unwrap();
    let mut command = home.command(&["once"]);
    assert!(command.env("NOTIFY_SOCKET", &socket).status().unwrap().success());
    assert_eq!([next_message(&listener), next_message(&listener)], ["READY=1", "STOPPING=1"]);
}

#[test]
fn a_service_manager_is_told_once_that_a_daemon_is_ready_and_of_its_stop() {
    for signal in [Signal::INT, Signal::TERM] {
        let home = Home::new("interval = 0");
        let name = format!("test-of-ready-{}-{}", process::id(), signal.as_raw());
        let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let mut command = home.command(&["-v"]);
        let mut child = command.env("NOTIFY_SOCKET", format!("@{name}")).stderr(Stdio::piped()).spawn().unwrap();
        let log = child.stderr.take().map(BufReader::new);
        let mut daemon = Daemon { home, child, log };
        assert_eq!(next_message(&listener), "READY=1");
        (0..3).for_each(|_| drop(daemon.wait_for("Object replication complete.")));
        assert_eq!(daemon.end(signal).0.code(), Some(0));
        listener.set_nonblocking(true).unwrap();
        let mut message = [0; 32];
        let length = listener.recv(&mut message).ok();
        let message = length.map(|length| String::from_utf8_lossy(&message[..length]).into_owned());
        assert_eq!(message.as_deref(), Some("STOPPING=1"));
        assert!(listener.recv(&mut [0; 32]).is_err(), "it was told more than that");
    }
}

#[test]
fn swift_reload_is_told_at_a_socket_named_after_the_process() {
    let daemon = Daemon::start("interval = 600");
    let name = format!("swift-notifications\0{}", daemon.child.id());
    let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    assert_eq!(daemon.end(Signal::INT).0.code(), Some(0));
    assert_eq!(next_message(&listener), "STOPPING=1");
}

fn next_message(listener: &UnixDatagram) -> String {
    let mut message = [0; 32];
    let length = listener.recv(&mut message).unwrap();
    String::from_utf8_lossy(&message[..length]).into_owned()
}

#[test]
fn sigterm_ends_the_process_and_its_group_with_code_0() {
    let daemon = Daemon::start("interval = 600");
    let pid = daemon.pid();
    let (status, log) = daemon.end(Signal::TERM);
    assert_eq!(status.code(), Some(0));
    let said = format!("object-replicator: SIGTERM received ({})", pid.as_raw_nonzero());
    assert!(log.lines().any(|line| line == said), "{log}");
}

/// In a container the leader of the session that a process was started in may be outside, where it has no id.
#[test]
fn sigterm_ends_a_process_whose_session_began_outside_of_its_pid_namespace() {
    let home = Home::new("interval = 600");
    // The leader of a group cannot begin a session of its own.
    let script = "\"$PYTHON\" -c 'import os, sys; os.setpgid(0, 0); os.execv(sys.argv[1], sys.argv[1:])' \"$@\" &
        until [ -e \"$STATUS\" ]; do sleep 0.05; done; kill -TERM $!
        for try in $(seq 300); do kill -0 $! 2>/dev/null || break; sleep 0.05; done
        kill -KILL $! 2>/dev/null; wait $!; echo \"it ended with $?\"";
    let starter = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script, "bash"];
    let output = home
        .command_behind(&starter, &[])
        .env("PYTHON", venv("python3"))
        .env("STATUS", home.path("recon/object-replicator.status"))
        .output()
        .expect("unshare starts");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("it ended with 0\n"), "{output:?}");
}

#[test]
fn sigint_ends_the_process_with_its_last_line_and_code_0() {
    let daemon = Daemon::start("interval = 600");
    let pid = daemon.pid().as_raw_nonzero();
    let (status, log) = daemon.end(Signal::INT);
    assert_eq!(status.code(), Some(0));
    let last = format!("object-replicator: User quit\nobject-replicator: Exited {pid}\n");
    assert!(log.ends_with(&last), "{log}");
}

#[test]
fn a_daemon_makes_pass_after_pass() {
    let home = Home::new("interval = 0\nlog_level = DEBUG");
    let mut daemon = Daemon::spawn(home, &["-v", "-d", "sdz", "-p", "x"]);
    daemon.wait_for("Starting object replicator in daemon mode.");
    for _ in 0..3 {
        daemon.wait_for("Starting object replication pass.");
        daemon.wait_for("Object replication complete. (0.00 minutes)");
        daemon.wait_for("Replication sleeping for 0.0 seconds.");
    }
    assert!(daemon.home.path("recon/object.recon").exists());
}

#[test]
fn another_replicator_on_the_same_devices_is_named_and_not_waited_for() {
    let mut daemon = Daemon::spawn(Home::new("interval = 600"), &["-v"]);
    daemon.wait_for("Report: pass complete");
    let (home, pid) = (&daemon.home, daemon.pid().as_raw_nonzero());
    let line = format!("Another replicator (a daemon, process {pid}) works on sda");
    let ending = home.run(&["once"]);
    assert_eq!((ending.code, ending.stderr), (Some(0), format!("{line} too: they do all work twice\n")));
    let conf = fs::read_to_string(home.path("o.conf")).unwrap();
    home.write("o.conf", &format!("{conf}single_instance = yes\n"));
    let ending = home.run(&["once"]);
    assert_eq!(ending.refusal(), format!("{line}, and option single_instance does not allow that"));
    home.write("o.conf", &format!("{conf}single_instance = no\n"));
    let ending = home.run(&["once"]);
    assert_eq!((ending.code, ending.stderr.as_str()), (Some(0), ""));
    assert!(daemon.end(Signal::TERM).0.success());
}

#[test]
fn a_daemon_says_which_words_of_its_command_line_do_nothing() {
    let mut daemon = Daemon::spawn(Home::new("interval = 600"), &["-v", "onec", "-d", "sda", "-i", "0"]);
    let log = daemon.read_up_to("Starting object replicator in daemon mode.");
    for line in [
        "Option --devices is ignored: it needs --once",
        "Option --policies is ignored: it needs --once",
        "The word 'onec' behind the configuration means nothing and is ignored; those known are once and verbose",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
}

/// The limit of threads and processes of the daemon's user, as the daemon has it.
fn limit_threads(daemon: &Daemon, most: &str) {
    let pid = daemon.child.id().to_string();
    let mut prlimit = Command::new("setpriv");
    let prlimit = prlimit.args(["--reuid=games", "--regid=games", "--clear-groups", "prlimit"]);
    assert!(prlimit.args(["--pid", &pid, &format!("--nproc={most}:")]).status().unwrap().success());
}

#[test]
fn a_group_whose_thread_cannot_be_started_is_replicated_once_it_can() {
    let home = Home::new("interval = 0.2\nreplicator_workers = 2\nuser = games\nlog_level = INFO");
    let mut daemon = Daemon::spawn(home, &["-v"]);
    daemon.wait_for("Report: pass complete");
    limit_threads(&daemon, "1");
    daemon.wait_for("Cannot start all threads of the pass, so it goes on with 0 workers: ");
    kill_process(daemon.pid(), Signal::HUP).unwrap();
    daemon.wait_for("the configuration is read again");
    daemon.wait_for("Cannot start the thread of group 1, so its devices are not replicated until it can be: ");
    limit_threads(&daemon, "4096");
    daemon.wait_for("The thread of group 1 could be started; its devices are replicated again");
    (0..2).for_each(|_| drop(daemon.wait_for("Report: pass complete")));
}

#[test]
fn a_pass_whose_threads_cannot_be_started_goes_on_once_they_can() {
    let home = Home::new("interval = 0.2\nuser = games\nlog_level = INFO");
    let mut daemon = Daemon::spawn(home, &["-v"]);
    daemon.wait_for("Report: pass complete");
    limit_threads(&daemon, "1");
    daemon.wait_for("Cannot start all threads of the pass, so it goes on with 0 workers: ");
    limit_threads(&daemon, "4096");
    daemon.wait_for("The threads of the pass could be started");
    (0..2).for_each(|_| drop(daemon.wait_for("Report: pass complete")));
}
