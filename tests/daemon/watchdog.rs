//! A service manager's watchdog: fed while passes go on, whatever becomes of single devices, and only then.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::{is_everywhere, put_in};
use crate::support::cluster::Spec;
use crate::support::guard::{PATIENCE, until};
use crate::support::hang::Hang;
use crate::support::replicator::{Pass, Which};
use crate::support::rsync::FakeRsync;

/// What a service manager listens at.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("our own folder");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Self { socket, folder }
    }

    /// A daemon that is to tell it within so many microseconds that all is well.
    fn manages<'a>(&self, pass: Pass<'a>, microseconds: &str) -> Pass<'a> {
        let socket = self.folder.path().join("notify");
        pass.forever().set("interval", "0.2").env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", microseconds)
    }

    /// The next message.
    fn next(&self) -> Option<String> {
        let mut message = [0; 100];
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    /// Waits until it is told so many times that all is well.
    #[track_caller]
    fn is_fed(&self, times: usize) {
        for _ in 0..times {
            assert_eq!(self.next().as_deref(), Some("WATCHDOG=1"));
        }
    }

    /// Forgets what has not been read.
    fn forget(&self) {
        self.socket.set_nonblocking(true).expect("a socket");
        while self.next().is_some() {}
        self.socket.set_nonblocking(false).expect("a socket");
    }
}

#[test]
fn a_device_that_hangs_does_not_keep_it_from_being_fed() {
    let cluster = Spec::nodes(3).devices(2).lease();
    let disks: Vec<_> = cluster.disks_of(0).cloned().collect();
    let _hang = Hang::at(&disks[1].path);
    let manager = Manager::new();
    let pass = cluster.pass(Which::Ours, 0).set("lockup_timeout", 3);
    let daemon = manager.manages(pass, "2000000").start();
    let mut first = [manager.next(), manager.next()];
    first.sort();
    assert_eq!(first, [Some("READY=1".to_owned()), Some("WATCHDOG=1".to_owned())]);
    manager.is_fed(3);
    daemon.wait_for("Lockup detected: device sdb");
    daemon.wait_for_passes(2);
    manager.forget();
    manager.is_fed(3);
}

#[test]
fn passes_that_do_not_go_on_are_no_longer_called_well() {
    let cluster = Spec::nodes(3).lease();
    let object = put_in(&cluster, &cluster.home(0, 0, 0), 0);
    let recon = tempfile::tempdir().expect("a folder");
    let hang = Hang::at(recon.path());
    let manager = Manager::new();
    let pass = cluster.pass(Which::Ours, 0).set("recon_cache_path", recon.path().display());
    let daemon = manager.manages(pass, "1000000").start();
    daemon.wait_for(
        "Nothing is heard of the thread of passes, so the service manager is no longer told that all is well",
    );
    assert!(until(PATIENCE, || is_everywhere(&cluster, &object)), "only the figures hang");
    manager.forget();
    manager.socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a time limit");
    assert_eq!(manager.next(), None, "{}", daemon.console());
    manager.socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    hang.end_for(&daemon);
    daemon.wait_for("The service manager is told again that all is well");
    manager.is_fed(3);
}

#[test]
fn reloads_are_told_and_it_is_fed_while_jobs_at_hand_keep_them_waiting() {
    let cluster = Spec::nodes(3).devices(2).lease();
    put_in(&cluster, &cluster.home(0, 0, 0), 0);
    let gate = tempfile::tempdir().expect("a folder");
    let wait = format!("while [ ! -e '{}/open' ]; do sleep 0.05; done", gate.path().display());
    let rsync = FakeRsync::doing(&format!("{wait}\nexec \"$rsync\" \"$@\""));
    let manager = Manager::new();
    let pass = cluster.pass(Which::Ours, 0).set("replicator_workers", 2).rsync(&rsync);
    let daemon = manager.manages(pass, "2000000").start();
    assert!(until(PATIENCE, || !rsync.pushes().is_empty()), "{}", daemon.console());
    manager.forget();
    daemon.signal(rustix::process::Signal::HUP);
    let mut told = std::iter::from_fn(|| manager.next()).filter(|message| message != "WATCHDOG=1");
    let (begin, end) = (told.next().unwrap_or_default(), told.next().unwrap_or_default());
    assert!(begin.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{begin:?}");
    assert_eq!(end, "READY=1");
    // For longer than any thread may keep silent.
    manager.is_fed(8);
    std::fs::write(gate.path().join("open"), "").expect("our own folder");
    daemon.wait_for_passes(2);
    manager.forget();
    manager.is_fed(3);
}

#[test]
fn a_single_pass_of_groups_is_fed_until_the_last_of_them_has_ended() {
    let cluster = Spec::nodes(3).devices(2).lease();
    put_in(&cluster, &cluster.home(0, 0, 0), 0);
    let gate = tempfile::tempdir().expect("a folder");
    let rsync = FakeRsync::doing(&format!("while [ ! -e '{}/open' ]; do sleep 0.05; done", gate.path().display()));
    let manager = Manager::new();
    let pass = cluster.pass(Which::Ours, 0).set("replicator_workers", 2).rsync(&rsync);
    let pass = pass.env("NOTIFY_SOCKET", manager.folder.path().join("notify")).env("WATCHDOG_USEC", "2000000").start();
    pass.wait_for("Object replication complete (once). (");
    assert!(until(PATIENCE, || !rsync.pushes().is_empty()), "{}", pass.console());
    manager.forget();
    manager.is_fed(8);
    std::fs::write(gate.path().join("open"), "").expect("our own folder");
    pass.finish().ended(0);
}
