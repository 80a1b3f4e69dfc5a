//! A look at real rsync daemons.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use swift_object_replicator::peer::rsyncd::{ModuleAddress, look};

use crate::support::guard::{Guarded, Mounts, wait_for_port};

const LIMIT: Duration = Duration::from_secs(10);

/// Whether a daemon with these global options is seen to have `TCP_NODELAY`. A busy machine may take several looks, and
/// may make one that has it seem to wait; the other way round there is no mistake.
fn has_nodelay(port: u16, options: &str) -> Option<bool> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("sda/objects")).unwrap();
    let (conf, output) = (folder.path().join("rsyncd.conf"), folder.path().join("output"));
    let here = folder.path().display();
    let text = format!("use chroot = no\nuid = 0\ngid = 0\naddress = 127.0.0.1\nport = {port}\n{options}\n");
    fs::write(&conf, format!("{text}log file = {here}/log\n[object]\npath = {here}\nread only = no\nlist = no\n"))
        .unwrap();
    let config = format!("--config={}", conf.display());
    let _daemon = Guarded::start(&["rsync", "--daemon", "--no-detach", &config], "".as_ref(), &output, Mounts::Fixed);
    wait_for_port(SocketAddr::from(([127, 0, 0, 1], port)), &output);
    let at = ModuleAddress { host: "127.0.0.1".to_owned(), port, module: "object".to_owned() };
    (0..10).filter_map(|_| look(&at, "sda/objects", LIMIT).unwrap().nodelay).max()
}

#[test]
fn a_daemon_with_nodelay_is_told_from_one_without() {
    assert_eq!(has_nodelay(42_873, ""), Some(false));
    assert_eq!(has_nodelay(42_874, "socket options = TCP_NODELAY"), Some(true));
    assert_eq!(has_nodelay(42_875, "motd file = /etc/os-release\nsocket options = SO_KEEPALIVE"), Some(false));
}
