//! A look at real rsync daemons.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use swift_object_replicator::peer::rsyncd::{ModuleAddress, look};

use crate::support::guard::{Guarded, Mounts, wait_for_port};

/// Nobody else listens here; the ports are not among those that outgoing connections get.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 211, 0, 1);

const LIMIT: Duration = Duration::from_secs(10);

/// Looks at a daemon with these global options. Whether it has `TCP_NODELAY` is measured, so on a busy machine that may
/// come out either way, and is not asserted here.
fn looks_at_a_daemon_with(port: u16, options: &str) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("sda/objects")).unwrap();
    let (conf, output) = (folder.path().join("rsyncd.conf"), folder.path().join("output"));
    let here = folder.path().display();
    let text = format!("use chroot = no\nuid = 0\ngid = 0\naddress = {ADDRESS}\nport = {port}\n{options}\n");
    fs::write(&conf, format!("{text}log file = {here}/log\n[object]\npath = {here}\nread only = no\nlist = no\n"))
        .unwrap();
    let config = format!("--config={}", conf.display());
    let _daemon = Guarded::start(&["rsync", "--daemon", "--no-detach", &config], "".as_ref(), &output, Mounts::Fixed);
    wait_for_port(SocketAddr::from((ADDRESS, port)), &output);
    let at = ModuleAddress { host: ADDRESS.to_string(), port, module: "object".to_owned() };
    look(&at, "sda/objects", LIMIT).expect("it takes part in the conversation");
    let refused = ModuleAddress { module: "nothing".to_owned(), ..at };
    assert!(look(&refused, "sda/objects", LIMIT).is_err());
}

#[test]
fn daemons_with_any_options_can_be_looked_at() {
    looks_at_a_daemon_with(28_731, "");
    looks_at_a_daemon_with(28_732, "socket options = TCP_NODELAY");
    looks_at_a_daemon_with(28_733, "motd file = /etc/os-release\nsocket options = SO_KEEPALIVE");
}
