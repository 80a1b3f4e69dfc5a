//! Started, asked for and ended by Swift's own `swift-init` (B1.16-B1.19).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::{is_everywhere, put_in};
use crate::support::cluster::{Lease, Spec};
use crate::support::daemon::{Process, assert_gone};
use crate::support::guard::{PATIENCE, until};
use crate::support::object::Object;
use crate::support::oracle::venv;
use crate::support::replicator::Which;

/// A cluster whose first node has its configuration where `swift-init` looks for it.
struct Init {
    cluster: Lease,
    object: Object,
    /// What stands for `/run`, with a folder for the search path.
    folder: tempfile::TempDir,
}

impl Init {
    fn new(options: &[(&str, &str)]) -> Self {
        let cluster = Spec::nodes(3).lease();
        let object = put_in(&cluster, &cluster.home(0, 0, 0), 0);
        let quiet = [("log_udp_host", "127.0.0.1"), ("log_udp_port", "9")];
        let options = options.iter().chain(&quiet).map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let options: Vec<_> = options.collect();
        fs::write(cluster.etc().join("object-server.conf"), cluster.nodes[0].conf(&options)).expect("our own folder");
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("bin")).expect("our own folder");
        symlink(Which::Ours.program(), folder.path().join("bin/swift-object-replicator")).expect("our own folder");
        Self { cluster, object, folder }
    }

    /// What it says to one of its verbs, and its exit code.
    fn say(&self, words: &[&str]) -> (String, i32) {
        let path = std::env::var("PATH").expect("a PATH");
        let mut command = Command::new("unshare");
        // Not all of its verbs heed another folder for pid files, so it gets a /run of its own.
        command
            .args([
                "--mount",
                "sh",
                "-c",
                r#"mount --bind "$0" /etc/swift && mount --bind "$1" /run && shift && exec "$@""#,
            ])
            .args([self.cluster.etc(), self.folder.path().to_owned(), venv("swift-init")])
            .arg("object-replicator")
            .args(words);
        let output = command.env("PATH", format!("{}/bin:{path}", self.folder.path().display())).output();
        let output = output.expect("unshare starts");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (text, output.status.code().expect("it is not killed"))
    }

    #[track_caller]
    fn expect(&self, words: &[&str], text: &str, code: i32) {
        let (said, ended) = self.say(words);
        assert!(said.contains(text) && ended == code, "{words:?} ended with {ended}: {said}");
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("swift/object-replicator.pid")
    }

    /// The daemon that the pid file names.
    fn daemon(&self) -> Process {
        let text = fs::read_to_string(self.pid_file()).expect("swift-init wrote it");
        Process(text.trim().parse().expect("a process id"))
    }

    #[track_caller]
    fn assert_replicates(&self) {
        assert!(until(PATIENCE, || is_everywhere(&self.cluster, &self.object)), "nothing is replicated");
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.cluster.etc().join("object-server.conf"));
        if self.pid_file().exists()
            && let Ok(pid) = i32::try_from(self.daemon().0)
        {
            let _ = kill_process(Pid::from_raw(pid).expect("a process id"), Signal::KILL);
        }
    }
}

const CONF: &str = "/etc/swift/object-server.conf";

#[test]
fn all_its_verbs_work_on_this_daemon() {
    let init = Init::new(&[("interval", "0.2"), ("concurrency", "16")]);
    init.expect(&["status"], "No object-replicator running", 1);
    init.expect(&["start"], &format!("Starting object-replicator...({CONF})"), 0);
    let first = init.daemon();
    assert!(first.words()[0].ends_with("swift-object-replicator"), "{:?}", first.words());
    init.expect(&["status"], &format!("object-replicator running ({} - {CONF})", first.0), 0);
    init.expect(&["start"], "object-replicator already started...", 1);
    init.assert_replicates();
    assert_limits_are_kept(first);

    init.expect(&["reload"], &format!("Starting object-replicator...({CONF})"), 0);
    let second = init.daemon();
    assert_ne!(first, second);
    assert_gone(&[first]);
    assert!(second.is_alive());

    init.expect(&["stop"], &format!("Signal object-replicator  pid: {}  signal: ", second.0), 0);
    assert_gone(&[second]);
    assert!(!init.pid_file().exists());
    init.expect(&["stop"], "No object-replicator running", 1);
}

/// `swift-init` sets limits, of which that on data counts the stacks of threads too.
#[track_caller]
fn assert_limits_are_kept(daemon: Process) {
    assert_eq!(daemon.limit("Max data size"), ["2147483648"; 2]);
    let kilobytes = daemon.status("VmData:");
    assert!(
        kilobytes < 256 << 10,
        "{kilobytes} kB of data with 16 workers: not far from the limit with some disks more"
    );
}

#[test]
fn it_waits_for_a_single_pass() {
    let init = Init::new(&[]);
    init.expect(&["once"], &format!("Running object-replicator once...({CONF})"), 0);
    assert!(is_everywhere(&init.cluster, &init.object));
    assert!(!init.daemon().is_alive());
    assert!(init.cluster.nodes[0].recon().join("object.recon").exists());
}

#[test]
fn it_shows_what_keeps_the_daemon_from_starting() {
    let init = Init::new(&[("concurrency", "many")]);
    let (said, code) = init.say(&["start"]);
    let line = "concurrency = \"many\": must be an integer of at least 1";
    assert!(said.contains(CONF) && said.contains(line) && code == 1, "{code}: {said}");
    assert!(!said.contains("Traceback"), "{said}");
}

#[test]
fn it_finds_out_that_a_daemon_was_killed() {
    let init = Init::new(&[]);
    init.expect(&["start"], "Starting object-replicator", 0);
    let daemon = init.daemon();
    kill_process(Pid::from_raw(i32::try_from(daemon.0).expect("a process id")).expect("not zero"), Signal::KILL)
        .expect("it runs");
    assert_gone(&[daemon]);
    init.expect(&["status"], "No object-replicator running", 1);
    init.expect(&["start"], "Starting object-replicator", 0);
    init.expect(&["stop"], "Signal object-replicator", 0);
}
